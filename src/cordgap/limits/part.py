"""Partial-volume constraints: the part of the cord that a source speaks of, cut out."""

from __future__ import annotations

from dataclasses import replace

from cordgap.case.grid import DoseGrid
from cordgap.case.naming import Role
from cordgap.case.structure import Structure
from cordgap.dvh.curve import DVH
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.segment import cut_solid
from cordgap.dvh.solid import Between, Ends, Solid, build_solid
from cordgap.errors import StructureError
from cordgap.limits.constraint import Constraint, ConstraintResult, evaluate


def heights_of(
    structure: Structure | None, *, between: Between = "shape", ends: Ends = "half-slice"
) -> tuple[float, float] | None:
    """Return the heights between which a structure lies; None where it has no solid."""
    if structure is None:
        return None
    try:
        return build_solid(structure, between=between, ends=ends).z_range_mm
    except StructureError:
        return None


def evaluate_part(
    constraint: Constraint,
    solid: Solid,
    dose: DoseGrid | None,
    *,
    target_z_mm: tuple[float, float] | None,
    roi_role: Role,
    rx_gy: float | None = None,
) -> tuple[ConstraintResult, DVH | None]:
    """Evaluate a constraint on the part of a structure around the target.

    The structure is cut at each distance beyond the target that the source gives (5 to 6 mm); the
    highest value counts, since the source does not say which of them is meant.

    Parameters
    ----------
    constraint : Constraint
        With ``segment_beyond_mm``.
    solid : Solid
        The whole structure.
    dose : DoseGrid or None
    target_z_mm : (bottom, top), optional
        Heights between which the target lies.
    roi_role : str
        Role of the structure.
    rx_gy : float, optional
        Prescribed dose, for metrics in % of it.

    Returns
    -------
    ConstraintResult, DVH or None
        ``not evaluable`` where the structure is not contoured that far. The histogram is that of
        the part.
    """
    row = replace(constraint, segment=None, segment_beyond_mm=())

    def nothing(reason: str) -> tuple[ConstraintResult, DVH | None]:
        empty = evaluate(row, None, roi_name=solid.roi_name, roi_role=roi_role, reason=reason)
        return replace(empty, segment=constraint.segment), None

    if dose is None:
        return nothing("no dose")
    if target_z_mm is None:
        return nothing("there is no target to cut the structure by")
    bottom, top = target_z_mm
    found: list[tuple[ConstraintResult, DVH]] = []
    for beyond in constraint.segment_beyond_mm:
        try:
            part = cut_solid(solid, bottom - beyond, top + beyond)
        except StructureError as error:
            return nothing(str(error))
        dvh = compute_dvh(part, dose)
        result = evaluate(row, dvh, roi_name=solid.roi_name, roi_role=roi_role, rx_gy=rx_gy)
        where = f"z {bottom - beyond:.1f} to {top + beyond:.1f} mm"
        found.append((replace(result, segment=where), dvh))
    unknown = [x for x in found if x[0].value is None]
    return unknown[0] if unknown else max(found, key=lambda x: x[0].value or 0.0)
