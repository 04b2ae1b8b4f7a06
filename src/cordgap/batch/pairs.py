"""Plans before and after surgery: what was predicted beside what was achieved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from cordgap.batch.engine import Done
from cordgap.batch.store import Store
from cordgap.errors import OptionError

_DIGITS = 16
_SQL = """
SELECT p.result_id, p.plan_id, s.separation_mm, s.required_separation_mm, s.required_low_mm,
       s.required_high_mm, s.coverage_verdict,
       (SELECT CASE WHEN count(*) = 0 OR count(*) FILTER (c.verdict = 'not evaluable') > 0
                    THEN 'not evaluable'
                    WHEN count(*) FILTER (c.verdict = 'exceeded') > 0 THEN 'exceeded'
                    ELSE 'met' END
        FROM constraints c WHERE c.result_id = p.result_id AND c.decides)
FROM plans p JOIN separations s USING (result_id) WHERE p.result_id = ?
"""


def compare_pairs(
    store: Store, pairs: Sequence[tuple[str, str]], done: Iterable[Done]
) -> list[dict[str, Any]]:
    """Return the rows of ``comparisons`` for pairs of folders or ZIP files below the tree.

    A pair of which one plan has no separation has no row.

    Raises
    ------
    OptionError
        If a folder does not hold exactly one plan of this run.
    """
    plans = [d for d in done if d.result_id]
    return [row for pre, post in pairs if (row := _compared(store, plans, pre, post)) is not None]


def _compared(store: Store, plans: Sequence[Done], pre: str, post: str) -> dict[str, Any] | None:
    results = [_result(plans, place) for place in (pre, post)]
    found = [store.select(_SQL, [result])[1] for result in results]
    if not all(found):
        return None
    (before,), (after,) = found
    words = "|".join(results).encode()
    return {
        "comparison_id": hashlib.sha256(words).hexdigest()[:_DIGITS],
        "plan_id": before[1],
        "after_plan_id": after[1],
        "predicted_mm": before[3],
        "predicted_low_mm": before[4],
        "predicted_high_mm": before[5],
        "before_mm": before[2],
        "achieved_mm": after[2],
        "cord_verdict_after": after[7],
        "coverage_verdict_after": after[6],
    }


def _result(plans: Sequence[Done], place: str) -> str:
    folder = place.strip("/")
    inside = {
        d.result_id
        for d in plans
        if d.plan.archive == folder
        or (d.plan.archive or next(iter(d.plan.files), "")).startswith(folder + "/")
    }
    if len(inside) != 1:
        raise OptionError(
            f"--pairs: {len(inside)} plans lie in one of the places that are named, expected one; "
            "name the folder of one plan, relative to ROOT"
        )
    return inside.pop()
