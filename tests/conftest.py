"""What tests of several folders share."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
REAL = HERE.parents[1] / "shared" / "data" / "real"
SHARED = REAL.parent


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """Return the builder of small DICOM files (tests/dicom/builders.py)."""
    spec = importlib.util.spec_from_file_location("builders", HERE / "dicom" / "builders.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of test data beside the checkout; skips where it is missing."""
    if not SHARED.is_dir():
        message = "the test data ../shared/data are not there"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return SHARED
