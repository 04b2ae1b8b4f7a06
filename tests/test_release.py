"""What a release needs: one version, oldest versions that are tried, licences, citation, wheel."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cordgap

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)\s*>=\s*([0-9.]+)")


def load(name):
    """A script of release/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "release" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


# --- version ---


def test_the_version_stands_in_one_place():
    """pyproject.toml and the package read it there; the citation repeats it."""
    (version,) = re.findall(r'__version__ = "(.+)"', text("src/cordgap/_version.py"))
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "src/cordgap/_version.py"
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert "version" not in PROJECT["project"]
    assert cordgap.__version__ == version
    assert re.search(rf"^version: {re.escape(version)}$", text("CITATION.cff"), re.M)
    assert f"## {version}" in text("CHANGELOG.md") or f"## [{version}]" in text("CHANGELOG.md")
    for file in (ROOT / "src").rglob("*.py"):
        if file.name != "_version.py":
            assert f'"{version}"' not in file.read_text(encoding="utf-8"), file.name


# --- oldest versions ---


def test_constraints_are_the_lower_bounds():
    bounds = [REQUIREMENT.match(line).groups() for line in PROJECT["project"]["dependencies"]]
    lines = text("tests/constraints-minimum.txt").splitlines()
    pins = [tuple(line.split("==")) for line in lines if line and not line.startswith("#")]
    assert pins == bounds


def test_every_dependency_has_a_lower_bound():
    extras = PROJECT["project"]["optional-dependencies"]
    for line in PROJECT["project"]["dependencies"] + [x for e in extras.values() for x in e]:
        if not line.startswith(("types-", "scipy-stubs")):  # for the type checker alone
            assert re.search(r"[=>]=", line), line


def test_the_core_tests_of_the_oldest_versions_exist():
    for path in load("try_out").CORE_TESTS:
        assert (ROOT / path).exists(), path


# --- licences ---


def test_default_install_has_no_gpl():
    licences = load("licences")
    packages = licences.default_install()
    assert {"numpy", "scipy", "pydicom", "shapely", "matplotlib", "typer", "rich"} <= {
        p.name for p in packages
    }
    assert not [p for p in packages if p.is_gpl]
    assert not [p for p in packages if p.licence == "not stated"]


@pytest.mark.parametrize(
    "licence, expected",
    [
        ("GPL-3.0-or-later", True),
        ("GNU General Public License v3 (GPLv3)", True),
        ("AGPL-3.0-only", True),
        ("BSD-3-Clause AND GPL-2.0-only", True),
        ("LGPL-2.1-or-later", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("MIT", False),
    ],
)
def test_a_package_under_the_gpl_would_be_seen(licence, expected):
    licences = load("licences")
    assert licences.Package("x", "1", licence, ("cordgap",)).is_gpl is expected


def test_page_of_licences_names_every_package():
    """Which versions it names is a matter of when ``make licences`` ran."""
    page = text("docs/licences.md")
    listed = set(re.findall(r"^\| ([a-z0-9-]+) \| [0-9]", page, re.M))
    needed = {p.name for p in load("licences").default_install()}
    assert needed <= listed, f"run make licences: {sorted(needed - listed)}"


def test_dependencies_are_described():
    page = text("docs/dependencies.md")
    extras = PROJECT["project"]["optional-dependencies"]
    lines = PROJECT["project"]["dependencies"] + [x for e in extras.values() for x in e]
    for name in {re.match(r"[A-Za-z0-9_.-]+", line)[0] for line in lines}:
        assert name in page, name


# --- what users and archives read ---


def test_citation_has_the_keys_of_its_schema():
    """CFF 1.2.0: these must be there; those may be. Each author is a person or an entity."""
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load(text("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert set(citation) <= {
        "cff-version", "message", "title", "authors", "abstract", "commit", "contact",
        "date-released", "doi", "identifiers", "keywords", "license", "license-url",
        "preferred-citation", "references", "repository", "repository-artifact",
        "repository-code", "type", "url", "version",
    }  # fmt: skip
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] in ("software", "dataset")
    assert citation["license"] == PROJECT["project"]["license"]
    assert citation["authors"]
    for author in citation["authors"]:
        assert "name" in author or {"family-names", "given-names"} <= set(author)
    assert all(isinstance(word, str) for word in citation["keywords"])


def test_security_says_what_goes_where_and_how_to_report():
    page = text("SECURITY.md")
    for words in ("What data goes where", "How to report", "Never send patient data", "127.0.0.1"):
        assert words in page


def test_readme_has_install_lines_for_windows():
    readme = text("README.md")
    assert "py -m venv" in readme
    assert r"Scripts\cordgap selftest" in readme


def test_type_marker_and_tables_are_in_the_package():
    """The wheel takes the whole folder; ``make dist`` looks into the installed one."""
    package = ROOT / "src" / "cordgap"
    assert (package / "py.typed").is_file()
    assert (package / "limits" / "tables" / "SHA256SUMS").is_file()
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["src/cordgap"]


def test_make_targets_are_described():
    targets = re.search(r"^\.PHONY: (.+)$", text("Makefile"), re.M)[1].split()
    guide = text("CONTRIBUTING.md")
    for target in targets:
        assert f"make {target}" in guide, target


def test_command_knows_its_version():
    done = subprocess.run(
        [sys.executable, "-c", "from cordgap.cli.main import run; run()", "--version"],
        capture_output=True, encoding="utf-8", check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["cordgap", cordgap.__version__]
