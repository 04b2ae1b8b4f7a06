"""The surgeon who cannot clear all sides, on geometry where the answer is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from cordgap.analysis import Settings, analyze
from cordgap.case.case import Case, Prescription
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.metrics import parse_goal
from cordgap.separation import reach
from cordgap.separation.estimate import parse_sextants
from cordgap.separation.estimators import Estimate
from cordgap.separation.reach import Reach
from cordgap.separation.result import SEXTANTS, InTheWay

GAP, FAR = 0.7, 3.0
LIMIT = parse_goal("D0.035cc[Gy]<=17")


def circle(radius, n=360):
    t = 2 * np.pi * (np.arange(n) + 0.3) / n
    return radius * np.c_[np.cos(t), np.sin(t)]


def half_ring(outer, inner, front):
    """Half an annulus, in front of or behind the cord (y grows to the back)."""
    t = np.radians(np.linspace(0, 180, 181))
    arc = np.c_[np.cos(t), (-1 if front else 1) * np.sin(t)]
    return np.concatenate([outer * arc, inner * arc[::-1]])


def tube(number, name, outlines, half):
    z = np.arange(-half + 0.75, half, 1.5)
    contours = [np.c_[o, np.full(len(o), v)] for v in z for o in outlines]
    return structure_from_contours(number, name, contours)


def make(dose, target, spacing=1.5):
    axis = np.arange(-42.0, 42.1, spacing)
    geometry = GridGeometry(axis + 0.31, axis - 0.17, axis + 0.11)
    zz, yy, xx = np.meshgrid(*geometry.axes, indexing="ij")
    grid = DoseGrid.from_array(geometry, np.maximum(dose(xx, yy) + 0.0 * zz, 0.0))
    structures = (tube(1, "GTV", target, 9.0), tube(2, "SpinalCord", [circle(5.0)], 30.0))
    return Case(structures, grid, Prescription(24.0, 2, "option"))


def answer(case, sextants="", **how):
    reachable = parse_sextants(sextants) if sextants else ()
    result = analyze(case, Settings(constraints=(LIMIT,), reachable=reachable, **how))
    assert result.separation is not None, result.separation_reason
    return result.separation


FRONT = "anterior,left-anterolateral,right-anterolateral"
BACK = "posterior,left-posterolateral,right-posterolateral"


def hot(less_behind_gy):
    """Dose that rises 3 Gy/mm from 20 Gy on the cord, and is less behind."""

    def dose(x, y):
        return 20.0 + 3.0 * (np.hypot(x, y) - 5.0) - less_behind_gy * np.clip(y / 4.0, 0.0, 1.0)

    return dose


@cache
def hot_round(less_behind_gy=6.0, far_mm=FAR):
    """Target all round: nearer in front (0.7 mm) than behind (3.0 mm). Too much dose for the cord.

    The dose rises 3 Gy/mm from 20 Gy on the cord: plan-gradient needs (20 - 17)/3 = 1.0 mm more.
    """
    target = [half_ring(15.0, 5.0 + GAP, True), half_ring(15.0, 5.0 + far_mm, False)]
    return make(hot(less_behind_gy), target)


def test_what_stands_off_far_enough_is_not_in_the_way():
    whole, front = answer(hot_round()), answer(hot_round(), FRONT)
    assert whole.method == front.method == "plan-gradient"
    assert front.status == "ok"
    assert GAP < whole.required_separation_mm < FAR
    assert front.required_separation_mm == whole.required_separation_mm
    assert front.in_the_way == ()
    assert front.everywhere_mm is None
    assert "cleared-in-part" in {f.code for f in front.findings}
    assert "interval-beyond-reach" not in {f.code for f in front.findings}
    # What is removed is all in front: the volume is the same.
    assert front.resection_cc == pytest.approx(whole.resection_cc, rel=1e-9)
    assert [x.name for x in front.sextants if x.reachable] == [
        "anterior", "left anterolateral", "right anterolateral",
    ]  # fmt: skip


def test_warm_cord_behind_waits_until_the_target_behind_it_recedes():
    """As hot behind as in front, and the target there 3 mm off: the front alone does not do."""
    cool, warm = answer(hot_round()), answer(hot_round(0.0))
    assert cool.required_separation_mm < FAR < warm.required_separation_mm
    front = answer(hot_round(0.0), FRONT)
    assert front.status == "not reachable"
    assert "posterior" in {x.name for x in front.in_the_way}


def test_what_stays_nearer_is_in_the_way():
    whole, back = answer(hot_round()), answer(hot_round(), BACK)
    assert back.status == "not reachable"
    assert (back.required_separation_mm, back.interval_mm, back.make_mm) == (None, None, None)
    assert {x.name for x in back.in_the_way} == {
        "anterior", "left anterolateral", "right anterolateral",
    }  # fmt: skip
    for x in back.in_the_way:
        assert x.gap_mm == pytest.approx(GAP, abs=0.05)
    assert back.everywhere_mm == whole.required_separation_mm
    assert back.everywhere_interval_mm == whole.interval_mm
    assert "cannot be cleared" in back.reason
    assert f"{whole.required_separation_mm:.1f} mm" in back.reason
    own = next(x for x in back.schedules if (x.dose_gy, x.fractions) == (24.0, 2))
    assert (own.required_separation_mm, own.reason) == (None, back.reason)


def test_the_predicted_cord_dose_falls_no_further_than_what_stays():
    whole, front, back = (answer(hot_round(), x) for x in ("", FRONT, BACK))

    def predicted(found):
        return {p.separation_mm: p.cord_gy for p in found.curve if p.question == "re-planned"}

    everywhere, stays_far, stays_near = (predicted(x) for x in (whole, front, back))
    assert everywhere[6.0] < everywhere[3.0] < everywhere[1.0]
    assert stays_far[2.75] == everywhere[2.75]
    assert stays_far[6.0] == pytest.approx(everywhere[3.0], abs=0.1)
    assert stays_far[10.0] == stays_far[6.0]
    assert stays_near[10.0] == stays_near[1.0]
    assert stays_near[10.0] == pytest.approx(20.0, abs=0.2)


def test_an_interval_that_reaches_beyond_what_stays_is_said():
    """Behind, the target stays between the estimate and the upper end of its interval.

    As target comes nearer behind, more of the cord is hot there, and a little more is needed.
    """
    stay = answer(hot_round()).interval_mm[1]
    found = answer(hot_round(far_mm=stay), FRONT)
    assert found.status == "ok"
    assert found.required_separation_mm < stay < found.interval_mm[1]
    assert "interval-beyond-reach" in {f.code for f in found.findings}


@cache
def cold_in_front():
    """A ring that the dose leaves cold in front only; the cord goal is held."""

    def dose(x, y):
        rho = np.hypot(x, y)
        cold = 12.0 + 3.0 * (rho - 5.0)
        warm = np.minimum(13.0 + 15.0 * (rho - 5.0), 26.0)
        return np.where(y < -1.0, cold, warm)

    return make(dose, [circle(15.0), circle(5.0 + GAP)], spacing=1.0)


def test_trim_reads_what_is_left_where_only_some_is_cleared():
    """The cold part is in front: clearing the front cures it, though the back stays at 0.7 mm."""
    whole, front = answer(cold_in_front()), answer(cold_in_front(), FRONT)
    assert whole.method == front.method == "trim"
    assert (whole.status, front.status) == ("ok", "ok")
    assert whole.required_separation_mm > GAP + 0.5
    # What stays behind is warm and dilutes the cold share: no more is needed in front.
    assert front.required_separation_mm <= whole.required_separation_mm + 0.02
    assert front.resection_cc < whole.resection_cc
    removed = {x.name: x.resection_cc for x in front.sextants}
    assert sum(removed.values()) == pytest.approx(front.resection_cc, rel=1e-9)
    assert removed["posterior"] == 0.0


def test_trim_names_what_stays_cold():
    back = answer(cold_in_front(), BACK)
    assert back.status == "not reachable"
    assert "anterior" in {x.name for x in back.in_the_way}
    assert "misses its coverage goal at any separation" in back.reason
    headline = next(g for g in back.coverage_goals if g.headline)
    assert headline.required_separation_mm is None
    assert "cannot be cleared" in headline.reason


def test_all_sextants_are_the_same_as_none_named():
    every = ",".join(name.replace(" ", "-") for name in SEXTANTS)
    one, two = answer(hot_round()), answer(hot_round(), every)
    assert two.required_separation_mm == one.required_separation_mm
    assert "cleared-in-part" not in {f.code for f in two.findings}


def test_more_reach_never_needs_more_for_the_cord():
    names = [FRONT, FRONT + ",left-posterolateral", FRONT + "," + BACK]
    found = [answer(hot_round(), n).required_separation_mm for n in names]
    assert found[0] == found[1] == found[2]


def test_without_a_plan_what_stays_counts_too():
    case = hot_round()
    bare = Case(case.structures, None, case.prescription)
    whole, back = answer(bare), answer(bare, BACK)
    assert whole.method == "population-falloff"
    assert whole.required_separation_mm > GAP
    assert back.status == "not reachable"
    assert back.everywhere_mm == whole.required_separation_mm


def test_not_enough_even_on_all_sides_is_said_first():
    """A plan that no separation within max-mm cures: that is the reason, not the reach."""
    flat = make(lambda x, y: 40.0 + 0.2 * np.hypot(x, y), [circle(15.0), circle(5.0 + GAP)])
    found = answer(flat, FRONT)
    assert found.status == "not reachable within max-mm"
    assert found.in_the_way == ()


def test_what_stands_in_the_way_takes_the_number_away():
    """By hand: 3 mm needed, 2.5 mm of tumour behind and 3.2 mm beside it stay."""
    near, far = InTheWay("posterior", 2.5), InTheWay("left", 3.2)
    needed = Estimate("plan-gradient", 3.0, (2.6, 3.4))
    reach = Reach(None, None, ("anterior",), (near, far))
    found, blocking = reach.bound(needed, lambda: needed)
    assert blocking == (near,)
    assert (found.required_mm, found.interval_mm, found.reachable) == (None, None, False)
    assert "3.0 mm (2.6–3.4) would be needed on all sides" in found.reason
    assert "(2.5 mm posterior): the cord dose is bound by what stays" in found.reason
    free = Reach(None, None, ("anterior",), (far,))
    assert free.bound(needed, lambda: needed) == (needed, ())
    # Trim has read what is left of all sides: nothing is to be held against it.
    trimmed = Estimate("trim", 3.0, (2.6, 3.4))
    assert reach.bound(trimmed, lambda: needed) == (trimmed, ())


@dataclass(frozen=True)
class Around:
    """As much of an anatomy as is asked for: points of the target, told by their direction."""

    cells: object
    target_surface: object
    cord_surface: object
    map: object = None


def test_what_lies_within_half_a_cell_of_a_cleared_sextant_goes_with_it(monkeypatch):
    """Cells of 5 degrees: the border at 30 degrees on either side is at 32.5 for what stays."""
    angles = np.array([0.0, 29.0, 32.0, 33.0, -29.0, -32.0, -33.0])
    monkeypatch.setattr(reach, "directions_of", lambda points, of: points[:, 0] % 360.0)
    points = np.c_[angles, np.arange(angles.size), np.zeros(angles.size)]
    around = Around(
        cells=SimpleNamespace(clear_only=lambda names: None),
        target_surface=SimpleNamespace(points_mm=points),
        # The second coordinate stands for the distance to the cord.
        cord_surface=SimpleNamespace(distance_mm=lambda at, limit_mm: at[:, 1] + 0.5),
    )
    found = reach.clear_only(around, [SEXTANTS[0]], 8.0)
    assert found.staying == (InTheWay(SEXTANTS[1], 3.5), InTheWay(SEXTANTS[5], 6.5))
