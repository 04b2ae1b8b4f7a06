"""What ``cordgap dvh`` adds to its document where it is asked for, and its curves as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cordgap.case.structure import Structure
from cordgap.report.numbers import CC_DIGITS, rounded, rounded_all
from cordgap.report.parts import DVH_STEP_GY, Document

if TYPE_CHECKING:
    from cordgap.dvh.comparison import Comparison, Row
    from cordgap.dvh.dose_surface import DoseSurface
    from cordgap.dvh.indices import Conformity, Gradient, Indices, Named
    from cordgap.dvh.isodose import IsodoseVolume
    from cordgap.dvh.metrics import MetricValue
    from cordgap.dvh.presets import Preset, Rules
    from cordgap.dvh.structures import StructureResult

# Step of exported curves: finer than any metric is quoted.
CSV_STEP_GY = 0.01


def rules_part(rules: Rules) -> Document:
    """Return how a solid is built."""
    return {
        "between": rules.between,
        "ends": rules.ends,
        "max_cap_mm": rounded(rules.max_cap_mm),
        "caps_have_dose": rules.caps_have_dose,
    }


def preset_part(preset: Preset) -> Document:
    """Return a planning system as it is imitated."""
    return {
        "name": preset.name,
        "version": preset.version,
        "rules": rules_part(preset.rules),
        "not_imitated": preset.not_imitated,
    }


def comparison_part(comparison: Comparison) -> Document:
    """Return every preset beside our rules: values, differences, and why."""
    presets = [
        preset_part(e.preset)
        | {
            "explanation": e.text,
            "differing_rules": [
                {"rule": s.rule, "change_in_largest": rounded(s.change, CC_DIGITS)} for s in e.steps
            ],
            "largest": None
            if e.largest is None
            else {"roi_name": e.largest.roi_name, "metric": e.largest.metric},
        }
        for e in comparison.explanations
    ]
    names = [e.preset.name for e in comparison.explanations]
    return {
        "rules": rules_part(comparison.rules),
        "presets": presets,
        "rows": [_row(row, names) for row in comparison.rows],
    }


def _row(row: Row, names: Sequence[str]) -> Document:
    digits = CC_DIGITS if row.unit == "cc" else 4
    return {
        "roi_number": int(row.roi_number),
        "roi_name": row.roi_name,
        "metric": row.metric,
        "unit": row.unit,
        "value": rounded(row.ours, digits),
        "reason": row.reason,
        "presets": {
            name: {
                "value": rounded(row.values[i], digits),
                "difference": rounded(row.difference(i), digits),
                "difference_percent": rounded(row.difference_percent(i)),
            }
            for i, name in enumerate(names)
        },
    }


def indices_part(structure: Structure, indices: Indices) -> Document:
    """Return the indices of one structure."""
    return {
        "roi_number": int(structure.roi_number),
        "roi_name": structure.roi_name,
        "role": structure.role,
        "near_max": _named(indices.near_max),
        "near_min": _named(indices.near_min),
        "homogeneity_index": _value(indices.homogeneity),
        "geud_gy": _value(indices.geud),
        "geud_a": rounded(indices.geud_a),
        "geud_a_source": indices.geud_a_source,
        "conformity": None if indices.conformity is None else _conformity(indices.conformity),
        "conformity_reason": indices.conformity_reason,
    }


def _named(named: Named) -> Document:
    return {"metric": named.name} | _value(named.value)


def _value(value: MetricValue) -> Document:
    return {
        "value": rounded(value.value),
        "plus_minus": rounded(value.plus_minus),
        "reason": value.reason,
    }


def _conformity(c: Conformity) -> Document:
    return {
        "target_cc": rounded(c.target_cc, CC_DIGITS),
        "target_in_isodose_cc": rounded(c.covered_cc, CC_DIGITS),
        "coverage": rounded(c.coverage),
        "isodoses": [_isodose(c.prescription), _isodose(c.half)],
        "total": _gradient(c.total),
        "connected": _gradient(c.connected),
    }


def _isodose(isodose: IsodoseVolume) -> Document:
    return {
        "dose_gy": rounded(isodose.dose_gy),
        "total_cc": rounded(isodose.total_cc, CC_DIGITS),
        "connected_cc": rounded(isodose.connected_cc, CC_DIGITS),
        "plus_minus_cc": rounded(isodose.plus_minus_cc, CC_DIGITS),
        "plus_minus_includes_dose_grid": isodose.includes_dose_grid,
        "reaches_grid_edge": isodose.is_cut_off,
    }


def _gradient(g: Gradient) -> Document:
    return {
        "ci_rtog": rounded(g.ci_rtog),
        "ci_paddick": rounded(g.ci_paddick),
        "selectivity": rounded(g.selectivity),
        "gradient_index": rounded(g.gi),
        "r50": rounded(g.r50),
        "reason": g.reason,
    }


def surface_part(
    structure: Structure, surface: DoseSurface | None, reason: str | None = None
) -> Document:
    """Return the dose-surface histogram of one structure, or why there is none."""
    head: Document = {
        "roi_number": int(structure.roi_number),
        "roi_name": structure.roi_name,
        "reason": reason,
    }
    if surface is None:
        empty = ("area_cm2", "flat_area_cm2", "area_in_dose_grid_cm2", "histogram")
        return head | dict.fromkeys(empty)
    doses, areas = surface.resample(DVH_STEP_GY)
    return head | {
        "area_cm2": rounded(surface.total_area_cm2),
        "flat_area_cm2": rounded(surface.flat_area_cm2),
        "area_in_dose_grid_cm2": rounded(surface.covered_area_cm2),
        "histogram": None
        if not surface.dose_gy.size
        else {"dose_gy": rounded_all(doses), "area_cm2": rounded_all(areas)},
    }


def curves_csv(
    results: Sequence[StructureResult],
    surfaces: Sequence[DoseSurface | None] | None = None,
    *,
    dose_type: str = "PHYSICAL",
) -> str:
    """Return every cumulative curve as CSV, in steps of 0.01 Gy from 0.

    Parameters
    ----------
    results : sequence of StructureResult
        Those without a volume inside the dose grid have no rows.
    surfaces : sequence of DoseSurface or None, optional
        One a result, for a column of surface areas.
    dose_type : str
        PHYSICAL or EFFECTIVE, written in every row.

    Returns
    -------
    str
        ``volume_percent`` is of the whole structure, empty where only a part is in the dose grid.
    """
    from cordgap.report.sheets import safe_cell

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    head = ["roi_number", "roi_name", "status", "dose_gy", "volume_cc", "volume_percent"]
    writer.writerow([*head, *([] if surfaces is None else ["area_cm2"]), "dose_type"])
    for index, result in enumerate(results):
        dvh = result.dvh
        if dvh is None or dvh.covered_volume_cc <= 0:
            continue
        doses, volumes = dvh.resample(CSV_STEP_GY)
        last = int(np.flatnonzero(volumes > 0)[-1]) + 2
        columns: list[Sequence[Any]] = [rounded_all(doses), rounded_all(volumes, CC_DIGITS)]
        share = 100 * volumes / dvh.total_volume_cc
        columns.append(rounded_all(share) if dvh.is_complete else [None] * doses.size)
        if surfaces is not None:
            surface = surfaces[index]
            areas = [None] * doses.size if surface is None else _areas_at(surface, doses)
            columns.append(areas)
        s = result.structure
        for row in zip(*(c[:last] for c in columns), strict=True):
            writer.writerow([s.roi_number, safe_cell(s.roi_name), result.status, *row, dose_type])
    return buffer.getvalue()


def _areas_at(surface: DoseSurface, doses: Any) -> list[float | None]:
    edges, areas = surface.resample(CSV_STEP_GY)
    return rounded_all(np.interp(doses, edges, areas, right=0.0))
