"""The estimators of required separation, one small function each.

Every estimator answers for one coverage goal and one set of cord limits, says whether it applies,
and never returns a number without an interval. What was measured about them, and where their
intervals come from, stands in docs/separation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cordgap.dvh.curve import DVH
from cordgap.dvh.metrics import Goal, Metric, parse_metric
from cordgap.errors import OutOfRangeError
from cordgap.separation.anatomy import Anatomy
from cordgap.separation.falloff import KNEE_FRACTION, Falloff, PopulationFalloff
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
_NEAR_MAXIMUM = parse_metric("D0.035cc[Gy]")


@dataclass(frozen=True)
class Estimate:
    """A required separation with its interval, or the reason why there is none."""

    method: Method
    required_mm: float | None
    interval_mm: Interval | None
    reason: str | None = None
    reachable: bool = True


@dataclass(frozen=True, eq=False)
class CordLimit:
    """One limit and the dose of the structure it speaks of.

    ``scale`` multiplies the dose (another schedule, or a plan scaled to its coverage goal).
    """

    id: str
    roi_name: str
    metric: Metric
    limit: float
    dvh: DVH
    rx_gy: float
    plus_minus: float
    scale: float = 1.0

    @property
    def value(self) -> float | None:
        """The metric in the plan, in its unit, with the scale applied."""
        read = self.metric.evaluate(_scaled(self.dvh, self.scale), self.rx_gy)
        return read.value

    @property
    def near_maximum_gy(self) -> float:
        """D0.035cc of the structure with the scale applied, or its maximum if it is smaller."""
        read = _NEAR_MAXIMUM.evaluate(self.dvh, self.rx_gy)
        return self.scale * (read.value if read.value is not None else self.dvh.max_gy)

    @property
    def allowed_factor(self) -> float | None:
        """Factor on the dose at which the metric meets its limit; above 1 there is headroom."""
        value = self.value
        if value is None:
            return None
        if self.metric.kind not in ("V", "CV"):
            return self.limit / value if value > 0 else np.inf
        argument = self.metric.argument or 0.0
        dose = argument if self.metric.argument_unit == "Gy" else argument / 100 * self.rx_gy
        volume = (
            self.limit if self.metric.unit == "cc" else self.limit / 100 * self.dvh.total_volume_cc
        )
        try:
            return dose / (self.scale * self.dvh.dose_of_hottest_gy(volume))
        except (OutOfRangeError, ZeroDivisionError):
            return np.inf

    @property
    def is_held(self) -> bool:
        """Whether the limit is held, or exceeded by less than the uncertainty of the metric."""
        value = self.value
        return value is not None and value <= self.limit + self.scale * self.plus_minus

    @property
    def is_close(self) -> bool:
        """Whether the limit lies within the uncertainty of the metric."""
        value = self.value
        return value is not None and abs(value - self.limit) <= self.scale * self.plus_minus


def _scaled(dvh: DVH, factor: float) -> DVH:
    if factor == 1.0:
        return dvh
    return DVH(
        dvh.dose_gy * factor, dvh.volume_cc, dvh.total_volume_cc,
        dvh.min_gy * factor, dvh.mean_gy * factor, dvh.max_gy * factor,
    )  # fmt: skip


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
    if required <= present:
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
        )
    return Estimate("plan-gradient", required, interval)


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
    return at, float(np.hypot(GRADIENT_REST_MM, limit.plus_minus / gradient_gy_per_mm))


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
    wanted = min(limit for _, limit in limits)
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
    return Estimate("population-falloff", required, interval)
