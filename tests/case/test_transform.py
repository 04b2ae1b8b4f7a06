"""Rigid transforms: there and back, and what is not one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordgap.case.transform import RigidTransform
from cordgap.errors import GeometryMismatchError

ANGLES = st.floats(-180, 180)
SHIFTS = st.tuples(*[st.floats(-300, 300)] * 3)


def rigid(angle_deg, shift):
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    matrix = np.eye(4)
    matrix[:2, :2] = [[c, -s], [s, c]]
    matrix[:3, 3] = shift
    return RigidTransform("1.2.3", "1.2.4", matrix)


@given(ANGLES, SHIFTS)
def test_there_and_back(angle_deg, shift):
    transform = rigid(angle_deg, shift)
    points = np.array([[0.0, 0.0, 0.0], [10.0, -20.0, 30.0], [-1.0, 2.0, 3.0]])
    moved = transform.apply(points)
    # Distances are kept; round-off of numbers of some hundred mm.
    assert np.linalg.norm(moved[1] - moved[2]) == pytest.approx(
        np.linalg.norm(points[1] - points[2])
    )
    assert np.allclose(transform.between("1.2.4", "1.2.3").apply(moved), points, atol=1e-9)
    # The arc cosine loses half of the digits near 0.
    assert transform.angle_deg == pytest.approx(abs(angle_deg), abs=2e-6)
    assert transform.shift_mm == pytest.approx(np.linalg.norm(shift))


@pytest.mark.parametrize(
    ("matrix", "code"),
    [
        (np.diag([1.01, 1, 1, 1]), "registration-not-rigid"),
        (np.diag([-1, 1, 1, 1]), "registration-not-rigid"),
        (np.eye(3), "registration-damaged"),
        (np.full((4, 4), np.nan), "registration-damaged"),
        (np.eye(4) + np.eye(4)[[1, 2, 3, 0]] * 0.5, "registration-damaged"),
    ],
)
def test_what_is_not_rigid_is_refused(matrix, code):
    with pytest.raises(GeometryMismatchError) as error:
        RigidTransform("1.2.3", "1.2.4", matrix)
    assert error.value.code == code


def test_other_frames_are_refused():
    with pytest.raises(GeometryMismatchError, match="other frames of reference"):
        rigid(3, (1, 2, 3)).between("1.2.3", "9.9.9")


def test_the_matrix_cannot_be_changed():
    transform = rigid(3, (1, 2, 3))
    with pytest.raises(ValueError, match="read-only"):
        transform.matrix[0, 0] = 5


def test_the_frames_it_links_need_no_turning_round():
    transform = rigid(3, (1, 2, 3))
    assert transform.between("1.2.3", "1.2.4") is transform
