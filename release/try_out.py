"""Try a wheel as a user would: in an environment of its own, outside the checkout.

Usage: python release/try_out.py WHEEL [--sbom FOLDER] | --minimum

The first form installs the wheel with the newest dependencies in a folder with spaces and umlauts,
runs ``cordgap demo`` and ``cordgap selftest`` there, and writes what was installed as a CycloneDX
file. ``--minimum`` installs the checkout with the oldest versions that pyproject.toml allows
(tests/constraints-minimum.txt) and runs the tests of the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENDORED = ROOT / "src" / "cordgap" / "report" / "templates" / "vendor"
VENDORED_VERSION = re.compile(r"plotly\.js .*? v?(\d+\.\d+\.\d+)")
CONSTRAINTS = ROOT / "tests" / "constraints-minimum.txt"
# What carries the numbers, in well under a minute; warnings of old packages about new ones are
# theirs.
CORE_TESTS = (
    "tests/case", "tests/limits/test_protocol.py", "tests/limits/test_constraint.py",
    "tests/limits/test_radiobiology.py", "tests/dvh/test_metrics.py", "tests/dvh/test_curve.py",
    "tests/dvh/test_solid.py", "tests/dvh/test_integrate.py", "tests/dicom/test_read.py",
    "tests/dicom/test_contours.py", "tests/separation/test_gap.py",
    "tests/separation/test_resect.py", "tests/end_to_end/test_help.py",
)  # fmt: skip
TEST_PACKAGES = ("pytest", "hypothesis", "jsonschema")
QUIET = ("--quiet", "--disable-pip-version-check")


def make_environment(folder: Path) -> Path:
    """Make a virtual environment; return its Python."""
    venv.create(folder, with_pip=True)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(*words: str | Path, cwd: Path | None = None, code: int = 0) -> str:
    """Run a program away from the checkout's own path; stop with what it said if it fails."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(w) for w in words], cwd=cwd, env=clean, capture_output=True, encoding="utf-8",
        check=False,
    )  # fmt: skip
    if done.returncode != code:
        sys.exit(
            f"{' '.join(map(str, words))}\nexit code {done.returncode}, expected {code}\n"
            f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
    return done.stdout


def try_wheel(wheel: Path, sbom: Path | None) -> None:
    """Install a wheel and use it."""
    version = wheel.name.split("-")[1]
    with tempfile.TemporaryDirectory(prefix="cordgap Prüfung ") as name:
        folder = Path(name)
        python = make_environment(folder / "Umgebung für cordgap")
        run(python, "-m", "pip", "install", *QUIET, wheel.resolve())
        command = python.parent / ("cordgap.exe" if os.name == "nt" else "cordgap")
        where = Path(
            run(python, "-c", "import cordgap; print(cordgap.__file__)", cwd=folder).strip()
        )
        assert folder.resolve() in where.resolve().parents, f"{where} is not the installed one"
        for part in ("py.typed", "limits/tables/SHA256SUMS", "plans/ring", "report/schemas"):
            assert (where.parent / part).exists(), f"{part} is not in the wheel"
        assert run(command, "--version", cwd=folder).split() == ["cordgap", version]
        here = folder / "Ärzte & Physik"
        here.mkdir()
        run(command, "demo", "--out", "Bericht ß", "--quiet", cwd=here)
        assert (here / "Bericht ß" / "report.pdf").read_bytes().startswith(b"%PDF")
        run(command, "analyze", here / "Bericht ß", cwd=here, code=2)  # no plan: refused in words
        found = json.loads(run(command, "selftest", "--json", "--pdf", "Selbst test.pdf", cwd=here))
        assert found["verdict"] == "passed"
        assert found["engines"] == ["numpy"], "the default install is plain"
        assert (here / "Selbst test.pdf").is_file()
        licences = run(python, ROOT / "release" / "licences.py", "--print", cwd=here)
        print(f"wheel of {version}: demo ran, {found['values']} values of the self-test kept")
        print(f"{licences.count(chr(10)) - 2} packages, none under the GPL")
        if sbom is not None:
            write_sbom(python, sbom / f"cordgap-{version}.cdx.json", version)


def write_sbom(python: Path, file: Path, version: str) -> None:
    """Write what an environment and the package itself hold as CycloneDX JSON."""
    run(python, "-m", "pip", "uninstall", *QUIET, "--yes", "setuptools", "pip")
    words = ("--output-reproducible", "--output-format", "JSON", "--output-file")
    run(
        sys.executable, "-m", "cyclonedx_py", "environment", *words, file.resolve(),
        "--pyproject", ROOT / "pyproject.toml", python,
    )  # fmt: skip
    document = json.loads(file.read_text(encoding="utf-8"))
    root = document["metadata"]["component"]
    root |= {"version": version, "purl": f"pkg:pypi/cordgap@{version}"}
    # What the wheel holds of others, which no environment knows.
    for script in sorted(VENDORED.glob("plotly-*.js")):
        name = f"plotly.js-{script.stem.removeprefix('plotly-').removesuffix('.min')}-dist-min"
        found = VENDORED_VERSION.search(script.read_text(encoding="utf-8")[:400])
        assert found is not None, f"{script.name} does not say its version"
        document["components"].append(
            {
                "type": "library", "bom-ref": name, "name": name, "version": found[1],
                "licenses": [{"license": {"id": "MIT"}}],
                "purl": f"pkg:npm/{name}@{found[1]}",
            }
        )  # fmt: skip
    names = {component["name"].lower() for component in document["components"]}
    assert {"numpy", "pydicom", "shapely"} <= names, f"{file.name} lacks packages"
    assert not names & {"pip", "setuptools", "cordgap"}
    file.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{file.name}: {len(names)} components")


def try_minimum() -> None:
    """Install the oldest dependencies and run the tests of the numbers."""
    with tempfile.TemporaryDirectory(prefix="cordgap-minimum-") as name:
        python = make_environment(Path(name) / "venv")
        # --no-deps and the real names later: the checkout must not be on the path.
        run(python, "-m", "pip", "install", *QUIET, "-c", CONSTRAINTS, ROOT, *TEST_PACKAGES)
        found = json.loads(run(python, "-m", "pip", "list", "--format", "json", *QUIET[1:]))
        installed = {row["name"].lower(): row["version"] for row in found}
        for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
            package, sign, version = line.partition("==")
            if sign:
                there = installed[package]
                assert (there + ".").startswith(version + "."), f"{package} is {there}"
        run(python, "-c", "import numpy; assert numpy.__version__.startswith('1.')")
        command = python.parent / ("cordgap.exe" if os.name == "nt" else "cordgap")
        run(command, "selftest", cwd=Path(name))
        words = ("-q", "-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning")
        out = run(python, "-m", "pytest", *words, *CORE_TESTS, cwd=ROOT)
        print(f"oldest dependencies: self-test passed; {out.strip().splitlines()[-1]}")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, nargs="?")
    parser.add_argument("--sbom", type=Path)
    parser.add_argument("--minimum", action="store_true")
    arguments = parser.parse_args()
    if arguments.minimum:
        try_minimum()
    elif arguments.wheel is not None:
        try_wheel(arguments.wheel, arguments.sbom)
    else:
        parser.error("name a wheel, or --minimum")


if __name__ == "__main__":
    main()
