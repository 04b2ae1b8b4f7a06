"""The coverage goals of a plan: how it stands, and the separation that each would need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cordgap.dvh.metrics import Goal, MetricValue, parse_goal
from cordgap.errors import Finding
from cordgap.separation.anatomy import Anatomy
from cordgap.separation.estimators import (
    NEAR_MINIMUM_TRIED,
    PLAN_GRADIENT_GOALS,
    RIM_GOALS,
    RIM_MM,
    Estimate,
    isodose_recession,
    larger,
    near_minimum_share,
    plan_gradient,
    reach_goal,
    reach_rim_dose,
    trim,
    trim_interval_mm,
)
from cordgap.separation.methods import Ask, by_population_falloff
from cordgap.separation.plan import CordLimit, Plan
from cordgap.separation.result import CoverageGoal, Method, Region, Verdict

_COLD_RIM = (
    "a new plan can meet it and leave the rim next to the cord cold; what it needs lies between no "
    "more room than there is and what a covered rim needs"
)
HEADLINE_GOAL = parse_goal("D98%[%]>=95")


@dataclass(frozen=True)
class Asked:
    """One row of the table: a goal, of the whole target or of its rim, and where it comes from."""

    goal: Goal
    region: Region = "target"
    source: str | None = None
    fractions: int | None = None


OTHER_GOALS = (
    Asked(HEADLINE_GOAL),
    Asked(parse_goal("D95%[%]>=100")),
    Asked(parse_goal("DC0.035cc[%]>=80")),
    Asked(parse_goal("D95%[%]>=95"), "rim"),
    Asked(
        parse_goal("DC0.035cc[Gy]>=15"),
        source="Lovelock 2010: GTV minimum above 15 Gy in one fraction; read as near-minimum",
        fractions=1,
    ),
    Asked(
        parse_goal("DC0.035cc[Gy]>=15.3"),
        source="Kowalchuk: GTV minimum 15.3 Gy in one fraction; read as near-minimum",
        fractions=1,
    ),
)


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
    asked = [Asked(goal) for goal in headline]
    wanted = {str(goal) for goal in headline}
    for other in OTHER_GOALS:
        same = other.region == "target" and str(other.goal) in wanted
        if not same and other.fractions in (None, plan.fractions):
            asked.append(other)
    rows, estimates = [], []
    for i, one in enumerate(asked):
        is_headline = i < len(headline)
        if reason is not None:
            estimate = Estimate(method, None, None, reason)
        elif method == "trim":
            estimate = _by_trim(anatomy, plan, one, is_headline, max_mm, findings)
        elif method == "plan-gradient":
            estimate = _by_plan_gradient(anatomy, plan, one, max_mm)
        elif method == "isodose-recession":
            estimate = Estimate(
                method, None, None, "isodose recession keeps the plan's coverage: it knows no goal"
            )
        else:
            estimate = _without_plan(anatomy, plan, one.goal, is_headline, max_mm)
        rows.append(_row(anatomy, plan, one, is_headline, estimate))
        if is_headline:
            estimates.append(estimate)
    if reason is None and method in ("plan-gradient", "isodose-recession"):
        answer = _own_coverage(anatomy, plan, headline, rows, method, max_mm, findings)
        return tuple(rows), answer
    failed = [e for e in estimates if e.required_mm is None]
    answer = failed[0] if failed else max(estimates, key=lambda e: e.required_mm or 0.0)
    return tuple(rows), answer


def _row(
    anatomy: Anatomy, plan: Plan, asked: Asked, headline: bool, estimate: Estimate
) -> CoverageGoal:
    goal = asked.goal
    read = MetricValue(None, reason="no dose")
    if plan.target_dvh is not None and asked.region == "target":
        read = goal.metric.evaluate(plan.target_dvh, plan.rx_gy)
    elif plan.target_dvh is not None:
        value = anatomy.rim.coverage(goal.metric, 0.0, plan.rx_gy)
        reason = None if value is not None else "no target within 8 mm of the cord"
        read = MetricValue(value, reason=reason)
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
        region=asked.region,
        source=asked.source,
    )


def _by_trim(
    anatomy: Anatomy,
    plan: Plan,
    asked: Asked,
    headline: bool,
    max_mm: float,
    findings: list[Finding],
) -> Estimate:
    goal = asked.goal
    tried = trim_interval_mm(goal, plan.rx_gy, asked.region) is not None
    if not tried and not headline:
        return Estimate("trim", None, None, f"trim was not validated for this goal: {_COLD_RIM}")
    estimate = trim(anatomy, goal, plan.rx_gy, max_mm=max_mm, region=asked.region)
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
    other = plan_gradient(anatomy, close, plan.rx_gy, max_mm=max_mm)
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
    other_low = max(other.interval_mm[0], anatomy.gap.separation_mm)
    return replace(estimate, interval_mm=(min(low, other_low), max(high, other.interval_mm[1])))


def _by_plan_gradient(anatomy: Anatomy, plan: Plan, asked: Asked, max_mm: float) -> Estimate:
    """Row of one coverage goal."""
    goal = asked.goal
    if asked.region == "target" and str(goal) in PLAN_GRADIENT_GOALS:
        return reach_goal(anatomy, plan.limits, goal, plan.rx_gy, max_mm)
    if _at_the_rim(asked, plan.rx_gy):
        return reach_rim_dose(
            anatomy, plan.limits, goal, plan.rx_gy, max_mm=max_mm, region=asked.region
        )
    return Estimate(
        "plan-gradient",
        None,
        None,
        "plan-gradient keeps the coverage that the plan has now and was not validated for this "
        f"goal: {_COLD_RIM}",
    )


def _at_the_rim(asked: Asked, rx_gy: float) -> bool:
    """Whether a goal speaks of the dose at the rim, within what was compared with truth."""
    if asked.region == "rim":
        return str(asked.goal) in RIM_GOALS
    share = near_minimum_share(asked.goal, rx_gy)
    return share is not None and NEAR_MINIMUM_TRIED[0] <= share <= NEAR_MINIMUM_TRIED[1]


def _own_coverage(
    anatomy: Anatomy,
    plan: Plan,
    headline: Sequence[Goal],
    rows: Sequence[CoverageGoal],
    method: Method,
    max_mm: float,
    findings: list[Finding],
) -> Estimate:
    """Headline of a plan that breaks its cord goal: for the coverage that it has now.

    Where it misses a headline goal, at least what the goal alone asks for (trim): a stricter cord
    limit never needs less than a looser one that the plan holds.
    """
    if method == "plan-gradient":
        answer = plan_gradient(anatomy, plan.limits, plan.rx_gy, max_mm=max_mm)
    else:
        answer = isodose_recession(anatomy, plan.limits, max_mm=max_mm)
    for goal, row in zip(headline, rows, strict=False):
        if row.verdict == "not evaluable":
            reason = f"{goal.metric} is not evaluable: {row.reason}"
            return Estimate(method, None, None, reason)
        if row.verdict == "exceeded":
            covered = trim(anatomy, goal, plan.rx_gy, max_mm=max_mm)
            if covered.required_mm is not None:
                answer = larger(answer, covered)
            findings.append(
                Finding(
                    "coverage-goal-missed-by-plan",
                    f"the plan misses {goal} ({row.value:.1f}): the required separation is for the "
                    "cord with the plan's own coverage, or for the goal with its own cord dose, "
                    "whichever is more; "
                    + (
                        "what both together need is not known"
                        if row.required_separation_mm is None
                        else "the row of the goal holds the estimate for both together"
                    ),
                )
            )
        elif str(goal) not in PLAN_GRADIENT_GOALS and not _at_the_rim(Asked(goal), plan.rx_gy):
            findings.append(
                Finding(
                    "coverage-goal-not-validated",
                    f"the plan meets {goal}; plan-gradient keeps the coverage it has now and was "
                    "not validated for this goal",
                )
            )
    return answer


def _without_plan(
    anatomy: Anatomy, plan: Plan, goal: Goal, headline: bool, max_mm: float
) -> Estimate:
    if not headline:
        return Estimate(
            "population-falloff", None, None, "without a plan only the headline goal is estimated"
        )
    return by_population_falloff(Ask(anatomy, plan, goal, max_mm))


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
