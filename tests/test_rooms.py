"""The rooms are measured as coverage.py counts, and nothing is left out without a reason."""

from __future__ import annotations

import json

import pytest
from tests.rooms import MEASURED, main, without_reason


def report(tmp_path, **branches):
    """A report of one file a room: 10 lines, all run, and some of 20 branches."""
    files = {
        f"src/cordgap/{room}/a.py": {
            "summary": {
                "covered_lines": 10, "num_statements": 10, "excluded_lines": 1,
                "covered_branches": branches.get(room, 20), "num_branches": 20,
            }
        }
        for room in MEASURED
    }  # fmt: skip
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"files": files}), encoding="utf-8")
    return path


def test_every_room_above_the_limit(tmp_path, capsys):
    assert main(report(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(MEASURED)
    assert all(line.endswith("100.0 %") for line in lines[1:])


@pytest.mark.parametrize("room", MEASURED)
def test_one_room_below_the_limit_fails(tmp_path, capsys, room):
    assert main(report(tmp_path, **{room: 18})) == 1
    said = capsys.readouterr().err
    assert f"{room}: 90.0 % of branches, expected 95 %" in said
    assert said.count("of branches") == 1


def test_what_is_left_out_says_why(tmp_path):
    (tmp_path / "dvh").mkdir()
    (tmp_path / "dvh" / "a.py").write_text(
        "a = 1  # pragma: no cover\n"
        "b = 1  # pragma: no cover - only where Windows has no such call\n"
        "c = 1  # pragma: no branch: x\n",
        encoding="utf-8",
    )
    assert without_reason(tmp_path) == [
        "dvh/a.py:1: left out without a reason", "dvh/a.py:3: left out without a reason",
    ]  # fmt: skip
