"""The schedules asked the other way round: what dose does an achieved separation allow?

The answer is searched with the same estimate that gives the required separation of a schedule, so
that the two tables cannot contradict each other: a dose is given for s mm only if its own required
separation is at most s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from cordgap.dvh.metrics import Goal
from cordgap.separation.estimators import Estimate
from cordgap.separation.plan import Plan
from cordgap.separation.reach import Reach
from cordgap.separation.result import HighestDose
from cordgap.separation.schedules import (
    SCHEDULES,
    ScheduleLimits,
    estimate_at,
    limits_for,
    strictest,
)

ACHIEVED_MM = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
# Doses are searched in steps of this and rounded down to it.
STEP_GY = 0.1
# A plan is not scaled to more than this many times its dose.
MOST_SCALE = 2.0
_SAME_MM = 1e-6


def highest_doses(
    reach: Reach, plan: Plan, headline: Sequence[Goal], max_mm: float
) -> tuple[HighestDose, ...]:
    """Return the highest dose for each achieved separation and number of fractions.

    A separation below the present one removes nothing and counts as the present one. Rows are
    ordered by fractions, then separation; there are none without a prescription.
    """
    if plan.prescription is None:
        return ()
    own = plan.prescription.fractions
    counts = sorted({n for _, n in SCHEDULES} | {own})
    rows: list[HighestDose] = []
    for fractions in counts:
        limits = limits_for(plan, fractions, is_own=fractions == own)
        rows += _for_fractions(reach, plan, headline, limits, max_mm)
    return tuple(rows)


def _for_fractions(
    reach: Reach, plan: Plan, headline: Sequence[Goal], limits: ScheduleLimits, max_mm: float
) -> list[HighestDose]:
    present = reach.whole.gap.separation_mm

    @cache
    def at(tenths: int) -> Estimate:
        return estimate_at(reach, plan, headline, limits, _gy(tenths), max_mm)

    strict = strictest(plan, limits)
    largest = int(np.floor(MOST_SCALE * plan.rx_gy / STEP_GY + _SAME_MM))
    rows = []
    for achieved in ACHIEVED_MM:
        name, bound, derived = limits.of(at(1).binding or strict)
        dose, interval, reason = _search(at, largest, max(achieved, present))
        if dose is not None:
            name, bound, derived = limits.of(at(dose).binding or strict)
        rows.append(
            HighestDose(
                separation_mm=achieved,
                fractions=limits.fractions,
                constraint_id=name,
                limit=bound,
                dose_gy=None if dose is None else _gy(dose),
                interval_gy=None if interval is None else (_gy(interval[0]), _gy(interval[1])),
                at_least=dose == largest,
                interval_at_least=interval is not None and interval[1] == largest,
                reason=reason,
                derived_from=derived,
            )
        )
    return rows


def _gy(tenths: int) -> float:
    return round(tenths * STEP_GY, 6)


def _search(
    at: Callable[[int], Estimate], largest: int, separation_mm: float
) -> tuple[int | None, tuple[int, int] | None, str | None]:
    """Highest dose in steps, the interval around it, and a reason where there is none."""

    def allows(reach_mm: float | None) -> bool:
        return reach_mm is not None and reach_mm <= separation_mm + _SAME_MM

    def central(tenths: int) -> bool:
        return allows(at(tenths).required_mm)

    def surely(tenths: int) -> bool:
        found = at(tenths).interval_mm
        return found is not None and central(tenths) and allows(found[1])

    def perhaps(tenths: int) -> bool:
        found = at(tenths).interval_mm
        return found is not None and allows(found[0])

    dose = _highest(central, 1, largest)
    if dose is None:
        least = at(1)
        needs = f"{least.required_mm or 0.0:.1f} mm are needed for the coverage goal at any dose"
        return None, None, least.reason if least.required_mm is None else needs
    low = _highest(surely, 1, dose) or 0
    high = _highest(perhaps, dose, largest) or dose
    unsure = "the interval of the separation for coverage reaches farther"
    return dose, (low, high), None if low else unsure


def _highest(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """Largest whole number from low to high for which something holds that holds up to a bound."""
    if not holds(low):
        return None
    if holds(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
