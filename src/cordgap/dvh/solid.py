"""From contour planes to a solid: what lies between the planes, beyond the ends, and in holes.

A solid is a stack of layers in z. A layer is either *lofted* between two contours (cross-sections
change smoothly) or *extruded* from one plane (cross-section constant). ``between="shape"`` lofts
wherever both planes hold a single contour that is star-shaped about its centroid, as cords are,
and extrudes elsewhere; ``between="slab"`` always extrudes. Holes follow the even-odd rule.

In a loft the centroid and, at each angle, the squared radius change linearly with z, so that the
cross-section area is linear too and the volume equals the slab volume of the same planes
(interpolating the radius itself loses 1.5 % of a 5 mm sphere on 1 mm planes).

A body whose cross-sections shrink so fast that nothing would be left one spacing beyond its last
plane *closes*: it gets an extrapolated cap, and its sides follow a curve between the planes
(``dvh/shaping.py``). A body that was cut, as cords are, ends flat and has straight lofts.

References
----------
Nelms et al. 2015, doi:10.1118/1.4923175, for what contours do and do not determine.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from cordgap.case.structure import Structure
from cordgap.dvh.compiled import Kernels
from cordgap.dvh.lofts import (
    Lofts,
    Section,
    box_of,
    lofted_sections,
    sub_slices,
)
from cordgap.dvh.planes import (
    DIRECTIONS,
    N_ANGLES,
    TANGLED,
    Plane,
    Profile,
    clean_planes,
    inside_rings,
    may_loft,
    next_vertex,
)
from cordgap.dvh.shaping import bent_between, closing_cap
from cordgap.errors import Finding, StructureError

FloatArray = NDArray[np.float64]
Between = Literal["shape", "slab"]
Ends = Literal["half-slice", "flat", "none", "rounded"]

# A gap between planes is bridged up to this multiple of the spacing around it; beyond, a plane is
# missing and nobody knows what was there.
MAX_GAP_FRACTION = 1.6
_PROBLEMS = {
    "self-crossing-contour": ("crosses itself", "the area counted is the even-odd one"),
    "overlapping-contours": ("overlaps another", "the area counted is that of the union"),
    "duplicate-contours": ("is drawn twice", "it counts once"),
}


@dataclass(frozen=True, eq=False)
class _Loft:
    """Layer between two profiles, given at ``z0_mm`` and ``z1_mm``; may cover more or less."""

    bottom_mm: float
    top_mm: float
    z0_mm: float
    z1_mm: float
    profile0: Profile
    profile1: Profile
    hold_area: bool = False

    @property
    def volume_mm3(self) -> float:
        areas = [self._area(z) for z in (self.bottom_mm, self.top_mm)]
        return 0.5 * (areas[0] + areas[1]) * (self.top_mm - self.bottom_mm)

    def _share(self, z_mm: FloatArray) -> FloatArray:
        return (z_mm - self.z0_mm) / (self.z1_mm - self.z0_mm)

    def _area(self, z_mm: float) -> float:
        share = 0.0 if self.hold_area else (z_mm - self.z0_mm) / (self.z1_mm - self.z0_mm)
        return self.profile0.area_mm2 + share * (self.profile1.area_mm2 - self.profile0.area_mm2)

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

    def section(self, pitch_mm: float) -> Section:
        (section,) = lofted_sections(_stacked([self]), pitch_mm, at_once=10**9)
        return section

    @property
    def shoulder(self) -> float:
        """How far the outline moves sideways per mm of height; large where the body closes."""
        centre, radius = self.centre_and_radius(np.array([self.bottom_mm, self.top_mm]))
        sideways = np.abs(np.diff(radius, axis=0)).max() + np.hypot(*(centre[1] - centre[0]))
        return float(sideways) / (self.top_mm - self.bottom_mm)


@dataclass(frozen=True, eq=False)
class _Slab:
    """Layer of constant cross-section; ``taper`` shrinks it to nothing at one end (rounded cap)."""

    bottom_mm: float
    top_mm: float
    plane: Plane
    taper: Literal["up", "down"] | None = None
    shoulder = 0.0

    @property
    def volume_mm3(self) -> float:
        share = 2.0 / 3.0 if self.taper else 1.0
        return share * self.plane.area_mm2 * (self.top_mm - self.bottom_mm)

    def contains(self, points: FloatArray) -> NDArray[np.bool_]:
        """Tell which points (n, 3) at heights of this layer lie inside."""
        xy = points[:, :2]
        if self.taper:
            base = self.bottom_mm if self.taper == "up" else self.top_mm
            u = (points[:, 2] - base) / (self.top_mm - self.bottom_mm)
            centre = np.concatenate(self.plane.contours).mean(axis=0)
            xy = centre + (xy - centre) / np.sqrt(np.maximum(1 - u * u, 1e-12))[:, None]
        return inside_rings(self.plane.contours, xy)

    def continues_in(self, other: _Slab) -> bool:
        """Whether another slab goes on where this one ends, with the same cross-section."""
        same = self.plane is other.plane and self.taper is None and other.taper is None
        return same and self.top_mm == other.bottom_mm

    def section(self, pitch_mm: float, planes_mm: FloatArray | None = None) -> Section:
        ends = np.array([self.bottom_mm]), np.array([self.top_mm])
        _, z, thickness = sub_slices(*ends, pitch_mm, planes_mm, least=4 if self.taper else 1)
        starts = np.concatenate(self.plane.contours)
        after = next_vertex([len(c) for c in self.plane.contours])
        area = np.full(z.size, self.plane.area_mm2)
        if self.taper is None:
            return Section(z, thickness, area, starts[None], after)
        base = self.bottom_mm if self.taper == "up" else self.top_mm
        height = self.top_mm - self.bottom_mm
        # Mean of 1 - u^2 over each sub-slice, so that the volume is exact.
        u0 = (np.abs(z - base) - thickness / 2) / height
        u1 = (np.abs(z - base) + thickness / 2) / height
        shrink = 1 - (u0 * u0 + u0 * u1 + u1 * u1) / 3
        centre = starts.mean(axis=0)
        scale = np.sqrt(shrink)[:, None, None]
        return Section(z, thickness, area * shrink, centre + scale * (starts - centre), after)


@dataclass(frozen=True, eq=False)
class Solid:
    """A closed body made of layers, sorted by z; gaps between layers are outside.

    ``planes`` are the contoured ones; caps reach beyond. ``slab_thickness_mm`` is what the file
    says for a structure of a single plane. ``closes``: an end is a closing cap.
    """

    roi_name: str
    layers: tuple[_Loft | _Slab, ...]
    between: Between
    ends: Ends
    planes: tuple[Plane, ...]
    slab_thickness_mm: float | None = None
    closes: bool = False
    findings: tuple[Finding, ...] = ()

    def rebuilt(self, *, between: Between | None = None, ends: Ends | None = None) -> Solid:
        """Build the solid of the same planes by another rule."""
        between, ends = between or self.between, ends or self.ends
        layers, closes, _ = _stack(
            self.planes, self.roi_name, self.slab_thickness_mm, between, ends
        )
        return Solid(
            self.roi_name, tuple(layers), between, ends, self.planes, self.slab_thickness_mm,
            closes, self.findings,
        )  # fmt: skip

    @property
    def plane_range_mm(self) -> tuple[float, float]:
        """Where the first and the last contoured plane lie."""
        return self.planes[0].z_mm, self.planes[-1].z_mm

    @cached_property
    def volume_mm3(self) -> float:
        """Volume, exact for the layers."""
        return sum(layer.volume_mm3 for layer in self.layers)

    @property
    def volume_cc(self) -> float:
        """Volume in cc."""
        return self.volume_mm3 / 1000.0

    @property
    def z_range_mm(self) -> tuple[float, float]:
        """Lowest and highest point."""
        return self.layers[0].bottom_mm, self.layers[-1].top_mm

    @cached_property
    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Corners (x, y, z) of a box that holds the solid."""
        lower, upper = np.full(2, np.inf), np.full(2, -np.inf)
        for run in self.runs:
            if isinstance(run, Lofts):
                low, high = box_of(run)
            else:
                points = np.concatenate(run.plane.contours)
                low, high = points.min(axis=0), points.max(axis=0)
            lower, upper = np.minimum(lower, low), np.maximum(upper, high)
        bottom, top = self.z_range_mm
        return np.r_[lower, bottom], np.r_[upper, top]

    @cached_property
    def runs(self) -> tuple[Lofts | _Slab, ...]:
        """Layers in order; lofts that follow each other, and halves of a slab, come as one."""
        runs: list[Lofts | _Slab] = []
        for lofted, run in itertools.groupby(self.layers, lambda x: isinstance(x, _Loft)):
            if lofted:
                runs.append(_stacked([x for x in run if isinstance(x, _Loft)]))
                continue
            for slab in (x for x in run if isinstance(x, _Slab)):
                below = runs[-1] if runs else None
                if isinstance(below, _Slab) and below.continues_in(slab):
                    runs[-1] = replace(below, top_mm=slab.top_mm)
                else:
                    runs.append(slab)
        return tuple(runs)

    def sections(
        self,
        height_mm: float,
        planes_mm: FloatArray | None = None,
        kernels: Kernels | None = None,
    ) -> Iterator[Section]:
        """Cut every layer into sub-slices no thicker than ``height_mm``; none crosses a plane.

        Lofts that follow each other share sections, as they have the same number of edges; a
        section holds a bounded number of vertices.
        """
        for run in self.runs:
            if isinstance(run, Lofts):
                yield from lofted_sections(run, height_mm, planes_mm, kernels)
            else:
                yield run.section(height_mm, planes_mm)

    def section_at(self, z_mm: float) -> list[FloatArray]:
        """Return the cross-section at a height as closed rings ``(n, 2)``; empty outside."""
        for layer in self.layers:
            if layer.bottom_mm <= z_mm <= layer.top_mm:
                if isinstance(layer, _Slab):
                    return [np.array(c) for c in layer.plane.contours]
                centre, radius = layer.centre_and_radius(np.array([z_mm]))
                return [centre[0] + radius[0][:, None] * DIRECTIONS]
        return []


def _stacked(lofts: Sequence[_Loft]) -> Lofts:
    """The numbers of lofts that follow each other."""
    p0, p1 = [x.profile0 for x in lofts], [x.profile1 for x in lofts]
    return Lofts(
        np.array([x.bottom_mm for x in lofts]),
        np.array([x.top_mm for x in lofts]),
        np.array([x.z0_mm for x in lofts]),
        np.array([x.z1_mm for x in lofts]),
        np.array([x.hold_area for x in lofts]),
        np.array([p.centre_mm for p in p0]),
        np.array([p.centre_mm for p in p1]),
        np.array([p.squared_radius_mm2 for p in p0]),
        np.array([p.squared_radius_mm2 for p in p1]),
        np.array([p.area_mm2 for p in p0]),
        np.array([p.area_mm2 for p in p1]),
    )


def _typical_gaps(gaps: FloatArray, default_mm: float | None) -> FloatArray:
    """Spacing expected at each gap: the median of the five gaps around it."""
    if gaps.size == 1:
        only = gaps[0] if default_mm is None else min(float(gaps[0]), default_mm)
        return np.array([only])
    width = min(5, gaps.size)
    first = np.clip(np.arange(gaps.size) - width // 2, 0, gaps.size - width)
    return np.asarray(np.median(gaps[first[:, None] + np.arange(width)], axis=1))


def build_solid(
    structure: Structure, *, between: Between = "shape", ends: Ends = "half-slice"
) -> Solid:
    """Build the solid that a structure's contours stand for.

    Parameters
    ----------
    structure : Structure
    between : {"shape", "slab"}
        What lies between two planes.
    ends : {"half-slice", "flat", "none", "rounded"}
        What lies beyond the first and the last plane of a run of planes. ``flat``: half of the
        local spacing with the shape of the last contour (its centroid goes on as it came).
        ``half-slice``: the same, but a lofted body that is about to close gets a closing cap.
        ``rounded``: a rounded cap of half of the spacing; ``none``: nothing.

    Returns
    -------
    Solid

    Raises
    ------
    StructureError
        If the structure has no closed axial contour, or a single plane without a thickness.
    """
    built = _BUILT.setdefault(structure, {})
    if (between, ends) not in built:
        built[between, ends] = _build(structure, between, ends)
    return built[between, ends]


# One plan asks for the solid of its cord many times; it goes with the structure.
_BUILT: WeakKeyDictionary[Structure, dict[tuple[Between, Ends], Solid]] = WeakKeyDictionary()


def _build(structure: Structure, between: Between, ends: Ends) -> Solid:
    name = structure.roi_name
    if structure.status != "ok":
        raise StructureError(
            f"structure {name!r} is {structure.status}: {structure.reason}", roi_name=name
        )
    planes, findings = [], []
    problems: dict[str, list[float]] = {}
    for plane, problem in clean_planes(structure.planes):
        planes.append(plane)
        if problem:
            problems.setdefault(problem, []).append(plane.z_mm)
    if TANGLED in problems:
        where = ", ".join(f"{z:.1f}" for z in problems[TANGLED][:5])
        raise StructureError(
            f"structure {name!r}: a contour crosses itself at z = {where} mm so that the area it "
            "encloses is uncertain by more than 5 %; draw it again",
            code=TANGLED,
            roi_name=name,
            action="draw the contour again",
        )
    for code, levels in problems.items():
        where = ", ".join(f"{z:.1f}" for z in levels[:5]) + (" ..." if len(levels) > 5 else "")
        findings.append(
            Finding(
                code,
                f"a contour {_PROBLEMS[code][0]} on {len(levels)} plane(s), z = {where} mm; "
                f"{_PROBLEMS[code][1]}",
                roi_name=name,
                action="check the contours of this structure on these planes",
            )
        )
    default = structure.slab_thickness_mm
    layers, closes, gap_findings = _stack(planes, name, default, between, ends)
    findings.extend(gap_findings)
    return Solid(
        name, tuple(layers), between, ends, tuple(planes), default, closes, tuple(findings)
    )


def _stack(
    planes: Sequence[Plane], name: str, default: float | None, between: Between, ends: Ends
) -> tuple[list[_Loft | _Slab], bool, list[Finding]]:
    """Layers of all planes, whether an end closes, and what was not bridged."""
    if len(planes) == 1:
        if not default or ends == "none":
            raise StructureError(
                f"structure {name!r} has a single contoured plane and no thickness is known for "
                "it; contour at least two planes, or provide the CT series"
            )
        return *_run(planes, [default, default], [], ends), []
    z = np.array([p.z_mm for p in planes])
    gaps = np.diff(z)
    typical = _typical_gaps(gaps, default)
    missing = gaps > MAX_GAP_FRACTION * typical
    findings = []
    if missing.any():
        shown = ", ".join(f"{z[i]:.1f} to {z[i + 1]:.1f}" for i in np.flatnonzero(missing)[:5])
        findings.append(
            Finding(
                "contour-gap",
                f"{int(missing.sum())} gap(s) between planes are longer than the spacing around "
                f"them (z = {shown} mm) and are not bridged; nothing there counts",
                roi_name=name,
                expected=f"planes every {float(np.median(typical)):g} mm",
                action="contour the missing planes",
            )
        )
    layers: list[_Loft | _Slab] = []
    closes = False
    starts = np.r_[0, np.flatnonzero(missing) + 1, len(planes)]
    for first, last in itertools.pairwise(starts):
        if last - first == 1:
            before = after = float(typical[min(first, len(typical) - 1)])
        else:
            before, after = float(gaps[first]), float(gaps[last - 2])
        run = planes[first:last]
        lofts = may_loft(run) if between == "shape" else [False] * (len(run) - 1)
        run_layers, run_closes = _run(run, [before, after], lofts, ends)
        layers.extend(run_layers)
        closes = closes or run_closes
    return layers, closes, findings


def _run(
    planes: Sequence[Plane], end_spacing_mm: list[float], lofts: list[bool], ends: Ends
) -> tuple[list[_Loft | _Slab], bool]:
    """Layers of planes that follow each other without a gap, and whether an end closes."""
    half = [s / 2 for s in end_spacing_mm] if ends != "none" else [0.0, 0.0]
    bottom, closes_below = _cap(planes, "down", half[0], lofts[:2], ends)
    top, closes_above = _cap(planes, "up", half[1], lofts[:-3:-1], ends)
    closes = closes_below or closes_above
    layers = bottom
    for i, (a, b) in enumerate(itertools.pairwise(planes)):
        if lofts[i] and a.profile is not None and b.profile is not None:
            inner = bent_between(planes, lofts, i) if closes else []
            layers.extend(_lofts([(a.z_mm, a.profile), *inner, (b.z_mm, b.profile)]))
        else:
            middle = 0.5 * (a.z_mm + b.z_mm)
            layers.append(_Slab(a.z_mm, middle, a))
            layers.append(_Slab(middle, b.z_mm, b))
    return layers + top, closes


def _lofts(sections: Sequence[tuple[float, Profile]]) -> list[_Loft | _Slab]:
    return [_Loft(z0, z1, z0, z1, p0, p1) for (z0, p0), (z1, p1) in itertools.pairwise(sections)]


def _cap(
    planes: Sequence[Plane],
    direction: Literal["up", "down"],
    height_mm: float,
    lofts: list[bool],
    ends: Ends,
) -> tuple[list[_Loft | _Slab], bool]:
    """Layers beyond the last plane, and whether the body closes there.

    ``lofts`` says whether the last gap, and the one before it, are lofted.
    """
    if height_mm <= 0:
        return [], False
    last, *inwards = planes[:-4:-1] if direction == "up" else planes[:3]
    bottom = last.z_mm if direction == "up" else last.z_mm - height_mm
    if ends == "rounded":
        return [_Slab(bottom, bottom + height_mm, last, taper=direction)], False
    if ends == "half-slice" and lofts == [True, True]:
        sections = closing_cap(last, *inwards)
        if sections:
            return _lofts(sorted(sections, key=lambda s: s[0])), True
    if lofts and lofts[0] and last.profile is not None and inwards[0].profile is not None:
        return [
            _Loft(
                bottom,
                bottom + height_mm,
                last.z_mm,
                inwards[0].z_mm,
                last.profile,
                inwards[0].profile,
                hold_area=True,
            )
        ], False
    return [_Slab(bottom, bottom + height_mm, last)], False
