"""How many digits leave the program: rounding for documents, one wording of a number for people.

Documents and pages print the same rounded value, so that no two of them differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

DOSE_DIGITS = 4
MM_DIGITS = 4
CC_DIGITS = 6
# What stands in a cell without a number, on every page and sheet.
NO_NUMBER = "–"

SupportsFloat = Any  # a Python or numpy number


def rounded(value: SupportsFloat | None, digits: int = DOSE_DIGITS) -> float | None:
    """Return a plain rounded float; None where there is no finite number.

    Examples
    --------
    >>> rounded(2.00004999), rounded(float("nan")), rounded(-0.00001)
    (2.0, None, 0.0)
    """
    if value is None or not math.isfinite(float(value)):
        return None
    return round(float(value), digits) + 0.0


def rounded_all(values: Iterable[SupportsFloat], digits: int = DOSE_DIGITS) -> list[float | None]:
    """Round each of a row of numbers."""
    return [rounded(v, digits) for v in values]


def rounded_pair(
    pair: tuple[float, float] | None, digits: int = MM_DIGITS
) -> list[float | None] | None:
    """Round an interval; None where there is none."""
    return None if pair is None else rounded_all(pair, digits)


def shown(value: SupportsFloat | None, digits: int = 1, unit: str = "") -> str:
    """Return a number as people read it, with its unit.

    Examples
    --------
    >>> shown(2.34, 1, "mm"), shown(None, 1, "mm")
    ('2.3 mm', '–')
    """
    number = rounded(value, DOSE_DIGITS)
    if number is None:
        return NO_NUMBER
    text = f"{round(number, digits) + 0.0:.{digits}f}"
    return f"{text} {unit}" if unit else text


def rounded_down(value: SupportsFloat | None, digits: int = 1) -> float | None:
    """Return a limit rounded down, so that what is read never exceeds it.

    Examples
    --------
    >>> rounded_down(12.2829), rounded_down(9.0), rounded_down(None)
    (12.2, 9.0, None)
    """
    number = rounded(value, DOSE_DIGITS)
    return None if number is None else math.floor(number * 10**digits + 1e-6) / 10**digits


def shown_range(pair: tuple[float, float] | None, digits: int = 1) -> str:
    """Return an interval as people read it.

    Examples
    --------
    >>> shown_range((2.2, 3.84)), shown_range(None)
    ('2.2–3.8', '–')
    """
    return NO_NUMBER if pair is None else f"{shown(pair[0], digits)}–{shown(pair[1], digits)}"
