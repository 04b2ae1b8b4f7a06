"""The DVH as a value: monotone in both directions, linear between its edges, read-only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.dvh.curve import DVH, empty_dvh
from cordgap.errors import OutOfRangeError

SEEDED = settings(derandomize=True, deadline=None, max_examples=100)


@st.composite
def curves(draw):
    """Curves with flats (no volume in a bin) as real histograms have them."""
    n = draw(st.integers(2, 12))
    steps = draw(st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0]), min_size=n, max_size=n))
    volume = np.cumsum(np.array(steps)[::-1])[::-1] + 0.25
    dose = 5.0 + 0.7 * np.arange(n + 1)
    return DVH(dose, np.r_[volume, 0.0], float(volume[0]), 5.0, 7.0, float(dose[-1]))


@SEEDED
@given(dvh=curves(), shares=st.lists(st.floats(1e-3, 1), min_size=2, max_size=8))
def test_hotter_parts_get_more_dose(dvh, shares):
    volumes = np.sort(np.array(shares)) * dvh.covered_volume_cc
    doses = [dvh.dose_of_hottest_gy(float(v)) for v in volumes]
    assert (np.diff(doses) <= 1e-9).all()


@SEEDED
@given(dvh=curves(), doses=st.lists(st.floats(0, 20), min_size=2, max_size=8))
def test_less_volume_gets_more_dose(dvh, doses):
    volumes = [dvh.volume_at_least_cc(d) for d in sorted(doses)]
    assert (np.diff(volumes) <= 1e-12).all()
    assert max(volumes) <= dvh.covered_volume_cc
    assert min(volumes) >= 0


@SEEDED
@given(dvh=curves(), share=st.floats(1e-3, 1))
def test_dose_and_volume_undo_each_other(dvh, share):
    """On every sloping part; on a flat the largest dose that still has the volume counts."""
    volume = share * dvh.covered_volume_cc
    assert dvh.volume_at_least_cc(dvh.dose_of_hottest_gy(volume)) == pytest.approx(
        volume, rel=1e-9, abs=1e-12
    )


def test_on_a_flat_the_largest_dose_counts():
    dvh = DVH(np.array([0.0, 1, 2, 3]), np.array([4.0, 2, 2, 0]), 4.0, 0.0, 1.0, 3.0)
    assert dvh.dose_of_hottest_gy(2.0) == 2.0


@pytest.mark.parametrize("volume", [0.0, -1.0, 4.1, np.nan])
def test_impossible_volumes_are_refused(volume):
    dvh = DVH(np.array([0.0, 3.0]), np.array([4.0, 0.0]), 4.0, 0.0, 1.0, 3.0)
    with pytest.raises(OutOfRangeError, match="4 cc inside the dose grid"):
        dvh.dose_of_hottest_gy(volume)


@pytest.mark.parametrize(
    ("covered", "complete"), [(10.0, True), (9.9995, True), (9.99, False), (5.0, False)]
)
def test_complete_up_to_noise(covered, complete):
    dvh = DVH(np.array([0.0, 3.0]), np.array([covered, 0.0]), 10.0, 0.0, 1.0, 3.0)
    assert dvh.is_complete is complete
    assert dvh.covered_fraction == pytest.approx(covered / 10, rel=1e-12)


def test_empty():
    dvh = empty_dvh(3.0)
    assert (dvh.covered_volume_cc, dvh.covered_fraction, dvh.is_complete) == (0.0, 0.0, False)
    assert np.isnan([dvh.min_gy, dvh.mean_gy, dvh.max_gy]).all()


def test_read_only():
    dvh = DVH(np.array([0.0, 3.0]), np.array([4.0, 0.0]), 4.0, 0.0, 1.0, 3.0)
    with pytest.raises(ValueError, match="read-only"):
        dvh.volume_cc[0] = 9.0


def test_resample():
    dvh = DVH(np.array([1.0, 3.0]), np.array([4.0, 0.0]), 4.0, 1.0, 2.0, 3.0)
    edges, volumes = dvh.resample(0.5)
    assert edges.tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]
    assert volumes.tolist() == [4, 4, 4, 3, 2, 1, 0, 0]
