"""Bodies whose dose-volume relation is known: stacks of discs, contoured as a planner would.

A body is a stack of discs along z or y: radius and centre as functions of the height. The volume
above a dose is a one-dimensional Gauss-Legendre integral of circular segments, which shares nothing
with the engine that it checks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cordgap.case.case import Case, Prescription
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import Structure, structure_from_contours
from cordgap.phantom.shapes import (
    PHANTOM_FRAME_UID,
    FloatArray,
    gauss_legendre,
    make_case,
    segment_area,
)

Function = Callable[[FloatArray], FloatArray]
_N_NODES, _N_ANGLES = 800, 200
_SOBOL_LOG2 = 18
# How far the samples of a dose grid lie off the centre of the body.
SHIFT_MM = (0.413, -0.291, 0.157)


@dataclass(frozen=True, eq=False)
class Body:
    """Discs of ``radius(a)`` around ``centre(a)`` for heights a along ``axis``, in mm.

    ``flat`` says which ends (low, high) are cut; ``caps_mm`` adds plain half-slices there.
    ``centre`` gives the two other coordinates, in the order x, y, z.
    """

    name: str
    axis: int
    low_mm: float
    high_mm: float
    radius: Function
    centre: Callable[[FloatArray], tuple[FloatArray, FloatArray]]
    flat: tuple[bool, bool] = (True, True)
    offset_mm: tuple[float, float, float] = (0.37, -0.61, 0.23)
    caps_mm: tuple[float, float] = (0.0, 0.0)

    def with_half_slices(self, spacing_mm: float) -> Body:
        """Return the body with half of a spacing added to every cut end that is a plane."""
        low, high = (0.5 * spacing_mm if cut and self.axis == 2 else 0.0 for cut in self.flat)
        return replace(self, caps_mm=(low, high))

    def _pieces(self) -> tuple[FloatArray, FloatArray]:
        ends = [self.low_mm - self.caps_mm[0], self.low_mm, self.high_mm]
        ends.append(self.high_mm + self.caps_mm[1])
        half = 0.5 * np.diff(ends)
        middle = ends[:-1] + half
        nodes, weights = gauss_legendre(_N_NODES)
        return (middle[:, None] + half[:, None] * nodes).ravel(), (half[:, None] * weights).ravel()

    def _radius(self, a: FloatArray) -> FloatArray:
        return self.radius(np.clip(a, self.low_mm, self.high_mm))

    @property
    def volume_cc(self) -> float:
        """Exact volume."""
        a, w = self._pieces()
        return float(w @ (np.pi * self._radius(a) ** 2)) / 1000

    def above(self, axis: int) -> Callable[[float], float]:
        """Return the volume in mm3 beyond a plane across ``axis``, as a function of its place."""
        a, w = self._pieces()
        radius = self._radius(a)
        if axis != self.axis:
            others = [i for i in range(3) if i != self.axis]
            centre = self.centre(a)[others.index(axis)]
            return lambda u: float(w @ segment_area(radius, u - centre))
        first, last = self.low_mm - self.caps_mm[0], self.high_mm + self.caps_mm[1]

        nodes, weights = gauss_legendre(_N_NODES)

        def beyond(u: float) -> float:
            edges = np.clip([u, self.low_mm, self.high_mm, last], max(u, first), last)
            half = 0.5 * np.diff(edges)
            at = (edges[:-1] + half)[:, None] + half[:, None] * nodes
            return float(np.sum(half[:, None] * weights * np.pi * self._radius(at) ** 2))

        return beyond

    def exact(self, field: Field, volume_cc: float) -> float:
        """Return the dose that the hottest volume gets at least, in the continuous field."""
        from scipy.optimize import brentq

        if field.axis is None:
            a, w = self._pieces()
            squared = self._radius(a) ** 2
            target = 1000 * (self.volume_cc - volume_cc)
            reach = float(np.sqrt(squared.max()))
            inner = brentq(
                lambda r: float(w @ (np.pi * np.minimum(squared, r * r))) - target, 0, reach
            )
            return float(field.dose(np.array(inner)))
        beyond, reach = self.above(field.axis), 100.0
        u = brentq(lambda t: beyond(t) - 1000 * volume_cc, -reach, reach, xtol=1e-10)
        return float(field.dose(np.array(u)))

    def exact_mean(self, field: Field) -> float:
        """Return the mean dose in the continuous field."""
        a, w = self._pieces()
        radius = self._radius(a)
        disc = np.pi * radius**2
        nodes, weights = gauss_legendre(_N_ANGLES)
        if field.axis == self.axis:
            return float(w @ (disc * field.dose(a)) / (w @ disc))
        if field.axis is None:
            rho = 0.5 * (nodes + 1)
            mean = 0.5 * (field.dose(rho * radius[:, None]) * 2 * rho) @ weights
        else:
            others = [i for i in range(3) if i != self.axis]
            centre = self.centre(a)[others.index(field.axis)]
            angle = 0.5 * np.pi * nodes
            u = centre[:, None] + radius[:, None] * np.sin(angle)
            mean = (field.dose(u) * np.cos(angle) ** 2) @ weights
        return float(w @ (disc * mean) / (w @ disc))

    def contours(self, z_mm: FloatArray, vertex_mm: float) -> list[FloatArray]:
        """Return sections at heights z, in patient coordinates, a vertex every ``vertex_mm``."""
        rings = []
        for z in z_mm:
            ring = self._disc(float(z), vertex_mm) if self.axis == 2 else self._cut(z, vertex_mm)
            if ring is not None:
                points = np.column_stack([ring, np.full(len(ring), z)])
                rings.append(points + np.array(self.offset_mm))
        return rings

    def _disc(self, z: float, vertex_mm: float) -> FloatArray | None:
        radius = float(self._radius(np.array(z)))
        if radius < 1e-3:
            return None
        n = max(12, int(np.ceil(2 * np.pi * radius / vertex_mm)))
        angle = 2 * np.pi * (np.arange(n) + 0.3) / n
        x, y = (float(c) for c in self.centre(np.array(z)))
        return np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle)])

    def _cut(self, z: float, vertex_mm: float) -> FloatArray | None:
        """Section of a body along y: where the discs reach the height z (radius falls along y)."""
        from scipy.optimize import brentq

        if self.radius(np.array(self.low_mm)) - abs(z) < 1e-3:
            return None
        top = self.high_mm
        if self.radius(np.array(top)) < abs(z):
            top = brentq(lambda y: float(self.radius(np.array(y))) - abs(z), self.low_mm, top)
        y = np.linspace(self.low_mm, top, max(3, int((top - self.low_mm) / vertex_mm) + 1))
        half = np.sqrt(np.maximum(self.radius(y) ** 2 - z * z, 0.0))
        return np.asarray(np.r_[np.column_stack([half, y]), np.column_stack([-half, y])[::-1]])

    def planes(self, spacing_mm: float, where: str | float) -> FloatArray:
        """Return heights of planes: at slab ``centres``, at the ``poles``, or from a phase on."""
        reach = (self.low_mm, self.high_mm) if self.axis == 2 else self._reach()
        n = round((reach[1] - reach[0]) / spacing_mm)
        if where == "poles":
            return np.asarray(reach[0] + spacing_mm * np.arange(n + 1))
        phase = 0.5 if where == "centres" else float(where)
        z = reach[0] + spacing_mm * (np.arange(n + 2) + phase)
        return np.asarray(z[z < reach[1]], dtype=np.float64)

    def _reach(self) -> tuple[float, float]:
        radius = float(self.radius(np.array(self.low_mm)))
        return -radius, radius

    def structure(self, z_mm: FloatArray, vertex_mm: float) -> Structure:
        """Return the contours as a structure."""
        return structure_from_contours(1, self.name, self.contours(z_mm, vertex_mm))

    def as_given(self, vertex_mm: float) -> Body:
        """Return the body whose discs have the area of the polygons with so many vertices."""

        def radius(a: FloatArray) -> FloatArray:
            r = self.radius(a)
            angle = 2 * np.pi / np.ceil(2 * np.pi * r / vertex_mm)
            return np.asarray(r * np.sqrt(np.sin(angle) / angle))

        return replace(self, radius=radius)

    def trilinear(self, dose: DoseGrid, volumes_cc: FloatArray) -> tuple[FloatArray, float]:
        """Return doses of the hottest volumes and the mean of the body (along z) in a dose grid.

        By Sobol points in the body and scipy's linear interpolation.
        """
        from scipy.ndimage import map_coordinates
        from scipy.stats import qmc

        u = qmc.Sobol(3, seed=11).random_base2(_SOBOL_LOG2)
        heights = np.linspace(self.low_mm, self.high_mm, 4001)
        area = np.pi * self._radius(heights) ** 2
        share = np.r_[0.0, np.cumsum(0.5 * (area[1:] + area[:-1]))]
        a = np.interp(u[:, 0], share / share[-1], heights)
        r, angle = self._radius(a) * np.sqrt(u[:, 1]), 2 * np.pi * u[:, 2]
        x, y = self.centre(a)
        points = np.column_stack([x + r * np.cos(angle), y + r * np.sin(angle), a])
        points += np.array(self.offset_mm)
        axes = dose.geometry.axes
        at = [(points[:, 2 - i] - g[0]) / (g[1] - g[0]) for i, g in enumerate(axes)]
        sampled = np.sort(map_coordinates(dose.values, at, order=1))[::-1]
        rank = volumes_cc / self.volume_cc * sampled.size - 0.5
        return np.interp(rank, np.arange(sampled.size), sampled), float(sampled.mean())


@dataclass(frozen=True, eq=False)
class Ring:
    """A body with a hole along its length: what ``outer`` has and ``inner`` has not."""

    name: str
    outer: Body
    inner: Body

    @property
    def volume_cc(self) -> float:
        """Exact volume."""
        return self.outer.volume_cc - self.inner.volume_cc

    def exact(self, field: Field, volume_cc: float) -> float:
        """Return the dose that the hottest volume gets at least, in a field along one axis."""
        from scipy.optimize import brentq

        assert field.axis is not None
        outer, inner = self.outer.above(field.axis), self.inner.above(field.axis)
        reach = 100.0
        u = brentq(lambda t: outer(t) - inner(t) - 1000 * volume_cc, -reach, reach, xtol=1e-10)
        return float(field.dose(np.array(u)))

    def exact_mean(self, field: Field) -> float:
        """Return the mean dose in the continuous field."""
        parts = [(b.volume_cc, b.exact_mean(field)) for b in (self.outer, self.inner)]
        (v1, d1), (v2, d2) = parts
        return (v1 * d1 - v2 * d2) / (v1 - v2)

    def structure(self, z_mm: FloatArray, vertex_mm: float) -> Structure:
        """Return outer and inner contours as a structure."""
        rings = [c for b in (self.outer, self.inner) for c in b.contours(z_mm, vertex_mm)]
        return structure_from_contours(1, self.name, rings)

    def as_given(self, vertex_mm: float) -> Ring:
        """Return the ring of the polygons with so many vertices."""
        return replace(
            self, outer=self.outer.as_given(vertex_mm), inner=self.inner.as_given(vertex_mm)
        )


@dataclass(frozen=True, eq=False)
class Field:
    """Dose that rises with one coordinate (``axis``) or with the distance from the body's axis."""

    name: str
    axis: int | None
    dose: Function

    def gradient(self, dose_gy: float) -> float:
        """Return the Gy per mm where the field has that dose."""
        u = np.linspace(-40.0 if self.axis is not None else 0.0, 40.0, 16001)
        d = self.dose(u)
        return float(np.interp(dose_gy, d, np.gradient(d, u)))

    def grid(self, body: Body, spacing_mm: float, shift_mm: tuple[float, ...]) -> DoseGrid:
        """Sample the field around a body; the samples are off its centre by ``shift_mm``."""
        radius = float(self._widest(body))
        reach = np.array([radius, radius, radius]) + 4 * spacing_mm
        reach[body.axis] = max(-body.low_mm, body.high_mm) + max(body.caps_mm) + 4 * spacing_mm
        axes = [
            spacing_mm * np.arange(-(r // spacing_mm) - 1.0, r // spacing_mm + 2.0) + s + o
            for r, s, o in zip(reach, shift_mm, body.offset_mm, strict=True)
        ]
        x, y, z = (a - o for a, o in zip(axes, body.offset_mm, strict=True))
        zz, yy, xx = np.meshgrid(z, y, x, indexing="ij")
        if self.axis is None:
            cx, cy = body.centre(zz)
            values = self.dose(np.hypot(xx - cx, yy - cy))
        else:
            values = self.dose((xx, yy, zz)[self.axis])
        return DoseGrid.from_array(GridGeometry(*axes), values)

    @staticmethod
    def _widest(body: Body) -> float:
        a = np.linspace(body.low_mm, body.high_mm, 201)
        return float(max(np.max(np.abs(c) + body.radius(a)) for c in body.centre(a)))


def linear(axis: int, at_centre_gy: float = 40.0) -> Field:
    """Return a dose that rises by 1 Gy/mm along an axis."""
    return Field(f"1 Gy/mm along {'xyz'[axis]}", axis, lambda u: at_centre_gy + u)


def penumbra(sigma_mm: float, axis: int = 1) -> Field:
    """Return an error function between 1 and 28 Gy, half of it 5 mm off the centre."""

    def dose(u: FloatArray) -> FloatArray:
        from scipy.special import erf

        return np.asarray(1 + 13.5 * (1 + erf((u - 5) / (np.sqrt(2) * sigma_mm))))

    return Field(f"erf {sigma_mm:g} mm", axis, dose)


def radial(share_per_mm: float) -> Field:
    """Return an exponential rise with the distance from the centreline, 10 Gy at 5 mm."""
    return Field(
        f"radial {100 * share_per_mm:g} %/mm",
        None,
        lambda r: 10 * np.exp(share_per_mm * (np.minimum(r, 20.0) - 5)),
    )


def _still(a: FloatArray) -> tuple[FloatArray, FloatArray]:
    return 0 * a, 0 * a


def nelms_bodies(radius_mm: float = 12.0) -> list[Body]:
    """Return sphere, cylinders and cones along z and across it, as wide as they are long."""
    r = radius_mm

    def falling(a: FloatArray) -> FloatArray:
        return (r - a) / 2

    def same(a: FloatArray) -> FloatArray:
        return r + 0 * a

    def round_(a: FloatArray) -> FloatArray:
        return np.sqrt(np.maximum(r * r - a * a, 0.0))

    return [
        Body("sphere", 2, -r, r, round_, _still, (False, False)),
        Body("cylinder along z", 2, -r, r, same, _still),
        Body("cylinder along y", 1, -r, r, same, _still),
        Body("cone along z", 2, -r, r, falling, _still, (True, False)),
        Body("cone along y", 1, -r, r, falling, _still),
    ]


def own_cords() -> list[Body]:
    """Return cords of other radii, tilts and bends than the published ones; 45 mm long."""
    h = 22.5

    def at(
        tilt: tuple[float, float], bend: tuple[float, float]
    ) -> Callable[[FloatArray], tuple[FloatArray, FloatArray]]:
        return lambda a: (tilt[0] * a + bend[0] * a * a / 2, tilt[1] * a + bend[1] * a * a / 2)

    def r(mm: float, per_mm: float = 0.0) -> Function:
        return lambda a: mm + per_mm * a

    return [
        Body("thin", 2, -h, h, r(3.6), _still, offset_mm=(0.13, 0.71, -0.42)),
        Body("thick, tilted", 2, -h, h, r(6.4), at((0.11, -0.23), (0, 0)),
             offset_mm=(2.13, -1.77, 0.6)),
        Body("tilted much", 2, -h, h, r(4.7), at((-0.31, 0.19), (0, 0)),
             offset_mm=(-3.31, 0.82, 0.05)),
        Body("bent", 2, -h, h, r(5.2), at((0.05, 0.02), (0.004, -0.006)),
             offset_mm=(0.71, 1.39, -0.9)),
        Body("tapered, bent", 2, -h, h, r(4.6, 0.045), at((0.0, -0.08), (0.0, 0.009)),
             offset_mm=(-0.55, 0.27, 0.33)),
    ]  # fmt: skip


def hollow_cord() -> Ring:
    """Return a tilted ring, 5.2 mm outside and 2.1 mm inside, as a cord with its middle left out.

    Both walls tilt alike, so that no section of one leaves the other.
    """
    h = 22.5

    def at(a: FloatArray) -> tuple[FloatArray, FloatArray]:
        return 0.07 * a, -0.11 * a

    def wall(name: str, mm: float) -> Body:
        return Body(name, 2, -h, h, lambda a: mm + 0 * a, at, offset_mm=(1.21, -0.83, 0.37))

    return Ring("hollow, tilted", wall("outside", 5.2), wall("inside", 2.1))


def ball(diameter_mm: float, offset_mm: tuple[float, float, float]) -> Body:
    """Return a sphere."""
    r = diameter_mm / 2
    return Body(
        f"{diameter_mm:g} mm", 2, -r, r, lambda a: np.sqrt(np.maximum(r * r - a * a, 0.0)), _still,
        (False, False), offset_mm,
    )  # fmt: skip


def case_of(structure: Structure, dose: DoseGrid, *, patient_position: str = "HFS") -> Case:
    """Return a case with one structure, to be written as DICOM."""
    named = replace(structure, frame_of_reference_uid=PHANTOM_FRAME_UID)
    # Files hold no dose below 0; a linear field may be there, far outside the body.
    dose = DoseGrid.from_array(dose.geometry, np.maximum(dose.values, 0.0))
    case = make_case("body", (named,), dose, Prescription(40.0, 1, "phantom"))
    return replace(case, patient_position=patient_position)
