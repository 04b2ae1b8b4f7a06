"""A DICOM Spatial Registration object (rigid) -> the transform between two frames of reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cordgap.case.transform import RIGID_TOLERANCE, RigidTransform
from cordgap.dicom.dataset import items, numbers, open_dataset, reading, text
from cordgap.errors import CordgapError, DicomError, GeometryMismatchError

__all__ = ["RigidTransform", "read_registration"]

SPATIAL_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.1"
DEFORMABLE_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.3"


def read_registration(
    source: Path | str | Dataset, *, frames: tuple[str, str] | None = None
) -> RigidTransform:
    """Read a rigid Spatial Registration object.

    Each item of such an object maps the coordinates of its own frame of reference to those of the
    object's (the registered one): PS3.3 C.20.2. One item is usually the registered image itself,
    with the identity.

    Parameters
    ----------
    source : path or Dataset
    frames : (from_frame_uid, to_frame_uid), optional
        The direction that is wanted; needed where the object links more than two frames. Without
        it the transform goes to the registered frame of reference.

    Returns
    -------
    RigidTransform
        ``from_frame_uid``, ``to_frame_uid`` and a 4x4 ``matrix`` in mm; see ``between()`` and
        ``inverse()`` for the other direction.

    Raises
    ------
    DicomError
        ``registration-deformable``: the object holds a deformation field.
        ``file-kind``: it is no Spatial Registration object.
        ``registration-damaged``: frames of reference or matrices are missing or contradict.
        ``file-missing``, ``file-damaged``: it cannot be read.
    GeometryMismatchError
        ``registration-not-rigid``: a matrix scales, shears or mirrors, whatever it says it is.
        ``registration-other-frames``: it does not link the frames that are wanted.
        ``registration-ambiguous``: it links more than two frames and ``frames`` is not given.

    Notes
    -----
    Several matrices in one item are accepted where their order does not matter; the wording of the
    standard on the order is read in both ways by writers, so anything else is refused.
    """
    if isinstance(source, Dataset):
        return _read(source, frames)
    path = Path(source)
    if not path.is_file():
        raise DicomError(f"{path.name}: there is no such file", code="file-missing", file=path.name)
    with reading(path):
        try:
            return _read(open_dataset(path), frames)
        except CordgapError as error:
            raise error.of_file(path.name) from error


def _read(ds: Dataset, frames: tuple[str, str] | None) -> RigidTransform:
    sop_class = text(ds, "SOPClassUID")
    if sop_class == DEFORMABLE_REGISTRATION:
        raise DicomError(
            "a deformable registration: a sum of doses through a deformation field is not "
            "supported; export a rigid registration",
            code="registration-deformable",
            found="Deformable Spatial Registration Storage",
            expected="Spatial Registration Storage",
            action="export a rigid registration",
        )
    if sop_class != SPATIAL_REGISTRATION:
        raise DicomError(
            f"found SOP class {sop_class or 'absent'}, expected a Spatial Registration object",
            code="file-kind",
            found=sop_class or "absent",
            expected="Spatial Registration Storage",
            action="export the rigid registration as a DICOM Spatial Registration object",
        )
    registered = text(ds, "FrameOfReferenceUID")
    to_registered = {registered: np.eye(4)} if registered else {}
    for item in items(ds, "RegistrationSequence"):
        frame = text(item, "FrameOfReferenceUID")
        if not frame:
            continue  # legal where images are listed instead; nothing here can be linked to it
        matrix = _matrix(item, frame, registered)
        known = to_registered.get(frame)
        if known is not None and np.abs(known - matrix).max() > RIGID_TOLERANCE:
            raise DicomError(
                "the registration holds two different matrices for one frame of reference; export "
                "it again, between images of different frames of reference",
                code="registration-damaged",
                found=f"two matrices for ...{frame[-12:]}",
            )
        to_registered[frame] = matrix
    return _chosen(to_registered, registered, frames)


def _chosen(
    to_registered: dict[str, NDArray[np.float64]], registered: str, frames: tuple[str, str] | None
) -> RigidTransform:
    """Choose the pair of frames, and put the two ways together."""
    if frames is None:
        others = [uid for uid in to_registered if uid != registered]
        if not registered or not others:
            raise DicomError(
                f"found {len(to_registered)} frame(s) of reference, expected two; export the "
                "registration of two images again",
                code="registration-damaged",
                found=f"{len(to_registered)} frame(s) of reference",
                expected="two",
            )
        if len(others) > 1:
            raise GeometryMismatchError(
                f"the registration links {len(to_registered)} frames of reference; say which two "
                "are meant",
                code="registration-ambiguous",
                found=f"{len(to_registered)} frames of reference",
                expected="two",
            )
        return RigidTransform(others[0], registered, to_registered[others[0]])
    start, end = frames
    if start not in to_registered or end not in to_registered:
        listed = " and ".join(f"...{uid[-12:]}" for uid in to_registered) or "none"
        wanted = f"...{start[-12:]} and ...{end[-12:]}"
        raise GeometryMismatchError(
            f"the registration links other frames of reference than these (found {listed}, "
            f"expected {wanted}); give the registration between the two images",
            code="registration-other-frames",
            found=listed,
            expected=wanted,
            action="give the registration between the two images",
        )
    back = np.asarray(np.linalg.inv(to_registered[end]), dtype=np.float64)
    return RigidTransform(start, end, back @ to_registered[start])


def _matrix(item: Dataset, frame: str, registered: str) -> NDArray[np.float64]:
    """Return the matrix of one item; every part of it must be rigid."""
    parts = []
    for registration in items(item, "MatrixRegistrationSequence"):
        for entry in items(registration, "MatrixSequence"):
            values = numbers(entry, "FrameOfReferenceTransformationMatrix")
            if values is None or len(values) != 16:
                raise DicomError(
                    f"found {len(values or ())} numbers in a transformation matrix, expected 16; "
                    "export the registration again",
                    code="registration-damaged",
                    found=f"{len(values or ())} numbers",
                    expected="16",
                )
            matrix = np.array(values).reshape(4, 4)
            parts.append(RigidTransform(frame, registered, matrix).matrix)
    if not parts:
        raise DicomError(
            "an item of the registration has no transformation matrix; export it again",
            code="registration-damaged",
        )
    forward, backward = np.eye(4), np.eye(4)
    for part in parts:
        forward, backward = forward @ part, part @ backward
    if np.abs(forward - backward).max() > RIGID_TOLERANCE:
        raise DicomError(
            f"an item of the registration holds {len(parts)} matrices whose order matters; export "
            "the registration as one matrix",
            code="registration-damaged",
            found=f"{len(parts)} matrices",
            expected="one",
        )
    return forward
