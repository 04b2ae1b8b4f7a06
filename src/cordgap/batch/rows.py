"""A result as rows of the store (tables.py says what each column means)."""

from __future__ import annotations

from typing import Any

from cordgap.analysis import CaseResult
from cordgap.errors import CordgapError
from cordgap.report.numbers import CC_DIGITS, MM_DIGITS, rounded
from cordgap.separation.learned import falloff_of

Document = dict[str, Any]


def result_rows(result: CaseResult, rows: Document) -> Document:
    """Return the rows of all tables of one analysis; ``rows`` holds its row of ``plans``."""
    rx = result.prescription
    rows["plans"][0] |= {
        "exceeded": any(c.verdict == "exceeded" for c in result.constraints if c.decides),
        "evaluable": result.exit_code != 3,
        "input_verdict": result.input_verdict,
        "dose_gy": None if rx is None else rounded(rx.dose_gy),
        "fractions": None if rx is None else int(rx.fractions),
        "dose_type": result.case.dose_type,
    }
    made = {
        "structures": _structures(result),
        "metrics": _metrics(result),
        "constraints": _constraints(result),
        "separations": _separation(result),
        "schedules": _schedules(result),
        "falloff": _falloff(result),
        "findings": [
            {"code": f.code, "severity": f.severity, "roi_name": f.roi_name, "message": f.message}
            for f in result.findings
        ],
    }
    name = {key: rows["plans"][0][key] for key in ("result_id", "plan_id")}
    return rows | {table: [name | row for row in part] for table, part in made.items()}


def _structures(result: CaseResult) -> list[Document]:
    return [
        {
            "roi_number": int(s.structure.roi_number),
            "roi_name": s.structure.roi_name,
            "role": s.structure.role,
            "status": s.status,
            "reason": s.reason,
            "volume_cc": rounded(s.volume_cc, CC_DIGITS),
            "volume_in_dose_grid_cc": s.dvh and rounded(s.dvh.covered_volume_cc, CC_DIGITS),
            "min_gy": s.dvh and rounded(s.dvh.min_gy),
            "mean_gy": s.dvh and rounded(s.dvh.mean_gy),
            "max_gy": s.dvh and rounded(s.dvh.max_gy),
        }
        for s in result.structures
    ]


def _metrics(result: CaseResult) -> list[Document]:
    return [
        {
            "roi_number": int(s.structure.roi_number),
            "roi_name": s.structure.roi_name,
            "role": s.structure.role,
            "metric": name,
            "value": rounded(m.value),
            "plus_minus": rounded(m.plus_minus),
            "bound": m.bound,
            "reason": m.reason,
        }
        for s in result.structures
        for name, m in s.metrics.items()
    ]


def _constraints(result: CaseResult) -> list[Document]:
    return [
        {
            "constraint_id": c.id,
            "structure": c.structure,
            "roi_name": c.roi_name,
            "metric": c.metric_evaluated,
            "limit_value": rounded(c.limit),
            "value": rounded(c.value),
            "plus_minus": rounded(c.plus_minus),
            "headroom": rounded(c.headroom),
            "unit": c.unit,
            "verdict": c.verdict,
            "within_uncertainty": c.within_uncertainty,
            "decides": c.decides,
            "reason": c.reason,
        }
        for c in result.constraints
    ]


def _separation(result: CaseResult) -> list[Document]:
    s = result.separation
    if s is None:
        return []
    low, high = s.interval_mm or (None, None)
    headline = next((g for g in s.coverage_goals if g.headline), None)
    rooms = [g.headroom for g in s.cord_goals if g.headroom is not None]
    cord = next(
        (r for r in result.structures if result.cord and r.structure is result.cord.structure), None
    )
    hottest = None if cord is None else cord.metrics.get("D0.035cc[Gy]")
    return [
        {
            "cord": s.cord_roi_name,
            "target": s.target_roi_name,
            "target_role": s.target_role,
            "distance_from": s.distance_from,
            "question": s.question,
            "method": s.method,
            "status": s.status,
            "reason": s.reason,
            "separation_mm": rounded(s.separation_mm, MM_DIGITS),
            "required_separation_mm": rounded(s.required_separation_mm, MM_DIGITS),
            "required_low_mm": rounded(low, MM_DIGITS),
            "required_high_mm": rounded(high, MM_DIGITS),
            "additional_mm": rounded(s.additional_mm, MM_DIGITS),
            "make_mm": rounded(s.make_mm, MM_DIGITS),
            "overlap_cc": rounded(s.overlap_cc, CC_DIGITS),
            "resection_cc": rounded(s.resection_cc, CC_DIGITS),
            "binding_constraint": s.binding_constraint,
            "cord_d0035cc_gy": hottest and rounded(hottest.value),
            "cord_headroom": rounded(min(rooms)) if rooms else None,
            "coverage_metric": headline and headline.metric,
            "coverage_value": headline and rounded(headline.value),
            "coverage_goal": headline and rounded(headline.at_least),
            "coverage_verdict": headline and headline.verdict,
        }
    ]


def _schedules(result: CaseResult) -> list[Document]:
    if result.separation is None:
        return []
    rows = []
    for x in result.separation.schedules:
        low, high = x.interval_mm or (None, None)
        rows.append(
            {
                "dose_gy": rounded(x.dose_gy),
                "fractions": int(x.fractions),
                "constraint_id": x.constraint_id,
                "required_separation_mm": rounded(x.required_separation_mm, MM_DIGITS),
                "required_low_mm": rounded(low, MM_DIGITS),
                "required_high_mm": rounded(high, MM_DIGITS),
                "question": x.question,
                "reason": x.reason,
            }
        )
    return rows


def _falloff(result: CaseResult) -> list[Document]:
    """Reading of the falloff near the cord; a plan that says nothing about it has no row."""
    cord, target, rx = result.cord, result.target, result.prescription
    if result.anatomy is None or cord is None or target is None or rx is None:
        return []
    case = result.case
    if case.dose is None or case.dose_type != "PHYSICAL":
        return []
    if (cord.structure.role, target.structure.role) != ("cord", "gtv"):
        return []
    try:
        found = falloff_of(case, result.anatomy, rx)
    except CordgapError:
        return []
    return [
        {
            "separation_mm": rounded(found.separation_mm, MM_DIGITS),
            "cord_fraction": rounded(found.cord_fraction),
            "gradient_per_mm": rounded(found.gradient_per_mm),
            "contact_fraction": rounded(found.contact_fraction),
            "covers": found.covers,
        }
    ]
