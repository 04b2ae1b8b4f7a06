"""Previous radiation and risk on the page: a part of its own with one figure."""

from __future__ import annotations

from base64 import b64encode
from importlib.resources import files
from typing import TYPE_CHECKING

from cordgap.analysis import CaseResult
from cordgap.report.figures import figure_bytes
from cordgap.report.parts import Document
from cordgap.report.reirradiation import note_lines, remaining_words
from cordgap.report.reirradiation_figure import draw_reirradiation

if TYPE_CHECKING:
    from jinja2 import Environment


def previous_html(environment: Environment, result: CaseResult, document: Document) -> str:
    """Return the part as HTML; every value in it is escaped.

    Parameters
    ----------
    environment : jinja2.Environment
        That of the page, with its filters.
    result : CaseResult
    document : dict
        The analysis document.
    """
    source = files("cordgap.report") / "templates" / "parts" / "reirradiation.html"
    template = environment.from_string(source.read_text(encoding="utf-8"))
    found = result.reirradiation
    figure = None
    if found is not None:
        figure = b64encode(figure_bytes(draw_reirradiation(found), "svg")).decode("ascii")
    return template.render(
        again=document["reirradiation"],
        risk=document["risk"],
        remaining="" if found is None else remaining_words(found),
        notes=[] if found is None else note_lines(found),
        figure=figure,
    )
