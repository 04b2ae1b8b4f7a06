"""Plan indices against closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import Structure
from cordgap.dvh.curve import DVH
from cordgap.dvh.indices import compute_indices, equivalent_dose_gy, homogeneity_index
from cordgap.dvh.presets import Rules
from cordgap.errors import OptionError
from cordgap.phantom.shapes import at_height, circle, make_structure, slab_centres

RX_GY = 24.0


def cone_dose(step_mm: float = 1.0, half_mm: float = 40.0) -> DoseGrid:
    """40 Gy in the middle, 1 Gy/mm less outwards: isodoses are spheres."""
    axis = np.arange(-half_mm, half_mm + step_mm / 2, step_mm) + 0.13
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    values = np.maximum(40.0 - np.sqrt(x * x + y * y + z * z), 0.0)
    return DoseGrid.from_array(GridGeometry(axis, axis, axis), values)


def ball(radius_mm: float, name: str = "GTV", centre=(0.0, 0.0, 0.0)) -> Structure:
    x, y, z0 = centre
    contours = [
        at_height(circle(x, y, float(np.sqrt(radius_mm**2 - z * z)), 180), z0 + float(z))
        for z in slab_centres(radius_mm, 0.5)
    ]
    return make_structure(1, name, contours)


def indices_of(structure, dose, *, rx_gy=RX_GY, geud_a=None):
    rules = Rules()
    result = rules.compute(dose, structure)
    solid = rules.solid(structure)
    return compute_indices(result, solid, dose, rx_gy=rx_gy, geud_a=geud_a)


# A ball of 12 mm on planes every 0.5 mm is met to 0.1 % of its volume, the isodose of 16 mm on a
# 1 mm grid to 0.2 % (test_isodose): their ratios to 0.5 %.
RATIO = 5e-3


@pytest.mark.parametrize("radius_mm", [12.0, 20.0])
def test_conformity_of_concentric_balls(radius_mm):
    found = indices_of(ball(radius_mm), cone_dose()).conformity
    isodose, half = 16.0, 28.0
    covered = min(radius_mm, isodose)
    assert found.coverage == pytest.approx((covered / radius_mm) ** 3, rel=RATIO)
    for x in (found.total, found.connected):
        assert x.ci_rtog == pytest.approx((isodose / radius_mm) ** 3, rel=RATIO)
        paddick = covered**6 / (radius_mm * isodose) ** 3
        assert x.ci_paddick == pytest.approx(paddick, rel=2 * RATIO)
        assert x.selectivity == pytest.approx((covered / isodose) ** 3, rel=RATIO)
        assert x.gi == pytest.approx((half / isodose) ** 3, rel=RATIO)
        assert x.r50 == pytest.approx((half / radius_mm) ** 3, rel=RATIO)
        assert x.reason is None


def test_paddick_is_the_product_of_coverage_and_selectivity():
    found = indices_of(ball(12.0, centre=(7.0, 0.0, 0.0)), cone_dose()).conformity
    assert found.total.ci_paddick == pytest.approx(found.coverage * found.total.selectivity)
    assert 0 < found.total.ci_paddick < 1


def test_half_isodose_beyond_the_grid_leaves_the_gradient_out():
    found = indices_of(ball(12.0), cone_dose(half_mm=20.0)).conformity
    assert found.total.gi is None
    assert found.total.r50 is None
    assert found.total.ci_paddick is not None
    assert "half the prescription reaches the edge" in found.total.reason


def test_isodose_beyond_the_grid_leaves_everything_out():
    found = indices_of(ball(12.0), cone_dose(half_mm=14.0)).conformity
    assert found.total.ci_rtog is None
    assert "the prescription isodose reaches the edge" in found.total.reason


def test_isodose_that_is_nowhere():
    found = indices_of(ball(12.0), cone_dose(), rx_gy=50.0).conformity
    assert found.coverage == 0
    assert found.total.ci_paddick is None
    assert "has no volume" in found.total.reason


@pytest.mark.parametrize(
    ("name", "rx_gy", "reason"),
    [("SpinalCord", RX_GY, "not a target"), ("GTV", None, "no prescription is known")],
)
def test_no_conformity(name, rx_gy, reason):
    found = indices_of(ball(8.0, name), cone_dose(2.0), rx_gy=rx_gy)
    assert found.conformity is None
    assert found.conformity_reason == reason


def test_homogeneity_near_maximum_and_near_minimum_of_a_ball():
    radius = 12.0
    found = indices_of(ball(radius), cone_dose())
    # The dose that the share v of the ball gets at least lies at the radius v**(1/3) R.
    hot, median, cold = (40.0 - radius * v ** (1 / 3) for v in (0.02, 0.5, 0.98))
    assert found.near_max.name == "D2%[Gy]"
    assert found.near_min.name == "D98%[Gy]"
    # A 1 mm grid cuts the tip of the cone: 0.1 Gy where 2 % of the ball is a ball of 3.3 mm.
    assert found.near_max.value.value == pytest.approx(hot, abs=0.1)
    assert found.near_min.value.value == pytest.approx(cold, abs=0.03)
    assert found.homogeneity.value == pytest.approx((hot - cold) / median, abs=0.1 / median)
    assert found.homogeneity.plus_minus > 0


def test_small_structures_have_absolute_near_maximum():
    found = indices_of(ball(7.5), cone_dose())  # 1.77 cc
    assert (found.near_max.name, found.near_min.name) == ("D0.035cc[Gy]", "DC0.035cc[Gy]")
    hot = 40.0 - (35.0 * 3 / (4 * np.pi)) ** (1 / 3)
    cold = 40.0 - (7.5**3 - 35.0 * 3 / (4 * np.pi)) ** (1 / 3)
    assert found.near_max.value.value == pytest.approx(hot, abs=0.2)
    # The coldest 35 mm3 are a shell of 0.05 mm: the edges of the flat caps stand out as far.
    assert found.near_min.value.value == pytest.approx(cold, abs=0.06)


def test_structure_beyond_the_grid_has_no_index():
    found = indices_of(ball(12.0, centre=(35.0, 0.0, 0.0)), cone_dose(2.0))
    assert found.near_max.value.value is None
    assert found.homogeneity.value is None
    assert found.geud.value is None
    assert found.conformity is None
    assert "inside the dose grid" in found.conformity_reason


# --- gEUD ---


def two_values(low=10.0, high=20.0, cold_cc=1.0, hot_cc=1.0):
    total = cold_cc + hot_cc
    return DVH(
        np.array([low, low, high, high]),
        np.array([total, hot_cc, hot_cc, 0.0]),
        total,
        low,
        (low * cold_cc + high * hot_cc) / total,
        high,
    )


@pytest.mark.parametrize("a", [-20.0, -1.0, 0.5, 1.0, 2.0, 8.0, 20.0])
def test_equivalent_dose_of_two_values(a):
    exact = ((10.0**a + 3 * 20.0**a) / 4) ** (1 / a)
    assert equivalent_dose_gy(two_values(hot_cc=3.0), a) == pytest.approx(exact, rel=1e-12)


def test_equivalent_dose_with_extreme_parameters():
    dvh = two_values()
    assert equivalent_dose_gy(dvh, 1.0) == pytest.approx(dvh.mean_gy)
    # 2**(-1/a) of the maximum is left.
    assert equivalent_dose_gy(dvh, 5000.0) == pytest.approx(20.0, rel=2e-4)
    assert equivalent_dose_gy(dvh, -5000.0) == pytest.approx(10.0, rel=2e-4)
    assert equivalent_dose_gy(two_values(low=0.0), -2.0) == 0.0
    assert equivalent_dose_gy(two_values(low=0.0, high=0.0), 3.0) == 0.0


def test_mean_of_a_real_curve():
    result = Rules().compute(cone_dose(), ball(12.0))
    assert equivalent_dose_gy(result.dvh, 1.0) == pytest.approx(result.dvh.mean_gy, rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    low=st.floats(0.5, 30),
    rise=st.floats(0.0, 40),
    hot=st.floats(0.01, 10),
    a=st.floats(-40, 40).filter(lambda a: abs(a) > 0.05),
    more=st.floats(0.06, 20),
    factor=st.floats(0.1, 5),
)
def test_equivalent_dose_properties(low, rise, hot, a, more, factor):
    """Between least and largest dose, rising with a, and scaling with the dose."""
    dvh = two_values(low, low + rise, 1.0, hot)
    value = equivalent_dose_gy(dvh, a)
    assert low * (1 - 1e-9) <= value <= (low + rise) * (1 + 1e-9)
    if abs(a + more) > 0.05:
        assert equivalent_dose_gy(dvh, a + more) >= value * (1 - 1e-9)
    scaled = two_values(low * factor, (low + rise) * factor, 1.0, hot)
    assert equivalent_dose_gy(scaled, a) == pytest.approx(factor * value, rel=1e-9)


def test_parameter_of_the_cord_and_of_others():
    dose = cone_dose(2.0)
    cord = indices_of(ball(8.0, "SpinalCord"), dose)
    assert cord.geud_a == 20.0
    assert "Burman" in cord.geud_a_source
    assert cord.geud.plus_minus is not None
    target = indices_of(ball(8.0), dose)
    assert target.geud.value is None
    assert "--geud-a" in target.geud.reason
    given_a = indices_of(ball(8.0), dose, geud_a=-10.0)
    assert (given_a.geud_a, given_a.geud_a_source) == (-10.0, "option")
    assert given_a.geud.value < cord.geud.value


@pytest.mark.parametrize("a", [0.0, float("nan"), float("inf")])
def test_parameter_without_meaning(a):
    with pytest.raises(OptionError, match="finite number other than 0"):
        indices_of(ball(8.0), cone_dose(4.0), geud_a=a)


def test_homogeneity_of_no_dose_is_refused():
    dvh = two_values(low=0.0, high=0.0)
    assert np.isnan(homogeneity_index(dvh))
    result = replace(Rules().compute(cone_dose(4.0), ball(8.0)), dvh=dvh)
    found = compute_indices(result, None, None)
    assert found.homogeneity.value is None
    assert found.homogeneity.reason == "the dose is zero"
