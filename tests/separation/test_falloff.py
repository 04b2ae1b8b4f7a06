"""Dose against separation: the model and its reading off a plan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.solid import build_solid
from cordgap.dvh.surface import surface_of
from cordgap.separation import falloff
from cordgap.separation.falloff import Falloff, PopulationFalloff, read_gradient

SEEDED = settings(derandomize=True, deadline=None, max_examples=200)
DOSES = st.floats(2.0, 40.0)


@st.composite
def falloffs(draw):
    return Falloff(
        draw(DOSES), draw(st.floats(0.0, 5.0)), draw(st.floats(0.2, 5.0)), draw(st.floats(1.0, 20))
    )


@SEEDED
@given(falloff=falloffs(), share=st.floats(0.01, 1.0))
def test_separation_undoes_dose(falloff, share):
    wanted = share * falloff.dose_gy
    separation = falloff.separation_for_mm(wanted)
    assert falloff.cord_dose_gy(separation) == pytest.approx(wanted, rel=1e-9)
    assert separation >= falloff.separation_mm


@SEEDED
@given(falloff=falloffs(), extra=st.tuples(st.floats(0, 20), st.floats(0, 20)))
def test_more_separation_never_means_more_dose(falloff, extra):
    near, far = (falloff.cord_dose_gy(falloff.separation_mm + e) for e in sorted(extra))
    assert 0 <= far <= near * (1 + 1e-12)


@SEEDED
@given(falloff=falloffs())
def test_smooth_at_the_knee(falloff):
    """Value and slope are continuous where the straight line becomes an exponential."""
    knee = min(falloff.knee_gy, falloff.dose_gy)
    at = falloff.separation_mm + (falloff.dose_gy - knee) / falloff.gradient_gy_per_mm
    step = 1e-5
    before, here, after = (falloff.cord_dose_gy(at + d) for d in (-step, 0.0, step))
    assert here == pytest.approx(knee, rel=1e-9)
    assert (after - here) / step == pytest.approx(-falloff.gradient_gy_per_mm, rel=1e-3)
    if at - step > falloff.separation_mm:
        assert (here - before) / step == pytest.approx(-falloff.gradient_gy_per_mm, rel=1e-3)


def test_closed_forms():
    falloff = Falloff(20.0, 1.0, 2.0, 10.0)
    assert falloff.separation_for_mm(14.0) == pytest.approx(1 + 3.0)
    assert falloff.separation_for_mm(5.0) == pytest.approx(1 + 5.0 + 5.0 * np.log(2))
    assert falloff.separation_for_mm(25.0) == 1.0
    assert falloff.separation_for_mm(0.0) == np.inf
    assert falloff.cord_dose_gy(0.0) == 20.0  # not below the present separation


@SEEDED
@given(rx=st.floats(10, 60), share=st.floats(0.05, 0.99))
def test_population_range_holds_its_centre(rx, share):
    model = PopulationFalloff()
    low, middle, high = (
        f(rx).separation_for_mm(share * rx)
        for f in (model.favourable, model.central, model.unfavourable)
    )
    assert 0 <= low <= middle <= high


def solid_of(outline, half):
    z = np.arange(-half + 0.75, half, 1.5)
    contours = [np.c_[outline, np.full(len(outline), v)] for v in z]
    return build_solid(structure_from_contours(1, "ROI", contours))


def surfaces(gap):
    t = 2 * np.pi * np.arange(120) / 120
    cord = solid_of(5.0 * np.c_[np.cos(t), np.sin(t)], 24.0)
    face = -(5.0 + gap)
    slab = np.array([(-15, face - 15), (15, face - 15), (15, face), (-15, face)], float)
    return surface_of(cord), surface_of(solid_of(slab, 12.0))


def grid(dose, half=40.0, spacing=2.0):
    axis = np.arange(-half, half + 0.1, spacing)
    geometry = GridGeometry(axis + 0.31, axis - 0.17, axis + 0.11)
    zz, yy, xx = np.meshgrid(*geometry.axes, indexing="ij")
    return DoseGrid.from_array(geometry, dose(xx, yy, zz) + 0.0 * xx)


@pytest.mark.parametrize("gap", [0.0, 2.0, 4.0])
def test_gradient_of_a_linear_dose(gap):
    """Central differences of a linear dose are its gradient, at any percentile."""
    cord, target = surfaces(gap)
    reading = read_gradient(grid(lambda x, y, z: 60 - 1.2 * y + 0.5 * x), cord, target, gap)
    assert reading is not None
    assert reading.gradient_gy_per_mm == pytest.approx(1.3, rel=1e-6)
    assert reading.cord_gradient_gy_per_mm == pytest.approx(1.3, rel=1e-6)
    assert reading.n_voxels >= 20


def test_the_gradient_in_the_cord_is_its_own():
    """In front of the cord three times as steep as in it."""
    cord, target = surfaces(1.0)
    dose = grid(lambda x, y, z: 60.0 - 0.6 * y - 1.2 * np.minimum(y + 6.0, 0.0), spacing=1.0)
    reading = read_gradient(dose, cord, target, 1.0)
    assert reading.gradient_gy_per_mm > 2 * 0.6
    assert reading.cord_gradient_gy_per_mm == pytest.approx(0.6, rel=1e-6)


def test_too_few_voxels_in_the_cord_take_the_gradient_around_it(monkeypatch):
    cord, target = surfaces(1.0)
    dose = grid(lambda x, y, z: 60.0 - 0.6 * y - 1.2 * np.minimum(y + 6.0, 0.0), spacing=1.0)
    monkeypatch.setattr(falloff, "MIN_CORD_VOXELS", 100_000)
    reading = read_gradient(dose, cord, target, 1.0)
    assert reading.cord_gradient_gy_per_mm == reading.gradient_gy_per_mm


def test_gradient_far_from_the_cord_does_not_count():
    """A cliff 15 mm in front of the cord is not between cord and target."""
    cord, target = surfaces(1.0)
    cliff = read_gradient(grid(lambda x, y, z: 60 - 0.8 * y + 40.0 * (y < -18)), cord, target, 1.0)
    assert cliff is not None
    assert cliff.gradient_gy_per_mm == pytest.approx(0.8, rel=1e-6)


def test_flat_dose_has_no_gradient():
    cord, target = surfaces(1.0)
    assert read_gradient(grid(lambda x, y, z: 60.0), cord, target, 1.0) is None


def test_dose_grid_elsewhere_has_no_gradient():
    cord, target = surfaces(1.0)
    far = grid(lambda x, y, z: 60 - y)
    moved = DoseGrid.from_array(
        GridGeometry(far.geometry.x_mm + 500, far.geometry.y_mm, far.geometry.z_mm), far.values
    )
    assert read_gradient(moved, cord, target, 1.0) is None
