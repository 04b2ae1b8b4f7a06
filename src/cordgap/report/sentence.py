"""The answer in one sentence, and a summary that fits on a terminal screen.

Page, PDF and command line print the same sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from cordgap.case.case import Case, Prescription
from cordgap.case.naming import Role
from cordgap.errors import SAFETY_SENTENCES
from cordgap.limits.constraint import ROLE_WORDS, ConstraintResult
from cordgap.report.numbers import NO_NUMBER, shown, shown_range
from cordgap.report.reirradiation import reirradiation_lines, risk_summary
from cordgap.report.scenario_words import escc_words, falloff_words, scenario_lines
from cordgap.separation.result import (
    CoverageGoal,
    HighestDose,
    MethodRow,
    Question,
    Schedule,
    Separation,
    Sextant,
    Verdict,
)

if TYPE_CHECKING:
    from cordgap.analysis import CaseResult

LEVEL_NOT_IDENTIFIED = "LEVEL NOT IDENTIFIED, not for localisation"
# Deeper than this cord and target are said to overlap, less to touch (the surfaces are sampled).
_OVERLAP_MM = 0.1
# Less than what is printed.
_SAME_MM = 0.05
_WIDTH = 96

QUESTION_WORDS: dict[Question, str] = {
    "as planned": "As planned: the exported dose stays and the target recedes from the cord.",
    "re-planned": "Re-planned: the dose follows the target as it recedes, with the coverage that "
    "the plan has now.",
    "no plan": "No plan: from contours, a prescription and a model of how dose falls off in "
    "published plans; the interval is wide.",
}


def answer_sentence(result: CaseResult) -> str:
    """Return the answer as one sentence of plain text, upper end of the interval first."""
    s = result.separation
    if s is None:
        return f"The required separation is not evaluable: {result.separation_reason}."
    between = f"between {target_word(s)} and {cord_word(s)}"
    reachable = [x.name for x in s.sextants if x.reachable]
    if len(reachable) < len(s.sextants):
        between += f" in {_sextants(reachable)} alone"
    schedule = f"for {prescription_words(s.prescription)}"
    if result.reirradiation is not None and result.reirradiation.remaining.applies:
        schedule += " after previous radiation"
    now = _now(s)
    if s.required_separation_mm is None or s.interval_mm is None:
        reason = f": {s.reason}" if s.reason else ""
        if s.status == "not reachable":
            return f"Not reachable: no separation {between} is enough {schedule}{reason}; {now}."
        if s.status == "not reachable within max-mm":
            limit = f"up to {result.settings.max_mm:g} mm"
            return f"No separation {limit} {between} is enough {schedule}{reason}; {now}."
        return f"The required separation {schedule} is not evaluable{reason}; {now}."
    estimate = (
        f"estimate {shown(s.required_separation_mm)}, {interval_words(s)} "
        f"{shown_range(s.interval_mm)}"
    )
    if s.question == "no plan":
        estimate += ", from a model of published plans"
    make = shown(s.make_mm, 1, "mm")
    if s.status == "already sufficient":
        present = f"{shown(s.separation_mm, 1, 'mm')} {between}"
        if s.interval_mm[1] <= s.separation_mm + _SAME_MM:
            return f"The {present} are enough {schedule} ({estimate})."
        return (
            f"The {present} may be enough {schedule} ({estimate}), but the interval reaches "
            f"farther: {make} would be on the safe side."
        )
    goal = s.make_for
    if goal is not None and goal.interval_mm is None:
        return (
            f"What {between} is needed to reach {goal.metric} ≥ {goal.at_least:g} {schedule} is "
            f"not known: {goal.reason}; the coverage that the plan has now, {shown(goal.value)}, "
            f"would need {shown(s.required_separation_mm)} ({shown_range(s.interval_mm)}) mm; "
            f"{now}."
        )
    if goal is not None:
        reach = shown(goal.required_separation_mm), shown_range(goal.interval_mm)
        return (
            f"Make {make} {between} to reach {goal.metric} ≥ {goal.at_least:g} (estimate "
            f"{reach[0]}, {interval_words(s)} {reach[1]}) {schedule}; without that, with the "
            f"coverage that the plan has now, {shown(goal.value)}: "
            f"{shown(s.required_separation_mm)} ({shown_range(s.interval_mm)}); "
            f"{now}{_volume(s)}{_place(result, s)}."
        )
    return f"Make {make} {between} ({estimate}) {schedule}; {now}{_volume(s)}{_place(result, s)}."


def _sextants(names: Sequence[str]) -> str:
    return f"the {_listed(names)} sextant{'s' if len(names) > 1 else ''}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def _now(s: Separation) -> str:
    if s.penetration_mm > _OVERLAP_MM:
        return f"they overlap by {shown(s.penetration_mm, 1, 'mm')} now"
    return f"there are {shown(s.separation_mm, 1, 'mm')} now"


def _volume(s: Separation) -> str:
    """Tumour nearer than the estimate, and nearer than what is to be made."""
    if s.resection_cc is None:
        return ""
    text = f"; about {shown(s.resection_cc, 1, 'cc')} of {target_word(s)} lie closer than "
    text += f"{shown(s.required_separation_mm, 1, 'mm')}"
    whole = volume_at_make_cc(s)
    if whole is not None:
        text += f", {shown(whole, 1, 'cc')} closer than {shown(s.make_mm, 1, 'mm')}"
    return text


def _place(result: CaseResult, s: Separation) -> str:
    """Level, where one is named, and sides on which the target is closer than the estimate."""
    names = [x.name for x in s.sextants if x.reachable and x.deficit_mm and _prints(x)]
    if not names:
        return ""
    sides = "all round" if len(names) == len(s.sextants) else _listed(_both_sides(names))
    spans = [x.z_mm for x in s.binding_levels]
    levels = dict.fromkeys(
        name
        for name, low, high in _named_levels(result)
        if any(low <= b and high >= a for a, b in spans)
    )
    # Without a volume before it the place has to say what lies there.
    what = (
        "" if s.resection_cc is not None else f"closer than {shown(s.required_separation_mm)} mm: "
    )
    return f"; {what}{', '.join(levels)}{' ' if levels else ''}{sides}"


def _prints(x: Sextant) -> bool:
    """Whether something is to be removed in a sextant that does not print as 0.00 cc."""
    return x.resection_cc is None or shown(x.resection_cc, 2) != "0.00"


def _both_sides(names: Sequence[str]) -> list[str]:
    """Put a left and a right sextant of one kind together."""
    found = []
    for name in names:
        side, _, kind = name.partition(" ")
        if side == "left" and f"right {kind}" in names:
            found.append(f"{kind} on both sides")
        elif side != "right" or f"left {kind}" not in names:
            found.append(name)
    return found


def volume_at_make_cc(s: Separation) -> float | None:
    """Return the volume of target nearer than ``make_mm``; None where the curve ends before."""
    for point in s.curve:
        if s.make_mm is not None and abs(point.separation_mm - s.make_mm) < 1e-6:
            return point.resection_cc
    return None


def target_word(s: Separation) -> str:
    """Return what recedes, in a word."""
    return "tumour" if s.target_role == "gtv" else f"{s.target_role.upper()} {s.target_roi_name}"


def cord_word(s: Separation) -> str:
    """Return what millimetres are measured from, in a word."""
    return "cord" if s.cord_role in ("cord", "other") else role_word(s.cord_role)


def role_word(role: Role) -> str:
    """Return a role as people say it."""
    return ROLE_WORDS.get(role, role.replace("_", " "))


def interval_words(s: Separation) -> str:
    """Return how much the interval covers, e.g. ``90 % interval``; ``range`` if nobody knows."""
    return "range" if s.interval_covers is None else f"{100 * s.interval_covers:.0f} % interval"


def prescription_words(prescription: Prescription | None) -> str:
    """Return the prescription as people say it."""
    if prescription is None:
        return "an unknown prescription"
    n = prescription.fractions
    return f"{prescription.dose_gy:g} Gy in {n} fraction{'s' if n != 1 else ''}"


def dose_type_words(case: Case) -> str:
    """Return what kind of dose the numbers are of; empty for absorbed dose, the usual one."""
    if case.dose is None or case.dose_type != "EFFECTIVE":
        return ""
    return "EFFECTIVE dose (weighted for biological effect), not absorbed dose"


def method_words(s: Separation) -> str:
    """Return which question is answered, and how."""
    return f"{QUESTION_WORDS[s.question]} Method: {s.method or 'none'}."


def level_label(result: CaseResult, z_mm: float | None) -> str:
    """Return the vertebral level at ``z_mm``, if ``--level`` or a vertebra ROI names it."""
    if z_mm is None:
        return LEVEL_NOT_IDENTIFIED
    source = "--level"
    named = [n for n, low, high in _given_levels(result) if low <= z_mm <= high]
    if not named:
        source = "vertebra contour"
        named = [n for n, low, high in _contoured_levels(result) if low <= z_mm <= high]
    return f"Level {', '.join(named)} (from {source})" if named else LEVEL_NOT_IDENTIFIED


Span = tuple[str, float, float]


def _given_levels(result: CaseResult) -> list[Span]:
    return [(n, min(a, b), max(a, b)) for n, a, b in result.settings.levels]


def _contoured_levels(result: CaseResult) -> list[Span]:
    found = (s for s in result.case.structures if s.role == "vertebra" and s.planes)
    return [(s.roi_name, float(s.z_mm[0]), float(s.z_mm[-1])) for s in found]


def _named_levels(result: CaseResult) -> list[Span]:
    """Levels with a name: those that the user gives, else those that are contoured."""
    return _given_levels(result) or _contoured_levels(result)


def gap_level_mm(s: Separation | None) -> float | None:
    """Return the axial position of the smallest gap."""
    if s is None:
        return None
    return 0.5 * (s.closest_cord_point_mm[2] + s.closest_target_point_mm[2])


def summary_text(result: CaseResult) -> str:
    """Return a readable summary of a result as plain text."""
    s = result.separation
    lines = wrap(answer_sentence(result), _WIDTH)
    if s is not None:
        lines += wrap(method_words(s), _WIDTH)
    program = f"cordgap {result.cordgap_version}"
    lines += ["", f"case {result.case.case_id}, input {result.input_verdict}, {program}"]
    lines.append(_chosen(result))
    if kind := dose_type_words(result.case):
        lines.append(f"all doses: {kind}")
    level = level_label(result, gap_level_mm(s))
    if s is not None:
        level += f"; smallest gap at z = {shown(gap_level_mm(s), 1, 'mm')}"
    lines.append(level)
    if result.target is not None:
        lines += wrap(escc_words(result.escc), _WIDTH)
    if s is not None and s.question == "no plan":
        lines += wrap(falloff_words(result.settings.falloff), _WIDTH)
    own = "".join(f", {word}" for word in (result.protocol.site, result.protocol.date) if word)
    lines += ["", f"constraints ({result.protocol.id}{own})"]
    for row in result.constraints:
        lines += _indented(constraint_line(row))
    if not result.constraints:
        lines.append("  none applies")
    lines += _block(reirradiation_lines(result))
    if s is not None:
        lines += ["", f"coverage of {s.target_roi_name}"]
        for goal in s.coverage_goals:
            lines += _indented(coverage_line(goal))
        lines.append("  (the rim is the target within 8 mm of the cord)")
        lines += ["", "what each method says (mm)"]
        for method in s.methods:
            lines += _indented(method_line(method))
        if result.scenarios is not None:
            lines += ["", "delivery uncertainty"]
            for line in scenario_lines(result.scenarios):
                lines += _indented(line)
        lines += ["", "gap now by direction, what is missing (mm), what is to be removed (cc)"]
        lines += _sextant_lines(s)
        lines += _indented(binding_words(result))
        lines += ["", "required separation if the plan is scaled to another schedule (mm)"]
        lines += wrap(_schedules(s), _WIDTH, initial_indent="  ", subsequent_indent="  ")
        lines += ["", "highest dose (Gy) that an achieved separation allows"]
        lines += _highest_lines(s)
        lines += [f"  {line}" for line in wrap(derived_words(s), _WIDTH - 2)]
    lines += _block(risk_summary(result.risk))
    lines += ["", f"warnings: {len(result.warnings) or 'none'}"]
    for finding in result.warnings:
        lines += _indented(f"{finding.code}: {finding.message}")
    return "\n".join([*lines, "", *wrap(" ".join(SAFETY_SENTENCES), _WIDTH)])


def _block(block: Sequence[str]) -> list[str]:
    """Lines with their own indents, wrapped, after an empty one; nothing where there are none."""
    lines = [""] if block else []
    for line in block:
        head = " " * (len(line) - len(line.lstrip()))
        further = head + " " * 4
        lines += wrap(line.strip(), _WIDTH, initial_indent=head, subsequent_indent=further)
    return lines


def _indented(text: str) -> list[str]:
    return wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="      ")


def _chosen(result: CaseResult) -> str:
    parts = []
    for name, choice in (("cord", result.cord), ("target", result.target)):
        if choice is not None:
            parts.append(f"{name} {choice.structure.roi_name} ({choice.source})")
    rx = result.prescription
    if rx is not None:
        parts.append(f"{prescription_words(rx)} ({rx.source})")
    return ", ".join(parts)


def constraint_line(row: ConstraintResult) -> str:
    """Return one constraint as a line of text."""
    name = row.roi_name or role_word(row.structure)
    part = f" ({row.segment})" if row.segment and row.value is not None else ""
    text = f"{row.verdict:<13} {name}{part} {row.metric_evaluated}"
    if row.value is not None:
        bound = "at least " if row.bound == "lower" else ""
        text += f" {bound}{shown(row.value, 2)}"
        if row.plus_minus is not None:
            text += f" ± {shown(row.plus_minus, 2)}"
    limit = f"limit {row.limit:g}" + (f"–{row.limit_high:g}" if row.limit_high else "")
    unseen = ", unverified" if row.verified == "unverified" and row.level != "user" else ""
    text += f" ({limit} {row.unit}, {row.id}{unseen})"
    if row.within_uncertainty:
        text += ", within uncertainty"
    if row.max_gy is not None:
        text += f"; Max {shown(row.max_gy, 2)}"
    if row.margin is not None and row.margin.value is not None:
        text += f"; cord + {row.margin.margin_mm:g} mm {shown(row.margin.value, 2)} "
        text += row.margin.verdict
    return text + (f"; {row.reason}" if row.reason else "")


def coverage_verdict(verdict: Verdict) -> str:
    """Return the verdict on a coverage goal as people say it: a lower bound is not exceeded."""
    return "missed" if verdict == "exceeded" else verdict


def coverage_name(goal: CoverageGoal) -> str:
    """Return the metric of a coverage goal and what it speaks of, unless that is the target."""
    return f"{goal.metric} of the rim" if goal.region == "rim" else goal.metric


def coverage_line(goal: CoverageGoal) -> str:
    """Return one coverage goal as a line of text."""
    text = f"{coverage_verdict(goal.verdict):<13} {coverage_name(goal)} {shown(goal.value)} "
    text += f"(goal {goal.at_least:g})"
    if goal.headline:
        text += ", headline"
    if goal.required_separation_mm is not None:
        text += f": needs {shown(goal.required_separation_mm, 1, 'mm')} "
        text += f"({shown_range(goal.interval_mm)}), {goal.method}"
    return text + (f"; {goal.reason}" if goal.reason else "")


def method_line(row: MethodRow) -> str:
    """Return one estimator as a line of text: what it says, or why it does not apply."""
    text = f"{row.method:<19}"
    if row.required_separation_mm is not None:
        bound = "at most about " if row.bound == "upper" else ""
        text += f"{bound}{shown(row.required_separation_mm)} ({shown_range(row.interval_mm)})"
        if row.used:
            text += ", used"
    elif row.applies:
        text += "no number"
    else:
        text += "does not apply"
    return text + (f": {row.reason}" if row.reason else "")


def _sextant_lines(s: Separation) -> list[str]:
    cells = []
    for sextant in s.sextants:
        gap = "over 20" if sextant.gap_mm is None else shown(sextant.gap_mm)
        text = f"{sextant.name} {gap}"
        if not sextant.reachable:
            text += ", not cleared"
        elif sextant.deficit_mm is not None:
            text += f", {shown(sextant.deficit_mm)} missing"
        if sextant.resection_cc:
            text += f", {shown(sextant.resection_cc, 2, 'cc')}"
        cells.append(text)
    # Left and right beside each other, as in the picture.
    left = [cells[0], cells[5], cells[4]]
    right = [cells[3], cells[1], cells[2]]
    width = max(len(text) for text in left) + 2
    return [f"  {a:<{width}}{b}" for a, b in zip(left, right, strict=True)]


def binding_words(result: CaseResult) -> str:
    """Return at which levels the target is closer than required."""
    s = result.separation
    if s is None or s.required_separation_mm is None:
        return "levels that bind: none, there is no required separation"
    if not s.binding_levels:
        return "levels that bind: none, nothing is closer than required"
    runs = [
        f"z {shown(x.z_mm[0])} to {shown(x.z_mm[1], 1, 'mm')} (worst z {shown(x.worst_mm)}, "
        f"{x.sextant}, gap {shown(x.gap_mm)}; {level_label(result, x.worst_mm)})"
        for x in s.binding_levels
    ]
    return f"levels that bind: {'; '.join(runs)}"


def _schedules(s: Separation) -> str:
    parts = [
        f"{x.dose_gy:g} Gy/{x.fractions}{'*' if x.derived_from else ''}: "
        f"{shown(x.required_separation_mm)}"
        + (f" ({shown_range(x.interval_mm)})" if x.interval_mm else "")
        for x in s.schedules
    ]
    return "; ".join(parts).replace(" (", "\N{NO-BREAK SPACE}(")


def highest_by_separation(s: Separation) -> list[tuple[float, list[HighestDose]]]:
    """Return the highest doses as rows: a separation, and one cell a number of fractions."""
    separations = sorted({x.separation_mm for x in s.highest_doses})
    return [(mm, [x for x in s.highest_doses if x.separation_mm == mm]) for mm in separations]


def highest_words(x: HighestDose) -> str:
    """Return the highest dose as people read it: the value, and in brackets its interval."""
    if x.dose_gy is None or x.interval_gy is None:
        return NO_NUMBER
    if x.at_least:
        return f"≥ {shown(x.dose_gy)}"
    more = "+" if x.interval_at_least else ""
    if x.interval_gy[0] <= 0:
        return f"{shown(x.dose_gy)} (to {shown(x.interval_gy[1])}{more})"
    return f"{shown(x.dose_gy)} ({shown_range(x.interval_gy)}{more})"


def fraction_words(x: HighestDose) -> str:
    """Return a number of fractions, with a star where its limit was converted."""
    plural = "s" if x.fractions != 1 else ""
    return f"{x.fractions} fraction{plural}{'*' if x.derived_from else ''}"


def _highest_lines(s: Separation) -> list[str]:
    table = highest_by_separation(s)
    if not table:
        return ["  none"]
    heads = [fraction_words(x) for x in table[0][1]]
    rows = [[highest_words(x) for x in row] for _, row in table]
    width = max(len(t) for t in [*heads, *(c for row in rows for c in row)]) + 1
    lines = ["  mm  " + "".join(f"{h:<{width}}" for h in heads).rstrip()]
    for (mm, _), row in zip(table, rows, strict=True):
        lines.append(f"  {mm:<4g}" + "".join(f"{c:<{width}}" for c in row).rstrip())
    for reason in highest_reasons(s):
        lines += _indented(f"{NO_NUMBER} {reason}")
    return lines


def highest_reasons(s: Separation) -> list[str]:
    """Return why cells of the table of highest doses are empty."""
    return list(dict.fromkeys(x.reason for x in s.highest_doses if x.dose_gy is None and x.reason))


def derived_words(s: Separation) -> str:
    """Return where limits that no protocol publishes come from; empty where all are published."""
    rows: tuple[Schedule | HighestDose, ...] = (*s.schedules, *s.highest_doses)
    found = dict.fromkeys((x.fractions, x.limit, x.derived_from) for x in rows if x.derived_from)
    parts = [
        f"{shown(limit, 1, 'Gy')} in {n} from {d.constraint_id}, {d.limit:g} Gy in {d.fractions}, "
        f"alpha/beta {d.alpha_beta_gy:g} Gy"
        for n, limit, d in found
        if d is not None
    ]
    return f"* derived limit, not published: {'; '.join(parts)} (EQD2)" if parts else ""
