"""The target left after decompression, T(s)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.metrics import parse_metric
from cordgap.dvh.solid import build_solid
from cordgap.dvh.surface import surface_of
from cordgap.separation.gap import map_gaps, measure_gap, sextant_of
from cordgap.separation.resect import resection_inside_cc, sample_target
from cordgap.separation.result import SEXTANTS

SEEDED = settings(derandomize=True, deadline=None, max_examples=30)
RADIUS, GAP, LENGTH, REACH = 5.0, 0.7, 18.0, 11.0


def ring(points, z):
    return np.c_[points, np.full(len(points), z)]


def circle(radius, n=360):
    t = 2 * np.pi * (np.arange(n) + 0.3) / n
    return radius * np.c_[np.cos(t), np.sin(t)]


def solid_of(outlines, half, spacing=1.5):
    z = np.arange(-half + spacing / 2, half, spacing)
    contours = [ring(o, float(v)) for v in z for o in outlines]
    return build_solid(structure_from_contours(1, "ROI", contours))


def slab():
    """A wide slab in front of the cord, its face GAP away: y from -17.7 to -5.7."""
    face = -(RADIUS + GAP)
    return np.array([(-20, face - 12), (20, face - 12), (20, face), (-20, face)], float)


@cache
def cord():
    return surface_of(solid_of([circle(RADIUS)], 36.0))


@cache
def dose():
    axis = np.arange(-40.0, 41.0, 2.0)
    geometry = GridGeometry(axis + 0.3, axis - 0.2, axis + 0.1)
    zz, yy, xx = np.meshgrid(*geometry.axes, indexing="ij")
    return DoseGrid.from_array(geometry, 20 - 0.3 * yy + 0.1 * xx + 0.05 * zz)


@cache
def cells(with_dose=True):
    target = solid_of([slab()], LENGTH / 2)
    return sample_target(target, dose() if with_dose else None, cord(), reach_mm=REACH)


def segment_mm2(radius, distance):
    """Area of a disc beyond a line."""
    u = distance / radius
    return radius**2 * (np.arccos(u) - u * np.sqrt(1 - u * u))


@pytest.mark.parametrize("with_dose", [True, False])
@pytest.mark.parametrize("separation", [2.0, 3.0, 5.0, 8.0])
def test_resection_of_a_slab_beside_a_cylinder(separation, with_dose):
    """What lies within s of a cylinder is a wider cylinder: a circular segment times the length.

    1 %: cells of 0.5 mm are taken or left as a whole, thousands of them on the border.
    """
    exact = segment_mm2(RADIUS + separation, RADIUS + GAP) * LENGTH / 1000
    assert cells(with_dose).resection_cc(separation) == pytest.approx(exact, rel=0.01)


def test_nothing_is_removed_up_to_the_present_gap():
    assert cells().resection_cc(0.0) == 0.0
    assert cells().resection_cc(GAP - 0.05) == 0.0


def test_cells_hold_the_target():
    target = solid_of([slab()], LENGTH / 2)
    assert cells().volume_mm3.sum() == pytest.approx(target.volume_mm3, rel=1e-9)
    assert cells().outside_mm3 == 0.0
    assert (np.diff(cells().dose_gy) >= 0).all()


@SEEDED
@given(separation=st.floats(0.0, 10.0))
def test_every_kept_cell_is_far_enough(separation):
    """By brute force: an upright cylinder knows its distance."""
    kept = cells().points_mm[cells().keep(separation)]
    distance = np.hypot(kept[:, 0], kept[:, 1]) - RADIUS
    # How far the sampled surface may be off: 0.03 mm, and 0.1 mm beyond 6 mm (fewer samples).
    off = 0.03 if separation < 5.9 else 0.1
    assert (distance >= separation - off).all()
    gone = cells().points_mm[~cells().keep(separation)]
    assert (np.hypot(gone[:, 0], gone[:, 1]) - RADIUS <= separation + off).all()


@SEEDED
@given(pair=st.tuples(st.floats(0.0, 10.0), st.floats(0.0, 10.0)))
def test_the_remaining_target_shrinks(pair):
    small, large = sorted(pair)
    assert cells().resection_cc(small) <= cells().resection_cc(large)
    assert not (cells().keep(large) & ~cells().keep(small)).any()
    left = [cells().remaining_dvh(s).total_volume_cc for s in (small, large)]
    assert left[1] <= left[0]


@pytest.mark.parametrize("metric", ["D95%[Gy]", "D98%[Gy]", "DC0.035cc[Gy]", "D0.035cc[Gy]"])
def test_whole_target_has_the_dvh_of_the_target(metric):
    """T(0) by cells of 0.5 mm against the full integration; the dose changes 0.32 Gy/mm.

    A quarter of a cell of 0.5 mm is what their middle leaves of the coldest and hottest edge.
    """
    target = solid_of([slab()], LENGTH / 2)
    whole = compute_dvh(target, dose(), uncertainty=False)
    expected = parse_metric(metric).evaluate(whole, 20.0).value
    assert cells().coverage(parse_metric(metric), 0.0, 20.0) == pytest.approx(
        expected, abs=0.32 * 0.125
    )


def test_nothing_left():
    small = solid_of([circle(7.0), circle(5.2)], 9.0)
    taken = sample_target(small, dose(), cord(), reach_mm=REACH)
    assert taken.remaining_dvh(5.0) is None
    assert taken.coverage(parse_metric("D98%[Gy]"), 5.0, 20.0) is None
    assert taken.resection_cc(5.0) == pytest.approx(small.volume_cc, rel=1e-9)


def test_target_outside_the_dose_grid_counts_in_the_total():
    part = dose().crop([-40, -40, -40], [40, 40, 0.0], pad=0)
    cut = sample_target(solid_of([slab()], LENGTH / 2), part, cord(), reach_mm=REACH)
    top = part.geometry.z_mm[-1]
    # In or out are whole sub-slices of 0.5 mm.
    assert cut.outside_mm3 == pytest.approx(40 * 12 * (9.0 - top), abs=40 * 12 * 0.25)
    assert cut.coverage(parse_metric("D98%[Gy]"), 0.0, 20.0) is None
    assert cut.remaining_dvh(0.0).total_volume_cc == pytest.approx(40 * 12 * 18 / 1000, rel=1e-6)


def test_resection_inside_a_canal():
    """The canal is a wider cylinder of 8 mm: of the removed segment only that part is inside."""
    canal = solid_of([circle(8.0)], 36.0)
    inside = resection_inside_cc(cells(), 5.0, canal)
    exact = segment_mm2(8.0, RADIUS + GAP) * LENGTH / 1000
    assert inside == pytest.approx(exact, rel=0.01)
    assert inside < cells().resection_cc(5.0)
    wide = solid_of([circle(30.0)], 36.0)
    assert resection_inside_cc(cells(), 5.0, wide) == pytest.approx(
        cells().resection_cc(5.0), rel=1e-9
    )


@cache
def placed():
    """The cells with their sextants."""
    target = surface_of(solid_of([slab()], LENGTH / 2))
    gaps = map_gaps(cord().solid, target, measure_gap(cord(), target))
    return replace(cells(), sextant=sextant_of(cells().points_mm, gaps)), gaps


@SEEDED
@given(separation=st.floats(0.0, 10.0))
def test_volumes_by_sextant_and_by_level_sum_to_the_resection(separation):
    taken, gaps = placed()
    whole = taken.resection_cc(separation)
    assert taken.resection_by_sextant_cc(separation).sum() == pytest.approx(whole, abs=1e-12)
    by_level = taken.resection_by_level_cc(separation, gaps.level_mm)
    assert by_level.sum() == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("separation", [2.0, 5.0])
def test_volumes_by_sextant_of_a_slab_in_front(separation):
    """Between two rays the removed part is an annular sector minus the triangle before the face.

    1 %, or five cells: cells of 0.5 mm are taken or left as a whole.
    """
    taken, _ = placed()
    found = taken.resection_by_sextant_cc(separation)
    wide, face = RADIUS + separation, RADIUS + GAP
    half = min(np.radians(30), np.arccos(face / wide))
    exact = (half * wide**2 - face**2 * np.tan(half)) * LENGTH / 1000
    assert found[0] == pytest.approx(exact, rel=0.01)
    assert found[1] == pytest.approx(found[5], rel=0.01, abs=5 * 0.5**3 / 1000)
    assert found[2:5].sum() == 0.0


@SEEDED
@given(
    separation=st.floats(0.0, 10.0),
    names=st.sets(st.sampled_from(SEXTANTS), min_size=1),
)
def test_what_cannot_be_reached_stays(separation, names):
    taken, _ = placed()
    some = taken.clear_only(names)
    removed = some.resection_by_sextant_cc(separation)
    whole = taken.resection_by_sextant_cc(separation)
    reached = np.array([name in names for name in SEXTANTS])
    np.testing.assert_allclose(removed, np.where(reached, whole, 0.0))
    assert some.resection_cc(separation) == pytest.approx(removed.sum(), abs=1e-12)
    assert not (taken.keep(separation) & ~some.keep(separation)).any()
