"""The target left after decompression to s mm, T(s): volumes and coverage.

The target is cut into small cells by the same scanlines as its DVH. Each cell knows its dose, its
volume and its distance to the cord, so that T(s) is the cells at least s away: one set of cells
serves every s.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.dvh.curve import DVH, empty_dvh
from cordgap.dvh.integrate import hold_caps
from cordgap.dvh.lines import Pieces, cut, scan
from cordgap.dvh.metrics import Metric
from cordgap.dvh.solid import Solid
from cordgap.dvh.surface import Surface, contains
from cordgap.separation.result import SEXTANTS

FloatArray = NDArray[np.float64]
ALL_SEXTANTS = (True,) * len(SEXTANTS)

# Cell edge of ordinary targets; larger targets take cells that keep their number near MAX_CELLS.
CELL_MM = 0.5
MAX_CELLS = 400_000
_REFINEMENTS = 3


@dataclass(frozen=True, eq=False)
class TargetCells:
    """Small cells of a target, sorted by dose (ascending).

    ``dose_gy`` is nan outside the dose grid; ``cord_distance_mm`` is signed (negative inside the
    cord), ``inf`` beyond reach. ``total_mm3`` is the volume of the whole target.
    """

    points_mm: FloatArray
    dose_gy: FloatArray
    volume_mm3: FloatArray
    cord_distance_mm: FloatArray
    total_mm3: float
    sextant: NDArray[np.intp] | None = None
    clearable: tuple[bool, ...] = ALL_SEXTANTS

    @property
    def outside_mm3(self) -> float:
        """Volume of the target that lies outside the dose grid."""
        missing = self.total_mm3 - float(self.volume_mm3.sum())
        return missing if missing > 1e-4 * self.total_mm3 else 0.0

    def keep(self, separation_mm: float) -> NDArray[np.bool_]:
        """Cells that T(s) keeps: at least ``separation_mm`` from the distance structure.

        Overlap has distance 0: T(0) is the whole target. Cells that surgery cannot reach stay.
        """
        kept: NDArray[np.bool_] = np.maximum(self.cord_distance_mm, 0.0) >= separation_mm
        if self.sextant is not None and not all(self.clearable):
            kept |= ~np.array(self.clearable)[self.sextant]
        return kept

    def clear_only(self, names: Collection[str]) -> TargetCells:
        """Return the same cells, of which only those in the named sextants can be removed."""
        return replace(self, clearable=tuple(name in names for name in SEXTANTS))

    def resection_cc(self, separation_mm: float) -> float:
        """Volume removed by decompression to ``separation_mm``."""
        return float(self.volume_mm3[~self.keep(separation_mm)].sum()) / 1000.0

    def resection_by_sextant_cc(self, separation_mm: float) -> FloatArray | None:
        """Volume removed in each sextant (6,); None where the sextants of the cells are unknown.

        A cell counts where its own middle lies, as seen from the cord centroid of its level.
        """
        if self.sextant is None:
            return None
        gone = ~self.keep(separation_mm)
        volume = np.bincount(self.sextant[gone], self.volume_mm3[gone], minlength=len(SEXTANTS))
        return np.asarray(volume / 1000.0, dtype=np.float64)

    def resection_by_level_cc(self, separation_mm: float, level_mm: FloatArray) -> FloatArray:
        """Volume removed nearest each of some ascending levels, in cc."""
        if not level_mm.size:
            return np.zeros(0)
        gone = ~self.keep(separation_mm)
        middle = 0.5 * (level_mm[1:] + level_mm[:-1])
        which = np.searchsorted(middle, self.points_mm[gone, 2])
        volume = np.bincount(which, self.volume_mm3[gone], minlength=level_mm.size)
        return np.asarray(volume / 1000.0, dtype=np.float64)

    def remaining_dvh(self, separation_mm: float) -> DVH | None:
        """DVH of T(s); None where nothing remains.

        Target outside the dose grid has no cells: it counts in the total, so that no metric in %
        is read from a part.
        """
        keep = self.keep(separation_mm)
        volume = self.volume_mm3[keep]
        total = float(volume.sum()) + self.outside_mm3
        if total <= 0:
            return None
        dose = self.dose_gy[keep]
        known = np.isfinite(dose)
        dose, volume = dose[known], volume[known]
        if not dose.size:
            return empty_dvh(total / 1000)
        above = np.cumsum(volume[::-1])[::-1]
        # A cell counts half at its own dose: linear between neighbours.
        middle = above - 0.5 * volume
        return DVH(
            np.r_[dose[0], dose, dose[-1]],
            np.r_[above[0], middle, 0.0] / 1000,
            total / 1000,
            float(dose[0]),
            float(np.average(dose, weights=volume)),
            float(dose[-1]),
        )

    def coverage(self, metric: Metric, separation_mm: float, rx_gy: float) -> float | None:
        """Evaluate a metric on T(s); None where it cannot be. What was read once is kept."""
        key = (str(metric), separation_mm, rx_gy)
        if key not in self._read:
            dvh = self.remaining_dvh(separation_mm)
            self._read[key] = None if dvh is None else metric.evaluate(dvh, rx_gy).value
        return self._read[key]

    @cached_property
    def _read(self) -> dict[tuple[str, float, float], float | None]:
        return {}


def cell_size_mm(volume_mm3: float) -> float:
    """Cell edge for a target of that volume."""
    return max(CELL_MM, float((volume_mm3 / MAX_CELLS) ** (1 / 3)))


def sample_target(
    target: Solid, dose: DoseGrid | None, cord: Surface, *, reach_mm: float
) -> TargetCells:
    """Cut a target into cells with dose and distance to the cord.

    Parameters
    ----------
    dose : DoseGrid or None
        Without a dose the cells have none.
    cord : Surface
        Of the distance structure.
    reach_mm : float
        Distances beyond this are not needed and read ``inf``.
    """
    lower, upper = target.bounds_mm
    if dose is not None and min(dose.geometry.shape) < 2:
        dose = None
    if dose is None:
        geometry = GridGeometry(
            *(np.array([lo - 1, hi + 1]) for lo, hi in zip(lower, upper, strict=True))
        )
        values = np.zeros(geometry.shape)
    else:
        block = dose.crop(lower, upper, pad=1)
        geometry, values = block.geometry, block.values
    size = cell_size_mm(target.volume_mm3)
    for _ in range(_REFINEMENTS):
        parts = [
            cut(hold_caps(s, target, geometry), geometry, values, max_length_mm=size)
            for s in scan(target, size)
        ]
        found = sum(float(p.volume_mm3.sum()) for p in parts)
        outside = (lower < geometry.lower_mm).any() or (upper > geometry.upper_mm).any()
        # Lines too far apart miss a thin target; what lies outside the grid is missed at any pitch.
        if outside or found >= (1 - 1e-4) * target.volume_mm3:
            break
        size /= 3
    points = np.concatenate([np.c_[p.x_mm, p.y_mm, p.z_mm] for p in parts])
    volume = np.concatenate([p.volume_mm3 for p in parts])
    if not outside and found > 0:
        volume *= target.volume_mm3 / found
    gy = np.concatenate([_middle(p) for p in parts])
    if dose is None:
        gy = np.full(gy.size, np.nan)
    distance = cord.distance_mm(points, limit_mm=reach_mm)
    order = np.argsort(gy, kind="stable")
    return TargetCells(points[order], gy[order], volume[order], distance[order], target.volume_mm3)


def _middle(pieces: Pieces) -> FloatArray:
    return 0.5 * (pieces.dose0_gy + pieces.dose1_gy)


def resection_inside_cc(cells: TargetCells, separation_mm: float, canal: Solid) -> float:
    """Volume in cc of what decompression to s mm removes inside the canal."""
    removed = ~cells.keep(separation_mm)
    inside = contains(canal, cells.points_mm[removed])
    return float(cells.volume_mm3[removed][inside].sum()) / 1000.0
