"""The coverage goals of a plan: how it stands, and the separation that each would need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cordgap.dvh.metrics import Goal, MetricValue, parse_goal
from cordgap.errors import Finding
from cordgap.separation.anatomy import Anatomy
from cordgap.separation.estimators import (
    PLAN_GRADIENT_GOALS,
    RIM_MM,
    TRIM_INTERVALS_MM,
    Estimate,
    plan_gradient,
    population_falloff,
    reach_goal,
    trim,
)
from cordgap.separation.plan import CordLimit, Plan
from cordgap.separation.result import (
    CoverageGoal,
    Method,
    Verdict,
)

HEADLINE_GOAL = parse_goal("D98%[%]>=95")
OTHER_GOALS = (parse_goal("D95%[%]>=100"), parse_goal("DC0.035cc[%]>=80"))


# Cord metrics that a model of the dose at the edge of the cord can speak of.
NEAR_MAXIMA_GY = ("D0.035cc[Gy]", "D0.03cc[Gy]", "D0.1cc[Gy]", "Max[Gy]")


def answer_goals(
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
            estimate = _by_plan_gradient(anatomy, plan, goal, max_mm)
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
            _warn_of_cold_core(anatomy, plan, findings)
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


def _by_plan_gradient(anatomy: Anatomy, plan: Plan, goal: Goal, max_mm: float) -> Estimate:
    """Row of one coverage goal."""
    if str(goal) not in PLAN_GRADIENT_GOALS:
        return Estimate(
            "plan-gradient",
            None,
            None,
            "plan-gradient keeps the coverage that the plan has now and was not validated for "
            "this goal: a new plan can meet it and leave the rim cold",
        )
    return reach_goal(anatomy, plan.limits, goal, plan.rx_gy, max_mm)


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
                    "the plan's own coverage; "
                    + (
                        "what reaching the goal needs is not known"
                        if row.required_separation_mm is None
                        else "the row of the goal holds the estimate for reaching it"
                    ),
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
    def none(reason: str) -> Estimate:
        return Estimate("population-falloff", None, None, reason)

    if not headline:
        return none("without a plan only the headline goal is estimated")
    if not plan.cord_goals:
        return none("no cord goal applies to this plan")
    for goal in plan.cord_goals:
        if goal.metric not in NEAR_MAXIMA_GY:
            return none(
                f"{goal.id} is no limit on a near-maximum dose in Gy: without a plan it cannot be "
                "estimated"
            )
    limits = [(g.id, g.limit) for g in plan.cord_goals]
    return population_falloff(limits, plan.rx_gy, max_mm=max_mm)


def _warn_of_cold_core(anatomy: Anatomy, plan: Plan, findings: list[Finding]) -> None:
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
