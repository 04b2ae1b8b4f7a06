"""The page of trends: one self-contained file that works offline and asks nobody for anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cordgap.report.numbers import shown
from cordgap.report.page import page_environment, script_hash
from cordgap.report.parts import Document

_SCRIPTS = ("vendor/plotly-cartesian.min.js", "trends.js")
_REPORT = "report.html"


def trends_html(
    document: Document, plans: Document, *, page: Path, reports: Path | None = None
) -> str:
    """Return the page of trends.

    Parameters
    ----------
    document : dict
        The document ``cordgap.trends/1``: rules and what is said of the whole database.
    plans : dict
        The plans as columns, as ``cordgap.batch.trend_rows.page_rows`` gives them; every figure and
        count is made of these.
    page : Path
        Where the page will be: links to reports start there.
    reports : Path, optional
        Folder that ``batch --out`` wrote reports into; only those that are there are linked.
    """
    text: str = (
        page_environment()
        .get_template("trends.html")
        .render(
            document=document,
            plans=plans | _links(plans["reports"], page, reports),
            rules=[rule | {"words": rule_words(rule)} for rule in document["rules"]],
            linked=reports is not None,
            script_hashes=[script_hash(name) for name in _SCRIPTS],
        )
    )
    return text


def _links(folders: list[str | None], page: Path, reports: Path | None) -> Document:
    """Return which rows have a report, and what the address of each begins with."""
    if reports is None:
        return {"reports": [0] * len(folders), "reports_at": None}
    home = page.resolve().parent
    try:
        # A path that begins with a dot is never read as a scheme.
        base = f"./{quote(Path(os.path.relpath(reports.resolve(), home)).as_posix())}"
    except ValueError:  # another drive
        base = reports.resolve().as_uri()
    there = [_is_name(name) and (reports / str(name) / _REPORT).is_file() for name in folders]
    return {"reports": [int(x) for x in there], "reports_at": base}


def _is_name(name: str | None) -> bool:
    """Whether it is the name of a folder and no path."""
    return bool(name) and name == Path(str(name)).name and name not in (".", "..")


def rule_words(rule: dict[str, Any]) -> str:
    """Say what a rule came to, with its numbers.

    Examples
    --------
    >>> rule_words({"state": "held", "value": 1.0, "bound": 2.0, "unit": "plans", "of": 7,
    ...     "plan_ids": [], "reason": None})
    '1 of 7 plans (bound 2)'
    >>> rule_words({"state": "fired", "value": -1.25, "bound": 0.0, "unit": "Gy", "of": 7,
    ...     "plan_ids": [], "reason": None})
    '-1.25 Gy, 7 plans have it (bound 0)'
    """
    if rule["reason"] is not None:
        return str(rule["reason"])
    value, bound, unit = rule["value"], f"{rule['bound']:g}", rule["unit"]
    if unit == "plans":
        return f"{value:g} of {rule['of']} plans (bound {bound})"
    if unit == "% of plans":
        return f"{shown(value, 2)} % of {rule['of']} plans (bound {bound})"
    return f"{shown(value, 2, unit or '')}, {rule['of']} plans have it (bound {bound})"


def trend_lines(document: Document) -> list[str]:
    """Return the lines that ``cordgap trends`` prints: counts, then every rule."""
    count = document["counts"]
    lines = [
        f"{count['plans']} plan(s): "
        + ", ".join(f"{count[s]} {s}" for s in ("ok", "refused", "failed", "timeout"))
        + f"; {count['exceeded']} exceed a limit, {count['not_evaluable']} not evaluable, "
        f"{count['out_of_control']} outside control limits"
    ]
    for rule in document["rules"]:
        words = f"{rule['state']:<14} {rule['rule']}: {rule_words(rule)}"
        some = rule["plan_ids"][:5]
        if some:
            more = ", ..." if len(rule["plan_ids"]) > len(some) else ""
            words += f"; plans {', '.join(some)}{more}"
        lines.append(words)
    return lines
