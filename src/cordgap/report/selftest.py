"""The self-test as JSON and as text: every row in the one, a line a limit in the other."""

from __future__ import annotations

import math
from collections.abc import Iterable

from cordgap.check.selftest import LIMITS, Group, Row, Selftest, groups
from cordgap.errors import SAFETY_SENTENCES
from cordgap.report.numbers import NO_NUMBER, rounded
from cordgap.report.parts import Document

# Missed rows that the text names; the JSON has all.
_MOST_MISSED = 20
# Errors are far smaller than doses: digits of the JSON.
_ERROR_DIGITS = 9


def selftest_document(result: Selftest) -> Document:
    """Return the self-test as ``cordgap.selftest/1``."""
    return {
        "schema": "cordgap.selftest/1",
        "cordgap_version": result.cordgap_version,
        "verdict": verdict_word(result),
        "exit_code": result.exit_code,
        "values": len(result.rows),
        "missed": len(result.failed),
        "seconds": rounded(result.seconds, 1),
        "engines": list(result.engines),
        "notes": list(result.notes),
        "versions": dict(result.versions),
        "platform": dict(result.platform),
        "limits": [{"id": x.id, "words": x.words, "source": x.source} for x in LIMITS],
        "rows": [_row_part(row) for row in result.rows],
        "safety": list(SAFETY_SENTENCES),
    }


def _row_part(row: Row) -> Document:
    return {
        "part": row.part,
        "subject": row.subject,
        "position": row.position,
        "engine": row.engine,
        "quantity": row.quantity,
        "expected": _value(row.expected),
        "found": _value(row.found),
        "error": rounded(row.error, _ERROR_DIGITS),
        "limit": None if row.limit is None else float(f"{row.limit:.9g}"),
        "unit": row.unit,
        "limit_id": row.limit_id,
        "passed": row.passed,
        "reason": row.reason,
    }


def _value(value: float | str | None) -> float | str | None:
    return value if isinstance(value, str) else rounded(value, _ERROR_DIGITS)


def verdict_word(result: Selftest) -> str:
    """Return ``passed`` or ``failed``."""
    return "passed" if result.passed else "failed"


def verdict_line(result: Selftest) -> str:
    """Return the verdict in one line."""
    missed = len(result.failed)
    words = "every limit is kept" if result.passed else f"{missed} missed"
    return f"{verdict_word(result)}: {len(result.rows)} values, {words}"


def version_line(result: Selftest) -> str:
    """Return what the numbers rest on, in one line."""
    known = [f"{name} {version}" for name, version in result.versions.items() if version]
    p = result.platform
    return f"Python {p['python']} ({p['system']} {p['machine']}); {', '.join(known)}"


def error_words(row: Row) -> str:
    """Return how far a row is off, as people read it."""
    if row.error is None:
        return "same" if row.passed else NO_NUMBER
    return f"{_short(row.error)} {row.unit or ''}".rstrip()


def limit_words(row: Row) -> str:
    """Return what the error of a row may be."""
    return "same" if row.limit is None else f"{row.limit:.3g} {row.unit or ''}".rstrip()


def _short(value: float) -> str:
    if not math.isfinite(value):
        return "not a number"
    return f"{value:.3f}" if abs(value) >= 5e-4 else f"{value:.1e}" if value else "0"


def missed_line(row: Row) -> str:
    """Return a missed row in one line."""
    where = [row.subject, row.position, row.engine]
    head = f"{', '.join(w for w in where if w)}: {row.quantity}"
    if row.reason is not None:
        return f"{head}: {row.reason}"
    if row.error is None:
        return f"{head}: found {row.found}, expected {row.expected}"
    found, expected = (NO_NUMBER if v is None else f"{v:.6g}" for v in (row.found, row.expected))
    return f"{head}: found {found}, expected {expected}: off by {error_words(row)}, limit " + (
        limit_words(row)
    )


def selftest_text(result: Selftest, *, full: bool = False) -> str:
    """Return the self-test for a terminal; ``full`` has a line a case and limit."""
    lines = [f"cordgap {result.cordgap_version} self-test {verdict_line(result)}", ""]
    shown = groups(result.rows) if full else groups(result.rows, by_subject=False)
    lines += _table(shown)
    missed = result.failed
    if missed:
        lines += ["", "missed"]
        lines += [f"  {missed_line(row)}" for row in missed[:_MOST_MISSED]]
        if len(missed) > _MOST_MISSED:
            lines.append(f"  and {len(missed) - _MOST_MISSED} more: see --json")
    lines += ["", version_line(result)]
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join([*lines, *SAFETY_SENTENCES[:1]])


def _table(shown: Iterable[Group]) -> list[str]:
    rows = [("part", "what", "limit", "values", "missed", "worst", "may be")]
    rows += [
        (g.part, g.subject, g.limit_id, str(g.count), str(g.failed), error_words(g.worst),
         limit_words(g.worst))
        for g in shown
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
