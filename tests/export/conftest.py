"""Results to export, and Debian packages that look at what is written."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cordgap.analysis import CaseResult, Settings, analyze
from cordgap.dicom.read import read_case

PLANS = Path(__file__).parents[2] / "plans"


@pytest.fixture(scope="session")
def ring() -> CaseResult:
    """Return the result of a plan whose target runs around the cord."""
    return analyze(read_case(PLANS / "ring"))


@pytest.fixture(scope="session")
def reached() -> CaseResult:
    """Return the same plan where only the front and the left can be cleared."""
    case = read_case(PLANS / "ring")
    return analyze(case, Settings(reachable=("anterior", "left anterolateral")))


@pytest.fixture(scope="session")
def debian():
    """Return a function that gives the path of a program, after installing its package if need be.

    Where it cannot be installed the test is skipped; with CI=true that fails.
    """

    def program(name: str, package: str) -> str:
        path = _find(name)
        if path is None:
            _install(package)
            path = _find(name)
        if path is None:
            message = f"{name} (Debian package {package}) is not there and cannot be installed"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
        return path

    return program


def _install(package: str) -> None:
    """Install a Debian package where root or sudo can."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    for words in (["update", "-qq"], ["install", "-y", "-qq", package]):
        command = [*([] if root else ["sudo", "-n"]), "apt-get", *words]
        try:
            subprocess.run(command, capture_output=True, check=True, timeout=300)
        except (OSError, subprocess.SubprocessError):
            return


def _find(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
