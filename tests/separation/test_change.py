"""What changed between two anatomies: gaps carried over, the cord that moved, the canal."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cordgap.case.structure import structure_from_contours
from cordgap.dvh.solid import build_solid
from cordgap.errors import GeometryMismatchError
from cordgap.separation import change
from cordgap.separation.gap import GapMap


def circle(radius, z=0.0, n=90):
    t = 2 * np.pi * np.arange(n) / n
    return np.c_[radius * np.cos(t), radius * np.sin(t), np.full(n, z)]


def tube(number, name, radius, low, high):
    levels = np.arange(low, high + 0.1, 2.0)
    return structure_from_contours(number, name, [circle(radius, z) for z in levels])


def empty_map():
    nowhere = np.full((2, 2), np.nan)
    return GapMap(np.array([0.0, 1.0]), np.array([0.0, 90.0]), nowhere, None, nowhere)


@pytest.mark.parametrize(
    ("before", "after", "gained", "at_least", "words"),
    [
        (1.0, 4.0, 3.0, False, None),
        (None, 4.0, None, False, "farther than 20 mm before"),
        (1.0, None, 19.0, True, "farther than 20 mm now"),
    ],
)
def test_what_was_gained(before, after, gained, at_least, words):
    found = change._gain(before, after)
    assert found[:2] == (gained, at_least)
    assert (found[2] is None) == (words is None) and (words or "") in (found[2] or "")


def test_levels_that_were_not_seen_before():
    still = SimpleNamespace(apply=lambda points: points, matrix=np.eye(4))
    with pytest.raises(GeometryMismatchError, match="contoured at none of the levels") as caught:
        change._carry(empty_map(), empty_map(), still)
    assert caught.value.code == "levels-do-not-overlap"


def half_seen(cc, canal=None, outside=0.0):
    points = np.array([[0.0, 0.0, 0.0]])
    there = SimpleNamespace(points_mm=points, volume_mm3=np.array([1000.0 * cc]),
                            outside_mm3=outside)  # fmt: skip
    return SimpleNamespace(canal=canal, cells=there)


def test_what_is_left_in_the_canal():
    canal = build_solid(tube(3, "SpinalCanal", 9.0, -20, 20))
    way = SimpleNamespace(apply=lambda p: p)
    found = change._in_canal(half_seen(2, canal), half_seen(1, canal), way)
    assert (found.before_cc, found.after_cc, found.canal, found.reason) == (2.0, 1.0, "after", None)
    found = change._in_canal(half_seen(2), half_seen(1), way)
    assert found.reason == "no spinal canal is contoured, before or after"
    found = change._in_canal(half_seen(2), half_seen(1, canal), way)
    assert (found.before_cc, found.after_cc) == (None, 1.0)
    assert "what it held then is not known" in found.reason
    found = change._in_canal(half_seen(2, canal), half_seen(1, canal, outside=3.0), way)
    assert (found.before_cc, found.after_cc) == (None, None)
    found = change._in_canal(half_seen(2, canal, outside=3.0), half_seen(1), way)
    assert (found.before_cc, found.after_cc, found.canal) == (None, 1.0, "before")


def line_of_centres(levels, x):
    """A map of a cord whose middle lies at ``x`` on each level; four directions, four gaps."""
    levels = np.asarray(levels, float)
    gaps = np.tile([1.0, 2.0, 3.0, 4.0], (levels.size, 1)) + levels[:, None] / 100
    centres = np.c_[np.asarray(x, float), np.zeros(levels.size)]
    return GapMap(levels, np.array([0.0, 90.0, 180.0, 270.0]), gaps, None, centres)


STILL = SimpleNamespace(apply=lambda points: points, matrix=np.eye(4))


def test_how_far_the_cord_moved_is_a_mean_over_common_levels():
    step = change.LEVEL_STEP_MM
    old = line_of_centres(step * np.arange(6), np.zeros(6))
    # 0, 1, 2 mm aside on the first three levels; one level more is near enough, as the last.
    new = line_of_centres(step * np.arange(3), [0.0, 1.0, 2.0])
    assert change._cord_moved_mm(old, new, STILL) == pytest.approx((0 + 1 + 2 + 2) / 4)
    apart = line_of_centres(step * np.arange(50, 53), [0.0, 1.0, 2.0])
    assert change._cord_moved_mm(old, apart, STILL) == 0.0
    far = line_of_centres(step * np.arange(3), np.full(3, change.CORD_ELSEWHERE_MM + 2.0))
    with pytest.raises(GeometryMismatchError, match=r"lies \d+\.0 mm from where it was") as caught:
        change._cord_moved_mm(old, far, STILL)
    assert caught.value.code == "registration-implausible"


def test_gaps_are_carried_to_their_own_level_and_direction():
    step = change.LEVEL_STEP_MM
    old = line_of_centres(step * np.arange(6), np.zeros(6))
    new = line_of_centres(step * np.arange(3), np.zeros(3))
    carried = change._carry(new, old, STILL)
    np.testing.assert_allclose(carried.gap_mm[:3], new.gap_mm)
    # A level farther than a step from every one that was seen is not known.
    assert np.isnan(carried.gap_mm[4:]).all()
    # Half a turn about z: what was in front is behind, and left is right.
    turned = SimpleNamespace(
        apply=lambda p: p * (-1, -1, 1), matrix=np.diag([-1.0, -1.0, 1.0, 1.0])
    )
    carried = change._carry(new, old, turned)
    np.testing.assert_allclose(carried.gap_mm[:3], new.gap_mm[:, [2, 3, 0, 1]])
