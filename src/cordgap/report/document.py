"""Pages of A4: how far and where for the surgeon, doses and sources for the physicist.

A fourth page follows where there is previous radiation.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from cordgap.analysis import CaseResult
from cordgap.errors import SAFETY_SENTENCES
from cordgap.report.axial import plot_axial, plot_levels
from cordgap.report.figures import plot_dvh, plot_map, plot_separation
from cordgap.report.numbers import NO_NUMBER, shown, shown_range
from cordgap.report.reirradiation import (
    condition_verdict,
    condition_words,
    course_line,
    level_lines,
    note_lines,
    remaining_words,
    risk_lines,
)
from cordgap.report.reirradiation_figure import plot_levels_eqd2, plot_sum_dvh
from cordgap.report.sentence import (
    LEVEL_NOT_IDENTIFIED,
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
    volume_at_make_cc,
)
from cordgap.report.style import BLACK, GREY, RC, VERMILION, label
from cordgap.separation.result import HighestDose, Separation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAGE_MM = (210.0, 297.0)
_MARGIN_MM = 15.0
_MM_PER_POINT = 25.4 / 72
# Mean width of a character of DejaVu Sans, and the height of a line, as a share of the font size.
_CHARACTER, _LINE = 0.545, 1.32

# A number stays on the line of its unit.
_UNIT = re.compile(r"(\d) (mm|cc|Gy|%)")

_UNKNOWN = (
    "where the vertebra is: levels are z positions of the planning image",
    "where the cord will lie after decompression, and how it moves",
    "what hardware, cement or spacers will do to image and dose",
    "whether the contours are right: 1 mm in the contour is 1 mm in the answer",
    "whether the tumour can be reached: that is the surgeon's judgement",
)


class _Column:
    """Text that runs down a column of a page."""

    def __init__(self, page: Figure, left_mm: float, width_mm: float, top_mm: float) -> None:
        self.page, self.left, self.width, self.y = page, left_mm, width_mm, top_mm
        self.bottom = _PAGE_MM[1] - _MARGIN_MM - 9.0

    def has_room(self, lines: int = 1, size: float = 8.0) -> bool:
        return self.y + lines * size * _LINE * _MM_PER_POINT <= self.bottom

    def gap(self, mm: float) -> None:
        self.y += mm

    def text(self, text: str, size: float = 8.0, **style: Any) -> None:
        most = int(self.width / (_CHARACTER * size * _MM_PER_POINT))
        if style.get("weight") == "bold":
            most = int(most * 0.9)
        for line in wrap(_UNIT.sub("\\1\N{NO-BREAK SPACE}\\2", text), most) or [""]:
            self._put(self.left, line, size, style)
            self.y += size * _LINE * _MM_PER_POINT

    def heading(self, text: str) -> None:
        self.gap(2.5)
        self.text(text, 9.5, weight="bold")
        self.gap(0.8)

    def table(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        widths: Sequence[float],
        size: float = 7.5,
    ) -> None:
        """Rows of cells; ``widths`` are shares of the column, a cell wraps within its own."""
        step = size * _LINE * _MM_PER_POINT
        for number, row in enumerate([head, *rows]):
            style: dict[str, Any] = {"weight": "bold"} if number == 0 else {}
            cells = [
                wrap(cell, max(3, int(share * self.width / (0.57 * size * _MM_PER_POINT)) - 1))
                for cell, share in zip(row, widths, strict=True)
            ]
            height = max(len(c) for c in cells) or 1
            if not self.has_room(height + 1, size):
                left = len(rows) - number + 1
                self.text(f"and {left} more: see report.html", size, style="italic", color=GREY)
                return
            x = self.left
            for cell, share in zip(cells, widths, strict=True):
                for i, line in enumerate(cell):
                    self._put(x, line, size, style, down=i * step)
                x += share * self.width
            self.y += height * step + 0.5
            if number == 0:
                self._rule()

    def _rule(self) -> None:
        from matplotlib.lines import Line2D

        y = 1 - (self.y + 0.1) / _PAGE_MM[1]
        x = [self.left / _PAGE_MM[0], (self.left + self.width) / _PAGE_MM[0]]
        self.page.add_artist(Line2D(x, [y, y], color=GREY, lw=0.6))
        self.y += 0.8

    def _put(
        self, left_mm: float, line: str, size: float, style: dict[str, Any], down: float = 0.0
    ) -> None:
        self.page.text(
            left_mm / _PAGE_MM[0], 1 - (self.y + down) / _PAGE_MM[1], label(line, 200),
            fontsize=size, va="top", ha="left", **style,
        )  # fmt: skip


def document_pdf(result: CaseResult, *, identify: bool = False) -> bytes:
    """Return ``report.pdf``: fonts embedded, the same bytes for the same result."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    size = (_PAGE_MM[0] / 25.4, _PAGE_MM[1] / 25.4)
    metadata = {
        "Title": "cordgap report",
        "Creator": f"cordgap {result.cordgap_version}",
        "CreationDate": None,
        "ModDate": None,
    }
    with matplotlib.rc_context(RC), PdfPages(buffer, metadata=metadata) as pages:
        fills = _PAGES if result.reirradiation is None else (*_PAGES, _previous)
        for number, fill in enumerate(fills, start=1):
            page = Figure(figsize=size)
            FigureCanvasAgg(page)
            _frame(page, result, f"page {number} of {len(fills)}", identify)
            fill(page, result)
            pages.savefig(page)
    return buffer.getvalue()


def _frame(page: Figure, result: CaseResult, number: str, identify: bool) -> None:
    head = f"cordgap {result.cordgap_version}    case {result.case.case_id}"
    if identify and result.case.identity:
        head += "    " + ", ".join(result.case.identity.values())
    column = _Column(page, _MARGIN_MM, _PAGE_MM[0] - 2 * _MARGIN_MM, 8.0)
    column.text(label(head, 110), 7.5, color=GREY)
    column.y = _PAGE_MM[1] - _MARGIN_MM - 5.0
    column.text(" ".join(SAFETY_SENTENCES), 7.0, color=GREY)
    page.text(
        1 - _MARGIN_MM / _PAGE_MM[0], 8.0 / _PAGE_MM[1], number,
        fontsize=7.0, color=GREY, ha="right", va="bottom",
    )  # fmt: skip


def _axes(page: Figure, left: float, top: float, width: float, height: float) -> Any:
    w, h = _PAGE_MM
    return page.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


def _surgeon(page: Figure, result: CaseResult) -> None:
    """How many millimetres, where, and what is not known."""
    s = result.separation
    top = _Column(page, _MARGIN_MM, _PAGE_MM[0] - 2 * _MARGIN_MM, 15.0)
    top.text(answer_sentence(result), 15.0, weight="bold")
    top.gap(2.0)
    if s is not None:
        top.text(method_words(s), 9.0)
    level = level_label(result, gap_level_mm(s))
    unnamed = level == LEVEL_NOT_IDENTIFIED
    top.gap(1.0)
    top.text(level, 11.0, weight="bold", color=VERMILION if unnamed else BLACK)
    start = top.y + 8.0
    plot_axial(_axes(page, _MARGIN_MM, start, 108.0, 108.0), result)
    side = _Column(page, _MARGIN_MM + 114.0, 66.0, start - 1.0)
    side.heading("Millimetres")
    side.table(("", "mm"), _millimetres(s), (0.7, 0.3), 8.5)
    if s is not None:
        side.heading("Smallest gap by direction")
        rows = [
            (
                x.name,
                "> 20" if x.gap_mm is None else shown(x.gap_mm),
                NO_NUMBER if x.deficit_mm is None else shown(x.deficit_mm),
            )
            for x in s.sextants
        ]
        side.table(("direction", "gap", "missing"), rows, (0.56, 0.18, 0.26), 8.5)
        side.heading("Target closer to the cord than")
        side.table(("", "cc"), _volumes(s), (0.7, 0.3), 8.5)
    below = _Column(page, _MARGIN_MM, _PAGE_MM[0] - 2 * _MARGIN_MM, max(start + 124.0, side.y + 4))
    below.heading("What this does not know")
    for line in _UNKNOWN:
        below.text(f"•  {line}", 9.0)
    warnings = result.warnings
    if warnings:
        below.heading("Warnings")
        _findings(below, warnings, 8.5)


def _millimetres(s: Separation | None) -> list[tuple[str, str]]:
    if s is None:
        return [("required", NO_NUMBER)]
    make = "make" if s.make_for is None else f"make, for {s.make_for.metric}"
    rows = [
        (make, shown(s.make_mm)),
        ("estimate", shown(s.required_separation_mm)),
        (interval_words(s), shown_range(s.interval_mm)),
        (f"now, from {role_word(s.cord_role)}", shown(s.separation_mm)),
    ]
    if s.separation_to_thecal_sac_mm is not None:
        rows.append(("now, from thecal sac", shown(s.separation_to_thecal_sac_mm)))
    rows.append(("to be added", shown(s.additional_mm)))
    return rows


def _volumes(s: Separation) -> list[tuple[str, str]]:
    rows = [
        (f"{shown(s.required_separation_mm, 1, 'mm')} (estimate)", shown(s.resection_cc)),
        ("of it inside the canal", shown(s.resection_inside_canal_cc)),
    ]
    if s.make_mm is not None:
        rows.append((f"{shown(s.make_mm, 1, 'mm')} (make)", shown(volume_at_make_cc(s))))
    return rows


def _findings(column: _Column, findings: Sequence[Any], size: float) -> None:
    for number, finding in enumerate(findings):
        text = f"{finding.code}: {finding.message}"
        if not column.has_room(3, size):
            left = len(findings) - number
            column.text(f"and {left} more: see report.html", size, style="italic", color=GREY)
            return
        column.text(f"•  {text}", size)


def _where(page: Figure, result: CaseResult) -> None:
    """The map, the planes with most to remove, and what an achieved separation allows."""
    s = result.separation
    width = _PAGE_MM[0] - 2 * _MARGIN_MM
    top = _Column(page, _MARGIN_MM, width, 15.0)
    top.text("Where, and what could be given", 13.0, weight="bold")
    top.gap(1.0)
    level = level_label(result, gap_level_mm(s))
    unnamed = level == LEVEL_NOT_IDENTIFIED
    top.text(level, 10.0, weight="bold", color=VERMILION if unnamed else BLACK)
    binding = binding_words(result)
    top.text(binding[0].upper() + binding[1:], 8.5)
    if s is not None and s.in_the_way:
        words = ", ".join(
            f"{x.name} ({shown(x.gap_mm, 1, 'mm')} from the cord)" for x in s.in_the_way
        )
        top.text(f"In the way, cannot be cleared: {words}", 8.5, weight="bold", color=VERMILION)
    start = top.y + 17.0
    plot_map(_axes(page, _MARGIN_MM + 14.0, start, 168.0, 54.0), result)
    for ax in page.axes:
        ax.set_title(ax.get_title(loc="left").split("\n")[0], fontsize=8.5, loc="left")
    start += 54.0 + 40.0
    plot_levels(_axes(page, _MARGIN_MM, start, width, 57.0), result)
    below = _Column(page, _MARGIN_MM, width, start + 57.0 + 11.0)
    if s is None:
        return
    _highest(below, s)


def _fraction_head(x: HighestDose) -> str:
    limit = "no limit" if x.limit is None else f"limit {round(x.limit, 1):g} Gy"
    return f"{fraction_words(x)} ({limit})"


def _highest(column: _Column, s: Separation) -> None:
    table = highest_by_separation(s)
    column.heading("Highest dose [Gy] that an achieved separation allows")
    if not table:
        column.text("none", 7.5)
        return
    first = table[0][1]
    share = 0.88 / len(first)
    column.table(
        ["achieved", *(_fraction_head(x) for x in first)],
        [[f"{mm:g} mm", *(highest_words(x) for x in row)] for mm, row in table],
        (0.12, *([share] * len(first))),
        7.5,
    )
    notes = [f"{NO_NUMBER} {reason}" for reason in highest_reasons(s)]
    notes.append(
        "Cord limit and headline coverage are kept; in brackets, the doses at which the ends of "
        "the interval of the separation reach it. + and ≥: the plan is not scaled further. Other "
        "organs are not looked at."
    )
    if derived_words(s):
        notes.append(derived_words(s))
    for note in notes:
        if column.has_room(2, 7.0):
            column.text(note, 7.0, color=GREY)


def _physicist(page: Figure, result: CaseResult) -> None:
    """Doses, constraints with sources, the curve, goals, schedules, findings, versions."""
    s = result.separation
    plot_dvh(_axes(page, _MARGIN_MM + 8.0, 20.0, 80.0, 56.0), result)
    plot_separation(_axes(page, _MARGIN_MM + 106.0, 20.0, 74.0, 56.0), result)
    for ax in page.axes:
        ax.set_title(ax.get_title(loc="left").split(":")[0].split(" against")[0], fontsize=8.5)
        ax.tick_params(labelsize=7)
        ax.xaxis.label.set_fontsize(7.5)
        ax.yaxis.label.set_fontsize(7.5)
        legend = ax.get_legend()
        if legend is not None:
            for text in legend.get_texts():
                text.set_fontsize(6.0)
    body = _Column(page, _MARGIN_MM, _PAGE_MM[0] - 2 * _MARGIN_MM, 108.0)
    body.heading(f"Constraints ({result.protocol.id}), dose as exported")
    body.table(
        ("verdict", "structure", "metric", "value", "limit", "cord+margin", "source"),
        [
            (
                row.verdict + (", within uncertainty" if row.within_uncertainty else ""),
                label(row.roi_name or role_word(row.structure), 24),
                row.metric_evaluated + (f" ({row.segment})" if row.segment else ""),
                shown(row.value, 2)
                + (f" ± {shown(row.plus_minus, 2)}" if row.plus_minus is not None else ""),
                f"{row.limit:g} {row.unit}",
                NO_NUMBER
                if row.margin is None
                else f"{shown(row.margin.value, 2)} {row.margin.verdict}",
                f"{row.id} ({row.verified}): {row.source}",
            )
            for row in result.constraints
        ],
        (0.10, 0.14, 0.13, 0.12, 0.07, 0.13, 0.31),
        6.5,
    )
    if s is not None:
        _goals_and_schedules(body, s)
    if result.reirradiation is None:
        _risk(body, result, 6.5)
    body.heading("Findings")
    if result.findings:
        _findings(body, result.findings, 6.5)
    else:
        body.text("none", 6.5)
    body.heading("Inputs and settings")
    _provenance(body, result)


def _goals_and_schedules(body: _Column, s: Separation) -> None:
    body.heading(f"Coverage of {label(s.target_roi_name)}, and the separation each goal needs")
    body.table(
        ("now", "goal", "value", "mm", "interval", "method, reason"),
        [
            (
                coverage_verdict(g.verdict) + (", headline" if g.headline else ""),
                f"{g.metric} ≥ {g.at_least:g}",
                shown(g.value),
                shown(g.required_separation_mm),
                shown_range(g.interval_mm),
                ": ".join(part for part in (g.method, g.reason) if part),
            )
            for g in s.coverage_goals
        ],
        (0.13, 0.15, 0.07, 0.06, 0.09, 0.50),
        6.5,
    )
    body.heading("Required separation if the plan is scaled to another schedule")
    body.table(
        ("schedule", "limit", "row", "mm", "interval", "question, reason"),
        [
            (
                prescription_words_of(x.dose_gy, x.fractions),
                NO_NUMBER
                if x.limit is None
                else f"{shown(x.limit, 1, 'Gy')}{'*' if x.derived_from else ''}",
                x.constraint_id or NO_NUMBER,
                shown(x.required_separation_mm),
                shown_range(x.interval_mm),
                "; ".join(part for part in (x.question, x.reason) if part),
            )
            for x in s.schedules
        ],
        (0.13, 0.09, 0.16, 0.06, 0.09, 0.47),
        6.5,
    )


def prescription_words_of(dose_gy: float, fractions: int) -> str:
    """Return a schedule in a few characters."""
    return f"{dose_gy:g} Gy in {fractions}"


def _provenance(body: _Column, result: CaseResult) -> None:
    settings = result.settings
    body.text(
        f"cordgap {result.cordgap_version}; {prescription_words(result.prescription)}; "
        f"{dose_type_words(result.case) or 'absorbed dose'}; between "
        f"planes {settings.between}, ends {settings.ends}, dose trilinear, separations up to "
        f"{settings.max_mm:g} mm",
        6.5,
    )
    for file in result.case.inputs:
        if file.kind == "ct" or not body.has_room(2, 6.5):
            continue
        body.text(f"{file.kind.upper()} {file.sop_instance_uid}", 6.5)
        body.text(f"    sha256 {file.sha256 or 'not known'}", 6.5)


def _previous(page: Figure, result: CaseResult) -> None:
    """Previous radiation and what is left, and the risk in words."""
    found, width = result.reirradiation, _PAGE_MM[0] - 2 * _MARGIN_MM
    assert found is not None
    body = _Column(page, _MARGIN_MM, width, 15.0)
    body.text("Previous radiation: what is left", 13.0, weight="bold")
    body.gap(1.0)
    where = found.on.roi_name
    if found.stands_in:
        where += f", in place of the {role_word(found.rules.structure)}"
    body.text(remaining_words(found), 10.0, weight="bold")
    body.text(f"Read on {label(where, 80)}.", 8.5)
    body.heading("Courses")
    for course in (*found.on.courses, *([found.on.new] if found.on.new else [])):
        body.text(f"•  {course_line(course)}", 8.0)
    body.heading("Conditions, to be met together")
    for condition in found.conditions:
        body.text(f"•  {condition_verdict(condition)}: {condition_words(condition)}", 8.0)
    start = body.y + 8.0
    plot_sum_dvh(_axes(page, _MARGIN_MM + 10.0, start, 76.0, 56.0), found)
    plot_levels_eqd2(_axes(page, _MARGIN_MM + 104.0, start, 74.0, 56.0), found)
    body.y = start + 68.0
    body.heading(f"Levels of {label(found.cord.roi_name)} with most dose [Gy EQD2]")
    for line in level_lines(found):
        body.text(f"•  {line}", 7.5)
    body.heading("Beside the conditions")
    for line in note_lines(found):
        body.text(f"•  {line}", 7.0)
    _risk(body, result, 7.5)


def _risk(body: _Column, result: CaseResult, size: float) -> None:
    """The region of risk with its caveat, beside what was seen."""
    for number, line in enumerate(risk_lines(result.risk)):
        if number == 0:
            body.heading(line[0].upper() + line[1:])
        elif body.has_room(3, size):
            body.text(f"•  {line.strip()}", size)


_PAGES = (_surgeon, _where, _physicist)
