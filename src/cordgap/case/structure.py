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
    flat: list[tuple[float, FloatArray]] = []
    degenerate = 0
    uneven_mm = 0.0
    status: StructureStatus = "unsupported" if unusable else "ok"
    reason = unusable
    for contour in contours:
        points = np.asarray(contour, dtype=np.float64).reshape(-1, 3)
        if len(points) > 1 and np.abs(points[0] - points[-1]).max() <= 1e-6:
            points = points[:-1]
        if len(points) < 3 or _is_flat(points[:, :2]):
            if len(points) >= 3 and np.ptp(points[:, 2]) > MAX_OUT_OF_PLANE_MM:
                status, reason = "unsupported", "contours are not axial"
            degenerate += 1
            continue
        if np.ptp(points[:, 2]) > 2 * MAX_OUT_OF_PLANE_MM:
            status = "unsupported"
            reason = (
                f"a contour leaves its axial plane by {np.ptp(points[:, 2]):.2f} mm "
                "(tilted contours are not supported)"
            )
            continue
        uneven_mm = max(uneven_mm, float(np.ptp(points[:, 2])))
        flat.append((float(np.mean(points[:, 2])), points[:, :2].copy()))
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
    planes, plane_notes = _group_planes(flat, roi_name, uneven_mm, is_xor=is_xor)
    notes.extend(plane_notes)
    notes.extend(_slivers(planes, roi_name))
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


def _signed_area(points: FloatArray) -> float:
    x, y = points[:, 0] - points[0, 0], points[:, 1] - points[0, 1]
    return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def _is_flat(points: FloatArray) -> bool:
    """Tell whether all points lie on a line; the lobes of a figure of eight may cancel."""
    away = points - points[0]
    far = away[int(np.argmax((away * away).sum(axis=1)))]
    return float(np.abs(away[:, 0] * far[1] - away[:, 1] * far[0]).max()) < 1e-6


def _beyond_measure(flat: list[tuple[float, FloatArray]]) -> str | None:
    """Say what is too large or too many in a structure to be of a patient."""
    if not flat:
        return None
    z = np.sort([level for level, _ in flat])
    corners = np.array([np.r_[p.min(axis=0), p.max(axis=0)] for _, p in flat])
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
    flat: list[tuple[float, FloatArray]], roi_name: str, uneven_mm: float, *, is_xor: bool
) -> tuple[list[ContourPlane], list[Finding]]:
    if not flat:
        return [], []
    order = sorted(range(len(flat)), key=lambda i: flat[i][0])
    z = np.array([flat[i][0] for i in order])
    gaps = np.diff(z)
    real = gaps[gaps > PLANE_TOLERANCE_MM]
    tolerance = PLANE_TOLERANCE_MM
    if real.size:
        tolerance = max(tolerance, PLANE_TOLERANCE_FRACTION * float(np.median(real)))
    starts = np.r_[0, np.flatnonzero(gaps > tolerance) + 1, len(z)]
    planes: list[ContourPlane] = []
    duplicates = 0
    for first, last in itertools.pairwise(starts):
        on_plane = [flat[i][1] for i in order[first:last]]
        copies = _copies(on_plane)
        duplicates += len(copies)
        kept = [c for i, c in enumerate(on_plane) if is_xor or i not in copies]
        for points in kept:
            points.flags.writeable = False
        uneven_mm = max(uneven_mm, float(z[last - 1] - z[first]))
        planes.append(ContourPlane(float(np.mean(z[first:last])), tuple(kept), is_xor))
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
    return planes, notes


def _slivers(planes: list[ContourPlane], roi_name: str) -> list[Finding]:
    """Count contours too small to be meant, in a structure that is much larger."""
    areas = [abs(_signed_area(c)) for plane in planes for c in plane.contours]
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


def _copies(contours: list[FloatArray]) -> set[int]:
    """Return the indices of contours that visit the same points as an earlier one.

    From any start, in either direction. What does not depend on the order of points is compared
    first, so that a plane of hundreds of contours is not compared pair by pair.
    """
    if len(contours) < 2:
        return set()
    summary = np.array(
        [[len(c), *c.mean(axis=0), np.sqrt((c * c).sum(axis=1).mean())] for c in contours]
    )
    found: set[int] = set()
    for i in range(1, len(contours)):
        alike = (np.abs(summary[:i] - summary[i]) < _SAME_POINT_MM).all(axis=1)
        if any(
            j not in found and _same_points(contours[i], contours[j]) for j in np.flatnonzero(alike)
        ):
            found.add(i)
    return found


def _same_points(a: FloatArray, b: FloatArray) -> bool:
    a, b = a[np.lexsort(np.round(a, 2).T)], b[np.lexsort(np.round(b, 2).T)]
    return bool(np.allclose(a, b, rtol=0, atol=_SAME_POINT_MM))
