"""Inputs that once gave a plausible number: each must now refuse, warn, or be right."""

from __future__ import annotations

import numpy as np
import pytest

from cordgap.analysis import Settings, analyze
from cordgap.case.case import Case, Prescription
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.metrics import parse_goal, parse_metric
from cordgap.dvh.solid import build_solid
from cordgap.errors import OptionError

PLANES = np.arange(-40.0, 41.0, 2.0)


def circle(radius, x=0.0, y=0.0, z=0.0, n=64):
    t = 2 * np.pi * (np.arange(n) + 0.3) / n
    return np.c_[x + radius * np.cos(t), y + radius * np.sin(t), np.full(n, z)]


def box(x0, x1, y0, y1, z):
    return np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]])


def cord_of(planes=PLANES, radius=5.0, name="SpinalCord"):
    return structure_from_contours(1, name, [circle(radius, z=z) for z in planes])


def target_of(gap=1.0, name="GTV"):
    planes = np.arange(-10.0, 11.0, 2.0)
    front = -(5.0 + gap)
    return structure_from_contours(2, name, [box(-8, 8, front - 12, front, z) for z in planes])


def dose_of(edge_gy=22.0, fall=2.0):
    """22 Gy at the target's edge, falling by 2 Gy/mm towards the back."""
    axis = np.arange(-30.0, 31.0, 1.5)
    z = np.arange(-45.0, 46.0, 1.5)
    geometry = GridGeometry(axis, axis, z)
    along = np.clip(edge_gy - fall * (axis + 6.0), 1.0, 26.0)
    values = np.broadcast_to(along[None, :, None], geometry.shape)
    return DoseGrid.from_array(geometry, values)


def case_of(*structures, dose=None, rx=24.0, fractions=2):
    return Case(tuple(structures), dose, Prescription(rx, fractions, "option"))


def goals(*texts):
    return tuple(parse_goal(text) for text in texts)


# --- contours drawn twice ---


@pytest.mark.parametrize(("radius", "x", "n"), [(5.0, 0.0, 70), (5.0, 0.02, 64), (4.98, 0.0, 64)])
def test_a_contour_drawn_twice_a_little_apart_counts_once(radius, x, n):
    once = build_solid(cord_of())
    twice = build_solid(
        structure_from_contours(
            1,
            "SpinalCord",
            [c for z in PLANES for c in (circle(5, z=z), circle(radius, x, 0, z, n))],
        )
    )
    # The first of the two is kept, whichever it is: as large as the other to 1 %.
    assert twice.volume_cc == pytest.approx(once.volume_cc, rel=0.01)
    assert [f.code for f in twice.findings] == ["duplicate-contours"]


def test_a_thin_but_real_ring_stays_a_ring():
    ring = structure_from_contours(
        1, "Ring", [c for z in PLANES for c in (circle(6, z=z), circle(5.5, z=z))]
    )
    expected = np.pi * (36 - 30.25) * 82 / 1000  # 41 slabs of 2 mm
    assert build_solid(ring).volume_cc == pytest.approx(expected, rel=0.01)  # 64 vertices


# --- goals on volumes ---


def test_a_volume_goal_of_zero_is_no_headroom():
    case = case_of(cord_of(), target_of(), dose=dose_of())
    strict = analyze(case, Settings(constraints=goals("V17Gy[cc]<=0"))).separation
    loose = analyze(case, Settings(constraints=goals("V17Gy[cc]<=0.001"))).separation
    assert strict.required_separation_mm >= loose.required_separation_mm > strict.separation_mm


@pytest.mark.parametrize("goal", ["CV20Gy[cc]<=0.35", "DC0.035cc[Gy]<=10", "Min[Gy]<=3"])
def test_a_cord_limit_on_the_cold_side_is_refused(goal):
    case = case_of(cord_of(), target_of(), dose=dose_of())
    with pytest.raises(OptionError, match="cold side"):
        analyze(case, Settings(constraints=goals(goal)))


# --- coverage goals that nobody can estimate ---


def test_nothing_is_recommended_for_a_missed_goal_without_an_estimate():
    case = case_of(cord_of(), target_of(), dose=dose_of())
    settings = Settings(constraints=goals("D0.035cc[Gy]<=17"), coverage=goals("D95%[%]>=104"))
    answer = analyze(case, settings).separation
    row = answer.coverage_goals[0]
    assert row.verdict == "exceeded" and row.required_separation_mm is None
    assert answer.make_mm is None and answer.make_for is row
    messages = [f.message for f in answer.findings if f.code == "coverage-goal-missed-by-plan"]
    assert "not known" in messages[0]


# --- a cord that is not contoured where the target is ---


@pytest.mark.parametrize(
    "planes",
    [
        np.r_[np.arange(-40.0, -14, 2), np.arange(16.0, 41, 2)],
        np.arange(-40.0, -6, 2),
        np.r_[np.arange(-70.0, -40, 2), np.arange(42.0, 71, 2)],
    ],
    ids=["gap at the target", "ends at the target", "far away on both sides"],
)
def test_a_cord_not_seen_at_the_target_is_never_met(planes):
    case = case_of(cord_of(planes), target_of(), dose=dose_of(edge_gy=12.0))
    result = analyze(case, Settings())
    assert result.separation is None
    assert "not contoured" in result.separation_reason
    assert {c.verdict for c in result.constraints} <= {"not evaluable", "exceeded"}
    assert result.exit_code == 3


def test_a_cord_may_end_where_the_cauda_equina_goes_on():
    cauda = structure_from_contours(
        3, "CaudaEquina", [circle(4, z=z) for z in np.arange(-40.0, 4, 2)]
    )
    case = case_of(cord_of(np.arange(2.0, 41, 2)), target_of(), cauda, dose=dose_of())
    result = analyze(case, Settings())
    assert result.separation is not None
    assert "cord-short" in {f.code for f in result.findings}


def test_one_missing_plane_is_a_warning_only():
    planes = PLANES[PLANES != 0.0]
    result = analyze(case_of(cord_of(planes), target_of(), dose=dose_of()), Settings())
    assert result.separation is not None
    assert "contour-gap" in {f.code for f in result.findings}


# --- no plan ---


def test_without_a_plan_no_cord_goal_is_dropped():
    settings = Settings(constraints=goals("D0.035cc[Gy]<=17", "D0.35cc[Gy]<=5"))
    answer = analyze(case_of(cord_of(), target_of()), settings).separation
    assert answer.required_separation_mm is None
    assert "D0.35cc[Gy]<=5" in answer.reason


# --- schedules, binding goal ---


def test_coverage_in_gy_does_not_follow_the_plan_to_another_dose():
    case = case_of(cord_of(), target_of(), dose=dose_of())
    answer = analyze(case, Settings(coverage=goals("D98%[Gy]>=20"))).separation
    others = [s for s in answer.schedules if s.dose_gy != 24]
    assert all(s.required_separation_mm is None for s in others)
    assert any("is in Gy" in (s.reason or "") for s in others)


def test_the_binding_goal_is_the_one_that_asks_for_most():
    case = case_of(cord_of(), target_of(), dose=dose_of())
    one = analyze(case, Settings(constraints=goals("D0.035cc[Gy]<=17"))).separation
    both = analyze(
        case, Settings(constraints=goals("D0.035cc[Gy]<=17", "D0.1cc[Gy]<=10"))
    ).separation
    assert both.required_separation_mm > one.required_separation_mm
    assert both.binding_constraint == "D0.1cc[Gy]<=10"


def test_dose_and_percent_limits_have_the_same_interval():
    case = case_of(cord_of(), target_of(), dose=dose_of())
    in_gy = analyze(case, Settings(constraints=goals("D0.035cc[Gy]<=17"))).separation
    share = analyze(case, Settings(constraints=goals("D0.035cc[%]<=70.83333333"))).separation
    assert share.interval_mm == pytest.approx(in_gy.interval_mm, abs=1e-4)


def test_the_margin_of_a_percent_goal_knows_the_prescription():
    case = case_of(cord_of(), target_of(), dose=dose_of())
    (row,) = analyze(case, Settings(constraints=goals("D0.035cc[%]<=70"))).constraints
    assert row.margin.value > row.value


# --- which structure ---


def test_the_nearest_target_is_nearest_by_its_surface_not_its_vertices():
    far = structure_from_contours(
        3, "GTV_2", [circle(6, y=-17.0, z=z) for z in np.arange(-10.0, 11, 2)]
    )
    result = analyze(case_of(cord_of(), far, target_of(gap=1.0, name="GTV_1"), dose=dose_of()))
    assert result.target.structure.roi_name == "GTV_1"


@pytest.mark.parametrize(
    ("settings", "match"),
    [(Settings(cord="GTV"), "target by its name"), (Settings(target="SpinalCord"), "is the cord")],
)
def test_cord_and_target_are_not_the_same(settings, match):
    with pytest.raises(OptionError, match=match):
        analyze(case_of(cord_of(), target_of(), dose=dose_of()), settings)


def test_a_thin_target_inside_the_grid_is_not_outside():
    plate = structure_from_contours(
        2, "GTV", [box(-8, 8, -6.4, -6.0, z) for z in np.arange(-10.0, 11, 2)]
    )
    result = analyze(case_of(cord_of(), plate, dose=dose_of()))
    assert "target-outside-dose-grid" not in {f.code for f in result.findings}
    assert result.separation.resection_cc is not None


# --- one plane of dose, doses held by a finite volume ---


def test_a_dose_of_one_plane_gives_no_number():
    axis = np.arange(-30.0, 31.0, 1.5)
    geometry = GridGeometry(axis, axis, np.array([0.0]))
    dose = DoseGrid.from_array(geometry, np.full(geometry.shape, 10.0))
    result = analyze(case_of(cord_of(), target_of(), dose=dose))
    assert result.exit_code == 3


def test_a_constant_dose_is_held_by_the_whole_structure():
    axis = np.arange(-30.0, 31.0, 1.5)
    geometry = GridGeometry(axis, axis, np.arange(-45.0, 46, 1.5))
    dvh = compute_dvh(
        build_solid(cord_of()), DoseGrid.from_array(geometry, np.full(geometry.shape, 24.0))
    )
    assert parse_metric("V24Gy[%]").evaluate(dvh).value == pytest.approx(100.0)
    assert parse_metric("V24.01Gy[cc]").evaluate(dvh).value == 0.0
    assert parse_metric("D98%[Gy]").evaluate(dvh).value == pytest.approx(24.0, abs=1e-9)
