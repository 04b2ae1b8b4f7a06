"""Required separation for the cord goals and coverage goals of a plan, with its interval.

The choice of estimator follows the plan: cord goals held or at the limit -> trim (question ``as
planned``); exceeded -> plan-gradient (``re-planned``); no dose -> population falloff (``no plan``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cordgap.case.case import Prescription
from cordgap.dvh.curve import DVH
from cordgap.dvh.metrics import Goal, MetricValue, parse_goal, parse_metric
from cordgap.errors import Finding, OptionError
from cordgap.limits.constraint import Constraint
from cordgap.separation.anatomy import FAR_MM, Anatomy
from cordgap.separation.estimators import (
    INTERVAL_COVERS,
    PLAN_GRADIENT_GOALS,
    RIM_MM,
    TRIM_INTERVALS_MM,
    CordLimit,
    Estimate,
    plan_gradient,
    population_falloff,
    trim,
)
from cordgap.separation.falloff import KNEE_FRACTION, Falloff, PopulationFalloff
from cordgap.separation.gap import summarise_sextants
from cordgap.separation.resect import resection_inside_cc
from cordgap.separation.result import (
    CordGoal,
    CoverageGoal,
    CurvePoint,
    GapMap,
    Method,
    Question,
    Schedule,
    Separation,
    SeparationStatus,
    Verdict,
)

DEFAULT_MAX_MM = 10.0
CURVE_STEP_MM = 0.5
HEADLINE_GOAL = parse_goal("D98%[%]>=95")
OTHER_GOALS = (parse_goal("D95%[%]>=100"), parse_goal("DC0.035cc[%]>=80"))
CURVE_METRICS = tuple(parse_metric(m) for m in ("D95%[Gy]", "D98%[Gy]", "DC0.035cc[Gy]"))
# The schedules a tumour board asks about: total dose in Gy, fractions.
SCHEDULES = (
    (18.0, 1), (24.0, 1), (24.0, 2), (24.0, 3), (27.0, 3), (30.0, 3), (30.0, 5), (35.0, 5),
    (40.0, 5),
)  # fmt: skip
_QUESTIONS: dict[Method, Question] = {
    "trim": "as planned",
    "plan-gradient": "re-planned",
    "population-falloff": "no plan",
}


@dataclass(frozen=True, eq=False)
class Plan:
    """What an estimate needs of the plan: limits with their doses, coverage, prescription."""

    prescription: Prescription
    cord_goals: tuple[CordGoal, ...]
    limits: tuple[CordLimit, ...]
    target_dvh: DVH | None
    schedule_limits: tuple[Constraint, ...] = ()

    @property
    def rx_gy(self) -> float:
        """Prescribed dose in Gy."""
        return self.prescription.dose_gy


def estimate_separation(
    anatomy: Anatomy,
    plan: Plan,
    *,
    coverage: Sequence[Goal] = (),
    method: Method | None = None,
    max_mm: float = DEFAULT_MAX_MM,
) -> Separation:
    """Estimate how far the target must stand off the cord.

    Parameters
    ----------
    anatomy : Anatomy
    plan : Plan
        With the cord goals as evaluated on the exported dose.
    coverage : sequence of Goal
        Headline goals in place of ``D98%[%]>=95``; all must hold.
    method : {"trim", "plan-gradient", "population-falloff"}, optional
        In place of the one that the plan asks for.
    max_mm : float
        Largest separation considered.

    Returns
    -------
    Separation

    Raises
    ------
    OptionError
        If a coverage goal is an upper bound.
    """
    headline = tuple(coverage) or (HEADLINE_GOAL,)
    for goal in headline:
        if goal.operator not in (">=", ">"):
            raise OptionError(f"--coverage {goal}: coverage is a lower bound, write it with >=")
    findings = list(anatomy.findings)
    chosen, reason = _choose(plan, method)
    rows, estimate = _answer(anatomy, plan, headline, chosen, reason, max_mm, findings)
    present = anatomy.gap.separation_mm
    required, interval = estimate.required_mm, estimate.interval_mm
    additional = None if required is None else max(0.0, required - present)
    known = required is not None and anatomy.cells.outside_mm3 == 0
    inside = None
    if known and required is not None and anatomy.canal is not None:
        inside = resection_inside_cc(anatomy.cells, required, anatomy.canal)
    overlap = _overlap(anatomy, findings)
    gaps = _with_deficit(anatomy.map, required)
    if present > FAR_MM:
        findings.append(
            Finding(
                "target-far-from-cord",
                f"the target is {present:.1f} mm from the cord: separation is not the problem",
                severity="info",
            )
        )
    return Separation(
        cord_roi_name=anatomy.cord_structure.roi_name,
        cord_role=anatomy.cord_role,
        target_roi_name=anatomy.target_structure.roi_name,
        target_role=anatomy.target_structure.role,
        distance_from=anatomy.cord_role,
        prescription=plan.prescription,
        cord_goals=plan.cord_goals,
        binding_constraint=_binding(plan),
        coverage_goals=rows,
        question=_QUESTIONS[chosen],
        method=chosen,
        separation_mm=present,
        overlap_cc=overlap,
        penetration_mm=anatomy.gap.penetration_mm,
        separation_to_thecal_sac_mm=anatomy.separation_to_thecal_sac_mm,
        closest_cord_point_mm=anatomy.gap.cord_point_mm,
        closest_target_point_mm=anatomy.gap.target_point_mm,
        required_separation_mm=required,
        interval_mm=interval,
        interval_covers=INTERVAL_COVERS,
        additional_mm=additional,
        make_mm=None if interval is None else float(np.ceil(round(2 * interval[1], 6)) / 2),
        resection_cc=anatomy.cells.resection_cc(required) if known and required else None,
        resection_inside_canal_cc=inside,
        status=_status(estimate, present, plan, rows),
        reason=estimate.reason,
        curve=_curve(anatomy, plan, chosen, max_mm),
        map=gaps,
        sextants=summarise_sextants(gaps),
        schedules=_schedules(anatomy, plan, headline, max_mm),
        findings=tuple(findings),
    )


def _choose(plan: Plan, method: Method | None) -> tuple[Method, str | None]:
    """Estimator that fits the plan, and why none can answer if so."""
    if plan.target_dvh is None:
        if method not in (None, "population-falloff"):
            raise OptionError(f"--method {method} needs a dose")
        return "population-falloff", None
    missing = [g for g in plan.cord_goals if g.verdict == "not evaluable"]
    held = all(limit.is_held for limit in plan.limits)
    best: Method = "trim" if held else "plan-gradient"
    if not plan.limits:
        none = "no cord goal applies to this plan"
        return method or best, (missing[0].reason if missing else none) or none
    if missing and held:
        return method or best, f"{missing[0].id} is not evaluable: {missing[0].reason}"
    if method == "trim" and not held:
        return "trim", (
            "trim keeps the cord dose as planned, and this plan exceeds its cord goal; use "
            "plan-gradient"
        )
    return method or best, None


def _answer(
    anatomy: Anatomy,
    plan: Plan,
    headline: Sequence[Goal],
    method: Method,
    reason: str | None,
    max_mm: float,
    findings: list[Finding],
) -> tuple[tuple[CoverageGoal, ...], Estimate]:
    """Rows of all coverage goals, and the estimate that makes the headline."""
    others = [g for g in (HEADLINE_GOAL, *OTHER_GOALS) if str(g) not in {str(h) for h in headline}]
    rows, estimates = [], []
    for goal in [*headline, *others]:
        is_headline = goal in headline
        if reason is not None:
            estimate = Estimate(method, None, None, reason)
        elif method == "trim":
            estimate = _by_trim(anatomy, plan, goal, is_headline, max_mm, findings)
        elif method == "plan-gradient":
            estimate = _by_plan_gradient(anatomy, plan, goal, is_headline, max_mm)
        else:
            estimate = _without_plan(plan, is_headline, max_mm)
        rows.append(_row(plan, goal, is_headline, estimate))
        if is_headline:
            estimates.append(estimate)
    if method == "plan-gradient" and reason is None:
        answer = _own_coverage(anatomy, plan, headline, rows, max_mm, findings)
        return tuple(rows), answer
    failed = [e for e in estimates if e.required_mm is None]
    answer = failed[0] if failed else max(estimates, key=lambda e: e.required_mm or 0.0)
    return tuple(rows), answer


def _row(plan: Plan, goal: Goal, headline: bool, estimate: Estimate) -> CoverageGoal:
    read = MetricValue(None, reason="no dose")
    if plan.target_dvh is not None:
        read = goal.metric.evaluate(plan.target_dvh, plan.rx_gy)
    verdict: Verdict = "not evaluable"
    if read.value is not None:
        verdict = "met" if goal.holds(read.value) else "exceeded"
    return CoverageGoal(
        metric=str(goal.metric),
        at_least=goal.bound,
        value=read.value,
        plus_minus=read.plus_minus,
        verdict=verdict,
        headline=headline,
        required_separation_mm=estimate.required_mm,
        interval_mm=estimate.interval_mm,
        method=estimate.method if estimate.required_mm is not None else None,
        reason=estimate.reason or (read.reason if estimate.required_mm is None else None),
    )


def _by_trim(
    anatomy: Anatomy,
    plan: Plan,
    goal: Goal,
    headline: bool,
    max_mm: float,
    findings: list[Finding],
) -> Estimate:
    tried = str(goal) in TRIM_INTERVALS_MM
    if not tried and not headline:
        return Estimate(
            "trim",
            None,
            None,
            "trim was not validated for this goal: against re-planned cases it asks for 1 to 2 mm "
            "too much, because a new plan can meet it and leave the rim cold",
        )
    estimate = trim(anatomy, goal, plan.rx_gy, max_mm=max_mm)
    if not tried:
        findings.append(
            Finding(
                "coverage-goal-not-validated",
                f"{goal}: the separation is sufficient for this dose as planned, but how close it "
                "comes to what a new plan would need was not tried for this goal",
            )
        )
    if estimate.required_mm is not None and estimate.interval_mm is not None:
        if headline:
            _warn_of_cold_core(anatomy, plan, goal, findings)
        close = [limit for limit in plan.limits if limit.is_close]
        if close:
            estimate = _span_both(anatomy, plan, close, estimate, max_mm, headline, findings)
    return estimate


def _span_both(
    anatomy: Anatomy,
    plan: Plan,
    close: Sequence[CordLimit],
    estimate: Estimate,
    max_mm: float,
    headline: bool,
    findings: list[Finding],
) -> Estimate:
    """At the limit both estimators speak: the interval spans them."""
    at_limit = [
        replace(limit, limit=limit.limit - limit.scale * limit.plus_minus) for limit in close
    ]
    other = plan_gradient(anatomy, at_limit, plan.rx_gy, max_mm=max_mm)
    if estimate.interval_mm is None or other.interval_mm is None:
        return estimate
    if headline:
        findings.append(
            Finding(
                "cord-at-limit",
                f"{close[0].id}: the cord dose is within its uncertainty of the limit; the "
                "interval spans the estimates for a plan that holds it and one that does not",
                roi_name=close[0].roi_name,
            )
        )
    low, high = estimate.interval_mm
    return replace(
        estimate, interval_mm=(min(low, other.interval_mm[0]), max(high, other.interval_mm[1]))
    )


def _by_plan_gradient(
    anatomy: Anatomy, plan: Plan, goal: Goal, headline: bool, max_mm: float
) -> Estimate:
    """Row of one coverage goal."""
    if str(goal) not in PLAN_GRADIENT_GOALS:
        return Estimate(
            "plan-gradient",
            None,
            None,
            "plan-gradient keeps the coverage that the plan has now and was not validated for "
            "this goal: a new plan can meet it and leave the rim cold",
        )
    return _reach_goal(anatomy, plan.limits, goal, plan.rx_gy, max_mm)


def _reach_goal(
    anatomy: Anatomy, limits: Sequence[CordLimit], goal: Goal, rx_gy: float, max_mm: float
) -> Estimate:
    """Separation for the cord limits *and* a coverage goal.

    A plan that misses the goal first trims the target until its dose covers what is left; from
    there the dose follows the target. (Scaling the plan up instead came out 0.9 mm too small on
    re-planned cases, this 0.4 mm: docs/separation.md.)
    """
    covered = trim(anatomy, goal, rx_gy, max_mm=max_mm)
    if all(limit.is_held for limit in limits):
        return covered
    if covered.required_mm is not None and covered.required_mm <= anatomy.gap.separation_mm:
        return plan_gradient(anatomy, limits, rx_gy, max_mm=max_mm)
    estimate = plan_gradient(anatomy, limits, rx_gy, max_mm=max_mm, start=covered)
    if estimate.required_mm is None:
        return estimate
    return replace(
        estimate,
        reason=f"the plan misses the goal: {covered.required_mm:.1f} mm until its dose covers the "
        "target, the rest for the cord",
    )


def _own_coverage(
    anatomy: Anatomy,
    plan: Plan,
    headline: Sequence[Goal],
    rows: Sequence[CoverageGoal],
    max_mm: float,
    findings: list[Finding],
) -> Estimate:
    """Headline of plan-gradient: for the coverage that the plan has now."""
    for goal, row in zip(headline, rows, strict=False):
        if row.verdict == "not evaluable":
            reason = f"{goal.metric} is not evaluable: {row.reason}"
            return Estimate("plan-gradient", None, None, reason)
        if row.verdict == "exceeded":
            findings.append(
                Finding(
                    "coverage-goal-missed-by-plan",
                    f"the plan misses {goal} ({row.value:.1f}): the required separation is for "
                    "the plan's own coverage; the row of the goal holds the estimate for "
                    "reaching it",
                )
            )
        elif str(goal) not in PLAN_GRADIENT_GOALS:
            findings.append(
                Finding(
                    "coverage-goal-not-validated",
                    f"the plan meets {goal}; plan-gradient keeps the coverage it has now and was "
                    "not validated for this goal",
                )
            )
    return plan_gradient(anatomy, plan.limits, plan.rx_gy, max_mm=max_mm)


def _without_plan(plan: Plan, headline: bool, max_mm: float) -> Estimate:
    limits = [
        (g.id, g.limit)
        for g in plan.cord_goals
        if g.unit == "Gy" and g.metric in ("D0.035cc[Gy]", "D0.03cc[Gy]", "D0.1cc[Gy]", "Max[Gy]")
    ]
    if not headline:
        return Estimate(
            "population-falloff", None, None, "without a plan only the headline goal is estimated"
        )
    if not limits:
        return Estimate(
            "population-falloff", None, None, "no cord goal on a near-maximum dose in Gy applies"
        )
    return population_falloff(limits, plan.rx_gy, max_mm=max_mm)


def _warn_of_cold_core(anatomy: Anatomy, plan: Plan, goal: Goal, findings: list[Finding]) -> None:
    """Say how much of the cold target lies away from the cord: separation does not cure that."""
    cells = anatomy.cells
    cold = cells.dose_gy < 0.95 * plan.rx_gy
    away = cold & (cells.cord_distance_mm > max(RIM_MM, anatomy.gap.separation_mm + RIM_MM))
    volume = float(cells.volume_mm3[away].sum())
    share = volume / cells.total_mm3
    if share > 0.01:
        findings.append(
            Finding(
                "cold-volume-away-from-cord",
                f"{100 * share:.1f} % of the target ({volume / 1000:.2f} cc) get less than 95 % of "
                f"the prescription more than {RIM_MM:g} mm behind its edge at the cord: no "
                "separation cures that",
            )
        )


def _overlap(anatomy: Anatomy, findings: list[Finding]) -> float:
    cells = anatomy.cells
    overlap = float(cells.volume_mm3[cells.cord_distance_mm < 0].sum()) / 1000.0
    if anatomy.gap.penetration_mm > 0.1:
        findings.append(
            Finding(
                "target-overlaps-cord",
                f"the target overlaps the cord by {overlap:.3f} cc, up to "
                f"{anatomy.gap.penetration_mm:.1f} mm deep; the separation is 0",
                roi_name=anatomy.target_structure.roi_name,
                action="check both contours where they meet",
            )
        )
    return overlap


def _binding(plan: Plan) -> str | None:
    """The cord goal that asks for most: smallest allowed factor on the dose."""
    factors = [(f, limit.id) for limit in plan.limits if (f := limit.allowed_factor) is not None]
    if factors:
        return min(factors)[1]
    in_gy = [(g.limit, g.id) for g in plan.cord_goals if g.unit == "Gy"]
    return min(in_gy)[1] if in_gy else None


def _status(
    estimate: Estimate, present: float, plan: Plan, rows: Sequence[CoverageGoal]
) -> SeparationStatus:
    if estimate.required_mm is None:
        return "not evaluable" if estimate.reachable else "not reachable within max-mm"
    return "already sufficient" if estimate.required_mm <= present + 1e-9 else "ok"


def _with_deficit(gaps: GapMap, required_mm: float | None) -> GapMap:
    if required_mm is None:
        return gaps
    return replace(gaps, deficit_mm=np.maximum(required_mm - gaps.gap_mm, 0.0))


def _curve(anatomy: Anatomy, plan: Plan, method: Method, max_mm: float) -> tuple[CurvePoint, ...]:
    steps = [float(s) for s in np.arange(0.0, max_mm + CURVE_STEP_MM / 2, CURVE_STEP_MM)]
    whole = anatomy.cells.outside_mm3 == 0
    removed = [anatomy.cells.resection_cc(s) if whole else None for s in steps]
    points: list[CurvePoint] = []
    binding = next((limit for limit in plan.limits if limit.id == _binding(plan)), None)
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
        question = _QUESTIONS[method]
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
    if method != "plan-gradient" or binding is None or anatomy.gradient is None:
        return None
    return Falloff(
        binding.near_maximum_gy,
        anatomy.gap.separation_mm,
        anatomy.gradient.gradient_gy_per_mm,
        KNEE_FRACTION * plan.rx_gy,
    )


def _schedules(
    anatomy: Anatomy, plan: Plan, headline: Sequence[Goal], max_mm: float
) -> tuple[Schedule, ...]:
    """Scale the plan to each schedule and ask again, with the limit for that fraction number."""
    own = (plan.prescription.dose_gy, plan.prescription.fractions)
    wanted = sorted({*SCHEDULES, own}, key=lambda s: (s[1], s[0]))
    return tuple(_schedule(anatomy, plan, headline, s, max_mm) for s in wanted)


def _schedule(
    anatomy: Anatomy,
    plan: Plan,
    headline: Sequence[Goal],
    schedule: tuple[float, int],
    max_mm: float,
) -> Schedule:
    """Separation for cord limit and headline coverage at another schedule."""
    dose_gy, fractions = schedule
    goals, limits = _limits_for(plan, dose_gy, fractions)
    if not goals:
        return Schedule(
            dose_gy, fractions, None, None, None, None,
            f"the protocol has no cord limit for {fractions} fraction(s)",
        )  # fmt: skip
    name, bound = min(goals, key=lambda g: g[1])
    if plan.target_dvh is None:
        estimate = population_falloff(goals, dose_gy, max_mm=max_mm)
    elif not limits or any(limit.value is None for limit in limits):
        estimate = Estimate("trim", None, None, "the cord dose is not evaluable")
    else:
        # Coverage is in % of the prescription: scaling the plan does not change it.
        each = [_reach_goal(anatomy, limits, goal, plan.rx_gy, max_mm) for goal in headline]
        failed = [e for e in each if e.required_mm is None]
        estimate = failed[0] if failed else max(each, key=lambda e: e.required_mm or 0.0)
    return Schedule(
        dose_gy, fractions, name, bound, estimate.required_mm, estimate.interval_mm, estimate.reason
    )


def _limits_for(
    plan: Plan, dose_gy: float, fractions: int
) -> tuple[list[tuple[str, float]], list[CordLimit]]:
    """Cord limits for a schedule, by id and with the plan's dose scaled to it."""
    is_own = (dose_gy, fractions) == (plan.prescription.dose_gy, plan.prescription.fractions)
    if is_own:
        return [(g.id, g.limit) for g in plan.cord_goals if g.unit == "Gy"], list(plan.limits)
    rows = [r for r in plan.schedule_limits if r.fractions == fractions and r.unit == "Gy"]
    if not plan.limits:
        return [(r.id, r.limit) for r in rows], []
    like = plan.limits[0]
    scale = dose_gy / plan.rx_gy
    return [(r.id, r.limit) for r in rows], [
        replace(like, id=r.id, metric=r.metric, limit=r.limit, scale=scale) for r in rows
    ]
