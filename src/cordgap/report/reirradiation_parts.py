"""Previous radiation and risk as parts of the JSON documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cordgap.case.case import InputFile
from cordgap.report.numbers import CC_DIGITS, rounded, rounded_all, rounded_down, rounded_pair
from cordgap.report.parts import DVH_STEP_GY, Document, input_part

if TYPE_CHECKING:
    from cordgap.analysis import CaseResult
    from cordgap.dvh.curve import DVH
    from cordgap.limits.courses import Course
    from cordgap.limits.reirradiation import ConditionResult, LevelTolerance, Reirradiation
    from cordgap.limits.risk import Risk


def previous_parts(result: CaseResult) -> Document:
    """Return what the documents say about previous radiation and about risk."""
    again, reason = result.reirradiation, None
    if again is None:
        reason = "no previous course was given (--prior)"
        if result.case.priors:
            reason = "the number of fractions of the new course, or the cord, is not usable"
    return {
        "reirradiation": None if again is None else _reirradiation(again, result.case.inputs),
        "reirradiation_reason": reason,
        "risk": None if result.risk is None else _risk(result.risk),
    }


def _reirradiation(found: Reirradiation, inputs: Sequence[InputFile]) -> Document:
    rules = found.rules
    recovered = found.recovered_eqd2_gy
    return {
        "source": {
            "id": rules.id,
            "title": rules.title,
            "source": rules.source,
            "alpha_beta_gy": rounded(rules.alpha_beta_gy),
            "notes": rules.notes,
        },
        "structure": rules.structure,
        "roi_name": found.on.roi_name,
        "stands_in": found.stands_in,
        "new_course": None if found.on.new is None else _course(found.on.new),
        "prior_courses": [_course(c) for c in found.on.courses],
        "conditions": [_condition(c) for c in found.conditions],
        "remaining": {
            "eqd2_gy": rounded(found.remaining.eqd2_gy),
            "binding": found.remaining.binding,
            "reason": found.remaining.reason,
            "limits": [
                {"fractions": n, "dose_gy": rounded_down(gy, 2)} for n, gy in found.limits_gy
            ],
        },
        "cord": {
            "roi_name": found.cord.roi_name,
            "eqd2_dvh": _dvh(found.cord.sum_dvh),
            "max_eqd2_gy": _maximum(found.cord.sum_dvh),
            "covered_fraction": None
            if found.cord.sum_dvh is None
            else rounded(found.cord.sum_dvh.covered_fraction),
        },
        "levels": [_level(x) for x in found.levels],
        "nieder": {
            "cumulative_bed_gy": rounded(found.nieder.cumulative_bed_gy),
            "highest_course_bed_gy": rounded(found.nieder.highest_course_bed_gy),
            "alpha_beta_gy": rounded(rules.nieder.alpha_beta_gy),
            "words": found.nieder.words,
            "source": rules.nieder.citation,
            "note": rules.nieder.note,
        },
        "other_alpha_beta": [
            {
                "alpha_beta_gy": rounded(gy),
                "source": citation,
                "cumulative_eqd2_gy": rounded(total),
                "new_eqd2_gy": rounded(new),
            }
            for gy, citation, total, new in found.other_alpha_beta
        ],
        "recovery": {
            "cumulative_eqd2_gy": rounded(recovered),
            "source": rules.recovery.citation,
            "reason": "compared with no limit: the conditions allow for no recovery"
            if recovered is not None
            else "not asked for (--recovery), or an interval or a dose is not known",
        },
        "series": [{"id": x.id, "words": x.words, "source": x.citation} for x in rules.series],
        "inputs": [
            input_part(f) | {"kind": f.kind} for f in inputs if f.kind in ("prior", "registration")
        ],
    }


def _course(c: Course) -> Document:
    return {
        "name": c.source,
        "fractions": int(c.fractions),
        "near_maximum_gy": rounded(c.near_maximum_gy),
        "max_gy": rounded(c.max_gy),
        "eqd2_gy": rounded(c.eqd2_gy),
        "plus_minus_eqd2_gy": rounded(c.plus_minus_eqd2_gy),
        "max_eqd2_gy": rounded(c.max_eqd2_gy),
        "bed_gy": rounded(c.bed_gy),
        "covered_fraction": rounded(c.covered_fraction),
        "interval_months": rounded(c.interval_months),
        "interval_source": c.interval_source,
    }


def _condition(c: ConditionResult) -> Document:
    return {
        "id": c.id,
        "words": c.words,
        "at_most": rounded(c.at_most),
        "at_least": rounded(c.at_least),
        "unit": c.unit,
        "value": rounded(c.value),
        "plus_minus": rounded(c.plus_minus),
        "voxel_value": rounded(c.voxel_value),
        "point_maximum_value": rounded(c.max_value),
        "verdict": c.verdict,
        "voxel_verdict": c.voxel_verdict,
        "within_uncertainty": c.within_uncertainty,
        "reason": c.reason,
    }


def _level(x: LevelTolerance) -> Document:
    return {
        "z_mm": rounded_pair(x.z_mm),
        "prior_eqd2_gy": rounded(x.prior_eqd2_gy),
        "new_eqd2_gy": rounded(x.new_eqd2_gy),
        "cumulative_eqd2_gy": rounded(x.cumulative_eqd2_gy),
        "remaining_eqd2_gy": rounded(x.remaining_eqd2_gy),
        "remaining_gy": rounded(x.remaining_gy),
        "reason": x.reason,
    }


def _maximum(dvh: DVH | None) -> float | None:
    return None if dvh is None or dvh.covered_volume_cc <= 0 else rounded(dvh.max_gy)


def _dvh(dvh: DVH | None) -> Document | None:
    if dvh is None or dvh.covered_volume_cc <= 0:
        return None
    doses, volumes = (rounded_all(v, CC_DIGITS) for v in dvh.resample(DVH_STEP_GY))
    return {"dose_gy": doses, "volume_cc": volumes}


def _risk(risk: Risk) -> Document:
    return {
        "roi_name": risk.roi_name,
        "structure": risk.role,
        "near_maximum_gy": rounded(risk.dose_gy),
        "fractions": risk.fractions,
        "regions": [
            {
                "id": x.id,
                "model": x.model,
                "eqd2_gy": rounded(x.value_gy),
                "threshold_eqd2_gy": rounded(x.threshold_gy),
                "alpha_beta_gy": rounded(x.alpha_beta_gy),
                "words": x.words,
                "caveat": x.caveat,
                "source": x.citation,
            }
            for x in risk.regions
        ],
        "seen": [{"id": x.id, "words": x.words, "source": x.citation} for x in risk.seen],
        "not_offered": risk.not_offered,
        "reason": risk.reason,
    }
