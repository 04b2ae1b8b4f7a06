"""What an estimate needs of a plan: its limits with their doses, its coverage, its prescription."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cordgap.case.case import Prescription
from cordgap.case.naming import Role
from cordgap.dvh.curve import DVH
from cordgap.dvh.metrics import Metric, parse_metric
from cordgap.limits.constraint import Constraint
from cordgap.limits.radiobiology import CORD_ALPHA_BETA_GY
from cordgap.separation.falloff import PopulationFalloff
from cordgap.separation.result import CordGoal

_NEAR_MAXIMUM = parse_metric("D0.035cc[Gy]")


@dataclass(frozen=True, eq=False)
class CordLimit:
    """One limit and the dose of the structure it speaks of.

    ``scale`` multiplies the dose (another schedule, or a plan scaled to its coverage goal).
    """

    id: str
    structure: Role
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
    def plus_minus_gy(self) -> float:
        """Uncertainty as dose in Gy; 0 where the metric is a volume."""
        if self.metric.kind == "V":
            return 0.0
        share = self.rx_gy / 100 if self.metric.unit == "%" else 1.0
        return self.scale * self.plus_minus * share

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
        if self.metric.kind == "CV":
            return None
        if self.metric.kind != "V":
            return self.limit / value if value > 0 else np.inf
        argument = self.metric.argument or 0.0
        dose = argument if self.metric.argument_unit == "Gy" else argument / 100 * self.rx_gy
        volume = (
            self.limit if self.metric.unit == "cc" else self.limit / 100 * self.dvh.total_volume_cc
        )
        if volume >= self.dvh.covered_volume_cc:
            return np.inf
        hottest = self.dvh.dose_of_hottest_gy(volume) if volume > 0 else self.dvh.max_gy
        return dose / (self.scale * hottest) if hottest > 0 else np.inf

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


@dataclass(frozen=True, eq=False)
class Plan:
    """What an estimate needs of the plan: limits with their doses, coverage, prescription.

    ``schedule_limits`` are the rows of the protocol on the cord for any number of fractions, read
    on ``cord_dvh``; ``alpha_beta_gy`` converts them to numbers of fractions without a row.
    ``remaining`` are the rows of what previous courses left, for each number of fractions;
    ``blocked`` says why no separation may be given, such as no room left by previous courses.
    ``falloff`` is what plans in general do, for where there is no dose. Contours alone have no
    prescription: then only the schedules can be answered.
    """

    prescription: Prescription | None
    cord_goals: tuple[CordGoal, ...]
    limits: tuple[CordLimit, ...]
    target_dvh: DVH | None
    schedule_limits: tuple[Constraint, ...] = ()
    cord_dvh: DVH | None = None
    cord_roi_name: str = ""
    alpha_beta_gy: float = CORD_ALPHA_BETA_GY
    remaining: tuple[Constraint, ...] = ()
    blocked: str | None = None
    falloff: PopulationFalloff = field(default_factory=PopulationFalloff)

    @property
    def rx_gy(self) -> float:
        """Prescribed dose in Gy; nan where it is not known."""
        return self.prescription.dose_gy if self.prescription else float("nan")

    @property
    def fractions(self) -> int | None:
        """Number of fractions of the prescription."""
        return self.prescription.fractions if self.prescription else None
