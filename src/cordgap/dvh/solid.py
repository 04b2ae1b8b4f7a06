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
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from cordgap.case.structure import Structure
from cordgap.dvh.compiled import Kernels
from cordgap.dvh.layers import Layer, Lofts, Run, Slab, runs_of
from cordgap.dvh.planes import TANGLED, Plane, Profiles, clean_planes, may_loft
from cordgap.dvh.sections import Section
from cordgap.dvh.shaping import bent, closing_cap
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
class Solid:
    """A closed body made of layers, sorted by z; gaps between layers are outside.

    ``planes`` are the contoured ones; caps reach beyond. ``slab_thickness_mm`` is what the file
    says for a structure of a single plane. ``closes``: an end is a closing cap.
    """

    roi_name: str
    runs: tuple[Run, ...]
    between: Between
    ends: Ends
    planes: tuple[Plane, ...]
    slab_thickness_mm: float | None = None
    closes: bool = False
    findings: tuple[Finding, ...] = ()

    def rebuilt(self, *, between: Between | None = None, ends: Ends | None = None) -> Solid:
        """Build the solid of the same planes by another rule."""
        between, ends = between or self.between, ends or self.ends
        runs, closes, _ = _stack(self.planes, self.roi_name, self.slab_thickness_mm, between, ends)
        return Solid(
            self.roi_name, runs, between, ends, self.planes, self.slab_thickness_mm, closes,
            self.findings,
        )  # fmt: skip

    @property
    def plane_range_mm(self) -> tuple[float, float]:
        """Where the first and the last contoured plane lie."""
        return self.planes[0].z_mm, self.planes[-1].z_mm

    @cached_property
    def volume_mm3(self) -> float:
        """Volume, exact for the layers."""
        return sum(run.volume_mm3 for run in self.runs)

    @property
    def volume_cc(self) -> float:
        """Volume in cc."""
        return self.volume_mm3 / 1000.0

    @property
    def z_range_mm(self) -> tuple[float, float]:
        """Lowest and highest point."""
        return self.runs[0].ends_mm[0], self.runs[-1].ends_mm[1]

    @cached_property
    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Corners (x, y, z) of a box that holds the solid."""
        boxes = [run.box() for run in self.runs]
        bottom, top = self.z_range_mm
        lower, upper = (np.array(corners) for corners in zip(*boxes, strict=True))
        return np.array([*lower.min(axis=0), bottom]), np.array([*upper.max(axis=0), top])

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Layers one by one, from the lowest up."""
        return tuple(itertools.chain.from_iterable(run.layers for run in self.runs))

    def sections(
        self,
        height_mm: float,
        planes_mm: FloatArray | None = None,
        kernels: Kernels | None = None,
    ) -> Iterator[Section]:
        """Cut every layer into sub-slices no thicker than ``height_mm``; none crosses a plane.

        A section holds a bounded number of vertices.
        """
        for run in self.runs:
            yield from run.sections(height_mm, planes_mm, kernels)

    def section_at(self, z_mm: float) -> list[FloatArray]:
        """Return the cross-section at a height as closed rings ``(n, 2)``; empty outside."""
        for layer in self.layers:
            if layer.bottom_mm <= z_mm <= layer.top_mm:
                return layer.rings_at(z_mm)
        return []


def _typical_gaps(gaps: FloatArray, default_mm: float | None) -> FloatArray:
    """Spacing expected at each gap: the median of the five gaps around it."""
    if gaps.size == 1:
        only = gaps[0] if default_mm is None else min(float(gaps[0]), default_mm)
        return np.array([only])
    width = min(5, gaps.size)
    first = np.clip(np.arange(gaps.size) - width // 2, 0, gaps.size - width)
    ordered = np.sort(gaps[first[:, None] + np.arange(width)], axis=1)
    typical: FloatArray = 0.5 * (ordered[:, (width - 1) // 2] + ordered[:, width // 2])
    return typical


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
    runs, closes, gap_findings = _stack(planes, name, default, between, ends)
    findings.extend(gap_findings)
    return Solid(name, runs, between, ends, tuple(planes), default, closes, tuple(findings))


def _stack(
    planes: Sequence[Plane], name: str, default: float | None, between: Between, ends: Ends
) -> tuple[tuple[Run, ...], bool, list[Finding]]:
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
    runs: list[Run] = []
    closes = False
    starts = np.r_[0, np.flatnonzero(missing) + 1, len(planes)]
    for first, last in itertools.pairwise(starts):
        if last - first == 1:
            before = after = float(typical[min(first, len(typical) - 1)])
        else:
            before, after = float(gaps[first]), float(gaps[last - 2])
        together = planes[first:last]
        lofts = may_loft(together) if between == "shape" else [False] * (len(together) - 1)
        added, end_closes = _run(together, [before, after], lofts, ends)
        runs.extend(added)
        closes = closes or end_closes
    return tuple(runs), closes, findings


# What lies beyond an end: a slab, cross-sections from the last plane outwards that close, or a
# height by which what is lofted goes on.
Cap = Slab | Profiles | float


def _run(
    planes: Sequence[Plane], end_spacing_mm: list[float], lofts: list[bool], ends: Ends
) -> tuple[tuple[Run, ...], bool]:
    """Layers of planes that follow each other without a gap, and whether an end closes."""
    half = [s / 2 for s in end_spacing_mm] if ends != "none" else [0.0, 0.0]
    below = _cap(planes, "down", half[0], lofts[:2], ends)
    above = _cap(planes, "up", half[1], lofts[:-3:-1], ends)
    closes = isinstance(below, Profiles) or isinstance(above, Profiles)
    parts: list[Slab | Lofts] = []
    if isinstance(below, Slab):
        parts.append(below)
    gap = 0
    for lofted, gaps in itertools.groupby(lofts):
        begin, gap = gap, gap + len(list(gaps))
        some = planes[begin : gap + 1]
        if lofted:
            caps = below if begin == 0 else 0.0, above if gap == len(lofts) else 0.0
            parts.append(_lofted(some, *caps, bends=closes))
            continue
        for a, b in itertools.pairwise(some):
            middle = 0.5 * (a.z_mm + b.z_mm)
            parts += [Slab(a.z_mm, middle, a), Slab(middle, b.z_mm, b)]
    if isinstance(above, Slab):
        parts.append(above)
    return runs_of(parts), closes


def _lofted(planes: Sequence[Plane], below: Cap, above: Cap, *, bends: bool) -> Lofts:
    """Planes that are lofted with each other, with the caps of what is lofted."""
    profiles = Profiles.of([(p.z_mm, p.profile) for p in planes if p.profile is not None])
    rows = np.arange(len(planes))
    if bends:
        profiles, rows = bent(profiles)
    if isinstance(below, Profiles):
        rows = rows + below.z_mm.size
        profiles = Profiles.joined([below.rows(np.arange(below.z_mm.size)[::-1]), profiles])
    if isinstance(above, Profiles):
        profiles = Profiles.joined([profiles, above])
    z = profiles.z_mm
    n = z.size
    # Bottom, top, lower and upper profile of each, and whether it holds its area. A cap that goes
    # on as it came takes its way from the next plane, however the sides bend.
    parts: list[tuple[Any, ...]] = [
        (z[:-1], z[1:], np.arange(n - 1), np.arange(1, n), np.zeros(n - 1, dtype=bool))
    ]
    if isinstance(below, float) and below > 0:
        parts.insert(0, ([z[0] - below], [z[0]], [0], [rows[1]], [True]))
    if isinstance(above, float) and above > 0:
        parts.append(([z[-1]], [z[-1] + above], [n - 1], [rows[-2]], [True]))
    bottom, top, lower, upper, hold = (np.concatenate(of) for of in zip(*parts, strict=True))
    return Lofts(bottom, top, lower, upper, hold, profiles)


def _cap(
    planes: Sequence[Plane],
    direction: Literal["up", "down"],
    height_mm: float,
    lofts: list[bool],
    ends: Ends,
) -> Cap:
    """What lies beyond the last plane.

    ``lofts`` says whether the last gap, and the one before it, are lofted.
    """
    if height_mm <= 0:
        return 0.0
    last, *inwards = planes[:-4:-1] if direction == "up" else planes[:3]
    bottom = last.z_mm if direction == "up" else last.z_mm - height_mm
    if ends == "rounded":
        return Slab(bottom, bottom + height_mm, last, taper=direction)
    if ends == "half-slice" and lofts == [True, True]:
        closing = closing_cap(last, *inwards)
        if closing is not None:
            return closing
    return height_mm if lofts[:1] == [True] else Slab(bottom, bottom + height_mm, last)
