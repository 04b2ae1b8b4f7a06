from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordgap.case.naming import Role
from cordgap.dvh.curve import DVH, Alternative
from cordgap.dvh.metrics import parse_goal, parse_metric
from cordgap.errors import OptionError
from cordgap.limits.constraint import (
    PRV_MARGIN_MM,
    Constraint,
    ConstraintResult,
    constraint_from_goal,
    evaluate,
    evaluate_margin,
)
from cordgap.limits.protocol import load_protocol

HYTEC_2 = load_protocol("hytec-2021").active(2)[0]
doses = st.floats(0.5, 40.0)


def make_dvh(
    near_max_gy: float,
    *,
    max_gy: float | None = None,
    inside: float = 1.0,
    cubic_shift_gy: float | None = None,
) -> DVH:
    """4 cc, falling to 0.035 cc at ``near_max_gy``: D0.035cc is that dose by construction."""
    top = near_max_gy + 0.1 if max_gy is None else max_gy
    alternatives = ()
    if cubic_shift_gy is not None:
        shifted = make_dvh(near_max_gy + cubic_shift_gy)
        alternatives = (Alternative("dose grid", 1.0, shifted),)
    return DVH(
        dose_gy=np.array([0.0, near_max_gy, top]),
        volume_cc=np.array([4.0 * inside, 0.035, 0.0]),
        total_volume_cc=4.0,
        min_gy=0.0,
        mean_gy=near_max_gy / 2,
        max_gy=top,
        alternatives=alternatives,
    )


def on_cord(constraint: Constraint, dvh: DVH | None, role: Role = "cord") -> ConstraintResult:
    return evaluate(constraint, dvh, roi_name="SpinalCord", roi_role=role)


def test_met_with_headroom() -> None:
    result = on_cord(HYTEC_2, make_dvh(16.0))
    assert (result.verdict, result.headroom, result.value) == ("met", 1.0, 16.0)
    assert result.metric_source == "Dmax"
    assert result.metric_evaluated == "D0.035cc[Gy]"
    assert result.surrogate and result.max_gy == pytest.approx(16.1)
    assert result.reason is None and result.findings == () and result.decides
    assert result.source.endswith("doi:10.1016/j.ijrobp.2019.09.038")


def test_equal_to_the_limit_is_met_and_above_it_is_exceeded() -> None:
    assert on_cord(HYTEC_2, make_dvh(17.0)).verdict == "met"
    exceeded = on_cord(HYTEC_2, make_dvh(np.nextafter(17.0, 18.0)))
    assert exceeded.verdict == "exceeded"
    assert exceeded.headroom is not None and exceeded.headroom < 0


@pytest.mark.parametrize(
    ("near_max_gy", "shift_gy", "within"),
    [(16.5, 0.25, False), (16.5, 0.5, True), (17.25, -0.5, True), (17.25, 0.125, False)],
)
def test_within_uncertainty(near_max_gy: float, shift_gy: float, within: bool) -> None:
    result = on_cord(HYTEC_2, make_dvh(near_max_gy, cubic_shift_gy=shift_gy))
    assert result.plus_minus == pytest.approx(abs(shift_gy))
    assert result.within_uncertainty is within


def test_without_an_estimate_of_uncertainty() -> None:
    result = on_cord(HYTEC_2, make_dvh(17.0))
    assert result.plus_minus is None and not result.within_uncertainty


def test_one_fraction_hytec_is_decided_by_the_low_end() -> None:
    result = on_cord(load_protocol("hytec-2021").active(1)[0], make_dvh(13.0))
    assert result.verdict == "exceeded"
    assert (result.limit, result.limit_low, result.limit_high) == (12.4, 12.4, 14.0)


def test_point_maximum_above_the_limit_is_met_with_a_warning() -> None:
    result = on_cord(HYTEC_2, make_dvh(16.8, max_gy=17.6))
    assert result.verdict == "met"
    (finding,) = result.findings
    assert (finding.code, finding.severity) == ("point-max-above-limit", "warning")
    assert "17.60 Gy" in finding.message and "SpinalCord" in finding.message


def test_no_point_maximum_beside_a_metric_that_the_source_names() -> None:
    row = replace(HYTEC_2, surrogate=False, metric_source="D0.035cc")
    result = on_cord(row, make_dvh(16.8, max_gy=17.6))
    assert result.max_gy is None and result.findings == ()


def test_partly_outside_the_dose_grid_is_not_evaluable_with_the_lower_bound() -> None:
    result = on_cord(HYTEC_2, make_dvh(16.0, inside=0.75))
    assert result.verdict == "not evaluable"
    assert (result.value, result.bound, result.headroom) == (16.0, "lower", None)
    assert result.reason == (
        "only 75.0 % of the structure lies inside the dose grid: D0.035cc[Gy] is at least 16.00 Gy"
    )
    assert result.decides


def test_partly_outside_the_dose_grid_can_be_exceeded() -> None:
    result = on_cord(HYTEC_2, make_dvh(18.0, inside=0.75))
    assert (result.verdict, result.bound, result.headroom) == ("exceeded", "lower", -1.0)


def test_outside_the_dose_grid() -> None:
    result = on_cord(HYTEC_2, make_dvh(16.0, inside=0.0))
    assert (result.verdict, result.value, result.max_gy) == ("not evaluable", None, None)
    assert result.reason == "the structure lies outside the dose grid"


def test_smaller_than_the_volume_of_the_metric() -> None:
    tiny = DVH(np.array([0.0, 10.0]), np.array([0.02, 0.0]), 0.02, 0.0, 5.0, 10.0)
    result = on_cord(HYTEC_2, tiny)
    assert result.verdict == "not evaluable"
    assert result.reason is not None and "0.02 cc" in result.reason


@pytest.mark.parametrize(
    ("reason", "expected"),
    [(None, "there is no histogram of the true cord"), ("it has no contour", "it has no contour")],
)
def test_no_histogram(reason: str | None, expected: str) -> None:
    result = evaluate(HYTEC_2, None, roi_name=None, roi_role=None, reason=reason)
    assert (result.verdict, result.reason, result.value) == ("not evaluable", expected, None)
    assert result.decides and result.findings == ()


def test_partial_volume_rows_do_not_decide() -> None:
    row = next(c for c in load_protocol("rtog-0631").constraints if c.segment)
    result = on_cord(row, make_dvh(5.0))
    assert (result.verdict, result.value, result.decides) == ("not evaluable", None, False)
    assert result.reason is not None and "5-6 mm above" in result.reason


def test_volume_limits_in_cc() -> None:
    row = next(c for c in load_protocol("rtog-0631").constraints if c.unit == "cc")
    kept = on_cord(row, make_dvh(10.0))
    assert (kept.verdict, kept.unit, kept.metric_evaluated) == ("met", "cc", "V10Gy[cc]")
    assert kept.value == pytest.approx(0.035)
    assert kept.headroom == pytest.approx(0.315)
    assert on_cord(row, make_dvh(14.0)).verdict == "exceeded"


@pytest.mark.parametrize(
    ("meant", "used", "message"),
    [
        ("thecal_sac", "cord", "limit on the thecal sac; it is applied to .* more lenient"),
        ("cord", "cord_prv", r"limit on the true cord; .* \(cord PRV\).* stricter"),
        ("cord", "canal", r"limit on the true cord; .* \(spinal canal\).* stricter"),
        ("thecal_sac", "cord_prv", r"limit on the thecal sac; .* \(cord PRV\)\.$"),
    ],
)
def test_a_stand_in_is_named(meant: Role, used: Role, message: str) -> None:
    result = on_cord(replace(HYTEC_2, structure=meant), make_dvh(16.0), role=used)
    (finding,) = result.findings
    assert finding.code == "limit-structure-stand-in"
    assert re.search(message, finding.message)
    assert result.verdict == "met" and result.structure == meant


def test_the_same_limit_on_the_expanded_cord() -> None:
    check = evaluate_margin(HYTEC_2, make_dvh(19.0, cubic_shift_gy=0.5))
    assert (check.margin_mm, check.value, check.verdict) == (PRV_MARGIN_MM, 19.0, "exceeded")
    assert check.plus_minus == pytest.approx(0.5)
    result = replace(on_cord(HYTEC_2, make_dvh(16.0)), margin=check)
    assert result.verdict == "met" and result.margin is check
    missing = evaluate_margin(HYTEC_2, None, reason="the cord is empty")
    assert (missing.verdict, missing.reason) == ("not evaluable", "the cord is empty")


def test_constraint_from_a_goal() -> None:
    row = constraint_from_goal(parse_goal("d0.035cc[gy] < 17"))
    assert (row.id, row.limit, row.unit) == ("D0.035cc[Gy]<=17", 17.0, "Gy")
    assert (row.level, row.verified, row.source) == ("user", "unverified", "option --constraint")
    assert row.structure == "cord" and row.fractions is None and not row.surrogate
    result = on_cord(row, make_dvh(18.0))
    assert result.verdict == "exceeded" and result.decides


def test_a_goal_in_percent_of_the_prescription() -> None:
    row = constraint_from_goal(parse_goal("D0.035cc[%]<=70"), role="thecal_sac")
    dvh = make_dvh(18.0)
    known = evaluate(row, dvh, roi_name="ThecalSac", roi_role="thecal_sac", rx_gy=24.0)
    assert known.value == pytest.approx(75.0) and known.verdict == "exceeded"
    unknown = evaluate(row, dvh, roi_name="ThecalSac", roi_role="thecal_sac")
    assert unknown.verdict == "not evaluable"
    assert unknown.reason is not None and "no prescription" in unknown.reason


def test_a_goal_with_a_lower_bound_is_no_constraint() -> None:
    with pytest.raises(OptionError, match=r"D98%\[%\]>=95.*belong to --coverage"):
        constraint_from_goal(parse_goal("D98%[%]>=95"))


@given(near_max_gy=doses, limit=doses, factor=st.floats(0.01, 1.0), inside=st.floats(0.1, 1.0))
def test_a_stricter_limit_never_turns_exceeded_into_met(
    near_max_gy: float, limit: float, factor: float, inside: float
) -> None:
    dvh = make_dvh(near_max_gy, inside=inside)
    loose = on_cord(replace(HYTEC_2, limit=limit), dvh)
    strict = on_cord(replace(HYTEC_2, limit=limit * factor), dvh)
    if loose.verdict == "exceeded":
        assert strict.verdict == "exceeded"
    if strict.verdict == "met":
        assert loose.verdict == "met"


@given(
    near_max_gy=doses,
    limit=doses,
    inside=st.floats(0.0, 0.999),
    metric=st.sampled_from(["D0.035cc[Gy]", "D10%[Gy]", "Mean[Gy]", "V10Gy[cc]", "Max[Gy]"]),
)
def test_partial_coverage_is_never_met(
    near_max_gy: float, limit: float, inside: float, metric: str
) -> None:
    dvh = make_dvh(near_max_gy, inside=inside) if inside > 0.02 else make_dvh(1.0, inside=0.0)
    row = constraint_from_goal(parse_goal(f"{metric}<={limit:.6f}"))
    result = on_cord(row, dvh)
    assert result.verdict != "met"
    assert (result.reason is None) == (result.verdict == "exceeded")


@given(near_max_gy=doses, limit=doses)
def test_headroom_has_the_sign_of_the_verdict(near_max_gy: float, limit: float) -> None:
    result = on_cord(replace(HYTEC_2, limit=limit), make_dvh(near_max_gy))
    assert result.headroom is not None
    assert (result.verdict == "met") == (result.headroom >= 0)


def test_metrics_with_other_small_volumes_stay_different() -> None:
    assert str(parse_metric("D0.03cc[Gy]")) != str(parse_metric("D0.035cc[Gy]"))
    row = next(c for c in load_protocol("rtog-0631").constraints if c.id == "rtog0631_cord_max")
    result = on_cord(row, make_dvh(14.0, max_gy=16.0))
    assert result.value is not None and result.value > 14.0
    assert result.verdict == "exceeded"
