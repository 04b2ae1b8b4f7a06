"""Cross-sections of what is removed and left, against areas known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from cordgap.case.structure import structure_from_contours
from cordgap.dvh.solid import build_solid
from cordgap.dvh.surface import surface_of
from cordgap.separation.gap import map_gaps, measure_gap
from cordgap.separation.sections import even_odd, regions_within, split_target

CORD_MM, INNER_MM, OUTER_MM = 5.0, 6.0, 20.0
LEVELS = np.arange(-30.0, 30.1, 2.0)


def cylinder(name, radii, levels):
    """Tube of circles of 720 points: the area of each is 1e-5 short of that of the circle."""
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    return structure_from_contours(
        1,
        name,
        [
            np.c_[r * np.cos(angle), r * np.sin(angle), np.full(angle.size, z)]
            for z in levels
            for r in radii
        ],
    )


@pytest.fixture(scope="module")
def bodies():
    cord = build_solid(cylinder("SpinalCord", [CORD_MM], LEVELS))
    target = build_solid(cylinder("GTV", [OUTER_MM, INNER_MM], LEVELS[10:21]))
    return surface_of(cord), target


@pytest.mark.parametrize("distance_mm", [0.5, 1.5, 3.0, 7.25])
def test_region_around_a_straight_cord_is_a_disc(bodies, distance_mm):
    surface, _ = bodies
    (row,) = regions_within(surface, [distance_mm], np.array([0.7]))
    exact = np.pi * (CORD_MM + distance_mm) ** 2
    # Distances are right to 0.02 mm (dvh/surface.py): of a disc, that times its circumference.
    assert row[0].area == pytest.approx(exact, abs=0.02 * 2 * np.pi * (CORD_MM + distance_mm))
    assert row[0].area == pytest.approx(exact, rel=2e-3)


def test_region_beyond_the_end_of_the_cord_is_smaller(bodies):
    surface, _ = bodies
    end = LEVELS[-1] + 1.0  # half a slice beyond the last plane
    rows = regions_within(surface, [3.0], end + np.array([-5.0, 1.0, 3.5]))
    inside, beyond, far = (row[0].area for row in rows)
    assert inside == pytest.approx(np.pi * 8.0**2, rel=2e-3)
    # At 1 mm above a flat end: 5 mm and the rounding of the rim, sqrt(3^2 - 1^2) mm. Edges are met
    # by samples 0.25 mm apart, so to half of that.
    assert np.sqrt(beyond / np.pi) == pytest.approx(5.0 + np.sqrt(8.0), abs=0.125)
    assert far == 0


@pytest.mark.parametrize("separation_mm", [0.0, 0.9, 2.0, 4.5, 20.0])
def test_removed_and_left_share_the_target(bodies, separation_mm):
    surface, target = bodies
    for split in split_target(target, surface, separation_mm, z_mm=np.array([-2.0, 0.0, 1.3])):
        reach = np.clip(CORD_MM + separation_mm, INNER_MM, OUTER_MM)
        exact = np.pi * (reach**2 - INNER_MM**2)
        assert split.removed.area == pytest.approx(exact, abs=0.02 * 2 * np.pi * reach)
        whole = np.pi * (OUTER_MM**2 - INNER_MM**2)
        assert split.removed.area + split.remaining.area == pytest.approx(whole, rel=1e-4)
        assert split.removed.intersection(split.remaining).area < 1e-6


def test_only_sextants_that_can_be_cleared_are_removed(bodies):
    surface, target = bodies
    gap = measure_gap(surface, surface_of(target))
    gaps = map_gaps(surface.solid, surface_of(target), gap)
    clearable = (True, True, False, False, False, False)  # anterior and left anterolateral
    (split,) = split_target(
        target, surface, 4.0, z_mm=np.array([0.0]), gaps=gaps, clearable=clearable
    )
    assert split.removed.area == pytest.approx(np.pi * (81.0 - 36.0) / 3, rel=5e-3)
    # LPS: anterior is -y, left is +x; from 330 over 0 to 90 degrees.
    x, y = split.removed.centroid.x, split.removed.centroid.y
    assert np.degrees(np.arctan2(x, -y)) == pytest.approx(30.0, abs=0.5)


def test_even_odd_counts_rings_in_rings():
    square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    assert even_odd([3 * square, 2 * square, square]).area == pytest.approx(36 - 16 + 4)
