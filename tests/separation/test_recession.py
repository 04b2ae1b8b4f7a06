"""Isodoses that go back with the target, in doses whose answer is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.solid import build_solid
from cordgap.dvh.surface import surface_of
from cordgap.separation import estimators
from cordgap.separation.recession import Recession, read_dose, recede

RADIUS = 5.0


def solid_of(outlines, half):
    z = np.arange(-half + 0.75, half, 1.5)
    contours = [np.c_[o, np.full(len(o), v)] for v in z for o in outlines]
    return build_solid(structure_from_contours(1, "any", contours))


def circle(radius, n=180):
    t = 2 * np.pi * (np.arange(n) + 0.3) / n
    return radius * np.c_[np.cos(t), np.sin(t)]


def box(x, low, high):
    return np.array([[-x, low], [x, low], [x, high], [-x, high]], dtype=float)


def dose(values, half=40.0):
    axis = np.arange(-half, half + 0.1, 1.0)
    geometry = GridGeometry(axis + 0.31, axis - 0.17, axis + 0.11)
    z, y, x = np.meshgrid(*geometry.axes, indexing="ij")
    return DoseGrid.from_array(geometry, np.maximum(values(x, y, z) + 0.0 * x, 0.0))


CORD = solid_of([circle(RADIUS)], 12.0)
FRONT = surface_of(solid_of([box(15.0, -20.0, -6.0)], 30.0))
RING = surface_of(solid_of([circle(15.0), circle(6.0)], 30.0))


@pytest.mark.parametrize("fall", [1.0, 2.0])
def test_linear_dose_goes_back_by_its_slope(fall):
    """A wide flat target in front: every point marches straight back."""
    found = recede(dose(lambda x, y, z: 20 - fall * y), CORD, FRONT, to_share=0.7, max_mm=10.0)
    near_maximum = fall * found.receded_mm[1] / (1 - found.share[1])
    # Straight lines stay straight: every step takes the same dose away.
    np.testing.assert_allclose(np.diff(found.share), np.diff(found.share)[0], rtol=0.02)
    # The hottest 35 points of 1 mm3 stand for 0.035 cc; which they are changes: 0.1 mm.
    assert 20.0 < near_maximum < 20.0 + RADIUS * fall
    assert found.for_share_mm(0.8) == pytest.approx(0.2 * near_maximum / fall, abs=0.1)


def test_ring_pushes_towards_the_axis_and_stops_there():
    """Dose 10 on the axis rising by 2 Gy/mm: nothing is farther away than the axis."""
    field = dose(lambda x, y, z: 10 + 2 * np.hypot(x, y))
    found = recede(field, CORD, RING, to_share=0.1, max_mm=10.0)
    assert (np.diff(found.share) <= 0).all()
    assert found.receded_mm[-1] == pytest.approx(10.0)
    # The steps of 0.5 mm jump across the axis: what is left is 10 Gy and a little.
    near_maximum = 10 + 2 * RADIUS
    assert 10 / near_maximum * 0.9 < found.share[-1] < 10 / near_maximum * 1.25
    assert found.for_share_mm(0.3) is None


def test_more_is_asked_for_less():
    found = recede(dose(lambda x, y, z: 20 - y), CORD, FRONT, to_share=0.5, max_mm=10.0)
    asked = [found.for_share_mm(s) for s in (1.0, 0.95, 0.9, 0.8, 0.7)]
    assert asked[0] == 0.0
    assert (np.diff(asked) > 0).all()


def test_the_last_step_counts_and_nothing_beyond_it():
    march = Recession(np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.8, 0.6]))
    assert [march.for_share_mm(s) for s in (0.9, 0.8, 0.6)] == pytest.approx([0.25, 0.5, 1.0])
    assert march.for_share_mm(0.59) is None


def test_the_bound_and_its_interval(monkeypatch):
    """3 mm now, 2 mm of recession to 80 %: half of the way back is the least, 0.25 mm the rest."""
    march = Recession(np.array([0.0, 2.0, 4.0]), np.array([1.0, 0.8, 0.6]))
    monkeypatch.setattr(estimators, "recede", lambda *a, **how: march)
    anatomy = SimpleNamespace(
        gap=SimpleNamespace(separation_mm=3.0), dose="there", cord=None, target_surface=None
    )
    limits = [SimpleNamespace(allowed_factor=f, id=f"at {f}") for f in (0.9, 0.8)]
    found = estimators.isodose_recession(anatomy, limits, max_mm=10.0)
    assert found.required_mm == pytest.approx(5.0)
    assert found.interval_mm == pytest.approx((3.0 + 0.5 * 2.0 - 0.25, 5.25))
    assert found.binding == "at 0.8"


def test_cord_outside_the_dose_has_no_answer():
    small = dose(lambda x, y, z: 20.0, half=4.0)
    assert recede(small, CORD, FRONT, to_share=0.8, max_mm=10.0) is None


def test_no_dose_no_answer():
    assert recede(dose(lambda x, y, z: 0.0), CORD, FRONT, to_share=0.8, max_mm=10.0) is None


def test_beyond_the_grid_the_dose_is_that_of_its_edge():
    field = dose(lambda x, y, z: 20 + x - 2 * y + 0.5 * z, half=4.0)
    lower, upper = field.geometry.lower_mm, field.geometry.upper_mm
    inside = np.array([lower, upper, 0.5 * (lower + upper)])
    outside = np.array([lower - 3.0, upper + 2.0, 0.5 * (lower + upper)])
    assert read_dose(field, outside) == pytest.approx(read_dose(field, inside))
    assert read_dose(field, inside[:1])[0] == pytest.approx(20 + lower @ (1, -2, 0.5))
