"""Code blocks of the pages: found by a parser, run as a reader would, held to what is shown.

What a block promises stands beside it: ``<!-- run: exit 1, first 4 lines -->`` before a console
block (exit 0 without it; ``exit 0, 1`` where two commands differ), ``...`` where the rest is not
shown. After the language: ``norun="why"`` for what cannot run here, ``varies="what"`` where numbers
differ from run to run, ``file="name"`` for a table that other blocks of the page read,
``with="PATH=plans/ring, DIR=out"`` for what words of the page stand for, ``adds="--idle-s 1"`` for
words that only the run needs, at the end of every command.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
SERVER = Path(__file__).with_name("block_server.py")
MARK = re.compile(r"<!-- run: exit (\d(?:, \d)*)(?:, first \d+ lines)? -->")
OPTION = re.compile(r'(\w+)="([^"]*)"')
NUMBER = re.compile(r"\d+(?:\.\d+)?")
# Languages whose blocks are run, and those that are read.
RUN = ("console", "sh", "bat", "python")
READ = ("toml", "json")
# A command with one of these leaves files or needs those of others: it is run wherever it stands.
WRITES = {
    "--out", "--db", "--into", "--csv", "--rtdose-out", "demo", "serve", "watch", "learn-falloff",
}  # fmt: skip
# Printed to a few digits: on another machine the last one may turn.
LAST_DIGITS = 2.0


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with what stands beside its language."""

    page: Path
    line: int
    language: str
    text: str
    options: dict[str, str] = field(hash=False)
    exit_codes: tuple[int, ...] = (0,)
    prints: str | None = None

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a console block, and what the page shows of its output and promises."""

    words: tuple[str, ...]
    into: str | None
    shown: str
    exit_code: int


def blocks_of(page: Path) -> Iterator[Block]:
    """Return the blocks of a page; a block by indentation is one without a language."""
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    tokens = [t for t in tokens if t.type not in ("paragraph_open", "paragraph_close")]
    for i, token in enumerate(tokens):
        if token.type not in ("fence", "code_block"):
            continue
        before = tokens[i - 1].content if i else ""
        mark = MARK.search(before)
        said = [t.content.strip() for t in tokens[i + 1 : i + 3]]
        language = token.info.split()[0] if token.info.split() else ""
        yield Block(
            page,
            token.map[0] + 1,
            language,
            token.content,
            dict(OPTION.findall(token.info)),
            tuple(int(code) for code in mark[1].split(", ")) if mark else (0,),
            tokens[i + 2].content if said[:1] == ["prints"] else None,
        )


def commands_of(block: Block) -> list[Command]:
    """Return the commands of a console block, or of one that holds nothing else."""
    text = block.text.replace("\\\n", " ")
    if block.language == "console":
        parts = re.split(r"^\$ (.*)\n?", text, flags=re.M)[1:]
    else:
        parts = [part for line in text.splitlines() if line for part in (line, "")]
    stands_for = dict(
        pair.split("=", 1) for pair in block.options.get("with", "").split(", ") if pair
    )
    added = shlex.split(block.options.get("adds", ""))
    lines = list(zip(parts[::2], parts[1::2], strict=True))
    codes = block.exit_codes if len(block.exit_codes) > 1 else block.exit_codes * len(lines)
    made = []
    for (line, shown), code in zip(lines, codes, strict=True):
        words = [stands_for.get(word, word) for word in shlex.split(line, comments=True)]
        into = words[words.index(">") + 1] if ">" in words else None
        words = words[: words.index(">")] if into else words
        made.append(Command((*words, *added), into, shown, code))
    return made


def difference(shown: str, found: str, *, numbers: bool) -> str | None:
    """Say where an output is not what is shown; blanks and line breaks do not count.

    Decimal numbers may differ by two in the last digit that is shown, whole ones not at all.
    """
    shown, cut, _ = shown.rstrip().partition("\n...")
    words = [re.sub(r"\s+", "", NUMBER.sub("#", text)) for text in (shown, found)]
    fits = words[1].startswith(words[0]) if cut else words[0] == words[1]
    if not fits:
        return f"shown:\n{shown}\nfound:\n{found}"
    for ours, theirs in zip(NUMBER.findall(shown), NUMBER.findall(found), strict=False):
        decimals = len(ours.partition(".")[2])
        allowed = LAST_DIGITS * 10.0**-decimals if decimals else 0.0
        # A part in 1e9 for what decimal fractions are not in binary.
        if numbers and abs(float(ours) - float(theirs)) > allowed * (1 + 1e-9):
            return f"shown {ours}, found {theirs} in:\n{found}"
    return None


class Runner:
    """Runs the blocks of a page, one after the other, in a folder that has the example plans."""

    def __init__(self, home: Path, known: dict[tuple[str, ...], tuple[int, str]]) -> None:
        """Start the process that does the work; ``home`` takes what is kept for the user.

        ``known`` takes what commands printed that write nothing, for other pages that run them.
        """
        self._known = known
        self._environment = os.environ | {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "PYTHONUTF8": "1",
            "MPLBACKEND": "Agg",
            "COLUMNS": "100",
        }
        self._server = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            encoding="utf-8",
        )

    def close(self) -> None:
        """End the process."""
        self._server.stdin.close()
        self._server.wait(timeout=30)
        self._server.stdout.close()

    def failures(self, blocks: list[Block], folder: Path) -> list[str]:
        """Run blocks in order, and return what is not as the page says."""
        folder.mkdir()
        try:
            (folder / "plans").symlink_to(ROOT / "plans", target_is_directory=True)
        except OSError:  # Windows without the right to link
            shutil.copytree(ROOT / "plans", folder / "plans")
        for block in blocks:
            if "file" in block.options:
                (folder / block.options["file"]).write_text(block.text, encoding="utf-8")
        wrong = []
        for block in blocks:
            if block.language not in RUN or "norun" in block.options:
                continue
            if block.language == "python":
                wrong += self._program(block, folder)
                continue
            for command in commands_of(block):
                code, found = self._command(command, folder)
                where = f"{block.name}: {' '.join(command.words)}"
                if code != command.exit_code:
                    wrong.append(f"{where}\nexit code {code}, not {command.exit_code}:\n{found}")
                elif command.shown.strip():
                    numbers = "varies" not in block.options
                    said = difference(command.shown, found, numbers=numbers)
                    wrong += [f"{where}\n{said}"] if said else []
        return wrong

    def _program(self, block: Block, folder: Path) -> list[str]:
        code, found = self._job({"code": block.text, "name": block.name}, folder)
        if code:
            return [f"{block.name}: exit code {code}\n{found}"]
        if block.prints is not None and block.prints != found:
            return [f"{block.name}\nshown:\n{block.prints}\nfound:\n{found}"]
        return []

    def _command(self, command: Command, folder: Path) -> tuple[int, str]:
        if command.words in self._known:
            code, found = self._known[command.words]
        elif command.words[0] == "cordgap":
            code, found = self._job({"argv": command.words[1:]}, folder)
            if not WRITES & {word.partition("=")[0] for word in command.words}:
                self._known[command.words] = code, found
        else:
            done = subprocess.run(
                command.words,
                cwd=folder,
                env=self._environment,
                capture_output=True,
                encoding="utf-8",
                check=False,
                timeout=300,
            )
            code, found = done.returncode, done.stdout + done.stderr
        if command.into is not None:
            (folder / command.into).write_text(found, encoding="utf-8")
            found = ""
        return code, found

    def _job(self, job: dict, folder: Path) -> tuple[int, str]:
        out = folder / ".printed"
        self._server.stdin.write(json.dumps(job | {"cwd": str(folder), "out": str(out)}) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError("the process that runs the blocks has died")
        return int(answer), out.read_text(encoding="utf-8", errors="replace")
