"""Results to export."""

from __future__ import annotations

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
