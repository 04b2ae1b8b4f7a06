"""Isodose volumes against closed forms, and the part that is connected to a target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.dvh import isodose
from cordgap.dvh.isodose import isodose_volume
from cordgap.dvh.solid import build_solid
from cordgap.phantom.shapes import at_height, circle, make_structure, slab_centres


def grid(field, *, half_mm=40.0, step_mm=2.0, shift_mm=0.13):
    axis = np.arange(-half_mm, half_mm + step_mm / 2, step_mm) + shift_mm
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return DoseGrid.from_array(GridGeometry(axis, axis, axis), field(x, y, z))


def ball(radius_mm, centre_mm=(0.0, 0.0, 0.0), spacing_mm=1.0):
    x, y, z0 = centre_mm
    contours = [
        at_height(circle(x, y, float(np.sqrt(radius_mm**2 - z * z)), 90), z0 + float(z))
        for z in slab_centres(radius_mm, spacing_mm)
    ]
    return build_solid(make_structure(1, "GTV", contours))


def sphere_cc(radius_mm):
    return 4 / 3 * np.pi * radius_mm**3 / 1000


def cone(x, y, z):
    return np.maximum(40.0 - np.sqrt(x * x + y * y + z * z), 0.0)


def bell(x, y, z):
    return 30.0 * np.exp(-(x * x + y * y + z * z) / (2 * 14.0**2))


@pytest.mark.parametrize("step_mm", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("dose_gy", [12.0, 24.0])
@pytest.mark.parametrize(
    ("field", "radius_of"),
    [(cone, lambda d: 40.0 - d), (bell, lambda d: 14.0 * np.sqrt(2 * np.log(30.0 / d)))],
    ids=["cone", "bell"],
)
def test_ball_is_inside_its_uncertainty(field, radius_of, dose_gy, step_mm):
    found = isodose_volume(grid(field, step_mm=step_mm), dose_gy)
    exact = sphere_cc(radius_of(dose_gy))
    assert found.includes_dose_grid
    assert abs(found.total_cc - exact) <= found.plus_minus_cc
    assert found.plus_minus_cc < 0.12 * exact


@pytest.mark.parametrize("slope", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0.3, -0.8, 0.5)])
def test_plane_through_the_middle_halves_the_grid(slope):
    # Trilinear interpolation of a linear field is the field itself, and half a box is half of it by
    # symmetry: what is left is the midpoint rule, which is exact unless a line leaves a cut cell.
    dose = grid(lambda x, y, z: 100 + slope[0] * x + slope[1] * y + slope[2] * z, shift_mm=0.0)
    found = isodose_volume(dose, 100.0)
    assert found.total_cc == pytest.approx(80.0**3 / 2000, rel=1e-4)
    assert found.is_cut_off


def test_flat_dose_counts_whole_or_not_at_all():
    dose = grid(lambda x, y, z: np.full_like(x, 5.0))
    assert isodose_volume(dose, 5.0).total_cc == pytest.approx(80.0**3 / 1000)
    assert isodose_volume(dose, 5.1).total_cc == 0.0
    assert not isodose_volume(dose, 5.1).is_cut_off


def test_blocks_do_not_change_the_volume(monkeypatch):
    dose, target = grid(cone), ball(8.0)
    whole = isodose_volume(dose, 24.0, target=target)
    monkeypatch.setattr(isodose, "_BLOCK_SAMPLES", 41 * 41 * 3)
    monkeypatch.setattr(isodose, "_CELLS_AT_ONCE", 77)
    parts = isodose_volume(dose, 24.0, target=target)
    assert parts.total_cc == pytest.approx(whole.total_cc, rel=1e-12)
    assert parts.connected_cc == pytest.approx(whole.connected_cc, rel=1e-12)
    assert parts.plus_minus_cc == pytest.approx(whole.plus_minus_cc, rel=1e-9)


def two_lesions(x, y, z):
    return np.maximum(cone(x - 18, y, z) - 22, 0) + np.maximum(cone(x + 18, y, z) - 25, 0)


def test_the_other_lesion_is_in_the_total_only():
    dose = grid(two_lesions, step_mm=1.0)
    left = isodose_volume(dose, 10.0, target=ball(5.0, (18.0, 0.0, 0.0)))
    right = isodose_volume(dose, 10.0, target=ball(4.0, (-18.0, 0.0, 0.0)))
    assert left.connected_cc == pytest.approx(sphere_cc(8.0), abs=2 * left.plus_minus_cc)
    assert right.connected_cc == pytest.approx(sphere_cc(5.0), abs=2 * right.plus_minus_cc)
    assert left.connected_cc + right.connected_cc == pytest.approx(left.total_cc, rel=1e-12)


def test_lesions_whose_isodoses_meet_are_one_part():
    def near(x, y, z):
        return np.maximum(cone(x - 10, y, z), cone(x + 10, y, z))

    dose, target = grid(near), ball(4.0, (10.0, 0.0, 0.0))
    apart = isodose_volume(dose, 34.0, target=target)  # radii of 6 mm, 20 mm apart
    assert apart.connected_cc == pytest.approx(0.5 * apart.total_cc, rel=0.02)
    met = isodose_volume(dose, 27.0, target=target)  # radii of 13 mm
    assert met.connected_cc == pytest.approx(met.total_cc, rel=1e-12)


def test_target_smaller_than_a_voxel_still_finds_its_isodose():
    dose = grid(cone, step_mm=3.0, shift_mm=1.5)
    found = isodose_volume(dose, 30.0, target=ball(1.0, spacing_mm=0.5))
    assert found.connected_cc == pytest.approx(found.total_cc, rel=1e-12)


def test_target_that_the_isodose_misses_has_no_connected_volume():
    found = isodose_volume(grid(cone), 30.0, target=ball(4.0, (0.0, 30.0, 0.0)))
    assert found.connected_cc == 0.0
    assert found.total_cc > 4.0


def test_isodose_that_leaves_the_grid_says_so():
    dose = grid(cone, half_mm=20.0)
    assert isodose_volume(dose, 15.0).is_cut_off
    assert not isodose_volume(dose, 25.0).is_cut_off


def test_only_the_part_of_the_target_is_looked_at_for_the_edge():
    dose = grid(lambda x, y, z: cone(x - 18, y, z) + 30.0 * (x < -38))
    found = isodose_volume(dose, 28.0, target=ball(5.0, (18.0, 0.0, 0.0)))
    assert found.is_cut_off
    assert not found.connected_is_cut_off


def test_single_plane_has_no_volume():
    axis = np.arange(5.0)
    flat = DoseGrid.from_array(GridGeometry(axis, axis, np.zeros(1)), np.ones((1, 5, 5)))
    found = isodose_volume(flat, 0.5)
    assert (found.total_cc, found.is_cut_off) == (0.0, True)


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(0, 60), min_size=125, max_size=125),
    doses=st.tuples(st.floats(0.1, 60), st.floats(0.1, 60)),
    order=st.permutations(range(3)),
)
def test_any_grid(values, doses, order):
    """More dose, no more volume; never outside the grid; the axes have no say."""
    axes = np.array([0.0, 1.0, 2.5, 3.0, 4.0]), np.arange(5.0), 2 * np.arange(5.0)
    array = np.array(values).reshape(5, 5, 5)
    z, y, x = axes
    dose = DoseGrid.from_array(GridGeometry(x, y, z), array)
    low, high = (isodose_volume(dose, d).total_cc for d in sorted(doses))
    whole = 4.0 * 4.0 * 8.0 / 1000
    assert 0 <= high <= low + 1e-12 <= whole + 1e-9
    z, y, x = (axes[i] for i in order)
    turned = DoseGrid.from_array(GridGeometry(x, y, z), array.transpose(order))
    # Every cell is crossed along the same of its axes, whatever that axis is called.
    other = isodose_volume(turned, max(doses)).total_cc
    assert other == pytest.approx(high, abs=1e-9 * whole + 1e-9)
