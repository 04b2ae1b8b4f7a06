"""RTPLAN -> prescription, beams that deliver dose, patient position. Nothing is guessed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from pydicom.dataset import Dataset

from cordgap.case.case import Prescription
from cordgap.dicom.dataset import is_cut, items, numbers, open_dataset, reading, text, whole_number
from cordgap.errors import DicomError, Finding

# Doses this close are the same prescription written with another number of digits.
SAME_DOSE_GY = 0.005
# Above this a prescription is in cGy or nonsense; total courses stay below 100 Gy.
MAX_PRESCRIPTION_GY = 150.0
# The dose of the beams at their reference point and the prescription differ by normalisation.
BEAM_DOSE_TOLERANCE = 0.1
BEAM_DOSE_ROUND_OFF = 0.005
_POINTS = ("COORDINATES", "POINT")


@dataclass(frozen=True)
class Plan:
    """What an RTPLAN says.

    ``prescription`` is None where the file states none, or several; the findings say which.
    """

    prescription: Prescription | None
    patient_position: str | None = None
    day: date | None = None
    findings: tuple[Finding, ...] = ()


def read_plan(path: Path) -> Plan:
    """Read prescription and patient position of a plan.

    The dose is TargetPrescriptionDose of the dose references of type TARGET; points
    (COORDINATES) count only where no site or volume has one. Several different doses, or several
    fraction groups, leave the prescription open.
    """
    keywords = (
        "DoseReferenceSequence", "FractionGroupSequence", "PatientSetupSequence", "RTPlanDate",
    )  # fmt: skip
    with reading(path):
        ds = open_dataset(path, keywords)
        _refuse_truncated(ds, path.name)
        doses = _target_doses(ds, path.name)
        fractions = [
            count
            for group in items(ds, "FractionGroupSequence")
            if (count := whole_number(group, "NumberOfFractionsPlanned")) is not None and count > 0
        ]
        groups = len(items(ds, "FractionGroupSequence"))
        beam_gy = _beam_dose_gy(ds)
        day = _date(text(ds, "RTPlanDate"))
        setups = {text(setup, "PatientPosition") for setup in items(ds, "PatientSetupSequence")}
    prescription, findings = _prescription(doses, fractions, groups, path.name)
    if prescription is not None:
        findings += _against_beams(prescription, beam_gy, path.name)
    position = next(iter(setups)) if len(setups) == 1 else ""
    return Plan(prescription, position or None, day, tuple(findings))


@dataclass(frozen=True)
class PlanLabels:
    """Who made a plan, for which machine, when. They identify: never shown as they are."""

    machine: str = ""
    planner: str = ""
    day: date | None = None


def read_labels(path: Path) -> PlanLabels:
    """Read machine, planner and date of a plan; what is absent is empty."""
    with reading(path):
        ds = open_dataset(path, ("BeamSequence", "OperatorsName", "RTPlanDate"))
        machines = {text(beam, "TreatmentMachineName") for beam in items(ds, "BeamSequence")}
        machine = next(iter(machines)) if len(machines) == 1 else ""
        return PlanLabels(machine, text(ds, "OperatorsName"), _date(text(ds, "RTPlanDate")))


def _date(value: str) -> date | None:
    """Read a DICOM date; None where it is absent or none."""
    try:
        return datetime.strptime(value, "%Y%m%d").date()
    except ValueError:
        return None


def _refuse_truncated(ds: Dataset, file: str) -> None:
    if is_cut(ds):
        raise DicomError(
            f"{file}: the plan is truncated; export it again", code="rtplan-truncated", file=file
        )


def _target_doses(ds: Dataset, file: str) -> list[tuple[str, float]]:
    """Return (name, dose in Gy) of each target, points only where nothing else has a dose.

    Targets are numbered: DoseReferenceDescription is free text and may name the patient.
    """
    found: list[tuple[bool, str, float]] = []
    for reference in items(ds, "DoseReferenceSequence"):
        if text(reference, "DoseReferenceType").upper() != "TARGET":
            continue
        try:
            value = numbers(reference, "TargetPrescriptionDose")
        except DicomError as error:
            raise DicomError(
                f"{file}: {error}; export the plan again", code="rtplan-number", file=file
            ) from error
        if value is None or not value[0] > 0:
            continue
        is_point = text(reference, "DoseReferenceStructureType").upper() in _POINTS
        found.append((is_point, f"target {len(found) + 1}", value[0]))
    areas = [(name, dose) for is_point, name, dose in found if not is_point]
    return areas or [(name, dose) for _, name, dose in found]


def _prescription(
    doses: list[tuple[str, float]], fractions: list[int], groups: int, file: str
) -> tuple[Prescription | None, list[Finding]]:
    action = "give the prescription with --rx and --fractions"
    if not doses or not fractions:
        absent = " and ".join(
            word
            for word, there in (("target dose", doses), ("number of fractions", fractions))
            if not there
        )
        return None, [
            Finding(
                "prescription-missing", f"the plan states no {absent}", file=file, action=action
            )
        ]
    values = [dose for _, dose in doses]
    if max(values) > MAX_PRESCRIPTION_GY:
        return None, [
            Finding(
                "prescription-implausible",
                f"the plan states a target dose of {max(values):g} Gy, which was not used",
                file=file,
                expected=f"at most {MAX_PRESCRIPTION_GY:g} Gy",
                action=action,
            )
        ]
    listed = ", ".join(f"{name} {dose:g} Gy" for name, dose in doses)
    if max(values) - min(values) > SAME_DOSE_GY:
        return None, [
            Finding(
                "prescription-ambiguous",
                f"the plan states several target doses: {listed}",
                file=file,
                found=listed,
                action=action,
            )
        ]
    if groups > 1:
        return None, [
            Finding(
                "prescription-ambiguous",
                f"the plan has {groups} fraction groups of "
                f"{' and '.join(map(str, fractions))} fractions; target dose: {listed}",
                file=file,
                action=action,
            )
        ]
    return Prescription(values[0], fractions[0], "RTPLAN"), []


def _beam_dose_gy(ds: Dataset) -> float | None:
    """Return the sum of BeamDose over the beams of the only fraction group, in Gy a fraction."""
    groups = items(ds, "FractionGroupSequence")
    if len(groups) != 1:
        return None
    total = 0.0
    for beam in items(groups[0], "ReferencedBeamSequence"):
        try:
            dose = numbers(beam, "BeamDose")
        except DicomError:
            return None
        total += dose[0] if dose else 0.0
    return total or None


def _against_beams(prescription: Prescription, beam_gy: float | None, file: str) -> list[Finding]:
    """Compare the prescription with what the beams say; either may be wrong."""
    if beam_gy is None:
        return []
    course_gy = beam_gy * prescription.fractions
    apart = abs(course_gy - prescription.dose_gy) / prescription.dose_gy
    if apart <= BEAM_DOSE_ROUND_OFF:
        return []
    return [
        Finding(
            "prescription-beam-dose",
            f"the beams of the plan give {beam_gy:g} Gy in each of {prescription.fractions} "
            f"fraction(s), which makes {course_gy:g} Gy; prescribed are "
            f"{prescription.dose_gy:g} Gy",
            severity="warning" if apart > BEAM_DOSE_TOLERANCE else "info",
            file=file,
            found=f"{course_gy:g} Gy",
            expected=f"{prescription.dose_gy:g} Gy",
            action="check dose and number of fractions of the prescription",
        )
    ]


def delivered_beams(path: Path) -> tuple[int, ...]:
    """Return the numbers of the beams of a plan that deliver dose (set-up beams do not)."""
    with reading(path):
        ds = open_dataset(path, ("BeamSequence", "IonBeamSequence", "FractionGroupSequence"))
        _refuse_truncated(ds, path.name)
        beams = items(ds, "BeamSequence") or items(ds, "IonBeamSequence")
        setup = {
            whole_number(beam, "BeamNumber")
            for beam in beams
            if text(beam, "TreatmentDeliveryType").upper() == "SETUP"
        }
        used = [
            number
            for group in items(ds, "FractionGroupSequence")
            for beam in items(group, "ReferencedBeamSequence")
            if (number := whole_number(beam, "ReferencedBeamNumber")) is not None
        ]
        every = used or [n for beam in beams if (n := whole_number(beam, "BeamNumber")) is not None]
    return tuple(sorted({number for number in every if number not in setup}))


def fraction_groups(path: Path) -> dict[int, int | None]:
    """Return the number of fractions of each fraction group of a plan, by its number."""
    with reading(path):
        ds = open_dataset(path, ("FractionGroupSequence",))
        _refuse_truncated(ds, path.name)
        groups = {}
        for index, group in enumerate(items(ds, "FractionGroupSequence"), start=1):
            number = whole_number(group, "FractionGroupNumber")
            groups[index if number is None else number] = whole_number(
                group, "NumberOfFractionsPlanned"
            )
    return groups
