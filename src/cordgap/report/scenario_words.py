"""Delivery uncertainty, epidural grade and falloff model in words."""

from __future__ import annotations

from cordgap.report.numbers import shown, shown_range
from cordgap.separation.escc import GRADE_WORDS, EpiduralGrade
from cordgap.separation.falloff import PopulationFalloff
from cordgap.separation.scenarios import Scenarios


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
