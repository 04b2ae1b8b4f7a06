"""All files of a result in one folder, each of them whole or not there."""

from __future__ import annotations

from pathlib import Path

from cordgap.analysis import CaseResult
from cordgap.report.document import document_pdf
from cordgap.report.figures import FIGURE_NAMES, draw_figure, figure_bytes
from cordgap.report.files import write_file
from cordgap.report.page import page_html
from cordgap.report.sheets import csv_texts
from cordgap.report.tables import analysis_document, to_json


def write_all(result: CaseResult, folder: str | Path, *, identify: bool = False) -> list[Path]:
    """Write result.json, report.html, report.pdf, the CSV files and figures/.

    Parameters
    ----------
    result : CaseResult
    folder : str or Path
        Made if it is not there; files of the same names are replaced.
    identify : bool
        Whether the patient's identity is written into JSON, page and PDF.

    Returns
    -------
    list of Path
        The files, result.json first.
    """
    folder = Path(folder)
    pictures = folder / "figures"
    pictures.mkdir(parents=True, exist_ok=True)
    document = analysis_document(result, identify=identify)
    paths = [write_file(folder / "result.json", to_json(document) + "\n")]
    paths += [write_file(folder / name, text) for name, text in csv_texts(document).items()]
    drawn = {}
    for name in FIGURE_NAMES:
        figure = draw_figure(name, result)
        drawn[name] = figure_bytes(figure, "svg")
        paths.append(write_file(pictures / f"{name}.svg", drawn[name]))
        paths.append(write_file(pictures / f"{name}.png", figure_bytes(figure, "png")))
    page = page_html(result, identify=identify, figures=drawn)
    paths.append(write_file(folder / "report.html", page))
    paths.append(write_file(folder / "report.pdf", document_pdf(result, identify=identify)))
    return paths
