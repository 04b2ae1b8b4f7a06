"""Risk in words: a region, its caveat, what was seen; never a percentage above 5."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.limits.risk import risk_of


@pytest.mark.parametrize(
    ("dose", "fractions", "words"),
    [
        (12.4, 1, "<= 5 % region"),
        (12.5, 1, "above the <= 5 % region"),
        (17.0, 2, "<= 5 % region"),
        (25.3, 5, "<= 5 % region"),
        (30.0, 5, "above the <= 5 % region"),
        # Eight fractions: 44.5 Gy EQD2, the smallest of the published ones.
        (30.0, 8, "<= 5 % region"),
        (33.0, 8, "above the <= 5 % region"),
    ],
)
def test_the_region(dose, fractions, words):
    risk = risk_of("thecal_sac", "ThecalSac", dose, fractions)
    assert risk.regions[0].words == words
    assert risk.reason is None


def test_the_caveats_and_what_was_seen_stand_beside():
    risk = risk_of("cord", "SpinalCord", 12.0, 1)
    assert "overstates absolute risk above 5 %" in risk.regions[0].caveat
    assert "read on the true cord" in risk.regions[0].caveat
    assert {x.id for x in risk.seen} == {"gibbs09", "inst_353", "ghia18"}
    assert "Lyman-Kutcher-Burman is not offered" in risk.not_offered


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.floats(0.0, 60.0), st.integers(1, 10))
def test_no_percentage_above_five(dose, fractions):
    """Of the models; upper confidence limits of series are data of the series."""
    risk = risk_of("thecal_sac", "ThecalSac", dose, fractions)
    for region in risk.regions:
        for text in (region.words, region.model, region.caveat):
            assert all(float(n) <= 5 for n in re.findall(r"([\d.]+) ?%", text))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.tuples(st.floats(0.0, 60.0), st.floats(0.0, 60.0)), st.integers(1, 10))
def test_more_dose_never_leads_back_into_the_region(pair, fractions):
    low, high = sorted(pair)
    below, above = (risk_of("cord", "c", d, fractions).regions[0].words for d in (low, high))
    assert not (above == "<= 5 % region" and below != "<= 5 % region")


def test_without_a_dose_or_after_radiation_there_is_no_region():
    assert "not known" in risk_of("cord", "SpinalCord", None, 2).reason
    irradiated = risk_of("cord", "SpinalCord", 12.0, 1, reason="previous radiation")
    assert (irradiated.regions, irradiated.reason) == ((), "previous radiation")
