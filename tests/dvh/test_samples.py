"""Points that fill a solid: volumes, doses there, and the histogram of anything formed on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.transform import RigidTransform
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.metrics import parse_metric
from cordgap.dvh.samples import STEP_MM, dose_at_samples, histogram, sample_solid
from cordgap.dvh.segment import cut_solid
from cordgap.dvh.solid import build_solid
from cordgap.errors import StructureError
from cordgap.phantom import CordShape, LinearDose, cord_in_linear_dose, exact_cord_dose_gy

# Half of a piece: its middle stands for it.
NEAR_MM = 0.5 * STEP_MM
CORD = CordShape(tilt=(0.02, 0.05))


def cord_case(gradient=(0.4, -1.5, 0.3)):
    return cord_in_linear_dose(cord=CORD, dose=LinearDose(gradient_gy_per_mm=gradient))


@pytest.fixture(scope="module")
def solid():
    return build_solid(cord_case().structures[0])


@settings(derandomize=True, deadline=None, max_examples=6)
@given(st.tuples(*[st.floats(-1.0, 1.0)] * 3))
def test_near_maxima_of_a_linear_dose(gradient):
    dose = LinearDose(60.0, gradient)
    case = cord_in_linear_dose(cord=CORD, dose=dose)
    solid = build_solid(case.structures[0])
    samples = sample_solid(solid)
    assert samples.volume_cc == pytest.approx(solid.volume_cc, rel=1e-9)
    found = histogram(dose_at_samples(samples, case.dose, solid=solid), samples)
    for volume in (0.035, 0.5):
        exact = exact_cord_dose_gy(volume, cord=CORD, dose=dose)
        steepest = float(np.abs(gradient).sum())
        assert found.dose_of_hottest_gy(volume) == pytest.approx(
            exact, abs=NEAR_MM * steepest + 1e-6
        )


def test_the_histogram_is_that_of_the_dvh(solid):
    case = cord_case()
    samples = sample_solid(solid)
    found = histogram(dose_at_samples(samples, case.dose, solid=solid), samples)
    dvh = compute_dvh(solid, case.dose, uncertainty=False)
    assert np.all(np.diff(found.volume_cc) <= 0)
    assert (found.covered_volume_cc, found.volume_cc[-1]) == (
        pytest.approx(dvh.covered_volume_cc),
        0,
    )
    for name in ("D0.035cc[Gy]", "D50%[Gy]", "Mean[Gy]", "D95%[Gy]"):
        metric = parse_metric(name)
        assert metric.evaluate(found).value == pytest.approx(
            metric.evaluate(dvh).value, abs=NEAR_MM * 2.2
        )


def test_a_registered_dose_is_read_where_it_was_calculated(solid):
    """The dose moved, and the points moved to it, are the same doses."""
    case = cord_case()
    samples = sample_solid(solid)
    turned = np.array([[0, -1, 0, 40.0], [1, 0, 0, -7.0], [0, 0, 1, 12.0], [0, 0, 0, 1]])
    there = RigidTransform("1.2.1", "1.2.2", turned)
    moved = type(samples)(there.apply(samples.points_mm), samples.volume_mm3)
    plain = dose_at_samples(samples, case.dose)
    known = np.isfinite(plain)
    assert np.allclose(
        dose_at_samples(moved, case.dose, transform=there.inverse())[known], plain[known]
    )


def test_outside_the_grid_nothing_is_known(solid):
    case = cord_case()
    samples = sample_solid(solid)
    grid = case.dose.geometry
    half = case.dose.crop(grid.lower_mm, (grid.upper_mm[0], grid.upper_mm[1], 0.0), pad=0)
    gy = dose_at_samples(samples, half, solid=solid)
    top = half.geometry.z_mm[-1]
    assert np.isnan(gy[samples.points_mm[:, 2] > top]).all()
    found = histogram(gy, samples)
    assert not found.is_complete
    assert 0.4 < found.covered_fraction < 0.6
    far = DoseGrid.from_array(type(grid)(grid.x_mm + 500, grid.y_mm, grid.z_mm), case.dose.values)
    assert histogram(dose_at_samples(samples, far), samples).covered_volume_cc == 0


def test_a_uniform_value_is_a_step(solid):
    samples = sample_solid(solid)
    found = histogram(np.full(len(samples.points_mm), 7.0), samples)
    assert found.dose_of_hottest_gy(0.035) == pytest.approx(7.0)
    assert (found.mean_gy, found.max_gy) == (pytest.approx(7.0), 7.0)


# --- a part of a solid ---


@settings(derandomize=True, deadline=None, max_examples=15)
@given(st.tuples(st.floats(-20, 20), st.floats(-20, 20)))
def test_two_parts_make_the_whole(solid, ends):
    low, high = sorted(ends)
    if high - low < 0.1:
        return
    part = cut_solid(solid, low, high)
    # The cord of the phantom has the same area everywhere.
    area = solid.volume_mm3 / (solid.z_range_mm[1] - solid.z_range_mm[0])
    assert part.volume_mm3 == pytest.approx(area * (high - low), rel=1e-3)
    assert part.z_range_mm == pytest.approx((low, high))
    middle = 0.5 * (low + high)
    both = cut_solid(solid, low, middle).volume_mm3 + cut_solid(solid, middle, high).volume_mm3
    assert both == pytest.approx(part.volume_mm3, rel=1e-9)
    assert part.rebuilt(between="slab").volume_mm3 == pytest.approx(part.volume_mm3, rel=1e-2)


def test_the_dvh_of_a_part_has_its_uncertainty(solid):
    part = cut_solid(solid, -10.0, 9.3)
    dvh = compute_dvh(part, cord_case().dose)
    read = parse_metric("D10%[Gy]").evaluate(dvh)
    assert dvh.total_volume_cc == pytest.approx(part.volume_cc)
    assert read.value is not None and read.plus_minus is not None
    assert 0 <= read.plus_minus < 0.5


def test_a_part_that_is_not_contoured_is_refused(solid):
    with pytest.raises(
        StructureError, match=r"does not hold the part from -30.0 to 5.0 mm"
    ) as refused:
        cut_solid(solid, -30.0, 5.0)
    assert refused.value.action == "contour it further"


def test_a_part_keeps_what_the_whole_was_built_with(solid):
    part = cut_solid(replace(solid, slab_thickness_mm=1.5), -5.0, 5.0)
    assert part.slab_thickness_mm == 1.5
    assert (part.between, part.ends, part.findings) == (solid.between, solid.ends, solid.findings)


def test_two_samples_along_an_axis_are_enough(solid):
    """Planes 60 mm apart around the cord; the dose is linear, so that nothing is lost."""
    samples = sample_solid(solid)
    lower, upper = (f(samples.points_mm, axis=0) for f in (np.min, np.max))
    geometry = GridGeometry(
        np.array([lower[0] - 1, upper[0] + 1]), np.array([lower[1] - 2, upper[1] + 2]),
        np.array([lower[2] - 3, upper[2] + 3]),
    )  # fmt: skip
    z, y, x = np.meshgrid(geometry.z_mm, geometry.y_mm, geometry.x_mm, indexing="ij")
    dose = DoseGrid.from_array(geometry, 40 + 0.1 * x - 0.2 * y + 0.05 * z)
    expected = 40 + samples.points_mm @ (0.1, -0.2, 0.05)
    np.testing.assert_allclose(dose_at_samples(samples, dose), expected, atol=1e-9)
