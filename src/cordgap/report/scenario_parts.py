"""Delivery uncertainty, epidural grade and falloff model as parts of a document and as text."""

from __future__ import annotations

from textwrap import wrap

from cordgap._version import __version__
from cordgap.errors import SAFETY_SENTENCES
from cordgap.report.numbers import MM_DIGITS, rounded, rounded_all, rounded_pair, shown, shown_range
from cordgap.report.parts import Document
from cordgap.separation.escc import GRADE_WORDS, EpiduralGrade
from cordgap.separation.falloff import PopulationFalloff
from cordgap.separation.scenarios import BAND_PERCENTS, PERCENTS, Scenarios
from cordgap.separation.uncertainty import ErrorPart, ScenarioModel

NOT_ASKED = "it was not asked for (--scenarios default, or --scenarios FILE)"


def model_part(model: ScenarioModel) -> Document:
    """Return the errors that scenarios are drawn from."""
    return {
        "source": model.source,
        "scenarios": model.scenarios,
        "seed": model.seed,
        "parts": [_error_part(part) for part in model.parts],
    }


def scenario_set_document(model: ScenarioModel) -> Document:
    """Return the errors that scenarios are drawn from as ``cordgap.scenarios/1``."""
    return {
        "schema": "cordgap.scenarios/1",
        "cordgap_version": __version__,
        **model_part(model),
        "total_sd_mm": rounded_all(model.total_sd_mm(1), MM_DIGITS),
        "safety": list(SAFETY_SENTENCES),
    }


def model_lines(model: ScenarioModel) -> list[str]:
    """Return the errors that scenarios are drawn from as lines of text."""
    lines = [
        f"{model.scenarios} scenarios, seed {model.seed}, from {model.source}",
        "one standard deviation: left-right, anterior-posterior, cranio-caudal",
        "",
    ]
    for part in model.parts:
        numbers = part.sd[:1] if part.name == "contour" else part.sd
        text = f"{part.name:<14}" + " ".join(f"{v:5.2f}" for v in numbers) + f" {part.unit}"
        if any(part.bias_mm):
            bias = " ".join(f"{v:g}" for v in part.bias_mm)
            text += f", bias {bias} mm (sign {part.bias_sign})"
        lines.append(f"{text}, once a {part.repeats}")
        if part.source:
            lines += wrap(part.source, 96, initial_indent="    ", subsequent_indent="    ")
    x, y, z = model.total_sd_mm(1)
    lines += ["", f"together, without rotation and bias: {x:.2f} {y:.2f} {z:.2f} mm"]
    return lines


def _error_part(part: ErrorPart) -> Document:
    return {
        "name": part.name,
        "unit": part.unit,
        "sd": rounded_all(part.sd, MM_DIGITS),
        "bias_mm": rounded_all(part.bias_mm, MM_DIGITS),
        "bias_sign": part.bias_sign,
        "repeats": part.repeats,
        "source": part.source,
    }


def scenarios_part(found: Scenarios | None) -> Document | None:
    """Return cord dose and required separation under delivery uncertainty."""
    if found is None:
        return None
    curve = found.curve
    return {
        "status": found.status,
        "reason": found.reason,
        "model": model_part(found.model),
        "roi_name": found.roi_name,
        "constraint_id": found.constraint_id,
        "limit_gy": rounded(found.limit_gy),
        "cells": found.cells,
        "cord_d0035cc_gy": {
            "as_planned": rounded(found.nominal_gy),
            "mean": None if found.dose_gy is None else rounded(found.dose_gy.mean()),
            "sd": None if found.dose_gy is None else rounded(found.dose_gy.std()),
            "percentiles": [
                {"percent": p, "dose_gy": rounded(found.percentile_gy(p))} for p in PERCENTS
            ],
        },
        "probability_kept_as_planned": rounded(found.kept_now),
        "required": [
            {
                "probability": row.probability,
                "required_separation_mm": rounded(row.required_separation_mm, MM_DIGITS),
                "interval_mm": rounded_pair(row.interval_mm),
                "additional_mm": rounded(row.additional_mm, MM_DIGITS),
                "make_mm": rounded(row.make_mm, MM_DIGITS),
                "reason": row.reason,
            }
            for row in found.rows
        ],
        "prv": [
            {
                "probability": row.probability,
                "dose_gy": rounded(row.dose_gy),
                "margin_mm": rounded(row.margin_mm, MM_DIGITS),
                "reason": row.reason,
            }
            for row in found.prv
        ],
        "curve": None
        if curve is None
        else {
            "separation_mm": rounded_all(curve.separation_mm, MM_DIGITS),
            "probability": rounded_all(curve.probability),
            "nominal_gy": rounded_all(curve.nominal_gy),
            "percents": list(BAND_PERCENTS),
            "dose_gy": [rounded_all(row) for row in curve.dose_gy],
        },
    }


def escc_part(grade: EpiduralGrade | None) -> Document | None:
    """Return the epidural grade, or what keeps the possible ones apart."""
    if grade is None:
        return None
    return {
        "scale": "ESCC (Bilsky 2010)",
        "grade": grade.grade,
        "status": "determined" if grade.grade else "not determinable",
        "possible": list(grade.possible),
        "reason": grade.reason,
        "level_mm": rounded(grade.level_mm, MM_DIGITS),
        "canal_depth_mm": rounded(grade.canal_depth_mm, MM_DIGITS),
        "sac_gap_mm": rounded(grade.sac_gap_mm, MM_DIGITS),
        "sac_pushed_mm": rounded(grade.sac_pushed_mm, MM_DIGITS),
        "cord_gap_mm": rounded(grade.cord_gap_mm, MM_DIGITS),
        "cord_pushed_mm": rounded(grade.cord_pushed_mm, MM_DIGITS),
        "csf_width_mm": rounded(grade.csf_width_mm, MM_DIGITS),
    }


def falloff_part(model: PopulationFalloff) -> Document:
    """Return the population falloff that answers without a plan."""
    return {
        "source": model.source,
        "plans": model.plans,
        "contact_fraction": rounded(model.contact_fraction),
        "contact_range": [rounded(model.contact_low), rounded(model.contact_high)],
        "gradient_per_mm": rounded(model.gradient_per_mm),
        "gradient_range_per_mm": [
            rounded(model.gradient_low_per_mm), rounded(model.gradient_high_per_mm)
        ],
    }  # fmt: skip


def escc_words(grade: EpiduralGrade | None) -> str:
    """Return the epidural grade as a line of text."""
    if grade is None:
        return "ESCC (Bilsky) grade: not determinable, cord and target cannot be compared"
    if grade.grade is not None:
        return (
            f"ESCC (Bilsky) grade {grade.grade} from the contours: {GRADE_WORDS[grade.grade]}; "
            "not a reading of the MRI"
        )
    left = " or ".join(grade.possible)
    return f"ESCC (Bilsky) grade not determinable from the contours ({left}): {grade.reason}"


def falloff_words(model: PopulationFalloff) -> str:
    """Return which falloff model answers without a plan."""
    if not model.plans:
        return "falloff: published plans (docs/separation.md); the range is wide and not validated"
    few = " (too few for a spread of their own: the published range is kept)" if model.few else ""
    return f"falloff: learned from {model.plans} plan(s){few}, {model.source}"


def scenario_lines(found: Scenarios) -> list[str]:
    """Return what delivery uncertainty does, as lines of text."""
    model = found.model
    lines = [
        f"{model.scenarios} scenarios, seed {model.seed}, spread from {model.source}: set-up, "
        "rotation, intrafraction, cord motion, registration, contour"
    ]
    if found.status != "ok" or found.dose_gy is None:
        return [*lines, f"not evaluable: {found.reason}"]
    band = found.percentile_gy(5) or 0.0, found.percentile_gy(95) or 0.0
    lines.append(
        f"cord D0.035cc {shown(found.nominal_gy, 2)} Gy as planned, {shown_range(band)} Gy "
        f"in 90 % of the scenarios (limit {shown(found.limit_gy, 1)} Gy, {found.constraint_id}); "
        f"as planned {shown(100 * (found.kept_now or 0.0), 0)} % keep the limit"
    )
    for row in found.rows:
        if row.required_separation_mm is None:
            lines.append(f"{100 * row.probability:.0f} % keep it: not known, {row.reason}")
        else:
            lines.append(
                f"{100 * row.probability:.0f} % keep it with {shown(row.required_separation_mm)} "
                f"mm ({shown_range(row.interval_mm)}); make {shown(row.make_mm)} mm"
            )
    for prv in found.prv:
        if prv.probability == 0.9:
            as_prv = shown(prv.margin_mm, 1, "mm") if prv.margin_mm is not None else prv.reason
            lines.append(
                f"the dose that 90 % stay below, {shown(prv.dose_gy, 1)} Gy, is that of a cord PRV "
                f"of {as_prv}"
            )
    return lines
