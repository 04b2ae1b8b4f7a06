"""Rows of a query as text, and the whole store as Parquet."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from cordgap._version import __version__
from cordgap.batch.store import Store
from cordgap.batch.tables import OF_RESULT, TABLES

Rows = Sequence[Sequence[Any]]
_WIDEST = 60


def as_csv(names: Sequence[str], rows: Rows) -> str:
    """Return rows as CSV with a head; what is absent is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([["" if v is None else _plain(v) for v in row] for row in rows])
    return stream.getvalue()


def as_json(names: Sequence[str], rows: Rows) -> str:
    """Return rows as ``cordgap.query/1``: names of columns, and each row as a list."""
    document = {
        "schema": "cordgap.query/1",
        "cordgap_version": __version__,
        "columns": list(names),
        "rows": [[_plain(v) for v in row] for row in rows],
    }
    return json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1) + "\n"


def as_table(names: Sequence[str], rows: Rows) -> str:
    """Return rows in columns; long texts are cut."""
    cells = [[_short(v) for v in row] for row in rows]
    widths = [max(len(n), *(len(r[i]) for r in cells), 0) for i, n in enumerate(names)]
    right = [any(isinstance(r[i], int | float) for r in rows) for i in range(len(names))]

    def line(words: Sequence[str]) -> str:
        parts = [
            w.rjust(width) if end else w.ljust(width)
            for w, width, end in zip(words, widths, right, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(names), line(["-" * w for w in widths]), *map(line, cells)]) + "\n"


def _short(value: Any) -> str:
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it; a number that is none is absent."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def table_lines() -> list[str]:
    """Return tables and columns with their types and meaning."""
    lines: list[str] = []
    for table, columns in TABLES.items():
        lines.append(table)
        lines += [f"  {c.name:<24}{c.type:<10}{c.meaning}" for c in columns]
    return lines


def export_lake(store: Store, folder: Path) -> int:
    """Write every table as Parquet, those of analyses by year and month; return rows of plans.

    What an earlier export left of a table is replaced, so that a lake never counts a plan twice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        if table not in OF_RESULT:
            store.copy_parquet(f"SELECT * FROM {table}", folder / f"{table}.parquet")
            continue
        when = "t.analysed_at" if table == "plans" else "p.analysed_at"
        join = "" if table == "plans" else " JOIN plans p USING (result_id)"
        part = folder / f".{table}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        store.copy_parquet(
            f"SELECT t.*, year({when}) AS year, month({when}) AS month FROM {table} t{join}",
            part,
            by=("year", "month"),
        )
        shutil.rmtree(folder / table, ignore_errors=True)
        part.rename(folder / table)
    count: int = store.select("SELECT count(*) FROM plans")[1][0][0]
    return count
