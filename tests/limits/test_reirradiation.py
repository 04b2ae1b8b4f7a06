"""Previous courses: sums against closed forms, the four conditions, and what is left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.analysis import Settings, analyze, constraint_rows
from cordgap.case.prior import PriorCourse
from cordgap.case.transform import RigidTransform
from cordgap.dvh.metrics import parse_goal
from cordgap.dvh.samples import Samples, histogram
from cordgap.dvh.solid import build_solid
from cordgap.dvh.structures import compute_structures
from cordgap.errors import OptionError
from cordgap.limits.courses import course_on, sum_on
from cordgap.limits.prior import prior_findings, reirradiate
from cordgap.limits.protocol import load_protocol
from cordgap.limits.radiobiology import dose_of_eqd2_gy, eqd2_gy
from cordgap.limits.reirradiation import judge, remaining_constraints, unless_seen
from cordgap.limits.rules import reirradiation_rules
from cordgap.phantom import PRIOR_FRAME_UID, PriorField, prior_dose, spine_case
from cordgap.phantom.shapes import PHANTOM_FRAME_UID

SEEDED = settings(derandomize=True, deadline=None, max_examples=40)
RULES = reirradiation_rules()
# Points of one litre each, so that a near-maximum is the maximum: closed forms stay exact.
POINTS = Samples(np.column_stack([np.zeros((6, 2)), np.arange(6.0) * 5 + 1]), np.full(6, 1e6))
doses = st.lists(st.floats(0.0, 25.0), min_size=6, max_size=6)


def judged(prior_gy, new_gy, *, fractions=(10, 2), months=12.0, **more):
    """Judge one previous course and one new one on six points."""
    prior = PriorCourse(fractions[0], dose_gy=1.0, interval_months=months, source="before")
    prior_gy, new_gy = np.asarray(prior_gy, float), np.asarray(new_gy, float)
    new = (course_on("new", fractions[1], histogram(new_gy, POINTS), RULES), new_gy)
    on = sum_on(("thecal_sac", "ThecalSac"), POINTS, [(prior, prior_gy)], new, RULES)
    return judge(on, on, RULES, fractions=fractions[1], schedules=range(1, 6), **more)


def condition(found, name):
    return next(c for c in found.conditions if c.id == name)


def test_sums_in_closed_form():
    """30 Gy in 10 are 37.5 Gy EQD2, 12 Gy in 2 are 24: at one place 61.5, apart 37.5."""
    together = judged([30, 0, 0, 0, 0, 0], [12, 0, 0, 0, 0, 0])
    apart = judged([30, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 12])
    for found, voxel in ((together, 61.5), (apart, 37.5)):
        total = condition(found, "rert_cum")
        assert total.value == pytest.approx(61.5)
        assert total.voxel_value == pytest.approx(voxel)
        assert (total.verdict, total.voxel_verdict) == ("met", "met")
        assert condition(found, "rert_sbrt").value == pytest.approx(24.0)
        assert condition(found, "rert_ratio").value == pytest.approx(24 / 61.5)


@SEEDED
@given(doses, doses, st.integers(1, 30), st.integers(1, 5))
def test_the_sum_of_maxima_is_never_below_the_voxel_sum(prior, new, n, m):
    found = judged(prior, new, fractions=(n, m))
    total = condition(found, "rert_cum")
    assert total.voxel_value <= total.max_value + 1e-9
    exact = max(eqd2_gy(a, n) + eqd2_gy(b, m) for a, b in zip(prior, new, strict=True))
    # A histogram places a value within one of its 4000 bins.
    assert total.voxel_value == pytest.approx(exact, abs=exact / 4000 + 1e-9)


@SEEDED
@given(st.floats(1.0, 60.0), st.integers(1, 30))
def test_what_is_left_keeps_every_condition_and_no_more(dose, n):
    """The remaining limit is on the edge: with it all conditions hold, with 1 % more one breaks."""
    found = judged([dose] * 6, [1.0] * 6, fractions=(n, 2))
    prior = eqd2_gy(dose, n)
    left = found.remaining
    if prior >= 70:
        assert (left.eqd2_gy, found.limits_gy) == (0.0, ())
        assert "no room left" in left.refusal
        return
    assert left.eqd2_gy == pytest.approx(min(70 - prior, 25.0, prior))
    for fractions, limit in found.limits_gy:
        assert eqd2_gy(limit, fractions) == pytest.approx(left.eqd2_gy)
        for factor, verdicts in ((1 - 1e-6, {"met"}), (1.01, {"met", "exceeded"})):
            again = judged([dose] * 6, [limit * factor] * 6, fractions=(n, fractions))
            doses_kept = {c.verdict for c in again.conditions[:3]}
            assert doses_kept == verdicts


def test_the_table_of_sahgal_follows_from_the_conditions():
    """9, 12.2, 14.5, 16.2 and 18 Gy, recalled: met to the digits they are rounded to."""
    found = judged([30.0] * 6, [9.0] * 6)
    limits = [gy for _, gy in found.limits_gy]
    assert limits == pytest.approx([9.0, 12.2, 14.5, 16.2, 18.0], abs=0.2)
    assert [dose_of_eqd2_gy(25.0, n) for n in range(1, 6)] == pytest.approx(limits)


@pytest.mark.parametrize(
    ("months", "verdict", "refused"), [(5.0, "met", False), (4.9, "exceeded", True)]
)
def test_the_interval(months, verdict, refused):
    found = judged([30.0] * 6, [9.0] * 6, months=months)
    assert condition(found, "rert_interval").verdict == verdict
    assert (found.remaining.refusal is not None) == refused
    assert bool(found.limits_gy) != refused


def test_an_unknown_interval_is_not_evaluable_and_said():
    found = judged([30.0] * 6, [9.0] * 6, months=None)
    assert condition(found, "rert_interval").verdict == "not evaluable"
    assert "prior-interval-unknown" in {f.code for f in found.findings}
    assert found.limits_gy


def test_a_dose_that_covers_a_part_can_break_a_condition_but_never_keep_it():
    some = np.array([30.0, 30.0, 30.0, np.nan, np.nan, np.nan])
    calm = judged(some, [9.0] * 6)
    assert {c.id: c.verdict for c in calm.conditions} == {
        "rert_cum": "not evaluable", "rert_sbrt": "met", "rert_ratio": "not evaluable",
        "rert_interval": "met",
    }  # fmt: skip
    assert "covers only a part" in calm.remaining.refusal
    levels = {x.z_mm: x.reason for x in calm.levels}
    assert levels[(0.0, 5.0)] is None
    assert levels[(25.0, 30.0)] == "a previous dose does not cover this level"
    hot = judged(some, [20.0] * 6)
    assert condition(hot, "rert_cum").verdict == "exceeded"


def test_levels_hold_what_each_got():
    found = judged([30, 20, 0, 0, 0, 0], [2, 4, 6, 8, 10, 12], fractions=(10, 2))
    assert [x.prior_eqd2_gy for x in found.levels] == pytest.approx([37.5, 20, 0, 0, 0, 0])
    for x, new in zip(found.levels, [2, 4, 6, 8, 10, 12], strict=True):
        assert x.new_eqd2_gy == pytest.approx(eqd2_gy(new, 2))
        assert x.cumulative_eqd2_gy == pytest.approx(x.prior_eqd2_gy + x.new_eqd2_gy)
        assert eqd2_gy(x.remaining_gy, 2) == pytest.approx(x.remaining_eqd2_gy)
        assert x.remaining_eqd2_gy == pytest.approx(min(25.0, 70 - x.prior_eqd2_gy))


def test_nieder_is_in_bed():
    """120 Gy BED are 60 Gy EQD2: 40 in 20 (80 BED) and 10 in 2 (35 BED) keep it, 12 in 2 do not."""
    keeps = judged([40.0] * 6, [10.0] * 6, fractions=(20, 2))
    assert keeps.nieder.cumulative_bed_gy == pytest.approx(80 + 35)
    assert "120 Gy BED: no myelopathy was seen" in keeps.nieder.words
    assert condition(keeps, "rert_cum").value == pytest.approx((80 + 35) / 2)
    more = judged([40.0] * 6, [12.0] * 6, fractions=(20, 2))
    assert "135.5 Gy BED: a small risk" in more.nieder.words
    above = judged([45.0] * 6, [13.0] * 6, fractions=(25, 2))
    assert above.nieder.cumulative_bed_gy == pytest.approx(85.5 + 55.25)
    assert "above" in above.nieder.words
    assert "does not apply" in judged([40.0] * 6, [10.0] * 6, months=5.5).nieder.words


def test_recovery_is_shown_alone_and_changes_no_verdict():
    plain = judged([40.0] * 6, [9.0] * 6, fractions=(20, 2), months=7.0)
    with_rule = judged([40.0] * 6, [9.0] * 6, fractions=(20, 2), months=7.0, recovery=True)
    assert plain.recovered_eqd2_gy is None
    # A quarter of 40 Gy is recovered after 6 months; 9 Gy in 2 are 14.625 Gy EQD2.
    assert with_rule.recovered_eqd2_gy == pytest.approx(30 + 14.625)
    assert with_rule.conditions == plain.conditions
    assert with_rule.limits_gy == plain.limits_gy


def test_other_alpha_beta_stands_beside():
    found = judged([30.0] * 6, [9.0] * 6, alpha_beta_gy=3.0)
    values = {gy: total for gy, _, total, _ in found.other_alpha_beta}
    assert set(values) == {0.87, 3.0}
    for gy, total in values.items():
        exact = eqd2_gy(30.0, 10, alpha_beta_gy=gy) + eqd2_gy(9.0, 2, alpha_beta_gy=gy)
        assert total == pytest.approx(exact)


def test_a_course_that_gave_nothing_takes_nothing_off():
    found = judged([0.0] * 6, [9.0] * 6)
    assert found.remaining.refusal is None
    assert remaining_constraints(found) == ()
    assert {c.verdict for c in found.conditions} == {"not evaluable"}
    assert "reirradiation-no-limit" in {f.code for f in found.findings}


def test_a_cord_that_is_not_seen_at_the_target_keeps_no_condition():
    found = unless_seen(judged([30.0] * 6, [9.0] * 6), "the cord has a gap")
    assert {c.id: c.verdict for c in found.conditions} == {
        "rert_cum": "not evaluable",
        "rert_sbrt": "not evaluable",
        "rert_ratio": "not evaluable",
        "rert_interval": "met",
    }
    hot = unless_seen(judged([30.0] * 6, [20.0] * 6), "the cord has a gap")
    assert condition(hot, "rert_cum").verdict == "exceeded"


def test_a_course_needs_a_dose_that_makes_sense():
    with pytest.raises(OptionError, match="either a dose file or a dose"):
        PriorCourse(10)
    with pytest.raises(OptionError, match="fractions"):
        PriorCourse(0, dose_gy=30.0)
    with pytest.raises(OptionError, match="interval"):
        PriorCourse(10, dose_gy=30.0, interval_months=-1.0)


# --- on a phantom, through the whole analysis ---


@pytest.fixture(scope="module")
def phantom():
    case = spine_case(image=False)
    slim = tuple(s for s in case.structures if s.role in ("cord", "thecal_sac", "gtv"))
    return replace(case, structures=slim)


@pytest.fixture(scope="module")
def plain(phantom):
    return analyze(phantom)


def with_prior(case, *priors, **chosen):
    return analyze(replace(case, priors=priors), Settings(**chosen))


def laid(case, *priors):
    """Previous courses on cord and sac, without the rest of the analysis."""
    cord = next(s for s in case.structures if s.role == "cord")
    near = tuple(s for s in case.structures if s.role != "gtv")
    structures = compute_structures(replace(case, structures=near))
    found = reirradiate(replace(case, priors=priors), cord, structures, fractions=2)
    assert found is not None
    return found


def turned():
    """Half a degree round x, two round z, and a shift: as two set-ups differ."""
    a, b = np.radians(0.5), np.radians(2.0)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = about_z @ about_x, (14.0, -6.0, 120.0)
    return RigidTransform(PHANTOM_FRAME_UID, PRIOR_FRAME_UID, matrix)


def test_the_remaining_limit_reaches_the_separation(phantom, plain):
    found = with_prior(phantom, PriorCourse(10, dose_gy=30.0, interval_months=10.0))
    limit = dose_of_eqd2_gy(25.0, 2)
    row = next(c for c in found.constraints if c.id == "reirradiation_2")
    assert row.limit == pytest.approx(limit, abs=0.01)
    assert row.limit <= limit
    assert found.separation.binding_constraint == "reirradiation_2"
    assert found.separation.required_separation_mm > plain.separation.required_separation_mm
    for before, after in zip(plain.separation.schedules, found.separation.schedules, strict=True):
        assert after.constraint_id == f"reirradiation_{after.fractions}"
        if None not in (before.required_separation_mm, after.required_separation_mm):
            assert after.required_separation_mm >= before.required_separation_mm - 1e-9
    for before, after in zip(
        plain.separation.highest_doses, found.separation.highest_doses, strict=True
    ):
        if before.dose_gy is not None and after.dose_gy is not None:
            assert after.dose_gy <= before.dose_gy


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        (PriorCourse(30, dose_gy=75.0, interval_months=20.0), "no room left"),
        (PriorCourse(10, dose_gy=30.0, interval_months=2.0), "interval of 2.0 months"),
    ],
)
def test_without_room_nothing_is_given(phantom, prior, words):
    found = with_prior(phantom, prior)
    s = found.separation
    assert (s.status, s.required_separation_mm, found.exit_code) == ("not evaluable", None, 3)
    assert words in s.reason
    for row in (*s.schedules, *s.methods, *s.coverage_goals):
        assert row.required_separation_mm is None
        assert words in row.reason
    assert all(x.dose_gy is None and words in x.reason for x in s.highest_doses)
    assert s.separation_mm > 0  # what is there is still said


def test_a_dose_file_gives_what_it_holds(phantom):
    field = PriorField()
    found = with_prior(
        phantom, PriorCourse(10, dose=prior_dose(phantom, field), interval_months=9.0)
    )
    (course,) = found.reirradiation.on.courses
    sac = build_solid(next(s for s in phantom.structures if s.role == "thecal_sac"))
    # The hottest place is the front of the sac, where the field is flat: from there D0.035cc lies
    # less than 1 mm behind, 0.06 Gy.
    front = sac.bounds_mm[0][1]
    assert course.max_gy == pytest.approx(30.0 * (1 - 0.002 * front), abs=0.02)
    assert course.near_maximum_gy == pytest.approx(course.max_gy, abs=0.06)
    assert course.is_complete


def test_a_registered_dose_gives_the_same(phantom):
    way = turned()
    same = PriorCourse(10, dose=prior_dose(phantom), interval_months=9.0)
    moved = PriorCourse(
        10, dose=prior_dose(phantom, transform=way), transform=way, interval_months=9.0
    )
    a, b = (laid(phantom, prior) for prior in (same, moved))
    for x, y in zip(a.conditions, b.conditions, strict=True):
        # Two grids of 2.5 mm sample a field that falls off over 3 mm; on the plateau they agree.
        assert x.value == pytest.approx(y.value, abs=0.02)
        assert x.verdict == y.verdict
    assert [f.code for f in prior_findings([same, moved])] == ["prior-registered"]
    outside = laid(phantom, replace(moved, transform=way.inverse()))
    assert "prior-covers-part" in {f.code for f in outside.findings}
    assert "covers only a part" in outside.remaining.refusal


def test_a_dose_of_half_of_the_cord_is_refused_but_shown(phantom):
    half = prior_dose(phantom, up_to_mm=0.0)
    found = with_prior(phantom, PriorCourse(10, dose=half, interval_months=9.0))
    (course,) = found.reirradiation.on.courses
    assert 0.4 < course.covered_fraction < 0.6
    assert found.separation.status == "not evaluable"
    assert "covers only a part" in found.separation.reason
    known = [x for x in found.reirradiation.levels if x.reason is None]
    assert 0 < len(known) < len(found.reirradiation.levels)
    assert all(x.remaining_eqd2_gy is not None for x in known)


def test_two_courses_add_up(phantom):
    one = PriorCourse(10, dose_gy=20.0, interval_months=40.0)
    two = PriorCourse(5, dose_gy=10.0, interval_months=9.0)
    found = laid(phantom, one, two)
    prior = eqd2_gy(20.0, 10) + eqd2_gy(10.0, 5)
    assert sum(c.eqd2_gy for c in found.on.courses) == pytest.approx(prior)
    assert condition(found, "rert_interval").value == 9.0


def test_the_user_s_own_goal_does_not_hide_what_is_left(phantom):
    again = laid(phantom, PriorCourse(10, dose_gy=30.0, interval_months=10.0))
    chosen = Settings(constraints=(parse_goal("D0.035cc[Gy]<=21"),))
    rows = constraint_rows(load_protocol(), chosen, phantom.prescription, again)
    assert [row.id for row in rows] == ["D0.035cc[Gy]<=21", "reirradiation_2"]
