"""What objects derived from a plan share: patient and study of the original, UIDs of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from cordgap._version import __version__
from cordgap.case.case import Case, InputFile
from cordgap.dicom.dataset import open_dataset, reading, text
from cordgap.dicom.discover import OWN_MANUFACTURER
from cordgap.errors import DicomError, OptionError

_PATIENT = {
    "PatientName": "patient_name",
    "PatientID": "patient_id",
    "PatientBirthDate": "birth_date",
}
# Stand in for UIDs until what they are made from is written. Any other has another prefix.
_BLANK_UIDS = tuple(f"0.0.{digit * 60}" for digit in "12")


def refuse_originals(case: Case, target: Path) -> None:
    """Refuse to write over a file of the plan.

    Raises
    ------
    OptionError
    """
    if any(f.path is not None and f.path.resolve() == target.resolve() for f in case.inputs):
        raise OptionError(f"{target.name} is a file of the plan itself; name another file")


def read_source(file: InputFile, keywords: Sequence[str]) -> Dataset:
    """Read some attributes of a file of the plan, which a new object refers to.

    Raises
    ------
    DicomError
        If the file cannot be read again, or belongs to no study.
    """
    assert file.path is not None
    with reading(file.path):
        source = open_dataset(file.path, tuple(keywords), defer=True)
        if not text(source, "StudyInstanceUID"):
            raise DicomError(
                f"{file.file}: StudyInstanceUID is absent; an object that refers to it would "
                "belong to no study: export the file again"
            )
    return source


def start(source: Dataset, sop_class_uid: str, modality: str, identity: dict[str, str]) -> Any:
    """Return a dataset with the patient, study, series and equipment modules.

    An empty ``identity`` leaves name, identifier and birth date empty.
    """
    ds: Any = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sop_class_uid
    ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.ReferringPhysicianName = ""
    ds.Modality = modality
    ds.Manufacturer = ds.ManufacturerModelName = OWN_MANUFACTURER
    ds.SoftwareVersions = __version__
    ds.OperatorsName = ""
    for keyword, key in _PATIENT.items():
        setattr(ds, keyword, identity.get(key, ""))
    ds.PatientSex = ""
    if not identity:
        ds.PatientIdentityRemoved = "YES"
        ds.DeidentificationMethod = "cordgap: name, identifier and birth date left out"
    ds.StudyInstanceUID = text(source, "StudyInstanceUID")
    ds.StudyID, ds.SeriesNumber = "", None
    return ds


def reference(sop_class_uid: str, sop_instance_uid: str) -> Any:
    """Return an item that refers to another object."""
    item: Any = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def finished(ds: Any, files: Sequence[InputFile], *, long_values: bool = False) -> bytes:
    """Give a dataset its UIDs, and return it as a DICOM file.

    The UIDs are hashes of what the object says and of the UIDs that it was made from: the same
    input gives the same object, another one never shares its UID.

    Parameters
    ----------
    long_values : bool
        Implicit in place of Explicit VR Little Endian, in which a decimal string ends at 65 534
        bytes: a long contour has more.
    """
    syntax = ImplicitVRLittleEndian if long_values else ExplicitVRLittleEndian
    ds.SOPInstanceUID, ds.SeriesInstanceUID = _BLANK_UIDS
    data = _saved(ds, syntax)
    hashed = hashlib.sha256("|".join(f.sop_instance_uid for f in files).encode())
    hashed.update(data)
    seed = hashed.hexdigest()
    # As long as what stands in for them, so that nothing has to be written twice.
    for keyword, blank in zip(("SOPInstanceUID", "SeriesInstanceUID"), _BLANK_UIDS, strict=True):
        uid = str(generate_uid(entropy_srcs=[seed, keyword]))
        assert len(uid) == len(blank)
        setattr(ds, keyword, uid)
        data = data.replace(blank.encode("ascii"), uid.encode("ascii"))
    return data


def _saved(ds: Any, syntax: UID) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    ds.file_meta = meta
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
