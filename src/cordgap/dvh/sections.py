"""Cross-sections of a solid, one above the other, ready for quadrature."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Section:
    """A stack of sub-slices, each with one of the outlines.

    Parameters
    ----------
    z_mm, thickness_mm, area_mm2 : ndarray of shape (k,)
        Middle, height and exact area of each sub-slice.
    outline : ndarray of shape (k,)
        Which outline each sub-slice has; those of successive sub-slices are the same or the next.
    points_mm : ndarray of shape (n, 2)
        Vertices (x, y) of the outlines, one after the other, each where an edge starts.
    after : ndarray of shape (n,)
        The vertex where each edge ends.
    first : ndarray of shape (o + 1,)
        Where the vertices of each outline begin.
    rising : bool
        Whether every sub-slice has an outline of its own, which goes on in the next one vertex by
        vertex: the surface leans as they move. Otherwise it is upright.
    """

    z_mm: FloatArray
    thickness_mm: FloatArray
    area_mm2: FloatArray
    outline: IntArray
    points_mm: FloatArray
    after: IntArray
    first: IntArray
    rising: bool

    @property
    def starts(self) -> FloatArray:
        """Where the edges start (o, m, 2), of outlines that have the same number of them."""
        return self.points_mm.reshape(self.first.size - 1, -1, 2)

    @property
    def ends(self) -> FloatArray:
        """Where the edges end, like ``starts``."""
        return self.points_mm[self.after].reshape(self.starts.shape)

    @property
    def sizes(self) -> IntArray:
        """Number of vertices of each outline."""
        sizes: IntArray = np.diff(self.first)
        return sizes

    def along_y(self) -> tuple[FloatArray, FloatArray]:
        """Lowest y, and extent along y, of each outline."""
        y, first = np.ascontiguousarray(self.points_mm[:, 1]), self.first[:-1]
        low = np.minimum.reduceat(y, first)
        return low, np.maximum.reduceat(y, first) - low

    def part(self, begin: int, end: int) -> Section:
        """The sub-slices from ``begin`` to before ``end``, with the outlines that they have."""
        rows = slice(begin, end)
        outline = self.outline[rows]
        outlines = slice(outline[0], outline[-1] + 2)
        first = self.first[outlines]
        vertices = slice(first[0], first[-1])
        return Section(
            self.z_mm[rows],
            self.thickness_mm[rows],
            self.area_mm2[rows],
            outline - outline[0],
            self.points_mm[vertices],
            self.after[vertices] - first[0],
            first - first[0],
            self.rising,
        )

    def apart(self) -> Section:
        """The same sub-slices, each with an outline of its own."""
        if self.outline.size == self.first.size - 1:
            return self
        size = self.sizes[self.outline]
        first = np.r_[0, np.cumsum(size)]
        moved = np.repeat(first[:-1] - self.first[self.outline], size)
        vertex = np.arange(first[-1]) - moved
        return replace(
            self,
            outline=np.arange(size.size),
            points_mm=self.points_mm[vertex],
            after=self.after[vertex] + moved,
            first=first,
        )


def next_vertex(sizes: ArrayLike) -> IntArray:
    """For rings one after the other, the index of the vertex that follows each."""
    size = np.asarray(sizes)
    last = np.cumsum(size) - 1
    after = np.arange(1, last[-1] + 2)
    after[last] = last + 1 - size
    return after


def runs_below(weights: ArrayLike, limit: float) -> Iterator[tuple[int, int]]:
    """Cut a sequence of weights into runs (begin, end) of about ``limit`` each at the most."""
    passed = np.cumsum(weights) // limit
    cuts = np.r_[0, np.flatnonzero(np.diff(passed)) + 1, passed.size]
    yield from itertools.pairwise(cuts.tolist())


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
