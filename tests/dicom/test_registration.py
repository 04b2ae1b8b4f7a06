"""Spatial Registration objects, as different systems write them."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from cordgap.dicom.registration import (
    DEFORMABLE_REGISTRATION,
    SPATIAL_REGISTRATION,
    read_registration,
)
from cordgap.errors import CordgapError

FIXED, MOVING, THIRD = "1.2.3.1", "1.2.3.2", "1.2.3.3"
SHIFT = np.eye(4)
SHIFT[:3, 3] = (5.0, -3.0, 12.0)
TURN = np.array([[0, -1, 0, 2.0], [1, 0, 0, 3.0], [0, 0, 1, 4.0], [0, 0, 0, 1]])


def item(frame, *matrices, kind="RIGID"):
    entries = []
    for matrix in matrices:
        entry = Dataset()
        entry.FrameOfReferenceTransformationMatrix = [f"{v:.9g}" for v in np.ravel(matrix)]
        entry.FrameOfReferenceTransformationMatrixType = kind
        entries.append(entry)
    registration = Dataset()
    registration.MatrixSequence = entries
    found = Dataset()
    if frame:
        found.FrameOfReferenceUID = frame
    found.MatrixRegistrationSequence = [registration]
    return found


def reg(*parts, registered=FIXED, sop_class=SPATIAL_REGISTRATION):
    ds = Dataset()
    ds.SOPClassUID = sop_class
    ds.FrameOfReferenceUID = registered
    ds.RegistrationSequence = list(parts)
    return ds


@pytest.mark.parametrize(
    "ds",
    [
        reg(item(FIXED, np.eye(4)), item(MOVING, SHIFT)),
        reg(item(MOVING, SHIFT)),
        reg(item(MOVING, SHIFT), item(FIXED, np.eye(4))),
        reg(item(FIXED, np.eye(4)), item(MOVING, SHIFT, np.eye(4))),
        reg(item(MOVING, SHIFT, kind="AFFINE")),
    ],
    ids=["usual", "one-item", "other-order", "with-identity", "rigid-though-called-affine"],
)
def test_the_transform_goes_from_its_item_to_the_registered_frame(ds):
    found = read_registration(ds)
    assert (found.from_frame_uid, found.to_frame_uid) == (MOVING, FIXED)
    assert np.allclose(found.apply([[1.0, 2.0, 3.0]]), [[6.0, -1.0, 15.0]])


def test_a_third_frame_in_common_is_put_together():
    ds = reg(item(FIXED, SHIFT), item(MOVING, TURN), registered=THIRD)
    found = read_registration(ds, frames=(MOVING, FIXED))
    point = np.array([[1.0, 2.0, 3.0]])
    in_third = point @ TURN[:3, :3].T + TURN[:3, 3]
    assert np.allclose(found.apply(point), in_third - SHIFT[:3, 3])
    with pytest.raises(CordgapError) as error:
        read_registration(ds)
    assert error.value.code == "registration-ambiguous"


def test_a_file_is_read(tmp_path):
    ds = reg(item(MOVING, TURN))
    ds.SOPInstanceUID = "1.2.3.9"
    path = tmp_path / "REG.dcm"
    ds.save_as(path, implicit_vr=True, little_endian=True)
    assert np.allclose(read_registration(path).matrix, TURN)


@pytest.mark.parametrize(
    ("ds", "code"),
    [
        (reg(sop_class=DEFORMABLE_REGISTRATION), "registration-deformable"),
        (reg(sop_class="1.2.840.10008.5.1.4.1.1.2"), "file-kind"),
        (reg(item(MOVING, np.diag([1.1, 1, 1, 1]))), "registration-not-rigid"),
        (reg(item(MOVING, np.diag([-1, 1, 1, 1]))), "registration-not-rigid"),
        (reg(), "registration-damaged"),
        (reg(item(FIXED, np.eye(4))), "registration-damaged"),
        (reg(item(FIXED, SHIFT)), "registration-damaged"),
        (reg(item("", SHIFT)), "registration-damaged"),
        (reg(item(MOVING, SHIFT[:3])), "registration-damaged"),
        (reg(item(MOVING)), "registration-damaged"),
        (reg(item(MOVING, SHIFT, TURN)), "registration-damaged"),
        (reg(item(MOVING, SHIFT), item(MOVING, TURN)), "registration-damaged"),
    ],
)
def test_what_cannot_be_used_is_refused(ds, code):
    with pytest.raises(CordgapError) as error:
        read_registration(ds)
    assert error.value.code == code


def test_frames_that_are_not_linked_are_refused():
    with pytest.raises(CordgapError) as error:
        read_registration(reg(item(MOVING, SHIFT)), frames=(THIRD, FIXED))
    assert error.value.code == "registration-other-frames"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CordgapError, match=r"REG\.dcm: there is no such file"):
        read_registration(tmp_path / "REG.dcm")
