"""Dose against distance near the cord: measured from a plan, or from a population.

The *plan-gradient* model answers what the cord would get if the plan were made again for a target
that has receded: the edge dose stays with the edge, and falls towards the cord with the gradient
that this plan already shows between target and cord, as far as the cord gains room (``lag``). Down
to 60 % of the prescription the fall is linear, below it exponential, as re-planned cases show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import DoseGrid
from cordgap.dvh.surface import Surface
from cordgap.separation.lag import Lag

FloatArray = NDArray[np.float64]

# Region and percentile in which the plan's own gradient is read (docs/separation.md): dose voxels
# from 3 mm inside the cord to just beyond the gap, and from 2 mm inside the target to 5 mm off it.
CORD_INSIDE_MM = 3.0
CORD_OUTSIDE_MM = 3.0
TARGET_INSIDE_MM = 2.0
TARGET_OUTSIDE_MM = 5.0
GRADIENT_PERCENTILE = 90.0
MIN_VOXELS = 20
# The cord's own gradient: voxels in the cord, less than this farther from the target than its edge.
CORD_DEPTH_MM = 3.0
CORD_PERCENTILE = 80.0
MIN_CORD_VOXELS = 8
# What rounding leaves of the differences of a flat dose is no gradient.
FLAT_GY_PER_MM = 1e-6
# From fewer plans no spread is learned (docs/uncertainty.md).
FEWEST_FOR_A_SPREAD = 5
# Below this share of the prescription the fall is exponential.
KNEE_FRACTION = 0.6


@dataclass(frozen=True)
class GradientReading:
    """Near-cord gradient of a plan in Gy/mm and the number of voxels it was read from.

    ``cord_gradient_gy_per_mm`` is that inside the cord where it faces the target; the same where
    too few voxels lie there.
    """

    gradient_gy_per_mm: float
    n_voxels: int
    cord_gradient_gy_per_mm: float


def read_gradient(
    dose: DoseGrid, cord: Surface, target: Surface, separation_mm: float
) -> GradientReading | None:
    """Read the near-cord gradient of a plan off its dose voxels.

    Returns None where fewer than ``MIN_VOXELS`` dose voxels lie between cord and target: then the
    plan says nothing about a gradient there.
    """
    reach_cord = max(CORD_OUTSIDE_MM, separation_mm + 1.0)
    lower = np.maximum(
        cord.points_mm.min(axis=0) - reach_cord, target.points_mm.min(axis=0) - TARGET_OUTSIDE_MM
    )
    upper = np.minimum(
        cord.points_mm.max(axis=0) + reach_cord, target.points_mm.max(axis=0) + TARGET_OUTSIDE_MM
    )
    if (upper <= lower).any():
        return None
    block = dose.crop(lower, upper, pad=2)
    geometry = block.geometry
    if min(geometry.shape) < 3:
        return None
    slopes = np.gradient(block.values, *geometry.axes)
    size = np.sqrt(sum(s * s for s in slopes))
    # Central differences only: the outermost samples of the block have one-sided ones.
    inner = (slice(1, -1),) * 3
    z, y, x = np.meshgrid(*(a[1:-1] for a in geometry.axes), indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    size = size[inner].ravel()
    to_cord = cord.distance_mm(points, limit_mm=reach_cord + CORD_INSIDE_MM)
    near = (to_cord > -CORD_INSIDE_MM) & (to_cord < reach_cord)
    facing_mm = separation_mm + CORD_DEPTH_MM
    to_target = target.distance_mm(
        points[near], limit_mm=max(TARGET_OUTSIDE_MM, facing_mm) + TARGET_INSIDE_MM
    )
    chosen = size[near][(to_target > -TARGET_INSIDE_MM) & (to_target < TARGET_OUTSIDE_MM)]
    if chosen.size < MIN_VOXELS:
        return None
    gradient = float(np.percentile(chosen, GRADIENT_PERCENTILE))
    if gradient <= FLAT_GY_PER_MM:
        return None
    inside = size[near][(to_cord[near] < 0.0) & (to_target < facing_mm)]
    of_cord = gradient
    if inside.size >= MIN_CORD_VOXELS:
        of_cord = max(float(np.percentile(inside, CORD_PERCENTILE)), FLAT_GY_PER_MM)
    return GradientReading(gradient, int(chosen.size), of_cord)


@dataclass(frozen=True)
class Falloff:
    """Cord dose against separation: linear from the present one, exponential below a knee.

    ``dose_gy`` is what the cord gets at ``separation_mm``; ``gradient_gy_per_mm`` how fast it
    falls; ``knee_gy`` where the exponential tail starts. With ``lag`` the cord gains less room than
    the target recedes.
    """

    dose_gy: float
    separation_mm: float
    gradient_gy_per_mm: float
    knee_gy: float
    lag: Lag | None = None

    @property
    def _knee(self) -> float:
        return min(self.knee_gy, self.dose_gy)

    def cord_dose_gy(self, separation_mm: float) -> float:
        """Predict the cord dose at a separation; not below the present separation."""
        extra = max(separation_mm - self.separation_mm, 0.0)
        if self.lag is not None:
            extra = float(self.lag.effective(self.separation_mm + extra))
        linear = self.dose_gy - self.gradient_gy_per_mm * extra
        if linear >= self._knee:
            return linear
        beyond = extra - (self.dose_gy - self._knee) / self.gradient_gy_per_mm
        return float(self._knee * np.exp(-self.gradient_gy_per_mm / self._knee * beyond))

    def separation_for_mm(self, dose_gy: float) -> float:
        """Return the separation at which the cord dose has fallen to ``dose_gy``."""
        if dose_gy >= self.dose_gy:
            return self.separation_mm
        if dose_gy <= 0:
            return float("inf")
        to_knee = (self.dose_gy - max(dose_gy, self._knee)) / self.gradient_gy_per_mm
        beyond = 0.0
        if dose_gy < self._knee:
            beyond = self._knee / self.gradient_gy_per_mm * float(np.log(self._knee / dose_gy))
        room = to_knee + beyond
        if self.lag is not None:
            return max(self.separation_mm, float(self.lag.separation_for(room)))
        return self.separation_mm + room


@dataclass(frozen=True)
class PopulationFalloff:
    """Falloff of plans in general, as shares of the prescription, with its 90 % range.

    The defaults (docs/separation.md): edge dose of the cord at contact 0.80-0.95, gradient 5 to
    12.5 % per mm, between what clinical plans were reported to show (3 to 10 %/mm; Alexander 2025,
    Guckenberger 2007) and what re-planned phantoms show
    (10 to 12.5 %/mm). ``plans`` counts those that a site's own model was learned from.
    """

    contact_fraction: float = 0.88
    contact_low: float = 0.80
    contact_high: float = 0.95
    gradient_per_mm: float = 0.08
    gradient_low_per_mm: float = 0.05
    gradient_high_per_mm: float = 0.125
    plans: int = 0
    source: str = "published plans"

    @property
    def few(self) -> bool:
        """Whether it was learned from too few plans for a spread of its own."""
        return 0 < self.plans < FEWEST_FOR_A_SPREAD

    def central(self, rx_gy: float) -> Falloff:
        """Return the central falloff for a prescription."""
        return Falloff(
            self.contact_fraction * rx_gy, 0.0, self.gradient_per_mm * rx_gy, KNEE_FRACTION * rx_gy
        )

    def favourable(self, rx_gy: float) -> Falloff:
        """Return the steep end of the range: little separation needed."""
        return Falloff(
            self.contact_low * rx_gy, 0.0, self.gradient_high_per_mm * rx_gy, KNEE_FRACTION * rx_gy
        )

    def unfavourable(self, rx_gy: float) -> Falloff:
        """Return the shallow end of the range: much separation needed."""
        return Falloff(
            self.contact_high * rx_gy, 0.0, self.gradient_low_per_mm * rx_gy, KNEE_FRACTION * rx_gy
        )
