"""The estimators of required separation, one small function each.

Every estimator answers for one coverage goal and one set of cord limits, says whether it applies,
and never returns a number without an interval. What was measured about them, and where their
intervals come from, stands in docs/separation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cordgap.dvh.metrics import Goal, parse_metric
from cordgap.separation.anatomy import Anatomy
from cordgap.separation.falloff import KNEE_FRACTION, Falloff, PopulationFalloff
from cordgap.separation.plan import CordLimit
from cordgap.separation.recession import recede
from cordgap.separation.result import Interval, Method, Region

# Share of the intervals below that contained the re-planned truth (docs/separation.md).
INTERVAL_COVERS = 0.9
# Plan-gradient: range of the slope around its estimate, and what the rest of the error adds.
SLOPE_RANGE = (0.85, 1.18)
SLOPE_REST_MM = 0.05
# Share of the lag of the cord behind the target: the estimate, and its shallow and steep end.
LAG_SHARE = 0.75
LAG_RANGE = (0.85, 0.6)
# Slope: half way (geometric mean) from the gradient in the cord to this share of the prescription
# per mm, which re-planned cases reach, times what they show beyond.
USUAL_GRADIENT_PER_MM = 0.10
SLOPE_FACTOR = 1.07
# A plan that covers less than usual spends the room on coverage first: 3.5 per unit of D98.
COVERAGE = parse_metric("D98%[%]")
USUAL_COVERAGE, COVERAGE_SLOPE = 0.97, 3.5
LEAST_COVERAGE, MOST_COVERAGE = 0.85, 0.98
# A short hot end is cooled more easily than a long one: the fall over 2 cc in mm of gradient.
USUAL_FALL_MM, FALL_SLOPE_PER_MM, MOST_FALL = 3.4, 0.035, 0.15
# Another dose at the rim: what the rest of the error adds to plan-gradient.
SHIFT_REST_MM = 0.4
# ... and how much less than that a goal at the rim needed on anatomies that were held out.
RIM_BELOW_MM = 0.4
# Isodose recession: how much less than this bound is needed, as a share of the way, and its rest.
RECESSION_BELOW = 0.5
RECESSION_REST_MM = 0.25
# Trim: how far the re-planned truth lay below and above, in mm, for the goals it was tried on.
TRIM_INTERVALS_MM: dict[str, tuple[float, float]] = {
    "D98%[%]>=95": (0.5, 0.9),
    "D95%[%]>=95": (1.0, 0.3),
    "D99%[%]>=95": (0.3, 1.2),
}
TRIM_NEAR_MINIMUM_MM = (0.4, 0.4)
TRIM_RIM_MM = (0.1, 1.1)
TRIM_INTERVAL_UNTRIED_MM = (1.2, 1.2)
TRIM_STEP_MM = 0.5
TRIM_PRECISION_MM = 0.01
# Goals for which plan-gradient was compared with re-planned truth: this one, and near-minima
# (trim: up to 85 % of the prescription) and the rim within these shares of the prescription.
PLAN_GRADIENT_GOALS = ("D98%[%]>=95",)
NEAR_MINIMUM_TRIED = (0.5, 0.9)
NEAR_MINIMUM_TRIM_TRIED = 0.85
RIM_GOALS = ("D95%[%]>=95", "D95%[%]>=90")
# A trim estimate is about the rim: what is cold farther from the cord is not cured by it.
RIM_MM = 3.0


@dataclass(frozen=True)
class Estimate:
    """A required separation with its interval, or the reason why there is none.

    ``binding`` is the cord limit that asks for most, where one does.
    """

    method: Method
    required_mm: float | None
    interval_mm: Interval | None
    reason: str | None = None
    reachable: bool = True
    binding: str | None = None
    applies: bool = True


def trim(
    anatomy: Anatomy, goal: Goal, rx_gy: float, *, max_mm: float, region: Region = "target"
) -> Estimate:
    """Keep the dose, trim the target, read the coverage again: a sufficient separation.

    Applies to plans that hold their cord goal: the plan itself shows that the target left at that
    separation can be covered, with the cord dose as it is.
    """
    present = anatomy.gap.separation_mm
    metric = goal.metric
    cells = anatomy.cells if region == "target" else anatomy.rim
    if cells.coverage(metric, 0.0, rx_gy) is None:
        return Estimate("trim", None, None, f"{metric} of the {region} is not evaluable")

    def holds(separation_mm: float) -> bool:
        value = cells.coverage(metric, separation_mm, rx_gy)
        return value is not None and goal.holds(value)

    if holds(0.0):
        return Estimate("trim", present, (0.0, present), "the plan meets this goal as it is")
    steps = np.arange(present, max_mm, TRIM_STEP_MM)
    low = present
    for high in [*steps[1:], max_mm]:
        if holds(float(high)):
            break
        low = float(high)
    else:
        return Estimate(
            "trim",
            None,
            None,
            f"{goal} is not met by this dose up to {max_mm:g} mm: the cold part of the target is "
            "not at the cord",
            reachable=False,
        )
    high = float(high)
    while high - low > TRIM_PRECISION_MM:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    below, above = trim_interval_mm(goal, rx_gy, region) or TRIM_INTERVAL_UNTRIED_MM
    return Estimate("trim", high, (max(high - below, present), high + above))


def trim_interval_mm(goal: Goal, rx_gy: float, region: Region) -> tuple[float, float] | None:
    """How far the truth lay below and above trim for a goal; None where it was not tried."""
    if region == "rim":
        return TRIM_RIM_MM if str(goal) in RIM_GOALS else None
    share = near_minimum_share(goal, rx_gy)
    if share is not None and share <= NEAR_MINIMUM_TRIM_TRIED:
        return TRIM_NEAR_MINIMUM_MM
    return TRIM_INTERVALS_MM.get(str(goal))


def near_minimum_share(goal: Goal, rx_gy: float) -> float | None:
    """Bound of a goal on DC0.035cc as a share of the prescription; None for other goals."""
    metric = goal.metric
    if metric.kind != "DC" or metric.argument_unit != "cc" or metric.argument != 0.035:
        return None
    return goal.bound / (100.0 if metric.unit == "%" else rx_gy)


def plan_gradient(
    anatomy: Anatomy,
    limits: Sequence[CordLimit],
    rx_gy: float,
    *,
    max_mm: float,
    start: Estimate | None = None,
    shift_gy: float = 0.0,
) -> Estimate:
    """Let the dose follow the receding target with the gradient that the plan shows now.

    Applies to plans whose dose is too high for the cord. The plan's own coverage is kept, or, with
    ``start``, the coverage that trimming the target to ``start`` gives at the present cord dose:
    from there the target recedes further. With ``shift_gy`` a new plan gives the rim that much more
    (or less) than this one, and the cord with it.
    """
    present = anatomy.gap.separation_mm
    if anatomy.gradient is None:
        return Estimate(
            "plan-gradient",
            None,
            None,
            "no dose gradient can be read between cord and target (they are too far apart, or the "
            "dose grid does not reach)",
        )
    begin, below, above = present, 0.0, 0.0
    if start is not None:
        if start.required_mm is None or start.interval_mm is None:
            return replace(start, method="plan-gradient")
        begin = start.required_mm
        below, above = begin - start.interval_mm[0], start.interval_mm[1] - begin
    slope = slope_gy_per_mm(anatomy, rx_gy, trimmed_mm=0.0 if start is None else begin)
    central, low, high = [], [], []
    for limit in limits:
        allowed = limit.allowed_factor
        if allowed is None:
            return Estimate("plan-gradient", None, None, f"{limit.id} is not evaluable")
        at, rest = _falls_to(anatomy, limit, slope, begin, rx_gy, shift_gy)
        central.append(at[0])
        low.append(max(present, at[0] - float(np.hypot(at[0] - at[1] + rest, below))))
        high.append(at[0] + float(np.hypot(at[2] - at[0] + rest, above)))
    required, interval = max(central), (max(low), max(high))
    binding = limits[int(np.argmax(central))].id
    if required <= present:
        if shift_gy < 0.0:
            return Estimate(
                "plan-gradient",
                present,
                (0.0, max(high)),
                "a new plan that gives the rim no more than this would hold the cord goals",
            )
        if not all(limit.is_held for limit in limits):
            return Estimate("plan-gradient", None, None, "the cord goals cannot be compared")
        return Estimate(
            "plan-gradient", present, (0.0, max(high)), "the plan holds its cord goals as it is"
        )
    if required > max_mm:
        return Estimate(
            "plan-gradient",
            None,
            None,
            f"more than {max_mm:g} mm would be needed",
            reachable=False,
            binding=binding,
        )
    return Estimate("plan-gradient", required, interval, binding=binding)


def _falls_to(
    anatomy: Anatomy,
    limit: CordLimit,
    slope_gy_per_mm: float,
    begin_mm: float,
    rx_gy: float,
    shift_gy: float,
) -> tuple[list[float], float]:
    """Separations at which a limit is met, central, steep and shallow, and the other error."""
    shallow, steep = SLOPE_RANGE
    much, little = LAG_RANGE
    knee = KNEE_FRACTION * rx_gy * limit.scale
    present = limit.near_maximum_gy
    dose = max(present + shift_gy * limit.scale, 0.0)
    allowed = limit.allowed_factor or 0.0
    at = [
        Falloff(
            dose,
            begin_mm,
            k * slope_gy_per_mm * limit.scale,
            knee,
            # Scaling the plan scales dose and slope alike: the lag stays.
            anatomy.lag(begin_mm, k * slope_gy_per_mm, share),
        ).separation_for_mm(present * allowed)
        for k, share in ((1.0, LAG_SHARE), (steep, little), (shallow, much))
    ]
    rest = SLOPE_REST_MM if shift_gy == 0.0 else SHIFT_REST_MM
    return at, float(np.hypot(rest, limit.plus_minus_gy / (slope_gy_per_mm * limit.scale)))


def slope_gy_per_mm(anatomy: Anatomy, rx_gy: float, *, trimmed_mm: float = 0.0) -> float:
    """Fall of the cord dose per mm that a new plan is expected to reach; 0 without a gradient.

    The geometric mean of the gradient that the plan shows in the cord and of 10 % of the
    prescription per mm. Less where the plan covers less (of the target trimmed to ``trimmed_mm``),
    because a new plan spends the room on coverage first; more where the hot end of the cord is
    short.
    """
    if anatomy.gradient is None:
        return 0.0
    own = anatomy.gradient.cord_gradient_gy_per_mm
    slope = SLOPE_FACTOR * float(np.sqrt(USUAL_GRADIENT_PER_MM * rx_gy * own))
    covered = anatomy.cells.coverage(COVERAGE, trimmed_mm, rx_gy)
    if covered is not None:
        share = min(max(covered / 100.0, LEAST_COVERAGE), MOST_COVERAGE)
        slope *= 1.0 + COVERAGE_SLOPE * (share - USUAL_COVERAGE)
    if anatomy.cord_dose is not None:
        fall_mm = anatomy.cord_dose.warm_below_gy / anatomy.gradient.gradient_gy_per_mm
        more = FALL_SLOPE_PER_MM * (fall_mm - USUAL_FALL_MM)
        slope *= 1.0 + min(max(more, -MOST_FALL), MOST_FALL)
    return slope


def plan_falloff(anatomy: Anatomy, limit: CordLimit, rx_gy: float) -> Falloff | None:
    """Near-maximum of a limit's structure against separation, as plan-gradient sees it."""
    if anatomy.gradient is None:
        return None
    slope = slope_gy_per_mm(anatomy, rx_gy)
    present = anatomy.gap.separation_mm
    lag = anatomy.lag(present, slope, LAG_SHARE)
    return Falloff(limit.near_maximum_gy, present, slope, KNEE_FRACTION * rx_gy, lag)


def isodose_recession(anatomy: Anatomy, limits: Sequence[CordLimit], *, max_mm: float) -> Estimate:
    """Let the isodoses go back with the target: a bound, since a new plan falls off steeper.

    Applies to plans whose dose is too high for the cord.
    """
    present = anatomy.gap.separation_mm

    def none(reason: str, *, reachable: bool = True) -> Estimate:
        return Estimate("isodose-recession", None, None, reason, reachable=reachable)

    allowed = [(f, limit.id) for limit in limits if (f := limit.allowed_factor) is not None]
    if len(allowed) < len(limits) or not limits:
        return none("the cord dose is not evaluable")
    factor, binding = min(allowed)
    if factor >= 1.0:
        return Estimate(
            "isodose-recession", present, (0.0, present), "the plan holds its cord goals as it is"
        )
    march = None
    if anatomy.dose is not None:
        march = recede(
            anatomy.dose,
            anatomy.cord,
            anatomy.target_surface,
            to_share=factor,
            max_mm=max_mm - present,
        )
    if march is None:
        return none("the dose around the cord is not known far enough to follow its isodoses")
    receded = march.for_share_mm(factor)
    if receded is None:
        return none(
            f"the isodoses do not leave the cord within {max_mm:g} mm: no bound", reachable=False
        )
    below, above = RECESSION_BELOW, RECESSION_REST_MM
    low = max(present, present + (1.0 - below) * receded - above)
    return Estimate(
        "isodose-recession", present + receded, (low, present + receded + above), binding=binding
    )


def population_falloff(
    limits: Sequence[tuple[str, float]],
    rx_gy: float,
    *,
    max_mm: float,
    model: PopulationFalloff | None = None,
) -> Estimate:
    """Estimate without a plan, from what plans in general do near the cord.

    ``limits`` are pairs of id and limit in Gy on the near-maximum of the cord.
    """
    model = model or PopulationFalloff()
    wanted, binding = min((limit, name) for name, limit in limits)
    required = model.central(rx_gy).separation_for_mm(wanted)
    interval = (
        model.favourable(rx_gy).separation_for_mm(wanted),
        model.unfavourable(rx_gy).separation_for_mm(wanted),
    )
    if required > max_mm:
        return Estimate(
            "population-falloff",
            None,
            None,
            f"more than {max_mm:g} mm would be needed",
            reachable=False,
        )
    return Estimate("population-falloff", required, interval, binding=binding)


def reach_goal(
    anatomy: Anatomy, limits: Sequence[CordLimit], goal: Goal, rx_gy: float, max_mm: float
) -> Estimate:
    """Separation for the cord limits *and* a coverage goal.

    A plan that misses the goal first trims the target until its dose covers what is left; from
    there the dose follows the target. It never needs less than for its own coverage.
    """
    covered = trim(anatomy, goal, rx_gy, max_mm=max_mm)
    if all(limit.is_held for limit in limits):
        return covered
    if covered.required_mm is None:
        return replace(covered, method="plan-gradient")
    own = plan_gradient(anatomy, limits, rx_gy, max_mm=max_mm)
    if covered.required_mm <= anatomy.gap.separation_mm:
        return own
    both = larger(own, plan_gradient(anatomy, limits, rx_gy, max_mm=max_mm, start=covered))
    if both.required_mm is None:
        return both
    return replace(
        both,
        reason=f"the plan misses the goal: {covered.required_mm:.1f} mm until its dose covers the "
        "target, the rest for the cord",
    )


def reach_rim_dose(
    anatomy: Anatomy,
    limits: Sequence[CordLimit],
    goal: Goal,
    rx_gy: float,
    *,
    max_mm: float,
    region: Region = "target",
) -> Estimate:
    """Separation for the cord limits and a goal on the dose at the rim.

    A new plan that gives the rim just what the goal asks for changes the cord by as much: it starts
    from D0 + (goal - rim now). Never less than trim, where the plan misses the goal.
    """
    cells = anatomy.rim
    now = cells.coverage(goal.metric, 0.0, rx_gy)
    if now is None:
        return Estimate("plan-gradient", None, None, f"{goal.metric} of the rim is not evaluable")
    to_gy = rx_gy / 100.0 if goal.metric.unit == "%" else 1.0
    shift = (goal.bound - now) * to_gy
    estimate = plan_gradient(anatomy, limits, rx_gy, max_mm=max_mm, shift_gy=shift)
    if estimate.interval_mm is not None:
        low, high = estimate.interval_mm
        low = max(min(anatomy.gap.separation_mm, low), low - RIM_BELOW_MM)
        estimate = replace(estimate, interval_mm=(low, high))
    if shift <= 0.0 or estimate.required_mm is None:
        return estimate
    covered = trim(anatomy, goal, rx_gy, max_mm=max_mm, region=region)
    return estimate if covered.required_mm is None else larger(estimate, covered)


def larger(one: Estimate, other: Estimate) -> Estimate:
    """Return the estimate that asks for more; its interval reaches as far up as either.

    Where the other asks for more, the interval reaches down as far as the first, which may do.
    """
    if one.required_mm is None or other.required_mm is None:
        return one if one.required_mm is None else other
    if one.interval_mm is None or other.interval_mm is None:
        return one
    most = one if one.required_mm >= other.required_mm else other
    low = one.interval_mm[0]
    if most is other:
        low = min(low, other.interval_mm[0])
    return replace(
        most,
        method=one.method,
        interval_mm=(low, max(one.interval_mm[1], other.interval_mm[1])),
        binding=one.binding or other.binding,
    )
