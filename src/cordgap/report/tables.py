"""The JSON documents: plain dictionaries, versioned, absent is null with a reason beside it.

The schemas in ``report/schemas`` describe the same documents.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cordgap._version import __version__
from cordgap.case.case import Case, InputFile
from cordgap.errors import SAFETY_SENTENCES, CordgapError, Finding, verdict_of
from cordgap.report.estimate_parts import erosion_part, method_part, target_left_part
from cordgap.report.files import words_of
from cordgap.report.numbers import CC_DIGITS, MM_DIGITS, rounded, rounded_all, rounded_pair
from cordgap.report.parts import (
    DOSE_INTERPOLATION,
    Document,
    binding_levels_part,
    case_part,
    constraint_part,
    constraint_row_part,
    finding_part,
    gap_map_part,
    highest_dose_part,
    input_part,
    inputs_part,
    level_part,
    prescription_part,
    schedule_part,
    settings_part,
    sextant_part,
    structure_part,
    warning_parts,
)
from cordgap.report.reirradiation_parts import previous_parts
from cordgap.report.scenario_parts import NOT_ASKED, escc_part, falloff_part, scenarios_part

if TYPE_CHECKING:
    from cordgap.analysis import CaseResult
    from cordgap.dvh.solid import Between, Ends
    from cordgap.dvh.structures import StructureResult
    from cordgap.limits.constraint import Constraint
    from cordgap.limits.protocol import Protocol
    from cordgap.separation.result import Separation

__all__ = [
    "Document",
    "analysis_document",
    "check_document",
    "dvh_document",
    "error_document",
    "protocols_document",
    "separation_document",
    "to_json",
]

UNUSABLE_EXIT_CODE = 2


def to_json(document: Document) -> str:
    """Write a document as JSON text; a number that is not finite is an error."""
    return json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1)


def dvh_document(
    case: Case,
    structures: Sequence[StructureResult],
    findings: Iterable[Finding] = (),
    *,
    between: Between = "shape",
    ends: Ends = "half-slice",
    extras: Document | None = None,
) -> Document:
    """Return the DVHs and metrics of structures as ``cordgap.dvh/1``.

    Parameters
    ----------
    case : Case
    structures : sequence of StructureResult
    findings : iterable of Finding
        Those that are warnings or errors go into ``warnings``.
    between, ends : str
        How the solids were built.
    extras : dict, optional
        What was asked for besides: ``preset``, ``comparison``, ``indices``, ``dose_surfaces``
        (``report/dvh_parts.py``).
    """
    return {
        "schema": "cordgap.dvh/1",
        "cordgap_version": __version__,
        "settings": {
            "between": between,
            "ends": ends,
            "dose_interpolation": DOSE_INTERPOLATION,
        },
        "dose_type": case.dose_type if case.dose is not None else None,
        "inputs": inputs_part(case.inputs),
        "structures": [structure_part(s) for s in structures],
        "warnings": warning_parts(findings),
        "safety": list(SAFETY_SENTENCES),
        **(extras or {}),
    }


def separation_document(result: CaseResult) -> Document:
    """Return the separation as ``cordgap.separation/1``.

    Where none can be given, every number is null, ``status`` is ``not evaluable`` and ``reason``
    says why.
    """
    head: Document = {
        "schema": "cordgap.separation/1",
        "cordgap_version": result.cordgap_version,
        "dose_type": result.case.dose_type if result.case.dose is not None else None,
        "settings": settings_part(result),
        "prescription": prescription_part(result.prescription),
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
        "level": level_part(result),
        "escc": escc_part(result.escc),
        "escc_reason": None if result.escc else "cord and target cannot be compared",
        **previous_parts(result),
    }
    if result.separation is None:
        body = _no_separation(result.separation_reason or "no separation was estimated")
    else:
        body = _separation(result, result.separation)
    body |= {
        "falloff_model": falloff_part(result.settings.falloff),
        "scenarios": scenarios_part(result.scenarios),
        "scenarios_reason": None
        if result.scenarios
        else NOT_ASKED
        if result.settings.scenarios is None
        else result.separation_reason,
    }
    tail = {"warnings": warning_parts(result.findings), "safety": list(SAFETY_SENTENCES)}
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
        "settings": settings_part(result),
        "case": case_part(result, identify),
        "prescription": prescription_part(result.prescription),
        "input_verdict": result.input_verdict,
        "findings": [finding_part(f) for f in result.findings],
        "dvh": dvh_document(
            result.case,
            result.structures,
            structure_findings,
            between=result.settings.between,
            ends=result.settings.ends,
        ),
        "constraints": [constraint_row_part(c) for c in result.constraints],
        **previous_parts(result),
        "separation": None if result.separation is None else separation_document(result),
        "separation_reason": result.separation_reason,
        "exit_code": result.exit_code,
        "warnings": warning_parts(result.findings),
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
    return {
        "schema": "cordgap.check/1",
        "cordgap_version": __version__,
        "verdict": verdict_of(found),
        "findings": [finding_part(f) for f in found],
        "files_used": [input_part(f) | {"kind": f.kind} for f in used],
        "files_ignored": [{"file": file, "reason": reason} for file, reason in ignored],
        "second_calculation": second_calculation,
        "second_calculation_reason": None if second_calculation else second_calculation_reason,
        "safety": list(SAFETY_SENTENCES),
    }


def error_document(error: Exception) -> Document:
    """Return an error that stopped the program as ``cordgap.error/1``.

    The message of an error that is not cordgap's own is kept out: it may hold anything. Of one of
    the operating system the reason is kept without the path, which may hold a name.
    """
    detail = error.finding() if isinstance(error, CordgapError) else None
    code, message = "unexpected", "unexpected error; see the log"
    if detail is not None:
        code, message = detail.code, detail.message
    elif isinstance(error, OSError):
        code, message = "file-system", words_of(error)
    return {
        "schema": "cordgap.error/1",
        "cordgap_version": __version__,
        "error": {
            "type": type(error).__name__,
            "code": code,
            "message": message,
            "file": detail.file if detail else None,
            "roi_name": detail.roi_name if detail else None,
            "found": detail.found if detail else None,
            "expected": detail.expected if detail else None,
            "action": detail.action if detail else None,
        },
        "exit_code": UNUSABLE_EXIT_CODE,
    }


def protocols_document(
    protocols: Iterable[Protocol],
    *,
    comparison: Sequence[tuple[str, Constraint]] | None = None,
    structure: str | None = None,
) -> Document:
    """Return constraint tables with their sources as ``cordgap.protocols/1``.

    Parameters
    ----------
    protocols : iterable of Protocol
    comparison : sequence of (id of the table, row), optional
        The rows of one structure side by side, in place of the tables.
    structure : str, optional
        That structure.
    """
    return {
        "schema": "cordgap.protocols/1",
        "cordgap_version": __version__,
        "comparison": None
        if comparison is None
        else {
            "structure": structure,
            "rows": [{"protocol": name} | constraint_part(row) for name, row in comparison],
        },
        "protocols": []
        if comparison is not None
        else [
            {
                "id": p.id,
                "title": p.title,
                "year": p.year,
                "citation": p.citation,
                "doi": p.doi,
                "notes": p.notes,
                "inherits": p.inherits,
                "site": p.site,
                "date": p.date,
                "fractions": list(p.fractions),
                "constraints": [constraint_part(c) for c in p.constraints],
            }
            for p in protocols
        ],
    }


def _no_separation(reason: str) -> Document:
    absent = (
        "distance_from", "binding_constraint", "question", "method", "separation_mm", "overlap_cc",
        "penetration_mm", "separation_to_thecal_sac_mm", "closest_cord_point_mm",
        "closest_target_point_mm", "required_separation_mm", "interval_mm", "interval_covers",
        "additional_mm", "make_mm", "make_for_metric", "resection_cc",
        "resection_inside_canal_cc", "map", "target_left", "everywhere_mm",
        "everywhere_interval_mm",
    )  # fmt: skip
    empty: Document = {"cord_goals": [], "coverage_goals": [], "methods": [], "jakubovic": None}
    empty |= dict.fromkeys(absent)
    empty |= {"separation_to_thecal_sac_reason": reason, "resection_reason": reason}
    empty |= {"resection_inside_canal_reason": reason}
    empty |= {"status": "not evaluable", "reason": reason}
    lists = (
        "curve", "sextants", "binding_levels", "worst_levels_mm", "in_the_way", "schedules",
        "highest_doses",
    )  # fmt: skip
    return empty | {name: [] for name in lists}


def _separation(result: CaseResult, s: Separation) -> Document:
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
                "region": g.region,
                "source": g.source,
            }
            for g in s.coverage_goals
        ],
        "methods": [method_part(m) for m in s.methods],
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
        "make_for_metric": None if s.make_for is None else s.make_for.metric,
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
                "resection_inside_canal_cc": rounded(p.resection_inside_canal_cc, CC_DIGITS),
                "question": p.question,
                "cord_gy": rounded(p.cord_gy),
                "metrics": {name: rounded(value) for name, value in p.metrics.items()},
            }
            for p in s.curve
        ],
        "target_left": target_left_part(s.target_left),
        "jakubovic": erosion_part(s.erosion),
        "map": gap_map_part(s.map, _far()),
        "sextants": [sextant_part(x, _far()) for x in s.sextants],
        "binding_levels": binding_levels_part(result, s),
        "worst_levels_mm": rounded_all(s.worst_levels_mm, MM_DIGITS),
        "in_the_way": [
            {"name": x.name, "gap_mm": rounded(x.gap_mm, MM_DIGITS)} for x in s.in_the_way
        ],
        "everywhere_mm": rounded(s.everywhere_mm, MM_DIGITS),
        "everywhere_interval_mm": rounded_pair(s.everywhere_interval_mm),
        "schedules": [schedule_part(x) for x in s.schedules],
        "highest_doses": [highest_dose_part(x) for x in s.highest_doses],
    }


def _far() -> str:
    from cordgap.separation.gap import MAX_GAP_MM

    return f"the target is farther than {MAX_GAP_MM:g} mm"
