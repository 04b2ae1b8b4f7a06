"""Parts that the JSON documents are made of: one finding, one structure, one constraint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cordgap.case.case import InputFile, Prescription
from cordgap.errors import Finding
from cordgap.report.numbers import CC_DIGITS, MM_DIGITS, rounded, rounded_all, rounded_pair

if TYPE_CHECKING:
    from cordgap.analysis import CaseResult
    from cordgap.dvh.structures import StructureResult
    from cordgap.limits.constraint import Constraint, ConstraintResult
    from cordgap.separation.result import (
        DerivedFrom,
        GapMap,
        HighestDose,
        Schedule,
        Separation,
        Sextant,
    )

Document = dict[str, Any]

DVH_STEP_GY = 0.1
DOSE_INTERPOLATION = "trilinear"


def warning_parts(findings: Iterable[Finding]) -> list[Document]:
    """Return the findings that are more than information."""
    return [finding_part(f) for f in findings if f.severity != "info"]


def finding_part(finding: Finding) -> Document:
    """Return one finding."""
    return {
        "code": finding.code,
        "severity": finding.severity,
        "message": finding.message,
        "roi_name": finding.roi_name,
        "file": finding.file,
        "found": finding.found,
        "expected": finding.expected,
        "action": finding.action,
    }


def input_part(file: InputFile) -> Document:
    """Return where one file came from."""
    return {"file": file.file, "sop_instance_uid": file.sop_instance_uid, "sha256": file.sha256}


def inputs_part(files: Sequence[InputFile]) -> Document:
    """Return the files of a case by kind."""
    kinds = {
        kind: [input_part(f) for f in files if f.kind == kind] for kind in ("rtstruct", "rtplan")
    }
    return {
        "rtstruct": kinds["rtstruct"][0] if kinds["rtstruct"] else None,
        "rtdose": [input_part(f) for f in files if f.kind == "rtdose"],
        "rtplan": kinds["rtplan"][0] if kinds["rtplan"] else None,
        "ct": [input_part(f) for f in files if f.kind == "ct"],
        "reason": None if files else "the case was not read from files",
    }


def settings_part(result: CaseResult) -> Document:
    """Return what the user chose."""
    s = result.settings
    return {
        "between": s.between,
        "ends": s.ends,
        "dose_interpolation": DOSE_INTERPOLATION,
        "protocol": result.protocol.id,
        "constraints": [str(g) for g in s.constraints],
        "rows": list(s.rows),
        "coverage": [str(g) for g in s.coverage],
        "metrics": [str(m) for m in s.metrics],
        "cord": s.cord,
        "target": s.target,
        "method": s.method,
        "max_mm": rounded(s.max_mm, MM_DIGITS),
        "reachable": list(s.reachable),
        "alpha_beta_gy": rounded(s.alpha_beta_gy),
        "recovery": s.recovery,
        "levels": [
            {"name": name, "z_mm": [rounded(low, MM_DIGITS), rounded(high, MM_DIGITS)]}
            for name, low, high in s.levels
        ],
    }


def gap_map_part(gaps: GapMap, reason: str) -> Document:
    """Return the map as arrays, level by direction."""
    deficit = gaps.deficit_mm
    return {
        "level_mm": rounded_all(gaps.level_mm, MM_DIGITS),
        "direction_deg": rounded_all(gaps.direction_deg, MM_DIGITS),
        "gap_mm": [rounded_all(row, MM_DIGITS) for row in gaps.gap_mm],
        "deficit_mm": None if deficit is None else [rounded_all(r, MM_DIGITS) for r in deficit],
        "centre_mm": [rounded_all(row, MM_DIGITS) for row in gaps.centre_mm],
        "reason": f"null: {reason}; deficit_mm as a whole is null without a required separation",
    }


def binding_levels_part(result: CaseResult, s: Separation) -> list[Document]:
    """Return the runs of levels at which the target is closer than required."""
    from cordgap.report.sentence import level_label

    return [
        {
            "z_mm": rounded_pair(x.z_mm),
            "worst_z_mm": rounded(x.worst_mm, MM_DIGITS),
            "gap_mm": rounded(x.gap_mm, MM_DIGITS),
            "deficit_mm": rounded(x.deficit_mm, MM_DIGITS),
            "direction_deg": rounded(x.direction_deg, MM_DIGITS),
            "sextant": x.sextant,
            "label": level_label(result, x.worst_mm),
        }
        for x in s.binding_levels
    ]


def sextant_part(sextant: Sextant, far: str) -> Document:
    """Return one sextant: its gap, what is missing, what is removed there."""
    return {
        "name": sextant.name,
        "gap_mm": rounded(sextant.gap_mm, MM_DIGITS),
        "level_mm": rounded(sextant.level_mm, MM_DIGITS),
        "deficit_mm": rounded(sextant.deficit_mm, MM_DIGITS),
        "resection_cc": rounded(sextant.resection_cc, CC_DIGITS),
        "reachable": sextant.reachable,
        "reason": None if sextant.gap_mm is not None else far,
    }


def schedule_part(x: Schedule) -> Document:
    """Return the separation that one schedule needs."""
    return {
        "dose_gy": rounded(x.dose_gy),
        "fractions": int(x.fractions),
        "constraint_id": x.constraint_id,
        "limit": rounded(x.limit),
        "derived_from": _derived_part(x.derived_from),
        "required_separation_mm": rounded(x.required_separation_mm, MM_DIGITS),
        "interval_mm": rounded_pair(x.interval_mm),
        "question": x.question,
        "reason": x.reason,
    }


def highest_dose_part(x: HighestDose) -> Document:
    """Return the highest dose that one achieved separation allows."""
    return {
        "separation_mm": rounded(x.separation_mm, MM_DIGITS),
        "fractions": int(x.fractions),
        "constraint_id": x.constraint_id,
        "limit": rounded(x.limit),
        "derived_from": _derived_part(x.derived_from),
        "dose_gy": rounded(x.dose_gy),
        "at_least": x.at_least,
        "interval_gy": rounded_pair(x.interval_gy),
        "interval_at_least": x.interval_at_least,
        "reason": x.reason,
    }


def _derived_part(derived: DerivedFrom | None) -> Document | None:
    if derived is None:
        return None
    return {
        "constraint_id": derived.constraint_id,
        "fractions": int(derived.fractions),
        "limit": rounded(derived.limit),
        "alpha_beta_gy": rounded(derived.alpha_beta_gy),
    }


def level_part(result: CaseResult) -> Document:
    """Return where the smallest gap is, and the vertebral level if it is known."""
    from cordgap.report.sentence import gap_level_mm, level_label

    z_mm = gap_level_mm(result.separation)
    return {"closest_z_mm": rounded(z_mm, MM_DIGITS), "label": level_label(result, z_mm)}


def prescription_part(prescription: Prescription | None) -> Document | None:
    """Return the prescription."""
    if prescription is None:
        return None
    return {
        "dose_gy": rounded(prescription.dose_gy),
        "fractions": int(prescription.fractions),
        "source": prescription.source,
    }


def case_part(result: CaseResult, identify: bool) -> Document:
    """Return what is known of the case; the identity only if it is asked for."""
    case = result.case
    grid = None
    if case.dose is not None:
        geometry = case.dose.geometry
        grid = {
            "spacing_mm": rounded_all(geometry.spacing_mm),
            "shape_zyx": [int(n) for n in geometry.shape],
            "lower_mm": rounded_all(geometry.lower_mm),
            "upper_mm": rounded_all(geometry.upper_mm),
        }
    return {
        "case_id": case.case_id,
        "inputs": inputs_part(case.inputs),
        "frame_of_reference_uid": case.frame_of_reference_uid,
        "patient_position": case.patient_position,
        "dose_type": case.dose_type,
        "dose_grid": grid,
        "dose_grid_reason": None if grid else "no dose",
        "has_ct": case.image is not None,
        "identity": dict(case.identity) if identify else None,
        "identity_reason": None if identify else "written only if it is asked for (--identify)",
    }


def structure_part(result: StructureResult) -> Document:
    """Return one structure with metrics and histogram."""
    dvh, histogram = result.dvh, None
    if dvh is not None and dvh.covered_volume_cc > 0:
        doses, volumes = (rounded_all(v, CC_DIGITS) for v in dvh.resample(DVH_STEP_GY))
        last = max(sum(1 for v in volumes if v) + 1, 2)  # one edge beyond the hottest volume
        histogram = {"dose_gy": doses[:last], "volume_cc": volumes[:last]}
    return {
        "roi_number": int(result.structure.roi_number),
        "roi_name": result.structure.roi_name,
        "role": result.structure.role,
        "status": result.status,
        "reason": result.reason,
        "volume_cc": rounded(result.volume_cc, CC_DIGITS),
        "volume_in_dose_grid_cc": None
        if dvh is None
        else rounded(dvh.covered_volume_cc, CC_DIGITS),
        "min_gy": None if dvh is None else rounded(dvh.min_gy),
        "mean_gy": None if dvh is None else rounded(dvh.mean_gy),
        "max_gy": None if dvh is None else rounded(dvh.max_gy),
        "metrics": {
            name: {
                "value": rounded(m.value),
                "plus_minus": rounded(m.plus_minus),
                "plus_minus_parts": {
                    source.replace(" ", "_"): rounded(part) for source, part in m.plus_minus_parts
                }
                or None,
                "bound": m.bound,
                "reason": m.reason,
            }
            for name, m in result.metrics.items()
        },
        "dvh": histogram,
    }


def constraint_row_part(row: ConstraintResult) -> Document:
    """Return one evaluated constraint."""
    margin, margin_reason = None, None
    if row.margin is not None:
        value = row.margin.value
        margin = {
            "margin_mm": rounded(row.margin.margin_mm, MM_DIGITS),
            "value": rounded(value),
            "plus_minus": rounded(row.margin.plus_minus),
            "headroom": None if value is None else rounded(row.limit - value),
            "verdict": row.margin.verdict,
            "reason": row.margin.reason,
        }
    elif row.structure != "cord":
        margin_reason = "only limits on the true cord are repeated on the cord plus margin"
    else:
        margin_reason = row.reason or "only metrics of the hottest volume are repeated"
    return {
        "id": row.id,
        "structure": row.structure,
        "roi_name": row.roi_name,
        "segment": row.segment,
        "metric_source": row.metric_source,
        "metric_evaluated": row.metric_evaluated,
        "surrogate": row.surrogate,
        "limit": rounded(row.limit),
        "limit_low": rounded(row.limit_low),
        "limit_high": rounded(row.limit_high),
        "value": rounded(row.value),
        "plus_minus": rounded(row.plus_minus),
        "headroom": rounded(row.headroom),
        "unit": row.unit,
        "verdict": row.verdict,
        "within_uncertainty": row.within_uncertainty,
        "bound": row.bound,
        "reason": row.reason,
        "max_gy": rounded(row.max_gy),
        "decides": row.decides,
        "cord_plus_margin": margin,
        "cord_plus_margin_reason": margin_reason,
        "level": row.level,
        "endpoint": row.endpoint,
        "source": row.source,
        "verified": row.verified,
    }


def constraint_part(row: Constraint) -> Document:
    """Return one row of a constraint table."""
    return {
        "id": row.id,
        "structure": row.structure,
        "segment": row.segment,
        "segment_beyond_mm": rounded_all(row.segment_beyond_mm, MM_DIGITS),
        "fractions": row.fractions,
        "metric_source": row.metric_source,
        "metric_evaluated": str(row.metric),
        "surrogate": row.surrogate,
        "limit": rounded(row.limit),
        "limit_low": rounded(row.limit_low),
        "limit_high": rounded(row.limit_high),
        "unit": row.unit,
        "level": row.level,
        "endpoint": row.endpoint,
        "source": row.source,
        "doi": row.doi,
        "no_doi": row.no_doi,
        "url": row.url,
        "verified": row.verified,
        "note": row.note,
    }
