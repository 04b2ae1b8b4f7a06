"""A folder or a ZIP file -> what is in it, by content and not by name.

The first kilobytes tell whether a file is of a kind that matters; only then is it opened as DICOM,
and only for the attributes that link files to each other.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydicom.dataset import Dataset
from pydicom.uid import UID

from cordgap.dicom.archive import is_zip, unpacked
from cordgap.dicom.dataset import (
    items,
    open_dataset,
    reading,
    refuse_crowd,
    text,
    text_parts,
    unique,
    whole_number,
)
from cordgap.errors import DicomError, Finding

Kind = Literal["rtstruct", "rtdose", "rtplan", "ct"]

KINDS: dict[str, Kind] = {
    "1.2.840.10008.5.1.4.1.1.481.3": "rtstruct",
    "1.2.840.10008.5.1.4.1.1.481.2": "rtdose",
    "1.2.840.10008.5.1.4.1.1.481.5": "rtplan",
    "1.2.840.10008.5.1.4.1.1.481.8": "rtplan",  # RT Ion Plan
    "1.2.840.10008.5.1.4.1.1.2": "ct",
}
_COMMON = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "PatientName",
    "Manufacturer",
)
# What cordgap writes beside a report must not be taken for a part of the plan.
OWN_MANUFACTURER = "cordgap"
_KEYWORDS: dict[Kind, tuple[str, ...]] = {
    "rtstruct": (
        *_COMMON,
        "StructureSetLabel",
        "ReferencedFrameOfReferenceSequence",
        "StructureSetROISequence",
    ),
    "rtdose": (
        *_COMMON,
        "DoseUnits",
        "DoseType",
        "DoseSummationType",
        "NumberOfFrames",
        "ReferencedRTPlanSequence",
        "ReferencedStructureSetSequence",
    ),
    "rtplan": (
        *_COMMON,
        "RTPlanLabel",
        "RTPlanName",
        "ReferencedStructureSetSequence",
        "FractionGroupSequence",
    ),
    "ct": _COMMON,
}
_DICOMDIR = "1.2.840.10008.1.3.10"
_DICOMDIR_TYPES = ("RT DOSE", "RT STRUCTURE SET", "RT PLAN")
# Radiotherapy objects and contours in other forms: whoever exported them expects them to be read.
_RT_CLASS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(481|66)\.")
_UID = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+")
_HEAD_BYTES = 2048
# Patients are told apart within one run only: the key means nothing outside it, and cannot be
# turned back into an identifier by trying all of them.
_SALT = os.urandom(16)
# Parts of a name shorter than this are in too many words to mean anything.
_SHORTEST_NAME = 3


@dataclass(frozen=True)
class FileRecord:
    """One DICOM file and what links it to others. CT slices carry their kind and path only.

    Parameters
    ----------
    kind : {"rtstruct", "rtdose", "rtplan", "ct"}
    path : Path
    frame_of_reference_uids : tuple of str
        One for a dose; for a structure set those of its structures.
    patient_key : str
        Equal for equal patient identifiers within one run; empty where the file has none.
    label : str
        Label of the structure set or plan, shown only where files must be told apart; empty where
        it holds the patient's name or identifier. Free comments are not read: they may do so too.
    plan_uids, rtstruct_uids, series_uids : tuple of str
        Files that this one refers to.
    series_uid : str
        Series that the file is part of.
    frames : int
        Number of frames of a dose.
    beams : tuple of (int, int)
        Fraction group and beam number that a dose belongs to.
    dose_groups : tuple of int
        Fraction groups that a dose belongs to.
    fraction_groups : int
        Number of fraction groups of a plan.
    derived : bool
        Whether cordgap wrote it from a plan: it is used only where it is named.
    """

    kind: Kind
    path: Path
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    frame_of_reference_uids: tuple[str, ...] = ()
    patient_key: str = ""
    label: str = ""
    plan_uids: tuple[str, ...] = ()
    rtstruct_uids: tuple[str, ...] = ()
    series_uids: tuple[str, ...] = ()
    dose_summation_type: str = ""
    dose_units: str = ""
    dose_type: str = ""
    series_uid: str = ""
    frames: int = 1
    beams: tuple[tuple[int, int], ...] = ()
    dose_groups: tuple[int, ...] = ()
    fraction_groups: int = 0
    derived: bool = False

    @property
    def name(self) -> str:
        """File name without its folder."""
        return self.path.name

    def __str__(self) -> str:
        words = [self.dose_summation_type, self.label and f"{self.label!r}"]
        inside = ", ".join(word for word in words if word)
        return f"{self.name} ({inside})" if inside else self.name


@dataclass(frozen=True)
class Discovery:
    """What a folder holds.

    ``other_dicom`` counts DICOM files of kinds that are not used, by the name of the kind;
    ``not_dicom`` counts everything else.
    """

    records: tuple[FileRecord, ...]
    other_dicom: tuple[tuple[str, int], ...] = ()
    not_dicom: int = 0
    findings: tuple[Finding, ...] = ()

    def of_kind(self, kind: Kind) -> tuple[FileRecord, ...]:
        """Return the records of one kind."""
        return tuple(r for r in self.records if r.kind == kind)


Progress = Callable[[int], None]


def discover(folder: Path | str, *, progress: Progress | None = None) -> Discovery:
    """Scan a folder and all folders below it, or a ZIP file of one.

    Parameters
    ----------
    folder : Path or str
    progress : callable, optional
        Called with the number of files looked at, now and then.

    Raises
    ------
    DicomError
        When the path is neither a folder nor a ZIP file.

    Notes
    -----
    Reads 2 kB of each file; a CT slice is not opened further, an RT file only for its links.
    """
    root = _root(Path(folder))
    records: list[FileRecord] = []
    findings: list[Finding] = []
    others: Counter[str] = Counter()
    unrelated = 0
    paths = _files(root)
    for count, path in enumerate(paths, start=1):
        if progress is not None and count % 100 == 0:
            progress(count)
        kind, uid = sniff(path)
        if kind is None and not uid:
            unrelated += 1
            continue
        if kind is None:
            others[_class_name(uid)] += 1
            findings += _about_other(path, uid, root, paths)
            continue
        try:
            records.append(read_record(path, kind))
        except DicomError as error:
            findings.append(
                Finding(
                    "file-unreadable",
                    f"{error}; the file was left out",
                    file=path.name,
                    action="export the file again",
                )
            )
    return Discovery(tuple(records), tuple(sorted(others.items())), unrelated, tuple(findings))


def _root(path: Path) -> Path:
    """Return the folder to scan, unpacked where it comes as a ZIP file."""
    if is_zip(path):
        return unpacked(path)
    if path.is_file():
        raise DicomError(
            f"{path.name} is a file, expected the folder of a plan or a ZIP file of it; give "
            "single files with --rtstruct FILE --rtdose FILE",
            code="folder-missing",
            file=path.name,
        )
    if not path.is_dir():
        raise DicomError("the folder of the plan does not exist", code="folder-missing")
    return path


def _files(root: Path) -> list[Path]:
    """List regular files below a folder, in a fixed order; hidden folders and links are skipped."""
    found: list[Path] = []
    waiting = [root]
    while waiting:
        try:
            entries = sorted(os.scandir(waiting.pop()), key=lambda entry: entry.name)
        except OSError:
            continue
        folders = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith("."):
                    folders.append(Path(entry.path))
            elif entry.is_file():
                found.append(Path(entry.path))
        waiting.extend(reversed(folders))
    return found


def _class_name(uid: str) -> str:
    """Return the name of a SOP class in words; its UID where the standard has none."""
    return str(UID(uid).name) if _UID.fullmatch(uid) else "unknown kind"


def _about_other(path: Path, uid: str, root: Path, paths: list[Path]) -> list[Finding]:
    """Say so where a file that is not used looks as if it should be."""
    if uid == _DICOMDIR:
        return _missing_of_dicomdir(path, paths)
    if not _RT_CLASS.match(uid):
        return []
    return [
        Finding(
            "sop-class-unsupported",
            f"{path.name} is of the kind {_class_name(uid)}, which is not read",
            severity="info",
            file=path.name,
            found=_class_name(uid),
            expected="RT Structure Set Storage, RT Dose Storage, RT Plan Storage, CT Image Storage",
            action="export contours and dose as RTSTRUCT and RTDOSE",
        )
    ]


def _missing_of_dicomdir(path: Path, paths: list[Path]) -> list[Finding]:
    """Compare the table of contents of a CD with what was copied from it."""
    try:
        with reading(path):
            ds = open_dataset(path, ("DirectoryRecordSequence",))
            listed = [
                tuple(part.casefold() for part in text_parts(record, "ReferencedFileID"))
                for record in items(ds, "DirectoryRecordSequence")
                if text(record, "DirectoryRecordType").upper() in _DICOMDIR_TYPES
            ]
    except DicomError:
        return []
    depth = len(path.parent.parts)
    there = {
        tuple(part.casefold().split(";")[0] for part in other.parts[depth:])
        for other in paths
        if other.parts[:depth] == path.parent.parts
    }
    missing = [entry for entry in listed if entry and entry not in there]
    if not missing:
        return []
    return [
        Finding(
            "dicomdir-file-missing",
            f"{path.name} lists {len(missing)} RT file(s) that are not there, the first is "
            f"{missing[0][-1].upper()}",
            file=path.name,
            found=f"{len(listed) - len(missing)} of {len(listed)} RT files",
            action="copy the medium again, with all its folders",
        )
    ]


def sniff(path: Path) -> tuple[Kind | None, str]:
    """Tell the kind of a file and its SOP class from its first bytes.

    Returns
    -------
    kind : str or None
        None where the file is of no kind that is used.
    sop_class_uid : str
        Empty where the file is not DICOM.
    """
    try:
        return kind_of_head(head_of(path))
    except OSError:
        return None, ""


def head_of(path: Path) -> bytes:
    """Read the first bytes of a file, in which its kind is found."""
    with path.open("rb") as stream:
        return stream.read(_HEAD_BYTES)


def series_in_head(head: bytes) -> str:
    """Return the series UID among the first bytes of a file; empty where it lies beyond."""
    return _uid_in(head, 0x0020, 0x000E)


def kind_of_head(head: bytes) -> tuple[Kind | None, str]:
    """Tell kind and SOP class from the first bytes of a file, as ``sniff`` does."""
    if head[128:132] == b"DICM":
        uid = _uid_in(head[132:], 0x0002, 0x0002) or _uid_in(head[132:], 0x0008, 0x0016)
        return KINDS.get(uid), uid or "unknown"
    # Without preamble: only what starts like a data set and states a kind that is known.
    if head[:2] in (b"\x08\x00", b"\x02\x00"):
        uid = _uid_in(head, 0x0008, 0x0016) or _uid_in(head, 0x0002, 0x0002)
        return KINDS.get(uid), uid if uid in KINDS else ""
    return None, ""


def _uid_in(head: bytes, group: int, element: int) -> str:
    """Find a UID among the first attributes, explicit or implicit VR, little endian."""
    start = head.find(struct.pack("<HH", group, element))
    if start < 0 or len(head) < start + 8:
        return ""
    if head[start + 4 : start + 6] == b"UI":
        (length,) = struct.unpack_from("<H", head, start + 6)
    else:
        (length,) = struct.unpack_from("<I", head, start + 4)
    if not 0 < length <= 64:
        return ""
    return head[start + 8 : start + 8 + length].decode("ascii", "replace").strip("\0 ")


def read_record(path: Path, kind: Kind | None = None) -> FileRecord:
    """Read what links one file to others.

    Raises
    ------
    DicomError
        When the file is not there, is not a DICOM RT file, or cannot be read.
    """
    if kind is None:
        kind = _known_kind(path)
    if kind == "ct":
        return FileRecord(kind, path)
    with reading(path):
        if kind in ("rtstruct", "rtplan"):
            refuse_crowd(path)
        ds = open_dataset(path, _KEYWORDS[kind])
        plans = items(ds, "ReferencedRTPlanSequence")
        return FileRecord(
            kind=KINDS.get(text(ds, "SOPClassUID"), kind),
            path=path,
            sop_instance_uid=text(ds, "SOPInstanceUID"),
            study_instance_uid=text(ds, "StudyInstanceUID"),
            frame_of_reference_uids=_frames_of_reference(ds),
            patient_key=_patient_key(ds),
            label=_label(ds, kind),
            plan_uids=_references(plans),
            rtstruct_uids=_references(items(ds, "ReferencedStructureSetSequence")),
            series_uids=_image_series(ds),
            dose_summation_type=text(ds, "DoseSummationType").upper(),
            dose_units=text(ds, "DoseUnits").upper(),
            dose_type=text(ds, "DoseType").upper(),
            series_uid=text(ds, "SeriesInstanceUID"),
            frames=max(whole_number(ds, "NumberOfFrames") or 1, 1),
            beams=_beams(plans),
            dose_groups=_dose_groups(plans),
            fraction_groups=len(items(ds, "FractionGroupSequence")),
            derived=text(ds, "Manufacturer") == OWN_MANUFACTURER,
        )


def _known_kind(path: Path) -> Kind:
    if not path.is_file():
        raise DicomError(f"{path.name}: there is no such file", code="file-missing", file=path.name)
    kind, uid = sniff(path)
    if not uid:
        raise DicomError(
            f"{path.name}: not a DICOM file; expected an RTSTRUCT, RTDOSE or RTPLAN",
            code="file-not-dicom",
            file=path.name,
        )
    if kind is None:
        raise DicomError(
            f"{path.name}: a DICOM file of a kind that is not used here ({_class_name(uid)}); "
            "expected an RTSTRUCT, RTDOSE or RTPLAN",
            code="sop-class-unsupported",
            file=path.name,
            found=_class_name(uid),
        )
    return kind


def _references(sequence: list[Dataset]) -> tuple[str, ...]:
    return unique(text(item, "ReferencedSOPInstanceUID") for item in sequence)


def _frames_of_reference(ds: Dataset) -> tuple[str, ...]:
    """Collect them from the structures, the list of the structure set, and the top level."""
    rois = [
        text(item, "ReferencedFrameOfReferenceUID") for item in items(ds, "StructureSetROISequence")
    ]
    listed = [
        text(item, "FrameOfReferenceUID")
        for item in items(ds, "ReferencedFrameOfReferenceSequence")
    ]
    top = text(ds, "FrameOfReferenceUID")
    return unique(rois) or unique(listed) or unique([top])


def _image_series(ds: Dataset) -> tuple[str, ...]:
    return unique(
        text(series, "SeriesInstanceUID")
        for frame in items(ds, "ReferencedFrameOfReferenceSequence")
        for study in items(frame, "RTReferencedStudySequence")
        for series in items(study, "RTReferencedSeriesSequence")
    )


def _beams(plans: list[Dataset]) -> tuple[tuple[int, int], ...]:
    return tuple(
        (whole_number(group, "ReferencedFractionGroupNumber") or 0, number)
        for plan in plans
        for group in items(plan, "ReferencedFractionGroupSequence")
        for beam in items(group, "ReferencedBeamSequence")
        if (number := whole_number(beam, "ReferencedBeamNumber")) is not None
    )


def _dose_groups(plans: list[Dataset]) -> tuple[int, ...]:
    return tuple(
        number
        for plan in plans
        for group in items(plan, "ReferencedFractionGroupSequence")
        if (number := whole_number(group, "ReferencedFractionGroupNumber")) is not None
    )


def _patient_key(ds: Dataset) -> str:
    identifier = text(ds, "PatientID") or text(ds, "PatientName")
    if not identifier:
        return ""
    return hashlib.blake2b(identifier.encode(), key=_SALT, digest_size=4).hexdigest()


def _label(ds: Dataset, kind: Kind) -> str:
    keywords = {
        "rtstruct": ("StructureSetLabel",),
        "rtdose": (),
        "rtplan": ("RTPlanLabel", "RTPlanName"),
        "ct": (),
    }[kind]
    label = next((found for word in keywords if (found := text(ds, word))), "")
    return "" if _names_patient(ds, label) else label


def _names_patient(ds: Dataset, label: str) -> bool:
    """Tell whether a label holds a part of the patient's name or the identifier."""
    parts = re.split(r"[\^=\s,;]+", f"{text(ds, 'PatientName')} {text(ds, 'PatientID')}".casefold())
    folded = label.casefold()
    return any(len(part) >= _SHORTEST_NAME and part in folded for part in parts)
