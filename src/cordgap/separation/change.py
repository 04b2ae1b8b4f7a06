"""What surgery achieved: the gap between cord and target before and after, by sextant and level.

Distances do not depend on coordinates: each gap is measured in its own images, and only the places
where they are, levels and directions, are carried over by the registration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cordgap.case.transform import RigidTransform
from cordgap.dvh.solid import Solid
from cordgap.dvh.surface import contains, search_tree
from cordgap.errors import Finding, GeometryMismatchError
from cordgap.separation.anatomy import Anatomy
from cordgap.separation.gap import (
    DIRECTION_STEP_DEG,
    LEVEL_STEP_MM,
    MAX_GAP_MM,
    direction_deg,
    summarise_sextants,
)
from cordgap.separation.result import GapMap

FloatArray = NDArray[np.float64]

# A canal is 16 to 18 mm wide: a cord whose centre moved by more than a quarter of that is worth a
# look, one that moved by nearly all of it belongs to another place.
CORD_MOVED_MM = 5.0
CORD_ELSEWHERE_MM = 15.0
# Target this far outside the former one is new: contours of one thing agree to a millimetre.
NEW_SHAPE_MM = 1.0
NEW_SHAPE_CC = 0.1


@dataclass(frozen=True)
class SextantChange:
    """Smallest gap of a sextant before and after, and the millimetres in between.

    ``at_least`` tells that the target is farther than 20 mm now: more than ``achieved_mm`` was
    reached.
    """

    name: str
    before_mm: float | None
    after_mm: float | None
    achieved_mm: float | None
    at_least: bool
    reason: str | None


@dataclass(frozen=True)
class LevelChange:
    """Smallest gap of a level, as z of the images before."""

    level_mm: float
    before_mm: float | None
    after_mm: float | None
    achieved_mm: float | None


@dataclass(frozen=True)
class InCanal:
    """Target inside the spinal canal; None with the reason where no canal is contoured."""

    before_cc: float | None
    after_cc: float | None
    canal: str | None
    reason: str | None


@dataclass(frozen=True, eq=False)
class Change:
    """Gaps before and after on the levels and directions of the images before."""

    before: GapMap
    after: GapMap
    separation_before_mm: float
    separation_after_mm: float
    sextants: tuple[SextantChange, ...]
    levels: tuple[LevelChange, ...]
    target_before_cc: float
    target_after_cc: float
    in_canal: InCanal
    new_outside_cc: float
    cord_moved_mm: float
    findings: tuple[Finding, ...]

    @property
    def achieved_mm(self) -> float:
        """Gain of the smallest gap of all."""
        return self.separation_after_mm - self.separation_before_mm


def measure_change(before: Anatomy, after: Anatomy, to_before: RigidTransform) -> Change:
    """Compare two anatomies of one patient.

    Parameters
    ----------
    before, after : Anatomy
    to_before : RigidTransform
        From the coordinates after to those before.

    Raises
    ------
    GeometryMismatchError
        If the cord after lies at other levels, or elsewhere, than the cord before.
    """
    carried = _carry(after.map, before.map, to_before)
    moved = _cord_moved_mm(before.map, after.map, to_before)
    findings = []
    if moved > CORD_MOVED_MM:
        findings.append(
            Finding(
                "cord-moved",
                f"the middle of the cord lies {moved:.1f} mm from where it was; a cord may "
                "re-centre by a few millimetres",
                roi_name=after.cord_structure.roi_name,
                action="check the registration",
            )
        )
    new_cc = _new_outside_cc(before, after, to_before)
    if new_cc > NEW_SHAPE_CC:
        findings.append(
            Finding(
                "target-new-shape",
                f"{new_cc:.2f} cc of {after.target_structure.roi_name} lie more than "
                f"{NEW_SHAPE_MM:g} mm outside the target before: it was drawn anew, or grew; what "
                "was achieved there is no resection",
                roi_name=after.target_structure.roi_name,
                action="see that both targets mean the same",
            )
        )
    return Change(
        before=before.map,
        after=carried,
        separation_before_mm=before.gap.separation_mm,
        separation_after_mm=after.gap.separation_mm,
        sextants=_sextants(before.map, carried),
        levels=_levels(before.map, carried),
        target_before_cc=before.cells.total_mm3 / 1000.0,
        target_after_cc=after.cells.total_mm3 / 1000.0,
        in_canal=_in_canal(before, after, to_before),
        new_outside_cc=new_cc,
        cord_moved_mm=moved,
        findings=tuple(findings),
    )


def _centres(gaps: GapMap) -> FloatArray:
    """Middle of the cord (n, 3) at the levels where it is contoured."""
    known = np.isfinite(gaps.centre_mm).all(axis=1)
    return np.asarray(np.c_[gaps.centre_mm[known], gaps.level_mm[known]], dtype=np.float64)


def _carry(after: GapMap, before: GapMap, to_before: RigidTransform) -> GapMap:
    """Put the gaps after on the levels and directions before: each takes the nearest cell."""
    known = np.flatnonzero(np.isfinite(after.centre_mm).all(axis=1))
    level = to_before.apply(np.c_[after.centre_mm[known], after.level_mm[known]])[:, 2]
    angle = np.radians(after.direction_deg)
    rays = np.c_[np.sin(angle), -np.cos(angle), np.zeros(angle.size)] @ to_before.matrix[:3, :3].T
    turned = direction_deg(rays[:, 0], rays[:, 1])

    def places(levels: FloatArray, degrees: FloatArray) -> FloatArray:
        """Level and direction as a point: a step of either is a distance of 1."""
        radius = 1.0 / np.radians(DIRECTION_STEP_DEG)
        z, at = np.meshgrid(levels / LEVEL_STEP_MM, np.radians(degrees), indexing="ij")
        around = radius * np.sin(at.ravel()), radius * np.cos(at.ravel())
        return np.stack([z.ravel(), *around], axis=1)

    gap = np.full(before.gap_mm.shape, np.nan)
    if known.size and before.level_mm.size:
        distance, index = search_tree(places(level, turned)).query(
            places(before.level_mm, before.direction_deg)
        )
        values = after.gap_mm[known].ravel()[index]
        gap = np.where(distance <= 1.0, values, np.nan).reshape(gap.shape)
    seen = np.array([np.any(np.abs(level - z) <= LEVEL_STEP_MM) for z in before.level_mm], bool)
    if not seen.any():
        raise GeometryMismatchError(
            "the cord after surgery is contoured at none of the levels of the target before: these "
            "are not the same place",
            code="levels-do-not-overlap",
            action="check the plans and the registration",
        )
    centre = np.where(seen[:, None], before.centre_mm, np.nan)
    return GapMap(before.level_mm, before.direction_deg, gap, None, centre)


def _cord_moved_mm(before: GapMap, after: GapMap, to_before: RigidTransform) -> float:
    """Mean distance in the axial plane between the middles of the cord, at common levels."""
    old, new = _centres(before), to_before.apply(_centres(after))
    new = new[np.argsort(new[:, 2])]
    common = old[
        (old[:, 2] >= new[0, 2] - LEVEL_STEP_MM) & (old[:, 2] <= new[-1, 2] + LEVEL_STEP_MM)
    ]
    if not len(common):
        return 0.0
    x, y = (np.interp(common[:, 2], new[:, 2], new[:, i]) for i in (0, 1))
    moved = float(np.hypot(x - common[:, 0], y - common[:, 1]).mean())
    if moved > CORD_ELSEWHERE_MM:
        raise GeometryMismatchError(
            f"the middle of the cord lies {moved:.1f} mm from where it was: more than a canal is "
            "wide; these are not the same coordinates",
            code="registration-implausible",
            found=f"{moved:.1f} mm",
            expected=f"at most {CORD_ELSEWHERE_MM:g} mm",
            action="check the plans and the registration",
        )
    return moved


def _sextants(before: GapMap, after: GapMap) -> tuple[SextantChange, ...]:
    seen = np.isfinite(after.centre_mm).all(axis=1)
    # Only levels that both have: what is not contoured after was not achieved.
    old = summarise_sextants(
        GapMap(before.level_mm[seen], before.direction_deg, before.gap_mm[seen], None,
               before.centre_mm[seen])
    )  # fmt: skip
    rows = []
    for one, other in zip(old, summarise_sextants(after), strict=True):
        rows.append(
            SextantChange(one.name, one.gap_mm, other.gap_mm, *_gain(one.gap_mm, other.gap_mm))
        )
    return tuple(rows)


def _gain(before_mm: float | None, after_mm: float | None) -> tuple[float | None, bool, str | None]:
    if before_mm is None:
        return None, False, f"the target was farther than {MAX_GAP_MM:g} mm before"
    if after_mm is None:
        return MAX_GAP_MM - before_mm, True, f"the target is farther than {MAX_GAP_MM:g} mm now"
    return after_mm - before_mm, False, None


def _levels(before: GapMap, after: GapMap) -> tuple[LevelChange, ...]:
    rows = []
    for i in np.flatnonzero(np.isfinite(after.centre_mm).all(axis=1)):
        old, new = _smallest(before.gap_mm[i]), _smallest(after.gap_mm[i])
        gain = None if old is None or new is None else new - old
        rows.append(LevelChange(float(before.level_mm[i]), old, new, gain))
    return tuple(rows)


def _smallest(row: FloatArray) -> float | None:
    return float(np.nanmin(row)) if np.isfinite(row).any() else None


def _in_canal(before: Anatomy, after: Anatomy, to_before: RigidTransform) -> InCanal:
    old, new = before.canal, after.canal
    if old is None and new is None:
        return InCanal(None, None, None, "no spinal canal is contoured, before or after")
    canal = "after" if new is not None else "before"
    points = after.cells.points_mm if new is not None else to_before.apply(after.cells.points_mm)
    wall = new if new is not None else old
    assert wall is not None
    left = _inside_cc(wall, points, after.cells.volume_mm3)
    if after.cells.outside_mm3 > 0:
        return InCanal(None, None, canal, "the target lies partly outside the dose grid")
    if old is None:
        reason = "no spinal canal was contoured before: what it held then is not known"
        return InCanal(None, left, canal, reason)
    if before.cells.outside_mm3 > 0:
        reason = "the target before lies partly outside the dose grid"
        return InCanal(None, left, canal, reason)
    held = _inside_cc(old, before.cells.points_mm, before.cells.volume_mm3)
    return InCanal(held, left, canal, None)


def _inside_cc(canal: Solid, points: FloatArray, volume_mm3: FloatArray) -> float:
    return float(volume_mm3[contains(canal, points)].sum()) / 1000.0


def _new_outside_cc(before: Anatomy, after: Anatomy, to_before: RigidTransform) -> float:
    points = to_before.apply(after.cells.points_mm)
    outside = ~contains(before.target, points)
    far = before.target_surface.distance_mm(points[outside], limit_mm=NEW_SHAPE_MM) > NEW_SHAPE_MM
    return float(after.cells.volume_mm3[outside][far].sum()) / 1000.0
