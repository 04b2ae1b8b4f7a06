"""Files -> Case: the whole of the reading in one screen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cordgap.case.case import Case, IgnoredFile, InputFile, Prescription
from cordgap.case.grid import CtImage
from cordgap.case.structure import Structure
from cordgap.dicom.dataset import open_dataset, reading, text
from cordgap.dicom.discover import Discovery, Progress, discover
from cordgap.dicom.dose_sum import read_dose
from cordgap.dicom.image import Image, read_image
from cordgap.dicom.overrides import NO_OVERRIDES, Overrides
from cordgap.dicom.plan import Plan, read_plan
from cordgap.dicom.prior import PriorRequest, find_priors, read_priors
from cordgap.dicom.select import FileOption, Selection, select_files
from cordgap.dicom.structures import Wanted, read_structures
from cordgap.errors import DicomError, Finding, GeometryMismatchError

# Without meaning once the user has given the prescription.
_ON_PRESCRIPTION = (
    "prescription-ambiguous",
    "prescription-beam-dose",
    "prescription-implausible",
    "prescription-missing",
    "rtplan-missing",
)
# Kinds of DICOM files named in one message.
_MAX_KINDS = 5
_IDENTITY = {
    "patient_name": "PatientName",
    "patient_id": "PatientID",
    "birth_date": "PatientBirthDate",
}


def read_case(
    path: Path | str | Discovery | None = None,
    *,
    rtstruct: FileOption | None = None,
    rtdose: FileOption | Sequence[FileOption] = (),
    rtplan: FileOption | None = None,
    wanted: Wanted | None = None,
    prescription: Prescription | None = None,
    need_dose: bool = True,
    with_image: bool = True,
    with_hashes: bool = True,
    identify: bool = False,
    overrides: Overrides = NO_OVERRIDES,
    priors: Sequence[PriorRequest] = (),
    registrations: Sequence[FileOption] = (),
    progress: Progress | None = None,
) -> Case:
    """Read the plan in a folder or ZIP file, or the plan made of single files.

    Parameters
    ----------
    path : folder or ZIP file, optional
        Searched with everything below it. None when the files are given. A Discovery stands for a
        folder that was searched before.
    rtstruct, rtdose, rtplan : path or name inside the folder, optional
        The files to use where several fit. Several doses are summed.
    wanted : collection of names, or callable, optional
        The structures to read; all when None.
    prescription : Prescription, optional
        Used in place of what the RTPLAN says.
    need_dose : bool
        Whether the absence of a dose is an error.
    with_image, with_hashes : bool
        Whether to look for CT slices, and to compute the SHA-256 of the files.
    identify : bool
        Whether to fill ``Case.identity`` with name, identifier and birth date.
    overrides : Overrides
        What the user takes responsibility for.
    priors : sequence of PriorRequest
        Previous courses; their dose files are not taken for the plan's.
    registrations : sequence of path
        Spatial Registration objects that place previous doses.
    progress : callable, optional
        Called with the number of files looked at, now and then.

    Returns
    -------
    Case
        Dose and CT are read from the files when they are needed; keep the files in place.

    Raises
    ------
    DicomError
        When a file is missing, truncated, inconsistent or of a kind that is not supported.
    AmbiguousInputError
        When several files fit; the message lists them and the option that chooses.
    GeometryMismatchError
        When dose and structures do not share a frame of reference, or the dose is oblique.
    StructureNotFoundError
        When a wanted structure is not in the structure set.
    """
    doses = (rtdose,) if isinstance(rtdose, str | Path) else tuple(rtdose)
    if path is None and (rtstruct is None or (need_dose and not doses)):
        raise DicomError(
            "give the folder of a plan, or --rtstruct FILE and --rtdose FILE",
            code="files-not-given",
        )
    if path is None:
        found = Discovery(())
    else:
        found = path if isinstance(path, Discovery) else discover(path, progress=progress)
    if path is not None and not found.records and rtstruct is None:
        raise DicomError(_nothing_found(found), code="no-rt-files")
    before = find_priors(found.records, priors)
    if before.used:
        found = replace(found, records=tuple(r for r in found.records if r not in before.used))
    files = select_files(
        found,
        rtstruct=rtstruct,
        rtdose=doses,
        rtplan=rtplan,
        need_dose=need_dose,
        overrides=overrides,
    )
    contoured = read_structures(files.rtstruct.path, wanted=wanted, counted=True)
    plan = read_plan(files.rtplan.path) if files.rtplan else Plan(None)
    dose = None
    if files.rtdose:
        dose_paths = [d.path for d in files.rtdose]
        dose = read_dose(dose_paths, factors=files.dose_factors, overrides=overrides)
    image = _read_image(found, files) if with_image else Image()
    frame = _frame_of_reference(files)
    structures, notes = contoured.structures, list[Finding]()
    if not overrides.ignore_frame_of_reference:
        structures, notes = _in_frame(structures, frame, files)
    structures, slab_notes = _with_thickness(structures, image.image)
    courses, prior_inputs, prior_notes = read_priors(
        before,
        struct=files.rtstruct,
        frame_uid=frame,
        plan_day=plan.day,
        registrations=registrations,
        overrides=overrides,
    )
    findings = (
        *found.findings,
        *files.findings,
        *contoured.findings,
        *notes,
        *slab_notes,
        *(dose.findings if dose else ()),
        *plan.findings,
        *image.findings,
        *prior_notes,
    )
    return Case(
        structures=structures,
        dose=dose.grid if dose else None,
        prescription=prescription or plan.prescription,
        image=image.image,
        dose_type=dose.dose_type if dose else "PHYSICAL",
        inputs=(
            *_inputs(files, with_hashes=with_hashes),
            *(_hashed(f) if with_hashes else f for f in prior_inputs),
        ),
        priors=courses,
        ignored=_ignored(found, files, image if with_image else None),
        findings=tuple(f for f in findings if not (prescription and f.code in _ON_PRESCRIPTION)),
        frame_of_reference_uid=frame,
        patient_position=plan.patient_position or image.patient_position,
        case_id=_case_id(files),
        identity=_identity(files.rtstruct.path) if identify else {},
    )


def _nothing_found(found: Discovery) -> str:
    unreadable = "".join(f"; {finding.message}" for finding in found.findings)
    others = sum(count for _, count in found.other_dicom)
    kinds = ", ".join(f"{count} {name}" for name, count in found.other_dicom[:_MAX_KINDS])
    return (
        f"the folder holds no DICOM RT files, but {others} other DICOM"
        + (f" ({kinds})" if kinds else "")
        + f" and {found.not_dicom} other files{unreadable}; expected an RTSTRUCT and an RTDOSE"
    )


def _ignored(found: Discovery, files: Selection, image: Image | None) -> tuple[IgnoredFile, ...]:
    """List what was found and not used, one line each for RT files, one a kind for the rest."""
    used = {files.rtstruct.path, *(d.path for d in files.rtdose)}
    used |= {files.rtplan.path} if files.rtplan else set()
    copies = {r.path for r in files.copies}
    reasons = {
        "rtstruct": "not the structure set of the dose that is used",
        "rtdose": "not the dose that is used",
        "rtplan": "not the plan of the dose that is used",
    }
    lines = [
        IgnoredFile(
            str(r),
            "written by cordgap from a plan"
            if r.derived
            else "holds the same object as another file"
            if r.path in copies
            else reasons[r.kind],
        )
        for r in found.records
        if r.kind != "ct" and r.path not in used
    ]
    lines += [
        IgnoredFile(f.file, "cannot be read")
        for f in found.findings
        if f.code == "file-unreadable" and f.file
    ]
    slices = len(found.of_kind("ct"))
    shown = image.image.geometry.shape[0] if image is not None and image.image is not None else 0
    if slices > shown:
        why = "not asked for" if image is None else "not the CT of the structure set"
        lines.append(IgnoredFile(f"{slices - shown} CT slice(s)", why))
    lines += [
        IgnoredFile(f"{count} {name}", "a kind of DICOM file that is not used")
        for name, count in found.other_dicom
    ]
    if found.not_dicom:
        lines.append(IgnoredFile(f"{found.not_dicom} other file(s)", "not DICOM"))
    return tuple(lines)


def _read_image(found: Discovery, files: Selection) -> Image:
    return read_image(
        [r.path for r in found.of_kind("ct")],
        frame_of_reference_uids=files.rtstruct.frame_of_reference_uids,
        series_uids=files.rtstruct.series_uids,
    )


def _frame_of_reference(files: Selection) -> str | None:
    for record in (*files.rtdose, files.rtstruct):
        if record.frame_of_reference_uids:
            return record.frame_of_reference_uids[0]
    return None


def _in_frame(
    structures: tuple[Structure, ...], frame: str | None, files: Selection
) -> tuple[tuple[Structure, ...], list[Finding]]:
    """Set aside the structures that were contoured on another image than the dose's."""
    other = [
        s for s in structures
        if frame and s.frame_of_reference_uid and s.frame_of_reference_uid != frame
    ]  # fmt: skip
    if not other:
        return structures, []
    if len(other) == len(structures):
        raise GeometryMismatchError(
            f"{files.rtstruct.name}: none of the structures that were asked for shares the frame "
            "of reference of the dose; export dose and structures of the same image",
            code="frame-of-reference-differs",
            file=files.rtstruct.name,
        )
    master = "the dose" if files.rtdose else "the first structure"
    reason = f"its frame of reference is not that of {master}"
    kept = tuple(
        replace(s, planes=(), status="unsupported", reason=reason) if s in other else s
        for s in structures
    )
    notes = [
        Finding(
            "structure-other-frame",
            f"{s.roi_name!r} was left out: {reason}",
            roi_name=s.roi_name,
            file=files.rtstruct.name,
        )
        for s in other
    ]
    return kept, notes


def _with_thickness(
    structures: tuple[Structure, ...], image: CtImage | None
) -> tuple[tuple[Structure, ...], list[Finding]]:
    """Give structures of a single plane the slice spacing of the CT where the file has none."""
    spacing = image.geometry.spacing_mm[2] if image is not None else float("nan")
    if not np.isfinite(spacing):
        return structures, []
    single = [s for s in structures if len(s.planes) == 1 and s.slab_thickness_mm is None]
    notes = [
        Finding(
            "slab-thickness-from-ct",
            f"{s.roi_name!r} has a single plane, taken as {spacing:g} mm thick (CT slice spacing)",
            severity="info",
            roi_name=s.roi_name,
        )
        for s in single
    ]
    return tuple(
        replace(s, slab_thickness_mm=spacing) if s in single else s for s in structures
    ), notes


def _inputs(files: Selection, *, with_hashes: bool) -> tuple[InputFile, ...]:
    used = [files.rtstruct, *files.rtdose, *([files.rtplan] if files.rtplan else [])]
    return tuple(
        InputFile(
            r.kind,
            r.name,
            r.sop_instance_uid,
            _sha256(r.path) if with_hashes else None,
            path=r.path,
        )
        for r in used
    )


def _hashed(file: InputFile) -> InputFile:
    return file if file.path is None else replace(file, sha256=_sha256(file.path))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _case_id(files: Selection) -> str:
    """Short identifier from UIDs, the same on every run."""
    first = files.rtdose[0] if files.rtdose else files.rtstruct
    words = [first.study_instance_uid, *(d.sop_instance_uid for d in files.rtdose or (first,))]
    return hashlib.sha256("|".join(words).encode()).hexdigest()[:10]


def _identity(path: Path) -> dict[str, str]:
    with reading(path):
        ds = open_dataset(path, tuple(_IDENTITY.values()))
        return {key: found for key, word in _IDENTITY.items() if (found := text(ds, word))}
