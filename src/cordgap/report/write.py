"""All files of a result in one folder: all of them, or none."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cordgap.analysis import CaseResult
from cordgap.report.document import document_pdf
from cordgap.report.figures import FIGURE_NAMES, SCENARIO_FIGURE, draw_figure, figure_bytes
from cordgap.report.files import unwritable, write_files
from cordgap.report.page import page_html
from cordgap.report.sheet import Extras
from cordgap.report.sheets import csv_texts
from cordgap.report.tables import analysis_document, to_json

Contents = Mapping[str, bytes | str]


def write_all(
    result: CaseResult,
    folder: str | Path,
    *,
    identify: bool = False,
    extras: Extras | None = None,
    more: Callable[[Contents], Contents] | None = None,
) -> list[Path]:
    """Write result.json, report.html, report.pdf, the CSV files and figures/.

    Parameters
    ----------
    result : CaseResult
    folder : str or Path
        Made if it is not there; files of the same names are replaced.
    identify : bool
        Whether the patient's identity is written into JSON, page and PDF.
    extras : Extras, optional
        Notes, logo and metadata for the PDF.
    more : callable, optional
        Makes further files from those of the report; the folder gets all of them, or none.

    Returns
    -------
    list of Path
        The files, result.json first.

    Raises
    ------
    OptionError
        If the folder cannot be written; it is then as it was before.
    """
    folder = Path(folder)
    with _no_collection():
        contents = _contents(result, identify, extras, more)
    try:
        return write_files(folder, contents)
    except OSError as error:
        raise unwritable(folder, error) from error


def _contents(
    result: CaseResult,
    identify: bool,
    extras: Extras | None,
    more: Callable[[Contents], Contents] | None,
) -> dict[str, bytes | str]:
    """What goes into each file, by its path inside the folder."""
    document = analysis_document(result, identify=identify)
    contents: dict[str, bytes | str] = {"result.json": to_json(document) + "\n"}
    contents |= csv_texts(document)
    drawn = {}
    asked = (document.get("separation") or {}).get("scenarios")
    names = (*FIGURE_NAMES, SCENARIO_FIGURE) if asked else FIGURE_NAMES
    for name in names:
        figure = draw_figure(name, result)
        drawn[name] = figure_bytes(figure, "svg")
        contents[f"figures/{name}.svg"] = drawn[name]
        contents[f"figures/{name}.png"] = figure_bytes(figure, "png")
    contents["report.html"] = page_html(result, identify=identify, figures=drawn)
    contents["report.pdf"] = document_pdf(result, identify=identify, extras=extras)
    if more is not None:
        contents |= more(contents)
    return contents


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the search for cycles: pictures are full of them, and it takes 5 % of the time.

    What they hold, 90 MB of a demo plan, is freed at the end.
    """
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()
