"""``cordgap compare``: before and after surgery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cordgap.cli import common, flags, shared
from cordgap.cli.common import PlanOptions

if TYPE_CHECKING:
    from cordgap.comparison import Comparison


@shared.takes(*shared.ROIS, *shared.GOALS, "falloff")
def compare(
    pre: Annotated[Path, typer.Argument(metavar="PRE", help="Plan or contours before surgery.")],
    post: Annotated[Path, typer.Argument(metavar="POST", help="Plan or contours after surgery.")],
    registration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Rigid DICOM Spatial Registration between the two images."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write compare.json and compare.svg, .png.")
    ] = None,
    *,
    given: shared.Given,
    post_cord: Annotated[
        str | None, typer.Option(metavar="NAME", help="ROI that is the cord after surgery.")
    ] = None,
    post_target: Annotated[
        str | None, typer.Option(metavar="NAME", help="ROI that is the target after surgery.")
    ] = None,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Compare a plan before surgery with the one after it: what was achieved.

    \b
    Examples:
      cordgap compare plans/coverage-first plans/coverage-first
      cordgap compare PRE POST --registration REG.dcm --out change
    """
    common.start_logging(quiet, verbose)
    from dataclasses import replace

    from cordgap.comparison import compare_cases
    from cordgap.dicom.registration import read_registration
    from cordgap.report.comparison_parts import comparison_document, comparison_lines

    if out is not None:
        from cordgap.report.files import check_folder

        check_folder(out)
    # Who the patients are is read to compare them, and goes into no output.
    both = PlanOptions.given({**given, "path": pre, "identify": True})
    before = both.filled_from_file()
    after = replace(
        both, path=post, cord=post_cord or both.cord, target=post_target or both.target
    ).filled_from_file()
    cases = [options.read(need_dose=False, with_image=False) for options in (before, after)]
    frames = (cases[1].frame_of_reference_uid or "", cases[0].frame_of_reference_uid or "")
    found = compare_cases(
        cases[0],
        cases[1],
        settings=before.settings(cases[0]),
        settings_after=after.settings(cases[1]),
        registration=None
        if registration is None
        else read_registration(registration, frames=frames if frames[0] != frames[1] else None),
    )
    if out is not None:
        _write(found, out)
    if json:
        common.emit(comparison_document(found))
        common.tell(found.findings, quiet=quiet)
    else:
        print("\n".join(comparison_lines(found)))
    raise typer.Exit(found.exit_code)


def _write(found: Comparison, folder: Path) -> None:
    """Write the document and the picture: both, or none."""
    from cordgap.report.comparison_figure import draw_comparison
    from cordgap.report.comparison_parts import comparison_document
    from cordgap.report.figures import figure_bytes
    from cordgap.report.files import unwritable, write_files
    from cordgap.report.tables import to_json

    figure = draw_comparison(found)
    contents: dict[str, bytes | str] = {
        "compare.json": to_json(comparison_document(found)) + "\n",
        "compare.svg": figure_bytes(figure, "svg"),
        "compare.png": figure_bytes(figure, "png"),
    }
    try:
        write_files(folder, contents)
    except OSError as error:
        raise unwritable(folder, error) from error
