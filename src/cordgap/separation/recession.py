"""Isodose recession: what the cord would get if the isodoses went back with the target.

Every point of the cord takes the dose that the plan has now a step farther from the target, marched
along the distance to the target. The old dose holds no steeper gradient than it has, and a new plan
makes one as soon as there is room: so this asks for too much, and is printed as a bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import DoseGrid
from cordgap.dvh.solid import Solid
from cordgap.dvh.surface import Surface, contains, search_tree

FloatArray = NDArray[np.float64]

# Pitch of the points that stand for the cord, and length of one step of the march.
POINT_MM = 1.0
STEP_MM = 0.5
# Cord farther than this from the target is not marched: its dose is left as it is.
REACH_MM = 12.0
# Volume of the near-maximum that is followed.
HOT_MM3 = 35.0
# Cord with less than this share of the near-maximum cannot become it.
COLD_FRACTION = 0.5
# One in so many samples of the target's surface is enough for a direction.
_ONE_IN = 5


@dataclass(frozen=True, eq=False)
class Recession:
    """Near-maximum of the cord, as a share of its present one, against millimetres receded.

    ``share`` never rises; it ends where the march ended.
    """

    receded_mm: FloatArray
    share: FloatArray

    def for_share_mm(self, share: float) -> float | None:
        """Millimetres after which the near-maximum has fallen to a share; None where it has not."""
        below = np.flatnonzero(self.share <= share)
        if not below.size:
            return None
        i = int(below[0])
        if i == 0:
            return 0.0
        x, y = self.receded_mm[i - 1 : i + 1], self.share[i - 1 : i + 1]
        return float(np.interp(share, y[::-1], x[::-1]))


def recede(
    dose: DoseGrid, cord: Solid, target: Surface, *, to_share: float, max_mm: float
) -> Recession | None:
    """March the cord away from the target until its near-maximum falls to ``to_share`` of itself.

    Returns None where the cord near the target has less volume than a near-maximum speaks of, or
    lies outside the dose grid.
    """
    points = cord_lattice(cord, target)
    away = _Away(target.points_mm[::_ONE_IN], target.normals[::_ONE_IN], target.step_mm)
    points = points[away.distance_mm(points) < REACH_MM]
    lower, upper = dose.geometry.lower_mm, dose.geometry.upper_mm
    if len(points) * POINT_MM**3 < HOT_MM3 or ((points < lower) | (points > upper)).any():
        return None
    reach = max_mm + 2 * STEP_MM
    block = dose.crop(points.min(axis=0) - reach, points.max(axis=0) + reach)
    values = read_dose(block, points)
    first = float(hottest(values))
    if not first > 0:
        return None
    warm = values > COLD_FRACTION * min(to_share, 1.0) * first
    points = points[warm]
    overlaps = contains(target.solid, points)
    receded, share = [0.0], [1.0]
    while share[-1] > to_share and receded[-1] < max_mm - STEP_MM / 2:
        points = points + STEP_MM * away(points, overlaps)
        receded.append(receded[-1] + STEP_MM)
        share.append(min(share[-1], float(hottest(read_dose(block, points))) / first))
    return Recession(np.array(receded), np.array(share))


def cord_lattice(cord: Solid, target: Surface) -> FloatArray:
    """Points on a cubic lattice inside the cord, near the target."""
    lower, upper = cord.bounds_mm
    lower = np.maximum(lower, target.points_mm.min(axis=0) - REACH_MM)
    upper = np.minimum(upper, target.points_mm.max(axis=0) + REACH_MM)
    axes = [np.arange(a + POINT_MM / 2, b, POINT_MM) for a, b in zip(lower, upper, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return points[contains(cord, points)]


class _Away:
    """Unit vectors that lead away from a target."""

    def __init__(self, samples: FloatArray, normals: FloatArray, step_mm: float) -> None:
        self.samples, self.normals, self.close_mm = samples, normals, 2 * step_mm
        self.tree = search_tree(samples)

    def distance_mm(self, points: FloatArray) -> FloatArray:
        """Distance of points to the samples, without a sign."""
        return np.asarray(self.tree.query(points)[0], dtype=np.float64)

    def __call__(self, points: FloatArray, inside: NDArray[np.bool_]) -> FloatArray:
        """At points outside the target, or inside it."""
        found = self.tree.query(points)
        distance, index = np.asarray(found[0]), np.asarray(found[1], dtype=np.intp)
        away = (points - self.samples[index]) * np.where(inside, -1.0, 1.0)[:, None]
        length = np.asarray(distance, dtype=np.float64)[:, None].copy()
        # Right at the surface the direction is that of its normal.
        close = length[:, 0] < self.close_mm
        away[close], length[close] = self.normals[index[close]], 1.0
        unit: FloatArray = away / length
        return unit


def hottest(values: FloatArray, volume_mm3: float = HOT_MM3) -> FloatArray:
    """Dose that the hottest 0.035 cc of lattice points exceed, along the last axis."""
    size = values.shape[-1]
    n = min(max(1, round(volume_mm3 / POINT_MM**3)), size)
    found: FloatArray = np.partition(values, size - n, axis=-1)[..., size - n]
    return found


def read_dose(dose: DoseGrid, points: FloatArray) -> FloatArray:
    """Trilinear dose at points; beyond the grid that of its edge."""
    values, weight = dose.values, []
    index = []
    for axis, at in zip(dose.geometry.axes[::-1], points.T, strict=True):
        i = np.clip(np.searchsorted(axis, at) - 1, 0, axis.size - 2)
        index.append(i)
        weight.append(np.clip((at - axis[i]) / (axis[i + 1] - axis[i]), 0.0, 1.0))
    (ix, iy, iz), (fx, fy, fz) = index, weight
    total = np.zeros(len(points))
    for dz in (0, 1):
        for dy in (0, 1):
            for dx in (0, 1):
                share = (fz if dz else 1 - fz) * (fy if dy else 1 - fy) * (fx if dx else 1 - fx)
                total += share * values[iz + dz, iy + dy, ix + dx]
    return total
