"""Parts of the separation document that show how the estimate was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordgap.report.numbers import CC_DIGITS, MM_DIGITS, rounded, rounded_all, rounded_pair
from cordgap.report.parts import Document

if TYPE_CHECKING:
    from cordgap.separation.result import Erosion, MethodRow, TargetLeft


def method_part(row: MethodRow) -> Document:
    """Return one estimator: whether it applies, what it says, or why not."""
    return {
        "method": row.method,
        "used": row.used,
        "applies": row.applies,
        "bound": row.bound,
        "required_separation_mm": rounded(row.required_separation_mm, MM_DIGITS),
        "interval_mm": rounded_pair(row.interval_mm),
        "reason": row.reason,
    }


def erosion_part(erosion: Erosion | None) -> Document | None:
    """Return the D95 of a receding target beside what Jakubovic 2019 published."""
    from cordgap.separation.erosion import PUBLISHED_GY_PER_MM, PUBLISHED_PLUS_MINUS

    if erosion is None:
        return None
    reason = None
    if erosion.rise_gy_per_mm is None:
        reason = "too little of the target lies within 8 mm of the cord to give a slope"
    return {
        "receded_mm": rounded_all(erosion.receded_mm, MM_DIGITS),
        "target_d95_bed10_gy": rounded_all(erosion.target_gy),
        "rim_d95_bed10_gy": rounded_all(erosion.rim_gy),
        "rise_gy_per_mm": rounded(erosion.rise_gy_per_mm),
        "published_gy_per_mm": PUBLISHED_GY_PER_MM,
        "published_plus_minus_gy_per_mm": PUBLISHED_PLUS_MINUS,
        "in_published_band": erosion.in_published_band,
        "reason": reason,
    }


def target_left_part(left: TargetLeft) -> Document:
    """Return the DVH of the target left at each separation, dose as planned."""
    return {
        "separation_mm": rounded_all(left.separation_mm, MM_DIGITS),
        "dose_gy": rounded_all(left.dose_gy),
        "volume_cc": [rounded_all(row, CC_DIGITS) for row in left.volume_cc],
        "reason": None if left.dose_gy.size else "no dose at the target",
    }
