"""List the packages that the default install brings, with their licences, into docs/licences.md.

Usage: python release/licences.py [--print]. Reads what is installed (importlib.metadata), following
what cordgap needs without extras.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).resolve().parents[1] / "docs" / "licences.md"
BEGIN, END = "<!-- licences:begin -->", "<!-- licences:end -->"
# GCC's runtime libraries carry an exception for programs that are linked with them.
GCC_EXCEPTION = "WITH GCC-exception"
_LONGEST = 60


@dataclass(frozen=True)
class Package:
    """One installed package: what it says of its licence, and who asks for it."""

    name: str
    version: str
    licence: str
    needed_by: tuple[str, ...]

    @property
    def is_gpl(self) -> bool:
        """Whether it says GPL (not LGPL) without the exception of GCC's runtime libraries."""
        alternatives = re.split(r"\s+(?:OR|AND)\s+|,", self.licence)
        return any(
            re.search(r"(?<!L)GPL|GNU (?:Affero )?General Public", part) is not None
            and GCC_EXCEPTION not in part
            for part in alternatives
        )


def default_install(root: str = "cordgap") -> list[Package]:
    """Packages that ``root`` needs without extras, here and on this Python; without ``root``."""
    needed: dict[str, set[str]] = {}
    waiting = [root]
    seen: set[str] = set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            other = canonicalize_name(requirement.name)
            needed.setdefault(other, set()).add(name)
            waiting.append(other)
    return [
        Package(name, metadata.version(name), licence_of(name), tuple(sorted(by)))
        for name, by in sorted(needed.items())
    ]


def licence_of(name: str) -> str:
    """What the metadata of a package say: the expression, the classifiers, or the short text."""
    about = metadata.metadata(name)
    expression = about.get("License-Expression")
    if expression:
        return expression
    classifiers = [
        c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or [] if "License ::" in c
    ]
    if classifiers:
        return ", ".join(classifiers)
    first = (about.get("License") or "").strip().partition("\n")[0]
    return first[:_LONGEST] or "not stated"


def table(packages: list[Package]) -> str:
    """Return the table of the page."""
    lines = ["| package | version | licence, as it states it | needed by |", "|---|---|---|---|"]
    lines += [
        f"| {p.name} | {p.version} | {p.licence} | {', '.join(p.needed_by)} |" for p in packages
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the table, or print it; exit 1 where a package is under the GPL."""
    packages = default_install()
    if "--print" in sys.argv[1:]:
        print(table(packages))
    else:
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{table(packages)}\n{END}{after}", encoding="utf-8")
        print(f"docs/licences.md: {len(packages)} packages")
    wrong = [p for p in packages if p.is_gpl]
    for package in wrong:
        print(f"under the GPL: {package.name}: {package.licence}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
