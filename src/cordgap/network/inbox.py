"""Objects that arrive -> files below one folder, each there whole or not at all.

``DIR/STUDY/RS.UID.dcm``: a folder a study. What is being written waits in ``DIR/.incoming``.
"""

from __future__ import annotations

import errno
import filecmp
import io
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from cordgap.dicom.dataset import open_dataset, reading, text
from cordgap.dicom.discover import KINDS
from cordgap.errors import DicomError, NetworkError

INCOMING = ".incoming"
# Wider than the standard, which forbids leading zeros: real UIDs have them. No other character
# can stand in the name of a file.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64
_PREFIXES = {"rtstruct": "RS", "rtdose": "RD", "rtplan": "RP", "ct": "CT"}
_LINKS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Limits:
    """What an inbox takes: one object, the number of them, and what stays free on the disk."""

    object_bytes: int = 512 << 20
    objects: int = 200_000
    free_bytes: int = 1 << 30


@dataclass(frozen=True)
class Stored:
    """Where an object lies, and whether it was not there before."""

    path: Path
    study_uid: str
    new: bool


class Inbox:
    """A folder that takes objects from several threads at once.

    Parameters
    ----------
    folder : Path
        Made if it is not there. Parts that an earlier run left behind are removed.
    limits : Limits

    Raises
    ------
    NetworkError
        If the folder cannot be made or written.
    """

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder = folder
        self.limits = limits or Limits()
        self._parts = folder / INCOMING
        self._lock = Lock()
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
            for part in self._parts.iterdir():
                part.unlink()
        except OSError as error:
            raise NetworkError(
                f"the folder for what arrives cannot be written: {error.strerror}; name another",
                code="inbox-unwritable",
            ) from error
        self._count = sum(1 for _ in folder.glob("*/*.dcm"))

    def store(self, head: bytes, body: bytes | memoryview) -> Stored:
        """Write one object: file meta information (:func:`file_head`) and data set, as they came.

        Raises
        ------
        NetworkError
            ``inbox-full`` (too large, too many, disk full), ``object-uid`` (its UIDs are none, or
            are not those that were announced), ``object-conflict`` (another content under a UID
            that is there already: the first is kept).
        DicomError
            If the data set cannot be read.
        """
        self._refuse_too_much(len(body))
        part = self._parts / f"{secrets.token_hex(8)}.part"
        try:
            with part.open("xb") as stream:
                stream.write(head)
                stream.write(body)
                stream.flush()
                os.fsync(stream.fileno())
            with self._lock:
                return self._keep(part)
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise _full("the disk is full", "make room") from error
            raise NetworkError(
                f"an object cannot be written: {error.strerror}", code="inbox-unwritable"
            ) from error
        finally:
            part.unlink(missing_ok=True)

    def _refuse_too_much(self, size: int) -> None:
        limits = self.limits
        if size > limits.object_bytes:
            raise _full(f"an object of {size} bytes", "raise --max-object-mb")
        if self._count >= limits.objects:
            raise _full(f"{self._count} objects are there", "raise --max-objects, or tidy up")
        free = shutil.disk_usage(self._parts).free
        if free - size < limits.free_bytes:
            raise _full(f"{free >> 20} MB are free", "make room, or lower --keep-free-mb")

    def _keep(self, part: Path) -> Stored:
        """Put a part in its place by what it says of itself."""
        try:
            with reading(part):
                ds = open_dataset(part, _LINKS)
                kind, sop, study = (text(ds, keyword) for keyword in _LINKS)
                meta = ds.file_meta
                announced = (
                    str(meta.get("MediaStorageSOPClassUID", "")),
                    str(meta.get("MediaStorageSOPInstanceUID", "")),
                )
        except DicomError as error:
            raise DicomError("an object cannot be read as DICOM", code="file-damaged") from error
        check_uids(kind, sop, study)
        if (kind, sop) != announced:
            raise NetworkError(
                "an object is another one than its message announced", code="object-uid"
            )
        prefix = _PREFIXES.get(KINDS.get(kind, ""), "OT")
        path = self.folder / study / f"{prefix}.{sop}.dcm"
        if path.exists():
            if filecmp.cmp(part, path, shallow=False):
                return Stored(path, study, new=False)
            raise NetworkError(
                "an object arrived again with another content; the first is kept",
                code="object-conflict",
                action="remove the first, if the second is right, and send again",
            )
        path.parent.mkdir(exist_ok=True)
        part.replace(path)
        self._count += 1
        return Stored(path, study, new=True)


def check_uids(*uids: str) -> None:
    """Refuse what cannot be a UID: it would become part of a path.

    Raises
    ------
    NetworkError
        ``object-uid``.

    Examples
    --------
    >>> check_uids("1.2.840.10008.1.2")
    >>> check_uids("1.2/../../etc")
    Traceback (most recent call last):
    cordgap.errors.NetworkError: a UID is malformed: digits and dots were expected, at most 64
    """
    if any(len(uid) > _LONGEST_UID or not _UID.fullmatch(uid) for uid in uids):
        raise NetworkError(
            "a UID is malformed: digits and dots were expected, at most 64", code="object-uid"
        )


def file_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble and file meta information for a data set that came without them.

    Raises
    ------
    NetworkError
        If a UID is malformed.
    """
    check_uids(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    stream = io.BytesIO()
    stream.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(stream, meta, enforce_standard=True)
    return stream.getvalue()


def _full(found: str, action: str) -> NetworkError:
    return NetworkError(
        f"no room for what arrives: {found}; {action}",
        code="inbox-full",
        found=found,
        action=action,
    )
