"""Nieder's bounds on the cumulative BED: shown beside the conditions, never mixed with EQD2."""

from __future__ import annotations

from dataclasses import dataclass

from cordgap.limits.courses import OnStructure
from cordgap.limits.rules import ReirradiationRules


@dataclass(frozen=True)
class NiederResult:
    """The same courses in BED, as Nieder's series counts them."""

    cumulative_bed_gy: float | None
    highest_course_bed_gy: float | None
    words: str


def judge_nieder(
    on: OnStructure, known: bool, interval: float | None, rules: ReirradiationRules
) -> NiederResult:
    """Judge the courses by Nieder's bounds, which are in BED and need conditions of their own.

    Parameters
    ----------
    on : OnStructure
    known : bool
        Whether every previous dose covers the whole structure.
    interval : float or None
        Months since the last previous course.
    rules : ReirradiationRules
    """
    rule = rules.nieder
    if on.new is None or not known or not on.new.is_complete:
        return NiederResult(None, None, "not evaluable: a dose is missing or covers only a part")
    courses = [c.bed_gy for c in (*on.courses, on.new)]
    total, highest = sum(courses), max(courses)
    if interval is None:
        return NiederResult(total, highest, "not evaluable: an interval is not known")
    if interval < rule.interval_months or highest > rule.course_bed_gy:
        return NiederResult(
            total,
            highest,
            f"does not apply: it needs {rule.interval_months:g} months between courses and at "
            f"most {rule.course_bed_gy:g} Gy BED in each",
        )
    words = rule.above_words
    if total <= rule.none_seen_bed_gy:
        words = f"at most {rule.none_seen_bed_gy:g} Gy BED: {rule.none_seen_words}"
    elif total <= rule.small_risk_bed_gy:
        words = f"at most {rule.small_risk_bed_gy:g} Gy BED: {rule.small_risk_words}"
    return NiederResult(total, highest, words)
