"""The dose-volume histogram as an immutable value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cordgap.errors import OutOfRangeError

FloatArray = NDArray[np.float64]

# Share of a volume that may lie outside the dose grid before a structure counts as only partly
# covered: numerical noise of the quadrature, far below the volume that any metric reads.
COVERED_FRACTION = 1e-4


@dataclass(frozen=True, eq=False)
class Alternative:
    """The DVH under another choice, and how much a difference to it counts as uncertainty.

    ``source`` says which choice: ``dose grid`` (cubic in place of trilinear interpolation),
    ``quadrature`` (twice the pitch), ``end caps`` (another kind of ends) or ``between planes``
    (slabs in place of lofts). The difference is taken to ``reference``, the DVH that differs in
    that choice alone, or to the main one.
    """

    source: str
    weight: float
    dvh: DVH
    reference: DVH | None = None


@dataclass(frozen=True, eq=False)
class DVH:
    """Cumulative dose-volume histogram of one structure.

    Parameters
    ----------
    dose_gy : ndarray of shape (n,)
        Ascending dose edges.
    volume_cc : ndarray of shape (n,)
        Volume that gets at least each dose; the first value is the volume inside the dose grid,
        the last is 0. Linear between edges.
    total_volume_cc : float
        Volume of the solid, inside and outside the dose grid.
    min_gy, mean_gy, max_gy : float
        Of the part inside the dose grid; ``nan`` where nothing is inside.
    alternatives : tuple of Alternative
        The same structure computed otherwise; how far they lie away is the uncertainty.
    """

    dose_gy: FloatArray
    volume_cc: FloatArray
    total_volume_cc: float
    min_gy: float
    mean_gy: float
    max_gy: float
    alternatives: tuple[Alternative, ...] = ()

    def __post_init__(self) -> None:
        for name in ("dose_gy", "volume_cc"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def covered_volume_cc(self) -> float:
        """Volume inside the dose grid."""
        return float(self.volume_cc[0])

    @property
    def covered_fraction(self) -> float:
        """Share of the volume that lies inside the dose grid."""
        return self.covered_volume_cc / self.total_volume_cc if self.total_volume_cc > 0 else 0.0

    @property
    def is_complete(self) -> bool:
        """Whether the whole structure lies inside the dose grid."""
        return self.covered_fraction >= 1 - COVERED_FRACTION

    def dose_of_hottest_gy(self, volume_cc: float) -> float:
        """Return the dose that the hottest ``volume_cc`` gets at least.

        Raises
        ------
        OutOfRangeError
            If the covered volume is smaller than that.
        """
        if not 0 < volume_cc <= self.covered_volume_cc * (1 + 1e-9):
            raise OutOfRangeError(
                f"asked for the hottest {volume_cc:g} cc of a structure with "
                f"{self.covered_volume_cc:.4g} cc inside the dose grid"
            )
        # Largest dose at which the volume is still there: search the falling curve from its end.
        falling = self.volume_cc[::-1]
        i = int(np.searchsorted(falling, volume_cc, side="left"))
        i = min(max(i, 1), falling.size - 1)
        v0, v1 = falling[i - 1], falling[i]
        d0, d1 = self.dose_gy[::-1][i - 1], self.dose_gy[::-1][i]
        share = 0.0 if v1 <= v0 else min((volume_cc - v0) / (v1 - v0), 1.0)
        dose = float(d0 + share * (d1 - d0))
        # Edges of the histogram reach a little beyond the doses that there are.
        return min(max(dose, self.min_gy), self.max_gy)

    def volume_at_least_cc(self, dose_gy: float) -> float:
        """Return the volume that gets at least ``dose_gy``."""
        if dose_gy <= self.min_gy:
            return self.covered_volume_cc
        if dose_gy > self.max_gy:
            return 0.0
        return float(
            np.interp(dose_gy, self.dose_gy, self.volume_cc, left=self.volume_cc[0], right=0.0)
        )

    def resample(self, step_gy: float = 0.1) -> tuple[FloatArray, FloatArray]:
        """Return dose edges from 0 in steps of ``step_gy`` and the cumulative volume there."""
        edges = dose_edges_gy(self.dose_gy, step_gy)
        volumes = np.interp(edges, self.dose_gy, self.volume_cc, left=self.volume_cc[0], right=0.0)
        return edges, volumes


def dose_edges_gy(dose_gy: FloatArray, step_gy: float) -> FloatArray:
    """Return dose edges from 0 in even steps to beyond the last of ascending doses."""
    top = float(dose_gy[-1]) if dose_gy.size else 0.0
    return np.arange(int(np.ceil(top / step_gy)) + 2, dtype=np.float64) * step_gy


def empty_dvh(total_volume_cc: float) -> DVH:
    """Return the DVH of a structure of which nothing lies inside the dose grid."""
    nan = float("nan")
    return DVH(np.zeros(1), np.zeros(1), total_volume_cc, nan, nan, nan)
