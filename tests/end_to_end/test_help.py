"""The help of every verb: examples that can be typed, and completion that knows every verb."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from cordgap.cli.main import VERBS, build_app

ROOT = Path(__file__).parents[2]
PROGRAM = "import sys; sys.argv[0] = 'cordgap'; from cordgap.cli.main import run; run()"
COMMANDS = typer.main.get_command(build_app()).commands


def lines_of(verb):
    """Lines of the section Examples in the text that --help is made from."""
    section = re.search(r"\x08\nExamples:\n((?:  .+(?:\n|$))+)", COMMANDS[verb].help)
    return [] if section is None else [x.strip() for x in section[1].splitlines()]


def cordgap(*words, **environment):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env=os.environ | {"COLUMNS": "150"} | environment,
        capture_output=True, encoding="utf-8", check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_examples_that_can_be_typed(monkeypatch, verb):
    """Options exist and their values are allowed; nothing is run."""
    monkeypatch.chdir(ROOT)
    examples = lines_of(verb)
    assert examples, f"the docstring of {verb} has no Examples"
    for line in examples:
        program, name, *words = shlex.split(line.partition(" > ")[0])
        assert (program, name) == ("cordgap", verb)
        context = COMMANDS[verb].make_context(verb, words)
        assert context.command.name == verb
        for word in words:
            if word.startswith("plans/"):
                assert Path(word).is_dir()


def test_an_example_with_a_wrong_option_would_be_seen():
    with pytest.raises(Exception, match=r"--metrics|No such option"):
        COMMANDS["dvh"].make_context("dvh", ["plans/ring", "--metrics", "Mean[Gy]"])


def test_help_shows_examples_as_they_are_typed():
    """Brackets are no markup, and a line stays a line."""
    code, out, _ = cordgap("dvh", "--help")
    assert code == 0
    assert 'cordgap dvh plans/ring --structure SpinalCord --metric "D0.035cc[Gy]"' in out


@pytest.mark.parametrize(
    "typed, expected",
    [
        ("cordgap ", set(VERBS)),
        ("cordgap self", {"selftest"}),
        ("cordgap selftest --p", {"--pdf"}),
        ("cordgap demo co", {"coverage-first", "cord-first"}),
    ],
)
def test_completion_of_bash(typed, expected):
    count = len(typed.split()) - (not typed.endswith(" "))
    code, out, _ = cordgap(
        _CORDGAP_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(count)
    )
    assert code == 0
    assert set(out.split()) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion_can_be_shown(shell):
    code, out, _ = cordgap(
        "--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )
    assert code == 0
    assert "_CORDGAP_COMPLETE" in out


def test_completion_can_be_installed(tmp_path):
    code, out, err = cordgap(
        "--install-completion", "bash", HOME=str(tmp_path),
        _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1",
    )  # fmt: skip
    assert code == 0, err
    assert "bash completion installed" in out
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert any("_CORDGAP_COMPLETE" in p.read_text(encoding="utf-8") for p in written)
