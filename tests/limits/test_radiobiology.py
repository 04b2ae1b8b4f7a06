"""The linear-quadratic arithmetic against closed forms and what must hold for any course."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.errors import OptionError
from cordgap.limits.radiobiology import (
    LinearTail,
    bed_gy,
    dose_of_eqd2_gy,
    eqd2_gy,
    isoeffective_dose_gy,
)

SEEDED = settings(derandomize=True, deadline=None, max_examples=60)
doses = st.floats(0.01, 100.0)
counts = st.integers(1, 40)
ratios = st.floats(0.3, 30.0)
# Ten roundings of double precision.
CLOSE = 1e-12


@pytest.mark.parametrize(
    ("dose", "n", "ratio", "bed"),
    [(17.0, 2, 2.0, 17 * 5.25), (24.0, 1, 10.0, 24 * 3.4), (60.0, 30, 2.0, 120.0)],
)
def test_bed_in_closed_form(dose, n, ratio, bed):
    assert bed_gy(dose, n, alpha_beta_gy=ratio) == pytest.approx(bed, rel=CLOSE)


@SEEDED
@given(n=counts, ratio=ratios)
def test_eqd2_of_two_gray_fractions_is_the_dose(n, ratio):
    assert eqd2_gy(2.0 * n, n, alpha_beta_gy=ratio) == pytest.approx(2.0 * n, rel=CLOSE)


def test_a_course_of_sahgal_is_its_published_eqd2():
    """Nieder's cumulative 120 Gy2 of BED are 60 Gy in 2 Gy fractions with alpha/beta 2."""
    assert eqd2_gy(60.0, 30) == pytest.approx(bed_gy(60.0, 30) / 2, rel=CLOSE)
    assert bed_gy(60.0, 30) == pytest.approx(120.0, rel=CLOSE)


def test_hytec_limits_are_isoeffective():
    """The published limits agree with one another to the 0.1 Gy they are rounded to."""
    published = {1: 12.4, 2: 17.0, 3: 20.3, 4: 23.0, 5: 25.3}
    for n, dose in published.items():
        for m, other in published.items():
            assert isoeffective_dose_gy(dose, n, m) == pytest.approx(other, abs=0.1)


@SEEDED
@given(dose=doses, n=counts, m=counts, ratio=ratios)
def test_isoeffective_dose_has_the_same_effect_and_leads_back(dose, n, m, ratio):
    other = isoeffective_dose_gy(dose, n, m, alpha_beta_gy=ratio)
    assert bed_gy(other, m, alpha_beta_gy=ratio) == pytest.approx(
        bed_gy(dose, n, alpha_beta_gy=ratio), rel=1e-9
    )
    assert isoeffective_dose_gy(other, m, n, alpha_beta_gy=ratio) == pytest.approx(dose, rel=1e-9)


@SEEDED
@given(pair=st.tuples(doses, doses), n=counts, ratio=ratios)
def test_more_dose_more_effect(pair, n, ratio):
    low, high = sorted(pair)
    for effect in (bed_gy, eqd2_gy):
        assert effect(low, n, alpha_beta_gy=ratio) <= effect(high, n, alpha_beta_gy=ratio)


@SEEDED
@given(dose=doses, n=counts, pair=st.tuples(counts, counts), ratio=ratios)
def test_more_fractions_more_dose(dose, n, pair, ratio):
    few, many = sorted(pair)
    a, b = (isoeffective_dose_gy(dose, n, m, alpha_beta_gy=ratio) for m in (few, many))
    assert a <= b * (1 + CLOSE)


@SEEDED
@given(pair=st.tuples(ratios, ratios))
def test_late_reacting_tissue_suffers_more_from_large_fractions(pair):
    small, large = sorted(pair)
    assert bed_gy(17.0, 2, alpha_beta_gy=small) >= bed_gy(17.0, 2, alpha_beta_gy=large)


@pytest.mark.parametrize(
    ("arguments", "ratio", "words"),
    [
        ((-1.0, 2), 2.0, "dose of -1.0 Gy"),
        ((float("nan"), 2), 2.0, "dose of nan Gy"),
        ((10.0, 0), 2.0, "0 fractions"),
        ((10.0, 2), 0.0, "alpha/beta of 0.0 Gy"),
        ((10.0, 2), float("inf"), "alpha/beta of inf Gy"),
    ],
)
def test_nonsense_is_refused(arguments, ratio, words):
    with pytest.raises(OptionError, match=words):
        bed_gy(*arguments, alpha_beta_gy=ratio)


def test_nonsense_number_of_new_fractions_is_refused():
    with pytest.raises(OptionError, match="0 fractions"):
        isoeffective_dose_gy(10.0, 2, 0)


# The isoeffect table of the published limits, alpha/beta 2 Gy, to the digit it is printed with.
ISOEFFECT = [
    ((12.4, 1), 44.6), ((17.0, 2), 44.6), ((20.3, 3), 44.5), ((23.0, 4), 44.6), ((25.3, 5), 44.7),
    ((14.0, 1), 56.0), ((21.9, 3), 50.9), ((30.0, 5), 60.0),
    ((10.0, 1), 30.0), ((18.0, 3), 36.0), ((23.0, 5), 37.9),
    ((13.0, 1), 48.8), ((20.0, 3), 43.3), ((26.0, 4), 55.2), ((19.0, 2), 54.6),
    ((9.0, 1), 24.8), ((12.2, 2), 24.7), ((14.5, 3), 24.8), ((16.2, 4), 24.5), ((18.0, 5), 25.2),
]  # fmt: skip


@pytest.mark.parametrize(("course", "eqd2"), ISOEFFECT)
def test_the_isoeffect_table(course, eqd2):
    """To half of its last digit, and the round-off of a tie such as 48.75."""
    assert eqd2_gy(*course) == pytest.approx(eqd2, abs=0.05 + 1e-9)


def test_arrays_in_arrays_out():
    doses = np.array([0.0, 12.4, 17.0])
    for function in (bed_gy, eqd2_gy, dose_of_eqd2_gy):
        found = function(doses, 2)
        assert isinstance(found, np.ndarray)
        assert found.tolist() == pytest.approx([function(float(d), 2) for d in doses], rel=CLOSE)
        assert isinstance(function(12.4, 2), float)
    with pytest.raises(OptionError, match="this array"):
        bed_gy(np.array([1.0, -1.0]), 2)


def test_linear_tail_in_closed_form():
    """25.3 Gy in 5: 12 Gy of effect up to 4 Gy a fraction, 5 times 1.06 Gy beyond; over 2."""
    tail = LinearTail(4.0, 5.0)
    assert eqd2_gy(25.3, 5, tail=tail) == pytest.approx((12.0 + 5.0 * 1.06) * 5 / 2, rel=CLOSE)
    # Below the transition both models are one.
    assert eqd2_gy(20.0, 5, tail=tail) == pytest.approx(eqd2_gy(20.0, 5), rel=CLOSE)
    # With the slope of LQ at the transition LQ-L never exceeds LQ.
    assert bed_gy(24.0, 1, tail=tail) < bed_gy(24.0, 1)


@SEEDED
@given(dose=doses, n=counts, m=counts, ratio=ratios, bend=st.floats(1.0, 15.0))
def test_the_way_back_holds_with_and_without_a_tail(dose, n, m, ratio, bend):
    for tail in (None, LinearTail(bend, 1 + 2 * bend / ratio)):
        there = isoeffective_dose_gy(dose, n, m, alpha_beta_gy=ratio, tail=tail)
        back = isoeffective_dose_gy(there, m, n, alpha_beta_gy=ratio, tail=tail)
        assert back == pytest.approx(dose, rel=1e-9)


@pytest.mark.parametrize("tail", [(0.0, 5.0), (4.0, float("nan"))])
def test_a_tail_that_makes_no_sense_is_refused(tail):
    with pytest.raises(OptionError, match="LQ-L"):
        LinearTail(*tail)
