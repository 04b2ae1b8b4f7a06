"""The surface of a solid as fine samples with normals: signed distances, inside or outside.

A distance is taken to the small flat patch around the nearest sample, which is right to about
0.02 mm on bodies whose curvature is millimetres, and to the sample itself at edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cordgap.dvh.planes import inside_rings
from cordgap.dvh.solid import Solid

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SURFACE_STEP_MM = 0.25
# Beyond this distance every fifth sample is enough: it changes a distance by less than 0.1 mm.
_NEAR_MM = 6.0
_ONE_IN = 5
# Searches of many points take all processors; each point is searched by itself.
_THREADS = -1
_MANY_POINTS = 20_000


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
        from scipy.spatial import cKDTree

        return cKDTree(self.points_mm)

    def distance_mm(self, points: FloatArray, *, limit_mm: float = np.inf) -> FloatArray:
        """Signed distance of points (n, 3) to the surface: negative inside.

        Points farther away than ``limit_mm`` get ``inf`` (or ``-inf`` deep inside).
        """
        return self.nearest(points, limit_mm=limit_mm)[0]

    def nearest(
        self, points: FloatArray, *, limit_mm: float = np.inf
    ) -> tuple[FloatArray, NDArray[np.intp]]:
        """Signed distance and index of the nearest surface sample (n where there is none)."""
        reach = limit_mm + self.step_mm
        if np.isfinite(reach):
            lower = self.points_mm.min(axis=0) - reach
            upper = self.points_mm.max(axis=0) + reach
            close = np.all((points >= lower) & (points <= upper), axis=1)
        else:
            close = np.ones(len(points), dtype=bool)
        distance = np.full(len(points), np.inf)
        index = np.full(len(points), len(self.points_mm), dtype=np.intp)
        index[close] = self._nearest_sample(points[close], reach)
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

    def _nearest_sample(self, points: FloatArray, reach: float) -> NDArray[np.intp]:
        """Index of the nearest sample, ``len(points_mm)`` beyond reach.

        Many points are first searched among a few samples; only those near the surface, where the
        step matters, are searched among all.
        """
        none = len(self.points_mm)
        if len(points) < _MANY_POINTS:
            return np.asarray(self.tree.query(points, distance_upper_bound=reach)[1], np.intp)
        rough, few = self._few.query(
            points, distance_upper_bound=reach + self.step_mm, workers=_THREADS
        )
        found = np.asarray(np.where(np.isfinite(rough), few * _ONE_IN, none), np.intp)
        near = np.asarray(rough) < _NEAR_MM
        found[near] = self.tree.query(points[near], distance_upper_bound=reach, workers=_THREADS)[1]
        return found

    @cached_property
    def _few(self) -> cKDTree:
        from scipy.spatial import cKDTree

        return cKDTree(self.points_mm[::_ONE_IN])


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
            flat = _fill(rings, step_mm)
            if covered:
                flat = flat[~inside_rings(covered, flat)]
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
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
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


def _fill(rings: list[FloatArray], step_mm: float) -> FloatArray:
    """Points on a square lattice inside rings (even-odd)."""
    every = np.concatenate(rings)
    axes = [
        np.arange(lo + step_mm / 2, hi, step_mm)
        for lo, hi in zip(every.min(axis=0), every.max(axis=0), strict=True)
    ]
    x, y = (a.ravel() for a in np.meshgrid(*axes, indexing="xy"))
    points = np.c_[x, y]
    inside: FloatArray = points[inside_rings(rings, points)]
    # A tip smaller than the lattice is a point.
    return inside if len(inside) else every.mean(axis=0)[None]


def contains(solid: Solid, points: FloatArray) -> BoolArray:
    """Tell which points (n, 3) lie inside a solid."""
    inside = np.zeros(len(points), dtype=bool)
    lower, upper = solid.bounds_mm
    near = np.flatnonzero(np.all((points >= lower) & (points <= upper), axis=1))
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
