"""What the plans of a store have in common and where one stands out: numbers, made in SQL.

``gather`` lays out one row a plan and the control limits as temporary tables; everything else
reads those. Every number is of the plans that count (the views of the store), each once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from cordgap._version import __version__
from cordgap.batch.store import Store
from cordgap.errors import SAFETY_SENTENCES
from cordgap.limits.protocol import CORD_ROLES
from cordgap.report.numbers import rounded

Document = dict[str, Any]

# Individuals chart: mean +/- 2.66 mean moving ranges of two (3 / d2, d2 = 1.128; NIST/SEMATECH
# e-Handbook of Statistical Methods, 6.3.2.2).
MOVING_RANGES = 2.66
# Trial limits want 20 to 25 values (Montgomery, Introduction to Statistical Quality Control).
FEWEST_FOR_LIMITS = 20
# Values are kept to 1e-4: less than this beyond a limit is rounding.
_ROUNDING = 1e-6
# What has control limits.
CHARTED = ("cord_d0035cc_gy", "headroom_gy")
# What rules and the table of measures know, and where it lies in the table of plans.
MEASURES = (
    "cord_d0035cc_gy", "headroom_gy", "separation_mm", "required_separation_mm", "make_mm",
    "coverage_value", "gradient_percent_per_mm", "seconds",
)  # fmt: skip
STATUSES = ("ok", "refused", "failed", "timeout")
# What is counted, as SQL on the table of plans.
COUNTED = {
    "plans": "true",
    **{status: f"status = '{status}'" for status in STATUSES},
    "exceeded": "status = 'ok' AND exceeded",
    "not_evaluable": "status = 'ok' AND evaluable IS NOT TRUE",
    "out_of_control": "is_outside",
}
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)

_ROLES = ", ".join(f"'{role}'" for role in CORD_ROLES)
# D0.035cc is that of the cord that was taken, or of the only one; a lower bound (a cord partly
# outside the dose grid) is no value. Headroom is unknown where that to one limit is, unless
# another one is exceeded already.
_GATHER = f"""
CREATE TEMP TABLE trend AS
WITH cords AS (
    SELECT m.result_id, any_value(m.value) AS gy, any_value(m.roi_name) AS roi_name
    FROM metrics m LEFT JOIN separations s USING (result_id)
    WHERE m.metric = 'D0.035cc[Gy]' AND m.role = 'cord' AND coalesce(m.roi_name = s.cord, true)
    GROUP BY m.result_id HAVING count(*) = 1 AND count(m.bound) = 0),
goals AS (
    SELECT result_id,
           CASE WHEN min(headroom) < 0 OR bool_and(verdict <> 'not evaluable')
                THEN min(headroom) END AS headroom_gy,
           min(limit_value) FILTER (structure = 'cord' AND metric = 'D0.035cc[Gy]') AS limit_gy
    FROM constraints WHERE decides AND unit = 'Gy' AND structure IN ({_ROLES})
    GROUP BY result_id)
SELECT row_number() OVER (ORDER BY p.plan_month NULLS LAST, p.analysed_at, p.plan_id) AS position,
       p.plan_id, p.result_id, p.status, p.code, p.exceeded, p.evaluable, p.machine, p.planner,
       p.plan_month, p.analysed_at, p.dose_gy, p.fractions, p.settings, p.seconds, p.report,
       ?::DATE IS NULL OR p.analysed_at >= ?::DATE AS in_scope,
       coalesce(s.cord, c.roi_name) AS cord, s.target,
       CASE WHEN isfinite(c.gy) THEN c.gy END AS cord_d0035cc_gy, g.headroom_gy, g.limit_gy,
       s.separation_mm, s.required_separation_mm, s.make_mm,
       s.coverage_metric, s.coverage_value, s.coverage_goal, s.coverage_verdict,
       100 * f.gradient_per_mm AS gradient_percent_per_mm
FROM plans p LEFT JOIN separations s USING (result_id) LEFT JOIN cords c USING (result_id)
     LEFT JOIN goals g USING (result_id) LEFT JOIN falloff f USING (result_id)
"""
_CONTROL = f"""
CREATE TEMP TABLE control AS
WITH long AS (
    UNPIVOT (SELECT position, plan_id, fractions, in_scope, {", ".join(CHARTED)} FROM trend)
    ON {", ".join(CHARTED)} INTO NAME measure VALUE value),
ranged AS (
    SELECT *, abs(value - lag(value) OVER (PARTITION BY measure, fractions ORDER BY position))
              AS moving_range
    FROM long WHERE fractions IS NOT NULL),
limits AS (
    SELECT measure, fractions, count(*) AS baseline, avg(value) AS mean,
           avg(moving_range) AS mean_moving_range
    FROM ranged GROUP BY measure, fractions)
SELECT r.plan_id, r.in_scope, r.value, l.*,
       CASE WHEN baseline >= {FEWEST_FOR_LIMITS}
            THEN mean - {MOVING_RANGES} * mean_moving_range END AS lower,
       CASE WHEN baseline >= {FEWEST_FOR_LIMITS}
            THEN mean + {MOVING_RANGES} * mean_moving_range END AS upper,
       coalesce(r.value < lower - {_ROUNDING} OR r.value > upper + {_ROUNDING}, false) AS is_outside
FROM ranged r JOIN limits l USING (measure, fractions)
"""
_MARK = """
ALTER TABLE trend ADD COLUMN is_outside BOOLEAN;
UPDATE trend SET is_outside = plan_id IN (SELECT plan_id FROM control WHERE is_outside)
"""
# A comparison is named by the results that it was made of: those of other results are out of date.
_PAIRS = """
CREATE TEMP TABLE pairs AS
SELECT c.*, b.position, b.in_scope, substr(sha256(b.result_id || '|' || a.result_id), 1, 16)
       = c.comparison_id AS is_current
FROM comparisons c JOIN trend b USING (plan_id) JOIN trend a ON a.plan_id = c.after_plan_id
"""


def gather(store: Store, since: date | None = None) -> None:
    """Lay out one row a plan, control limits and pairs as temporary tables of a store.

    Parameters
    ----------
    store : Store
        A reading one is enough: nothing is written into the file.
    since : date, optional
        Plans analysed before this day (UTC) are no longer counted; control limits are of all.
    """
    store.select(_GATHER, [since, since])
    for statement in (_CONTROL, *_MARK.split(";"), _PAIRS):
        store.select(statement)


def trends_document(store: Store, since: date | None, rules: Sequence[Document]) -> Document:
    """Return what a gathered store holds as ``cordgap.trends/1``.

    Parameters
    ----------
    store : Store
    since : date or None
        As it was gathered.
    rules : sequence of dict
        What rules.py made of each rule.
    """
    states = {rule["state"] for rule in rules}
    first, last = store.select(
        "SELECT min(analysed_at), max(analysed_at) FROM trend WHERE in_scope"
    )[1][0]
    return {
        "schema": "cordgap.trends/1",
        "cordgap_version": __version__,
        "since": None if since is None else since.isoformat(),
        "first_analysed_at": None if first is None else first.isoformat(),
        "last_analysed_at": None if last is None else last.isoformat(),
        "counts": counts(store),
        "measures": {name: measure(store, name) for name in MEASURES},
        "control": _control(store),
        "schedules": _schedules(store),
        "coverage": _coverage(store),
        "gradients": {kind: _gradients(store, kind) for kind in ("machine", "planner")},
        "causes": _named(
            store,
            "SELECT status, code, count(*) AS plans FROM trend WHERE in_scope AND status <> 'ok' "
            "GROUP BY ALL ORDER BY plans DESC, code NULLS LAST, status",
        ),
        "comparisons": _comparisons(store),
        "rules": list(rules),
        "page": None,
        "exit_code": 3 if "not evaluable" in states else 1 if "fired" in states else 0,
        "safety": list(SAFETY_SENTENCES),
    }


def counts(store: Store) -> dict[str, int]:
    """Count the plans in scope: by status, and what came out."""
    words = ", ".join(f"count(*) FILTER ({sql})" for sql in COUNTED.values())
    row = store.select(f"SELECT {words} FROM trend WHERE in_scope")[1][0]
    return dict(zip(COUNTED, row, strict=True))


def measure(store: Store, name: str) -> Document:
    """Return how many analysed plans in scope have a measure, and what it comes to.

    ``last`` is that of the last plan in the order of the charts. Null where no plan has one.
    """
    return _named(
        store,
        f"SELECT count({name}) AS plans, count(*) - count({name}) AS missing, min({name}) AS min, "
        f"avg({name}) AS mean, median({name}) AS median, max({name}) AS max, "
        f"arg_max({name}, position) FILTER ({name} IS NOT NULL) AS last "
        "FROM trend WHERE in_scope AND status = 'ok'",
    )[0]


def coverage_metrics(store: Store) -> list[str]:
    """Return the headline coverage goals that the plans in scope were held to."""
    sql = (
        "SELECT DISTINCT coverage_metric FROM trend WHERE in_scope AND coverage_value IS NOT NULL "
        "AND coverage_metric IS NOT NULL"
    )
    return sorted(row[0] for row in store.select(sql)[1])


def _control(store: Store) -> list[Document]:
    return _named(
        store,
        "SELECT measure, fractions, baseline AS plans, mean, mean_moving_range, lower, upper, "
        "count(*) FILTER (in_scope AND is_outside) AS outside FROM control GROUP BY ALL "
        "ORDER BY measure, fractions",
    )


def _quantiles(column: str) -> str:
    names = [f"q{round(100 * share):02d}" for share in _SHARES]
    return ", ".join(
        f"quantile_cont({column}, {share}) AS {name}"
        for share, name in zip(_SHARES, names, strict=True)
    )


def _schedules(store: Store) -> list[Document]:
    return _named(
        store,
        f"SELECT s.dose_gy, s.fractions, count(s.required_separation_mm) AS plans, count(*) - "
        f"count(s.required_separation_mm) AS missing, {_quantiles('s.required_separation_mm')} "
        "FROM schedules s JOIN trend t USING (result_id) WHERE t.in_scope "
        "GROUP BY s.dose_gy, s.fractions ORDER BY s.fractions, s.dose_gy",
    )


def _coverage(store: Store) -> list[Document]:
    return _named(
        store,
        "SELECT coverage_metric AS metric, count(*) AS plans, "
        "count(*) FILTER (coverage_verdict = 'met') AS met, "
        "count(*) FILTER (coverage_verdict = 'exceeded') AS missed "
        "FROM trend WHERE in_scope AND coverage_value IS NOT NULL AND separation_mm IS NOT NULL "
        "GROUP BY coverage_metric ORDER BY plans DESC, metric",
    )


def _gradients(store: Store, kind: str) -> list[Document]:
    return _named(
        store,
        f"SELECT {kind} AS name, count(*) AS plans, {_quantiles('gradient_percent_per_mm')} "
        "FROM trend WHERE in_scope AND gradient_percent_per_mm IS NOT NULL "
        "GROUP BY name ORDER BY plans DESC, name NULLS LAST",
    )


def _comparisons(store: Store) -> Document:
    return _named(
        store,
        "SELECT count(*) FILTER (is_current) AS pairs, count(*) FILTER (NOT is_current) AS "
        "out_of_date, count(*) FILTER (is_current AND achieved_mm >= predicted_mm) AS "
        "at_least_predicted, count(*) FILTER (is_current AND achieved_mm >= predicted_high_mm) AS "
        "at_least_upper_end, median(achieved_mm - predicted_mm) FILTER (is_current) AS "
        "median_difference_mm FROM pairs WHERE in_scope",
    )[0]


def _named(store: Store, sql: str) -> list[Document]:
    """Return the rows of a query with their names; a number that is none is absent."""
    names, rows = store.select(sql)
    plain = [[rounded(v) if isinstance(v, float) else v for v in row] for row in rows]
    return [dict(zip(names, row, strict=True)) for row in plain]
