"""Cross-sections of T(s) and of what is removed, as polygons with holes.

The region of a level that lies closer to the cord than s is a level set of the signed distance to
the cord's surface, contoured between the points of a lattice; the target's own outline is kept as
it was drawn. What is removed is the intersection of the two, what is left the difference.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cordgap.dvh.solid import Solid
from cordgap.dvh.surface import Surface
from cordgap.separation.result import GapMap

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

FloatArray = NDArray[np.float64]

# Between lattice points the distance is taken as linear; around a cord of 5 mm radius that moves
# the outline by LATTICE_MM**2 / (8 * 5) = 6 micrometres.
LATTICE_MM = 0.5
# Where no outline can pass, every fourth point is enough.
_EVERY = 4
# A distance is 1-Lipschitz: between coarse points it is off by at most the half diagonal of a
# coarse cell (1.42 mm), and an outline passes within half a diagonal of a fine one (0.36 mm).
_BAND_MM = 1.8
# Half-width of the wedge that stands for a sextant: farther than any body.
_FAR_MM = 1000.0


@dataclass(frozen=True, eq=False)
class Split:
    """Target of one level, cut at the required distance: polygons in mm."""

    z_mm: float
    removed: BaseGeometry
    remaining: BaseGeometry


def regions_within(
    cord: Surface, distances_mm: Sequence[float], z_mm: FloatArray
) -> list[list[BaseGeometry]]:
    """Region of each level that lies within each of some distances of the cord, or inside it.

    Parameters
    ----------
    cord : Surface
        Of the distance structure; it must reach beyond the levels by the largest distance.
    distances_mm : sequence of float
        At least 0.
    z_mm : ndarray of shape (n,)
        Levels.

    Returns
    -------
    list of list
        ``[level][distance]`` as shapely geometries, empty where the cord is farther away.
    """
    import shapely
    from contourpy import contour_generator

    reach = max(distances_mm)
    x, y, fields = _distance_fields(cord, distances_mm, z_mm)
    found: list[list[BaseGeometry]] = []
    for field in fields:
        generator = contour_generator(x, y, field, fill_type="OuterOffset")
        row: list[BaseGeometry] = []
        for distance in distances_mm:
            parts = [
                _polygon(points, offsets)
                for points, offsets in zip(*generator.filled(-reach - 1e3, distance), strict=True)
            ]
            row.append(shapely.make_valid(shapely.union_all(parts)))
        found.append(row)
    return found


def _polygon(points: FloatArray, offsets: NDArray[np.uint32]) -> BaseGeometry:
    import shapely

    rings = [points[a:b] for a, b in itertools.pairwise(offsets)]
    return shapely.make_valid(shapely.Polygon(rings[0], rings[1:]))


def _distance_fields(
    cord: Surface, distances_mm: Sequence[float], z_mm: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Signed distance (n, ny, nx) on a lattice of each level, exact near the wanted distances."""
    reach = max(distances_mm) + _BAND_MM
    margin = reach + LATTICE_MM * _EVERY
    lower = cord.points_mm[:, :2].min(axis=0) - margin
    upper = cord.points_mm[:, :2].max(axis=0) + margin
    cells = np.ceil((upper - lower) / (LATTICE_MM * _EVERY)).astype(int)
    x, y = (lower[i] + LATTICE_MM * np.arange(cells[i] * _EVERY + 1) for i in (0, 1))
    xc, yc = x[::_EVERY], y[::_EVERY]
    zz, yy, xx = np.meshgrid(z_mm, yc, xc, indexing="ij")
    points = np.c_[xx.ravel(), yy.ravel(), zz.ravel()]
    coarse = cord.distance_mm(points, limit_mm=reach + LATTICE_MM * _EVERY)
    coarse = np.clip(coarse, -reach - 1.0, reach + LATTICE_MM * _EVERY).reshape(zz.shape)
    fields = _between(_between(coarse, axis=1), axis=2)
    near = np.zeros(fields.shape, dtype=bool)
    for distance in distances_mm:
        near |= np.abs(fields - distance) <= _BAND_MM
    k, j, i = np.nonzero(near)
    exact = cord.distance_mm(np.c_[x[i], y[j], z_mm[k]], limit_mm=reach + 2.0)
    fields[k, j, i] = np.clip(exact, -reach - 1.0, reach + 2.0)
    return x, y, fields


def _between(values: FloatArray, axis: int) -> FloatArray:
    """Refine an array ``_EVERY``-fold along an axis, linearly."""
    n = values.shape[axis]
    share = np.arange((n - 1) * _EVERY + 1) / _EVERY
    low = np.minimum(share.astype(int), n - 2)
    shape = [1] * values.ndim
    shape[axis] = -1
    part = (share - low).reshape(shape)
    fine: FloatArray = values.take(low, axis) * (1 - part) + values.take(low + 1, axis) * part
    return fine


def even_odd(rings: Sequence[FloatArray]) -> BaseGeometry:
    """Even-odd area of rings."""
    import shapely

    area: BaseGeometry = shapely.Polygon()
    for ring in rings:
        area = shapely.symmetric_difference(area, shapely.make_valid(shapely.Polygon(ring)))
    return area


def split_target(
    target: Solid,
    cord: Surface,
    separation_mm: float,
    *,
    z_mm: FloatArray,
    gaps: GapMap | None = None,
    clearable: Sequence[bool] = (),
) -> list[Split]:
    """Cut the target into what decompression to s mm removes and leaves, level by level.

    Parameters
    ----------
    target, cord : Solid, Surface
    separation_mm : float
        0 removes nothing: overlap has distance 0.
    z_mm : ndarray
        Levels; contoured planes are cut as they were drawn.
    gaps, clearable
        With ``clearable`` (one a sextant), what lies in the other sextants stays; the cord
        centroids are those of the map.
    """
    import shapely

    if separation_mm > 0:
        near = [row[0] for row in regions_within(cord, [separation_mm], z_mm)]
    else:
        near = [shapely.Polygon()] * len(z_mm)
    if gaps is not None and clearable and not all(clearable):
        near = [
            shapely.intersection(region, _wedges(z, gaps, clearable))
            for region, z in zip(near, z_mm, strict=True)
        ]
    planes = {plane.z_mm: plane.contours for plane in target.planes}
    splits = []
    for z, region in zip(z_mm.tolist(), near, strict=True):
        section = even_odd(planes.get(z) or target.section_at(z))
        removed = shapely.intersection(section, region)
        splits.append(Split(z, removed, shapely.difference(section, region)))
    return splits


def _wedges(z_mm: float, gaps: GapMap, clearable: Sequence[bool]) -> BaseGeometry:
    """Sextants that can be cleared, seen from the cord centroid of a level."""
    import shapely

    known = np.isfinite(gaps.centre_mm).all(axis=1)
    centre = np.array(
        [np.interp(z_mm, gaps.level_mm[known], gaps.centre_mm[known, i]) for i in (0, 1)]
    )
    wedges = []
    for index in np.flatnonzero(clearable):
        angle = np.radians(60.0 * index + np.array([-30.0, 0.0, 30.0]))
        rim = centre + _FAR_MM * np.stack([np.sin(angle), -np.cos(angle)], axis=1)
        wedges.append(shapely.Polygon([centre, *rim]))
    return shapely.union_all(wedges)
