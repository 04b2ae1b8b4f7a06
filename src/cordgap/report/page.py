"""The page: one self-contained file that works offline and asks nobody for anything.

A section is a template in ``templates/parts``; ``PARTS`` lists them in their order. A new section
is one more template and one more name.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from typing import Any

from cordgap.analysis import CaseResult
from cordgap.report.explorer import explorer_data
from cordgap.report.figures import FIGURE_NAMES, SCENARIO_FIGURE, draw_figure, figure_bytes
from cordgap.report.numbers import rounded_down, shown, shown_range
from cordgap.report.parts import Document
from cordgap.report.reirradiation_page import previous_html
from cordgap.report.scenario_words import escc_words
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
from cordgap.report.sheet import UNKNOWN, goal_line, identity_lines, volume_rows
from cordgap.report.tables import analysis_document

# The sections of the page, in order: templates in templates/parts. Each gets the same context.
PARTS = (
    "parts/answer.html",
    "parts/explorer.html",
    "parts/constraints.html",
    "parts/previous.html",
    "parts/coverage.html",
    "parts/where.html",
    "parts/delivery.html",
    "parts/schedules.html",
    "parts/dvh.html",
    "parts/findings.html",
    "parts/provenance.html",
)
# Scripts run only if they hash to what the page says.
_SCRIPTS = ("vendor/plotly-cartesian.min.js", "page.js")

_ALT = {
    "axial": "Axial plane through the smallest gap with CT, isodoses, contours and what lies "
    "closer to the cord than required; patient right is on the left",
    "dvh": "Dose-volume histograms with the limits",
    "separation": "Required separation: the curve it is read from, its interval, what is there",
    "map": "Gap by level and direction around the cord, unrolled: right, anterior, left",
    "levels": "Axial planes with most to remove, with contours and what lies closer to the cord "
    "than required; patient right is on the left",
    "scenarios": "Left: dose of the cord against separation, with the band of the scenarios "
    "and the limit. Right: share of the scenarios that keep the limit against separation",
    "clock": "Clock face of the sextants around the cord: gap, what is missing; patient right on "
    "the left",
}
# Pictures on a page with a slider; without one, all of them.
_FIGURES = ("levels", "separation", "clock")


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
    environment = page_environment()
    s = result.separation
    document = analysis_document(result, identify=identify)
    explorer = _explorer(result, document)
    names = FIGURE_NAMES
    if explorer and s is not None:
        # The sheet shows the planes with most to remove, or that of the gap where nothing is.
        names = (*(() if s.worst_levels_mm else ("axial",)), *_FIGURES)
    if result.scenarios is not None and result.scenarios.curve is not None:
        names = (*names, SCENARIO_FIGURE)
    drawn = dict(figures or {})
    for name in names:
        if name not in drawn:
            drawn[name] = figure_bytes(draw_figure(name, result), "svg")
    page: str = environment.get_template("report.html").render(
        parts=PARTS,
        document=document,
        explorer=explorer,
        script_hashes=[script_hash(name) for name in _SCRIPTS] if explorer else ["'none'"],
        previous=previous_html(environment, result, document),
        sentence=answer_sentence(result),
        method=method_words(s) if s is not None else None,
        interval_name=interval_words(s) if s is not None else None,
        level=level_label(result, gap_level_mm(s)),
        prescription=prescription_words(result.prescription),
        dose_type=dose_type_words(result.case),
        binding=binding_words(result),
        grade=escc_words(result.escc),
        highest=highest_by_separation(s) if s is not None else [],
        highest_reasons=highest_reasons(s) if s is not None else [],
        derived=derived_words(s) if s is not None else "",
        identity_lines=identity_lines(result, identify=identify),
        goal_line=goal_line(result),
        volumes=volume_rows(s) if s is not None else [],
        unknown=UNKNOWN,
        figures={
            name: {"alt": _ALT[name], "data": b64encode(drawn[name]).decode("ascii")}
            for name in names
        },
    )
    return page


def page_environment() -> Any:
    """Return the jinja2 environment of the templates: everything is escaped, nothing is missing."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("cordgap.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(num=shown, span=_span, role=role_word, coverage=coverage_verdict)
    environment.filters["down"] = rounded_down
    environment.filters.update(highest=highest_words, fractions=fraction_words)
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    environment.globals["asset"] = lambda name: Markup(_asset(name))
    return environment


def _explorer(result: CaseResult, document: Document) -> dict[str, Any] | None:
    """What the slider shows; None where there is nothing to slide."""
    if result.separation is None:
        return None
    data = explorer_data(result, result.separation, document)
    return data if data["axial"]["planes"] else None


def _asset(name: str) -> str:
    """A file of the templates as it is: style, script."""
    return (files("cordgap.report") / "templates" / name).read_text(encoding="utf-8")


def script_hash(name: str) -> str:
    """Return what a content security policy calls a script of the templates."""
    digest = sha256(_asset(name).encode("utf-8")).digest()
    return f"'sha256-{b64encode(digest).decode('ascii')}'"


def _span(pair: list[Any] | None, digits: int = 1) -> str:
    return shown_range(None if pair is None else (pair[0], pair[1]), digits)
