"""What is doubtful about a case as a whole: coverage of the dose grid, its spacing, its dose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cordgap.analysis import CaseResult
from cordgap.case.case import Case, Prescription
from cordgap.case.grid import DoseGrid
from cordgap.case.structure import Structure
from cordgap.check.spikes import spike_findings
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.solid import Solid, build_solid
from cordgap.errors import CordgapError, Finding, Severity, StructureError
from cordgap.limits.constraint import PRV_MARGIN_MM
from cordgap.separation.anatomy import cord_length_findings, require_cord

# Above this spacing the estimate of separation is off by more than a third of a millimetre.
COARSE_SPACING_MM = 2.5
# Above this one it is off by more than a fifth: said, not warned of.
_NOTED_SPACING_MM = 2.0
# Bias of the plan-gradient estimate in mm against the dose spacing in mm, measured on re-planned
# cases by down-sampling the dose (docs/separation.md).
_BIAS_MM = ((1.5, 0.11), (2.0, 0.22), (2.5, 0.34), (3.0, 0.51))
# A dose maximum below this share of the prescription means another course, or one fraction of it.
_LOWEST_MAXIMUM = 0.9
# A target dose above this multiple of the prescription means another unit or another course.
_HIGHEST_MAXIMUM = 3.0
# Half of a target outside these shares of the prescription: dose and contours do not belong
# together, or the prescription is of another course.
_TARGET_MEDIAN = (0.7, 1.6)
# A dose grid that ends where the dose is still this share of its maximum was cut.
_CUT_SHARE = 0.5
# Gradients are read where the cord is, with this share of its samples above them.
_STEEP_SHARE = 0.05


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
    solids = {word: _solid(s) for word, s in (("cord", cord), ("target", target))}
    found: list[Finding] = []
    if solids["cord"] and solids["target"] and cord and target:
        found += _length(case, cord, target, solids["cord"], solids["target"])
    if case.dose is None:
        return tuple(found)
    found += _spacing(case.dose, solids["cord"])
    found += _cut(case.dose)
    for word, structure in (("cord", cord), ("target", target)):
        solid = solids[word]
        if structure is None or solid is None:
            continue
        found += _coverage(case.dose, structure, solid, word)
        found += spike_findings(structure, case.dose)
    if prescription is not None:
        found += _maximum(case.dose, prescription)
        if target is not None and solids["target"] is not None:
            found += _target_dose(case.dose, target, solids["target"], prescription)
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


def _solid(structure: Structure | None) -> Solid | None:
    if structure is None or structure.status != "ok":
        return None
    try:
        return build_solid(structure)
    except StructureError:
        return None


def _length(
    case: Case, cord: Structure, target: Structure, cord_solid: Solid, target_solid: Solid
) -> list[Finding]:
    """Whether the cord is contoured where the target is, and far enough beyond."""
    try:
        require_cord(case, cord, target, cord_solid, target_solid)
    except CordgapError as error:
        return [error.finding("warning")]
    return cord_length_findings(cord, target, cord_solid, target_solid)


def _spacing(dose: DoseGrid, cord: Solid | None) -> list[Finding]:
    spacing = float(np.nanmax(dose.geometry.spacing_mm))
    if not spacing > _NOTED_SPACING_MM:
        return []
    sizes, biases = zip(*_BIAS_MM, strict=True)
    bias = float(np.interp(spacing, sizes, biases))
    more = "at least " if spacing > sizes[-1] else "about "
    gradient = None if cord is None else _steepest_gy_per_mm(dose, cord)
    at_cord = ""
    if gradient is not None:
        at_cord = f" and the dose changes by up to {gradient:.2f} Gy/mm at the cord"
    severity: Severity = "warning" if spacing > COARSE_SPACING_MM else "info"
    return [
        Finding(
            "coarse-dose-grid",
            f"the dose grid has {spacing:g} mm spacing{at_cord}; a required separation read from "
            f"it is {more}{bias:.1f} mm too large on average",
            severity=severity,
            found=f"{spacing:g} mm",
            expected=f"at most {COARSE_SPACING_MM:g} mm",
            action="calculate the dose on a finer grid",
        )
    ]


def _steepest_gy_per_mm(dose: DoseGrid, cord: Solid) -> float | None:
    """Return the gradient that all but the steepest samples around the cord stay below."""
    lower, upper = cord.bounds_mm
    geometry = dose.geometry
    if (np.asarray(lower) > geometry.upper_mm).any() or (
        np.asarray(upper) < geometry.lower_mm
    ).any():
        return None
    block = dose.crop(lower, upper)
    squared = np.zeros(block.values.shape)
    for axis, positions in enumerate(block.geometry.axes):
        if positions.size > 1:
            squared += np.gradient(block.values, positions, axis=axis) ** 2
    return float(np.sqrt(np.quantile(squared, 1 - _STEEP_SHARE)))


def _cut(dose: DoseGrid) -> list[Finding]:
    """Whether the grid ends inside the high dose."""
    values = dose.values
    highest = float(values.max())
    sides = (("inferior", "superior"), ("anterior", "posterior"), ("right", "left"))
    cut = []
    for axis, names in enumerate(sides):
        if values.shape[axis] < 2:
            continue
        for index, name in ((0, names[0]), (-1, names[1])):
            share = float(np.take(values, index, axis=axis).max()) / highest if highest else 0.0
            if share >= _CUT_SHARE:
                cut.append(f"{name} {100 * share:.0f} %")
    if not cut:
        return []
    return [
        Finding(
            "dose-grid-cut",
            f"the dose grid ends where the dose is still high ({', '.join(cut)} of its maximum)",
            found=", ".join(cut),
            expected=f"less than {100 * _CUT_SHARE:.0f} % of the maximum at the edge of the grid",
            action="export the dose on a larger grid",
        )
    ]


def _coverage(dose: DoseGrid, structure: Structure, solid: Solid, word: str) -> list[Finding]:
    """Whether a structure lies within the dose grid, and with room around it."""
    geometry = dose.geometry
    lower, upper = structure.bounds_mm
    room = np.r_[lower - geometry.lower_mm, geometry.upper_mm - upper]
    sides = ("right", "anterior", "inferior", "left", "posterior", "superior")
    short = [f"{s} {-r:.1f} mm" for s, r in zip(sides, room, strict=True) if r < -1e-3]
    if short:
        inside = 100 * compute_dvh(solid, dose, uncertainty=False).covered_fraction
        return [
            Finding(
                f"{word}-outside-dose-grid",
                f"{structure.roi_name} reaches beyond the dose grid ({', '.join(short)}): "
                f"{inside:.1f} % of it lies inside; what the rest gets is not known",
                roi_name=structure.roi_name,
                found=f"{inside:.1f} % inside",
                expected="a dose grid that covers the structure",
                action="export the dose on a larger grid",
            )
        ]
    # A cord runs on beyond every grid: what counts is the room beside it.
    beside = [0, 1, 3, 4] if word == "cord" else list(range(6))
    spacing = np.nan_to_num(np.tile(geometry.spacing_mm, 2))
    needed: NDArray[np.float64] = PRV_MARGIN_MM + spacing
    tight = [f"{sides[i]} {room[i]:.1f} mm" for i in beside if room[i] < needed[i]]
    if not tight:
        return []
    return [
        Finding(
            "dose-grid-tight",
            f"the dose grid ends close to {structure.roi_name} ({', '.join(tight)})",
            severity="info",
            roi_name=structure.roi_name,
            found=", ".join(tight),
            expected=f"{PRV_MARGIN_MM:g} mm and one sample",
            action="export the dose on a larger grid",
        )
    ]


def _maximum(dose: DoseGrid, prescription: Prescription) -> list[Finding]:
    highest = float(dose.values.max())
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


def _target_dose(
    dose: DoseGrid, target: Structure, solid: Solid, prescription: Prescription
) -> list[Finding]:
    """Whether the target is where the dose is."""
    dvh = compute_dvh(solid, dose, uncertainty=False)
    if not dvh.is_complete:
        return []
    median = dvh.dose_of_hottest_gy(0.5 * dvh.covered_volume_cc)
    low, high = (share * prescription.dose_gy for share in _TARGET_MEDIAN)
    if low <= median <= high:
        return []
    return [
        Finding(
            "target-dose-implausible",
            f"half of {target.roi_name} gets {median:.1f} Gy or more, where "
            f"{prescription.dose_gy:g} Gy are prescribed: contours and dose may not belong "
            "together",
            roi_name=target.roi_name,
            found=f"{median:.1f} Gy",
            expected=f"{low:.1f} to {high:.1f} Gy",
            action="look at the target on the dose; see that the prescription is of this course",
        )
    ]
