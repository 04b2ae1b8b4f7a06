from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cordgap.analysis import CaseResult, analyze
from cordgap.case.structure import Structure
from cordgap.dicom.read import read_case
from cordgap.phantom import spine_case

PLANS = Path(__file__).parents[2] / "plans"
INJECTION = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def results() -> dict[str, CaseResult]:
    """Return the shipped plans, and cases with less than a plan, analysed once."""
    found = {name: analyze(read_case(PLANS / name)) for name in ("coverage-first", "cord-first")}
    found["ring"] = analyze(read_case(PLANS / "ring"))
    phantom = spine_case()
    found["no dose"] = analyze(replace(phantom, dose=None))
    found["no prescription"] = analyze(replace(phantom, dose=None, prescription=None))
    cord_only = tuple(s for s in phantom.structures if s.role in ("cord", "body"))
    found["no target"] = analyze(replace(phantom, structures=cord_only, image=None))
    named = tuple(_renamed(s) for s in phantom.structures)
    odd = analyze(replace(phantom, structures=named, image=None, identity={"name": "Doe^Jane"}))
    found["odd names"] = odd
    return found


def _renamed(structure: Structure) -> Structure:
    names = {
        "gtv": INJECTION,
        "cord_prv": "_$\\alpha$ 脊髄",
        "canal": "=cmd|' /C calc'!A0",
        "body": "x" * 300,
    }
    return replace(structure, roi_name=names.get(structure.role, structure.roi_name))


@pytest.fixture(scope="session")
def result(results: dict[str, CaseResult]) -> CaseResult:
    return results["cord-first"]
