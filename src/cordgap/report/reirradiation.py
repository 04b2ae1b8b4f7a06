"""Previous radiation and risk in words: the same lines on terminal, page and PDF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cordgap.report.numbers import rounded_down, shown

if TYPE_CHECKING:
    from cordgap.analysis import CaseResult
    from cordgap.limits.courses import Course
    from cordgap.limits.reirradiation import ConditionResult, LevelTolerance, Reirradiation
    from cordgap.limits.risk import Risk

# Levels printed as text; the documents hold all.
_LEVELS_SHOWN = 8


def course_line(c: Course) -> str:
    """Return one course as a line of text."""
    text = f"{c.source} in {c.fractions}: near-maximum {shown(c.near_maximum_gy, 1, 'Gy')}, "
    text += f"{shown(c.eqd2_gy, 1)} Gy EQD2 (Max {shown(c.max_eqd2_gy, 1)})"
    if not c.is_complete:
        text += f", {100 * c.covered_fraction:.0f} % covered"
    if c.interval_months is not None:
        text += f", {shown(c.interval_months, 1)} months before ({c.interval_source})"
    return text


def condition_verdict(c: ConditionResult) -> str:
    """Return the verdict on a condition as people say it."""
    return "not met" if c.verdict == "exceeded" else c.verdict


def condition_words(c: ConditionResult) -> str:
    """Return one condition with its values as a line of text, without its verdict."""
    digits = 2 if not c.unit else 1
    bound = f"at most {c.at_most:g}" if c.at_most is not None else f"at least {c.at_least:g}"
    unit = f" {c.unit}" if c.unit else ""
    text = f"{c.words} {shown(c.value, digits)}"
    if c.plus_minus is not None:
        text += f" ± {shown(c.plus_minus, digits)}"
    text += f" ({bound}{unit}, {c.id})"
    if c.max_value is not None:
        text += f"; voxel by voxel {shown(c.voxel_value, digits)}, point maxima "
        text += shown(c.max_value, digits)
    if c.within_uncertainty:
        text += ", within uncertainty"
    return text + (f"; {c.reason}" if c.reason else "")


def remaining_words(found: Reirradiation) -> str:
    """Return what is left for the new course."""
    left = found.remaining
    if left.reason is not None or left.eqd2_gy is None:
        return f"What is left: {left.reason or 'not known'}."
    doses = ", ".join(f"{shown(rounded_down(gy), 1)} in {n}" for n, gy in found.limits_gy)
    return (
        f"What is left for {found.on.roi_name}: {shown(left.eqd2_gy, 1)} Gy EQD2 "
        f"({left.binding}), as near-maximum [Gy]: {doses}."
    )


def level_lines(found: Reirradiation, most: int = _LEVELS_SHOWN) -> list[str]:
    """Return runs of levels that are not known, and those with most dose, from top to bottom."""
    lines = [f"z {low:g} to {high:g} mm: {words}" for low, high, words in _unknown(found.levels)]
    known = [x for x in found.levels if x.prior_eqd2_gy is not None]
    hottest = sorted(known, key=lambda x: x.cumulative_eqd2_gy or x.prior_eqd2_gy or 0.0)[-most:]
    for x in sorted(hottest, key=lambda x: -x.z_mm[0]):
        text = f"z {x.z_mm[0]:g} to {x.z_mm[1]:g} mm: previous {shown(x.prior_eqd2_gy)}, "
        text += f"new {shown(x.new_eqd2_gy)}, together {shown(x.cumulative_eqd2_gy)}; left "
        text += f"{shown(x.remaining_eqd2_gy)} Gy EQD2 = {shown(rounded_down(x.remaining_gy), 1)}"
        lines.append(f"{text} Gy")
    return lines


def _unknown(levels: Sequence[LevelTolerance]) -> list[tuple[float, float, str]]:
    """Runs of levels of which a previous dose is not known, with the reason."""
    runs: list[tuple[float, float, str]] = []
    for x in levels:
        if x.prior_eqd2_gy is not None:
            continue
        reason = x.reason or "not known"
        if runs and runs[-1][1] == x.z_mm[0] and runs[-1][2] == reason:
            runs[-1] = (runs[-1][0], x.z_mm[1], reason)
        else:
            runs.append((*x.z_mm, reason))
    return runs


def note_lines(found: Reirradiation) -> list[str]:
    """Return what stands beside the conditions: other ways to count, and what was seen."""
    rules, nieder = found.rules, found.nieder
    lines = [
        f"EQD2 with alpha/beta {rules.alpha_beta_gy:g} Gy. {rules.notes} {rules.source}",
        f"BED ({rules.nieder.citation}): {shown(nieder.cumulative_bed_gy)} Gy together, "
        f"{shown(nieder.highest_course_bed_gy)} in one course; {nieder.words}",
    ]
    for gy, citation, total, new in found.other_alpha_beta:
        lines.append(
            f"with alpha/beta {gy:g} Gy ({citation}): together {shown(total)}, new course "
            f"{shown(new)} Gy EQD2; the conditions are not stated for it"
        )
    if found.recovered_eqd2_gy is not None:
        lines.append(
            f"with recovery by rule of thumb: together {shown(found.recovered_eqd2_gy)} Gy EQD2, "
            f"compared with no limit ({rules.recovery.citation})"
        )
    return lines + [f"seen: {x.words} ({x.citation})" for x in rules.series]


def reirradiation_lines(result: CaseResult) -> list[str]:
    """Return previous radiation as lines for a terminal; empty without any."""
    found = result.reirradiation
    if found is None:
        return []
    where = found.on.roi_name
    if found.stands_in:
        where += f", in place of the {found.rules.structure.replace('_', ' ')}"
    lines = [f"previous radiation ({found.rules.id}, on {where})"]
    lines += [f"  {course_line(c)}" for c in found.on.courses]
    if found.on.new is not None:
        lines.append(f"  {course_line(found.on.new)}")
    lines += [f"  {condition_verdict(c):<13} {condition_words(c)}" for c in found.conditions]
    lines.append(f"  {remaining_words(found)}")
    lines.append(
        f"  levels of {found.cord.roi_name} with most dose, highest EQD2 [Gy], and what the caps "
        "leave (all levels: result.json)"
    )
    lines += [f"    {line}" for line in level_lines(found)]
    return lines + [f"  {line}" for line in note_lines(found)]


def risk_summary(risk: Risk | None) -> list[str]:
    """Return the risk in a few lines for a terminal; sources in full stand in the documents."""
    if risk is None:
        return []
    if risk.reason is not None:
        return [f"risk of radiation myelopathy: no region, {risk.reason}"]
    parts = [
        f"{x.words} ({shown(x.value_gy)} Gy EQD2 against {shown(x.threshold_gy)}, {x.short}, "
        f"alpha/beta {x.alpha_beta_gy:g} Gy)"
        for x in risk.regions
    ]
    seen = ", ".join(x.short for x in risk.seen)
    return [
        f"risk of radiation myelopathy by {risk.roi_name}: {'; '.join(parts)}. "
        f"{risk.regions[0].caveat} Seen: {seen}."
    ]


def risk_lines(risk: Risk | None) -> list[str]:
    """Return the risk as lines for a terminal: regions with their caveats, and what was seen."""
    if risk is None:
        return []
    lines = ["risk of radiation myelopathy"]
    if risk.reason is not None:
        lines.append(f"  no region: {risk.reason}")
    lines += [
        f"  {x.words}: {risk.roi_name} {shown(x.value_gy)} Gy EQD2 against "
        f"{shown(x.threshold_gy)} (alpha/beta {x.alpha_beta_gy:g} Gy; {x.model}). {x.caveat} "
        f"{x.citation}"
        for x in risk.regions
    ]
    if risk.reason is None:
        lines += [f"  seen: {x.words} ({x.citation})" for x in risk.seen]
    return lines
