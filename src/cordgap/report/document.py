"""The PDF for the chart: the surgeon's sheet, where it is, then doses, sources and the method.

The first side is the sheet of ``templates/parts/sheet.html``. What follows runs on to as many pages
as it needs: nothing is left out.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cordgap.analysis import CaseResult
from cordgap.errors import SAFETY_SENTENCES, Finding
from cordgap.report.axial import plot_axial, plot_levels
from cordgap.report.clock import plot_clock
from cordgap.report.figures import plot_dvh, plot_map, plot_separation
from cordgap.report.layout import (
    BOTTOM_MM,
    MARGIN_MM,
    PAGE_MM,
    TOP_MM,
    WIDTH_MM,
    Column,
    frame,
    new_page,
    place_axes,
)
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
from cordgap.report.scenario_words import escc_words, scenario_lines
from cordgap.report.sentence import (
    LEVEL_NOT_IDENTIFIED,
    answer_sentence,
    binding_words,
    coverage_name,
    coverage_verdict,
    derived_words,
    dose_type_words,
    fraction_words,
    gap_level_mm,
    highest_by_separation,
    highest_reasons,
    highest_words,
    level_label,
    method_words,
    prescription_words,
    role_word,
)
from cordgap.report.sheet import UNKNOWN, Extras, goal_line, identity_lines, volume_rows
from cordgap.report.style import BLACK, GREY, RC, VERMILION, label
from cordgap.separation.result import HighestDose, Separation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A longer answer is set smaller; pictures shrink so that the sheet stays on one side.
_LONG = 260
_PLANES_MM, _BELOW_PLANES_MM = 57.0, 48.0
_LOGO_MM = (40.0, 12.0)


def document_pdf(
    result: CaseResult, *, identify: bool = False, extras: Extras | None = None
) -> bytes:
    """Return ``report.pdf``: fonts embedded, text selectable, the same bytes for the same result.

    Parameters
    ----------
    result : CaseResult
    identify : bool
        Whether the patient's identity is printed; without it lines to fill in by hand.
    extras : Extras, optional
        Notes, logo and metadata of the user.
    """
    import matplotlib
    from matplotlib.backends.backend_pdf import PdfPages

    extras = extras or Extras()
    buffer = io.BytesIO()
    metadata = {
        "Title": "cordgap report",
        "Creator": f"cordgap {result.cordgap_version}",
        "CreationDate": None,
        "ModDate": None,
    }
    with matplotlib.rc_context(RC), PdfPages(buffer, metadata=metadata) as file:
        pages = [new_page()]
        _surgeon(pages[0], result, identify)
        pages.append(new_page())
        _where(pages[1], result)
        pages.append(new_page())
        _physicist(pages, result, extras)
        if result.reirradiation is not None:
            pages.append(new_page())
            _previous(pages, result)
        for number, page in enumerate(pages, start=1):
            _frame(page, result, number, len(pages))
        if extras.logo is not None:
            _logo(pages[0], extras.logo)
        for page in pages:
            file.savefig(page)
    return buffer.getvalue()


def _frame(page: Figure, result: CaseResult, number: int, count: int) -> None:
    head = f"cordgap {result.cordgap_version}    case {result.case.case_id}"
    if number == 1:
        head += "    surgeon's sheet"
    frame(page, head, " ".join(SAFETY_SENTENCES), (number, count))


def _logo(page: Figure, picture: bytes) -> None:
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        pixels = image.convert("RGBA")
    width, height = _LOGO_MM
    ax = place_axes(page, PAGE_MM[0] - MARGIN_MM - width, 3.0, width, height)
    ax.set_axis_off()
    ax.imshow(pixels, aspect="equal")
    ax.set_anchor("NE")


def _level(column: Column, result: CaseResult, size: float) -> None:
    level = level_label(result, gap_level_mm(result.separation))
    colour = VERMILION if level == LEVEL_NOT_IDENTIFIED else BLACK
    column.text(level, size, weight="bold", color=colour)


def _surgeon(page: Figure, result: CaseResult, identify: bool) -> None:
    """The sheet: how many millimetres, which side, which level, and what is not known."""
    s = result.separation
    top = Column(page, MARGIN_MM, WIDTH_MM, TOP_MM + 2.0)
    _identity(top, identity_lines(result, identify=identify))
    sentence = answer_sentence(result)
    top.text(sentence, 13.6 if len(sentence) < _LONG else 10.0, weight="bold")
    top.gap(1.0)
    _level(top, result, 10.5)
    if s is None:
        plot_axial(place_axes(page, MARGIN_MM, top.y + 10.0, 108.0, 108.0), result)
        below = Column(page, MARGIN_MM, WIDTH_MM, top.y + 134.0)
    else:
        top.text(method_words(s), 8.0)
        below = _sides(page, result, s, top.y + 2.0)
        below.text("Goal: " + goal_line(result), 8.5)
    below.heading("What this does not know")
    below.bullets(UNKNOWN, 8.0)
    if result.warnings and below.has_room(3):
        below.heading("Warnings")
        below.bullets(_findings(result.warnings), 7.5)


def _identity(column: Column, lines: Sequence[tuple[str, str | None]]) -> None:
    """Patient, ID and date of birth beside each other, or lines to fill in."""
    share = column.width / len(lines)
    left, y = column.left, column.y
    for i, (name, value) in enumerate(lines):
        cell = Column(column.page, left + i * share, share - 4.0, y)
        cell.text(f"{name}: {label(value or '', 34)}", 8.5)
        if value is None:
            start = cell.left + 2.0 + 1.9 * len(name)
            cell.line(start, cell.left + cell.width, y + 4.0, BLACK)
    column.y = y + 8.0


def _sides(page: Figure, result: CaseResult, s: Separation, start: float) -> Column:
    """Clock face, side and level list, volumes, and the planes with most to remove."""
    clock = place_axes(page, MARGIN_MM, start + 6.0, 76.0, 76.0)
    plot_clock(clock, result)
    clock.set_title(clock.get_title(loc="left"), fontsize=8.5, loc="left")
    side = Column(page, MARGIN_MM + 82.0, WIDTH_MM - 82.0, start)
    side.heading("Side and level")
    rows = [
        (
            x.name + ("" if x.reachable else " (not cleared)"),
            "> 20" if x.gap_mm is None else shown(x.gap_mm),
            shown(x.deficit_mm),
            shown(x.resection_cc, 2),
            shown(x.level_mm),
        )
        for x in s.sextants
    ]
    head = ("side", "now [mm]", "missing [mm]", "remove [cc]", "at z [mm]")
    side.table(head, rows, (0.36, 0.16, 0.18, 0.16, 0.14), 7.5)
    binding = binding_words(result)
    side.gap(1.0)
    side.text(binding[0].upper() + binding[1:], 7.5)
    if s.in_the_way:
        side.text(_in_the_way(s), 7.5, weight="bold", color=VERMILION)
    volumes = [
        (x.words, shown(x.all_cc, 2), shown(x.inside_cc, 2), shown(x.outside_cc, 2))
        for x in volume_rows(s)
    ]
    units = ("", "in all [cc]", "inside canal", "outside")
    if volumes:
        side.heading("Target closer to the cord than")
        side.table(units, volumes, (0.36, 0.22, 0.24, 0.18), 7.5)
    planes = max(start + 84.0, side.y) + 10.0
    height = min(_PLANES_MM, BOTTOM_MM - planes - _BELOW_PLANES_MM)
    if s.worst_levels_mm:
        plot_levels(place_axes(page, MARGIN_MM, planes, WIDTH_MM, height), result)
    else:
        left = MARGIN_MM + 0.5 * (WIDTH_MM - height)
        plot_axial(place_axes(page, left, planes, height, height), result)
    return Column(page, MARGIN_MM, WIDTH_MM, planes + height + 12.0)


def _in_the_way(s: Separation) -> str:
    words = ", ".join(f"{x.name} ({shown(x.gap_mm, 1, 'mm')} from the cord)" for x in s.in_the_way)
    return f"In the way, cannot be cleared: {words}"


def _findings(findings: Sequence[Finding]) -> list[str]:
    return [f"{x.code}: {x.message}" for x in findings]


def _where(page: Figure, result: CaseResult) -> None:
    """The plane through the smallest gap, the map, and what an achieved separation allows."""
    s = result.separation
    top = Column(page, MARGIN_MM, WIDTH_MM, TOP_MM)
    top.text("Where, and what could be given", 13.0, weight="bold")
    top.gap(1.0)
    _level(top, result, 10.0)
    start = top.y + 7.0
    if s is not None:
        plot_axial(place_axes(page, MARGIN_MM + 48.0, start, 84.0, 84.0), result)
        start += 84.0 + 20.0
    plot_map(place_axes(page, MARGIN_MM + 14.0, start + 6.0, 168.0, 54.0), result)
    for ax in page.axes:
        ax.set_title(ax.get_title(loc="left").split("\n")[0], fontsize=8.5, loc="left")
    if s is not None:
        _highest(Column(page, MARGIN_MM, WIDTH_MM, start + 60.0 + 26.0), s)


def _fraction_head(x: HighestDose) -> str:
    limit = "no limit" if x.limit is None else f"limit {round(x.limit, 1):g} Gy"
    return f"{fraction_words(x)} ({limit})"


def _highest(column: Column, s: Separation) -> None:
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


def _physicist(pages: list[Figure], result: CaseResult, extras: Extras) -> None:
    """Doses, constraints with sources, goals, methods, schedules, findings, versions, notes."""
    s, page = result.separation, pages[-1]
    plot_dvh(place_axes(page, MARGIN_MM + 8.0, 20.0, 80.0, 56.0), result)
    plot_separation(place_axes(page, MARGIN_MM + 106.0, 20.0, 74.0, 56.0), result)
    for ax in page.axes:
        ax.set_title(ax.get_title(loc="left").split(":")[0].split(" against")[0], fontsize=8.5)
        ax.tick_params(labelsize=7)
        ax.xaxis.label.set_fontsize(7.5)
        ax.yaxis.label.set_fontsize(7.5)
        legend = ax.get_legend()
        if legend is not None:
            for text in legend.get_texts():
                text.set_fontsize(6.0)
    body = Column(page, MARGIN_MM, WIDTH_MM, 108.0, pages=pages)
    _constraints(body, result)
    if s is not None:
        _goals(body, s)
        _methods(body, s)
        _schedules(body, s)
        body.heading("Epidural grade")
        body.text(escc_words(result.escc), 6.5)
    if result.scenarios is not None:
        body.heading("Delivery uncertainty")
        body.bullets(scenario_lines(result.scenarios), 6.5)
    _doses(body, result)
    body.heading(f"Integrity: input {result.input_verdict}")
    body.bullets(_findings(result.findings) or ["no findings"], 6.5)
    if result.reirradiation is None:
        _risk(body, result, 6.5)
    body.heading("Method, inputs and versions")
    if s is not None:
        body.text(method_words(s), 6.5)
    _provenance(body, result)
    if extras.metadata:
        body.heading("Metadata")
        body.table(("name", "value"), list(extras.metadata.items()), (0.3, 0.7), 7.5)
    if extras.notes:
        body.heading("Notes")
        body.text(extras.notes, 8.0)


def _constraints(body: Column, result: CaseResult) -> None:
    body.heading(f"Constraints ({result.protocol.id}), dose as exported")
    body.table(
        ("verdict", "structure", "metric", "value", "limit", "cord+margin", "source"),
        [
            (
                row.verdict + (", within uncertainty" if row.within_uncertainty else ""),
                label(row.roi_name or role_word(row.structure), 24),
                row.metric_evaluated + (f" ({row.segment})" if row.segment else ""),
                ("≥ " if row.bound else "")
                + shown(row.value, 2)
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


def _goals(body: Column, s: Separation) -> None:
    body.heading(f"Coverage of {label(s.target_roi_name)}, and the separation each goal needs")
    body.table(
        ("now", "goal", "value", "mm", "interval", "method, reason"),
        [
            (
                coverage_verdict(g.verdict) + (", headline" if g.headline else ""),
                f"{coverage_name(g)} ≥ {g.at_least:g}",
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


def _methods(body: Column, s: Separation) -> None:
    """What each estimator says, or why it does not apply."""
    body.heading("What each method says")
    body.table(
        ("method", "mm", "interval", "applies", "why, why not"),
        [
            (
                m.method + (", used" if m.used else ""),
                shown(m.required_separation_mm),
                shown_range(m.interval_mm),
                "yes" if m.applies else "no",
                m.reason or ("asks for too much as a rule: a bound" if m.bound else ""),
            )
            for m in s.methods
        ],
        (0.22, 0.06, 0.09, 0.08, 0.55),
        6.5,
    )


def _schedules(body: Column, s: Separation) -> None:
    body.heading("Required separation if the plan is scaled to another schedule")
    body.table(
        ("schedule", "limit", "row", "mm", "interval", "question, reason"),
        [
            (
                f"{x.dose_gy:g} Gy in {x.fractions}",
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


def _doses(body: Column, result: CaseResult) -> None:
    """Volume and dose of every structure."""
    body.heading("Dose and volume of every structure")
    body.table(
        ("structure", "volume [cc]", "min [Gy]", "mean [Gy]", "max [Gy]", "status"),
        [
            (
                label(x.structure.roi_name, 48),
                shown(x.volume_cc, 2),
                *(
                    (NO_NUMBER,) * 3
                    if x.dvh is None
                    else (shown(v, 2) for v in (x.dvh.min_gy, x.dvh.mean_gy, x.dvh.max_gy))
                ),
                ": ".join(part for part in (x.status, x.reason) if part),
            )
            for x in result.structures
        ],
        (0.28, 0.10, 0.09, 0.09, 0.09, 0.35),
        6.5,
    )


def _provenance(body: Column, result: CaseResult) -> None:
    settings = result.settings
    body.text(
        f"cordgap {result.cordgap_version}; {prescription_words(result.prescription)}; "
        f"{dose_type_words(result.case) or 'absorbed dose'}; between "
        f"planes {settings.between}, ends {settings.ends}, dose trilinear, separations up to "
        f"{settings.max_mm:g} mm",
        6.5,
    )
    for file in result.case.inputs:
        if file.kind == "ct":
            continue
        body.text(f"{file.kind.upper()} {file.sop_instance_uid}", 6.5)
        body.text(f"    sha256 {file.sha256 or 'not known'}", 6.5)
    image = "CT, for the pictures alone" if result.case.image is not None else "no CT"
    body.text(
        f"{image}; frame of reference {result.case.frame_of_reference_uid or 'not known'}", 6.5
    )


def _previous(pages: list[Figure], result: CaseResult) -> None:
    """Previous radiation and what is left, and the risk in words."""
    found, page = result.reirradiation, pages[-1]
    assert found is not None
    body = Column(page, MARGIN_MM, WIDTH_MM, TOP_MM, pages=pages)
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
    body.turn(26)
    page, start = body.page, body.y + 8.0
    plot_sum_dvh(place_axes(page, MARGIN_MM + 10.0, start, 76.0, 56.0), found)
    plot_levels_eqd2(place_axes(page, MARGIN_MM + 104.0, start, 74.0, 56.0), found)
    body.y = start + 68.0
    body.heading(f"Levels of {label(found.cord.roi_name)} with most dose [Gy EQD2]")
    for line in level_lines(found):
        body.text(f"•  {line}", 7.5)
    body.heading("Beside the conditions")
    for line in note_lines(found):
        body.text(f"•  {line}", 7.0)
    _risk(body, result, 7.5)


def _risk(body: Column, result: CaseResult, size: float) -> None:
    """The region of risk with its caveat, beside what was seen."""
    for number, line in enumerate(risk_lines(result.risk)):
        if number == 0:
            body.heading(line[0].upper() + line[1:])
        elif body.turn(3, size):
            body.text(f"•  {line.strip()}", size)
