"""A learned falloff model as a document and as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from cordgap._version import __version__
from cordgap.errors import SAFETY_SENTENCES
from cordgap.report.numbers import MM_DIGITS, rounded, shown
from cordgap.report.parts import Document
from cordgap.report.scenario_parts import falloff_part
from cordgap.separation.coverage import HEADLINE_GOAL
from cordgap.separation.falloff import PopulationFalloff
from cordgap.separation.learned import SCHEMA, LearnedFalloff, LeftOut


def learned_document(
    found: LearnedFalloff, refused: Sequence[tuple[str, str | None]] = ()
) -> Document:
    """Return a learned model as ``cordgap.falloff/1``; ``refused`` are pairs (status, code)."""
    counted = Counter(refused)
    return {
        "schema": SCHEMA,
        "cordgap_version": __version__,
        "model": falloff_part(found.model),
        "published": falloff_part(PopulationFalloff()),
        "plans_read": len(found.readings),
        "plans_covering": found.covering,
        "too_few_for_a_spread": found.model.few or found.model.plans == 0,
        "plans": [
            {
                "plan_id": r.plan_id,
                "dose_gy": rounded(r.rx_gy),
                "fractions": r.fractions,
                "separation_mm": rounded(r.separation_mm, MM_DIGITS),
                "cord_fraction": rounded(r.cord_fraction),
                "gradient_per_mm": rounded(r.gradient_per_mm),
                "contact_fraction": rounded(r.contact_fraction),
                "covers": r.covers,
            }
            for r in found.readings
        ],
        "plans_not_used": [
            {"status": status, "code": code, "count": count}
            for (status, code), count in sorted(counted.items(), key=str)
        ],
        "leave_one_out": _errors(found.left_out),
        "leave_one_out_reason": found.reason,
        "safety": list(SAFETY_SENTENCES),
    }


def _errors(rows: Sequence[LeftOut]) -> Document | None:
    if not rows:
        return None
    percent = np.array([100 * (r.predicted_fraction - r.cord_fraction) for r in rows])
    mm = np.array([r.error_mm for r in rows])
    return {
        "plans": len(rows),
        "cord_bias_percent": rounded(percent.mean()),
        "cord_sd_percent": rounded(percent.std(ddof=1)) if len(rows) > 1 else None,
        "cord_worst_percent": rounded(percent[np.argmax(np.abs(percent))]),
        "bias_mm": rounded(mm.mean(), MM_DIGITS),
        "sd_mm": rounded(mm.std(ddof=1), MM_DIGITS) if len(rows) > 1 else None,
        "worst_mm": rounded(mm[np.argmax(np.abs(mm))], MM_DIGITS),
        "inside_range": rounded(np.mean([r.inside for r in rows])),
    }


def learned_lines(document: Document) -> list[str]:
    """Return a learned model as lines of text."""
    model, published = document["model"], document["published"]
    read, covering = document["plans_read"], document["plans_covering"]
    lines = [
        f"{read} plan(s) read, {covering} of them meet {HEADLINE_GOAL} and say what the cord gets "
        "at contact"
    ]
    for name, centre, ends, factor, unit in (
        ("cord at contact", "contact_fraction", "contact_range", 100, "% of the prescription"),
        ("gradient", "gradient_per_mm", "gradient_range_per_mm", 100, "% per mm"),
    ):
        own, other = model[ends], published[ends]
        lines.append(
            f"{name:<16}{shown(factor * model[centre])} ({shown(factor * own[0])} to "
            f"{shown(factor * own[1])}) {unit}; published {shown(factor * published[centre])} "
            f"({shown(factor * other[0])} to {shown(factor * other[1])})"
        )
    if document["too_few_for_a_spread"]:
        lines.append(
            "these are too few plans for a model of their own: the published centre is kept, and "
            "its range only widened to hold what they show"
        )
    errors = document["leave_one_out"]
    if errors is None:
        lines.append(f"leave-one-out error: not known, {document['leave_one_out_reason']}")
    else:
        lines.append(
            f"leave-one-out over {errors['plans']} plan(s): cord dose "
            f"{shown(errors['cord_bias_percent'])} ± {shown(errors['cord_sd_percent'])} % of the "
            f"prescription (worst {shown(errors['cord_worst_percent'])}), "
            f"{shown(errors['bias_mm'], 2)} ± {shown(errors['sd_mm'], 2)} mm (worst "
            f"{shown(errors['worst_mm'], 2)}); {shown(100 * errors['inside_range'], 0)} % lie "
            "inside the range"
        )
    return lines + [
        f"not used: {row['count']} {row['status']} ({row['code']})"
        for row in document["plans_not_used"]
    ]
