"""Layers of a solid: lofted between two contours, or extruded from one plane; alone and in runs.

In a loft the centroid and, at each angle, the squared radius change linearly with z, so that the
cross-section area is linear too and the volume equals the slab volume of the same planes
(interpolating the radius itself loses 1.5 % of a 5 mm sphere on 1 mm planes). A slab has one
cross-section, and may shrink to nothing towards one end.

A run holds layers of one kind that follow each other as arrays, for quadrature.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cordgap.dvh.compiled import Kernels
from cordgap.dvh.planes import DIRECTIONS, N_ANGLES, Plane, Profile, Profiles, inside_rings
from cordgap.dvh.sections import Section, next_vertex, runs_below, sub_slices

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# Vertices handled at once: arrays of some 100 kB stay in the cache.
_VERTICES_AT_ONCE = 40_000
# Change of area over a loft of a few mm that moves its dose by less than 0.01 mm.
_AREA_SHARE = 0.05
# Of outlines of N_ANGLES vertices, one after the other: as many as are handled at once.
_AFTER = next_vertex([N_ANGLES] * (_VERTICES_AT_ONCE // N_ANGLES + 1))
_AFTER.flags.writeable = False


@dataclass(frozen=True, eq=False)
class Loft:
    """Layer between two profiles, given at ``z0_mm`` and ``z1_mm``; may cover more or less."""

    bottom_mm: float
    top_mm: float
    z0_mm: float
    z1_mm: float
    profile0: Profile
    profile1: Profile
    hold_area: bool = False

    def _share(self, z_mm: FloatArray) -> FloatArray:
        return (z_mm - self.z0_mm) / (self.z1_mm - self.z0_mm)

    def centre_and_radius(self, z_mm: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Centroid (k, 2) and radius (k, n_angles) at heights ``z_mm``."""
        share = self._share(z_mm)[:, None]
        c0, c1 = self.profile0.centre_mm, self.profile1.centre_mm
        q0, q1 = self.profile0.squared_radius_mm2, self.profile1.squared_radius_mm2
        centre = c0 + share * (c1 - c0)
        squared = q0 + (0.0 if self.hold_area else share) * (q1 - q0)
        return centre, np.broadcast_to(np.sqrt(np.maximum(squared, 0.0)), (z_mm.size, q0.size))

    def contains(self, points: FloatArray) -> NDArray[np.bool_]:
        """Tell which points (n, 3) at heights of this layer lie inside."""
        share = self._share(points[:, 2])[:, None]
        c0, c1 = self.profile0.centre_mm, self.profile1.centre_mm
        offset = points[:, :2] - (c0 + share * (c1 - c0))
        angle = (np.arctan2(offset[:, 1], offset[:, 0]) / (2 * np.pi) * N_ANGLES) % N_ANGLES
        i = np.floor(angle).astype(np.intp) % N_ANGLES
        j, part = (i + 1) % N_ANGLES, angle - np.floor(angle)
        q0, q1 = self.profile0.squared_radius_mm2, self.profile1.squared_radius_mm2
        lower, upper = q0[i] + part * (q0[j] - q0[i]), q1[i] + part * (q1[j] - q1[i])
        height = 0.0 if self.hold_area else share[:, 0]
        squared = lower + height * (upper - lower)
        return np.asarray((offset * offset).sum(axis=1) <= squared)

    def section(self, height_mm: float) -> Section:
        """Cut the layer into sub-slices no thicker than ``height_mm``."""
        (section,) = stacked([self]).sections(height_mm, at_once=10**9)
        return section

    def rings_at(self, z_mm: float) -> list[FloatArray]:
        """Return the cross-section at a height of this layer."""
        centre, radius = self.centre_and_radius(np.array([z_mm]))
        return [centre[0] + radius[0][:, None] * DIRECTIONS]

    @property
    def shoulder(self) -> float:
        """How far the outline moves sideways per mm of height; large where the body closes."""
        centre, radius = self.centre_and_radius(np.array([self.bottom_mm, self.top_mm]))
        sideways = np.abs(np.diff(radius, axis=0)).max() + np.hypot(*(centre[1] - centre[0]))
        return float(sideways) / (self.top_mm - self.bottom_mm)


@dataclass(frozen=True, eq=False)
class Slab:
    """Layer of constant cross-section; ``taper`` shrinks it to nothing at one end (rounded cap)."""

    bottom_mm: float
    top_mm: float
    plane: Plane
    taper: Literal["up", "down"] | None = None
    shoulder = 0.0

    @property
    def volume_mm3(self) -> float:
        """Volume, exact."""
        share = 2.0 / 3.0 if self.taper else 1.0
        return share * self.plane.area_mm2 * (self.top_mm - self.bottom_mm)

    @property
    def ends_mm(self) -> tuple[float, float]:
        """Lowest and highest z."""
        return self.bottom_mm, self.top_mm

    @property
    def layers(self) -> tuple[Slab, ...]:
        """Itself: a cap that shrinks is a run of its own."""
        return (self,)

    def box(self) -> tuple[FloatArray, FloatArray]:
        """Smallest and largest x, y."""
        points = np.concatenate(self.plane.contours)
        return points.min(axis=0), points.max(axis=0)

    def contains(self, points: FloatArray) -> NDArray[np.bool_]:
        """Tell which points (n, 3) at heights of this layer lie inside."""
        xy = points[:, :2]
        if self.taper:
            base = self.bottom_mm if self.taper == "up" else self.top_mm
            u = (points[:, 2] - base) / (self.top_mm - self.bottom_mm)
            centre = np.concatenate(self.plane.contours).mean(axis=0)
            xy = centre + (xy - centre) / np.sqrt(np.maximum(1 - u * u, 1e-12))[:, None]
        return inside_rings(self.plane.contours, xy)

    def rings_at(self, z_mm: float) -> list[FloatArray]:
        """Return the cross-section at a height of this layer."""
        return [np.array(c) for c in self.plane.contours]

    def section(self, height_mm: float) -> Section:
        """Cut the layer into sub-slices no thicker than ``height_mm``."""
        (section,) = (self if self.taper else extruded([self])).sections(height_mm)
        return section

    def sections(
        self,
        height_mm: float,
        planes_mm: FloatArray | None = None,
        kernels: Kernels | None = None,
    ) -> Iterator[Section]:
        """Cut a cap that shrinks into sub-slices."""
        ends = np.array([self.bottom_mm]), np.array([self.top_mm])
        _, z, thickness = sub_slices(*ends, height_mm, planes_mm, least=4)
        base = self.bottom_mm if self.taper == "up" else self.top_mm
        height = self.top_mm - self.bottom_mm
        # Mean of 1 - u^2 over each sub-slice, so that the volume is exact.
        u0 = (np.abs(z - base) - thickness / 2) / height
        u1 = (np.abs(z - base) + thickness / 2) / height
        shrink = 1 - (u0 * u0 + u0 * u1 + u1 * u1) / 3
        outline = np.concatenate(self.plane.contours)
        centre = outline.mean(axis=0)
        points = centre + np.sqrt(shrink)[:, None, None] * (outline - centre)
        after = next_vertex([len(c) for _ in z for c in self.plane.contours])
        first = np.arange(z.size + 1) * len(outline)
        area = shrink * self.plane.area_mm2
        numbers = np.arange(z.size)
        yield Section(z, thickness, area, numbers, points.reshape(-1, 2), after, first, True)


@dataclass(frozen=True, eq=False)
class _Several:
    """Layers that follow each other, from ``bottom_mm`` to ``top_mm`` (n,) each."""

    bottom_mm: FloatArray
    top_mm: FloatArray

    @property
    def ends_mm(self) -> tuple[float, float]:
        """Lowest and highest z."""
        return float(self.bottom_mm[0]), float(self.top_mm[-1])


@dataclass(frozen=True, eq=False)
class Slabs(_Several):
    """Slabs that follow each other, each with the cross-section of its plane."""

    planes: tuple[Plane, ...]

    @property
    def volume_mm3(self) -> float:
        """Volume, exact."""
        area = np.array([plane.area_mm2 for plane in self.planes])
        return float((area * (self.top_mm - self.bottom_mm)).sum())

    @property
    def layers(self) -> tuple[Slab, ...]:
        """Each as one."""
        ends = zip(self.bottom_mm.tolist(), self.top_mm.tolist(), self.planes, strict=True)
        return tuple(Slab(bottom, top, plane) for bottom, top, plane in ends)

    def box(self) -> tuple[FloatArray, FloatArray]:
        """Smallest and largest x, y."""
        x, y = np.concatenate([c for plane in self.planes for c in plane.contours]).T
        return np.array([x.min(), y.min()]), np.array([x.max(), y.max()])

    def _joined(self) -> Slabs:
        """The same body, halves of a slab as one."""
        ends = zip(self.planes, self.top_mm.tolist(), strict=True)
        starts = zip(self.planes[1:], self.bottom_mm[1:].tolist(), strict=True)
        begins = [True] + [
            plane is not above or top != bottom
            for (plane, top), (above, bottom) in zip(ends, starts, strict=False)
        ]
        first = np.flatnonzero(begins)
        last = np.r_[first[1:], len(begins)] - 1
        planes = tuple(self.planes[i] for i in first.tolist())
        return Slabs(self.bottom_mm[first], self.top_mm[last], planes)

    def sections(
        self,
        height_mm: float,
        planes_mm: FloatArray | None = None,
        kernels: Kernels | None = None,
    ) -> Iterator[Section]:
        """Cut the slabs into sub-slices no thicker than ``height_mm``; none crosses a plane."""
        yield from self._joined()._sections(height_mm, planes_mm)

    def _sections(self, height_mm: float, planes_mm: FloatArray | None) -> Iterator[Section]:
        sizes = [[len(c) for c in plane.contours] for plane in self.planes]
        for begin, end in runs_below([sum(size) for size in sizes], _VERTICES_AT_ONCE):
            some = slice(begin, end)
            which, z, thickness = sub_slices(
                self.bottom_mm[some], self.top_mm[some], height_mm, planes_mm
            )
            area = np.array([plane.area_mm2 for plane in self.planes[some]])[which]
            points = np.concatenate([c for plane in self.planes[some] for c in plane.contours])
            after = next_vertex([n for size in sizes[some] for n in size])
            first = np.r_[0, np.cumsum([sum(size) for size in sizes[some]])]
            yield Section(z, thickness, area, which, points, after, first, False)


@dataclass(frozen=True, eq=False)
class Lofts(_Several):
    """Lofts that follow each other, between profiles that are given once.

    Parameters
    ----------
    bottom_mm, top_mm : ndarray of shape (k,)
        Of each loft.
    lower, upper : ndarray of shape (k,)
        The two profiles of each.
    hold_area : ndarray of shape (k,)
        Whether it goes on with the centroid as it came and keeps the shape of the first profile.
    profiles : Profiles
    """

    lower: IntArray
    upper: IntArray
    hold_area: NDArray[np.bool_]
    profiles: Profiles

    def shares(self, which: IntArray, z_mm: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Share of the way from the first profile to the second: of the centroid, of the shape."""
        z0, z1 = self.profiles.z_mm[self.lower], self.profiles.z_mm[self.upper]
        share = (z_mm - z0[which]) / (z1 - z0)[which]
        return share, np.where(self.hold_area[which], 0.0, share)

    @cached_property
    def _ends(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Shares at the bottom (centroid, shape) and at the top of each."""
        every = np.arange(self.bottom_mm.size)
        return *self.shares(every, self.bottom_mm), *self.shares(every, self.top_mm)

    @property
    def volume_mm3(self) -> float:
        """Volume, exact: areas are linear in z."""
        _, at_bottom, _, at_top = self._ends
        area, change = self.profiles.area_mm2[self.lower], self.profiles.area_mm2[self.upper]
        mean = area + 0.5 * (at_bottom + at_top) * (change - area)
        return float((mean * (self.top_mm - self.bottom_mm)).sum())

    @property
    def layers(self) -> tuple[Loft, ...]:
        """Each as one."""
        profiles, z = self.profiles.each(), self.profiles.z_mm.tolist()
        numbers = zip(
            *(a.tolist() for a in (self.bottom_mm, self.top_mm, self.lower, self.upper)),
            self.hold_area.tolist(),
            strict=True,
        )
        return tuple(
            Loft(bottom, top, z[i], z[j], profiles[i], profiles[j], hold)
            for bottom, top, i, j, hold in numbers
        )

    def box(self) -> tuple[FloatArray, FloatArray]:
        """Smallest and largest x, y.

        Radii grow from the centroid at either end at most to the larger one of the two ends.
        """
        share0, shaped0, share1, shaped1 = self._ends
        lower, upper, squared = self.lower, self.upper, self.profiles.squared_radius_mm2
        if not ((shaped0 == 0).all() and ((shaped1 == 1) | self.hold_area).all()):
            first, change = squared[lower], squared[upper] - squared[lower]
            squared = np.concatenate([first + s[:, None] * change for s in (shaped0, shaped1)])
            lower = np.arange(lower.size)
            upper = lower + lower.size
        radius = np.sqrt(np.maximum(squared, 0.0))
        start = self.profiles.centre_mm[self.lower]
        drift = self.profiles.centre_mm[self.upper] - start
        centre0, centre1 = start + share0[:, None] * drift, start + share1[:, None] * drift
        other = np.where(self.hold_area, lower, upper)
        low, high = np.empty(2), np.empty(2)
        for axis in (0, 1):
            reach = radius * DIRECTIONS[:, axis]
            least, most = reach.min(axis=1), reach.max(axis=1)
            low[axis] = (
                np.minimum(centre0, centre1)[:, axis] + np.minimum(least[lower], least[other])
            ).min()
            high[axis] = (
                np.maximum(centre0, centre1)[:, axis] + np.maximum(most[lower], most[other])
            ).max()
        return low, high

    def sections(
        self,
        height_mm: float,
        planes_mm: FloatArray | None = None,
        kernels: Kernels | None = None,
        *,
        at_once: int = _VERTICES_AT_ONCE,
    ) -> Iterator[Section]:
        """Cut the lofts into sub-slices no thicker than ``height_mm``; none crosses a plane."""
        # Areas change inside a loft, and not inside a sub-slice: two where that matters.
        area0, area1 = self.profiles.area_mm2[self.lower], self.profiles.area_mm2[self.upper]
        change = area1 - area0
        least = np.where(np.abs(change) > _AREA_SHARE * np.maximum(area0, area1), 2, 1)
        which, z, thickness = sub_slices(
            self.bottom_mm, self.top_mm, height_mm, planes_mm, least=least
        )
        share, shaped = self.shares(which, z)
        area = area0[which] + shaped * change[which]
        parts = -(-which.size * N_ANGLES // at_once)
        edges = np.linspace(0, which.size, parts + 1).astype(int)
        for first, last in itertools.pairwise(edges):
            rows, n = slice(first, last), last - first
            points = self.vertices(which[rows], share[rows], shaped[rows], kernels)
            after = _AFTER[: points.shape[0]]
            if after.size < points.shape[0]:
                after = next_vertex([N_ANGLES] * n)
            yield Section(
                z[rows],
                thickness[rows],
                area[rows],
                np.arange(n),
                points,
                after,
                np.arange(n + 1) * N_ANGLES,
                True,
            )

    def vertices(
        self, which: IntArray, share: FloatArray, shaped: FloatArray, kernels: Kernels | None
    ) -> FloatArray:
        """Vertices (k * n_angles, 2) of k cross-sections, each of one of the lofts."""
        lower, upper = self.lower[which], self.upper[which]
        if kernels is not None:
            made: FloatArray = kernels.loft_vertices(
                lower,
                upper,
                share,
                shaped,
                DIRECTIONS,
                self.profiles.centre_mm,
                self.profiles.squared_radius_mm2,
            )
            return made
        radius = self.profiles.squared_radius_mm2[upper] - self.profiles.squared_radius_mm2[lower]
        radius *= shaped[:, None]
        radius += self.profiles.squared_radius_mm2[lower]
        np.sqrt(np.maximum(radius, 0.0, out=radius), out=radius)
        centre = self.profiles.centre_mm[lower]
        centre += share[:, None] * (self.profiles.centre_mm[upper] - centre)
        vertices = np.empty((*radius.shape, 2))
        for axis in (0, 1):
            np.multiply(radius, DIRECTIONS[:, axis], out=vertices[..., axis])
            vertices[..., axis] += centre[:, axis, None]
        return vertices.reshape(-1, 2)


Layer = Loft | Slab
Run = Lofts | Slabs | Slab


def runs_of(layers: Iterable[Layer | Lofts]) -> tuple[Run, ...]:
    """Layers in order as runs: those of one kind that follow each other come as one.

    A cap that shrinks is a run of its own, and lofts that are one already stay so.
    """
    runs: list[Run] = []
    lofts: list[Loft] = []
    slabs: list[Slab] = []

    def close() -> None:
        if lofts:
            runs.append(stacked(lofts))
            lofts.clear()
        if slabs:
            runs.append(extruded(slabs))
            slabs.clear()

    for layer in layers:
        if isinstance(layer, Loft):
            if slabs:
                close()
            lofts.append(layer)
        elif isinstance(layer, Slab) and not layer.taper:
            if lofts:
                close()
            slabs.append(layer)
        else:
            close()
            runs.append(layer)
    close()
    return tuple(runs)


def extruded(slabs: Sequence[Slab]) -> Slabs:
    """Slabs that do not taper as a run."""
    return Slabs(
        np.array([x.bottom_mm for x in slabs]),
        np.array([x.top_mm for x in slabs]),
        tuple(x.plane for x in slabs),
    )


def stacked(lofts: Sequence[Loft]) -> Lofts:
    """Lofts as a run."""
    n = len(lofts)
    below, above = [(x.z0_mm, x.profile0) for x in lofts], [(x.z1_mm, x.profile1) for x in lofts]
    return Lofts(
        np.array([x.bottom_mm for x in lofts]),
        np.array([x.top_mm for x in lofts]),
        np.arange(n),
        np.arange(n, 2 * n),
        np.array([x.hold_area for x in lofts]),
        Profiles.of(below + above),
    )
