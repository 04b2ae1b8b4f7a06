"""Dose on axes of uneven steps: where it bends, and splines through it."""

from __future__ import annotations

import numpy as np
import pytest

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.dvh.integrate import _spline_weights, kinks


def test_spline_weights_are_those_of_a_natural_cubic_spline():
    """On an uneven axis, which no exported grid has, every step of the system counts."""
    from scipy.interpolate import CubicSpline

    rng = np.random.default_rng(11)
    axis = np.cumsum(rng.uniform(0.7, 4.0, 9))
    fine = np.linspace(axis[0], axis[-1], 57)
    samples = rng.uniform(0.0, 30.0, (9, 3))
    expected = CubicSpline(axis, samples, bc_type="natural")(fine)
    np.testing.assert_allclose(_spline_weights(axis, fine) @ samples, expected, atol=1e-10)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_dose_that_is_straight_on_an_uneven_axis_has_no_kink(axis):
    """Steps of 1 to 4 mm: a slope is a change by its step. A bend at one sample is one kink."""
    at = np.array([0.0, 1.0, 3.0, 7.0, 8.5, 12.0])
    geometry = GridGeometry(np.array([0.0, 2.0]), *(np.array(at) for _ in range(2)))
    along = np.meshgrid(at, at, [0.0, 2.0], indexing="ij")[axis]
    straight = DoseGrid.from_array(geometry, 5.0 + 2.0 * along)
    assert kinks(straight, axis).tolist() == [0.0, 12.0]
    bent = DoseGrid.from_array(geometry, 5.0 + np.abs(along - 7.0))
    assert kinks(bent, axis).tolist() == [0.0, 7.0, 12.0]
