"""Partial-volume rows cut the cord themselves, or say that it is contoured too short."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cordgap.analysis import Settings, analyze
from cordgap.dvh.solid import build_solid
from cordgap.dvh.structures import compute_structures
from cordgap.limits.judge import evaluate_constraints
from cordgap.limits.part import evaluate_part
from cordgap.limits.protocol import load_protocol
from cordgap.phantom import (
    CordShape,
    LinearDose,
    cord_in_linear_dose,
    exact_cord_dose_gy,
    spine_case,
)
from cordgap.separation.select import choose_target

CORD = CordShape()
# Dose along the cord alone: the hottest 10 % of a part are its upper tenth.
SLOPE = LinearDose(30.0, (0.0, 0.0, 0.5))
ROW = next(c for c in load_protocol("rtog-0631").constraints if c.id == "rtog0631_cord_10")


@pytest.fixture(scope="module")
def case():
    return cord_in_linear_dose(cord=CORD, dose=SLOPE)


def part(case, target, row=ROW):
    solid = build_solid(case.structures[0])
    return evaluate_part(row, solid, case.dose, target_z_mm=target, roi_role="cord")


def test_the_hottest_tenth_of_a_part_in_closed_form(case):
    """Target -6 to 6: cut 5 mm beyond it ends at 11 and is 22 mm long, 6 mm beyond at 12 and 24."""
    result, dvh = part(case, (-6.0, 6.0))
    exact = max(30 + 0.5 * (end - 0.1 * 2 * end) for end in (11.0, 12.0))
    # Half of the pitch times the gradient.
    assert result.value == pytest.approx(exact, abs=0.1)
    assert result.value < exact_cord_dose_gy(0.1 * CORD.volume_cc, cord=CORD, dose=SLOPE)
    assert (result.verdict, result.decides) == ("exceeded", True)
    assert result.segment == "z -12.0 to 12.0 mm"
    assert dvh.total_volume_cc == pytest.approx(CORD.volume_cc * 24 / 48, rel=2e-3)


def test_the_shorter_part_counts_where_it_is_hotter():
    """Hot in the middle: the shorter the part, the larger the share that is hot."""
    case = spine_case(image=False)
    cord = next(s for s in case.structures if s.role == "cord")
    found, _ = evaluate_part(
        ROW, build_solid(cord), case.dose, target_z_mm=(-12.0, 12.0), roi_role="cord"
    )
    assert found.segment == "z -17.0 to 17.0 mm"


@pytest.mark.parametrize("target", [(-22.0, 6.0), (-6.0, 20.0)])
def test_a_cord_that_is_contoured_too_short_is_not_evaluable(case, target):
    result, dvh = part(case, target)
    assert (result.verdict, result.value, dvh) == ("not evaluable", None, None)
    assert "does not hold the part from" in result.reason
    assert result.decides


def test_without_a_target_or_a_dose_there_is_no_part(case):
    assert "no target" in part(case, None)[0].reason
    assert "no dose" in part(replace(case, dose=None), (-6.0, 6.0))[0].reason


def test_a_volume_larger_than_the_contoured_cord_is_not_evaluable(case):
    table = load_protocol("aapm-tg101-2010")
    row = next(c for c in table.constraints if c.id == "tg101_cord_3_12")
    short = cord_in_linear_dose(cord=CordShape(half_length_mm=6.0), dose=SLOPE)
    structures = compute_structures(short)
    ((result, _),) = evaluate_constraints(short, [row], structures, short.structures[0], rx_gy=None)
    assert result.verdict == "not evaluable"
    assert "asked for the hottest 1.2 cc" in result.reason


def test_the_row_of_a_protocol_is_judged_on_the_part():
    case = spine_case(image=False)
    cord = next(s for s in case.structures if s.role == "cord")
    target = choose_target(case, cord)
    structures = compute_structures(case, names=(cord.roi_name, target.structure.roi_name))
    ((whole, _),) = evaluate_constraints(
        case, [ROW], structures, cord, rx_gy=24.0, target=target.structure
    )
    assert whole.verdict == "exceeded"
    ((nothing, _),) = evaluate_constraints(case, [ROW], structures, cord, rx_gy=24.0)
    assert (nothing.verdict, nothing.reason) == (
        "not evaluable",
        "there is no target to cut the structure by",
    )


def test_unverified_rows_only_by_name_and_with_a_warning():
    case = spine_case(image=False)
    slim = replace(case, structures=tuple(s for s in case.structures if s.role in ("cord", "gtv")))
    found = analyze(
        replace(slim, prescription=replace(slim.prescription, fractions=1)),
        Settings(rows=("tg101_cord_1_12",)),
    )
    (row,) = [c for c in found.constraints if c.id == "tg101_cord_1_12"]
    assert row.verified == "unverified"
    assert "limit-unverified" in {f.code for f in found.warnings}
