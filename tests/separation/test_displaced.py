"""Near-maxima of displaced structures: every way gives what all points give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.separation import displaced
from cordgap.separation.displaced import (
    Moves,
    cluster_points,
    dose_held_gy,
    near_maximum_gy,
    steep_dose,
)

SEEDED = settings(derandomize=True, deadline=None, max_examples=15)


def cloud(seed, n=4000):
    """Points in a box, their outward vectors and volumes that are not the same."""
    random = np.random.default_rng(seed)
    points = random.uniform([-5, -5, -15], [5, 5, 15], (n, 3))
    outward = np.c_[points[:, :2] / 5, np.zeros(n)]
    return cluster_points(points, outward, random.uniform(0.3, 1.2, n))


def rough_dose(seed, *, even=True):
    """Random samples: as far from smooth as a dose can be; axes even or not."""
    random = np.random.default_rng(seed)
    axes = []
    for _ in range(3):
        steps = np.full(24, 2.3) if even else random.uniform(0.8, 3.9, 24)
        axes.append(np.cumsum(steps) - steps.sum() / 2)
    values = random.uniform(0, 30, (24, 24, 24))
    return DoseGrid.from_array(GridGeometry(*axes), values)


def some_moves(seed, n=12, spread=1.5):
    random = np.random.default_rng(seed)
    turned = np.linalg.qr(random.normal(size=(n, 3, 3)) * 0.02 + np.eye(3))[0]
    turned *= np.sign(np.linalg.det(turned))[:, None, None]
    return Moves(turned, random.normal(0, spread, (n, 3)), random.normal(0, 0.6, n))


def by_sorting(points, moves, dose, wanted):
    out = []
    for k in range(len(wanted)):
        gy, _ = dose_held_gy(dose, moves.apply(k, points.points_mm, points.outward))
        order = np.argsort(-gy)
        out.append(gy[order[np.searchsorted(np.cumsum(points.volume_mm3[order]), wanted[k])]])
    return np.array(out)


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("engine", ["numpy", "python", "compiled"])
def test_every_way_gives_what_all_points_give(engine, even, monkeypatch):
    points, moves = cloud(1), some_moves(2)
    dose = steep_dose(rough_dose(3, even=even), points, moves)
    wanted = np.linspace(20.0, 60.0, 12)
    if engine == "compiled":
        pytest.importorskip("numba")
    elif engine == "python":
        points = cloud(1, n=700)
        monkeypatch.setattr(displaced, "_kernel", lambda *_: displaced.near_maxima)
        engine = "auto"
    expected = by_sorting(points, moves, dose, wanted)
    for prune in (True, False):
        found = near_maximum_gy(points, moves, dose, wanted, engine=engine, prune=prune)
        # Rounding alone: the order of additions differs.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@SEEDED
@given(seed=st.integers(0, 10_000), wanted=st.floats(1.0, 2000.0))
@example(seed=68, wanted=1.0)  # the hottest point alone: a rounding below itself
@example(seed=322, wanted=1.0)
def test_leaving_clusters_out_changes_nothing(seed, wanted):
    points, moves = cloud(seed, n=1500), some_moves(seed + 1, n=3)
    dose = steep_dose(rough_dose(seed + 2, even=bool(seed % 2)), points, moves)
    volumes = np.full(3, min(wanted, 0.9 * float(points.volume_mm3.sum())))
    pruned = near_maximum_gy(points, moves, dose, volumes, engine="numpy")
    every = near_maximum_gy(points, moves, dose, volumes, engine="numpy", prune=False)
    # The same sums over fewer points at a time: their last digit may differ.
    np.testing.assert_allclose(pruned, every, rtol=0, atol=1e-9)


def test_dose_is_trilinear_and_held_at_the_edge():
    geometry = GridGeometry(np.arange(5.0), np.arange(4.0) * 2, np.array([0.0, 1.0, 4.0]))
    zz, yy, xx = np.meshgrid(*geometry.axes, indexing="ij")
    dose = DoseGrid.from_array(geometry, xx + 2 * yy + 3 * zz)
    points = cluster_points(
        np.array([[1.0, 1.0, 1.0], [3.0, 5.0, 3.0]]), np.zeros((2, 3)), np.ones(2)
    )
    block = steep_dose(dose, points, Moves(np.eye(3)[None], np.zeros((1, 3)), np.zeros(1)))
    at = np.array([[0.5, 1.5, 2.5], [9.0, 1.0, 0.5], [1.0, -3.0, 9.0]])
    found, _ = dose_held_gy(replace(block), at)
    np.testing.assert_allclose(found, [11.0, 4.0 + 2.0 + 1.5, 1.0 + 0.0 + 12.0], atol=1e-12)


def test_clusters_hold_their_points():
    points = cloud(4)
    which = np.repeat(np.arange(points.radius_mm.size), np.diff(points.start))
    away = np.linalg.norm(points.points_mm - points.centre_mm[which], axis=1)
    assert (away <= points.radius_mm[which] + 1e-12).all()
    assert points.radius_mm.max() <= displaced.CLUSTER_MM * np.sqrt(3)
    np.testing.assert_allclose(points.cluster_mm3.sum(), points.volume_mm3.sum())
