"""Contour bytes to arrays."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
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


# Lists long enough for the faster parser, as writers put numbers: fixed, signed, with exponents.
LONG = st.lists(
    st.one_of(
        st.floats(-1e4, 1e4).map(lambda v: f"{v:.3f}"),
        st.floats(-1e300, 1e300).map(repr),
        st.integers(-(10**16), 10**16).map(str),
        st.floats(-500, 500).map(lambda v: f"{v:+.6g}"),
        st.sampled_from(["0", "-0.0", ".5", "-.25", "7.", "007", " 1.5", "2.5 ", "1E-5"]),
    ),
    min_size=60,
    max_size=90,
)


@settings(derandomize=True, deadline=None)
@given(words=LONG)
def test_long_lists_are_read_as_float_reads_them(words):
    found = parse_decimals("\\".join(words).encode())
    np.testing.assert_array_equal(found, [float(w) for w in words])


@pytest.mark.parametrize(
    "wrong",
    [b"1,2", b"true", b"null", b"[1]", b'"1"', b"1 2", b"nan", b"1e999", b"", b"0x1"],
)
def test_long_lists_with_something_else_are_refused(wrong):
    """What JSON allows and a list of decimals does not, among hundreds of good numbers."""
    with pytest.raises(ValueError):
        parse_decimals(b"1.5\\" * 100 + wrong + b"\\2.5" * 100)


def test_without_the_faster_parser_the_numbers_are_the_same(monkeypatch):
    data = "\\".join(f"{v:.3f}" for v in np.linspace(-300, 300, 500)).encode()
    fast = parse_decimals(data)
    monkeypatch.setitem(sys.modules, "orjson", None)
    np.testing.assert_array_equal(parse_decimals(data), fast)
