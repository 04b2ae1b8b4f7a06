"""The surface of a solid as fine samples with normals: signed distances, inside or outside.

A distance is taken to the small flat patch around the nearest sample, which is right to about
0.02 mm on bodies whose curvature is millimetres, and to the sample itself at edges.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cordgap.dvh.planes import inside_rings, lattice_inside
from cordgap.dvh.solid import Solid

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SURFACE_STEP_MM = 0.25
# Many points farther away than this are read between the nodes of a lattice: there the distance
# bends so little (no more than 1 / 3 mm beside an edge) that it changes by less than 0.06 mm.
_FAR_MM = 3.0
_NODES_MM = 1.0
_NOWHERE_MM = 1e6
# A lattice around points that are farther apart than this would be mostly empty.
_MOST_NODES = 5_000_000
_MANY_POINTS = 20_000
_WORTH_THREADS = 2_000


@dataclass(frozen=True, eq=False)
class Surface:
    """Sampled surface of a solid: points (n, 3) and outward unit normals (n, 3), in mm."""

    solid: Solid
    points_mm: FloatArray
    normals: FloatArray
    step_mm: float

    @cached_property
    def tree(self) -> cKDTree:
        """Search tree over the points."""
        return search_tree(self.points_mm)

    @cached_property
    def _box_mm(self) -> tuple[FloatArray, FloatArray]:
        return corners_of(self.points_mm)

    def distance_mm(self, points: FloatArray, *, limit_mm: float = np.inf) -> FloatArray:
        """Signed distance of points (n, 3) to the surface: negative inside.

        Points farther away than ``limit_mm`` get ``inf`` (or ``-inf`` deep inside).
        """
        if len(points) < _MANY_POINTS or limit_mm <= _FAR_MM:
            return self.nearest(points, limit_mm=limit_mm)[0]
        distance = np.full(len(points), np.inf)
        close = self._within(points, limit_mm)
        distance[close] = self._between_nodes(points[close], limit_mm)
        return distance

    def nearest(
        self, points: FloatArray, *, limit_mm: float = np.inf
    ) -> tuple[FloatArray, NDArray[np.intp]]:
        """Signed distance and index of the nearest surface sample (n where there is none)."""
        reach = limit_mm + self.step_mm
        close = self._within(points, reach)
        distance = np.full(len(points), np.inf)
        index = np.full(len(points), len(self.points_mm), dtype=np.intp)
        index[close] = self.tree.query(
            points[close],
            distance_upper_bound=reach,
            workers=_threads() if len(points) > _WORTH_THREADS else 1,
        )[1]
        hit = index < len(self.points_mm)
        along = points[hit] - self.points_mm[index[hit]]
        normals = self.normals[index[hit]]
        height = np.abs(np.einsum("ij,ij->i", along, normals))
        squared = np.einsum("ij,ij->i", along, along)
        beside = np.sqrt(np.maximum(squared - height**2, 0.0))
        # Above the patch of the nearest sample its plane counts, else the sample is an edge.
        distance[hit] = np.where(beside <= 0.75 * self.step_mm, height, np.sqrt(squared))
        distance[distance > limit_mm] = np.inf
        inside = contains(self.solid, points)
        distance[inside] *= -1.0
        return distance, index

    def _within(self, points: FloatArray, reach_mm: float) -> BoolArray:
        """Points in the box around the surface, ``reach_mm`` wider; others are farther away."""
        if not np.isfinite(reach_mm):
            return np.ones(len(points), dtype=bool)
        lower, upper = self._box_mm
        return in_box(points, lower - reach_mm, upper + reach_mm)

    def _between_nodes(self, points: FloatArray, limit_mm: float) -> FloatArray:
        """Signed distances: exact near the surface, trilinear on a lattice far outside of it."""
        if not len(points):
            return np.zeros(0)
        origin = corners_of(points)[0]
        share = (points - origin) / _NODES_MM
        cell = share.astype(np.intp)
        share -= cell
        shape = corners_of(cell)[1] + 2
        if np.prod(shape, dtype=np.float64) > _MOST_NODES:
            return self.nearest(points, limit_mm=limit_mm)[0]
        corners = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        steps = np.ravel_multi_index(tuple(corners.T), tuple(shape))
        first = np.ravel_multi_index(tuple(cell.T), tuple(shape))
        used = np.zeros(int(np.prod(shape)), dtype=bool)
        for step in steps:
            used[first + step] = True
        at = np.flatnonzero(used)
        nodes = np.full(used.size, _NOWHERE_MM)
        places = np.stack(np.unravel_index(at, tuple(shape)), axis=1)
        # Far enough that the nodes around every point within the limit are known.
        there = self.nearest(origin + _NODES_MM * places, limit_mm=limit_mm + 2 * _NODES_MM)[0]
        nodes[at] = np.clip(there, -_NOWHERE_MM, _NOWHERE_MM)
        distance, lowest = np.zeros(len(points)), np.full(len(points), np.inf)
        x, y, z = ((1.0 - part, part) for part in np.ascontiguousarray(share.T))
        for (i, j, k), step in zip(corners, steps, strict=True):
            value = nodes[first + step]
            np.minimum(lowest, value, out=lowest)
            distance += x[i] * y[j] * z[k] * value
        distance[distance > limit_mm] = np.inf
        near = np.flatnonzero(lowest < _FAR_MM)
        distance[near] = self.nearest(points[near], limit_mm=limit_mm)[0]
        return distance


def _threads() -> int:
    """Processors for searches of many points: all, or those that the process may take."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return int(allowed) if allowed.isdecimal() and int(allowed) > 0 else -1


def search_tree(points: FloatArray) -> cKDTree:
    """Search tree over points (n, 3); surfaces lie evenly, so that it need not be balanced."""
    from scipy.spatial import cKDTree

    return cKDTree(points, balanced_tree=False, compact_nodes=False)


def surface_of(
    solid: Solid, *, step_mm: float = SURFACE_STEP_MM, z_range_mm: tuple[float, float] | None = None
) -> Surface:
    """Sample the surface of a solid, within a range of levels if one is given."""
    points, normals = [], []
    low, high = z_range_mm or (-np.inf, np.inf)
    for layer in solid.layers:
        if layer.top_mm < low or layer.bottom_mm > high:
            continue
        # Where the body closes, its outline moves sideways faster than up.
        section = layer.section(step_mm / max(1.0, layer.shoulder))
        p, n = _side(section.starts, section.ends, section.z_mm, step_mm)
        points.append(p)
        normals.append(n)
    # Flat faces: wherever a layer ends, points all over its cross-section. Faces between two
    # layers that continue each other lie inside the solid and are left out.
    for z, outward, rings, covered in _faces(solid):
        if low <= z <= high:
            flat = _fill(rings, covered, step_mm)
            points.append(np.c_[flat, np.full(len(flat), z)])
            normals.append(np.tile([0.0, 0.0, outward], (len(flat), 1)))
    if not points:
        return Surface(solid, np.zeros((0, 3)), np.zeros((0, 3)), step_mm)
    return Surface(solid, np.concatenate(points), np.concatenate(normals), step_mm)


def _side(
    starts: FloatArray, ends: FloatArray, z_mm: FloatArray, step_mm: float
) -> tuple[FloatArray, FloatArray]:
    """Points along the edges of a stack of cross-sections, with normals."""
    k = z_mm.size
    edges = np.broadcast_to(ends - starts, (starts.shape[0], *starts.shape[1:]))
    length = np.hypot(edges[..., 0], edges[..., 1]).max(axis=0)
    n = np.maximum(1, np.ceil(length / step_mm).astype(int))
    which = np.repeat(np.arange(n.size), n)
    share = (np.arange(which.size) - np.repeat(np.cumsum(n) - n, n)) / n[which]
    xy = starts[:, which] + share[None, :, None] * edges[:, which]
    tangent = edges[:, which]
    norm = np.maximum(np.hypot(tangent[..., 0], tangent[..., 1]), 1e-12)
    normal = np.stack([tangent[..., 1], -tangent[..., 0], 0 * norm], axis=-1) / norm[..., None]
    if starts.shape[0] == k and k > 1:
        # The surface leans where the cross-section moves with z.
        slope = np.gradient(xy, z_mm, axis=0)
        normal[..., 2] = -np.einsum("ijk,ijk->ij", slope, normal[..., :2])
        # Two vertices in one place have no normal.
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    shape = (k, which.size)
    points = np.empty((*shape, 3))
    points[..., :2] = xy
    points[..., 2] = z_mm[:, None]
    return points.reshape(-1, 3), np.broadcast_to(normal, (*shape, 3)).reshape(-1, 3)


def _faces(solid: Solid) -> list[tuple[float, float, list[FloatArray], list[FloatArray]]]:
    """Horizontal faces: ends of runs, and steps between extrusions.

    Each is (z, outward direction, rings of the layer, rings of the neighbour that cover it).
    """
    faces: list[tuple[float, float, list[FloatArray], list[FloatArray]]] = []
    layers = solid.layers
    for i, layer in enumerate(layers):
        for end, other, outward in (
            (layer.bottom_mm, layers[i - 1] if i else None, -1.0),
            (layer.top_mm, layers[i + 1] if i + 1 < len(layers) else None, 1.0),
        ):
            continues = other is not None and (
                abs(end - (other.top_mm if outward < 0 else other.bottom_mm)) < 1e-6
            )
            inner = end - outward * 1e-6
            if not continues:
                faces.append((end, outward, solid.section_at(inner), []))
            elif other is not None and _steps(layer, other):
                covered = solid.section_at(end + outward * 1e-6)
                faces.append((end, outward, solid.section_at(inner), covered))
    return faces


def _steps(a: object, b: object) -> bool:
    """Whether two layers that touch have different cross-sections there."""
    plane_a, plane_b = getattr(a, "plane", None), getattr(b, "plane", None)
    return plane_a is not None and plane_b is not None and plane_a is not plane_b


def _fill(rings: list[FloatArray], covered: list[FloatArray], step_mm: float) -> FloatArray:
    """Points on a square lattice inside rings and not inside those that cover them (even-odd)."""
    every = np.concatenate(rings)
    x, y = (
        np.arange(lo + step_mm / 2, hi, step_mm)
        for lo, hi in zip(every.min(axis=0), every.max(axis=0), strict=True)
    )
    inside = lattice_inside(rings, x, y)
    if not inside.any():
        # A tip smaller than the lattice is a point.
        tip: FloatArray = every.mean(axis=0)[None]
        free: FloatArray = tip[~inside_rings(covered, tip)] if covered else tip
        return free
    row, column = np.nonzero(inside & ~lattice_inside(covered, x, y) if covered else inside)
    points: FloatArray = np.c_[x[column], y[row]]
    return points


def corners_of(points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Lowest and highest of points (n, d): axis by axis, which is several times faster."""
    return np.array([at.min() for at in points.T]), np.array([at.max() for at in points.T])


def in_box(points: FloatArray, lower: FloatArray, upper: FloatArray) -> BoolArray:
    """Tell which points (n, d) lie within a box: axis by axis, which is several times faster."""
    within = np.ones(len(points), dtype=bool)
    for at, low, high in zip(points.T, lower, upper, strict=True):
        within &= (at >= low) & (at <= high)
    return within


def contains(solid: Solid, points: FloatArray) -> BoolArray:
    """Tell which points (n, 3) lie inside a solid."""
    inside = np.zeros(len(points), dtype=bool)
    lower, upper = solid.bounds_mm
    near = np.flatnonzero(in_box(points, lower, upper))
    if not near.size:
        return inside
    z = points[near, 2]
    order = np.argsort(z, kind="stable")
    near, z = near[order], z[order]
    for layer in solid.layers:
        first, last = np.searchsorted(z, [layer.bottom_mm, layer.top_mm], side="left")
        chosen = near[first:last]
        if not chosen.size:
            continue
        inside[chosen] = layer.contains(points[chosen])
    return inside
