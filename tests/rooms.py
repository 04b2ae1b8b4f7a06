"""Print how much of each room the measured tests ran; exit code 1 where one is below the limit.

    python -m tests.rooms build/coverage/report.json

Also refuses a line that was left out of the measure without a reason beside it.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
MEASURED = ("case", "dicom", "dvh", "limits", "separation")
COUNTS = ("covered_lines", "num_statements", "covered_branches", "num_branches", "excluded_lines")
# "# pragma: no cover" or "no branch", and what follows it.
_LEFT_OUT = re.compile(r"#\s*pragma:\s*no (?:cover|branch)\W*(.*)$")


def rooms_of(report: dict) -> dict[str, dict[str, int]]:
    """Add up the files of each room."""
    rooms: dict[str, dict[str, int]] = {room: defaultdict(int) for room in MEASURED}
    for name, file in report["files"].items():
        parts = Path(name).parts
        room = rooms[parts[parts.index("cordgap") + 1]]
        for count in COUNTS:
            room[count] += file["summary"][count]
    return rooms


def percent(counts: dict[str, int]) -> float:
    """Share of lines and branches together, as coverage.py has it."""
    possible = counts["num_statements"] + counts["num_branches"]
    done = counts["covered_lines"] + counts["covered_branches"]
    return 100 * done / possible if possible else 0.0


def without_reason(source: Path) -> list[str]:
    """Lines that are left out of the measure and do not say why."""
    return [
        f"{file.relative_to(source)}:{number}: left out without a reason"
        for room in MEASURED
        for file in sorted((source / room).rglob("*.py"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if (found := _LEFT_OUT.search(line)) and len(found[1].split()) < 3
    ]


def main(report: Path) -> int:
    """Print the table; return the exit code."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    least = settings["tool"]["coverage"]["report"]["fail_under"]
    rooms = rooms_of(json.loads(report.read_text(encoding="utf-8")))
    print("room        lines run  of     branches run  of     left out  both")
    for room, n in rooms.items():
        print(
            f"{room:<10}  {n['covered_lines']:>9}  {n['num_statements']:<5}  "
            f"{n['covered_branches']:>12}  {n['num_branches']:<5}  {n['excluded_lines']:>8}  "
            f"{percent(n):.1f} %"
        )
    wrong = [
        f"{room}: {percent(n):.1f} % of lines and branches, expected {least} %"
        for room, n in rooms.items()
        if percent(n) < least
    ]
    wrong += [
        f"{room}: {percent_of_branches(n):.1f} % of branches, expected {least} %"
        for room, n in rooms.items()
        if percent_of_branches(n) < least
    ]
    wrong += without_reason(ROOT / "src" / "cordgap")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def percent_of_branches(counts: dict[str, int]) -> float:
    """Share of the branches alone."""
    return 100 * counts["covered_branches"] / counts["num_branches"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
