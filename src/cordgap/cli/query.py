"""``cordgap query``: SQL on the database of a batch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from cordgap.cli import common, flags
from cordgap.errors import OptionError


def query(
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL", help="One query, reading only.")
    ] = None,
    db: Annotated[
        Path, typer.Option("--db", metavar="FILE", help="Database of cordgap batch.")
    ] = Path("results.duckdb"),
    format: Annotated[
        Literal["table", "csv", "parquet", "json"], typer.Option(help="How rows are written.")
    ] = "table",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write here; parquet needs it.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Every table as Parquet, by year of analysis, for lakes."),
    ] = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="List the tables and columns with their meaning.")
    ] = False,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Ask the database of a batch.

    \b
    Examples:
      cordgap query --tables --db results.duckdb
      cordgap query "SELECT status, count(*) FROM plans GROUP BY status" --db results.duckdb
      cordgap query "SELECT * FROM plans" --format csv --out plans.csv
    """
    common.start_logging(quiet, verbose)
    from cordgap.batch.output import as_csv, as_json, as_table, export_lake, table_lines
    from cordgap.batch.store import Store
    from cordgap.report.files import write_file

    if tables:
        print("\n".join(table_lines()))
        return
    if (sql is None) == (export is None):
        raise OptionError("give one query, or --export DIR, or --tables")
    wanted = "json" if json else format
    if wanted == "parquet" and export is None and out is None:
        raise OptionError("--format parquet needs --out FILE")
    with Store(db, read_only=True) as store:
        if export is not None:
            written = export_lake(store, export)
            if not quiet:
                print(f"{written} rows of plans written below {export}", file=sys.stderr)
            return
        assert sql is not None
        if wanted == "parquet":
            assert out is not None
            store.copy_parquet(sql, out)
            return
        names, rows = store.select(sql)
    write = {"table": as_table, "csv": as_csv, "json": as_json}[wanted]
    text = write(names, rows)
    if out is not None:
        write_file(out, text)
    else:
        sys.stdout.write(text)
