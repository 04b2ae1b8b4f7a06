"""What is doubtful about a case as a whole: coverage of the dose grid, its spacing, its dose."""

from __future__ import annotations

import numpy as np

from cordgap.analysis import CaseResult
from cordgap.case.case import Case, Prescription
from cordgap.case.structure import Structure
from cordgap.errors import Finding

# Above this spacing the estimate of separation is off by more than a third of a millimetre.
COARSE_SPACING_MM = 2.5
# Bias of the plan-gradient estimate in mm against the dose spacing in mm, measured on re-planned
# cases by down-sampling the dose (docs/separation.md).
_BIAS_MM = ((1.5, 0.11), (2.0, 0.22), (2.5, 0.34), (3.0, 0.51))
# A dose maximum below this share of the prescription means another course, or one fraction of it.
_LOWEST_MAXIMUM = 0.9
# A target dose above this multiple of the prescription means another unit or another course.
_HIGHEST_MAXIMUM = 3.0


def case_findings(
    case: Case,
    *,
    cord: Structure | None = None,
    target: Structure | None = None,
    prescription: Prescription | None = None,
) -> tuple[Finding, ...]:
    """Find what is doubtful about dose and structures taken together.

    Parameters
    ----------
    cord, target : Structure, optional
        The chosen structures, where they are known.
    prescription : Prescription, optional
    """
    if case.dose is None:
        return ()
    found = _spacing(case)
    for structure, word in ((cord, "cord"), (target, "target")):
        if structure is not None and structure.status == "ok":
            found += _coverage(case, structure, word)
    if prescription is not None:
        found += _maximum(case, prescription)
    return tuple(found)


def review(result: CaseResult) -> tuple[Finding, ...]:
    """Return the findings of a result with those about the whole case added."""
    more = case_findings(
        result.case,
        cord=result.cord.structure if result.cord else None,
        target=result.target.structure if result.target else None,
        prescription=result.prescription,
    )
    return tuple(dict.fromkeys((*result.findings, *more)))


def _spacing(case: Case) -> list[Finding]:
    assert case.dose is not None
    spacing = float(np.nanmax(case.dose.geometry.spacing_mm))
    if not spacing > COARSE_SPACING_MM:
        return []
    sizes, biases = zip(*_BIAS_MM, strict=True)
    bias = float(np.interp(spacing, sizes, biases))
    more = "at least " if spacing > sizes[-1] else "about "
    return [
        Finding(
            "coarse-dose-grid",
            f"the dose grid has {spacing:g} mm spacing; a required separation read from it is "
            f"{more}{bias:.1f} mm too large on average",
            found=f"{spacing:g} mm",
            expected=f"at most {COARSE_SPACING_MM:g} mm",
            action="calculate the dose on a finer grid",
        )
    ]


def _coverage(case: Case, structure: Structure, word: str) -> list[Finding]:
    assert case.dose is not None
    geometry = case.dose.geometry
    lower, upper = structure.bounds_mm
    room = np.r_[lower - geometry.lower_mm, geometry.upper_mm - upper]
    sides = ("right", "anterior", "inferior", "left", "posterior", "superior")
    short = [f"{s} {-r:.1f} mm" for s, r in zip(sides, room, strict=True) if r < -1e-3]
    if not short:
        return []
    return [
        Finding(
            f"{word}-outside-dose-grid",
            f"{structure.roi_name} reaches beyond the dose grid ({', '.join(short)}); what it gets "
            "there is not known",
            roi_name=structure.roi_name,
            expected="a dose grid that covers the structure",
            action="export the dose on a larger grid",
        )
    ]


def _maximum(case: Case, prescription: Prescription) -> list[Finding]:
    assert case.dose is not None
    highest = float(case.dose.values.max())
    share = highest / prescription.dose_gy
    if _LOWEST_MAXIMUM <= share <= _HIGHEST_MAXIMUM:
        return []
    what = "below" if share < 1 else "far above"
    return [
        Finding(
            "dose-maximum-implausible",
            f"the dose maximum is {highest:.2f} Gy, {what} the prescription of "
            f"{prescription.dose_gy:g} Gy in {prescription.fractions} fraction(s)",
            found=f"{highest:.2f} Gy",
            expected=f"{_LOWEST_MAXIMUM * prescription.dose_gy:.1f} Gy or more",
            action="see that dose and prescription are of the same course (all fractions)",
        )
    ]
