"""Whether the constraint tables are those of the release: SHA-256 recorded beside them.

``limits/tables/SHA256SUMS`` is written by ``make checksums`` when a table is changed on purpose; a
test holds it against the tables. Line ends do not count: some systems change them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal

RECORD = "SHA256SUMS"


@dataclass(frozen=True)
class TableSum:
    """One table: as recorded, changed, missing here, or not recorded at all."""

    name: str
    state: Literal["as recorded", "changed", "missing", "not recorded"]
    recorded: str | None
    found: str | None


def table_sums() -> dict[str, str]:
    """Return the SHA-256 of every installed table, by its path below ``tables``."""
    return {
        name: hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
        for name, file in sorted(_tables(files("cordgap.limits") / "tables", ""))
    }


def recorded_sums() -> dict[str, str]:
    """Return what was recorded at the release; empty where the record is gone or unreadable."""
    record = files("cordgap.limits") / "tables" / RECORD
    if not record.is_file():
        return {}
    lines = (line.split() for line in record.read_text(encoding="utf-8").splitlines())
    return {words[1]: words[0] for words in lines if len(words) == 2}


def compare_tables() -> tuple[TableSum, ...]:
    """Hold the installed tables against the record.

    Examples
    --------
    >>> {table.state for table in compare_tables()}
    {'as recorded'}
    """
    found, recorded = table_sums(), recorded_sums()
    rows = []
    for name in sorted(found.keys() | recorded.keys()):
        here, then = found.get(name), recorded.get(name)
        if here is None:
            rows.append(TableSum(name, "missing", then, None))
        elif then is None:
            rows.append(TableSum(name, "not recorded", None, here))
        else:
            state: Literal["as recorded", "changed"] = "as recorded" if here == then else "changed"
            rows.append(TableSum(name, state, then, here))
    return tuple(rows)


def _tables(folder: Traversable, above: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _tables(entry, f"{above}{entry.name}/")
        elif entry.name.endswith(".toml"):
            yield f"{above}{entry.name}", entry
