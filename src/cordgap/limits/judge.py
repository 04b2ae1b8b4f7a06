"""Rows of constraints, each judged on the structure that it speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cordgap.case.case import Case
from cordgap.case.structure import Structure
from cordgap.dvh.curve import DVH
from cordgap.dvh.margin import hot_end_of_margin
from cordgap.dvh.solid import Between, Ends, Solid, build_solid
from cordgap.dvh.structures import StructureResult
from cordgap.dvh.surface import surface_of
from cordgap.errors import Finding
from cordgap.limits.constraint import (
    PRV_MARGIN_MM,
    Constraint,
    ConstraintResult,
    evaluate,
    evaluate_margin,
)
from cordgap.limits.part import evaluate_part, heights_of
from cordgap.limits.protocol import CORD_ROLES


def evaluate_constraints(
    case: Case,
    rows: Sequence[Constraint],
    structures: Sequence[StructureResult],
    cord: Structure,
    *,
    rx_gy: float | None,
    target: Structure | None = None,
    between: Between = "shape",
    ends: Ends = "half-slice",
) -> tuple[tuple[ConstraintResult, DVH | None], ...]:
    """Evaluate each row on the structure it speaks of, or on the cord where that is missing.

    Returns each result with the DVH it was read from.
    """
    heights = heights_of(target, between=between, ends=ends)
    results: list[tuple[ConstraintResult, DVH | None]] = []
    for row in rows:
        found = _structure_for(row, structures, cord)
        if found is None:
            missing = evaluate(
                row, None, roi_name=None, roi_role=None, reason="the structure is not contoured"
            )
            results.append((replace(missing, decides=False), None))
            continue
        role = found.structure.role if found.structure.role != "other" else row.structure
        if row.segment_beyond_mm and found.dvh is not None:
            solid = build_solid(found.structure, between=between, ends=ends)
            part = evaluate_part(
                row, solid, case.dose, target_z_mm=heights, roi_role=role, rx_gy=rx_gy
            )
            results.append(part)
            continue
        result = evaluate(
            row,
            found.dvh,
            roi_name=found.structure.roi_name,
            roi_role=role,
            rx_gy=rx_gy,
            reason=found.reason,
        )
        if found.structure is not cord:
            result = _with_namesakes(result, row, found, structures)
        if row.structure == "cord" and result.value is not None and row.metric.kind == "D":
            solid = build_solid(found.structure, between=between, ends=ends)
            result = _with_margin(case, row, result, solid, rx_gy)
        results.append((result, found.dvh))
    return tuple(results)


def unless_cord_seen(result: ConstraintResult, reason: str) -> ConstraintResult:
    """A cord that is not contoured at the target can exceed a limit, never meet it."""
    if result.structure not in CORD_ROLES or result.verdict != "met":
        return result
    return replace(
        result, verdict="not evaluable", bound="lower", headroom=None,
        within_uncertainty=False, reason=reason,
    )  # fmt: skip


def _with_namesakes(
    result: ConstraintResult,
    row: Constraint,
    found: StructureResult,
    structures: Sequence[StructureResult],
) -> ConstraintResult:
    """Say so where several structures have the role of a constraint."""
    others = [
        s.structure.roi_name
        for s in structures
        if s.structure.role == row.structure and s is not found and s.status != "empty"
    ]
    if not others:
        return result
    note = Finding(
        "several-structures",
        f"{row.id} was read on {found.structure.roi_name!r}; there is also "
        + ", ".join(repr(name) for name in others),
        roi_name=found.structure.roi_name,
        action="see that it is the one that is meant",
    )
    return replace(result, findings=(*result.findings, note))


def _structure_for(
    row: Constraint, structures: Sequence[StructureResult], cord: Structure
) -> StructureResult | None:
    by_cord = next((s for s in structures if s.structure is cord), None)
    if row.structure == cord.role or row.structure == "cord":
        return by_cord
    same = [s for s in structures if s.structure.role == row.structure and s.status != "empty"]
    if same:
        return same[0]
    return by_cord if row.structure in CORD_ROLES else None


def _with_margin(
    case: Case,
    row: Constraint,
    result: ConstraintResult,
    solid: Solid,
    rx_gy: float | None,
) -> ConstraintResult:
    """Put the same limit on the cord plus 1.5 mm beside the verdict."""
    if case.dose is None or result.value is None or row.metric.argument_unit != "cc":
        return result
    floor = result.value if row.unit == "Gy" else result.value / 100 * (rx_gy or 0.0)
    hot = hot_end_of_margin(surface_of(solid), case.dose, PRV_MARGIN_MM, 0.98 * floor)
    reason = "the cord plus margin reaches beyond the dose grid" if hot is None else None
    margin = evaluate_margin(row, hot, rx_gy=rx_gy, reason=reason)
    if result.bound == "lower" and margin.verdict == "met":
        # What lies outside the dose grid may be hotter.
        margin = replace(margin, verdict="not evaluable", reason=result.reason)
    return replace(result, margin=margin)
