"""Before and after surgery as a document and as text."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap
from typing import TYPE_CHECKING

from cordgap._version import __version__
from cordgap.errors import SAFETY_SENTENCES
from cordgap.report.numbers import (
    CC_DIGITS,
    MM_DIGITS,
    rounded,
    rounded_all,
    rounded_pair,
    shown,
    shown_range,
)
from cordgap.report.parts import Document, finding_part, inputs_part, prescription_part
from cordgap.report.scenario_parts import escc_part
from cordgap.report.scenario_words import escc_words
from cordgap.separation.gap import MAX_GAP_MM

if TYPE_CHECKING:
    from cordgap.analysis import CaseResult
    from cordgap.comparison import Comparison

_WIDTH = 96


def comparison_document(found: Comparison) -> Document:
    """Return what surgery achieved as ``cordgap.compare/1``."""
    change, prediction, canal = found.change, found.prediction, found.change.in_canal
    registration = found.registration
    return {
        "schema": "cordgap.compare/1",
        "cordgap_version": __version__,
        "before": _side(found.before),
        "after": _side(found.after),
        "registration": None
        if registration is None
        else {
            "shift_mm": rounded(registration.shift_mm, MM_DIGITS),
            "angle_deg": rounded(registration.angle_deg, MM_DIGITS),
            "matrix": [rounded_all(row, 8) for row in registration.matrix],
        },
        "registration_reason": None if registration else "one frame of reference",
        "separation_before_mm": rounded(change.separation_before_mm, MM_DIGITS),
        "separation_after_mm": rounded(change.separation_after_mm, MM_DIGITS),
        "achieved_mm": rounded(change.achieved_mm, MM_DIGITS),
        "sextants": [
            {
                "name": row.name,
                "before_mm": rounded(row.before_mm, MM_DIGITS),
                "after_mm": rounded(row.after_mm, MM_DIGITS),
                "achieved_mm": rounded(row.achieved_mm, MM_DIGITS),
                "at_least": row.at_least,
                "reason": row.reason,
            }
            for row in change.sextants
        ],
        "levels": [
            {
                "level_mm": rounded(row.level_mm, MM_DIGITS),
                "before_mm": rounded(row.before_mm, MM_DIGITS),
                "after_mm": rounded(row.after_mm, MM_DIGITS),
                "achieved_mm": rounded(row.achieved_mm, MM_DIGITS),
            }
            for row in change.levels
        ],
        "levels_null_reason": f"the target is farther than {MAX_GAP_MM:g} mm at that level",
        "map": {
            "level_mm": rounded_all(change.before.level_mm, MM_DIGITS),
            "direction_deg": rounded_all(change.before.direction_deg, MM_DIGITS),
            "before_mm": [rounded_all(row, MM_DIGITS) for row in change.before.gap_mm],
            "after_mm": [rounded_all(row, MM_DIGITS) for row in change.after.gap_mm],
        },
        "target_before_cc": rounded(change.target_before_cc, CC_DIGITS),
        "target_after_cc": rounded(change.target_after_cc, CC_DIGITS),
        "target_new_outside_cc": rounded(change.new_outside_cc, CC_DIGITS),
        "in_canal_before_cc": rounded(canal.before_cc, CC_DIGITS),
        "in_canal_after_cc": rounded(canal.after_cc, CC_DIGITS),
        "canal_of": canal.canal,
        "in_canal_reason": canal.reason,
        "cord_moved_mm": rounded(change.cord_moved_mm, MM_DIGITS),
        "prediction": {
            "required_separation_mm": rounded(prediction.required_separation_mm, MM_DIGITS),
            "interval_mm": rounded_pair(prediction.interval_mm),
            "achieved_separation_mm": rounded(prediction.achieved_separation_mm, MM_DIGITS),
            "expectation": prediction.expectation,
            "predicted_cord_gy": rounded(prediction.predicted_cord_gy),
            "planned_cord_gy": rounded(prediction.planned_cord_gy),
            "cord_verdict": prediction.cord_verdict,
            "coverage_verdict": prediction.coverage_verdict,
            "agrees": prediction.agrees,
            "reason": prediction.reason,
        },
        "exit_code": found.exit_code,
        "warnings": _warnings(found),
        "safety": list(SAFETY_SENTENCES),
    }


def _side(result: CaseResult) -> Document:
    s = result.separation
    return {
        "case_id": result.case.case_id,
        "inputs": inputs_part(result.case.inputs),
        "prescription": prescription_part(result.prescription),
        "cord": None if result.cord is None else result.cord.structure.roi_name,
        "target": None if result.target is None else result.target.structure.roi_name,
        "target_role": None if result.target is None else result.target.structure.role,
        "has_dose": result.case.dose is not None,
        "question": None if s is None else s.question,
        "required_separation_mm": None
        if s is None
        else rounded(s.required_separation_mm, MM_DIGITS),
        "interval_mm": None if s is None else rounded_pair(s.interval_mm),
        "reason": result.separation_reason if s is None else s.reason,
        "escc": escc_part(result.escc),
        "input_verdict": result.input_verdict,
    }


def _warnings(found: Comparison) -> list[Document]:
    sides = (("before", found.before.warnings), ("after", found.after.warnings))
    rows = [{"of": "both", **finding_part(f)} for f in found.findings if f.severity != "info"]
    return rows + [{"of": name, **finding_part(f)} for name, notes in sides for f in notes]


def comparison_lines(found: Comparison) -> list[str]:
    """Return what surgery achieved as lines of text."""
    change, canal = found.change, found.change.in_canal
    lines = wrap(
        f"{shown(change.achieved_mm, 1, 'mm')} achieved: the smallest gap was "
        f"{shown(change.separation_before_mm)} and is {shown(change.separation_after_mm, 1, 'mm')}"
        f"; {_required_words(found)}.",
        _WIDTH,
    )
    lines += ["", "by sextant: before, now, achieved (mm)"]
    for row in change.sextants:
        gain = shown(row.achieved_mm)
        gain = f"> {gain}" if row.at_least else gain
        lines.append(
            f"  {row.name:<20} {shown(row.before_mm):>6} {shown(row.after_mm):>6} {gain:>7}"
        )
    known = [row for row in change.levels if row.achieved_mm is not None]
    if known:
        least = min(known, key=lambda row: row.after_mm or 0.0)
        lines.append(
            f"  tightest level now z = {shown(least.level_mm, 1, 'mm')}: "
            f"{shown(least.before_mm)} before, {shown(least.after_mm, 1, 'mm')} now"
        )
    lines += ["", _canal_words(canal.before_cc, canal.after_cc, canal.canal, canal.reason)]
    lines.append(
        f"target {shown(change.target_before_cc, 2)} cc before, {shown(change.target_after_cc, 2)} "
        f"cc now; the middle of the cord moved by {shown(change.cord_moved_mm, 1, 'mm')}"
    )
    for word, grade in zip(("before", "now"), found.grades, strict=True):
        lines += wrap(f"{word}: {escc_words(grade)}", _WIDTH)
    lines += ["", *wrap(_prediction_words(found), _WIDTH)]
    rows = _warnings(found)
    lines += ["", f"warnings: {len(rows) or 'none'}"]
    lines += _indented(f"{row['of']}, {row['code']}: {row['message']}" for row in rows)
    return [*lines, "", *wrap(" ".join(SAFETY_SENTENCES), _WIDTH)]


def _indented(texts: Iterable[str]) -> list[str]:
    return [
        line
        for text in texts
        for line in wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="      ")
    ]


def _required_words(found: Comparison) -> str:
    prediction = found.prediction
    if prediction.required_separation_mm is None:
        return f"what was required is not known ({prediction.reason})"
    return (
        f"{shown(prediction.required_separation_mm)} ({shown_range(prediction.interval_mm)}) mm "
        "were predicted to be required"
    )


def _canal_words(
    before_cc: float | None, after_cc: float | None, canal: str | None, reason: str | None
) -> str:
    if after_cc is None:
        return f"tumour left in the canal: not known, {reason}"
    text = f"tumour left in the canal: {shown(after_cc, 2)} cc (canal as contoured {canal})"
    return f"{text}, {shown(before_cc, 2)} cc before" if before_cc is not None else text


def _prediction_words(found: Comparison) -> str:
    p = found.prediction
    parts = []
    if p.expectation is not None:
        parts.append(f"by the prediction the separation achieved is {p.expectation}")
    if p.predicted_cord_gy is not None:
        parts.append(f"predicted cord D0.035cc {shown(p.predicted_cord_gy, 1)} Gy")
    if p.planned_cord_gy is not None:
        parts.append(f"the new plan gives {shown(p.planned_cord_gy, 1)} Gy")
    parts.append(f"its cord goals: {p.cord_verdict}, its coverage: {p.coverage_verdict}")
    if p.agrees is not None:
        parts.append("prediction and plan agree" if p.agrees else "prediction and plan disagree")
    elif p.reason:
        parts.append(p.reason)
    return "; ".join(parts) + "."
