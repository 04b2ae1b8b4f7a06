"""The metric grammar: what it reads, what it writes, and where it points when it cannot read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.dvh.curve import DVH, empty_dvh
from cordgap.dvh.metrics import Goal, Metric, parse_goal, parse_metric
from cordgap.errors import MetricSyntaxError

SEEDED = settings(derandomize=True, deadline=None, max_examples=200)

# Ten significant digits are what the canonical form writes.
NUMBERS = st.integers(1, 10**7).map(lambda n: n / 1000)


def metrics():
    dose_units = st.sampled_from(["Gy", "%"])
    return st.one_of(
        st.builds(
            Metric,
            kind=st.sampled_from(["Mean", "Min", "Max", "Median"]),
            unit=dose_units,
        ),
        st.builds(
            Metric,
            kind=st.sampled_from(["D", "DC"]),
            unit=dose_units,
            argument=NUMBERS,
            argument_unit=st.just("cc"),
        ),
        st.builds(
            Metric,
            kind=st.sampled_from(["D", "DC"]),
            unit=dose_units,
            argument=st.integers(1, 100_000).map(lambda n: n / 1000),
            argument_unit=st.just("%"),
        ),
        st.builds(
            Metric,
            kind=st.sampled_from(["V", "CV"]),
            unit=st.sampled_from(["cc", "%"]),
            argument=NUMBERS,
            argument_unit=dose_units,
        ),
    )


@SEEDED
@given(metric=metrics())
def test_what_is_written_reads_back(metric):
    assert parse_metric(str(metric)) == metric


@SEEDED
@given(metric=metrics(), data=st.data())
def test_case_and_blanks_are_forgiven(metric, data):
    text = str(metric)
    # Blanks between tokens only: a number may not be torn apart.
    loose = ""
    for before, here in zip(" " + text, text, strict=False):
        same_token = (before.isalpha() and here.isalpha()) or (
            before in "0123456789." and here in "0123456789."
        )
        loose += ("" if same_token else " " * data.draw(st.integers(0, 2))) + (
            here.upper() if data.draw(st.booleans()) else here.lower()
        )
    assert parse_metric(loose) == metric


@SEEDED
@given(
    metric=metrics(),
    operator=st.sampled_from(["<=", ">=", "<", ">"]),
    bound=st.integers(0, 10**6).map(lambda n: n / 1000),
)
def test_goals_read_back(metric, operator, bound):
    goal = Goal(metric, operator, bound)
    assert parse_goal(str(goal)) == goal


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Dmin0.035cc[%]", "DC0.035cc[%]"),
        ("d 0.035 CC [gy]", "D0.035cc[Gy]"),
        ("D.035cc[Gy]", "D0.035cc[Gy]"),
        ("D95.%[%]", "D95%[%]"),
        ("v100%[%]", "V100%[%]"),
        ("CV10Gy[cc]", "CV10Gy[cc]"),
        ("MEDIAN[%]", "Median[%]"),
        ("min[Gy]", "Min[Gy]"),
        ("D0.030cc[Gy]", "D0.03cc[Gy]"),
    ],
)
def test_canonical_forms(text, canonical):
    assert str(parse_metric(text)) == canonical


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("D0.035cc[Gy]<=17", "D0.035cc[Gy]<=17"),
        ("D0.035cc[Gy] ≤ 17 Gy", "D0.035cc[Gy]<=17"),
        ("D98%[%] ≥ 95 %", "D98%[%]>=95"),
        ("V10Gy[cc]<.35cc", "V10Gy[cc]<0.35"),
    ],
)
def test_canonical_goals(text, canonical):
    assert str(parse_goal(text)) == canonical


BAD_METRICS = [
    # text, the column of the caret, what was found
    ("", 0, "found the end"),
    ("X5cc[Gy]", 0, "found 'X'"),
    ("D[Gy]", 1, "found '['"),
    ("D-5cc[Gy]", 1, "found '-'"),
    ("D0.035[Gy]", 6, "found '['"),
    ("D0.035Gy[Gy]", 6, "found 'G'"),
    ("D0.035cc", 8, "found the end"),
    ("D0.035cc[cc]", 9, "found 'c'"),
    ("D0.035cc[Gy", 11, "found the end"),
    ("D0.035cc(Gy]", 8, "found '('"),
    ("D0.035cc[Gy] x", 13, "found 'x'"),
    ("V10cc[cc]", 3, "found 'c'"),
    ("V10Gy[Gy]", 6, "found 'G'"),
    ("D0cc[Gy]", 2, "found 'c'"),
    ("D101%[Gy]", 4, "found '%'"),
    ("Mean5[Gy]", 4, "found '5'"),
    ("Mean[cc]", 5, "found 'c'"),
    ("  D0.035cc [ xx ]", 13, "found 'x'"),
    ("D1e3cc[Gy]", 2, "found 'e'"),
]


@pytest.mark.parametrize(("text", "column", "found"), BAD_METRICS)
def test_error_points_at_the_character(text, column, found):
    with pytest.raises(MetricSyntaxError) as caught:
        parse_metric(text)
    first, shown, caret, examples = str(caught.value).splitlines()
    assert found in first
    assert shown == f"  {text}"
    assert caret == " " * (2 + column) + "^"
    assert examples.startswith("examples: D0.035cc[Gy]")


BAD_GOALS = [
    ("D0.035cc[Gy]", 12, "expected <= or >="),
    ("D0.035cc[Gy]=17", 12, "found '='"),
    ("D0.035cc[Gy]<=", 14, "expected a number"),
    ("D0.035cc[Gy]<=-1", 14, "found '-'"),
    ("D0.035cc[Gy]<=17%", 16, "nothing more after the bound"),
    ("D0.035cc[Gy]<=17 Gy Gy", 20, "nothing more after the bound"),
]


@pytest.mark.parametrize(("text", "column", "message"), BAD_GOALS)
def test_goal_error_points_at_the_character(text, column, message):
    with pytest.raises(MetricSyntaxError) as caught:
        parse_goal(text)
    first, _, caret, _ = str(caught.value).splitlines()
    assert message in first
    assert caret.index("^") == 2 + column


@pytest.mark.parametrize(
    ("goal", "below", "at", "above"),
    [
        ("D1cc[Gy]<=5", True, True, False),
        ("D1cc[Gy]<5", True, False, False),
        ("D1cc[Gy]>=5", False, True, True),
        ("D1cc[Gy]>5", False, False, True),
    ],
)
def test_goals_hold_as_written(goal, below, at, above):
    holds = [parse_goal(goal).holds(value) for value in (4.999, 5.0, 5.001)]
    assert holds == [below, at, above]


# --- reading a DVH ---


@pytest.fixture
def ramp():
    """10 cc whose dose is spread evenly from 10 to 30 Gy: D(v) = 30 - 2 v, V(d) = (30 - d) / 2."""
    return DVH(np.array([10.0, 30.0]), np.array([10.0, 0.0]), 10.0, 10.0, 20.0, 30.0)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("D1cc[Gy]", 28.0),
        ("D1cc[%]", 140.0),
        ("D95%[Gy]", 11.0),
        ("D98%[%]", 52.0),
        ("DC1cc[Gy]", 12.0),
        ("DC2%[%]", 52.0),
        ("V20Gy[cc]", 5.0),
        ("V100%[%]", 50.0),
        ("CV12Gy[cc]", 1.0),
        ("CV60%[%]", 10.0),
        ("Mean[Gy]", 20.0),
        ("Min[%]", 50.0),
        ("Max[Gy]", 30.0),
        ("Median[Gy]", 20.0),
        ("V5Gy[%]", 100.0),
        ("V31Gy[cc]", 0.0),
    ],
)
def test_metrics_of_an_even_spread(ramp, metric, value):
    """Prescription 20 Gy; the values follow from the two formulas, so only rounding is left."""
    read = parse_metric(metric).evaluate(ramp, 20.0)
    assert read.value == pytest.approx(value, rel=1e-12, abs=1e-12)
    assert (read.bound, read.reason, read.plus_minus) == (None, None, None)


@pytest.mark.parametrize("metric", ["D1cc[%]", "V100%[cc]", "Mean[%]"])
@pytest.mark.parametrize("rx", [None, 0.0])
def test_percent_of_an_unknown_prescription_is_no_number(ramp, metric, rx):
    read = parse_metric(metric).evaluate(ramp, rx)
    assert read.value is None
    assert read.reason == "no prescription is known for a metric in % of it"


def test_more_volume_than_there_is(ramp):
    read = parse_metric("D11cc[Gy]").evaluate(ramp)
    assert read.value is None
    assert "hottest 11 cc" in read.reason


@pytest.fixture
def half(ramp):
    """The same, as half of a structure of 20 cc of which the rest lies outside the dose grid."""
    return DVH(ramp.dose_gy, ramp.volume_cc, 20.0, 10.0, 20.0, 30.0)


@pytest.mark.parametrize(
    ("metric", "value"), [("D1cc[Gy]", 28.0), ("V20Gy[cc]", 5.0), ("Max[Gy]", 30.0)]
)
def test_partly_covered_gives_lower_bounds(half, metric, value):
    read = parse_metric(metric).evaluate(half, 20.0)
    assert read.value == pytest.approx(value, rel=1e-12)
    assert read.bound == "lower"


@pytest.mark.parametrize(
    "metric",
    [
        "D95%[Gy]",
        "DC1cc[Gy]",
        "V20Gy[%]",
        "CV20Gy[cc]",
        "Mean[Gy]",
        "Min[Gy]",
        "Median[Gy]",
        "D2%[Gy]",
    ],
)
def test_partly_covered_gives_nothing_else(half, metric):
    read = parse_metric(metric).evaluate(half, 20.0)
    assert read.value is None
    assert read.reason == "only 50.0 % of the structure lies inside the dose grid"


@pytest.mark.parametrize("metric", ["D1cc[Gy]", "V20Gy[cc]", "Max[Gy]", "Mean[Gy]"])
def test_outside_the_dose_grid_gives_nothing(metric):
    read = parse_metric(metric).evaluate(empty_dvh(5.0), 20.0)
    assert read.value is None
    assert read.reason == "the structure lies outside the dose grid"
