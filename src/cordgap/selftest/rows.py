"""Rows from numbers and words; what goes wrong on the way becomes a row that failed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cordgap.check.selftest import Part, Row


@dataclass(frozen=True)
class Known:
    """What rows of one case share."""

    part: Part
    subject: str
    position: str | None = None
    engine: str | None = None

    def number(
        self,
        quantity: str,
        found: float | None,
        expected: float,
        *,
        limit: float,
        limit_id: str,
        unit: str,
        error: float | None = None,
    ) -> Row:
        """Hold a number against what is known; ``error`` replaces their plain difference."""
        if found is None:
            return self.missing(quantity, limit_id, "there is no value", expected=expected)
        off = found - expected if error is None else error
        # Written so that NaN fails.
        return Row(
            self.part, self.subject, quantity, limit_id, passed=abs(off) <= limit,
            expected=expected, found=found, error=off, limit=limit, unit=unit,
            position=self.position, engine=self.engine,
        )  # fmt: skip

    def percent(
        self, quantity: str, found: float, expected: float, *, limit: float, limit_id: str
    ) -> Row:
        """Hold a number against what is known, in percent of that."""
        off = 100 * (found - expected) / expected
        return self.number(
            quantity, found, expected, limit=limit, limit_id=limit_id, unit="%", error=off
        )

    def same(self, quantity: str, found: str, expected: str, *, limit_id: str = "equal") -> Row:
        """Hold a word against what was expected."""
        return Row(
            self.part, self.subject, quantity, limit_id, passed=found == expected,
            expected=expected, found=found, position=self.position, engine=self.engine,
        )  # fmt: skip

    def missing(
        self, quantity: str, limit_id: str, reason: str, *, expected: float | str | None = None
    ) -> Row:
        """Say that there is nothing to hold against a limit, which fails."""
        return Row(
            self.part, self.subject, quantity, limit_id, passed=False, expected=expected,
            position=self.position, engine=self.engine, reason=reason,
        )  # fmt: skip


def attempt(known: Known, work: Callable[[], Iterable[Row]]) -> list[Row]:
    """Return the rows of a piece of work; an exception of any kind is a row that failed.

    A self-test must come to its verdict on an installation that is broken in a way nobody foresaw.
    """
    try:
        return list(work())
    except Exception as error:
        logging.getLogger(__name__).debug("self-test: %s", known.subject, exc_info=True)
        reason = f"{type(error).__name__}: {error}"
        return [known.missing("the whole case", "equal", reason)]
