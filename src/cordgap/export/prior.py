"""A previous course as DICOM: its RTDOSE, and the registration that places it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from cordgap.case.case import Case
from cordgap.case.grid import DoseGrid
from cordgap.case.transform import RigidTransform
from cordgap.errors import OptionError
from cordgap.export.plan import STUDY_DATE, STUDY_TIME, CaseWriter

SPATIAL_REGISTRATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.1"


@dataclass(frozen=True)
class WrittenPrior:
    """Where the files of a previous course are."""

    rtdose: Path
    registration: Path | None


def write_prior(
    case: Case,
    dose: DoseGrid,
    folder: str | Path,
    *,
    transform: RigidTransform | None = None,
    patient_id: str = "CORDGAP",
    name: str = "PRIOR",
) -> WrittenPrior:
    """Write a previous dose as ``NAME.dcm``, and its registration as ``NAME_REG.dcm``.

    Parameters
    ----------
    case : Case
        The plan, for its frame of reference.
    dose : DoseGrid
        Of the whole previous course, in its own coordinates.
    folder : path
        Made if missing.
    transform : RigidTransform, optional
        From the plan's frame of reference to that of the dose; without it they are the same.
    patient_id : str
        Made for phantoms: never a real one.
    name : str
        Of the files.

    Returns
    -------
    WrittenPrior

    Raises
    ------
    OptionError
        If the transform does not start at the frame of reference of the plan.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    frame = case.frame_of_reference_uid
    if transform is not None and transform.from_frame_uid != frame:
        raise OptionError("the transform must lead from the frame of reference of the plan")
    own = transform.to_frame_uid if transform is not None else frame
    before = replace(
        case, dose=dose, image=None, prescription=None, frame_of_reference_uid=own,
        case_id=f"{case.case_id}|{name}",
    )  # fmt: skip
    writer = CaseWriter(before, patient_id, name[:16], deflated=False)
    rtdose = writer.write_rtdose(target / f"{name}.dcm", 32)
    if transform is None:
        return WrittenPrior(rtdose, None)
    ds = writer.start(SPATIAL_REGISTRATION_STORAGE, "registration", "REG")
    ds.FrameOfReferenceUID = frame
    ds.ContentDate, ds.ContentTime = STUDY_DATE, STUDY_TIME
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "REGISTRATION", "", ""
    ds.RegistrationSequence = [
        _item(transform.from_frame_uid, np.eye(4)),
        _item(transform.to_frame_uid, transform.inverse().matrix),
    ]
    return WrittenPrior(rtdose, writer.save(ds, target / f"{name}_REG.dcm"))


def _item(frame_uid: str, matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Dataset:
    """One frame of reference with its matrix to the registered one."""
    entry = Dataset()
    entry.FrameOfReferenceTransformationMatrixType = "RIGID"
    # 16 characters hold a sign, a point and ten digits behind it.
    entry.FrameOfReferenceTransformationMatrix = [f"{v + 0.0:.10f}"[:16] for v in matrix.ravel()]
    registration = Dataset()
    registration.RegistrationTypeCodeSequence = []
    registration.MatrixSequence = [entry]
    item = Dataset()
    item.FrameOfReferenceUID = frame_uid
    item.MatrixRegistrationSequence = [registration]
    return item
