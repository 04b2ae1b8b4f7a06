"""The estimators of required separation, one small function each.

Every estimator answers for one coverage goal and one set of cord limits, says whether it applies,
and never returns a number without an interval. What was measured about them, and where their
intervals come from, stands in docs/separation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cordgap.dvh.metrics import Goal
from cordgap.separation.anatomy import Anatomy
from cordgap.separation.falloff import KNEE_FRACTION, Falloff, PopulationFalloff
from cordgap.separation.plan import CordLimit
from cordgap.separation.result import Interval, Method

# Share of the intervals below that contained the re-planned truth (docs/separation.md).
INTERVAL_COVERS = 0.9
# Plan-gradient: gradient factor, its range, and what the rest of the error adds in mm.
GRADIENT_FACTOR = 1.0
GRADIENT_FACTOR_RANGE = (0.85, 1.2)
GRADIENT_REST_MM = 0.25
# Trim: how far the re-planned truth lay below and above, in mm, for the goals it was tried on.
TRIM_INTERVALS_MM: dict[str, tuple[float, float]] = {
    "D98%[%]>=95": (0.5, 0.9),
    "DC0.035cc[%]>=80": (0.4, 0.4),
}
TRIM_INTERVAL_UNTRIED_MM = (1.2, 1.2)
TRIM_STEP_MM = 0.5
TRIM_PRECISION_MM = 0.01
# Goals for which plan-gradient was compared with re-planned truth.
PLAN_GRADIENT_GOALS = ("D98%[%]>=95",)
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


def trim(anatomy: Anatomy, goal: Goal, rx_gy: float, *, max_mm: float) -> Estimate:
    """Keep the dose, trim the target, read the coverage again: a sufficient separation.

    Applies to plans that hold their cord goal: the plan itself shows that the target left at that
    separation can be covered, with the cord dose as it is.
    """
    present = anatomy.gap.separation_mm
    metric = goal.metric
    if anatomy.cells.coverage(metric, 0.0, rx_gy) is None:
        return Estimate("trim", None, None, f"{metric} of the target is not evaluable")

    def holds(separation_mm: float) -> bool:
        value = anatomy.cells.coverage(metric, separation_mm, rx_gy)
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
    below, above = TRIM_INTERVALS_MM.get(str(goal), TRIM_INTERVAL_UNTRIED_MM)
    return Estimate("trim", high, (max(high - below, present), high + above))


def plan_gradient(
    anatomy: Anatomy,
    limits: Sequence[CordLimit],
    rx_gy: float,
    *,
    max_mm: float,
    start: Estimate | None = None,
) -> Estimate:
    """Let the dose follow the receding target with the gradient that the plan shows now.

    Applies to plans whose dose is too high for the cord. The plan's own coverage is kept, or, with
    ``start``, the coverage that trimming the target to ``start`` gives at the present cord dose:
    from there the target recedes further.
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
    central, low, high = [], [], []
    for limit in limits:
        factor = limit.allowed_factor
        if factor is None:
            return Estimate("plan-gradient", None, None, f"{limit.id} is not evaluable")
        at, rest = _falls_to(limit, factor, anatomy.gradient.gradient_gy_per_mm, begin, rx_gy)
        central.append(at[0])
        low.append(max(present, at[0] - float(np.hypot(at[0] - at[1] + rest, below))))
        high.append(at[0] + float(np.hypot(at[2] - at[0] + rest, above)))
    required, interval = max(central), (max(low), max(high))
    binding = limits[int(np.argmax(central))].id
    if required <= present:
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
    limit: CordLimit, factor: float, gradient_gy_per_mm: float, begin_mm: float, rx_gy: float
) -> tuple[list[float], float]:
    """Separations at which a limit is met, central, steep and shallow, and the other error."""
    slope = gradient_gy_per_mm * limit.scale
    shallow, steep = GRADIENT_FACTOR_RANGE
    knee = KNEE_FRACTION * rx_gy * limit.scale
    dose = limit.near_maximum_gy
    at = [
        Falloff(dose, begin_mm, k * slope, knee).separation_for_mm(dose * factor)
        for k in (GRADIENT_FACTOR, steep, shallow)
    ]
    return at, float(np.hypot(GRADIENT_REST_MM, limit.plus_minus_gy / slope))


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
