"""Why no number is given: each reason once, on the smallest thing that has it.

Longer than other files on purpose: one list of reasons, so that none is tried twice.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cordgap.case.case import Case, Prescription
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.curve import DVH, empty_dvh
from cordgap.dvh.metrics import parse_goal
from cordgap.dvh.solid import build_solid
from cordgap.dvh.surface import surface_of
from cordgap.errors import OptionError, OutOfRangeError
from cordgap.limits.protocol import load_protocol
from cordgap.limits.radiobiology import isoeffective_dose_gy
from cordgap.separation import (
    displaced,
    escc,
    estimators,
    methods,
    schedules,
    select,
)
from cordgap.separation.anatomy import survey
from cordgap.separation.coverage import _span_both
from cordgap.separation.estimate import _choose, parse_sextants
from cordgap.separation.estimators import (
    Estimate,
    isodose_recession,
    larger,
    plan_falloff,
    plan_gradient,
    reach_rim_dose,
)
from cordgap.separation.falloff import Falloff, read_gradient
from cordgap.separation.gap import GapMap, centroid_mm, directions_of, measure_gap
from cordgap.separation.highest import highest_doses
from cordgap.separation.learned import contact_from, read_falloff
from cordgap.separation.plan import CordLimit, Plan
from cordgap.separation.resect import TargetCells
from cordgap.separation.result import CordGoal
from cordgap.separation.scenarios import Scenarios, fall_to_mm
from cordgap.separation.select import choose_target
from cordgap.separation.split import pieces_mm3
from cordgap.separation.uncertainty import load_scenarios, parse_scenarios

RX = Prescription(24.0, 2, "option")
# A curve from 4 cc at 10 Gy to nothing at 20 Gy.
CURVE = DVH(np.array([10.0, 20.0]), np.array([4.0, 0.0]), 4.0, 10.0, 15.0, 20.0)


def circle(radius, z=0.0, centre=(0.0, 0.0), n=90):
    t = 2 * np.pi * np.arange(n) / n
    x, y = centre[0] + radius * np.cos(t), centre[1] + radius * np.sin(t)
    return np.c_[x, y, np.full(n, z)]


def tube(number, name, radius, low, high, centre=(0.0, 0.0)):
    levels = np.arange(low, high + 0.1, 2.0)
    return structure_from_contours(number, name, [circle(radius, z, centre) for z in levels])


CORD = tube(1, "SpinalCord", 5.0, -20, 20)
TARGET = tube(2, "GTV", 6.0, -6, 6, (0.0, -13.0))


def dose(values=lambda x, y, z: 12.0 - 0.5 * y, half=(40.0, 40.0, 40.0)):
    axes = [np.arange(-h, h + 0.1, 2.5) for h in half]
    geometry = GridGeometry(*axes)
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    return DoseGrid.from_array(geometry, np.clip(values(x, y, z) + 0 * x, 0.5, None))


@pytest.fixture(scope="module")
def anatomy():
    case = Case((CORD, TARGET), dose(), RX)
    return survey(case, CORD, TARGET, max_mm=6.0)


@pytest.fixture(scope="module")
def without_dose():
    return survey(Case((CORD, TARGET), None, RX), CORD, TARGET, max_mm=6.0)


def limit(goal="D0.035cc[Gy]<=17", dvh=CURVE, **how):
    parsed = parse_goal(goal)
    return CordLimit("row", "cord", "SpinalCord", parsed.metric, parsed.bound, dvh, 24.0,
                     how.pop("plus_minus", 0.0), **how)  # fmt: skip


def plan(**how):
    return Plan(**{"prescription": RX, "cord_goals": (), "limits": (), "target_dvh": None} | how)


# --- limits ---


def test_a_limit_without_a_value_has_no_factor():
    nothing = limit(dvh=empty_dvh(4.0))
    assert nothing.value is None
    assert nothing.allowed_factor is None
    assert not nothing.is_held and not nothing.is_close


def test_a_cold_volume_has_no_factor():
    assert limit("CV12Gy[cc]<=1").allowed_factor is None


def test_a_volume_that_the_structure_has_not_is_always_held():
    assert limit("V12Gy[cc]<=5").allowed_factor == np.inf
    # 1 cc gets 17.5 Gy at least: the dose may be 12 / 17.5 of what it is.
    assert limit("V12Gy[cc]<=1").allowed_factor == pytest.approx(12 / 17.5)
    # No volume at all may get 12 Gy: the maximum is the measure.
    assert limit("V12Gy[cc]<=0").allowed_factor == pytest.approx(12 / 20)
    assert limit("V50%[%]<=25").allowed_factor == pytest.approx(12 / 17.5)


# --- estimators ---


def test_without_a_gradient_there_is_no_re_planned_estimate(without_dose):
    answer = plan_gradient(without_dose, [limit()], 24.0, max_mm=8.0)
    assert answer.required_mm is None
    assert answer.reason.startswith("no dose gradient can be read between cord and target")
    assert plan_falloff(without_dose, limit(), 24.0) is None


def test_what_trim_could_not_answer_is_not_answered(anatomy):
    start = Estimate("trim", None, None, "cold everywhere", reachable=False)
    answer = plan_gradient(anatomy, [limit()], 24.0, max_mm=8.0, start=start)
    assert (answer.method, answer.reason) == ("plan-gradient", "cold everywhere")
    assert answer.required_mm is None and not answer.reachable


def test_a_limit_that_cannot_be_read_gives_no_estimate(anatomy):
    broken = limit(dvh=empty_dvh(4.0))
    assert plan_gradient(anatomy, [broken], 24.0, max_mm=8.0).reason == "row is not evaluable"
    answer = isodose_recession(anatomy, [limit(), broken], max_mm=8.0)
    assert answer.reason == "the cord dose is not evaluable"
    assert isodose_recession(anatomy, [], max_mm=8.0).reason == "the cord dose is not evaluable"


def test_a_plan_that_holds_its_goals_needs_no_recession(anatomy):
    present = anatomy.gap.separation_mm
    answer = isodose_recession(anatomy, [limit("D0.035cc[Gy]<=25")], max_mm=8.0)
    assert (answer.required_mm, answer.interval_mm) == (present, (0.0, present))
    assert answer.reason == "the plan holds its cord goals as it is"
    again = plan_gradient(anatomy, [limit("D0.035cc[Gy]<=25")], 24.0, max_mm=8.0)
    assert (again.required_mm, again.reason) == (present, answer.reason)


def test_a_percent_of_the_volume_is_compared_only_where_it_is_held(anatomy):
    """The near-maximum falls short of nothing, and still the goal on a volume is missed."""
    at = SimpleNamespace(gap=anatomy.gap, gradient=anatomy.gradient)
    missed = SimpleNamespace(id="row", allowed_factor=1.5, is_held=False)
    present = anatomy.gap.separation_mm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimators, "slope_gy_per_mm", lambda *a, **k: 2.0)
        patch.setattr(estimators, "_falls_to", lambda *a: ((present,) * 3, 0.0))
        answer = plan_gradient(at, [missed], 24.0, max_mm=8.0)
    assert (answer.required_mm, answer.reason) == (None, "the cord goals cannot be compared")


def test_isodoses_are_followed_only_where_the_dose_is_known(without_dose):
    answer = isodose_recession(without_dose, [limit("D0.035cc[Gy]<=10")], max_mm=8.0)
    assert answer.reason.startswith("the dose around the cord is not known far enough")


def test_a_rim_outside_the_dose_grid():
    far = survey(
        Case((CORD, TARGET), dose(half=(40.0, 6.0, 40.0)), RX), CORD, TARGET, max_mm=6.0
    )  # fmt: skip
    answer = reach_rim_dose(far, [limit()], parse_goal("DC0.035cc[Gy]>=16"), 24.0, max_mm=8.0)
    assert answer.required_mm is None
    assert "of the rim is not evaluable" in answer.reason


def estimate(required, interval, binding=None, method="trim"):
    return Estimate(method, required, interval, binding=binding)


def test_the_larger_of_two_estimates():
    one, other = estimate(2.0, (1.0, 3.0), "a"), estimate(4.0, (0.5, 5.0), "b", "plan-gradient")
    both = larger(one, other)
    assert (both.required_mm, both.interval_mm, both.method, both.binding) == (
        4.0, (0.5, 5.0), "trim", "a",
    )  # fmt: skip
    assert larger(other, one).interval_mm == (0.5, 5.0)
    bare = estimate(9.0, None)
    assert larger(one, bare) is one
    nothing = Estimate("trim", None, None, "cold")
    assert larger(one, nothing) is nothing
    assert larger(nothing, one) is nothing


def test_at_the_limit_the_interval_spans_both_estimates(anatomy):
    """Central value of the first; the second alone may reach further down or up."""
    close = [limit("D0.035cc[Gy]<=19.8", plus_minus=0.5)]
    first = estimate(3.0, (2.5, 3.5))
    found = []
    spanned = _span_both(anatomy, plan(limits=tuple(close)), close, first, 8.0, True, found)
    other = plan_gradient(anatomy, close, 24.0, max_mm=8.0)
    assert spanned.required_mm == 3.0
    low = max(other.interval_mm[0], anatomy.gap.separation_mm)
    assert spanned.interval_mm == (min(2.5, low), max(3.5, other.interval_mm[1]))
    assert [f.code for f in found] == ["cord-at-limit"]
    _span_both(anatomy, plan(limits=tuple(close)), close, first, 8.0, False, found)
    assert len(found) == 1, "said once, for the headline"
    alone = _span_both(anatomy, plan(), [limit(dvh=empty_dvh(4.0))], first, 8.0, True, found)
    assert alone is first


# --- who answers ---


def goal(id_="goal", text="D0.035cc[Gy]<=17", verdict="not evaluable"):
    parsed = parse_goal(text)
    return CordGoal(
        id_, "SpinalCord", str(parsed.metric), parsed.bound, "Gy", None, None, None, verdict, False,
        "no dose there",
    )  # fmt: skip


def test_a_goal_that_cannot_be_read_beside_one_that_is_held():
    held = limit("D0.035cc[Gy]<=25")
    of = plan(cord_goals=(goal("part"),), limits=(held,), target_dvh=CURVE)
    assert _choose(of, None) == ("trim", "part is not evaluable: no dose there")


def test_no_goal_at_all():
    assert _choose(plan(target_dvh=CURVE), None) == (
        "trim", "no cord goal applies to this plan",
    )  # fmt: skip


def test_population_falloff_needs_a_prescription_and_goals(without_dose):
    ask = methods.Ask(without_dose, plan(prescription=None), parse_goal("D98%[%]>=95"), 8.0)
    assert methods.by_population_falloff(ask).reason == methods.NO_PRESCRIPTION
    ask = replace(ask, plan=plan())
    assert methods.by_population_falloff(ask).reason == "no cord goal applies to this plan"
    ask = replace(ask, plan=plan(cord_goals=(goal(text="V12Gy[cc]<=1"),)))
    assert "is no limit on a near-maximum dose in Gy" in methods.by_population_falloff(ask).reason


def test_a_schedule_without_a_row_says_so():
    found = schedules.limits_for(plan(target_dvh=CURVE), 4)
    assert found.rows == ()
    assert found.reason == "the protocol has no near-maximum cord limit for 4 fraction(s)"


def test_a_schedule_between_or_beyond_published_ones_is_converted():
    """The stricter neighbour counts; beyond the last row there is one neighbour alone."""
    rows = tuple(
        row for row in load_protocol("hytec-2021").constraints
        if row.structure == "cord" and row.unit == "Gy" and row.fractions is not None
    )  # fmt: skip
    counts = sorted({row.fractions for row in rows})
    of = plan(target_dvh=CURVE, schedule_limits=rows)
    beyond = counts[-1] + 3
    (found,) = schedules.limits_for(of, beyond).rows
    nearest = min(row.limit for row in rows if row.fractions == counts[-1])
    expected = isoeffective_dose_gy(nearest, counts[-1], beyond, alpha_beta_gy=of.alpha_beta_gy)
    assert found.limit == pytest.approx(expected)
    assert found.derived_from.fractions == counts[-1]
    assert found.id in {row.id for row in rows if row.fractions == counts[-1]}
    published = schedules.limits_for(of, counts[0]).rows
    assert {row.derived_from for row in published} == {None}


def test_highest_doses_need_a_prescription(without_dose):
    assert highest_doses(without_dose, plan(prescription=None), (), 8.0) == ()


def test_words_that_are_no_sextant():
    assert parse_sextants("Anterior, left-anterolateral") == ("anterior", "left anterolateral")
    with pytest.raises(OptionError, match="'front' is no sextant; sextants are anterior, "):
        parse_sextants("anterior,front")


# --- geometry ---


def test_a_cord_inside_the_target_overlaps_by_its_depth():
    inner, outer = tube(1, "SpinalCord", 3.0, -4, 4), tube(2, "GTV", 9.0, -12, 12, (1.0, 0.0))
    found = measure_gap(surface_of(build_solid(inner)), surface_of(build_solid(outer)))
    assert found.separation_mm == 0.0
    assert found.penetration_mm > 0


def test_rings_of_no_area_do_not_move_a_centroid():
    line = np.array([(0, 0), (8, 0), (4, 0)], float)
    ring = circle(2.0, centre=(3.0, 1.0))[:, :2]
    np.testing.assert_allclose(centroid_mm([line, ring]), (3.0, 1.0), atol=1e-9)


def empty_map():
    nowhere = np.full((2, 2), np.nan)
    return GapMap(np.array([0.0, 1.0]), np.array([0.0, 90.0]), nowhere, None, nowhere)


def test_directions_round_a_cord_that_is_not_there():
    assert directions_of(np.ones((3, 3)), empty_map()).tolist() == [0.0, 0.0, 0.0]


def cells(**how):
    one = np.ones(2)
    return TargetCells(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 5.0]]), 20 * one, one, 3 * one, 2.0,
                       **how)  # fmt: skip


def test_what_is_removed_where():
    unknown = cells()
    assert unknown.resection_by_sextant_cc(4.0) is None
    assert unknown.resection_by_level_cc(4.0, np.zeros(0)).tolist() == []
    assert unknown.resection_by_level_cc(4.0, np.array([0.0, 5.0])).tolist() == [0.001, 0.001]
    known = cells(sextant=np.array([0, 3]))
    assert known.resection_by_sextant_cc(4.0).tolist() == [0.001, 0, 0, 0.001, 0, 0]


def test_nothing_is_in_no_piece():
    assert pieces_mm3(np.zeros((0, 3)), np.zeros(0)) == []


def test_no_gradient_where_cord_and_target_do_not_face_each_other():
    above = tube(3, "GTV", 6.0, 60, 70)
    found = read_gradient(
        dose(half=(40.0, 40.0, 90.0)), surface_of(build_solid(CORD)),
        surface_of(build_solid(above)), 1.0,
    )  # fmt: skip
    assert found is None


@pytest.mark.parametrize("z", [(40, 60), (-60, -40)])
def test_a_sac_at_other_levels_gives_no_gap(z):
    sac = tube(3, "ThecalSac", 8.0, *z)
    found = survey(Case((CORD, TARGET, sac), None, RX), CORD, TARGET, max_mm=6.0)
    assert found.separation_to_thecal_sac_mm is None


def test_a_target_of_an_unknown_name_gets_no_resection():
    odd = tube(2, "Thing", 6.0, -6, 6, (0.0, -13.0))
    chosen = choose_target(Case((CORD, odd), None, RX), CORD, roi_name="Thing")
    assert [f.message for f in chosen.findings if f.code == "target-not-gtv"] == [
        "'Thing' is not known as a GTV by its name"
    ]


# --- learned falloff ---


def test_contact_is_the_inverse_of_the_falloff():
    for contact, at, slope in itertools.product((0.4, 0.9, 1.3), (0.5, 3.0), (0.05, 0.3)):
        law = Falloff(contact, 0.0, slope, estimators.KNEE_FRACTION)
        assert contact_from(law.cord_dose_gy(at), at, slope) == pytest.approx(contact, abs=1e-6)


def refuse_to_learn(match, **how):
    parts = {"structures": (CORD, TARGET), "dose": dose(), "prescription": RX} | how
    with pytest.raises(OutOfRangeError, match=match) as caught:
        read_falloff(Case(**parts))
    assert caught.value.code == "falloff-not-readable"


def test_what_nothing_is_learned_from():
    refuse_to_learn("the plan has no dose", dose=None)
    refuse_to_learn("the plan has no prescription", prescription=None)
    refuse_to_learn("the dose is no absorbed dose", dose_type="EFFECTIVE")
    ctv = tube(2, "CTV", 6.0, -6, 6, (0.0, -13.0))
    refuse_to_learn("a true cord and a GTV are needed, found cord and ctv", structures=(CORD, ctv))
    far = tube(2, "GTV", 6.0, -6, 6, (0.0, -31.0))
    refuse_to_learn("nothing is learned", structures=(CORD, far))
    refuse_to_learn("partly outside the dose grid", dose=dose(half=(40.0, 40.0, 10.0)))


# --- scenarios ---


def test_nothing_falls_to_nothing():
    starts = np.array([20.0, 5.0])
    assert fall_to_mm(starts, 0.0, begin_mm=1.0, slope=2.0, knee_gy=8.0).tolist() == [np.inf] * 2
    # Linear from 20 to 12 Gy at 2 Gy/mm, from 1 mm on; a start below needs no more.
    found = fall_to_mm(starts, 12.0, begin_mm=1.0, slope=2.0, knee_gy=8.0)
    assert found.tolist() == [5.0, 1.0]


def test_no_doses_have_no_percentiles():
    model = load_scenarios("default")
    nothing = Scenarios(model, "not evaluable", "no dose", "SpinalCord")
    assert nothing.percentile_gy(95) is None
    known = replace(nothing, dose_gy=np.array([1.0, 2.0, 3.0, 4.0]))
    assert known.percentile_gy(50) == 3.0, "never below what so many do not exceed"


def test_more_than_is_considered_is_said():
    from cordgap.separation.scenarios import _row

    needed = tuple(np.full(4, 9.0) for _ in range(3))
    row = _row(0.95, 2.0, (1.0, 3.0), 0.5, 8.0, needed)
    assert row.required_separation_mm is None
    assert row.reason == "more than 8 mm would be needed"
    reached = _row(0.95, 2.0, (1.0, 3.0), 0.5, 12.0, needed)
    assert reached.required_separation_mm == 9.0
    # The error of the estimate, as it is without uncertainty: 1 mm below and above.
    assert reached.interval_mm == (8.0, 10.0)


def test_a_scenario_file_that_is_no_text(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OptionError, match=r"mine.toml: not a text file in UTF-8"):
        load_scenarios(file)
    with pytest.raises(OptionError, match="there is no such file"):
        load_scenarios(tmp_path / "none.toml")


def test_words_of_a_scenario_file():
    from cordgap.separation.uncertainty import PARTS, SCHEMA

    lines = {name: f"{key} = 0.5" for name, key in PARTS.items()}
    head = f'schema = "{SCHEMA}"\n'

    def text(**changed):
        return head + "".join(f"[{n}]\n{line}\n" for n, line in (lines | changed).items())

    model = parse_scenarios(text(), "mine")
    assert {part.name: part.unit for part in model.parts}["rotation"] == "deg"
    assert {part.unit for part in model.parts if part.name != "rotation"} == {"mm"}
    turned = lines["rotation"] + "\nbias_mm = 1.0"
    with pytest.raises(OptionError, match=r"\[rotation\]: bias_mm is for shifts only"):
        parse_scenarios(text(rotation=turned), "mine")
    with pytest.raises(OptionError, match="source is 3, expected a text"):
        parse_scenarios(text(setup=lines["setup"] + "\nsource = 3"), "mine")


def test_a_displaced_structure_without_numba(monkeypatch):
    import sys

    monkeypatch.setattr(displaced, "_compiled", None)
    monkeypatch.setattr(displaced, "_refused", False)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert displaced._kernel("auto", 10**9) is None
    assert displaced._refused
    with pytest.raises(OptionError, match=r"numba is not installed .* cordgap\[fast\]"):
        displaced._kernel("compiled", 1)
    assert displaced._kernel("numpy", 10**9) is None


# --- grades of compression ---

PUSHED, AS_IS = escc.PUSHED_MM + 1, 0.0
WIDE, NONE_LEFT = escc.CSF_SEEN_MM + 1, 0.0


@pytest.mark.parametrize(
    ("pushed", "csf", "grades"),
    [
        (AS_IS, WIDE, ("1c",)),
        (AS_IS, NONE_LEFT, ("1c", "3")),
        (AS_IS, None, ("1c",)),
        (PUSHED, WIDE, ("2",)),
        (PUSHED, NONE_LEFT, ("3",)),
        (PUSHED, None, ("2", "3")),
        (None, WIDE, ("1c", "2")),
        (None, None, ("1c", "2", "3")),
    ],
)
def test_grades_of_what_touches_the_cord(pushed, csf, grades):
    found, why = escc._of_cord(pushed, csf)
    assert found == grades
    assert why or len(grades) == 1


@pytest.mark.parametrize(
    ("depth", "sac_gap", "sac_pushed", "grades"),
    [
        (-5.0, None, None, ("0",)),
        (5.0, None, None, ("1a", "1b")),
        (None, None, None, ("0", "1a", "1b")),
        (5.0, 9.0, None, ("1a",)),
        (None, 9.0, None, ("0", "1a")),
        (None, 0.0, PUSHED, ("1b",)),
        (None, 0.0, AS_IS, ("1a",)),
        (5.0, 0.0, None, ("1a", "1b")),
    ],
)
def test_grades_of_what_does_not(depth, sac_gap, sac_pushed, grades):
    assert escc._short_of_cord(depth, sac_gap, sac_pushed)[0] == grades


def test_no_grade_without_sections(anatomy):
    sac = build_solid(tube(3, "ThecalSac", 8.0, -6, 6))
    assert escc._csf_mm(anatomy, sac, 15.0) is None
    assert escc._outline(sac, [0.0, 30.0], np.eye(2)) is None
    # Between circles of 8 and 5 mm: the area of the ring over the circle of the cord, and no
    # target at that level; half a cell of the lattice along both circles.
    width = escc._csf_mm(anatomy, build_solid(tube(3, "ThecalSac", 8.0, -30, 30)), 15.0)
    assert width == pytest.approx((64 - 25) / (2 * 5), abs=0.1)


def test_the_outline_of_a_structure_is_seen_between_its_corners():
    corners = np.array([(0, 0, 5), (30, 0, 5), (30, 20, 5), (0, 20, 5)], float)
    points = select._points(
        structure_from_contours(1, "ROI", [corners, corners + np.array([0, 0, 3])])
    )
    steps = np.linalg.norm(points[:, None, :2] - points[None, :, :2], axis=-1)
    np.fill_diagonal(steps, np.inf)
    assert (steps + np.abs(points[:, None, 2] - points[None, :, 2])).min(axis=1).max() <= (
        select._POINT_STEP_MM
    )
    assert set(points[:, 2]) == {5.0, 8.0}


def test_what_stands_in_for_the_cord_says_what_to_do():
    found = select._stand_in(tube(3, "ThecalSac", 8.0, -6, 6))
    assert "millimetres are measured from 'ThecalSac' (thecal sac)" in found.message
    assert found.action == "contour the cord on MRI or CT myelogram"


@pytest.mark.parametrize(("question", "falls_from_mm"), [("as planned", 3.0), ("re-planned", 1.0)])
def test_where_the_cord_dose_begins_to_fall(monkeypatch, question, falls_from_mm):
    """As planned the dose stays until the target has receded to what its coverage needs."""
    from cordgap.separation import scenarios

    monkeypatch.setattr(scenarios, "slope_gy_per_mm", lambda *_: 2.0)
    nowhere = SimpleNamespace(lag=lambda *_: None)
    separation = SimpleNamespace(
        required_separation_mm=3.0, interval_mm=(2.5, 3.5), separation_mm=1.0, question=question,
        method="trim", reason=None,
    )  # fmt: skip
    needed, _, curve, reason = scenarios._separations(
        nowhere, plan(), separation, 18.0, np.array([14.0, 19.0]), 17.0, 8.0
    )
    assert reason is None
    at = curve.separation_mm
    expected = 18.0 - 2.0 * np.maximum(at - falls_from_mm, 0.0)
    linear = expected >= estimators.KNEE_FRACTION * 24.0
    np.testing.assert_allclose(curve.nominal_gy[linear], expected[linear])
    # 1 Gy more than the plan needs 0.5 mm more; less dose never needs less than coverage does.
    least = 3.0 if question == "as planned" else 2.5
    np.testing.assert_allclose(needed, [least, 3.5])
