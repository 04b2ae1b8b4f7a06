"""Distances between cord and target on geometry where they are known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.case.structure import structure_from_contours
from cordgap.dvh.solid import build_solid
from cordgap.dvh.surface import surface_of
from cordgap.separation.gap import (
    MAX_GAP_MM,
    binding_levels,
    direction_deg,
    map_gaps,
    measure_gap,
    sextant_index,
    sextant_of,
    summarise_sextants,
    worst_levels,
)
from cordgap.separation.result import SEXTANTS, GapMap

SEEDED = settings(derandomize=True, deadline=None, max_examples=15)
# Two surfaces sampled every 0.25 mm, each right to about 0.02 mm where it is smooth.
SMOOTH_MM = 0.05
# At a corner of an outline the distance is to a sample, up to half a step away along each face:
# at 3 mm and more from it that lengthens the distance by 0.125^2 / 3 = 0.01 mm, at 0.5 mm by 0.05.
RADIUS = 5.0
CENTRE = (1.37, -2.61)


def ring(points, z):
    return np.c_[points, np.full(len(points), z)]


def circle(radius, centre=CENTRE, n=180):
    t = 2 * np.pi * (np.arange(n) + 0.3) / n
    return np.array(centre) + radius * np.c_[np.cos(t), np.sin(t)]


def box(centre, half):
    (x, y), (a, b) = centre, half
    return np.array([(x - a, y - b), (x + a, y - b), (x + a, y + b), (x - a, y + b)], float)


def surface(outlines, low=-9.0, high=9.0, spacing=1.5):
    z = np.arange(low + spacing / 2, high, spacing)
    contours = [ring(o, float(v)) for v in z for o in outlines]
    return surface_of(build_solid(structure_from_contours(1, "ROI", contours)))


@cache
def cord():
    return surface([circle(RADIUS)], -24.0, 24.0)


def facing_box(gap, direction, half=(8.0, 4.0)):
    """A box whose face looks at the cord from a direction (0, 90, 180, 270) at a gap."""
    away = RADIUS + gap + half[1]
    angle = np.radians(direction)
    centre = (CENTRE[0] + away * np.sin(angle), CENTRE[1] - away * np.cos(angle))
    return box(centre, half if direction in (0, 180) else half[::-1])


@pytest.mark.parametrize("direction", [0, 90, 180, 270])
@pytest.mark.parametrize("gap", [0.3, 1.0, 4.7, 12.0])
def test_box_beside_a_cylinder(gap, direction):
    target = surface([facing_box(gap, direction)])
    found = measure_gap(cord(), target)
    assert found.separation_mm == pytest.approx(gap, abs=SMOOTH_MM)
    assert found.penetration_mm == 0.0
    apart = np.linalg.norm(np.subtract(found.cord_point_mm, found.target_point_mm))
    assert apart == pytest.approx(found.separation_mm, abs=SMOOTH_MM)
    on_cord = np.hypot(*np.subtract(found.cord_point_mm[:2], CENTRE))
    assert on_cord == pytest.approx(RADIUS, abs=SMOOTH_MM)


@pytest.mark.parametrize("direction", [0, 90, 180, 270])
def test_direction_of_the_minimum(direction):
    """Directions are the patient's: 0 anterior (-y), 90 patient left (+x), in LPS."""
    target = surface([facing_box(2.0, direction)])
    gaps = map_gaps(cord().solid, target, measure_gap(cord(), target))
    level = int(np.argmin(np.abs(gaps.level_mm)))
    assert gaps.direction_deg[np.nanargmin(gaps.gap_mm[level])] == direction
    assert np.nanmin(gaps.gap_mm) == pytest.approx(2.0, abs=SMOOTH_MM)


def test_direction_convention():
    dx, dy = np.array([0.0, 1.0, 0.0, -1.0, 1.0]), np.array([-1.0, 0.0, 1.0, 0.0, -1.0])
    np.testing.assert_allclose(direction_deg(dx, dy), [0, 90, 180, 270, 45], atol=1e-12)


def test_sextants_are_centred():
    assert SEXTANTS[0] == "anterior"
    directions = np.array([330.0, 0.0, 29.9, 30.0, 89.9, 90.0, 180.0, 240.0, 329.9])
    assert sextant_index(directions).tolist() == [0, 0, 0, 1, 1, 2, 3, 4, 5]


def test_sextant_summary():
    target = surface([facing_box(2.0, 90)])
    gaps = map_gaps(cord().solid, target, measure_gap(cord(), target))
    rows = {s.name: s for s in summarise_sextants(gaps)}
    assert set(rows) == set(SEXTANTS)
    # 90 degrees is the border of the two left sextants.
    left = min(rows["left anterolateral"].gap_mm, rows["left posterolateral"].gap_mm)
    assert left == pytest.approx(2.0, abs=SMOOTH_MM)
    # Its nearest direction is the border at 330 degrees: the face is 7 mm left of the axis, the
    # point 2.5 right of it.
    across = 7.0 + RADIUS * np.sin(np.radians(30))
    assert rows["right anterolateral"].gap_mm == pytest.approx(across, abs=SMOOTH_MM)
    assert all(s.deficit_mm is None and s.resection_cc is None for s in rows.values())
    assert all(s.reachable for s in rows.values())
    some = summarise_sextants(gaps, np.arange(6.0), ("posterior",))
    assert [s.name for s in some if s.reachable] == ["posterior"]
    assert [s.resection_cc for s in some] == list(range(6))


@pytest.mark.parametrize("gap", [0.5, 3.0])
def test_target_round_the_cord(gap):
    """A ring: the gap is the same in every direction and at every level of the ring."""
    target = surface([circle(15.0), circle(RADIUS + gap)])
    found = measure_gap(cord(), target)
    assert found.separation_mm == pytest.approx(gap, abs=SMOOTH_MM)
    gaps = map_gaps(cord().solid, target, found)
    within = np.abs(gaps.level_mm) < 8.5
    np.testing.assert_allclose(gaps.gap_mm[within], gap, atol=SMOOTH_MM)


@pytest.mark.parametrize("depth", [0.5, 2.0])
def test_overlap(depth):
    found = measure_gap(cord(), surface([facing_box(-depth, 0)]))
    assert found.separation_mm == 0.0
    assert found.penetration_mm == pytest.approx(depth, abs=SMOOTH_MM)


def test_cord_inside_a_filled_target():
    """A ring whose hole was filled: the cord lies inside the target as a whole."""
    found = measure_gap(cord(), surface([circle(12.0)]))
    assert found.separation_mm == 0.0
    # The target's end faces cross the cord; their middle is 5 mm deep, on a lattice of 0.25 mm.
    assert found.penetration_mm == pytest.approx(RADIUS, abs=0.18)


def test_levels_matter():
    """Target 4 mm above the end of the cord: the gap is along z."""
    short = surface([circle(RADIUS)], -24.0, 0.0)
    found = measure_gap(short, surface([circle(3.0)], 4.0, 16.0))
    assert found.separation_mm == pytest.approx(4.0, abs=SMOOTH_MM)


def test_farther_than_20_mm_is_no_gap_in_the_map():
    target = surface([facing_box(16.0, 0)])
    gaps = map_gaps(cord().solid, target, measure_gap(cord(), target))
    assert np.isnan(gaps.gap_mm).any()
    assert np.nanmax(gaps.gap_mm) <= MAX_GAP_MM


@st.composite
def neighbours(draw):
    """A leaning cord and a round target beside it, at any direction and level."""
    tilt = np.array([draw(st.floats(-0.3, 0.3)), draw(st.floats(-0.3, 0.3))])
    angle = np.radians(draw(st.floats(0, 360)))
    radius, gap = draw(st.floats(3.0, 9.0)), draw(st.floats(0.6, 8.0))
    middle = draw(st.floats(-6.0, 6.0))
    away = RADIUS + gap + radius
    centre = (away * np.sin(angle), -away * np.cos(angle))
    return tilt, radius, centre, middle


@SEEDED
@given(geometry=neighbours())
def test_map_against_brute_force(geometry):
    """The smallest gap of the map is the separation, and each cell is a distance to the target.

    The truth is the distance to a finite upright cylinder in closed form, of the point in which
    the ray meets the leaning cord.
    """
    tilt, radius, centre, middle = geometry
    z = np.arange(-23.25, 24.0, 1.5)
    contours = [ring(circle(RADIUS, tilt * v), float(v)) for v in z]
    leaning = surface_of(build_solid(structure_from_contours(1, "SpinalCord", contours)))
    target = surface([circle(radius, centre)], middle - 6, middle + 6)
    found = measure_gap(leaning, target)
    gaps = map_gaps(leaning.solid, target, found)
    assert np.nanmin(gaps.gap_mm) == pytest.approx(found.separation_mm, abs=0.05)
    if found.separation_mm == 0:
        return
    level, direction = np.meshgrid(gaps.level_mm, np.radians(gaps.direction_deg), indexing="ij")
    x = tilt[0] * level + RADIUS * np.sin(direction)
    y = tilt[1] * level - RADIUS * np.cos(direction)
    beside = np.maximum(np.hypot(x - centre[0], y - centre[1]) - radius, 0)
    above = np.maximum(np.abs(level - middle) - 6, 0)
    exact = np.hypot(beside, above)
    known = np.isfinite(gaps.gap_mm)
    error = np.abs(gaps.gap_mm - exact)[known]
    # One cell is given the separation itself; cells above the rim of the target see its edge,
    # whose samples lie up to 0.125 mm below it.
    assert np.sort(error)[-2] <= 0.13
    assert np.median(error) <= SMOOTH_MM
    assert (exact[~known] > MAX_GAP_MM - 0.2).all()


def test_moving_both_changes_nothing():
    shift = np.array([113.0, -87.0])
    target = facing_box(2.0, 0)
    here = measure_gap(cord(), surface([target]))
    there = measure_gap(
        surface([circle(RADIUS, CENTRE + shift)], -24.0, 24.0), surface([target + shift])
    )
    assert there.separation_mm == pytest.approx(here.separation_mm, abs=1e-6)


# --- left and right, sextants, levels ---

MIRRORED = [SEXTANTS.index(s) for s in (
    "anterior", "right anterolateral", "right posterolateral", "posterior",
    "left posterolateral", "left anterolateral",
)]  # fmt: skip


def mapped(tilt, radius, centre, middle, sign):
    """Map of a leaning cord and a round target, as it is or mirrored in the sagittal plane."""
    z = np.arange(-23.25, 24.0, 1.5)
    flip = np.array([sign, 1.0])
    contours = [ring(circle(RADIUS, tilt * v) * flip, float(v)) for v in z]
    leaning = surface_of(build_solid(structure_from_contours(1, "SpinalCord", contours)))
    target = surface([circle(radius, centre) * flip], middle - 6, middle + 6)
    found = measure_gap(leaning, target)
    return map_gaps(leaning.solid, target, found), found


@SEEDED
@given(geometry=neighbours())
def test_mirrored_patient_gives_the_mirrored_map(geometry):
    """Samples on the surfaces start elsewhere on the mirrored outline: 0.05 mm where it is smooth.

    At rims of the target the nearest sample may be half a step off (0.13 mm).
    """
    tilt, radius, centre, middle = geometry
    here, gap = mapped(tilt, radius, centre, middle, 1.0)
    there, other = mapped(tilt, radius, centre, middle, -1.0)
    assert other.separation_mm == pytest.approx(gap.separation_mm, abs=SMOOTH_MM)
    columns = [int(j) for j in (-np.arange(72)) % 72]
    np.testing.assert_allclose(here.level_mm, there.level_mm)
    np.testing.assert_allclose(here.direction_deg, np.sort((-there.direction_deg) % 360))
    one, two = here.gap_mm, there.gap_mm[:, columns]
    both = np.isfinite(one) & np.isfinite(two)
    # A cell at 20 mm may be known on one side only.
    lone = np.isfinite(one) ^ np.isfinite(two)
    assert (np.fmin(one, two)[lone] > MAX_GAP_MM - 0.2).all()
    # One cell on each side is given the separation itself.
    off = np.sort(np.abs(one - two)[both])
    assert off[-3] <= 0.13
    assert np.median(off) <= SMOOTH_MM
    for i, row in enumerate(summarise_sextants(there)):
        facing = summarise_sextants(here)[MIRRORED[i]]
        assert (row.gap_mm is None) == (facing.gap_mm is None) or (
            (row.gap_mm or facing.gap_mm) > MAX_GAP_MM - 0.2
        )
        if row.gap_mm is not None and facing.gap_mm is not None:
            assert row.gap_mm == pytest.approx(facing.gap_mm, abs=0.13)


def test_sextants_of_points_turn_round_the_cord_of_their_level():
    """A cord that leans 0.3 mm/mm to the left: 20 mm higher its centre is 6 mm further left."""
    z = np.arange(-23.25, 24.0, 1.5)
    contours = [ring(circle(RADIUS, (0.3 * v, 0.0)), float(v)) for v in z]
    leaning = surface_of(build_solid(structure_from_contours(1, "SpinalCord", contours)))
    target = surface([box((0.0, -14.0), (8.0, 4.0))])
    gaps = map_gaps(leaning.solid, target, measure_gap(leaning, target))
    points = np.array([(3.0, 20.0, 0.0), (3.0, 20.0, 20.0), (3.0, -20.0, -20.0), (30.0, -9.0, 0.0)])
    names = [SEXTANTS[i] for i in sextant_of(points, gaps)]
    assert names == ["posterior", "posterior", "anterior", "left anterolateral"]
    beside = np.array([(6.0, -2.0, 20.0), (6.0, -2.0, -20.0)])
    assert [SEXTANTS[i] for i in sextant_of(beside, gaps)] == ["anterior", "left anterolateral"]


def made_map(deficit):
    deficit = np.array(deficit, float)
    level = np.arange(len(deficit), dtype=float)
    direction = np.arange(deficit.shape[1]) * (360.0 / deficit.shape[1])
    centre = np.zeros((len(deficit), 2))
    return GapMap(level, direction, 3.0 - deficit, deficit, centre)


def test_levels_that_bind_are_runs_with_their_worst_level():
    rows = [[0, 0], [1, 0], [2, 0.5], [2, 1], [0, 0], [0, 0.3], [0, 0]]
    runs = binding_levels(made_map(rows))
    assert [r.z_mm for r in runs] == [(0.5, 3.5), (4.5, 5.5)]
    # Level 2 and 3 miss 2 mm both; level 3 misses more in all.
    assert (runs[0].worst_mm, runs[0].gap_mm, runs[0].deficit_mm) == (3.0, 1.0, 2.0)
    assert (runs[0].sextant, runs[1].sextant) == ("anterior", "posterior")
    assert runs[1].direction_deg == 180.0
    assert binding_levels(made_map([[0, 0], [0, 0]])) == ()


def test_worst_levels_are_spread():
    gaps = made_map(np.ones((40, 2)))
    removed = np.r_[np.zeros(5), np.arange(30.0) + 1, np.zeros(5)]
    levels = worst_levels(gaps, removed, most=3, apart_mm=5.0)
    assert levels[0] == 34.0
    assert len(levels) == 3
    # The extent is 29 mm: a quarter of it is more than 5 mm.
    assert min(abs(a - b) for a in levels for b in levels if a != b) >= 29 / 4
    assert worst_levels(gaps, np.zeros(40)) == ()
    assert worst_levels(gaps, np.eye(40)[7]) == (7.0,)
