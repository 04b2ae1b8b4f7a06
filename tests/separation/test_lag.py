"""How far the near-maximum of the cord lags behind a receding target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.case.case import Case, Prescription
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.phantom import Epidural, SpineDose, spine_case
from cordgap.separation.anatomy import survey
from cordgap.separation.falloff import Falloff
from cordgap.separation.lag import CordDose, lag_behind
from cordgap.separation.recession import cord_lattice


def two_sides(hot_gy: float, warm_gy: float, warm_facing_mm: float) -> CordDose:
    """100 mm3 that touch the target, and 100 mm3 that face target farther away."""
    return CordDose(np.repeat([hot_gy, warm_gy], 100), np.repeat([0.0, warm_facing_mm], 100), 1.0)


def test_cord_that_faces_the_target_everywhere_alike_has_no_lag():
    lag = lag_behind(two_sides(20.0, 18.0, 0.0), 0.0, 1.3, 1.0)
    assert lag.effective_mm == pytest.approx(lag.separation_mm)


def test_no_share_no_lag():
    lag = lag_behind(two_sides(20.0, 18.0, 5.0), 0.0, 1.3, 0.0)
    assert lag.effective_mm == pytest.approx(lag.separation_mm)


def test_warm_cord_that_faces_farther_target_waits():
    """20 Gy at contact falls to 18 Gy in 2 mm; then 18 Gy waits until the target is beyond 4 mm."""
    lag = lag_behind(two_sides(20.0, 18.0, 4.0), 0.0, 1.0, 1.0)
    for s, room in ((0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 2.0), (4.0, 2.0), (6.0, 4.0)):
        assert lag.effective(s) == pytest.approx(room)
    assert lag.effective(20.0) == pytest.approx(18.0)
    falloff = Falloff(20.0, 0.0, 1.0, 5.0, lag)
    assert falloff.cord_dose_gy(3.0) == pytest.approx(18.0)
    assert falloff.separation_for_mm(17.0) == pytest.approx(5.0)
    # Half the lag: the warm side falls 0.5 Gy per mm until 4 mm, the hot one 1.
    half = Falloff(20.0, 0.0, 1.0, 5.0, lag_behind(two_sides(20.0, 18.0, 4.0), 0.0, 1.0, 0.5))
    assert half.cord_dose_gy(4.0) == pytest.approx(16.0)
    assert half.cord_dose_gy(8.0) == pytest.approx(12.0)


def test_from_a_separation_on_only_what_is_beyond_it_waits():
    lag = lag_behind(two_sides(20.0, 19.5, 4.0), 3.0, 1.0, 1.0)
    for s, room in ((3.25, 0.25), (4.0, 0.5), (5.0, 1.5), (7.0, 3.5)):
        assert lag.effective(s) == pytest.approx(room)


cords = st.builds(two_sides, st.floats(10, 30), st.floats(2, 30), st.floats(0, 8))


@settings(max_examples=60, deadline=None)
@given(cord=cords, slope=st.floats(0.3, 4), share=st.floats(0, 0.95), begin=st.floats(0, 4))
def test_more_share_means_more_lag_and_never_a_lead(cord, slope, share, begin):
    lag, more = (lag_behind(cord, begin, slope, q) for q in (share, min(1.0, share + 0.05)))
    assert (np.diff(lag.effective_mm) >= 0).all()
    assert (lag.effective_mm <= lag.separation_mm - begin + 1e-9).all()
    assert (more.effective_mm <= lag.effective_mm + 1e-9).all()
    for room in (0.3, 2.0, 7.0, 30.0):
        assert lag.effective(lag.separation_for(room)) == pytest.approx(room, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(cord=cords, slope=st.floats(0.3, 4), factor=st.floats(0.3, 3))
def test_scaling_the_plan_leaves_the_lag(cord, slope, factor):
    scaled = CordDose(factor * cord.dose_gy, cord.facing_mm, factor)
    one, other = lag_behind(cord, 0.0, slope, 0.75), lag_behind(scaled, 0.0, factor * slope, 0.75)
    assert other.effective_mm == pytest.approx(one.effective_mm, abs=1e-6)


def test_what_the_cord_of_a_phantom_faces():
    """Target 1 mm in front: no cord faces nearer target, and its back faces it from the sides."""
    case = spine_case(
        epidural=Epidural("anterior", 1.0), dose=SpineDose(cord_edge_gy=21.0), image=False
    )
    found = survey(case, case.structure("SpinalCord"), case.structure("GTV"), max_mm=10.0)
    cord = found.cord_dose
    # Samples of a surface lie 0.25 mm apart: 0.13 mm off at most.
    assert cord.facing_mm.min() == pytest.approx(found.gap.separation_mm, abs=0.13)
    assert cord.hot_gradient_gy_per_mm > 0
    assert 0 < found.wrap < 1
    assert found.lag(found.gap.separation_mm, 2.0, 0.75) is found.lag(
        found.gap.separation_mm, 2.0, 0.75
    )


def test_without_a_dose_there_is_no_lag():
    case = replace(spine_case(epidural=Epidural("anterior", 1.0), image=False), dose=None)
    found = survey(case, case.structure("SpinalCord"), case.structure("GTV"), max_mm=10.0)
    assert found.cord_dose is None and found.lag(1.0, 2.0, 0.75) is None


def test_a_target_that_overlaps_the_cord_all_round_does_not_wait():
    """A ring that reaches 1 mm into the cord: all of the cord faces target inside it."""

    def tube(number, name, radii, half):
        t = np.linspace(0, 2 * np.pi, 120, endpoint=False)
        rings = [r * np.c_[np.cos(t), np.sin(t)] for r in radii]
        z = np.arange(-half + 0.75, half, 1.5)
        flat = [np.c_[ring, np.full(len(ring), v)] for v in z for ring in rings]
        return structure_from_contours(number, name, flat)

    axis = np.arange(-24.0, 24.1, 1.5)
    geometry = GridGeometry(axis + 0.31, axis - 0.17, axis + 0.11)
    _, yy, xx = np.meshgrid(axis + 0.11, axis - 0.17, axis + 0.31, indexing="ij")
    dose = DoseGrid.from_array(geometry, 15.0 + np.hypot(xx, yy))
    cord, target = tube(2, "SpinalCord", [5.0], 20.0), tube(1, "GTV", [12.0, 4.0], 9.0)
    case = Case((target, cord), dose, Prescription(24.0, 2, "option"))
    found = survey(case, cord, target, max_mm=8.0)
    assert found.gap.separation_mm == 0.0
    # Samples of the target's flat ends lie on a lattice of 0.25 mm: the nearest is 0.18 mm off.
    assert found.cord_dose.facing_mm.max() <= 0.18
    lag = found.lag(0.0, 1.0, 1.0)
    assert lag.effective(3.0) == pytest.approx(3.0, abs=0.18)


def test_the_gradient_is_that_of_the_hottest_points():
    """Dose 0.02 (75 - y)² falls by 0.04 (75 - y) a mm; the hottest 35 mm3 lie at the front."""
    phantom = spine_case(image=False)
    axis = np.arange(-40.0, 41.0, 1.0)
    geometry = GridGeometry(axis, axis + 40.0, axis)
    y = (axis + 40.0)[None, :, None] * np.ones((axis.size, 1, axis.size))
    dose = DoseGrid.from_array(geometry, 0.02 * (75.0 - y) ** 2)
    case = replace(phantom, dose=dose)
    anatomy = survey(case, case.structure("SpinalCord"), case.structure("GTV"), max_mm=5.0)
    points = cord_lattice(anatomy.cord, anatomy.target_surface)
    front = np.sort(points[:, 1])[:35].mean()
    assert anatomy.cord_dose.hot_gradient_gy_per_mm == pytest.approx(
        0.04 * (75.0 - front), rel=0.01
    )
