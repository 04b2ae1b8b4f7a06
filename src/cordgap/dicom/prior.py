"""Previous courses: a dose file or a number, placed in the coordinates of the plan.

A dose of the same frame of reference is taken as it is, one of another frame only through a rigid
Spatial Registration object; anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cordgap.case.case import InputFile
from cordgap.case.prior import DAYS_PER_MONTH, PriorCourse
from cordgap.case.transform import RigidTransform
from cordgap.dicom.discover import FileRecord
from cordgap.dicom.dose import read_one_dose
from cordgap.dicom.overrides import Overrides
from cordgap.dicom.registration import read_registration
from cordgap.dicom.select import FileOption, resolve
from cordgap.errors import CordgapError, DicomError, Finding, GeometryMismatchError, OptionError

# Doses that stand for a whole course by themselves.
_WHOLE = ("PLAN", "MULTI_PLAN", "PLAN_OVERVIEW")
_NUMBER = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(c?gy)\s*", re.I)
_BARE_NUMBER = re.compile(r"\s*[\d.,]+\s*")
_MONTHS = re.compile(r"\s*(\d+(?:\.\d*)?)\s*(?:mo|months?)\s*", re.I)
_GY = {"gy": 1.0, "cgy": 0.01}
# Beyond this a course is in cGy or nonsense.
_LARGEST_GY = 200.0
UNKNOWN = "unknown"


@dataclass(frozen=True)
class PriorRequest:
    """A previous course as it was asked for.

    Parameters
    ----------
    what : str
        A dose with its unit (``30Gy``, ``3000cGy``), or an RTDOSE: a path, or a name inside the
        folder.
    fractions : int
    when : str, optional
        A date (``2025-03-01``), an interval (``14mo``) or ``unknown``.
    """

    what: str
    fractions: int
    when: str = UNKNOWN

    @property
    def dose_gy(self) -> float | None:
        """The dose, where one is given in place of a file.

        Raises
        ------
        OptionError
            If a number has no unit, or is beyond any course.
        """
        if _BARE_NUMBER.fullmatch(self.what) and not Path(self.what).is_file():
            raise OptionError(
                f"--prior {self.what}: a dose needs its unit; write {self.what.strip()}Gy or "
                f"{self.what.strip()}cGy"
            )
        found = _NUMBER.fullmatch(self.what)
        if found is None:
            return None
        dose = float(found[1]) * _GY[found[2].lower()]
        if not 0 < dose <= _LARGEST_GY:
            raise OptionError(
                f"--prior {self.what}: found {dose:g} Gy, expected above 0 and at most "
                f"{_LARGEST_GY:g} Gy"
            )
        return dose

    def interval(self, plan_day: date | None) -> tuple[float | None, str | None]:
        """Return the months from the course to the plan, and where they come from.

        Raises
        ------
        OptionError
            If the text is no date, interval or ``unknown``, or lies after the plan.
        """
        text = self.when.strip()
        if text.lower() == UNKNOWN:
            return None, None
        if found := _MONTHS.fullmatch(text):
            return float(found[1]), "as given"
        try:
            day = date.fromisoformat(text)
        except ValueError:
            raise OptionError(
                f"--prior-date {self.when}: expected a date (2025-03-01), an interval (14mo) or "
                f"{UNKNOWN}"
            ) from None
        if plan_day is None:
            return None, None
        days = (plan_day - day).days
        if days < 0:
            raise OptionError(
                "--prior-date: the previous course lies after the date of the plan (RTPLAN); give "
                "the interval, such as 14mo, where dates were shifted"
            )
        return days / DAYS_PER_MONTH, "to the date of the RTPLAN"


@dataclass(frozen=True)
class PriorFiles:
    """The files of previous courses, found before the plan's own files are chosen."""

    requests: tuple[PriorRequest, ...]
    records: tuple[FileRecord | None, ...]

    @property
    def used(self) -> tuple[FileRecord, ...]:
        """The dose files."""
        return tuple(record for record in self.records if record is not None)


def find_priors(records: Sequence[FileRecord], requests: Sequence[PriorRequest]) -> PriorFiles:
    """Find the dose file of each request among the files of the folder, or by its path.

    Raises
    ------
    DicomError, AmbiguousInputError, OptionError
        When one is missing, of another kind, or named twice.
    """
    found = [
        None if r.dose_gy is not None else resolve(records, r.what, "rtdose", "--prior")
        for r in requests
    ]
    paths = [f.path.resolve() for f in found if f is not None]
    if len(set(paths)) < len(paths):
        raise OptionError("--prior: the same dose file was given twice; give it once")
    return PriorFiles(tuple(requests), tuple(found))


def read_priors(
    files: PriorFiles,
    *,
    struct: FileRecord,
    frame_uid: str | None,
    plan_day: date | None,
    registrations: Sequence[FileOption] = (),
    overrides: Overrides,
) -> tuple[tuple[PriorCourse, ...], tuple[InputFile, ...], tuple[Finding, ...]]:
    """Read the previous courses and place them in the coordinates of the plan.

    Parameters
    ----------
    files : PriorFiles
    struct : FileRecord
        The structure set, to compare patients.
    frame_uid : str or None
        Frame of reference of the plan.
    plan_day : date or None
        Of the RTPLAN.
    registrations : sequence of path
        Spatial Registration objects; the one that links the two frames is used.
    overrides : Overrides

    Raises
    ------
    GeometryMismatchError
        When a dose has another frame of reference and no registration links them.
    DicomError
        When a dose is not that of a whole course, or a file cannot be used.
    """
    courses, inputs, notes = list[PriorCourse](), list[InputFile](), list[Finding]()
    for request, record in zip(files.requests, files.records, strict=True):
        months, source = request.interval(plan_day)
        if record is None:
            dose_gy = request.dose_gy
            label = f"{dose_gy:g} Gy"
            courses.append(
                PriorCourse(
                    request.fractions, dose_gy=dose_gy, interval_months=months, source=label,
                    interval_source=source,
                )
            )  # fmt: skip
            continue
        _refuse_part(record)
        transform, reg = _placed(record, frame_uid, registrations, overrides, notes)
        if record.patient_key and struct.patient_key not in ("", record.patient_key):
            notes.append(_other_patient(record, struct))
        dose = read_one_dose(record.path)
        notes += [f for f in dose.findings if f.severity != "info"]
        courses.append(
            PriorCourse(
                request.fractions,
                dose=dose.grid,
                transform=transform,
                interval_months=months,
                source=record.name,
                interval_source=source,
            )
        )
        inputs.append(InputFile("prior", record.name, record.sop_instance_uid, path=record.path))
        if reg is not None:
            inputs.append(InputFile("registration", reg.name, "", path=reg))
    return tuple(courses), tuple(dict.fromkeys(inputs)), tuple(notes)


def _refuse_part(record: FileRecord) -> None:
    kind = record.dose_summation_type
    if kind not in _WHOLE:
        raise DicomError(
            f"--prior {record.name}: found a dose of type {kind or 'absent'}, expected "
            f"{', '.join(_WHOLE)}; export the dose of the whole course",
            code="dose-not-total",
            file=record.name,
            found=kind or "absent",
            expected="PLAN",
            action="export the dose of the whole course",
        )


def _placed(
    record: FileRecord,
    frame_uid: str | None,
    registrations: Sequence[FileOption],
    overrides: Overrides,
    notes: list[Finding],
) -> tuple[RigidTransform | None, Path | None]:
    """Way from the plan to the dose, None where they share their coordinates; and its file."""
    own = record.frame_of_reference_uids[0] if record.frame_of_reference_uids else None
    if own is not None and own == frame_uid:
        return None, None
    if own is not None and frame_uid is not None:
        refused: CordgapError | None = None
        for option in registrations:
            try:
                found = read_registration(option, frames=(frame_uid, own))
            except GeometryMismatchError as error:
                if error.code != "registration-other-frames":
                    raise
                refused = error
            else:
                return found, Path(option)
        if refused is not None:
            raise refused
    if overrides.ignore_frame_of_reference:
        notes.append(
            Finding(
                "frame-of-reference-overridden",
                f"the previous dose {record.name} and the plan have different frames of reference "
                "and were taken as one coordinate system, as asked for",
                file=record.name,
                action="look at the previous dose on the contours before using any number",
            )
        )
        return None, None
    found_words = "no frame of reference" if own is None else "another frame of reference"
    raise GeometryMismatchError(
        f"--prior {record.name}: states {found_words} than the plan; a sum needs the rigid "
        "registration of the two images: --registration FILE (a DICOM Spatial Registration object)",
        code="prior-not-registered",
        file=record.name,
        found=found_words,
        expected="the frame of reference of the plan, or a registration to it",
        action="give --registration FILE, or the course as a number such as --prior 30Gy",
    )


def _other_patient(record: FileRecord, struct: FileRecord) -> Finding:
    return Finding(
        "patient-id-differs",
        f"the previous dose {record.name} carries another patient identifier than {struct.name}",
        file=record.name,
        action="check that they are of one patient",
    )
