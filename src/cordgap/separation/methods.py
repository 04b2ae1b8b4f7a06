"""The four estimators behind one signature: does it apply to this plan, and what does it say.

All are asked for every plan and printed side by side; ``estimate`` takes the headline from the one
that fits (docs/separation.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cordgap.dvh.metrics import Goal
from cordgap.separation.anatomy import Anatomy
from cordgap.separation.estimators import (
    Estimate,
    isodose_recession,
    plan_gradient,
    population_falloff,
    trim,
)
from cordgap.separation.plan import Plan
from cordgap.separation.result import Method, MethodRow

NO_PRESCRIPTION = (
    "the prescription is not known: give --rx GY and --fractions N, or see the table of schedules"
)
# Cord metrics that a model of the dose at the edge of the cord can speak of.
NEAR_MAXIMA_GY = ("D0.035cc[Gy]", "D0.03cc[Gy]", "D0.1cc[Gy]", "Max[Gy]")


@dataclass(frozen=True, eq=False)
class Ask:
    """What every estimator is asked: a plan in its anatomy, a coverage goal, how far to look."""

    anatomy: Anatomy
    plan: Plan
    goal: Goal
    max_mm: float


Estimator = Callable[[Ask], Estimate]


def by_trim(ask: Ask) -> Estimate:
    """Applies to a dose that holds its cord goals, or exceeds them by less than their error."""
    if (reason := _no_cord_dose(ask.plan)) is not None:
        return _no("trim", reason)
    if not all(limit.is_held for limit in ask.plan.limits):
        return _no("trim", "it keeps the cord dose as planned, and this plan exceeds its cord goal")
    return trim(ask.anatomy, ask.goal, ask.plan.rx_gy, max_mm=ask.max_mm)


def by_plan_gradient(ask: Ask) -> Estimate:
    """Applies to a dose that exceeds a cord goal, with a gradient between cord and target."""
    if (reason := _not_exceeded(ask.plan)) is not None:
        return _no("plan-gradient", reason)
    return plan_gradient(ask.anatomy, ask.plan.limits, ask.plan.rx_gy, max_mm=ask.max_mm)


def by_isodose_recession(ask: Ask) -> Estimate:
    """Applies to a dose that exceeds a cord goal and reaches beyond the cord."""
    if (reason := _not_exceeded(ask.plan)) is not None:
        return _no("isodose-recession", reason)
    return isodose_recession(ask.anatomy, ask.plan.limits, max_mm=ask.max_mm)


def by_population_falloff(ask: Ask) -> Estimate:
    """Applies to cord goals on a near-maximum in Gy; needs no dose."""
    if ask.plan.prescription is None:
        return _no("population-falloff", NO_PRESCRIPTION)
    if not ask.plan.cord_goals:
        return _no("population-falloff", "no cord goal applies to this plan")
    for goal in ask.plan.cord_goals:
        if goal.metric not in NEAR_MAXIMA_GY:
            return _no(
                "population-falloff",
                f"{goal.id} is no limit on a near-maximum dose in Gy: without a plan it cannot be "
                "estimated",
            )
    limits = [(g.id, g.limit) for g in ask.plan.cord_goals]
    return population_falloff(limits, ask.plan.rx_gy, max_mm=ask.max_mm, model=ask.plan.falloff)


ESTIMATORS: dict[Method, Estimator] = {
    "trim": by_trim,
    "plan-gradient": by_plan_gradient,
    "isodose-recession": by_isodose_recession,
    "population-falloff": by_population_falloff,
}


def compare_methods(
    anatomy: Anatomy, plan: Plan, headline: Sequence[Goal], used: Method, max_mm: float
) -> tuple[MethodRow, ...]:
    """Ask every estimator for the plan's first headline goal: what each says, or why not."""
    ask = Ask(anatomy, plan, headline[0], max_mm)
    rows = []
    for method, estimator in ESTIMATORS.items():
        answer = estimator(ask) if plan.blocked is None else _no(method, plan.blocked)
        rows.append(
            MethodRow(
                method=method,
                used=method == used,
                applies=answer.applies,
                bound="upper" if method == "isodose-recession" else None,
                required_separation_mm=answer.required_mm,
                interval_mm=answer.interval_mm,
                reason=answer.reason,
            )
        )
    return tuple(rows)


def _no(method: Method, reason: str) -> Estimate:
    return replace(Estimate(method, None, None, reason), applies=False)


def _no_cord_dose(plan: Plan) -> str | None:
    if plan.target_dvh is None:
        return "it needs a dose"
    if not plan.limits:
        return "no cord goal can be evaluated on this dose"
    return None


def _not_exceeded(plan: Plan) -> str | None:
    if (reason := _no_cord_dose(plan)) is not None:
        return reason
    if all(limit.is_held for limit in plan.limits):
        return "the plan holds its cord goals: the question is coverage, not cord dose"
    return None
