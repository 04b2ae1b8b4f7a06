"""Contour bytes to arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordgap.dicom.dataset import parse_decimals

finite = st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: float(f"{v:.8g}"))


@given(st.lists(finite, min_size=1, max_size=60), st.sampled_from(["", " ", "\0"]))
def test_parses_what_was_written(values, padding):
    data = ("\\".join(f"{v:.10g}" for v in values) + padding).encode()
    np.testing.assert_array_equal(parse_decimals(data), values)


def test_blanks_around_numbers_are_forgiven():
    assert parse_decimals(b" 1.0\\ -2.5 \\+3 ").tolist() == [1.0, -2.5, 3.0]


def test_nothing_is_no_numbers():
    assert parse_decimals(b"").size == 0
    assert parse_decimals(b"  \0").size == 0


@pytest.mark.parametrize(
    "data",
    [b"1\\\\2", b"1\\abc", b"1\\2\\", b"1 2\\3", b"nan\\1", b"1\\inf", b"1,5\\2", b"\xff\\1"],
)
def test_anything_else_is_refused(data):
    with pytest.raises(ValueError):
        parse_decimals(data)
