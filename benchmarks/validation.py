"""Write every table of docs/validation.md, between its markers: ``make validation``.

Accuracy against closed forms, real exports beside their systems, separations beside re-planned
truth, speed. Some ten minutes on an idle machine; ``--only PART`` writes one. With --from FILE the
accuracy takes the rows that accuracy.py --json wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import accuracy
import real_exports
import separation
import speed
from cordgap import __version__

PAGE = Path(__file__).resolve().parents[1] / "docs" / "validation.md"
_LIBRARIES = ("numpy", "scipy", "shapely", "pydicom", "numba", "dicompyler-core")


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


def measured() -> str:
    """When and where: the line above each table."""
    return f"Measured on {date.today().isoformat()}. Machine and versions: {machine()}.\n"


def write_between(part: str, text: str) -> None:
    """Replace what stands between the markers of a part."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {part}:begin -->\n", f"<!-- {part}:end -->"
    before, rest = page.split(begin)
    _, after = rest.split(end)
    PAGE.write_text(before + begin + text + end + after, encoding="utf-8")


def write_accuracy(options: argparse.Namespace) -> None:
    start = time.perf_counter()
    if options.rows:
        rows = [accuracy.Row(**r) for r in json.loads(options.rows.read_text(encoding="utf-8"))]
    else:
        rows = accuracy.measure(quick=False)
    parts = [measured()]
    if not accuracy.ORACLE.is_dir():
        parts.append("The published cords were not there and are left out.\n")
    parts += [f"### {title}\n\n{table}\n" for title, table in accuracy.tables(rows).items()]
    failures = accuracy.failures_of(rows)
    parts.append("Limits: " + ("all kept." if not failures else "; ".join(failures)) + "\n")
    write_between("accuracy", "\n" + "\n".join(parts) + "\n")
    print(f"{len(rows)} values in {time.perf_counter() - start:.0f} s -> {PAGE}")


def write_exports(_: argparse.Namespace) -> None:
    rows, missing = real_exports.measure()
    left_out = [f"Left out, not there: {', '.join(missing)}.\n"] if missing else []
    parts = [measured(), *left_out, real_exports.table(rows)]
    write_between("exports", "\n" + "\n".join(parts) + "\n\n")


def write_separations(_: argparse.Namespace) -> None:
    folder = real_exports.REAL.parent / "replan"
    if not folder.is_dir():
        text = "The re-planned cases were not there: nothing was measured."
    else:
        text = separation.markdown(separation.collect([folder]))
    write_between("separations", "\n" + measured() + "\n" + text + "\n\n")


def write_speed(_: argparse.Namespace) -> None:
    rows = speed.measure(quick=False)
    speed.write_section(measured() + "\n" + speed.table(rows))


PARTS = {
    "accuracy": write_accuracy,
    "exports": write_exports,
    "separations": write_separations,
    "speed": write_speed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="rows", type=Path, metavar="FILE")
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART")
    options = parser.parse_args()
    for part in options.only or PARTS:
        print(f"{part} ...", flush=True)
        PARTS[part](options)


if __name__ == "__main__":
    main()
