"""Record the SHA-256 of the constraint tables: after a table was changed on purpose.

Usage: python release/checksums.py
"""

from __future__ import annotations

from pathlib import Path

from cordgap.limits.checksums import RECORD, table_sums

TABLES = Path(__file__).resolve().parents[1] / "src" / "cordgap" / "limits" / "tables"


def main() -> None:
    """Write the record."""
    lines = [f"{digest}  {name}\n" for name, digest in table_sums().items()]
    (TABLES / RECORD).write_text("".join(lines), encoding="utf-8", newline="\n")
    print(f"{RECORD}: {len(lines)} tables")


if __name__ == "__main__":
    main()
