"""The target left at every separation, from one histogram of dose by distance to the cord.

A cell of the target is put into one bin of dose and one of distance. What is left at s is the sum
of the bins beyond s, so that all steps together cost what one DVH costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cordgap.dvh.curve import DVH, empty_dvh
from cordgap.dvh.solid import Solid
from cordgap.dvh.surface import contains
from cordgap.separation.resect import TargetCells

FloatArray = NDArray[np.float64]

# Dose bins from 0 to the highest dose of the target: 0.01 Gy in a target of 30 Gy.
DOSE_BINS = 3000
# Edges of the curves that are printed and drawn, and the most of them.
EDGE_STEP_GY = 0.25
MOST_EDGES = 400


@dataclass(frozen=True, eq=False)
class Remaining:
    """What is removed and what is left of a target at each of some separations.

    ``volume_cc`` (steps, edges) is the cumulative DVH of the target left, dose as planned;
    ``removed_cc`` and ``removed_inside_cc`` (steps,) are volumes. ``removed_inside_cc`` is None
    without a canal, ``dose_gy`` empty without a dose.
    """

    separation_mm: FloatArray
    dose_gy: FloatArray
    volume_cc: FloatArray
    total_cc: FloatArray
    removed_cc: FloatArray
    removed_inside_cc: FloatArray | None
    min_gy: FloatArray
    mean_gy: FloatArray
    max_gy: FloatArray

    def dvh(self, step: int) -> DVH | None:
        """DVH of the target left at one step; None where nothing is left."""
        total = float(self.total_cc[step])
        if total <= 0:
            return None
        if not self.dose_gy.size or not np.isfinite(self.min_gy[step]):
            return empty_dvh(total)
        return DVH(
            self.dose_gy, self.volume_cc[step], total, float(self.min_gy[step]),
            float(self.mean_gy[step]), float(self.max_gy[step]),
        )  # fmt: skip

    def edges(self) -> tuple[FloatArray, FloatArray]:
        """Dose edges (m,) in steps of 0.25 Gy, and the volumes (steps, m) that get at least them.

        Coarser steps where there would be more than 400 of them.
        """
        if not self.dose_gy.size:
            return np.zeros(0), np.zeros((self.separation_mm.size, 0))
        top, step = float(self.dose_gy[-1]), EDGE_STEP_GY
        while top / step > MOST_EDGES - 2:
            step *= 2
        edges = np.arange(int(np.ceil(top / step)) + 2, dtype=np.float64) * step
        rows = [np.interp(edges, self.dose_gy, row, right=0.0) for row in self.volume_cc]
        return edges, np.array(rows)


def remaining_by_step(
    cells: TargetCells, separation_mm: FloatArray, *, canal: Solid | None = None
) -> Remaining:
    """Cut a target into what each separation removes and leaves.

    Parameters
    ----------
    cells : TargetCells
    separation_mm : ndarray of shape (k,)
        Ascending.
    canal : Solid, optional
        Splits the removed volume into inside and outside.

    Notes
    -----
    Metrics read from the DVHs are right to the width of a dose bin, 1/3000 of the highest dose.
    """
    steps = np.asarray(separation_mm, dtype=np.float64)
    away = np.maximum(cells.cord_distance_mm, 0.0)
    if cells.sextant is not None and not all(cells.clearable):
        away = np.where(np.array(cells.clearable)[cells.sextant], away, np.inf)
    # A cell is left at as many steps as are not beyond it.
    left_at = np.searchsorted(steps, away, side="right")
    volume = cells.volume_mm3 / 1000.0
    k = steps.size
    removed = _removed(left_at, volume, k)
    inside = None
    if canal is not None:
        near = np.flatnonzero(left_at < k)
        within = near[contains(canal, cells.points_mm[near])]
        inside = _removed(left_at[within], volume[within], k)
    total = cells.volume_mm3.sum() / 1000.0 + cells.outside_mm3 / 1000.0 - removed
    total[total < 1e-9] = 0.0
    known = np.isfinite(cells.dose_gy)
    if not known.any():
        nothing = np.full(k, np.nan)
        return Remaining(
            steps, np.zeros(0), np.zeros((k, 0)), total, removed, inside, nothing, nothing, nothing
        )
    edges, rows, *statistics = _doses(left_at[known], volume[known], cells.dose_gy[known], k)
    return Remaining(steps, edges, rows, total, removed, inside, *statistics)


def _removed(left_at: NDArray[np.intp], volume: FloatArray, k: int) -> FloatArray:
    """Volume that is not left any more at each step."""
    by_step = np.bincount(left_at, volume, minlength=k + 1)
    return np.asarray(np.cumsum(by_step)[:k], dtype=np.float64)


def _sums(index: NDArray[np.intp], values: FloatArray, size: int) -> FloatArray:
    return np.asarray(np.bincount(index, values, minlength=size), dtype=np.float64)


def _from_end(values: FloatArray, add: np.ufunc) -> FloatArray:
    """Accumulate over the steps from the last one: what is left at a step is left before it."""
    total: FloatArray = add.accumulate(values[::-1], axis=0)[::-1][1:]
    return total


def _doses(
    left_at: NDArray[np.intp], volume: FloatArray, dose: FloatArray, k: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Edges, cumulative volumes (k, edges), and min, mean and max at each step."""
    top = max(float(dose.max()), 1e-6)
    bin_gy = top / DOSE_BINS
    which = np.minimum((dose / bin_gy).astype(np.intp), DOSE_BINS - 1)
    flat = _sums(left_at * DOSE_BINS + which, volume, (k + 1) * DOSE_BINS)
    left = _from_end(flat.reshape(k + 1, DOSE_BINS), np.add)
    above = np.cumsum(left[:, ::-1], axis=1)[:, ::-1]
    cumulative = np.c_[above, np.zeros(k)]
    # Cells are sorted by dose: the first and the last of a step are its coldest and hottest.
    low, high = np.full(k + 1, np.inf), np.full(k + 1, -np.inf)
    low[left_at[::-1]] = dose[::-1]
    high[left_at] = dose
    low, high = _from_end(low, np.minimum), _from_end(high, np.maximum)
    sums = _from_end(_sums(left_at, volume * dose, k + 1), np.add)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums / cumulative[:, 0]
    some = cumulative[:, 0] > 0
    low, mean, high = (np.where(some, x, np.nan) for x in (low, mean, high))
    edges = np.arange(DOSE_BINS + 1, dtype=np.float64) * bin_gy
    return edges, cumulative, low, mean, high
