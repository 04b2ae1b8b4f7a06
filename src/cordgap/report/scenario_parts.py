"""Delivery uncertainty, epidural grade and falloff model as parts of a document."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from cordgap._version import __version__
from cordgap.errors import SAFETY_SENTENCES
from cordgap.report.numbers import MM_DIGITS, rounded, rounded_all, rounded_pair
from cordgap.report.parts import Document

if TYPE_CHECKING:
    from cordgap.separation.escc import EpiduralGrade
    from cordgap.separation.falloff import PopulationFalloff
    from cordgap.separation.scenarios import Scenarios
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
    # Imported when asked for: without scenarios a document does not pay for their code.
    from cordgap.separation.scenarios import BAND_PERCENTS, PERCENTS

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
