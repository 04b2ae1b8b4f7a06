"""Coverage of a target that is taken away from the cord in steps, the dose as planned.

What Jakubovic 2019 did by hand in ten patients after separation surgery: the epidural GTV was
shrunk away from the cord in steps up to 6 mm and its D95 read again, as BED with alpha/beta 10 Gy.
"""

from __future__ import annotations

import numpy as np

from cordgap.case.case import Prescription
from cordgap.dvh.metrics import parse_metric
from cordgap.separation.anatomy import Anatomy
from cordgap.separation.resect import TargetCells
from cordgap.separation.result import Erosion

ALPHA_BETA_GY = 10.0
STEP_MM = 1.0
LAST_MM = 6.0
# D95 of the epidural GTV rose by 0.88 +- 0.09 Gy10 per mm (Neurosurgery 2019;84:1242-50).
PUBLISHED_GY_PER_MM = 0.88
PUBLISHED_PLUS_MINUS = 0.09
_D95 = parse_metric("D95%[Gy]")
_MIN_STEPS = 3


def erode(anatomy: Anatomy, prescription: Prescription | None) -> Erosion | None:
    """Read the D95 of target and rim as both recede from the cord; None without a dose."""
    if anatomy.dose is None or prescription is None:
        return None
    steps = np.arange(0.0, LAST_MM + STEP_MM / 2, STEP_MM)
    target = _bed(anatomy.cells, steps, anatomy.gap.separation_mm, prescription)
    rim = _bed(anatomy.rim, steps, anatomy.gap.separation_mm, prescription)
    known = [(x, y) for x, y in zip(steps, rim, strict=True) if y is not None]
    rise = None
    if len(known) >= _MIN_STEPS:
        x, y = np.array(known).T
        rise = float(np.polyfit(x, y, 1)[0])
    return Erosion(
        receded_mm=tuple(float(s) for s in steps),
        target_gy=target,
        rim_gy=rim,
        rise_gy_per_mm=rise,
        in_published_band=None
        if rise is None
        else abs(rise - PUBLISHED_GY_PER_MM) <= PUBLISHED_PLUS_MINUS,
    )


def _bed(
    cells: TargetCells, steps: np.ndarray, present_mm: float, prescription: Prescription
) -> tuple[float | None, ...]:
    found: list[float | None] = []
    for step in steps:
        gy = cells.coverage(_D95, present_mm + float(step), prescription.dose_gy)
        per_fraction = None if gy is None else gy / prescription.fractions
        bed = (
            None if gy is None or per_fraction is None else gy * (1 + per_fraction / ALPHA_BETA_GY)
        )
        found.append(bed)
    return tuple(found)
