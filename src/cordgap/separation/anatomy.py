"""Cord and target as solids, where they come closest, and the target in cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cordgap.case.case import Case
from cordgap.case.grid import DoseGrid
from cordgap.case.naming import Role
from cordgap.case.structure import Structure
from cordgap.dvh.solid import Between, Ends, Solid, build_solid
from cordgap.dvh.surface import Surface, surface_of
from cordgap.errors import CordNotSeenError, Finding
from cordgap.separation.falloff import GradientReading, read_gradient
from cordgap.separation.gap import Gap, map_gaps, measure_gap, sextant_of
from cordgap.separation.lag import CordDose, Lag, lag_behind, read_cord
from cordgap.separation.resect import TargetCells, sample_target
from cordgap.separation.result import GapMap

# Cord farther than this from the target's levels cannot be the nearest.
LEVEL_REACH_MM = 25.0
# A target farther from the cord than this is not a matter of separation.
FAR_MM = 10.0
# Cord contoured this far beyond the target's levels is enough for a safe estimate.
CORD_BEYOND_MM = 10.0
# ... and this far for limits on a part of the cord (AAPM TG-101, RTOG 0631: 5-6 mm).
CORD_PARTIAL_VOLUME_MM = 6.0
# The rim is the target this near to the cord.
RIM_WIDTH_MM = 8.0
# Beyond this separation the fall depends on how much of the ring behind it is target: the ring from
# 4 mm (or the present gap) on, 2 mm wide. With more than the usual share it takes that much more
# way, with less it takes less.
RING_COUNTS_FROM_MM = 3.0
RING_FROM_MM, RING_WIDTH_MM = 4.0, 2.0
USUAL_RING_SHARE, LEAST_RING_EFFECT, MOST_RING_EFFECT = 0.57, -0.2, 0.35
# Contours end up to half a slice from where a structure ends; this much is no missing level.
CORD_TOLERANCE_MM = 3.0


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What an estimate needs to know of one cord and one target.

    ``gradient`` is None without a dose, or where no dose voxels lie between the two; ``cord_dose``
    where no cord near the target lies in the dose grid.
    """

    cord_structure: Structure
    target_structure: Structure
    cord: Solid
    target: Solid
    cord_surface: Surface
    target_surface: Surface
    dose: DoseGrid | None
    gap: Gap
    map: GapMap
    cells: TargetCells
    gradient: GradientReading | None
    cord_dose: CordDose | None
    canal: Solid | None
    separation_to_thecal_sac_mm: float | None
    findings: tuple[Finding, ...]

    @cached_property
    def rim(self) -> TargetCells:
        """Cells of the target within 8 mm of the cord whose dose is known."""
        cells = self.cells
        near = (cells.cord_distance_mm < RIM_WIDTH_MM) & np.isfinite(cells.dose_gy)
        volume = cells.volume_mm3[near]
        return replace(
            cells,
            points_mm=cells.points_mm[near],
            dose_gy=cells.dose_gy[near],
            volume_mm3=volume,
            cord_distance_mm=cells.cord_distance_mm[near],
            sextant=None if cells.sextant is None else cells.sextant[near],
            total_mm3=float(volume.sum()),
        )

    @cached_property
    def ring_share(self) -> float:
        """Share of the ring 4 to 6 mm off the cord, at the target's levels, that is target.

        The ring of a straight cord of the same volume and length.
        """
        low, high = _ring_mm(self.gap.separation_mm)
        far = self.cells.cord_distance_mm
        found = float(self.cells.volume_mm3[(far >= low) & (far < high)].sum())
        bottom, top = self.cord.z_range_mm
        radius = np.sqrt(self.cord.volume_mm3 / (np.pi * (top - bottom)))
        height = self.target.z_range_mm[1] - self.target.z_range_mm[0]
        ring = np.pi * height * ((radius + high) ** 2 - (radius + low) ** 2)
        return min(found / float(ring), 1.0)

    def lag(self, begin_mm: float, slope_gy_per_mm: float, share: float) -> Lag | None:
        """How the cord's near-maximum lags behind the target; what was asked once is kept.

        Far off it falls less where much target is left in the ring behind, and more where little.
        """
        if self.cord_dose is None or slope_gy_per_mm <= 0.0:
            return None
        key = (begin_mm, slope_gy_per_mm, share)
        if key not in self._lags:
            more = self.ring_share - USUAL_RING_SHARE
            factor = 1.0 + min(max(more, LEAST_RING_EFFECT), MOST_RING_EFFECT)
            beyond_mm = max(RING_COUNTS_FROM_MM, begin_mm)
            self._lags[key] = lag_behind(self.cord_dose, *key).stretched(beyond_mm, factor)
        return self._lags[key]

    @cached_property
    def _lags(self) -> dict[tuple[float, float, float], Lag]:
        return {}

    @property
    def knows_resection(self) -> bool:
        """Whether a resection volume can be given; not of a PTV, nor of a target half seen."""
        return self.target_structure.role != "ptv" and self.cells.outside_mm3 == 0

    @property
    def cord_role(self) -> Role:
        """Role of the distance structure."""
        return self.cord_structure.role


def survey(
    case: Case,
    cord: Structure,
    target: Structure,
    *,
    max_mm: float,
    between: Between = "shape",
    ends: Ends = "half-slice",
) -> Anatomy:
    """Measure everything between one cord and one target.

    Raises
    ------
    StructureError
        If one of them has no solid.
    CordNotSeenError
        If the cord is not contoured at all levels of the target.
    """
    cord_solid = build_solid(cord, between=between, ends=ends)
    target_solid = build_solid(target, between=between, ends=ends)
    require_cord(case, cord, target, cord_solid, target_solid)
    bottom, top = target_solid.z_range_mm
    levels = (bottom - LEVEL_REACH_MM, top + LEVEL_REACH_MM)
    cord_surface = surface_of(cord_solid, z_range_mm=levels)
    target_surface = surface_of(target_solid)
    gap = measure_gap(cord_surface, target_surface)
    gaps = map_gaps(cord_solid, target_surface, gap)
    reach = max(max_mm, _ring_mm(gap.separation_mm)[1]) + 1.0
    cells = sample_target(target_solid, case.dose, cord_surface, reach_mm=reach)
    cells = replace(cells, sextant=sextant_of(cells.points_mm, gaps))
    gradient = cord_dose = None
    if case.dose is not None:
        gradient = read_gradient(case.dose, cord_surface, target_surface, gap.separation_mm)
        cord_dose = read_cord(case.dose, cord_solid, cord_surface, target_surface)
    sac = _first(case, "thecal_sac")
    canal = _first(case, "canal")
    return Anatomy(
        cord_structure=cord,
        target_structure=target,
        cord=cord_solid,
        target=target_solid,
        cord_surface=cord_surface,
        target_surface=target_surface,
        dose=case.dose,
        gap=gap,
        map=gaps,
        cells=cells,
        gradient=gradient,
        cord_dose=cord_dose,
        canal=None if canal is None else build_solid(canal, between=between, ends=ends),
        separation_to_thecal_sac_mm=_gap_to(sac, target_surface, levels, between, ends),
        findings=_findings(cord, target, cord_solid, target_solid, cells),
    )


def _ring_mm(separation_mm: float) -> tuple[float, float]:
    """Distances from the cord between which the ring behind the nearest target lies."""
    low = max(RING_FROM_MM, separation_mm)
    return low, low + RING_WIDTH_MM


def require_cord(
    case: Case, cord: Structure, target: Structure, cord_solid: Solid, target_solid: Solid
) -> None:
    """Refuse a cord that has gaps, or ends, at the levels of the target.

    Below the conus the cord ends by nature: where a cauda equina is contoured, it may.

    Raises
    ------
    CordNotSeenError
    """
    bottom, top = target_solid.z_range_mm
    cord_bottom, cord_top = cord_solid.z_range_mm
    if cord_top <= bottom or cord_bottom >= top:
        raise CordNotSeenError(
            f"{cord.roi_name!r} (z {cord_bottom:.1f} to {cord_top:.1f} mm) is not contoured at the "
            f"level of {target.roi_name!r} (z {bottom:.1f} to {top:.1f} mm): there is no distance "
            f"to give; contour the cord from {CORD_BEYOND_MM:g} mm below to {CORD_BEYOND_MM:g} mm "
            "above the target",
            roi_name=cord.roi_name,
        )
    spans = [(layer.bottom_mm, layer.top_mm) for layer in cord_solid.layers]
    missing = []
    reached = bottom
    for low, high in spans:
        if low > reached + CORD_TOLERANCE_MM and reached < top:
            missing.append((reached, min(low, top)))
        reached = max(reached, high)
    if reached < top - CORD_TOLERANCE_MM:
        missing.append((reached, top))
    inside = [(a, b) for a, b in missing if a > cord_bottom and b < cord_top]
    if _first(case, "cauda_equina") is not None and not inside:
        return
    if missing:
        shown = ", ".join(f"{a:.1f} to {b:.1f}" for a, b in missing)
        raise CordNotSeenError(
            f"{cord.roi_name!r} is not contoured at z = {shown} mm, where {target.roi_name!r} is: "
            "neither the distance nor the cord dose there is known; contour the missing planes "
            "(and the cauda equina where the cord ends)",
            roi_name=cord.roi_name,
        )


def _first(case: Case, role: Role) -> Structure | None:
    return next((s for s in case.structures if s.role == role and s.status == "ok"), None)


def _gap_to(
    structure: Structure | None,
    target: Surface,
    levels: tuple[float, float],
    between: Between,
    ends: Ends,
) -> float | None:
    if structure is None:
        return None
    solid = build_solid(structure, between=between, ends=ends)
    if solid.z_range_mm[1] <= target.points_mm[:, 2].min():
        return None
    if solid.z_range_mm[0] >= target.points_mm[:, 2].max():
        return None
    return measure_gap(surface_of(solid, z_range_mm=levels), target).separation_mm


def cord_length_findings(
    cord: Structure, target: Structure, cord_solid: Solid, target_solid: Solid
) -> list[Finding]:
    """Say so where the cord is not contoured far enough beyond the target."""
    below = target_solid.z_range_mm[0] - cord_solid.z_range_mm[0]
    above = cord_solid.z_range_mm[1] - target_solid.z_range_mm[1]
    if min(below, above) >= CORD_BEYOND_MM:
        return []
    more = ""
    if min(below, above) < CORD_PARTIAL_VOLUME_MM:
        more = (
            f"; limits on a part of the cord need {CORD_PARTIAL_VOLUME_MM:g} mm, a safe estimate "
            f"{CORD_BEYOND_MM:g} mm"
        )
    return [
        Finding(
            "cord-short",
            f"{cord.roi_name} is contoured {below:.1f} mm below and {above:.1f} mm above "
            f"{target.roi_name}; what lies beyond is not seen{more}",
            roi_name=cord.roi_name,
            found=f"{min(below, above):.1f} mm",
            expected=f"at least {CORD_BEYOND_MM:g} mm on both sides",
            action="contour the cord further",
        )
    ]


def _findings(
    cord: Structure, target: Structure, cord_solid: Solid, target_solid: Solid, cells: TargetCells
) -> tuple[Finding, ...]:
    found = [*cord_solid.findings, *target_solid.findings]
    found += cord_length_findings(cord, target, cord_solid, target_solid)
    if cells.outside_mm3 > 0:
        found.append(
            Finding(
                "target-outside-dose-grid",
                f"{cells.outside_mm3 / 1000:.2f} cc of {target.roi_name} lie outside the dose "
                "grid; its coverage is not evaluable",
                roi_name=target.roi_name,
                action="export the dose on a grid that covers the target",
            )
        )
    return tuple(found)
