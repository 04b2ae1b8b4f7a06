"""The plans of a gathered store as columns, small enough to lie in a page.

Words are kept once and pointed at; what only some plans have is kept with its row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from cordgap.batch.store import Store
from cordgap.batch.trends import FEWEST_FOR_LIMITS, MOVING_RANGES
from cordgap.limits.protocol import DEFAULT_PROTOCOL
from cordgap.report.numbers import rounded_all

Document = dict[str, Any]
Row = tuple[Any, ...]

# So many plans are held by a page, those analysed last: 10,000 take some 4 MB.
MOST_ROWS = 20_000
_WORDS = ("status", "code", "machine", "planner", "protocol", "cord", "target", "coverage_metric")
_NUMBERS = (
    "dose_gy", "cord_d0035cc_gy", "headroom_gy", "separation_mm", "required_separation_mm",
    "coverage_value", "coverage_goal", "gradient_percent_per_mm",
)  # fmt: skip
_PLAIN = ("plan_id", "fractions", "exceeded", "evaluable", "report", "plan_month", "analysed_at")
_COLUMNS = ", ".join(("settings" if name == "protocol" else name) for name in (*_WORDS, *_NUMBERS))
_HELD = f"""
CREATE TEMP TABLE held AS
SELECT row_number() OVER (ORDER BY position) - 1 AS row, * FROM (
    FROM trend ORDER BY analysed_at DESC, position DESC LIMIT {MOST_ROWS})
"""


def page_rows(store: Store, since: date | None) -> Document:
    """Return the plans of a gathered store as a page holds them, in the order of the charts.

    Parameters
    ----------
    store : Store
    since : date or None
        Day (UTC) at which the page begins to show plans.

    Returns
    -------
    dict
        ``plans`` (in the store), ``rows`` (held), ``words`` and ``numbers`` by column, days since
        1970 in ``analysed_day``, months since year 0 in ``plan_month``, ``reports`` (folder or
        null), ``schedules`` and ``pairs`` with the rows that they belong to, ``rule``.
    """
    store.select(_HELD)
    names, rows = store.select(f"SELECT {_COLUMNS}, {', '.join(_PLAIN)} FROM held ORDER BY row")
    columns: dict[str, Sequence[Any]] = dict(
        zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True)
    )
    columns["protocol"] = [_protocol(text) for text in columns.pop("settings")]
    return {
        "plans": store.select("SELECT count(*) FROM trend")[1][0][0],
        "rows": len(rows),
        "since": None if since is None else since.isoformat(),
        "rule": {"moving_ranges": MOVING_RANGES, "fewest": FEWEST_FOR_LIMITS},
        "words": {name: _coded(columns[name]) for name in _WORDS},
        "numbers": {name: rounded_all(columns[name]) for name in _NUMBERS},
        "plan_id": list(columns["plan_id"]),
        "fractions": list(columns["fractions"]),
        "exceeded": [int(bool(x)) for x in columns["exceeded"]],
        "evaluable": [int(bool(x)) for x in columns["evaluable"]],
        "analysed_day": [_day(x) for x in columns["analysed_at"]],
        "plan_month": [_month(x) for x in columns["plan_month"]],
        "reports": list(columns["report"]),
        "schedules": _schedules(store),
        "pairs": _pairs(store),
        "pairs_out_of_date": store.select("SELECT count(*) FROM pairs WHERE NOT is_current")[1][0][
            0
        ],
    }


def _coded(values: Iterable[str | None]) -> Document:
    """Return words once, the most frequent first, and which one each row has; -1 is none."""
    given = list(values)
    count = Counter(word for word in given if word is not None)
    words = sorted(count, key=lambda word: (-count[word], word))
    place = {word: number for number, word in enumerate(words)}
    return {"words": words, "codes": [place.get(word, -1) if word else -1 for word in given]}


def _protocol(settings: str | None) -> str | None:
    """Name the limits of an analysis by its settings."""
    if settings is None:
        return None
    chosen = json.loads(settings)
    name = chosen.get("protocol") or DEFAULT_PROTOCOL
    own = [*chosen.get("constraints", ()), *chosen.get("coverage", ())]
    return f"{name} with {', '.join(own)}" if own else str(name)


def _day(when: Any) -> int | None:
    return None if when is None else (when.date() - date(1970, 1, 1)).days


def _month(when: date | None) -> int | None:
    return None if when is None else 12 * when.year + when.month - 1


def _schedules(store: Store) -> list[Document]:
    """Return each schedule with the steps from one row that has it to the next, and its values."""
    rows = store.select(
        "SELECT s.dose_gy, s.fractions, list(h.row ORDER BY h.row), "
        "list(s.required_separation_mm ORDER BY h.row) "
        "FROM schedules s JOIN held h USING (result_id) GROUP BY s.dose_gy, s.fractions "
        "ORDER BY s.fractions, s.dose_gy"
    )[1]
    return [
        {
            "dose_gy": dose_gy,
            "fractions": fractions,
            "steps": [b - a for a, b in zip((0, *at[:-1]), at, strict=True)],
            "required_mm": rounded_all(values),
        }
        for dose_gy, fractions, at, values in rows
    ]


def _pairs(store: Store) -> list[list[Any]]:
    """Return plans before and after surgery: row of the one before, and what its figure shows."""
    return [
        [row, after, *rounded_all(values)]
        for row, after, *values in store.select(
            "SELECT h.row, p.after_plan_id, p.predicted_mm, p.predicted_low_mm, "
            "p.predicted_high_mm, p.before_mm, p.achieved_mm "
            "FROM pairs p JOIN held h USING (plan_id) WHERE p.is_current ORDER BY h.row, 2"
        )[1]
    ]
