"""Epidural spinal cord compression grade (ESCC, Bilsky 2010) where the contours determine it.

The grade is read by people on axial T2 images; contours hold a part of what they see. What the
contours leave open is said to be open, with the grades that remain (docs/escc.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cordgap.case.case import Case
from cordgap.case.structure import Structure
from cordgap.dvh.planes import inside_rings
from cordgap.dvh.solid import Solid, build_solid
from cordgap.dvh.surface import contains, corners_of, search_tree, surface_of
from cordgap.separation.anatomy import Anatomy
from cordgap.separation.gap import centroid_mm, measure_gap, ray_hits

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

FloatArray = NDArray[np.float64]
Grade = Literal["0", "1a", "1b", "1c", "2", "3"]

GRADES: tuple[Grade, ...] = ("0", "1a", "1b", "1c", "2", "3")
GRADE_WORDS: dict[Grade, str] = {
    "0": "bone only",
    "1a": "epidural, thecal sac not deformed",
    "1b": "thecal sac deformed, cord not abutted",
    "1c": "thecal sac deformed, cord abutted, not compressed",
    "2": "cord compressed or displaced, CSF visible",
    "3": "cord compressed, no CSF",
}
# Contours touch if they are nearer than a pixel of the image they were drawn on (0.5 mm), and do
# not if they are farther apart than the error of both (0.7 mm each, in quadrature); between, open.
TOUCH_MM = 0.5
CLEAR_MM = 1.0
# An outline is where its neighbours say it should be within that error, and is pushed in beyond
# twice that much.
AS_EXPECTED_MM = 1.0
PUSHED_MM = 2.0
# Mean width of CSF round the cord: seen from the error of two outlines on, none below half of it.
CSF_SEEN_MM = 1.0
CSF_NONE_MM = 0.5
# Sections this far beyond the target show the outlines without it.
BEYOND_MM = (3.0, 5.0, 7.0)
# Levels and directions this near to the smallest gap are where the target presses.
_PRESSES_MM = 2.0
_FACES_MM = 1.0
_LATTICE_MM = 0.2
_SURFACE_MM = 0.5


@dataclass(frozen=True)
class EpiduralGrade:
    """ESCC grade, or the grades that the contours leave open and why.

    Distances in mm, None where they could not be measured: how deep the target lies in the canal,
    how far from thecal sac and cord, how far it pushes their outlines in against the levels beyond
    it, and the mean width of CSF round the cord at ``level_mm``.
    """

    grade: Grade | None
    possible: tuple[Grade, ...]
    reason: str | None
    level_mm: float
    canal_depth_mm: float | None = None
    sac_gap_mm: float | None = None
    sac_pushed_mm: float | None = None
    cord_gap_mm: float | None = None
    cord_pushed_mm: float | None = None
    csf_width_mm: float | None = None


def grade_epidural(case: Case, anatomy: Anatomy) -> EpiduralGrade:
    """Grade the epidural extent of the target from the contours of cord, sac, canal and target."""
    level = anatomy.gap.cord_point_mm[2]
    if anatomy.cord_role != "cord":
        reason = f"{anatomy.cord_structure.roi_name!r} is not the cord itself"
        return EpiduralGrade(None, GRADES, reason, level)
    if anatomy.target_structure.role != "gtv":
        reason = f"{anatomy.target_structure.roi_name!r} is no GTV: it may hold more than tumour"
        return EpiduralGrade(None, GRADES, reason, level)
    sac = _solid(_named(case, "thecal_sac"))
    depth = None if anatomy.canal is None else _depth_mm(anatomy, anatomy.canal)
    gap, sac_gap = anatomy.gap.separation_mm, anatomy.separation_to_thecal_sac_mm
    sac_pushed = None if sac is None or sac_gap is None else _pushed_mm(anatomy, sac)
    if sac is not None and sac_gap == 0.0:
        # A sac drawn as if nothing pressed on it is pushed in by what of the target lies in it.
        sac_pushed = max(sac_pushed or 0.0, _overlap_mm(anatomy, sac))
    cord_pushed = _pushed_mm(anatomy, anatomy.cord)
    if cord_pushed is not None:
        cord_pushed = max(cord_pushed, anatomy.gap.penetration_mm)
    csf = None if sac is None else _csf_mm(anatomy, sac, level)
    left, reason = _decide(depth, sac_gap, sac_pushed, gap, cord_pushed, csf)
    return EpiduralGrade(
        left[0] if len(left) == 1 else None,
        left,
        None if len(left) == 1 else reason,
        level,
        depth,
        sac_gap,
        sac_pushed,
        gap,
        cord_pushed,
        csf,
    )


def _decide(
    depth: float | None,
    sac_gap: float | None,
    sac_pushed: float | None,
    cord_gap: float,
    cord_pushed: float | None,
    csf: float | None,
) -> tuple[tuple[Grade, ...], str]:
    """Grades that remain, and what keeps them apart if there are several."""
    touches_cord = _tell(cord_gap, TOUCH_MM, CLEAR_MM)
    if touches_cord is True:
        return _of_cord(cord_pushed, csf)
    if touches_cord is None:
        found, reason = _short_of_cord(depth, sac_gap, sac_pushed)
        more, _ = _of_cord(cord_pushed, csf)
        # What touches the cord deforms the sac: the lower grades fall with a sac that is pushed in.
        left = tuple(g for g in GRADES if g in found or g in more)
        return left, f"the target is {cord_gap:.1f} mm from the cord: contact cannot be told" + (
            f"; {reason}" if len(found) > 1 else ""
        )
    return _short_of_cord(depth, sac_gap, sac_pushed)


def _of_cord(pushed: float | None, csf: float | None) -> tuple[tuple[Grade, ...], str]:
    """Grades of a target that touches the cord."""
    compressed = None if pushed is None else _tell(pushed, AS_EXPECTED_MM, PUSHED_MM, above=True)
    seen = None if csf is None else _tell(csf, CSF_NONE_MM, CSF_SEEN_MM, above=True)
    if compressed is False and seen is False:
        return ("1c", "3"), "no CSF is left round a cord that is not compressed: sources disagree"
    if compressed is False:
        return ("1c",), ""
    compressed_grades: tuple[Grade, ...] = (
        ("2", "3") if seen is None else ("2",) if seen else ("3",)
    )
    why = "no thecal sac is contoured" if csf is None else f"CSF is {csf:.1f} mm wide on average"
    open_csf = f"{why}: 2 and 3 cannot be told apart"
    if compressed:
        return compressed_grades, open_csf
    if pushed is None:
        reason = (
            "whether the cord is compressed cannot be told: it is not contoured "
            f"{BEYOND_MM[-1]:g} mm beyond the target on both sides"
        )
    else:
        reason = (
            f"the cord's outline lies {pushed:.1f} mm from where its neighbours say: compression "
            "cannot be told from contouring"
        )
    return ("1c", *compressed_grades), reason + (f"; {open_csf}" if seen is None else "")


def _short_of_cord(
    depth: float | None, sac_gap: float | None, sac_pushed: float | None
) -> tuple[tuple[Grade, ...], str]:
    """Grades of a target that does not touch the cord."""
    inside = None if depth is None else _tell(depth, TOUCH_MM, CLEAR_MM, above=True)
    if sac_gap is not None and sac_gap <= TOUCH_MM:
        inside = True
    bone: tuple[Grade, ...] = () if inside else ("0",)
    if inside is False:
        return bone, ""
    canal = "no spinal canal is contoured" if depth is None else f"{depth:.1f} mm by its contour"
    why_bone = "" if inside else f"whether the target enters the canal cannot be told ({canal})"
    if sac_gap is None:
        reason = "no thecal sac is contoured at the target: 1a and 1b cannot be told apart"
        return (*bone, "1a", "1b"), "; ".join(x for x in (why_bone, reason) if x)
    if sac_gap >= CLEAR_MM:
        return (*bone, "1a"), why_bone
    deformed = None if sac_pushed is None else _tell(
        sac_pushed, AS_EXPECTED_MM, PUSHED_MM, above=True
    )  # fmt: skip
    if deformed is True:
        return ("1b",), ""
    if deformed is False:
        return (*bone, "1a"), why_bone
    reason = (
        "the thecal sac is not contoured beyond the target on both sides"
        if sac_pushed is None
        else f"the outline of the thecal sac lies {sac_pushed:.1f} mm from where its neighbours say"
    )
    reason += ": 1a and 1b cannot be told apart"
    return (*bone, "1a", "1b"), "; ".join(x for x in (why_bone, reason) if x)


def _tell(value: float, low: float, high: float, *, above: bool = False) -> bool | None:
    """Whether a value is below ``low`` (or above ``high``); None between the two."""
    if low < value < high:
        return None
    return (value >= high) if above else (value <= low)


def _named(case: Case, role: str) -> Structure | None:
    return next((s for s in case.structures if s.role == role and s.status == "ok"), None)


def _solid(structure: Structure | None) -> Solid | None:
    return None if structure is None else build_solid(structure)


def _depth_mm(anatomy: Anatomy, canal: Solid) -> float:
    """How deep the target lies in the canal, seen across: ends of the canal are no wall."""
    inside = anatomy.target_surface.points_mm[contains(canal, anatomy.target_surface.points_mm)]
    if not len(inside):
        return 0.0
    low, high = float(inside[:, 2].min()), float(inside[:, 2].max())
    wall = surface_of(canal, step_mm=_SURFACE_MM, z_range_mm=(low - 10.0, high + 10.0))
    side = np.abs(wall.normals[:, 2]) < 0.9
    return _farthest_mm(search_tree(wall.points_mm[side]), inside)


def _farthest_mm(tree: cKDTree, points: FloatArray) -> float:
    """Largest distance of points to those of a tree.

    One point of each cube of a millimetre is asked first: neighbours cannot be farther than it by
    more than the diagonal, so that most are out of the question.
    """
    cube = np.floor(points - corners_of(points)[0]).astype(np.intp)
    shape = tuple(corners_of(cube)[1] + 1)
    which = np.ravel_multi_index(tuple(cube.T), shape)
    one_of = np.full(int(np.prod(shape)), -1, dtype=np.intp)
    one_of[which] = np.arange(len(points))
    asked = np.flatnonzero(one_of >= 0)
    some = np.full(one_of.size, -np.inf)
    some[asked] = tree.query(points[one_of[asked]])[0]
    perhaps = some[which] >= some.max() - np.sqrt(3.0)
    return float(np.max(tree.query(points[perhaps])[0]))


def _overlap_mm(anatomy: Anatomy, sac: Solid) -> float:
    """How deep the target lies in the sac."""
    low, high = anatomy.target.z_range_mm
    wall = surface_of(sac, step_mm=_SURFACE_MM, z_range_mm=(low - 10.0, high + 10.0))
    return measure_gap(wall, anatomy.target_surface).penetration_mm


def _pushed_mm(anatomy: Anatomy, solid: Solid) -> float | None:
    """How far the outline of a structure is pushed in where the target presses on it.

    Where it would be is drawn as a straight line between its sections below and above the target.
    None where it is not contoured there.
    """
    gaps = anatomy.map
    bottom, top = anatomy.target.z_range_mm
    angle = np.radians(gaps.direction_deg)
    rays = np.c_[np.sin(angle), -np.cos(angle)]
    ends = [
        _outline(solid, [bottom - b for b in BEYOND_MM], rays),
        _outline(solid, [top + b for b in BEYOND_MM], rays),
    ]
    if ends[0] is None or ends[1] is None:
        return None
    nearest = np.where(np.isfinite(gaps.gap_mm), gaps.gap_mm, np.inf).min(axis=1)
    presses = (nearest <= nearest.min() + _PRESSES_MM) & np.isfinite(nearest)
    presses &= (gaps.level_mm > bottom) & (gaps.level_mm < top)
    low, high = bottom - BEYOND_MM[1], top + BEYOND_MM[1]
    deepest = 0.0
    for i in np.flatnonzero(presses):
        z = float(gaps.level_mm[i])
        rings = solid.section_at(z)
        if not rings:
            return None
        t = (z - low) / (high - low)
        centre = (1 - t) * ends[0][0] + t * ends[1][0]
        expected = (1 - t) * ends[0][1] + t * ends[1][1]
        found = np.linalg.norm(ray_hits(rings, centre, rays) - centre, axis=1)
        # A centre that lies outside the section: the outline has gone past it.
        missing = expected - np.where(np.isfinite(found), found, 0.0)
        faces = gaps.gap_mm[i] <= nearest[i] + _FACES_MM
        deepest = max(deepest, float(missing[faces].max()))
    return deepest


def _outline(
    solid: Solid, levels: list[float], rays: FloatArray
) -> tuple[FloatArray, FloatArray] | None:
    """Mean centroid (2,) and mean reach along rays (k,) of sections; None where one is missing."""
    centres, reaches = [], []
    for z in levels:
        rings = solid.section_at(z)
        if not rings:
            return None
        centre = centroid_mm(rings)
        centres.append(centre)
        reaches.append(np.linalg.norm(ray_hits(rings, centre, rays) - centre, axis=1))
    return np.mean(centres, axis=0), np.mean(reaches, axis=0)


def _csf_mm(anatomy: Anatomy, sac: Solid, level_mm: float) -> float | None:
    """Mean width of what lies between sac and cord and is not target, at one level."""
    outer, cord = sac.section_at(level_mm), anatomy.cord.section_at(level_mm)
    if not outer or not cord:
        return None
    corners = np.concatenate(outer)
    x, y = (
        np.arange(a, b, _LATTICE_MM)
        for a, b in zip(corners.min(axis=0), corners.max(axis=0), strict=True)
    )
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    free = inside_rings(outer, points) & ~inside_rings(cord, points)
    target = anatomy.target.section_at(level_mm)
    if target:
        free &= ~inside_rings(target, points)
    length = sum(float(np.linalg.norm(np.roll(r, -1, axis=0) - r, axis=1).sum()) for r in cord)
    return float(free.sum()) * _LATTICE_MM**2 / length
