"""A structure grown by a margin, at its hot end."""

from __future__ import annotations

import numpy as np
import pytest

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.margin import LATTICE_MM, hot_end_of_margin
from cordgap.dvh.solid import build_solid
from cordgap.dvh.surface import surface_of


def tube(radius, z=None, centre=(0.0, 0.0)):
    z = np.arange(-14.25, 15.0, 1.5) if z is None else z
    t = 2 * np.pi * (np.arange(180) + 0.3) / 180
    contours = [
        np.c_[centre[0] + radius * np.cos(t), centre[1] + radius * np.sin(t), np.full(180, v)]
        for v in z
    ]
    return build_solid(structure_from_contours(1, "SpinalCord", contours))


def linear(gradient, half=30.0):
    axis = np.arange(-half, half + 0.1, 2.5)
    geometry = GridGeometry(axis + 0.29, axis - 0.41, axis - 0.16)
    zz, yy, xx = np.meshgrid(*geometry.axes, indexing="ij")
    return DoseGrid.from_array(
        geometry, 40 + gradient[0] * xx + gradient[1] * yy + gradient[2] * zz
    )


@pytest.mark.parametrize("gradient", [(0, -1, 0), (1, 0, 0), (0.6, -0.8, 0)])
def test_grown_tube_is_a_wider_tube(gradient):
    """Across the axis, growing a cylinder by m is a cylinder of radius r + m; its ends are round.

    D0.035cc holds 500 lattice cells of 0.4 mm; a shell of it is one lattice step deep, and an
    error of 5 % of the cells moves the isodose by less than 0.05 mm.
    """
    dose = linear(gradient)
    hot = hot_end_of_margin(surface_of(tube(5.0)), dose, 1.5, 30.0)
    assert hot is not None
    wide = compute_dvh(tube(6.5), dose, uncertainty=False)
    assert hot.dose_of_hottest_gy(0.035) == pytest.approx(wide.dose_of_hottest_gy(0.035), abs=0.05)


def test_along_the_axis_the_ends_grow_too():
    """A cylinder's end 15 mm up grows to 16.5 mm there, straight above its face.

    The hottest lattice layer lies at most one step of 0.4 mm below that.
    """
    hot = hot_end_of_margin(surface_of(tube(5.0)), linear((0, 0, 1)), 1.5, 50.0)
    assert hot is not None
    assert 40 + 16.5 - LATTICE_MM <= hot.max_gy <= 40 + 16.5 + 0.03


def test_a_larger_margin_is_never_colder():
    surface, dose = surface_of(tube(5.0)), linear((0, -1, 0))
    doses = []
    for margin in (0.5, 1.0, 1.5, 2.0):
        hot = hot_end_of_margin(surface, dose, margin, 35.0)
        assert hot is not None
        doses.append(hot.dose_of_hottest_gy(0.035))
    np.testing.assert_allclose(np.diff(doses), 0.5, atol=0.1)  # 1 Gy/mm over steps of 0.5 mm


def test_nothing_above_the_floor():
    assert hot_end_of_margin(surface_of(tube(5.0)), linear((0, -1, 0)), 1.5, 99.0) is None


def test_beyond_the_dose_grid_there_is_no_answer():
    """The cord lies inside, the cord plus 1.5 mm does not: nobody knows what it gets there."""
    dose = linear((0, 0, 0.5), half=15.0)
    assert hot_end_of_margin(surface_of(tube(5.0)), dose, 1.5, 45.0) is None


def test_a_grid_of_one_plane_has_no_answer():
    grid = linear((0, 0, 1))
    flat = DoseGrid.from_array(
        GridGeometry(grid.geometry.x_mm, grid.geometry.y_mm, [0.0]), grid.values[:1]
    )
    assert hot_end_of_margin(surface_of(tube(5.0)), flat, 1.5, 0.0) is None
