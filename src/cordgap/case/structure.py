"""Contours of one region of interest, grouped into planes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cordgap.case.naming import NamedRole, Role, identify
from cordgap.errors import Finding

FloatArray = NDArray[np.float64]
StructureStatus = Literal["ok", "empty", "unsupported"]

# Contours whose z differs by less than this share a plane: exports jitter by hundredths of a
# millimetre (dicompyler reads such a pair as two slabs), no planning system contours finer.
PLANE_TOLERANCE_MM = 0.05
PLANE_TOLERANCE_FRACTION = 0.01
# Points closer than this are the same.
_SAME_POINT_MM = 1e-3
# Less is round-off of the writer.
JITTER_REPORT_MM = 1e-3
# A contour smaller than this is a slip of the pen, not anatomy.
SLIVER_MM2 = 1.0
# Beyond these nothing of a patient is left, and the work would have no end.
MAX_EXTENT_MM = 3000.0
MAX_PLANES = 2000
MAX_CONTOURS_OF_PLANE = 500
# A contour is planar when its points leave its plane by less than this.
MAX_OUT_OF_PLANE_MM = 0.1


@dataclass(frozen=True, eq=False)
class ContourPlane:
    """All closed contours of a structure on one axial plane.

    Each contour is an ``(n, 2)`` array of x, y in mm, the first point not repeated. ``is_xor``
    means that they are combined by exclusive or, even where they overlap in part.
    """

    z_mm: float
    contours: tuple[FloatArray, ...]
    is_xor: bool = False


@dataclass(frozen=True, eq=False)
class Structure:
    """A region of interest as contoured: planes sorted by z, nothing interpolated.

    ``status`` is ``ok``, ``empty`` (no closed contour) or ``unsupported`` (contours that are not
    axial); ``reason`` says why it is not ``ok``. ``slab_thickness_mm`` is what the file says for
    a structure of a single plane.
    """

    roi_number: int
    roi_name: str
    named: NamedRole
    planes: tuple[ContourPlane, ...]
    status: StructureStatus = "ok"
    reason: str | None = None
    slab_thickness_mm: float | None = None
    colour: tuple[int, int, int] | None = None
    frame_of_reference_uid: str | None = None
    findings: tuple[Finding, ...] = field(default=())

    @property
    def role(self) -> Role:
        """What the structure is, from its name."""
        return self.named.role

    @property
    def z_mm(self) -> FloatArray:
        """Positions of the planes."""
        return np.array([plane.z_mm for plane in self.planes])

    @property
    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Smallest and largest contour coordinates (x, y, z)."""
        if not self.planes:
            return np.full(3, np.nan), np.full(3, np.nan)
        points = np.concatenate([c for p in self.planes for c in p.contours])
        lower = np.r_[points.min(axis=0), self.planes[0].z_mm]
        upper = np.r_[points.max(axis=0), self.planes[-1].z_mm]
        return lower, upper


def structure_from_contours(
    roi_number: int,
    roi_name: str,
    contours: Iterable[ArrayLike],
    *,
    named: NamedRole | None = None,
    slab_thickness_mm: float | None = None,
    colour: tuple[int, int, int] | None = None,
    frame_of_reference_uid: str | None = None,
    findings: Iterable[Finding] = (),
    is_xor: bool = False,
    unusable: str | None = None,
) -> Structure:
    """Group closed contours into axial planes.

    Parameters
    ----------
    contours : iterable of (n, 3) arrays
        Points in patient coordinates (LPS, mm), in any order of contours. A repeated closing
        point is dropped; contours of fewer than three points or without area are left out and
        counted in a finding; duplicates on a plane are dropped with a finding.
    named : NamedRole, optional
        Role to use in place of the one the name implies.
    is_xor : bool
        Whether the contours of a plane are combined by exclusive or (PS3.3 C.8.8.6.3).
    unusable : str, optional
        Why the structure must not be used, whatever its contours are.

    Returns
    -------
    Structure
        With ``status`` other than ``ok`` where no solid can be made; never raises for bad
        contours, so that one bad structure does not hide the others.
    """
    notes = list(findings)
    role = named or identify(roi_name)
    status: StructureStatus = "unsupported" if unusable else "ok"
    reason = unusable
    rings = [_without_closing(np.asarray(c, dtype=np.float64).reshape(-1, 3)) for c in contours]
    drawn = [points for points in rings if len(points) >= 3]
    degenerate = len(rings) - len(drawn)
    uneven_mm = 0.0
    flat: list[_Drawn] = []
    for ring in _measure(drawn):
        if ring.is_line:
            if ring.uneven_mm > MAX_OUT_OF_PLANE_MM:
                status, reason = "unsupported", "contours are not axial"
            degenerate += 1
        elif ring.uneven_mm > 2 * MAX_OUT_OF_PLANE_MM:
            status = "unsupported"
            reason = (
                f"a contour leaves its axial plane by {ring.uneven_mm:.2f} mm "
                "(tilted contours are not supported)"
            )
        else:
            uneven_mm = max(uneven_mm, ring.uneven_mm)
            flat.append(ring)
    if degenerate:
        notes.append(
            Finding(
                "degenerate-contours",
                f"{degenerate} contour(s) with fewer than three points or no area were left out",
                roi_name=roi_name,
                severity="info",
            )
        )
    if status == "ok" and (excess := _beyond_measure(flat)):
        status, reason, flat = "unsupported", excess, []
    planes, kept, plane_notes = _group_planes(flat, roi_name, uneven_mm, is_xor=is_xor)
    notes.extend(plane_notes)
    notes.extend(_slivers(kept, roi_name))
    if status == "ok" and not planes:
        status, reason = "empty", "no closed planar contour"
    return Structure(
        roi_number=roi_number,
        roi_name=roi_name,
        named=role,
        planes=tuple(planes) if status == "ok" else (),
        status=status,
        reason=reason,
        slab_thickness_mm=slab_thickness_mm,
        colour=colour,
        frame_of_reference_uid=frame_of_reference_uid,
        findings=tuple(notes),
    )


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A contour of at least three points, and what is to be known of it.

    ``corners_mm`` are the smallest and largest x, y; ``spread_mm`` holds the middle of the points
    and their mean distance from the origin, which do not depend on their order.
    """

    points: FloatArray
    z_mm: float
    uneven_mm: float
    is_line: bool
    area_mm2: float
    corners_mm: FloatArray
    spread_mm: FloatArray


def _without_closing(points: FloatArray) -> FloatArray:
    """Drop a last point that repeats the first."""
    if len(points) > 1 and np.abs(points[0] - points[-1]).max() <= 1e-6:
        return points[:-1]
    return points


def _measure(rings: list[FloatArray]) -> list[_Drawn]:
    """Measure contours (n, 3), all at once."""
    if not rings:
        return []
    size = np.array([len(r) for r in rings])
    first = np.cumsum(size) - size
    which = np.repeat(np.arange(size.size), size)
    points = np.concatenate(rings)
    after = np.arange(1, which.size + 1)
    after[first + size - 1] = first
    low, high = (f.reduceat(points, first, axis=0) for f in (np.minimum, np.maximum))
    mean = np.add.reduceat(points, first, axis=0) / size[:, None]
    x, y = (points - points[first][which])[:, :2].T
    area = 0.5 * np.abs(np.add.reduceat(x * y[after] - x[after] * y, first))
    # A line: no point lies off the way to the farthest one. The lobes of a figure of eight may
    # cancel in the area.
    square = x * x + y * y
    farthest = np.flatnonzero(square == np.maximum.reduceat(square, first)[which])
    farthest = farthest[np.diff(which[farthest], prepend=-1) > 0][which]
    off = np.maximum.reduceat(np.abs(x * y[farthest] - y * x[farthest]), first)
    squares = points[:, 0] * points[:, 0] + points[:, 1] * points[:, 1]
    spread = np.c_[mean[:, :2], np.sqrt(np.add.reduceat(squares, first) / size)]
    uneven = (high - low)[:, 2].tolist()
    lines, areas, levels = (off < 1e-6).tolist(), area.tolist(), mean[:, 2].tolist()
    corners = np.c_[low[:, :2], high[:, :2]]
    return [
        _Drawn(
            points[i : i + n, :2].copy(), levels[k], uneven[k], lines[k], areas[k], corners[k],
            spread[k],
        )
        for k, (i, n) in enumerate(zip(first.tolist(), size.tolist(), strict=True))
    ]  # fmt: skip


def _beyond_measure(flat: list[_Drawn]) -> str | None:
    """Say what is too large or too many in a structure to be of a patient."""
    if not flat:
        return None
    z = np.sort([ring.z_mm for ring in flat])
    corners = np.array([ring.corners_mm for ring in flat])
    extent = np.r_[corners[:, 2:].max(axis=0) - corners[:, :2].min(axis=0), z[-1] - z[0]].max()
    if not extent <= MAX_EXTENT_MM:
        return f"it is {extent:.4g} mm long, expected at most {MAX_EXTENT_MM:g}"
    starts = np.flatnonzero(np.diff(z, prepend=-np.inf) > PLANE_TOLERANCE_MM)
    if starts.size > MAX_PLANES:
        return f"it has {starts.size} planes, expected at most {MAX_PLANES}"
    most = int(np.diff(np.r_[starts, z.size]).max())
    if most > MAX_CONTOURS_OF_PLANE:
        return f"a plane has {most} contours, expected at most {MAX_CONTOURS_OF_PLANE}"
    return None


def _group_planes(
    flat: list[_Drawn], roi_name: str, uneven_mm: float, *, is_xor: bool
) -> tuple[list[ContourPlane], list[_Drawn], list[Finding]]:
    """Planes, the contours on them, and what was found."""
    if not flat:
        return [], [], []
    order = sorted(flat, key=lambda ring: ring.z_mm)
    z = np.array([ring.z_mm for ring in order])
    gaps = np.diff(z)
    real = gaps[gaps > PLANE_TOLERANCE_MM]
    tolerance = PLANE_TOLERANCE_MM
    if real.size:
        tolerance = max(tolerance, PLANE_TOLERANCE_FRACTION * float(np.median(real)))
    starts = np.r_[0, np.flatnonzero(gaps > tolerance) + 1, len(z)]
    planes: list[ContourPlane] = []
    kept: list[_Drawn] = []
    duplicates = 0
    for first, last in itertools.pairwise(starts.tolist()):
        on_plane = order[first:last]
        copies = _copies(on_plane)
        duplicates += len(copies)
        here = [ring for i, ring in enumerate(on_plane) if is_xor or i not in copies]
        for ring in here:
            ring.points.flags.writeable = False
        uneven_mm = max(uneven_mm, on_plane[-1].z_mm - on_plane[0].z_mm)
        level = float(np.mean(z[first:last])) if last - first > 1 else on_plane[0].z_mm
        planes.append(ContourPlane(level, tuple(ring.points for ring in here), is_xor))
        kept.extend(here)
    notes = []
    if duplicates:
        counted = "cancel each other, as their type (XOR) says" if is_xor else "were counted once"
        notes.append(
            Finding(
                "duplicate-contours",
                f"{duplicates} contour(s) drawn twice on the same plane {counted}",
                roi_name=roi_name,
            )
        )
    if uneven_mm > JITTER_REPORT_MM:
        notes.append(
            Finding(
                "contour-jitter",
                f"points of one plane differ in z by up to {uneven_mm:.3f} mm; their mean was used",
                severity="info",
                roi_name=roi_name,
            )
        )
    return planes, kept, notes


def _slivers(contours: list[_Drawn], roi_name: str) -> list[Finding]:
    """Count contours too small to be meant, in a structure that is much larger."""
    areas = [ring.area_mm2 for ring in contours]
    small = [a for a in areas if a < SLIVER_MM2]
    if not small or float(np.median(areas)) < 10 * SLIVER_MM2:
        return []
    return [
        Finding(
            "sliver-contours",
            f"{len(small)} contour(s) enclose less than {SLIVER_MM2:g} mm2, the smallest "
            f"{min(small):.3f}; they were counted as drawn",
            severity="info",
            roi_name=roi_name,
            action="look at the contours",
        )
    ]


def _copies(contours: list[_Drawn]) -> set[int]:
    """Return the indices of contours that visit the same points as an earlier one.

    From any start, in either direction. What does not depend on the order of points is compared
    first, so that a plane of hundreds of contours is not compared pair by pair.
    """
    if len(contours) < 2:
        return set()
    summary = np.array([[len(ring.points), *ring.spread_mm] for ring in contours])
    found: set[int] = set()
    for i in range(1, len(contours)):
        alike = (np.abs(summary[:i] - summary[i]) < _SAME_POINT_MM).all(axis=1)
        if any(
            j not in found and _same_points(contours[i].points, contours[j].points)
            for j in np.flatnonzero(alike)
        ):
            found.add(i)
    return found


def _same_points(a: FloatArray, b: FloatArray) -> bool:
    a, b = a[np.lexsort(np.round(a, 2).T)], b[np.lexsort(np.round(b, 2).T)]
    return bool(np.allclose(a, b, rtol=0, atol=_SAME_POINT_MM))
