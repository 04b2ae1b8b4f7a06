"""Lofts as arrays: the cross-sections of many at once, ready for quadrature.

In a loft the centroid and, at each angle, the squared radius change linearly with z (see
:mod:`cordgap.dvh.solid`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cordgap.dvh.compiled import Kernels
from cordgap.dvh.planes import DIRECTIONS, N_ANGLES, next_vertex

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# Vertices handled at once: arrays of some 100 kB stay in the cache.
_VERTICES_AT_ONCE = 40_000
# Change of area over a loft of a few mm that moves its dose by less than 0.01 mm.
_AREA_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Section:
    """A stack of cross-sections of one layer, ready for quadrature.

    Parameters
    ----------
    z_mm, thickness_mm, area_mm2 : ndarray of shape (k,)
        Middle, height and exact area of each sub-slice.
    starts : ndarray of shape (k or 1, m, 2)
        Vertices (x, y) of the cross-section polygons, where an edge starts; one set for all where
        the layer is extruded.
    after : ndarray of shape (m,)
        The vertex where each edge ends.
    """

    z_mm: FloatArray
    thickness_mm: FloatArray
    area_mm2: FloatArray
    starts: FloatArray
    after: IntArray

    @property
    def ends(self) -> FloatArray:
        """Where the edges end, like ``starts``."""
        return self.starts[:, self.after]


@dataclass(frozen=True, eq=False)
class Lofts:
    """The numbers of n lofts that follow each other: profiles at ``z0_mm`` and ``z1_mm``."""

    bottom_mm: FloatArray
    top_mm: FloatArray
    z0_mm: FloatArray
    z1_mm: FloatArray
    hold_area: NDArray[np.bool_]
    centre0_mm: FloatArray
    centre1_mm: FloatArray
    squared0_mm2: FloatArray
    squared1_mm2: FloatArray
    area0_mm2: FloatArray
    area1_mm2: FloatArray

    def shares(self, which: IntArray, z_mm: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Share of the way from the first profile to the second: of the centroid, of the shape.

        A cap goes on with the centroid as it came, and holds the shape.
        """
        share = (z_mm - self.z0_mm[which]) / (self.z1_mm - self.z0_mm)[which]
        return share, np.where(self.hold_area[which], 0.0, share)


def vertices_of(
    lofts: Lofts, which: IntArray, share: FloatArray, shaped: FloatArray, kernels: Kernels | None
) -> FloatArray:
    """Vertices (k, n_angles, 2) of k cross-sections, each of one of the lofts."""
    if kernels is not None:
        made: FloatArray = kernels.loft_vertices(
            which, share, shaped, DIRECTIONS, lofts.centre0_mm, lofts.centre1_mm,
            lofts.squared0_mm2, lofts.squared1_mm2,
        )  # fmt: skip
        return made
    radius = (lofts.squared1_mm2 - lofts.squared0_mm2)[which]
    radius *= shaped[:, None]
    radius += lofts.squared0_mm2[which]
    np.sqrt(np.maximum(radius, 0.0, out=radius), out=radius)
    centre = lofts.centre0_mm[which]
    centre += share[:, None] * (lofts.centre1_mm - lofts.centre0_mm)[which]
    vertices = np.empty((*radius.shape, 2))
    for axis in (0, 1):
        np.multiply(radius, DIRECTIONS[:, axis], out=vertices[..., axis])
        vertices[..., axis] += centre[:, axis, None]
    return vertices


def box_of(lofts: Lofts) -> tuple[FloatArray, FloatArray]:
    """Smallest and largest x, y of lofts.

    Radii grow from the centroid at either end at most to the larger one of the two ends.
    """
    which = np.arange(lofts.bottom_mm.size)
    (share0, shaped0), (share1, shaped1) = (
        lofts.shares(which, z) for z in (lofts.bottom_mm, lofts.top_mm)
    )
    change = lofts.squared1_mm2 - lofts.squared0_mm2
    squared = lofts.squared0_mm2 + np.maximum(shaped0[:, None] * change, shaped1[:, None] * change)
    radius = np.sqrt(np.maximum(squared, 0.0))
    drift = lofts.centre1_mm - lofts.centre0_mm
    centre0 = lofts.centre0_mm + share0[:, None] * drift
    centre1 = lofts.centre0_mm + share1[:, None] * drift
    lower, upper = np.empty(2), np.empty(2)
    for axis in (0, 1):
        reach = radius * DIRECTIONS[:, axis]
        lower[axis] = (np.minimum(centre0, centre1)[:, axis] + reach.min(axis=1)).min()
        upper[axis] = (np.maximum(centre0, centre1)[:, axis] + reach.max(axis=1)).max()
    return lower, upper


def sub_slices(
    bottom_mm: FloatArray,
    top_mm: FloatArray,
    height_mm: float,
    planes_mm: FloatArray | None,
    least: NDArray[np.intp] | int = 1,
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Cut layers that follow each other into sub-slices.

    Parameters
    ----------
    bottom_mm, top_mm : ndarray of shape (n,)
        Of each layer.
    height_mm : float
        No sub-slice is higher.
    planes_mm : ndarray, optional
        Planes that none crosses, ascending.
    least : int or ndarray of shape (n,)
        Sub-slices of a layer, at least.

    Returns
    -------
    which, middle_mm, thickness_mm : ndarray of shape (k,)
        The layer of each sub-slice, where its middle lies, and how thick it is.
    """
    edges = np.concatenate([bottom_mm, top_mm])
    if bottom_mm.size > 1:
        edges = np.unique(edges)
    if planes_mm is not None and planes_mm.size:
        inside = planes_mm[(planes_mm > edges[0]) & (planes_mm < edges[-1])]
        # A plane within a nanometre of an edge is that edge.
        after = np.searchsorted(edges, inside)
        apart = np.minimum(inside - edges[after - 1], edges[after] - inside)
        edges = np.sort(np.concatenate([edges, inside[apart > 1e-6]]))
    middle = 0.5 * (edges[:-1] + edges[1:])
    layer = np.searchsorted(bottom_mm, middle, side="right") - 1
    # Between layers that do not touch there is nothing.
    filled = middle < top_mm[layer]
    layer, start, height = layer[filled], edges[:-1][filled], np.diff(edges)[filled]
    few = np.broadcast_to(least, bottom_mm.shape)[layer] * height / (top_mm - bottom_mm)[layer]
    wanted = np.maximum(height / height_mm, few)
    n = np.ceil(wanted - 1e-6).astype(np.intp)
    part = np.repeat(np.arange(n.size), n)
    # Edges that differ by round-off leave slivers of no sub-slice.
    thickness = (height / np.maximum(n, 1))[part]
    rank = np.arange(part.size) - np.repeat(np.cumsum(n) - n, n)
    return layer[part], start[part] + (rank + 0.5) * thickness, thickness


def lofted_sections(
    lofts: Lofts,
    height_mm: float,
    planes_mm: FloatArray | None = None,
    kernels: Kernels | None = None,
    *,
    at_once: int = _VERTICES_AT_ONCE,
) -> Iterator[Section]:
    """Cut lofts that follow each other into sub-slices, many at once."""
    # Areas change inside a loft, and not inside a sub-slice: two where that matters.
    change = np.abs(lofts.area1_mm2 - lofts.area0_mm2)
    least = np.where(change > _AREA_SHARE * np.maximum(lofts.area0_mm2, lofts.area1_mm2), 2, 1)
    which, z, thickness = sub_slices(
        lofts.bottom_mm, lofts.top_mm, height_mm, planes_mm, least=least
    )
    share, shaped = lofts.shares(which, z)
    area = lofts.area0_mm2[which] + shaped * (lofts.area1_mm2 - lofts.area0_mm2)[which]
    after = next_vertex([N_ANGLES])
    parts = -(-which.size * N_ANGLES // at_once)
    edges = np.linspace(0, which.size, parts + 1).astype(int)
    for first, last in itertools.pairwise(edges):
        rows = slice(first, last)
        starts = vertices_of(lofts, which[rows], share[rows], shaped[rows], kernels)
        yield Section(z[rows], thickness[rows], area[rows], starts, after)
