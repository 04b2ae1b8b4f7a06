"""Before and after surgery: what was achieved, and what the new plan got for it.

>>> from cordgap.phantom import spine_case
>>> case = spine_case(image=False)
>>> compare_cases(case, case).change.achieved_mm
0.0
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import numpy as np

from cordgap.analysis import CaseResult, Settings, analyze
from cordgap.case.case import Case
from cordgap.case.transform import RigidTransform
from cordgap.dvh.metrics import parse_metric
from cordgap.errors import Finding, GeometryMismatchError, OptionError, StructureError
from cordgap.separation.anatomy import Anatomy, survey
from cordgap.separation.change import Change, measure_change
from cordgap.separation.escc import EpiduralGrade
from cordgap.separation.result import Separation, Verdict

Expectation = Literal["enough", "within the interval", "not enough"]
_D0035 = parse_metric("D0.035cc[Gy]")


@dataclass(frozen=True)
class Prediction:
    """What was predicted before surgery for the separation achieved, and what the new plan got.

    ``expectation`` compares the achieved separation with the interval of the required one;
    ``agrees`` tells whether the new plan turned out so, None where that cannot be told.
    """

    required_separation_mm: float | None
    interval_mm: tuple[float, float] | None
    achieved_separation_mm: float
    expectation: Expectation | None
    predicted_cord_gy: float | None
    planned_cord_gy: float | None
    cord_verdict: Verdict
    coverage_verdict: Verdict
    agrees: bool | None
    reason: str | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two plans of one patient, and the change between them in the coordinates before."""

    before: CaseResult
    after: CaseResult
    registration: RigidTransform | None
    change: Change
    prediction: Prediction
    findings: tuple[Finding, ...]

    def _repr_html_(self) -> str:
        """What a notebook shows; the name of who draws it is all that a value knows of reports."""
        html: str = import_module("cordgap.report.notebook").comparison_html(self)
        return html

    @property
    def grades(self) -> tuple[EpiduralGrade | None, EpiduralGrade | None]:
        """Epidural grades before and after."""
        return self.before.escc, self.after.escc

    @property
    def exit_code(self) -> int:
        """That of the plan after."""
        return self.after.exit_code


def compare_cases(
    before: Case,
    after: Case,
    *,
    settings: Settings | None = None,
    settings_after: Settings | None = None,
    registration: RigidTransform | None = None,
) -> Comparison:
    """Compare the plan, or the contours, before surgery with those after it.

    Parameters
    ----------
    before, after : Case
        Of one patient; either may lack a dose.
    settings, settings_after : Settings, optional
        ``settings_after`` is ``settings`` where it is not given.
    registration : RigidTransform, optional
        Between the two frames of reference, where they are not the same.

    Raises
    ------
    OptionError
        If the cases are of different patients, or a registration is given that is not needed.
    GeometryMismatchError
        If nothing relates the frames of reference, or cord and levels do not match.
    StructureError
        If cord or target of either case cannot be used.
    """
    settings = settings or Settings()
    settings_after = settings_after or settings
    findings = list(patient_findings(before, after))
    to_before = relate_frames(before, after, registration)
    results = analyze(before, settings), analyze(after, settings_after)
    surveys = [_survey(result, word) for result, word in zip(results, ("PRE", "POST"), strict=True)]
    change = measure_change(surveys[0], surveys[1], to_before)
    findings += change.findings
    return Comparison(
        results[0],
        results[1],
        registration,
        change,
        _predict(results[0], results[1], change),
        tuple(findings),
    )


def patient_findings(before: Case, after: Case) -> tuple[Finding, ...]:
    """Refuse two patients; say so where it cannot be told.

    Raises
    ------
    OptionError
        Without a name: it says only which attribute differs.
    """
    known = []
    for key, word in (("patient_id", "patient ID"), ("birth_date", "birth date")):
        one, other = (c.identity.get(key, "").strip().casefold() for c in (before, after))
        if one and other and one != other:
            raise OptionError(
                f"PRE and POST are of different patients: their {word} differs",
                code="different-patients",
                action="give two plans of one patient",
            )
        known.append(bool(one and other))
    names = [c.identity.get("patient_name", "").strip().casefold() for c in (before, after)]
    if not known[0] and all(names):
        if names[0] != names[1]:
            raise OptionError(
                "PRE and POST are of different patients: their names differ, and no patient ID "
                "says otherwise",
                code="different-patients",
                action="give two plans of one patient",
            )
        known[0] = True
    if known[0]:
        return ()
    return (
        Finding(
            "patient-not-known",
            "whether PRE and POST are of one patient is not known: no patient ID in both",
            action="see that they are",
        ),
    )


def relate_frames(before: Case, after: Case, registration: RigidTransform | None) -> RigidTransform:
    """Return the way from the coordinates after to those before.

    Raises
    ------
    GeometryMismatchError, OptionError
    """
    old, new = before.frame_of_reference_uid or "", after.frame_of_reference_uid or ""
    if old and old == new:
        if registration is not None:
            raise OptionError("PRE and POST share one frame of reference: leave --registration out")
        return RigidTransform(new, old, np.eye(4))
    if registration is not None and old and new:
        return registration.between(new, old)
    missing = "a frame of reference is not stated" if not (old and new) else (
        "they have different frames of reference"
    )  # fmt: skip
    raise GeometryMismatchError(
        f"PRE and POST cannot be put together: {missing}; give the rigid DICOM Spatial "
        "Registration between them with --registration",
        code="frames-unrelated",
        action="export the registration of the two images",
    )


def _survey(result: CaseResult, word: str) -> Anatomy:
    if result.cord is None or result.target is None:
        raise StructureError(f"{word}: {result.separation_reason}", code="structure-unusable")
    settings = result.settings
    return survey(
        result.case,
        result.cord.structure,
        result.target.structure,
        max_mm=settings.max_mm,
        between=settings.between,
        ends=settings.ends,
    )


def _predict(before: CaseResult, after: CaseResult, change: Change) -> Prediction:
    s, new = before.separation, after.separation
    achieved = change.separation_after_mm
    required = None if s is None else s.required_separation_mm
    interval = None if s is None else s.interval_mm
    expectation: Expectation | None = None
    reason = None
    if required is None or interval is None:
        reason = f"nothing was predicted: {before.separation_reason or (s.reason if s else None)}"
    elif not _same_prescription(before, after):
        reason = "the new plan has another prescription than the prediction was made for"
    else:
        expectation = (
            "enough" if achieved >= interval[1]
            else "not enough" if achieved < interval[0]
            else "within the interval"
        )  # fmt: skip
    cord, coverage = _cord_verdict(after), _coverage_verdict(new)
    agrees = None
    if expectation in ("enough", "not enough") and "not evaluable" not in (cord, coverage):
        agrees = (expectation == "enough") == (cord == coverage == "met")
    elif expectation is not None and reason is None:
        reason = (
            "the achieved separation lies within the interval: either outcome agrees"
            if expectation == "within the interval"
            else "the goals of the new plan cannot be evaluated"
        )
    same = expectation is not None
    return Prediction(
        required,
        interval,
        achieved,
        expectation,
        _cord_at(s, achieved) if s is not None and same else None,
        _near_maximum_gy(after),
        cord,
        coverage,
        agrees,
        reason,
    )


def _same_prescription(before: CaseResult, after: CaseResult) -> bool:
    old, new = before.prescription, after.prescription
    if new is None:  # no plan yet: the prediction stands for what was prescribed
        return old is not None
    return old is not None and (old.dose_gy, old.fractions) == (new.dose_gy, new.fractions)


def _cord_at(s: Separation, separation_mm: float) -> float | None:
    """Cord dose that the model before predicts at a separation."""
    known = [
        (p.separation_mm, p.cord_gy)
        for p in s.curve
        if p.question == s.question and p.cord_gy is not None
    ]
    if len(known) < 2 or not known[0][0] <= separation_mm <= known[-1][0]:
        return None
    # Up to the present separation the dose is that of the plan; from there on it falls.
    present = s.separation_mm
    known = [(present, known[0][1]), *(k for k in known if k[0] > present)]
    x, y = np.array(known, dtype=np.float64).T
    return float(np.interp(separation_mm, x, y))


def _near_maximum_gy(result: CaseResult) -> float | None:
    cord = None if result.cord is None else result.cord.structure
    found = next((s for s in result.structures if s.structure is cord), None)
    if found is None or found.dvh is None or found.status != "ok":
        return None
    return _D0035.evaluate(found.dvh, None).value


def _cord_verdict(result: CaseResult) -> Verdict:
    rows = [g.verdict for g in result.separation.cord_goals] if result.separation else []
    return _worst(rows)


def _coverage_verdict(s: Separation | None) -> Verdict:
    return _worst([g.verdict for g in s.coverage_goals if g.headline] if s else [])


def _worst(verdicts: list[Verdict]) -> Verdict:
    if not verdicts or "not evaluable" in verdicts:
        return "not evaluable"
    return "exceeded" if "exceeded" in verdicts else "met"
