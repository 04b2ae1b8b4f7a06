"""Solid -> points with volumes: for sums of doses that no single grid holds.

A sum of courses in EQD2 is not linear in the doses, and a registered prior dose has axes of its
own: it is formed at points of the solid, never on a grid, so that memory is bounded by the
structure. Each dose is read trilinear where it was calculated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import DoseGrid
from cordgap.case.transform import RigidTransform
from cordgap.dvh.curve import DVH, empty_dvh
from cordgap.dvh.integrate import FINE_PITCH_MM, choose_pitch_mm, held_z_mm
from cordgap.dvh.lines import dose_at, scan
from cordgap.dvh.solid import Solid

FloatArray = NDArray[np.float64]

# Distance of the scanlines, and length of a piece of them: its middle stands for it, so that a
# near-maximum is off by at most half a piece times the gradient (tests/dvh/test_samples.py).
PITCH_MM = 0.25
STEP_MM = 0.3
# Bodies of litres are filled more coarsely, as they are in a DVH.
_SHARE = PITCH_MM / FINE_PITCH_MM
_BINS = 4000


@dataclass(frozen=True, eq=False)
class Samples:
    """Points (n, 3) in mm, order x, y, z, and the volume in mm3 that each stands for."""

    points_mm: FloatArray
    volume_mm3: FloatArray

    @property
    def volume_cc(self) -> float:
        """Volume of all in cc."""
        return float(self.volume_mm3.sum()) / 1000.0


def sample_solid(solid: Solid, *, pitch_mm: float | None = None) -> Samples:
    """Fill a solid with points.

    Parameters
    ----------
    solid : Solid
    pitch_mm : float, optional
        Distance of the scanlines in place of the one chosen from the volume.
    """
    pitch = pitch_mm or max(PITCH_MM, _SHARE * choose_pitch_mm(solid.volume_mm3, STEP_MM))
    points, volumes = [], []
    for spans in scan(solid, pitch):
        length = spans.x1_mm - spans.x0_mm
        count = np.maximum(1, np.ceil(length / STEP_MM)).astype(np.intp)
        span = np.repeat(np.arange(count.size), count)
        rank = np.arange(span.size) - np.repeat(np.cumsum(count) - count, count)
        x = spans.x0_mm[span] + (rank + 0.5) * (length / count)[span]
        points.append(np.column_stack([x, spans.y_mm[span], spans.z_mm[span]]))
        volumes.append((length * spans.area_mm2 / count)[span])
    return Samples(np.concatenate(points), np.concatenate(volumes))


def dose_at_samples(
    samples: Samples,
    dose: DoseGrid,
    *,
    solid: Solid | None = None,
    transform: RigidTransform | None = None,
) -> FloatArray:
    """Read a dose at the points of a structure.

    Parameters
    ----------
    samples : Samples
    dose : DoseGrid
    solid : Solid, optional
        Whose end caps just beyond the grid take the dose of its last plane, as in a DVH. Without
        meaning through a transform.
    transform : RigidTransform, optional
        From the coordinates of the points to those of the dose.

    Returns
    -------
    ndarray of shape (n,)
        In Gy; ``nan`` outside the grid, where nothing is known.
    """
    points = samples.points_mm
    if transform is not None:
        points = transform.apply(points)
    elif solid is not None:
        held = held_z_mm(points[:, 2], solid, dose.geometry)
        points = np.column_stack([points[:, :2], held])
    block = dose.crop(points.min(axis=0), points.max(axis=0), pad=1)
    axes = block.geometry
    if min(axes.shape) < 2:
        return np.full(len(points), np.nan)
    x, y, z = points.T
    inside = np.ones(len(points), dtype=bool)
    for values, axis in ((x, axes.x_mm), (y, axes.y_mm), (z, axes.z_mm)):
        inside &= (values >= axis[0]) & (values <= axis[-1])
    gy = np.full(len(points), np.nan)
    gy[inside] = dose_at(block, x[inside], y[inside], z[inside])
    return gy


def histogram(values_gy: FloatArray, samples: Samples) -> DVH:
    """Return the cumulative histogram of values at the points; ``nan`` counts as not covered."""
    known = np.isfinite(values_gy)
    total_cc = samples.volume_cc
    if not known.any():
        return empty_dvh(total_cc)
    values, volume = values_gy[known], samples.volume_mm3[known] / 1000.0
    order = np.argsort(values, kind="stable")
    values, volume = values[order], volume[order]
    low, high = float(values[0]), float(values[-1])
    # Volume that gets at least the value of each point, and at the edges between.
    above = np.cumsum(volume[::-1])[::-1]
    edges = np.linspace(low, high, _BINS) if high > low else np.array([low])
    first = np.searchsorted(values, edges, side="left")
    at_least = np.append(above[first], 0.0)
    edges = np.append(edges, high + max(high - low, 1e-9) / _BINS)
    mean = float((values * volume).sum() / volume.sum())
    return DVH(edges, at_least, total_cc, low, mean, high)
