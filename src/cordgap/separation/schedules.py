"""Cord dose against separation, and the required separation of other schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cordgap.dvh.metrics import Goal, parse_metric
from cordgap.limits.constraint import Constraint
from cordgap.limits.radiobiology import isoeffective_dose_gy
from cordgap.separation.anatomy import Anatomy
from cordgap.separation.estimators import Estimate, plan_falloff, population_falloff, reach_goal
from cordgap.separation.falloff import Falloff
from cordgap.separation.methods import NEAR_MAXIMA_GY
from cordgap.separation.plan import CordLimit, Plan
from cordgap.separation.reach import Reach
from cordgap.separation.remaining import Remaining
from cordgap.separation.result import (
    CordGoal,
    CurvePoint,
    DerivedFrom,
    Method,
    Question,
    Schedule,
)

CURVE_STEP_MM = 0.25
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


def curve_steps(max_mm: float) -> NDArray[np.float64]:
    """Separations of the curve: every 0.25 mm from 0."""
    steps: NDArray[np.float64] = np.arange(0.0, max_mm + CURVE_STEP_MM / 2, CURVE_STEP_MM)
    return steps


def separation_curve(
    anatomy: Anatomy, plan: Plan, method: Method, remaining: Remaining, *, bound_mm: float = np.inf
) -> tuple[CurvePoint, ...]:
    """Coverage of T(s) as planned, and the cord dose under the chosen method, for each s.

    Target that cannot be cleared stays at ``bound_mm``: beyond, the cord dose falls no further.
    """
    whole, inside = anatomy.knows_resection, remaining.removed_inside_cc
    removed = [
        (float(s), float(cc) if whole else None, float(inside[i]) if whole and inside is not None
         else None)
        for i, (s, cc) in enumerate(zip(remaining.separation_mm, remaining.removed_cc, strict=True))
    ]  # fmt: skip
    points: list[CurvePoint] = []
    binding = next((limit for limit in plan.limits if limit.id == binding_constraint(plan)), None)
    if plan.target_dvh is not None:
        cord = None if binding is None else binding.near_maximum_gy
        for i, (s, cc, within) in enumerate(removed):
            left = remaining.dvh(i)
            metrics = {
                str(m): None if left is None else m.evaluate(left, plan.rx_gy).value
                for m in CURVE_METRICS
            }
            points.append(CurvePoint(s, cc, within, "as planned", cord, metrics))
    falloff = _predicted(anatomy, plan, binding, method)
    if falloff is not None:
        unknown: dict[str, float | None] = {str(m): None for m in CURVE_METRICS}
        question = QUESTIONS[method]
        points.extend(
            CurvePoint(s, cc, within, question, falloff.cord_dose_gy(min(s, bound_mm)), unknown)
            for s, cc, within in removed
        )
    return tuple(points)


def _predicted(
    anatomy: Anatomy, plan: Plan, binding: CordLimit | None, method: Method
) -> Falloff | None:
    """Cord dose against separation under the chosen method, where it predicts one."""
    if method == "population-falloff":
        return plan.falloff.central(plan.rx_gy) if plan.prescription else None
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


@dataclass(frozen=True, eq=False)
class LimitRow:
    """One cord limit of a schedule; ``source`` is its row, None for a goal of the plan itself."""

    id: str
    limit: float
    unit: str
    source: Constraint | None = None
    derived_from: DerivedFrom | None = None


@dataclass(frozen=True, eq=False)
class ScheduleLimits:
    """Cord limits for a number of fractions; ``reason`` says why there is none.

    Limits of the plan's own schedule are the plan's own goals.
    """

    fractions: int
    is_own: bool
    rows: tuple[LimitRow, ...]
    reason: str | None = None

    def of(self, name: str | None) -> tuple[str | None, float | None, DerivedFrom | None]:
        """Id, limit in Gy and origin of the row of that name, else of the smallest in Gy.

        A limit that is not a dose is None.
        """
        if not self.rows:
            return None, None, None
        in_gy = [r for r in self.rows if r.unit == "Gy"] or self.rows
        row = next((r for r in self.rows if r.id == name), min(in_gy, key=lambda r: r.limit))
        return row.id, row.limit if row.unit == "Gy" else None, row.derived_from


def schedule_table(
    reach: Reach, plan: Plan, headline: Sequence[Goal], max_mm: float
) -> tuple[Schedule, ...]:
    """Scale the plan to each schedule and ask again, with the limit for that fraction number."""
    rx = plan.prescription
    own = None if rx is None else (rx.dose_gy, rx.fractions)
    wanted = sorted({*SCHEDULES, *([own] if own else [])}, key=lambda s: (s[1], s[0]))
    rows = []
    for dose_gy, fractions in wanted:
        limits = limits_for(plan, fractions, is_own=(dose_gy, fractions) == own)
        estimate = estimate_at(reach, plan, headline, limits, dose_gy, max_mm)
        name, bound, derived = limits.of(estimate.binding or strictest(plan, limits))
        known = estimate.required_mm is not None
        rows.append(
            Schedule(
                dose_gy=dose_gy,
                fractions=fractions,
                constraint_id=name,
                limit=bound,
                required_separation_mm=estimate.required_mm,
                interval_mm=estimate.interval_mm,
                question=QUESTIONS[estimate.method] if known else None,
                reason=estimate.reason,
                derived_from=derived,
            )
        )
    return tuple(rows)


def estimate_at(
    reach: Reach,
    plan: Plan,
    headline: Sequence[Goal],
    limits: ScheduleLimits,
    dose_gy: float,
    max_mm: float,
) -> Estimate:
    """Separation for cord limits and headline coverage with the plan scaled to another dose."""

    def none(reason: str) -> Estimate:
        return Estimate("trim", None, None, reason)

    if limits.reason is not None:
        return none(limits.reason)
    in_gy = [g for g in headline if "Gy" in (g.metric.unit, g.metric.argument_unit)]
    if in_gy and dose_gy != plan.rx_gy and plan.target_dvh is not None:
        return none(f"{in_gy[0]} is in Gy: it does not follow the plan to another dose")
    if plan.target_dvh is None:
        goals = [(row.id, row.limit) for row in limits.rows]
        return reach.estimate(
            lambda _: population_falloff(goals, dose_gy, max_mm=max_mm, model=plan.falloff)
        )[0]
    scaled = _scaled_limits(plan, limits, dose_gy / plan.rx_gy)
    if not scaled or any(limit.value is None for limit in scaled):
        return none("the cord dose is not evaluable")

    def ask(anatomy: Anatomy) -> Estimate:
        # Coverage is in % of the prescription: scaling the plan does not change it.
        each = [reach_goal(anatomy, scaled, goal, plan.rx_gy, max_mm) for goal in headline]
        failed = [e for e in each if e.required_mm is None]
        return failed[0] if failed else max(each, key=lambda e: e.required_mm or 0.0)

    return reach.estimate(ask)[0]


def strictest(plan: Plan, limits: ScheduleLimits) -> str | None:
    """Name of the limit that this plan would meet last if it were scaled down; None if unknown."""
    scaled = _scaled_limits(plan, limits, 1.0)
    factors = [(f, limit.id) for limit in scaled if (f := limit.allowed_factor) is not None]
    return min(factors)[1] if factors else None


def limits_for(plan: Plan, fractions: int, *, is_own: bool = False) -> ScheduleLimits:
    """Cord limits for a number of fractions: the plan's goals, published rows, converted rows."""
    if plan.blocked is not None:
        return ScheduleLimits(fractions, is_own, (), plan.blocked)
    if is_own and plan.cord_goals:
        own = tuple(LimitRow(g.id, g.limit, g.unit) for g in plan.cord_goals)
        if plan.target_dvh is None and (odd := [g for g in plan.cord_goals if not _modelled(g)]):
            why = f"{odd[0].id}: without a plan only near-maximum doses in Gy can be estimated"
            return ScheduleLimits(fractions, True, (), why)
        return ScheduleLimits(fractions, True, own)
    known = [r for r in plan.schedule_limits if r.unit == "Gy" and r.fractions is not None]
    if plan.target_dvh is None:
        known = [r for r in known if str(r.metric) in NEAR_MAXIMA_GY]
    left = tuple(
        LimitRow(r.id, r.limit, r.unit, r) for r in plan.remaining if r.fractions == fractions
    )
    published = tuple(LimitRow(r.id, r.limit, r.unit, r) for r in known if r.fractions == fractions)
    rows = published or _derived(known, fractions, plan.alpha_beta_gy)
    if rows or left:
        return ScheduleLimits(fractions, False, rows + left)
    reason = f"the protocol has no near-maximum cord limit for {fractions} fraction(s)"
    return ScheduleLimits(fractions, False, (), reason)


def _modelled(goal: CordGoal) -> bool:
    return goal.metric in NEAR_MAXIMA_GY


def _derived(
    rows: Sequence[Constraint], fractions: int, alpha_beta_gy: float
) -> tuple[LimitRow, ...]:
    """Limits converted by EQD2 from the nearest published numbers of fractions, below and above.

    Of the two the smaller counts, for each metric. Only doses of a hottest volume are converted.
    """
    doses = [r for r in rows if r.metric.kind in ("D", "Max") and r.fractions is not None]
    counts = {r.fractions for r in doses if r.fractions is not None}
    below = max((n for n in counts if n < fractions), default=None)
    above = min((n for n in counts if n > fractions), default=None)
    smallest: dict[str, LimitRow] = {}
    for row in doses:
        if row.fractions is None or row.fractions not in (below, above):
            continue
        limit = isoeffective_dose_gy(
            row.limit, row.fractions, fractions, alpha_beta_gy=alpha_beta_gy
        )
        origin = DerivedFrom(row.id, row.fractions, row.limit, alpha_beta_gy)
        key = str(row.metric)
        if key not in smallest or limit < smallest[key].limit:
            smallest[key] = LimitRow(row.id, limit, row.unit, row, origin)
    return tuple(smallest.values())


def _scaled_limits(plan: Plan, limits: ScheduleLimits, scale: float) -> list[CordLimit]:
    """Limits with the dose of the plan scaled; none where a dose is not known."""
    if limits.is_own:
        return [replace(limit, scale=scale) for limit in plan.limits]
    found = []
    for each in limits.rows:
        row, name, bound = each.source, each.id, each.limit
        assert row is not None
        like = next((x for x in plan.limits if x.structure == row.structure), None)
        if like is not None:
            found.append(replace(like, id=name, metric=row.metric, limit=bound, scale=scale))
        elif plan.cord_dvh is not None and plan.cord_dvh.covered_volume_cc > 0:
            read = row.metric.evaluate(plan.cord_dvh, plan.rx_gy)
            spread = read.plus_minus or 0.0
            found.append(
                CordLimit(
                    name, row.structure, plan.cord_roi_name, row.metric, bound, plan.cord_dvh,
                    plan.rx_gy, spread, scale,
                )
            )  # fmt: skip
    return found
