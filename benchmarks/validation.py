"""Write the accuracy tables into docs/validation.md, between their markers.

The one command that regenerates them: python benchmarks/validation.py (some minutes). With
--from FILE it takes the rows that accuracy.py --json wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import time
from importlib.metadata import version
from pathlib import Path

import accuracy
from cordgap import __version__

PAGE = Path(__file__).resolve().parents[1] / "docs" / "validation.md"
_LIBRARIES = ("numpy", "scipy", "shapely", "pydicom", "dicompyler-core")


def machine() -> str:
    """Processor, system and versions, in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8"))
        model = found[1] if found else model
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return (
        f"{model}, {os.cpu_count()} processors, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, cordgap {__version__}, {libraries}"
    )


def write_between(part: str, text: str) -> None:
    """Replace what stands between the markers of a part."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {part}:begin -->\n", f"<!-- {part}:end -->"
    before, rest = page.split(begin)
    _, after = rest.split(end)
    PAGE.write_text(before + begin + text + end + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="rows", type=Path, metavar="FILE")
    options = parser.parse_args()
    start = time.perf_counter()
    if options.rows:
        rows = [accuracy.Row(**r) for r in json.loads(options.rows.read_text(encoding="utf-8"))]
    else:
        rows = accuracy.measure(quick=False)
    parts = [f"Machine and versions: {machine()}.\n"]
    if not accuracy.ORACLE.is_dir():
        parts.append("The published cords were not there and are left out.\n")
    parts += [f"### {title}\n\n{table}\n" for title, table in accuracy.tables(rows).items()]
    failures = accuracy.failures_of(rows)
    parts.append("Limits: " + ("all kept." if not failures else "; ".join(failures)) + "\n")
    write_between("accuracy", "\n" + "\n".join(parts) + "\n")
    print(f"{len(rows)} values in {time.perf_counter() - start:.0f} s -> {PAGE}")


if __name__ == "__main__":
    main()
