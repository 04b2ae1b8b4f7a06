"""``cordgap analyze``: the main job on one plan."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cordgap.cli import common, flags, shared
from cordgap.cli.common import PlanOptions
from cordgap.errors import OptionError

if TYPE_CHECKING:
    from cordgap.analysis import CaseResult
    from cordgap.report.sheet import Extras
    from cordgap.report.write import Contents

_NAMED = ("report.html", "report.pdf", "result.json", "view3d.html")


@shared.takes(*shared.FILES, *shared.ANALYSIS, *shared.PREVIOUS)
def analyze(
    given: shared.Given,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write result.json, report.html, report.pdf, figures and CSV."
        ),
    ] = None,
    dicom: Annotated[
        bool,
        typer.Option("--dicom", help="With --out: structures, DVHs and report as DICOM objects."),
    ] = False,
    mesh: Annotated[
        bool,
        typer.Option("--mesh", help="With --out: STL, glTF and an interactive 3D view."),
    ] = False,
    at: Annotated[
        float | None,
        typer.Option(
            "--at", metavar="MM", help="Separation of --dicom and --mesh, not the required one."
        ),
    ] = None,
    identify: Annotated[
        bool, typer.Option("--identify", help="Put patient name and ID into the report.")
    ] = False,
    notes: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Notes for the end of report.pdf.")
    ] = None,
    logo: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PNG or JPEG for the head of report.pdf.")
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A line of report.pdf (repeatable)."),
    ] = None,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Analyse one plan: DVHs, cord limits, and the separation needed.

    \b
    Examples:
      cordgap analyze plans/coverage-first
      cordgap analyze plans/coverage-first --out report --level T7=-12:8
      cordgap analyze EXPORT --cord Medulla --target GTV_1 --rx 24 --fractions 2 --json
    """
    options = PlanOptions.given({**given, "identify": identify}).filled_from_file()
    common.start_logging(quiet, verbose)
    extras = None
    if notes is not None or logo is not None or metadata:
        from cordgap.report.sheet import read_extras

        if out is None:
            raise OptionError("--notes, --logo and --metadata go into report.pdf: give --out DIR")
        extras = read_extras(notes, logo, metadata or [])
    if out is None and (dicom or mesh):
        raise OptionError("--dicom and --mesh need --out DIR: the folder that they are written to")
    if at is not None and not (dicom or mesh):
        raise OptionError("--at is the separation of --dicom and --mesh: give one of them too")
    wanted = Exports(dicom=dicom, mesh=mesh, at_mm=at)
    code = run_analysis(options, out=out, json=json, quiet=quiet, exports=wanted, extras=extras)
    raise typer.Exit(code)


@dataclass(frozen=True)
class Exports:
    """What is written beside the report, at which separation."""

    dicom: bool = False
    mesh: bool = False
    at_mm: float | None = None

    def contents(
        self, result: CaseResult, report: Contents, identify: bool, notes: list[str]
    ) -> Contents:
        """Make the files, by path inside the report's folder; what was left out goes to notes."""
        made: dict[str, bytes | str] = {}
        if self.dicom:
            from cordgap.export.bundle import dicom_contents

            pdf = report["report.pdf"]
            assert isinstance(pdf, bytes)
            objects, said = dicom_contents(result, pdf, identify=identify, at_mm=self.at_mm)
            made |= objects
            notes += said
        if self.mesh:
            from cordgap.export.mesh import mesh_contents

            meshes, said = mesh_contents(result, at_mm=self.at_mm)
            made |= meshes
            notes += said
        return made


def run_analysis(
    options: PlanOptions,
    *,
    out: Path | None,
    json: bool,
    quiet: bool,
    exports: Exports = Exports(),
    extras: Extras | None = None,
) -> int:
    """Read, analyse, write and print; return the exit code."""
    from cordgap.analysis import analyze as analyze_case
    from cordgap.check.findings import review
    from cordgap.report.tables import analysis_document

    if out is not None:
        from cordgap.report.files import check_folder

        check_folder(out)
    case = options.read()
    result = analyze_case(case, options.settings(case))
    result = replace(result, findings=review(result))
    written: list[Path] = []
    if out is not None:
        from cordgap.report.write import write_all

        notes: list[str] = []
        written = write_all(
            result,
            out,
            identify=options.identify,
            extras=extras,
            more=lambda made: exports.contents(result, made, options.identify, notes),
        )
        if not quiet:
            for note in notes:
                print(f"note: {note}", file=sys.stderr)
    if json:
        common.emit(analysis_document(result, identify=options.identify))
        common.tell(result.findings, quiet=quiet)
    else:
        from cordgap.report.sentence import summary_text

        print(summary_text(result))
        if written:
            print(f"\nReport: {written[0].parent}")
            for file in written:
                name = file.relative_to(written[0].parent).as_posix()
                if name in _NAMED or name.startswith(("dicom/", "mesh/")):
                    print(f"  {name}")
    return result.exit_code


def analyze_folder(path: Path, out: Path, options: PlanOptions) -> int:
    """Do what ``cordgap analyze PATH --out OUT`` does; for plans that come by themselves."""
    here = replace(options, path=path).filled_from_file()
    return run_analysis(here, out=out, json=False, quiet=True)


def standing(options: PlanOptions) -> tuple[Callable[[Path, Path], int], str]:
    """Return the analysis of plans that come by themselves, and what names its options.

    Raises
    ------
    OptionError
        If an option can hold for no plan: it is refused before the first one comes.
    """
    from cordgap.limits.protocol import load_protocol

    named = {key: getattr(options, key) for key in ("protocol", "scenarios", "falloff")}
    files = {key: Path(name).resolve() for key, name in named.items() if name is not None}
    there = {key: file for key, file in files.items() if file.is_file()}
    # An analysis may run in another folder.
    places: dict[str, Any] = {key: str(file) for key, file in there.items()}
    options = replace(options, **places)
    options.filled_from_file()
    # A half-given prescription is completed from each plan.
    replace(options, rx=None, fractions=None).settings(None)
    if options.protocol is not None:
        load_protocol(options.protocol)
    given = {key: value for key, value in asdict(options).items() if value not in (None, [], ())}
    given = {key: value for key, value in given.items() if value is not False}
    content = {key: sha256(file.read_bytes()).hexdigest() for key, file in there.items()}
    words = dumps(given | content, sort_keys=True) if given else ""
    return partial(analyze_folder, options=options), words
