"""``cordgap trends``: a page of what the plans of a batch have in common, and rules for a job."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from cordgap.cli import common, flags
from cordgap.errors import OptionError

_PAGE = Path("trends.html")


def trends(
    db: Annotated[
        Path, typer.Option("--db", metavar="FILE", help="Database of cordgap batch.")
    ] = Path("results.duckdb"),
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the page here (trends.html; with --json only where named)."
        ),
    ] = None,
    reports: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of batch --out, to link its reports.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="DATE", help="Count plans analysed since then (2026-11-21, UTC); limits: all."
        ),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE", help='Exit 1 where it holds: "failed>0", "headroom_gy.min<0".'
        ),
    ] = None,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Draw the plans of a batch on one page: doses, separations, control limits, causes; rules.

    \b
    Examples:
      cordgap trends --db results.duckdb --reports reports
      cordgap trends --db results.duckdb --since 2026-11-01 --json
      cordgap trends --db results.duckdb --fail-on "failed>0" --fail-on "exceeded>5%"
    """
    common.start_logging(quiet, verbose)
    from cordgap.batch.rules import judge, parse_rule
    from cordgap.batch.store import Store
    from cordgap.batch.trend_rows import page_rows
    from cordgap.batch.trends import gather, trends_document
    from cordgap.report.files import unwritable, write_file
    from cordgap.report.trends import trend_lines, trends_html

    rules = [parse_rule(text) for text in fail_on or ()]
    first = None if since is None else _day(since)
    if reports is not None and not reports.is_dir():
        raise OptionError("--reports: there is no such folder; name the one of batch --out")
    page = out or (None if json else _PAGE)
    if page is not None and not page.resolve().parent.is_dir():
        raise OptionError(f"--out {page.name}: its folder is not there")
    with Store(db, read_only=True) as store:
        gather(store, first)
        document = trends_document(store, first, [judge(store, rule) for rule in rules])
        plans = None if page is None else page_rows(store, first)
    if page is not None and plans is not None:
        document["page"] = {
            "file": page.name,
            "plans": plans["rows"],
            "left_out": plans["plans"] - plans["rows"],
        }
        try:
            write_file(page, trends_html(document, plans, page=page, reports=reports))
        except OSError as error:
            raise unwritable(page.parent, error) from error
        if not quiet and not json:
            print(f"written: {page}", file=sys.stderr)
    if json:
        common.emit(document)
    else:
        print("\n".join(trend_lines(document)))
    raise typer.Exit(document["exit_code"])


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise OptionError(f"--since {text}: expected a day as 2026-11-21") from error
