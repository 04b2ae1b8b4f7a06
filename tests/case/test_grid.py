"""Grids: axes, index ranges around a box, crops, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.errors import OutOfRangeError

SEEDED = settings(derandomize=True, deadline=None, max_examples=100)
X, Y, Z = [0.0, 2.0, 4.0, 6.0], [10.0, 13.0, 16.0], [-5.0, -4.0, -2.0, 1.0, 5.0]


@pytest.fixture
def geometry():
    return GridGeometry(X, Y, Z)


def numbered(geometry):
    """Values that tell their own index: 100 z + 10 y + x."""
    z, y, x = np.indices(geometry.shape)
    return 100.0 * z + 10.0 * y + x


def test_shape_and_spacing(geometry):
    assert geometry.shape == (5, 3, 4)
    assert geometry.spacing_mm == (2.0, 3.0, 2.5)  # the median of the uneven z steps 1, 2, 3, 4
    assert geometry.lower_mm.tolist() == [0, 10, -5]
    assert geometry.upper_mm.tolist() == [6, 16, 5]


def test_an_axis_of_one_sample_has_no_spacing():
    spacing = GridGeometry([1.0], [0.0, 1.0], [0.0, 1.0]).spacing_mm
    assert np.isnan(spacing[0])
    assert spacing[1:] == (1.0, 1.0)


def test_axes_are_read_only_copies():
    x = np.array(X)
    geometry = GridGeometry(x, Y, Z)
    x[0] = -99.0
    assert geometry.x_mm[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        geometry.x_mm[0] = 1.0


@pytest.mark.parametrize(
    "axis",
    [[], [0.0, 0.0], [1.0, 0.0], [0.0, np.nan], [0.0, np.inf], [[0.0, 1.0]], [0.0, 5e-4]],
    ids=["empty", "repeated", "falling", "nan", "inf", "2-d", "closer than a micrometre step"],
)
@pytest.mark.parametrize("name", ["x_mm", "y_mm", "z_mm"])
def test_bad_axis_is_refused_by_name(axis, name):
    axes = {"x_mm": X, "y_mm": Y, "z_mm": Z} | {name: axis}
    with pytest.raises(OutOfRangeError, match=f"grid axis {name}"):
        GridGeometry(**axes)


def test_values_of_another_shape_are_refused(geometry):
    with pytest.raises(OutOfRangeError, match=r"shape \(4, 3, 5\), the axes say \(5, 3, 4\)"):
        DoseGrid.from_array(geometry, np.zeros((4, 3, 5)))


def test_values_are_read_only(geometry):
    grid = DoseGrid.from_array(geometry, numbered(geometry))
    with pytest.raises(ValueError, match="read-only"):
        grid.values[0, 0, 0] = 1.0


def test_the_callers_array_stays_writable(geometry):
    values = numbered(geometry)
    DoseGrid.from_array(geometry, values)
    values[0, 0, 0] = 7.0
    assert values[0, 0, 0] == 7.0


@pytest.mark.parametrize(
    ("lower", "upper", "pad", "expected"),
    [
        ((2.5, 11.0, -3.0), (3.5, 12.0, 0.0), 0, ((1, 4), (0, 2), (1, 3))),
        ((2.5, 11.0, -3.0), (3.5, 12.0, 0.0), 1, ((0, 5), (0, 3), (0, 4))),
        ((2.0, 13.0, -2.0), (2.0, 13.0, -2.0), 0, ((2, 3), (1, 2), (1, 2))),  # on a sample
        ((-9.0, 0.0, -50.0), (-8.0, 1.0, -40.0), 0, ((0, 1), (0, 1), (0, 1))),  # below all
        ((90.0, 90.0, 90.0), (99.0, 99.0, 99.0), 0, ((4, 5), (2, 3), (3, 4))),  # above all
    ],
)
def test_slices_around(geometry, lower, upper, pad, expected):
    slices = geometry.slices_around(lower, upper, pad)
    assert tuple((s.start, s.stop) for s in slices) == expected


@SEEDED
@given(
    low=st.floats(-20, 20),
    size=st.floats(0, 20),
    pad=st.integers(0, 4),
)
def test_the_range_holds_the_covered_part_of_a_box(low, size, pad):
    geometry = GridGeometry(np.linspace(-8, 8, 9), np.linspace(-8, 8, 9), np.linspace(-8, 8, 9))
    slices = geometry.slices_around([low] * 3, [low + size] * 3, pad)
    for part in slices:
        assert 0 <= part.start < part.stop <= 9
        axis = geometry.x_mm[part]
        covered_low, covered_high = np.clip([low, low + size], -8, 8)
        if low <= 8 and low + size >= -8:
            assert axis[0] <= covered_low
            assert axis[-1] >= covered_high


def test_crop_keeps_value_and_position_together(geometry):
    grid = DoseGrid.from_array(geometry, numbered(geometry))
    block = grid.crop([2.5, 11.0, -3.0], [3.5, 12.0, 0.0], pad=0)
    assert isinstance(block, DoseGrid)
    assert block.geometry.x_mm.tolist() == [2, 4]
    assert block.geometry.z_mm.tolist() == [-4, -2, 1]
    assert block.values[0, 0, 0] == 101.0  # z index 1, y index 0, x index 1
    assert block.values[-1, -1, -1] == 312.0


def test_crop_reads_only_what_it_needs(geometry):
    asked = []

    def load(slices):
        asked.append(slices)
        return numbered(geometry)[slices]

    DoseGrid(geometry, load).crop([2.5, 11.0, -3.0], [3.5, 12.0, 0.0], pad=0)
    assert asked == [(slice(1, 4), slice(0, 2), slice(1, 3))]


@pytest.mark.parametrize(("shift", "same"), [(0.0, True), (0.009, True), (0.02, False)])
def test_same_positions_up_to_a_hundredth(geometry, shift, same):
    """DICOM decimal strings of exported grids differ in the last of about five digits."""
    assert geometry.same_positions(GridGeometry(np.array(X) + shift, Y, Z)) is same


def test_same_positions_needs_the_same_shape(geometry):
    assert not geometry.same_positions(GridGeometry(X[:-1], Y, Z))
