"""One static page that holds everything: no script, no request to anywhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from cordgap.analysis import CaseResult
from cordgap.report.figures import FIGURE_NAMES, draw_figure, figure_bytes
from cordgap.report.numbers import rounded_down, shown, shown_range
from cordgap.report.reirradiation_page import previous_html
from cordgap.report.sentence import (
    answer_sentence,
    binding_words,
    coverage_verdict,
    derived_words,
    dose_type_words,
    fraction_words,
    gap_level_mm,
    highest_by_separation,
    highest_reasons,
    highest_words,
    interval_words,
    level_label,
    method_words,
    prescription_words,
    role_word,
)
from cordgap.report.tables import analysis_document

_ALT = {
    "axial": "Axial plane through the smallest gap with CT, isodoses, contours and what lies "
    "closer to the cord than required; patient right is on the left",
    "dvh": "Dose-volume histograms with the limits",
    "separation": "Required separation: the curve it is read from, its interval, what is there",
    "map": "Gap by level and direction around the cord, unrolled: right, anterior, left",
    "levels": "Axial planes with most to remove, with contours and what lies closer to the cord "
    "than required; patient right is on the left",
}


def page_html(
    result: CaseResult, *, identify: bool = False, figures: Mapping[str, bytes] | None = None
) -> str:
    """Return ``report.html``, self-contained.

    Parameters
    ----------
    result : CaseResult
    identify : bool
        Whether the patient's identity stands on the page.
    figures : mapping of name to SVG, optional
        Figures that are already drawn; the others are drawn here.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(num=shown, span=_span, role=role_word, coverage=coverage_verdict)
    environment.filters["down"] = rounded_down
    environment.filters.update(highest=highest_words, fractions=fraction_words)
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    source = files("cordgap.report") / "templates" / "report.html"
    template = environment.from_string(source.read_text(encoding="utf-8"))
    drawn = dict(figures or {})
    for name in FIGURE_NAMES:
        if name not in drawn:
            drawn[name] = figure_bytes(draw_figure(name, result), "svg")
    s = result.separation
    document = analysis_document(result, identify=identify)
    return template.render(
        document=document,
        previous=previous_html(environment, result, document),
        sentence=answer_sentence(result),
        method=method_words(s) if s is not None else None,
        interval_name=interval_words(s) if s is not None else None,
        level=level_label(result, gap_level_mm(s)),
        prescription=prescription_words(result.prescription),
        dose_type=dose_type_words(result.case),
        binding=binding_words(result),
        highest=highest_by_separation(s) if s is not None else [],
        highest_reasons=highest_reasons(s) if s is not None else [],
        derived=derived_words(s) if s is not None else "",
        figures={
            name: {"alt": _ALT[name], "data": b64encode(drawn[name]).decode("ascii")}
            for name in FIGURE_NAMES
        },
    )


def _span(pair: list[Any] | None, digits: int = 1) -> str:
    return shown_range(None if pair is None else (pair[0], pair[1]), digits)
