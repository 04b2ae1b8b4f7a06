"""Not all of the cord gets out of the dose at once: how far its near-maximum lags behind.

The target recedes to s by losing what lies closer than s. A part of the cord that faces target at
1 mm gains room as soon as s passes 1 mm, one that faces target at 4 mm only when s passes 4 mm. So
the hot end of the cord falls more slowly than its nearest part stands off, wherever warm cord faces
target at several distances. A new plan can shift some of the dose round the cord, so that only a
share of this lag is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cordgap.case.grid import DoseGrid
from cordgap.dvh.solid import Solid
from cordgap.dvh.surface import Surface, in_box
from cordgap.separation.recession import cord_lattice, hottest, read_dose

FloatArray = NDArray[np.float64]

# Separations at which the lag is known; beyond them the cord stands off with the target.
STEP_MM = 0.25
LAST_MM = 12.0
# Cord whose dose is this much below the near-maximum, as a share of it, cannot become it.
NEVER_SHARE = 0.8
# Volume of the warm cord that the near-maximum is compared with.
WARM_MM3 = 2000.0


@dataclass(frozen=True, eq=False)
class CordDose:
    """Cord near the target in points of 1 mm3: dose, and how near the target it faces is.

    ``facing_mm`` is the distance from the cord to that part of the target which is nearest to the
    point, negative where they overlap: the point gains room when the target recedes beyond it.
    """

    dose_gy: FloatArray
    facing_mm: FloatArray

    @cached_property
    def warm_below_gy(self) -> float:
        """How far the dose of the hottest 2 cc of the cord lies below its near-maximum."""
        return float(hottest(self.dose_gy) - hottest(self.dose_gy, WARM_MM3))


@dataclass(frozen=True, eq=False)
class Lag:
    """What the cord stands off in effect, against the separation of the target; both rise.

    Less than the target, where it lags behind; more, where the target thins out.
    """

    separation_mm: FloatArray
    effective_mm: FloatArray

    def effective(self, separation_mm: ArrayLike) -> FloatArray:
        """Room that the near-maximum has gained at separations."""
        at = np.asarray(separation_mm, dtype=np.float64)
        beyond = np.maximum(at - self.separation_mm[-1], 0.0)
        room: FloatArray = np.interp(at, self.separation_mm, self.effective_mm) + beyond
        return room

    def separation_for(self, effective_mm: ArrayLike) -> FloatArray:
        """Separations at which the near-maximum has gained that much room."""
        room = np.asarray(effective_mm, dtype=np.float64)
        beyond = np.maximum(room - self.effective_mm[-1], 0.0)
        at: FloatArray = np.interp(room, self.effective_mm, self.separation_mm) + beyond
        return at

    def stretched(self, beyond_mm: float, factor: float) -> Lag:
        """Return a lag that takes ``factor`` times the way beyond a separation."""
        way = np.maximum(self.separation_mm - beyond_mm, 0.0)
        return Lag(self.separation_mm + (factor - 1.0) * way, self.effective_mm)


def read_cord(
    dose: DoseGrid, cord: Solid, cord_surface: Surface, target: Surface
) -> CordDose | None:
    """Read the dose of the cord near a target; None where the dose grid holds none of it."""
    points = cord_lattice(cord, target)
    lower, upper = dose.geometry.lower_mm, dose.geometry.upper_mm
    points = points[in_box(points, lower, upper)]
    if not len(points) or min(dose.geometry.shape) < 2:
        return None
    block = dose.crop(points.min(axis=0), points.max(axis=0), pad=2)
    values = read_dose(block, points)
    warm = values > (1.0 - NEVER_SHARE) * hottest(values)
    points, values = points[warm], values[warm]
    if not len(points):
        return None
    _, nearest = target.tree.query(points)
    return CordDose(values, cord_surface.distance_mm(target.points_mm[nearest]))


def lag_behind(cord: CordDose, begin_mm: float, slope_gy_per_mm: float, share: float) -> Lag:
    """Room that the near-maximum gains as the target recedes from ``begin_mm``.

    Every point falls with the slope by the room it gains: a ``share`` of it only once the target
    that it faces recedes, the rest with the target as a whole. The room gained by the near-maximum
    is its own fall over the slope.
    """
    separations = begin_mm + np.arange(0.0, LAST_MM + STEP_MM / 2, STEP_MM)
    first = hottest(cord.dose_gy)
    warm = cord.dose_gy > (1.0 - NEVER_SHARE) * first
    dose, facing = cord.dose_gy[warm], np.maximum(cord.facing_mm[warm], begin_mm)
    own = np.maximum(separations[:, None] - facing, 0.0)
    room = (1.0 - share) * (separations - begin_mm)[:, None] + share * own
    falls = (first - hottest(dose - slope_gy_per_mm * room)) / slope_gy_per_mm
    return Lag(separations, np.maximum.accumulate(np.maximum(falls, 0.0)))
