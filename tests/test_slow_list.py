"""The list of slow tests names what is there, and leaves the core to `make test-fast`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.conftest import slow_tests

ROOT = Path(__file__).parents[1]
# What a quick run must hold: closed forms, the reader, limits, separation, a plan from end to end.
CORE = (
    "tests/oracle/test_oracle.py", "tests/dicom/test_read.py", "tests/limits/test_constraint.py",
    "tests/separation/test_gap.py", "tests/end_to_end/test_cli.py::test_demo_plan",
)  # fmt: skip


@pytest.mark.parametrize("line", slow_tests())
def test_what_is_listed_is_there(line):
    name, _, function = line.partition("::")
    path = ROOT / name
    assert path.exists(), f"tests/slow.txt: there is no {name}"
    if function:
        bare = function.partition("[")[0]
        found = re.search(rf"^def {bare}\(", path.read_text(encoding="utf-8"), re.M)
        assert found, f"tests/slow.txt: {name} has no {function}"


@pytest.mark.parametrize("core", CORE)
def test_the_core_is_quick(core):
    assert not core.startswith(tuple(slow_tests()))
