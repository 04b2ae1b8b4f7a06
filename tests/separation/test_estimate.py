"""The answer: estimators, statuses, and what must hold for any plan."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap import analysis
from cordgap.analysis import Settings, analyze
from cordgap.case.case import Case, Prescription
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh import structures
from cordgap.dvh.metrics import parse_goal
from cordgap.errors import OptionError
from cordgap.limits import judge
from cordgap.phantom import Epidural, Sampling, SpineDose, spine_case

SEEDED = settings(derandomize=True, deadline=None, max_examples=12)
RX = Prescription(24.0, 2, "option")


@pytest.fixture(scope="module", autouse=True)
def compute_once():
    """Keep what does not depend on limits and goals: solids, DVHs and the survey of each case."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis, "survey", cache(analysis.survey))
        for name in ("build_solid", "surface_of", "hot_end_of_margin"):
            patch.setattr(judge, name, cache(getattr(judge, name)))
        for name in ("build_solid", "compute_dvh"):
            patch.setattr(structures, name, cache(getattr(structures, name)))
        yield


def circle(radius, centre=(0.0, 0.0), n=360):
    t = 2 * np.pi * (np.arange(n) + 0.3) / n
    return np.array(centre) + radius * np.c_[np.cos(t), np.sin(t)]


def tube(number, name, outlines, half):
    z = np.arange(-half + 0.75, half, 1.5)
    contours = [np.c_[o, np.full(len(o), v)] for v in z for o in outlines]
    return structure_from_contours(number, name, contours)


def make(dose, target, *, cord="SpinalCord", cord_half=30.0, spacing=1.5, target_half=9.0):
    """A cord of radius 5 on the axis, a target round or beside it, and a dose as a function."""
    grid = None
    if dose is not None:
        axis = np.arange(-42.0, 42.1, spacing)
        geometry = GridGeometry(axis + 0.31, axis - 0.17, axis + 0.11)
        zz, yy, xx = np.meshgrid(*geometry.axes, indexing="ij")
        grid = DoseGrid.from_array(geometry, np.maximum(dose(xx, yy, zz) + 0.0 * xx, 0.0))
    structures = (
        tube(1, "GTV", target, target_half),
        tube(2, cord, [circle(5.0)], cord_half),
    )
    return Case(structures, grid, RX)


def radial(inner, slope, radius=5.0):
    """Dose ``inner`` on the cord surface, rising with the distance from the axis."""
    return lambda x, y, z: inner + slope * (np.hypot(x, y) - radius)


def answer(case, goal="D0.035cc[Gy]<=17", **how):
    how.setdefault("constraints", (parse_goal(goal),) if goal else ())
    result = analyze(case, Settings(**how))
    assert result.separation is not None, result.separation_reason
    return result.separation


def codes(separation):
    return {finding.code for finding in separation.findings}


# --- trim ---

OUTER, GAP = 15.0, 0.7


@cache
def cold_rim():
    """A ring target whose dose rises with the distance from the cord."""
    return make(radial(12.0, 3.0), [circle(OUTER), circle(5.0 + GAP)], spacing=1.0)


def trimmed_to(share, volume_share):
    """Separation at which the coldest part of an annulus reaches a share of 24 Gy.

    Of the annulus from a to R the coldest fraction f lies within sqrt(a^2 + f (R^2 - a^2)); the
    dose 12 + 3 (rho - 5) reaches its value at rho*. Solved for a; the separation is a - 5.
    """
    rho = 5.0 + (share * 24.0 - 12.0) / 3.0
    return float(np.sqrt((rho**2 - volume_share * OUTER**2) / (1 - volume_share))) - 5.0


@pytest.mark.parametrize(
    ("goal", "share", "volume_share"),
    [("D98%[%]>=95", 0.95, 0.02), ("D95%[%]>=95", 0.95, 0.05), ("D99%[%]>=80", 0.80, 0.01)],
)
def test_trim_finds_a_known_answer(goal, share, volume_share):
    """Bisection stops at 0.01 mm; cells of 0.5 mm and a curved dose on 1 mm leave 0.05 mm."""
    found = answer(cold_rim(), coverage=(parse_goal(goal),))
    assert (found.method, found.question, found.status) == ("trim", "as planned", "ok")
    assert found.separation_mm == pytest.approx(GAP, abs=0.05)
    exact = trimmed_to(share, volume_share)
    assert found.required_separation_mm == pytest.approx(exact, abs=0.06)
    assert found.additional_mm == pytest.approx(
        found.required_separation_mm - found.separation_mm, abs=1e-9
    )
    low, high = found.interval_mm
    assert low <= found.required_separation_mm <= high
    annulus = np.pi * ((5 + found.required_separation_mm) ** 2 - (5 + GAP) ** 2) * 18 / 1000
    assert found.resection_cc == pytest.approx(annulus, rel=0.02)  # cells of 0.5 mm on 0.7-3 mm


@SEEDED
@given(shares=st.tuples(st.integers(60, 110), st.integers(60, 110)))
def test_stricter_coverage_never_needs_less(shares):
    easy, hard = (
        answer(cold_rim(), coverage=(parse_goal(f"D98%[%]>={s}"),)) for s in sorted(shares)
    )
    assert easy.required_separation_mm <= hard.required_separation_mm + 1e-9


def test_several_coverage_goals_all_hold():
    goals = ("D98%[%]>=80", "D95%[%]>=95")
    alone = [answer(cold_rim(), coverage=(parse_goal(g),)).required_separation_mm for g in goals]
    both = answer(cold_rim(), coverage=tuple(parse_goal(g) for g in goals))
    assert both.required_separation_mm == pytest.approx(max(alone), abs=1e-9)


def test_already_sufficient():
    """Everything that is near the cord is covered, and the cord goal is held."""
    wall = make(lambda x, y, z: np.where(np.hypot(x, y) < 8.0, 8.0, 26.0), [circle(18), circle(11)])
    found = answer(wall)
    assert found.status == "already sufficient"
    assert found.required_separation_mm == found.separation_mm
    assert found.additional_mm == 0.0
    assert found.resection_cc == pytest.approx(0.0, abs=0.02)


def test_cold_everywhere_is_not_reachable():
    found = answer(make(lambda x, y, z: 15.0, [circle(OUTER), circle(5.7)]))
    assert found.status == "not reachable within max-mm"
    assert "up to 10 mm" in found.reason
    numbers = (found.required_separation_mm, found.interval_mm, found.additional_mm, found.make_mm)
    assert numbers == (None, None, None, None)
    assert found.resection_cc is None


def test_trim_asked_for_but_the_cord_goal_is_broken():
    found = answer(cold_rim(), "D0.035cc[Gy]<=9", method="trim")
    assert found.status == "not evaluable"
    assert "this plan exceeds its cord goal" in found.reason
    assert found.required_separation_mm is None


# --- plan gradient ---


@cache
def hot_cord(gap=1.0):
    return spine_case(
        epidural=Epidural("anterior", gap),
        dose=SpineDose(cord_edge_gy=21.0, gradient_gy_per_mm=2.4),
        sampling=Sampling(dose_spacing_mm=2.0),
        image=False,
    )


def test_broken_cord_goal_is_re_planned():
    found = answer(hot_cord())
    assert (found.method, found.question, found.status) == ("plan-gradient", "re-planned", "ok")
    assert found.binding_constraint is not None
    assert found.required_separation_mm > found.separation_mm
    low, high = found.interval_mm
    assert low < found.required_separation_mm < high
    assert found.make_mm >= high
    assert (2 * found.make_mm) % 1 == 0
    assert found.make_mm - high < 0.5


@SEEDED
@given(limits=st.tuples(st.integers(60, 200), st.integers(60, 200)))
@pytest.mark.parametrize("case", [hot_cord, cold_rim], ids=["covered", "misses coverage"])
def test_stricter_limit_never_needs_less(case, limits):
    """Across the switch between the estimators too: what is read and what is to be made."""
    strict, mild = (answer(case(), f"D0.035cc[Gy]<={n / 10}", max_mm=20.0) for n in sorted(limits))
    if mild.required_separation_mm is None:
        return
    if strict.required_separation_mm is None:
        assert strict.status == "not reachable within max-mm"
        return
    assert strict.required_separation_mm >= mild.required_separation_mm - 1e-9
    assert strict.make_mm is None or strict.make_mm >= mild.make_mm - 1e-9


@pytest.mark.parametrize("case", [hot_cord, cold_rim], ids=["covered", "misses coverage"])
def test_a_higher_dose_never_needs_less(case):
    """The same plan scaled to more dose in as many fractions, against the same limit."""
    rows = answer(case()).schedules
    for n in {row.fractions for row in rows}:
        same = sorted((r for r in rows if r.fractions == n), key=lambda r: r.dose_gy)
        known = [r.required_separation_mm for r in same if r.required_separation_mm is not None]
        # Without a number there is more than --max-mm at the high end.
        assert all(r.required_separation_mm is not None for r in same[: len(known)])
        assert (np.diff(known) >= -1e-9).all()


@pytest.mark.parametrize("factor", [0.5, 1.25, 2.0])
@pytest.mark.parametrize(
    ("case", "limit"), [(hot_cord, 17.0), (cold_rim, 17.0)], ids=["re-planned", "as planned"]
)
def test_scaling_dose_limit_and_prescription_changes_nothing(case, limit, factor):
    """Millimetres have no Gy in them; histogram bins scale too, so that rounding is left."""
    plan = case()
    grid = plan.dose
    scaled = replace(
        plan,
        dose=DoseGrid.from_array(grid.geometry, factor * grid.values),
        prescription=Prescription(factor * 24.0, 2, "option"),
    )
    here = answer(plan, f"D0.035cc[Gy]<={limit}")
    there = answer(scaled, f"D0.035cc[Gy]<={factor * limit}")
    assert (there.method, there.status) == (here.method, here.status)
    assert there.required_separation_mm == pytest.approx(here.required_separation_mm, abs=0.011)
    assert there.separation_mm == here.separation_mm


def test_the_largest_of_several_limits_decides():
    goals = ("D0.035cc[Gy]<=17", "D0.1cc[Gy]<=12")
    alone = [answer(hot_cord(), g).required_separation_mm for g in goals]
    both = answer(hot_cord(), None, constraints=tuple(parse_goal(g) for g in goals))
    assert both.required_separation_mm == pytest.approx(max(alone), abs=1e-9)
    assert len(both.cord_goals) == 2
    assert both.binding_constraint == both.cord_goals[1].id


def test_shallow_plan_is_not_reachable():
    found = answer(make(radial(22.0, 0.1), [circle(OUTER), circle(5.7)]), "D0.035cc[Gy]<=12")
    assert found.status == "not reachable within max-mm"
    assert "more than 10 mm" in found.reason


def test_curve_and_deficit_fit_the_answer():
    found = answer(hot_cord())
    removed = [p.resection_cc for p in found.curve if p.question == "as planned"]
    assert (np.diff(removed) >= 0).all()
    predicted = [p for p in found.curve if p.question == "re-planned"]
    assert (np.diff([p.cord_gy for p in predicted]) <= 0).all()
    deficit = found.map.deficit_mm
    known = np.isfinite(found.map.gap_mm)
    expected = np.maximum(found.required_separation_mm - found.map.gap_mm[known], 0)
    np.testing.assert_allclose(deficit[known], expected, atol=1e-12)
    assert np.nanmax(deficit) == pytest.approx(found.additional_mm, abs=0.05)


def test_gap_of_the_phantom():
    """Measured in the axial plane; the cord leans by 0.02, a cosine of 0.9998."""
    assert answer(hot_cord(2.0)).separation_mm == pytest.approx(2.0, abs=0.05)


# --- statuses and questions ---


def test_overlap():
    found = answer(make(radial(20.0, 2.0), [circle(OUTER), circle(4.0)]))
    assert found.separation_mm == 0.0
    assert found.penetration_mm == pytest.approx(1.0, abs=0.05)
    assert found.overlap_cc == pytest.approx(np.pi * (25 - 16) * 18 / 1000, rel=0.02)
    assert "target-overlaps-cord" in codes(found)


def test_far_target():
    found = answer(make(radial(8.0, 1.2), [circle(8.0, (30.0, 0.0))]))
    assert found.separation_mm == pytest.approx(17.0, abs=0.05)
    assert "target-far-from-cord" in codes(found)


def test_prv_alone_stands_in():
    found = answer(make(radial(12.0, 3.0), [circle(OUTER), circle(6.0)], cord="SpinalCord_PRV02"))
    assert found.distance_from == "cord_prv"
    assert found.cord_role == "cord_prv"


def test_a_gap_in_the_cord_beside_the_target_is_refused():
    case = make(radial(12.0, 3.0), [circle(OUTER), circle(6.0)])
    cord = case.structures[1]
    gapped = replace(cord, planes=tuple(p for p in cord.planes if not 1.0 < p.z_mm < 8.0))
    result = analyze(replace(case, structures=(case.structures[0], gapped)), Settings())
    assert result.separation is None
    assert "is not contoured at z = " in result.separation_reason
    assert "neither the distance nor the cord dose there is known" in result.separation_reason


def test_cord_not_at_the_level_of_the_target():
    case = make(radial(12.0, 3.0), [circle(OUTER), circle(6.0)], cord_half=6.0)
    target = case.structures[0]
    lifted = tuple(replace(p, z_mm=p.z_mm + 30) for p in target.planes)
    case = replace(case, structures=(replace(target, planes=lifted), case.structures[1]))
    result = analyze(case, Settings())
    assert result.separation is None
    assert "is not contoured at the level of 'GTV'" in result.separation_reason
    assert result.exit_code == 3


def test_cord_outside_the_dose_grid_is_not_evaluable():
    case = make(radial(12.0, 3.0), [circle(OUTER), circle(6.0)], cord_half=60.0)
    found = answer(case)
    assert found.status == "not evaluable"
    assert found.required_separation_mm is None
    assert found.cord_goals[0].verdict == "not evaluable"


def test_without_a_dose_the_question_is_another():
    found = answer(make(None, [circle(OUTER), circle(6.0)]))
    assert (found.question, found.method) == ("no plan", "population-falloff")
    low, high = found.interval_mm
    assert low < found.required_separation_mm < high
    assert found.cord_goals[0].value is None
    assert all(p.question == "no plan" for p in found.curve)


def test_without_a_dose_other_methods_are_refused():
    with pytest.raises(OptionError, match="--method trim needs a dose"):
        answer(make(None, [circle(OUTER), circle(6.0)]), method="trim")


def test_coverage_is_a_lower_bound():
    with pytest.raises(OptionError, match=r"coverage is a lower bound, write it with >="):
        answer(cold_rim(), coverage=(parse_goal("D98%[%]<=95"),))


def test_without_a_prescription_there_is_no_separation():
    result = analyze(replace(cold_rim(), prescription=None), Settings())
    assert result.separation is None
    assert "give --rx GY and --fractions N" in result.separation_reason


def test_short_cord_is_said():
    case = make(radial(12.0, 3.0), [circle(OUTER), circle(6.0)], cord_half=12.0)
    assert "cord-short" in codes(answer(case))


def test_every_schedule_has_a_number_or_a_reason():
    found = answer(hot_cord())
    assert len(found.schedules) >= 9
    for row in found.schedules:
        assert (row.required_separation_mm is None) <= bool(row.reason)
        if row.required_separation_mm is not None:
            low, high = row.interval_mm
            assert low <= row.required_separation_mm <= high
