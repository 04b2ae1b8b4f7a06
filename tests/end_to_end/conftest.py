"""The command, run in this process as people run it."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, NamedTuple

import pytest

from cordgap.cli.main import run as entry_point


class Outcome(NamedTuple):
    """Exit code and what was written to the two streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def regular(code: int, out: str, err: str) -> Outcome:
    """Return the outcome of a command that ended as it should, well or with a message."""
    assert "Traceback" not in out + err
    assert "fault of cordgap" not in err
    return Outcome(code, out, err)


@pytest.fixture
def cordgap(monkeypatch, capsys):
    """Run the entry point with its error handling; gives exit code, stdout and stderr."""
    root, pydicom_log = logging.getLogger(), logging.getLogger("pydicom")
    handlers, levels = root.handlers[:], (root.level, pydicom_log.level)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["cordgap", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        code = 0
        try:
            entry_point()
        except SystemExit as stop:
            code = stop.code or 0
        return regular(code, *capsys.readouterr())

    yield call
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    pydicom_log.setLevel(levels[1])
