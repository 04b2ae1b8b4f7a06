"""The second calculation and the stored DVHs, as text and as a part of the JSON document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cordgap.report.numbers import rounded
from cordgap.report.parts import Document

if TYPE_CHECKING:
    from cordgap.check.compare import ComparedMetric, SecondCalculation
    from cordgap.check.stored import StoredComparison, StoredRow

# Shown on the terminal; the JSON document has all.
_STORED_SHOWN = ("volume", "Mean", "D0.035cc", "D2%", "D50%", "D95%", "D98%")
# Parts of a difference below this share of it are left out of the text.
_WORTH_SAYING = 0.05


def second_part(second: SecondCalculation) -> Document:
    """Return a second calculation, and the stored DVHs, beside the main one."""
    return {
        "program": second.program,
        "rows": [_row_part(row) for row in second.rows],
        "not_calculated": [
            {"roi_name": m.roi_name, "reason": m.reason, "explained": m.explained}
            for m in second.not_calculated
        ],
        "stored_dvhs": None if second.stored is None else _stored_part(second.stored),
    }


def _row_part(row: ComparedMetric) -> Document:
    return {
        "roi_name": row.roi_name,
        "metric": row.metric,
        "unit": row.unit,
        "main": rounded(row.main),
        "second": rounded(row.second),
        "difference_percent": rounded(row.difference_percent),
        "status": row.status,
        "causes": [
            {
                "cause": c.cause,
                "meaning": c.words,
                "change": rounded(c.change),
                "change_percent": rounded(row.percent(c.change)),
            }
            for c in row.causes
        ],
        "left_over": rounded(row.left_over),
        "left_over_percent": rounded(row.percent(row.left_over)),
    }


def _stored_part(stored: StoredComparison) -> Document:
    return {
        "file": stored.file,
        "reason": stored.reason,
        "rows": [
            {
                "roi_name": row.roi_name,
                "metric": row.metric,
                "unit": row.unit,
                "main": rounded(row.main),
                "stored": rounded(row.stored),
                "difference_percent": rounded(row.difference_percent),
            }
            for row in stored.rows
        ],
    }


def second_text(second: SecondCalculation) -> str:
    """Return the second calculation for a terminal."""
    lines = [f"second calculation by {second.program}: this program, the other, difference"]
    for row in second.rows:
        lines += _row_lines(row)
    for missing in second.not_calculated:
        known = "; no dose pixel centre lies inside" if missing.explained else ""
        lines.append(f"  {missing.roi_name:<20} not calculated: {missing.reason}{known}")
    if second.stored is not None:
        lines += _stored_lines(second.stored)
    return "\n".join(lines)


def _row_lines(row: ComparedMetric) -> list[str]:
    percent = row.difference_percent
    shown = "" if percent is None else f"{percent:+6.1f} %"
    lines = [
        f"  {row.roi_name:<20} {row.metric:<8} {_number(row.main)} {_number(row.second)} "
        f"{row.unit:<3}{shown} {row.status}"
    ]
    total = abs(row.difference or 0.0)
    lines += [
        f"      {row.percent(cause.change) or 0.0:+6.1f} %  {cause.words}"
        for cause in row.causes
        if abs(cause.change) >= _WORTH_SAYING * total
    ]
    if row.status == "not explained" and row.left_over is not None:
        lines.append(f"      {row.percent(row.left_over) or 0.0:+6.1f} %  not explained")
    return lines


def _stored_lines(stored: StoredComparison) -> list[str]:
    if not stored.rows:
        return [f"DVHs stored in the dose file: none compared, {stored.reason or 'see above'}"]
    lines = [f"DVHs stored in {stored.file}, compared and not used: computed, stored, difference"]
    for row in _shown(stored.rows):
        percent = row.difference_percent
        shown = "" if percent is None else f"{percent:+6.1f} %"
        lines.append(
            f"  {row.roi_name:<20} {row.metric:<8} {_number(row.main)} {_number(row.stored)} "
            f"{row.unit:<3}{shown}"
        )
    return lines


def _shown(rows: Iterable[StoredRow]) -> list[StoredRow]:
    return [row for row in rows if row.metric in _STORED_SHOWN]


def _number(value: float | None) -> str:
    return f"{'-':>9}" if value is None else f"{value:9.3f}"
