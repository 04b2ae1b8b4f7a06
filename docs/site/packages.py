"""Measure the packages that pyproject.toml names, and write their table into docs/dependencies.md.

    python docs/site/packages.py            # write it anew
    python docs/site/packages.py --print    # the table alone

Size is that of the installed files as the package lists them; "brings" adds what it needs that the
default install does not have. Names, licence and status are what the package states of itself.
The day of release is that on which the package index took the first file of the installed version;
uv asks for it (``pip install uv``).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "dependencies.md"
BEGIN, END = "<!-- packages: from docs/site/packages.py -->", "<!-- end of packages -->"
HEAD = "| package | in | version | released | MB | brings MB | licence | by | status |"
MEGABYTE = 1e6
# Licences as texts of many lines: what their first words say.
LICENCES = {
    "bsd 3-clause": "BSD-3-Clause",
    "bsd license": "BSD",
    "mit": "MIT",
    "apache": "Apache-2.0",
}


def requirements() -> dict[str, list[str]]:
    """Return every package that the project names, with the extras that name it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, list[str]] = {}
    for extra, lines in {"": project["dependencies"], **project["optional-dependencies"]}.items():
        for line in lines:
            found.setdefault(canonicalize_name(Requirement(line).name), []).append(extra)
    return found


def find(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def size_of(name: str) -> float:
    """Size of the files of an installed package in MB, without its compiled byte code."""
    files = (there.files if (there := find(name)) else None) or []
    return sum(f.size or 0 for f in files if f.suffix != ".pyc") / MEGABYTE


def needed_by(names: set[str]) -> set[str]:
    """Return packages with all that they need here, extras of theirs left out."""
    todo, done = set(names), set()
    while todo:
        name = todo.pop()
        done.add(name)
        for line in (there.requires if (there := find(name)) else None) or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                todo |= {canonicalize_name(need.name)} - done
    return {name for name in done if find(name)}


def released(names: set[str]) -> dict[str, str]:
    """Return the day on which the installed version of each package came out, as uv locks it."""
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("the days of release come from uv, which is not there: pip install uv")
    pins = [f"{name}=={there.version}" for name in sorted(names) if (there := find(name))]
    python = f"=={sys.version_info.major}.{sys.version_info.minor}.*"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pyproject.toml").write_text(
            f'[project]\nname = "asked"\nversion = "0"\nrequires-python = "{python}"\n'
            f"dependencies = {pins}\n",
            encoding="utf-8",
        )
        subprocess.run([uv, "lock", "--quiet"], cwd=folder, check=True)
        lock = tomllib.loads((Path(folder) / "uv.lock").read_text(encoding="utf-8"))
    days = {}
    for package in lock["package"]:
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        if uploads := [str(file["upload-time"]) for file in files if "upload-time" in file]:
            days[package["name"]] = min(uploads)[:10]
    return days


def row(name: str, extras: list[str], default: set[str], day: str) -> str:
    """One line of the table."""
    there = find(name)
    where = ", ".join(f"`{e}`" if e else "default" for e in extras)
    if there is None:
        return f"| {name} | {where} | not installed here | | | | | | |"
    brings = sum(size_of(n) for n in needed_by({name}) - default - {name})
    about = there.metadata
    status = [c for c in about.get_all("Classifier") or [] if c.startswith("Development Status")]
    cells = [
        name,
        where,
        there.version,
        day,
        f"{size_of(name):.1f}",
        f"{brings:.1f}" if brings >= 0.05 else "",
        licence_of(there),
        people(there),
        status[0].rpartition("- ")[2].replace("Production/", "") if status else "",
    ]
    return "| " + " | ".join(cells) + " |"


def licence_of(there: Distribution) -> str:
    about = there.metadata
    stated = about.get("License-Expression") or ""
    if not stated:
        classes = [c for c in about.get_all("Classifier") or [] if c.startswith("License")]
        stated = ", ".join(c.rpartition(":: ")[2] for c in classes) or (about.get("License") or "")
    first = stated.strip().partition("\n")[0]
    for words, short in LICENCES.items():
        if first.lower().startswith(words) and len(first) > 15:
            return short
    return first[:60]


def people(there: Distribution) -> str:
    """Who maintains a package, or wrote it, without addresses; at most three."""
    about = there.metadata
    for key in ("Maintainer", "Maintainer-email", "Author", "Author-email"):
        text = re.sub(r"<[^>]*>|[\w.+-]+@[\w.-]+|\"", "", about.get(key) or "")
        names = [name for part in text.split(",") if (name := " ".join(part.split()).strip(" ;"))]
        if names:
            return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return ""


def table() -> str:
    found = requirements()
    default = needed_by({name for name, extras in found.items() if "" in extras})
    days = released(set(found))
    rows = [row(n, extras, default, days.get(n, "")) for n, extras in sorted(found.items())]
    total = sum(size_of(name) for name in default)
    words = (
        f"The default install is {total:.0f} MB in {len(default)} packages, those that come with "
        "the ones below among them."
    )
    return "\n".join([words, "", HEAD, "|---|---|---|---|---:|---:|---|---|---|", *rows])


def main() -> None:
    text = table()
    print(text)
    if "--print" in sys.argv:
        return
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError(f"{PAGE} has no place for the table")
    PAGE.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
