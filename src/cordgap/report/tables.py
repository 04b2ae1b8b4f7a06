"""The JSON documents: plain dictionaries, versioned, absent is null with a reason beside it.

The schemas in ``report/schemas`` describe the same documents; docs/json.md explains them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from cordgap._version import __version__
from cordgap.analysis import CaseResult, Settings, StructureResult
from cordgap.case.case import Case, InputFile, Prescription
from cordgap.errors import CordgapError, Finding
from cordgap.limits.constraint import Constraint, ConstraintResult
from cordgap.limits.protocol import Protocol
from cordgap.report.numbers import CC_DIGITS, MM_DIGITS, rounded, rounded_all, rounded_pair
from cordgap.report.sentence import gap_level_mm, level_label
from cordgap.separation.gap import MAX_GAP_MM
from cordgap.separation.result import SAFETY_SENTENCES, GapMap, Separation

Document = dict[str, Any]

DVH_STEP_GY = 0.1
DOSE_INTERPOLATION = "trilinear"
UNUSABLE_EXIT_CODE = 2


def to_json(document: Document) -> str:
    """Write a document as JSON text; a number that is not finite is an error."""
    return json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1)


def dvh_document(
    case: Case,
    structures: Sequence[StructureResult],
    settings: Settings,
    findings: Iterable[Finding] = (),
) -> Document:
    """Return the DVHs and metrics of structures as ``cordgap.dvh/1``.

    Parameters
    ----------
    case : Case
    structures : sequence of StructureResult
    settings : Settings
    findings : iterable of Finding
        Those that are warnings or errors go into ``warnings``.
    """
    return {
        "schema": "cordgap.dvh/1",
        "cordgap_version": __version__,
        "settings": {
            "between": settings.between,
            "ends": settings.ends,
            "dose_interpolation": DOSE_INTERPOLATION,
        },
        "inputs": _inputs(case.inputs),
        "structures": [_structure(s) for s in structures],
        "warnings": _warnings(findings),
        "safety": list(SAFETY_SENTENCES),
    }


def separation_document(result: CaseResult) -> Document:
    """Return the separation as ``cordgap.separation/1``.

    Where none can be given, every number is null, ``status`` is ``not evaluable`` and ``reason``
    says why.
    """
    head: Document = {
        "schema": "cordgap.separation/1",
        "cordgap_version": result.cordgap_version,
        "settings": _settings(result),
        "prescription": _prescription(result.prescription),
        "cord": None
        if result.cord is None
        else {
            "roi_name": result.cord.structure.roi_name,
            "role": result.cord.structure.role,
            "source": result.cord.source,
        },
        "target": None
        if result.target is None
        else {
            "roi_name": result.target.structure.roi_name,
            "role": result.target.structure.role,
            "source": result.target.source,
        },
        "level": _level(result),
    }
    if result.separation is None:
        body = _no_separation(result.separation_reason or "no separation was estimated")
    else:
        body = _separation(result.separation)
    tail = {"warnings": _warnings(result.findings), "safety": list(SAFETY_SENTENCES)}
    return head | body | tail


def analysis_document(result: CaseResult, *, identify: bool = False) -> Document:
    """Return everything that was found out about a plan as ``cordgap.analysis/1``.

    Parameters
    ----------
    result : CaseResult
    identify : bool
        Whether the patient's identity is written; without it no document holds any.
    """
    structure_findings = [f for s in result.structures for f in s.findings]
    return {
        "schema": "cordgap.analysis/1",
        "cordgap_version": result.cordgap_version,
        "settings": _settings(result),
        "case": _case(result, identify),
        "prescription": _prescription(result.prescription),
        "findings": [_finding(f) for f in result.findings],
        "dvh": dvh_document(result.case, result.structures, result.settings, structure_findings),
        "constraints": [_constraint_row(c) for c in result.constraints],
        "separation": None if result.separation is None else separation_document(result),
        "separation_reason": result.separation_reason,
        "exit_code": result.exit_code,
        "warnings": _warnings(result.findings),
        "safety": list(SAFETY_SENTENCES),
    }


def check_document(
    findings: Iterable[Finding],
    *,
    used: Iterable[InputFile] = (),
    ignored: Iterable[tuple[str, str]] = (),
    second_calculation: Document | None = None,
    second_calculation_reason: str | None = "it was not asked for",
) -> Document:
    """Return the verdict on the input as ``cordgap.check/1``.

    Parameters
    ----------
    findings : iterable of Finding
        An ``error`` among them refuses the input, a ``warning`` qualifies it.
    used : iterable of InputFile
    ignored : iterable of (file, reason)
    second_calculation : dict, optional
        What an independent calculation of the same DVHs gave.
    second_calculation_reason : str, optional
        Why there is none; ignored where there is one.
    """
    found = list(findings)
    worst = {f.severity for f in found}
    verdict = "usable"
    if "error" in worst:
        verdict = "refused"
    elif "warning" in worst:
        verdict = "usable with warnings"
    done = second_calculation is not None
    return {
        "schema": "cordgap.check/1",
        "cordgap_version": __version__,
        "verdict": verdict,
        "findings": [_finding(f) for f in found],
        "files_used": [_input(f) | {"kind": f.kind} for f in used],
        "files_ignored": [{"file": file, "reason": reason} for file, reason in ignored],
        "second_calculation": second_calculation,
        "second_calculation_reason": None if done else second_calculation_reason,
        "safety": list(SAFETY_SENTENCES),
    }


def error_document(error: Exception) -> Document:
    """Return an error that stopped the program as ``cordgap.error/1``.

    The message of an error that is not cordgap's own is kept out: it may hold anything.
    """
    known = isinstance(error, CordgapError | OSError)
    return {
        "schema": "cordgap.error/1",
        "cordgap_version": __version__,
        "error": {
            "type": type(error).__name__,
            "message": str(error) if known else "unexpected error; see the log",
        },
        "exit_code": UNUSABLE_EXIT_CODE,
    }


def protocols_document(protocols: Iterable[Protocol]) -> Document:
    """Return constraint tables with their sources as ``cordgap.protocols/1``."""
    return {
        "schema": "cordgap.protocols/1",
        "cordgap_version": __version__,
        "protocols": [
            {
                "id": p.id,
                "title": p.title,
                "year": p.year,
                "citation": p.citation,
                "doi": p.doi,
                "notes": p.notes,
                "fractions": list(p.fractions),
                "constraints": [_constraint(c) for c in p.constraints],
            }
            for p in protocols
        ],
    }


def _warnings(findings: Iterable[Finding]) -> list[Document]:
    return [_finding(f) for f in findings if f.severity != "info"]


def _finding(finding: Finding) -> Document:
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


def _input(file: InputFile) -> Document:
    return {"file": file.file, "sop_instance_uid": file.sop_instance_uid, "sha256": file.sha256}


def _inputs(files: Sequence[InputFile]) -> Document:
    kinds = {kind: [_input(f) for f in files if f.kind == kind] for kind in ("rtstruct", "rtplan")}
    return {
        "rtstruct": kinds["rtstruct"][0] if kinds["rtstruct"] else None,
        "rtdose": [_input(f) for f in files if f.kind == "rtdose"],
        "rtplan": kinds["rtplan"][0] if kinds["rtplan"] else None,
        "ct": [_input(f) for f in files if f.kind == "ct"],
        "reason": None if files else "the case was not read from files",
    }


def _settings(result: CaseResult) -> Document:
    s = result.settings
    return {
        "between": s.between,
        "ends": s.ends,
        "dose_interpolation": DOSE_INTERPOLATION,
        "protocol": result.protocol.id,
        "constraints": [str(g) for g in s.constraints],
        "coverage": [str(g) for g in s.coverage],
        "metrics": [str(m) for m in s.metrics],
        "cord": s.cord,
        "target": s.target,
        "method": s.method,
        "max_mm": rounded(s.max_mm, MM_DIGITS),
        "levels": [
            {"name": name, "z_mm": [rounded(low, MM_DIGITS), rounded(high, MM_DIGITS)]}
            for name, low, high in s.levels
        ],
    }


def _level(result: CaseResult) -> Document:
    z_mm = gap_level_mm(result.separation)
    return {"closest_z_mm": rounded(z_mm, MM_DIGITS), "label": level_label(result, z_mm)}


def _prescription(prescription: Prescription | None) -> Document | None:
    if prescription is None:
        return None
    return {
        "dose_gy": rounded(prescription.dose_gy),
        "fractions": int(prescription.fractions),
        "source": prescription.source,
    }


def _case(result: CaseResult, identify: bool) -> Document:
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
        "inputs": _inputs(case.inputs),
        "frame_of_reference_uid": case.frame_of_reference_uid,
        "patient_position": case.patient_position,
        "dose_type": case.dose_type,
        "dose_grid": grid,
        "dose_grid_reason": None if grid else "no dose",
        "has_ct": case.image is not None,
        "identity": dict(case.identity) if identify else None,
        "identity_reason": None if identify else "written only if it is asked for (--identify)",
    }


def _structure(result: StructureResult) -> Document:
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
                "bound": m.bound,
                "reason": m.reason,
            }
            for name, m in result.metrics.items()
        },
        "dvh": histogram,
    }


def _constraint_row(row: ConstraintResult) -> Document:
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


def _constraint(row: Constraint) -> Document:
    return {
        "id": row.id,
        "structure": row.structure,
        "segment": row.segment,
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


def _no_separation(reason: str) -> Document:
    absent = (
        "distance_from", "binding_constraint", "question", "method", "separation_mm", "overlap_cc",
        "penetration_mm", "separation_to_thecal_sac_mm", "closest_cord_point_mm",
        "closest_target_point_mm", "required_separation_mm", "interval_mm", "interval_covers",
        "additional_mm", "make_mm", "resection_cc", "resection_inside_canal_cc", "map",
    )  # fmt: skip
    empty: Document = {"cord_goals": [], "coverage_goals": []}
    empty |= dict.fromkeys(absent)
    empty |= {"separation_to_thecal_sac_reason": reason, "resection_reason": reason}
    empty |= {"resection_inside_canal_reason": reason}
    empty |= {"status": "not evaluable", "reason": reason}
    return empty | {"curve": [], "sextants": [], "schedules": []}


def _separation(s: Separation) -> Document:
    resection_reason = inside_reason = None
    if s.resection_cc is None:
        resection_reason = s.reason or "the removed volume of this target is not known"
    if s.resection_inside_canal_cc is None:
        inside_reason = resection_reason or "no spinal canal is contoured"
    sac_reason = None
    if s.separation_to_thecal_sac_mm is None:
        sac_reason = "no thecal sac is contoured at the level of the target"
    return {
        "distance_from": s.distance_from,
        "cord_goals": [
            {
                "id": g.id,
                "roi_name": g.roi_name,
                "metric": g.metric,
                "limit": rounded(g.limit),
                "value": rounded(g.value),
                "plus_minus": rounded(g.plus_minus),
                "headroom": rounded(g.headroom),
                "unit": g.unit,
                "verdict": g.verdict,
                "within_uncertainty": g.within_uncertainty,
                "reason": g.reason,
            }
            for g in s.cord_goals
        ],
        "binding_constraint": s.binding_constraint,
        "coverage_goals": [
            {
                "metric": g.metric,
                "at_least": rounded(g.at_least),
                "value": rounded(g.value),
                "plus_minus": rounded(g.plus_minus),
                "verdict": g.verdict,
                "headline": g.headline,
                "required_separation_mm": rounded(g.required_separation_mm, MM_DIGITS),
                "interval_mm": rounded_pair(g.interval_mm),
                "method": g.method,
                "reason": g.reason,
            }
            for g in s.coverage_goals
        ],
        "question": s.question,
        "method": s.method,
        "separation_mm": rounded(s.separation_mm, MM_DIGITS),
        "overlap_cc": rounded(s.overlap_cc, CC_DIGITS),
        "penetration_mm": rounded(s.penetration_mm, MM_DIGITS),
        "separation_to_thecal_sac_mm": rounded(s.separation_to_thecal_sac_mm, MM_DIGITS),
        "separation_to_thecal_sac_reason": sac_reason,
        "closest_cord_point_mm": rounded_all(s.closest_cord_point_mm, MM_DIGITS),
        "closest_target_point_mm": rounded_all(s.closest_target_point_mm, MM_DIGITS),
        "required_separation_mm": rounded(s.required_separation_mm, MM_DIGITS),
        "interval_mm": rounded_pair(s.interval_mm),
        "interval_covers": rounded(s.interval_covers),
        "additional_mm": rounded(s.additional_mm, MM_DIGITS),
        "make_mm": rounded(s.make_mm, MM_DIGITS),
        "resection_cc": rounded(s.resection_cc, CC_DIGITS),
        "resection_reason": resection_reason,
        "resection_inside_canal_cc": rounded(s.resection_inside_canal_cc, CC_DIGITS),
        "resection_inside_canal_reason": inside_reason,
        "status": s.status,
        "reason": s.reason,
        "curve": [
            {
                "separation_mm": rounded(p.separation_mm, MM_DIGITS),
                "resection_cc": rounded(p.resection_cc, CC_DIGITS),
                "question": p.question,
                "cord_gy": rounded(p.cord_gy),
                "metrics": {name: rounded(value) for name, value in p.metrics.items()},
            }
            for p in s.curve
        ],
        "map": _map(s.map),
        "sextants": [
            {
                "name": x.name,
                "gap_mm": rounded(x.gap_mm, MM_DIGITS),
                "level_mm": rounded(x.level_mm, MM_DIGITS),
                "deficit_mm": rounded(x.deficit_mm, MM_DIGITS),
                "reason": None if x.gap_mm is not None else _FAR,
            }
            for x in s.sextants
        ],
        "schedules": [
            {
                "dose_gy": rounded(x.dose_gy),
                "fractions": int(x.fractions),
                "constraint_id": x.constraint_id,
                "limit": rounded(x.limit),
                "required_separation_mm": rounded(x.required_separation_mm, MM_DIGITS),
                "interval_mm": rounded_pair(x.interval_mm),
                "reason": x.reason,
            }
            for x in s.schedules
        ],
    }


_FAR = f"the target is farther than {MAX_GAP_MM:g} mm"


def _map(gaps: GapMap) -> Document:
    deficit = gaps.deficit_mm
    return {
        "level_mm": rounded_all(gaps.level_mm, MM_DIGITS),
        "direction_deg": rounded_all(gaps.direction_deg, MM_DIGITS),
        "gap_mm": [rounded_all(row, MM_DIGITS) for row in gaps.gap_mm],
        "deficit_mm": None if deficit is None else [rounded_all(r, MM_DIGITS) for r in deficit],
        "reason": f"null: {_FAR}; deficit_mm as a whole is null without a required separation",
    }
