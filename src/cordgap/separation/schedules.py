"""Cord dose against separation, and the required separation of other schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cordgap.dvh.metrics import Goal, parse_metric
from cordgap.separation.anatomy import Anatomy
from cordgap.separation.estimators import (
    Estimate,
    plan_falloff,
    population_falloff,
    reach_goal,
    within_reach,
)
from cordgap.separation.falloff import Falloff, PopulationFalloff
from cordgap.separation.plan import CordLimit, Plan
from cordgap.separation.result import (
    CurvePoint,
    Method,
    Question,
    Schedule,
)

CURVE_STEP_MM = 0.5
CURVE_METRICS = tuple(parse_metric(m) for m in ("D95%[Gy]", "D98%[Gy]", "DC0.035cc[Gy]"))
# The schedules a tumour board asks about: total dose in Gy, fractions.
SCHEDULES = (
    (18.0, 1), (24.0, 1), (24.0, 2), (24.0, 3), (27.0, 3), (30.0, 3), (30.0, 5), (35.0, 5),
    (40.0, 5),
)  # fmt: skip
QUESTIONS: dict[Method, Question] = {
    "trim": "as planned",
    "plan-gradient": "re-planned",
    "isodose-recession": "re-planned",
    "population-falloff": "no plan",
}


def separation_curve(
    anatomy: Anatomy, plan: Plan, method: Method, max_mm: float
) -> tuple[CurvePoint, ...]:
    """Coverage of T(s) as planned, and the cord dose under the chosen method, for each s."""
    steps = [float(s) for s in np.arange(0.0, max_mm + CURVE_STEP_MM / 2, CURVE_STEP_MM)]
    whole = anatomy.knows_resection
    removed = [anatomy.cells.resection_cc(s) if whole else None for s in steps]
    points: list[CurvePoint] = []
    binding = next((limit for limit in plan.limits if limit.id == binding_constraint(plan)), None)
    if plan.target_dvh is not None:
        cord = None if binding is None else binding.near_maximum_gy
        for s, cc in zip(steps, removed, strict=True):
            remaining = anatomy.cells.remaining_dvh(s)
            metrics = {
                str(m): None if remaining is None else m.evaluate(remaining, plan.rx_gy).value
                for m in CURVE_METRICS
            }
            points.append(CurvePoint(s, cc, "as planned", cord, metrics))
    falloff = _predicted(anatomy, plan, binding, method)
    if falloff is not None:
        unknown: dict[str, float | None] = {str(m): None for m in CURVE_METRICS}
        question = QUESTIONS[method]
        points.extend(
            CurvePoint(s, cc, question, falloff.cord_dose_gy(s), unknown)
            for s, cc in zip(steps, removed, strict=True)
        )
    return tuple(points)


def _predicted(
    anatomy: Anatomy, plan: Plan, binding: CordLimit | None, method: Method
) -> Falloff | None:
    """Cord dose against separation under the chosen method, where it predicts one."""
    if method == "population-falloff":
        return PopulationFalloff().central(plan.rx_gy)
    if method != "plan-gradient" or binding is None:
        return None
    return plan_falloff(anatomy, binding, plan.rx_gy)


def binding_constraint(plan: Plan) -> str | None:
    """The cord goal that asks for most: smallest allowed factor on the dose."""
    factors = [(f, limit.id) for limit in plan.limits if (f := limit.allowed_factor) is not None]
    if factors:
        return min(factors)[1]
    in_gy = [(g.limit, g.id) for g in plan.cord_goals if g.unit == "Gy"]
    return min(in_gy)[1] if in_gy else None


def schedule_table(
    anatomy: Anatomy,
    plan: Plan,
    headline: Sequence[Goal],
    max_mm: float,
    reachable: Sequence[str] = (),
) -> tuple[Schedule, ...]:
    """Scale the plan to each schedule and ask again, with the limit for that fraction number."""
    own = (plan.prescription.dose_gy, plan.prescription.fractions)
    wanted = sorted({*SCHEDULES, own}, key=lambda s: (s[1], s[0]))
    return tuple(_schedule(anatomy, plan, headline, s, max_mm, reachable) for s in wanted)


def _schedule(
    anatomy: Anatomy,
    plan: Plan,
    headline: Sequence[Goal],
    schedule: tuple[float, int],
    max_mm: float,
    reachable: Sequence[str],
) -> Schedule:
    """Separation for cord limit and headline coverage at another schedule."""
    dose_gy, fractions = schedule
    goals, limits, reason = _limits_for(plan, dose_gy, fractions)
    own = dose_gy == plan.rx_gy
    in_gy = [g for g in headline if "Gy" in (g.metric.unit, g.metric.argument_unit)]
    if in_gy and not own and plan.target_dvh is not None:
        reason = f"{in_gy[0]} is in Gy: it does not follow the plan to another dose"
    if reason is not None:
        return Schedule(dose_gy, fractions, None, None, None, None, None, reason)
    name, bound = min(goals, key=lambda g: g[1])
    if plan.target_dvh is None:
        estimate = population_falloff(goals, dose_gy, max_mm=max_mm)
    elif not limits or any(limit.value is None for limit in limits):
        estimate = Estimate("trim", None, None, "the cord dose is not evaluable")
    else:
        # Coverage is in % of the prescription: scaling the plan does not change it.
        each = [reach_goal(anatomy, limits, goal, plan.rx_gy, max_mm) for goal in headline]
        failed = [e for e in each if e.required_mm is None]
        estimate = failed[0] if failed else max(each, key=lambda e: e.required_mm or 0.0)
    if reachable:
        estimate = within_reach(anatomy, estimate, reachable)
    return Schedule(
        dose_gy=dose_gy,
        fractions=fractions,
        constraint_id=name,
        limit=bound,
        required_separation_mm=estimate.required_mm,
        interval_mm=estimate.interval_mm,
        question=None if estimate.required_mm is None else QUESTIONS[estimate.method],
        reason=estimate.reason,
    )


def _limits_for(
    plan: Plan, dose_gy: float, fractions: int
) -> tuple[list[tuple[str, float]], list[CordLimit], str | None]:
    """Cord limits for a schedule, by id and with the plan's dose scaled to it, or why none."""
    is_own = (dose_gy, fractions) == (plan.prescription.dose_gy, plan.prescription.fractions)
    if is_own:
        goals = [(g.id, g.limit) for g in plan.cord_goals]
        return goals, list(plan.limits), None if goals else "no cord goal applies"
    rows = [r for r in plan.schedule_limits if r.fractions == fractions and r.unit == "Gy"]
    if not rows:
        return [], [], f"the protocol has no near-maximum cord limit for {fractions} fraction(s)"
    goals = [(r.id, r.limit) for r in rows]
    if plan.target_dvh is None:
        return goals, [], None
    scale = dose_gy / plan.rx_gy
    limits = []
    for row in rows:
        like = next((x for x in plan.limits if x.structure == row.structure), None)
        if like is None:
            return [], [], f"{row.id}: no dose of its structure is known"
        limits.append(replace(like, id=row.id, metric=row.metric, limit=row.limit, scale=scale))
    return goals, limits, None
