"""Rules for a nightly job: what must not be so in the plans of a store.

    RULE       COUNT OP NUMBER[%]  |  MEASURE.STATISTIC OP NUMBER  |  cord_d0035cc_gy.last OP limit
    COUNT      plans, ok, refused, failed, timeout, exceeded, not-evaluable, out-of-control
    MEASURE    those of trends.py
    STATISTIC  min, mean, median, max, last, missing
    OP         >  >=  <  <=  ==  !=

A rule that cannot be evaluated says so: it is neither fired nor held.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cordgap.batch.store import Store
from cordgap.batch.trends import COUNTED, FEWEST_FOR_LIMITS, MEASURES, counts, coverage_metrics
from cordgap.batch.trends import measure as read_measure
from cordgap.errors import OptionError

Document = dict[str, Any]
STATISTICS = ("min", "mean", "median", "max", "last", "missing")
COUNTS = tuple(name.replace("_", "-") for name in COUNTED)
_LIMITED = "cord_d0035cc_gy"
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
    ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_FORM = re.compile(
    r"(?P<what>[a-z0-9_-]+)(?:\.(?P<statistic>[a-z]+))?\s*(?P<compare>[<>]=?|[=!]=)\s*"
    r"(?:(?P<limit>limit)|(?P<number>[-+]?\d+(?:\.\d+)?)\s*(?P<share>%)?)"
)
_FORMS = (
    'one of "failed>0", "exceeded>5%", "headroom_gy.min<0", "cord_d0035cc_gy.last>limit"; counts: '
    f"{', '.join(COUNTS)}; measures: {', '.join(MEASURES)}; statistics: {', '.join(STATISTICS)}"
)
# Plans that are named in a rule that fired.
MOST_NAMED = 20


@dataclass(frozen=True)
class Rule:
    """One rule: ``number`` is None where the plan's own limit is meant."""

    text: str
    what: str
    statistic: str | None
    compare: str
    number: float | None
    is_share: bool


def parse_rule(text: str) -> Rule:
    """Read a rule.

    Raises
    ------
    OptionError
        If it is none.

    Examples
    --------
    >>> rule = parse_rule("exceeded > 5%")
    >>> rule.what, rule.compare, rule.number, rule.is_share
    ('exceeded', '>', 5.0, True)
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise _wrong(text, f"expected {_FORMS}")
    what, statistic = found["what"], found["statistic"]
    if statistic is None and what not in COUNTS:
        tail = "; say which statistic of it" if what in MEASURES else ""
        raise _wrong(text, f"{what} is not counted{tail}; expected {_FORMS}")
    if statistic is not None and (what not in MEASURES or statistic not in STATISTICS):
        raise _wrong(text, f"{what}.{statistic} is not known; expected {_FORMS}")
    if found["share"] and (statistic is not None or what == "plans"):
        raise _wrong(text, "only a count of some of the plans can be a share in %")
    if found["limit"] and (what, statistic) != (_LIMITED, "last"):
        raise _wrong(text, f"a limit belongs to one plan: {_LIMITED}.last, or headroom_gy.min<0")
    number = None if found["limit"] else float(found["number"])
    return Rule(text.strip(), what, statistic, found["compare"], number, bool(found["share"]))


def _wrong(text: str, why: str) -> OptionError:
    return OptionError(f"--fail-on {text}: {why}")


def judge(store: Store, rule: Rule) -> Document:
    """Return what a rule comes to in a gathered store.

    Returns
    -------
    dict
        ``rule``, ``state`` (fired, held, not evaluable), ``value`` and ``bound`` that were
        compared, ``unit``, ``of`` (how many plans it speaks of), ``plan_ids`` (those that it fired
        for, at most 20), ``reason``.
    """
    found = _of_count(store, rule) if rule.statistic is None else _of_measure(store, rule)
    value, bound = found["value"], found["bound"]
    if found["reason"] is None:
        fired = _COMPARE[rule.compare](value, bound)
        found["state"] = "fired" if fired else "held"
    if found["state"] != "fired":
        found["plan_ids"] = []
    return {"rule": rule.text} | found


def _found(value: float | None, bound: float | None, of: int, **more: Any) -> Document:
    document: Document = {
        "state": "not evaluable", "value": value, "bound": bound, "of": of, "unit": None,
        "plan_ids": [], "reason": None,
    }  # fmt: skip
    return document | more


def _of_count(store: Store, rule: Rule) -> Document:
    name = rule.what.replace("-", "_")
    of_all = counts(store)
    analysed = name in ("exceeded", "not_evaluable", "out_of_control")
    of, value = of_all["ok" if analysed else "plans"], float(of_all[name])
    reason = None
    if name == "out_of_control" and not _has_limits(store):
        reason = (
            f"there are no control limits: no number of fractions has {FEWEST_FOR_LIMITS} plans "
            "with a value"
        )
    if rule.is_share:
        value = 100.0 * value / of if of else 0.0
        reason = reason or (None if of else "there is no plan to take a share of")
    where = COUNTED[name] if name not in ("plans", "ok") else "false"
    return _found(
        None if reason else value,
        rule.number,
        of,
        unit="% of plans" if rule.is_share else "plans",
        plan_ids=_plans(store, where),
        reason=reason,
    )


def _has_limits(store: Store) -> bool:
    return bool(store.select("SELECT count(*) FROM control WHERE upper IS NOT NULL")[1][0][0])


def _of_measure(store: Store, rule: Rule) -> Document:
    assert rule.statistic is not None
    name, statistic = rule.what, rule.statistic
    read = read_measure(store, name)
    kinds = coverage_metrics(store) if name == "coverage_value" else []
    bound, of, reason = rule.number, read["plans"], None
    if bound is None:
        limits = store.select(f"SELECT limit_gy FROM trend WHERE {_LAST.format(name)}")[1]
        bound = limits[0][0] if limits else None
        reason = None if bound is not None else "the plan has no limit on D0.035cc of the cord"
    if statistic == "missing":
        of += read["missing"]
    elif not of:
        reason = f"no analysed plan has {name}"
    if len(kinds) > 1:
        reason = f"plans were held to different coverage goals ({', '.join(kinds)})"
    beyond = f"status = 'ok' AND {name} {rule.compare} {bound}"
    where = {
        "min": beyond, "max": beyond, "last": _LAST.format(name),
        "missing": f"status = 'ok' AND {name} IS NULL",
    }.get(statistic, "false")  # fmt: skip
    return _found(
        read[statistic],
        bound,
        of,
        unit=_unit(rule, kinds),
        plan_ids=[] if reason else _plans(store, where),
        reason=reason,
    )


_LAST = (
    "position = (SELECT max(position) FROM trend WHERE in_scope AND status = 'ok' "
    "AND {0} IS NOT NULL)"
)


def _unit(rule: Rule, kinds: list[str]) -> str | None:
    if rule.statistic == "missing":
        return "plans"
    if kinds:
        return kinds[0].partition("[")[2].rstrip("]") or None
    for end, unit in (("_gy", "Gy"), ("_percent_per_mm", "%/mm"), ("_mm", "mm")):
        if rule.what.endswith(end):
            return unit
    return "s" if rule.what == "seconds" else None


def _plans(store: Store, where: str) -> list[str]:
    sql = (
        f"SELECT plan_id FROM trend WHERE in_scope AND ({where}) "
        f"ORDER BY position DESC LIMIT {MOST_NAMED}"
    )
    return [row[0] for row in store.select(sql)[1]]
