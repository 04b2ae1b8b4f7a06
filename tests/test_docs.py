"""What the pages say is so: examples run, codes are explained, pictures and links exist."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from cordgap.cli import main

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "cordgap"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
WITH_EXAMPLES = (ROOT / "README.md", ROOT / "docs" / "cli.md")
# A block that was really run: the marker says how it ends, and how much of it is shown.
BLOCK = re.compile(
    r"<!-- run: exit (?P<code>\d)(?:, first \d+ lines)? -->\n"
    r"```console\n\$ (?P<command>cordgap .*?)\n(?P<output>.*?)```",
    re.S,
)
VERBS = (
    "analyze", "batch", "check", "compare", "demo", "dvh", "fetch", "learn-falloff", "protocols",
    "query", "receive", "scenarios", "schema", "selftest", "send", "separation", "serve", "watch",
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """One command with the exit code and the output that a page promises."""

    page: str
    command: str
    code: int
    output: str


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


EXAMPLES = [
    Example(page.name, m["command"], int(m["code"]), m["output"])
    for page in WITH_EXAMPLES
    for m in BLOCK.finditer(read(page))
]


def run(command: str, folder: Path) -> tuple[int, str]:
    """Run a command of a page away from the checkout, where nothing it writes is in the way."""
    words = [str(ROOT / w) if w.startswith("plans/") else w for w in shlex.split(command)[1:]]
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", "from cordgap.cli.main import run; run()", *words],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> dict[str, tuple[int, str]]:
    """Every command of the pages, a few at a time."""
    folder = tmp_path_factory.mktemp("examples")
    commands = sorted({example.command for example in EXAMPLES})
    with ThreadPoolExecutor(max_workers=4) as pool:
        jobs = [pool.submit(run, c, folder / str(i)) for i, c in enumerate(commands)]
        return {c: job.result() for c, job in zip(commands, jobs, strict=True)}


def words_of(text: str) -> str:
    """Text without numbers and blanks: the last digit and the line breaks may differ."""
    return re.sub(r"[\d.\s]+", "", text)


def test_every_console_block_is_run():
    for page in WITH_EXAMPLES:
        count = sum(1 for example in EXAMPLES if example.page == page.name)
        assert read(page).count("```console") == count > 0


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.page}: {e.command}")
def test_example(ran, example):
    code, output = ran[example.command]
    assert code == example.code, output
    shown, cut, _ = example.output.rstrip().partition("\n...")
    expected, found = words_of(shown), words_of(output)
    assert found.startswith(expected) if cut else found == expected


def test_every_verb_has_an_example():
    shown = {shlex.split(e.command)[1] for e in EXAMPLES if e.page == "cli.md"}
    assert shown == set(VERBS)
    assert set(main.VERBS) == set(VERBS)


def test_readme_names_both_make_commands():
    readme = read(ROOT / "README.md")
    assert "make demo" in readme
    assert "make test" in readme
    assert "not a medical device" in readme.casefold()


def test_python_example_of_the_readme_prints_what_it_says():
    code, shown = re.search(
        r"```python\n(.*?)```\n\nprints\n\n```text\n(.*?)```", read(ROOT / "README.md"), re.S
    ).groups()
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=300,
    )
    assert done.stdout == shown


def codes_of(path: Path) -> set[str]:
    """Codes that a file can give its findings; ``*`` stands for what is put in."""
    tree = ast.parse(read(path))
    assigned: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            texts = {n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)}
            assigned.setdefault(node.targets[0].id, set()).update(
                t for t in texts if isinstance(t, str)
            )
    found: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "Finding":
            continue
        first = node.args[0]
        if isinstance(first, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "*" for v in first.values]
            found.add("".join(str(p) for p in parts))
        elif isinstance(first, ast.Name):
            found |= assigned.get(first.id, set())
        else:
            found |= {n.value for n in ast.walk(first) if isinstance(n, ast.Constant)}
    return found


def test_every_finding_code_is_explained():
    """The rooms beyond ``dicom`` and ``case`` (those: tests/dicom/test_findings_page.py)."""
    documented = set(re.findall(r"^\| `([a-z-]+)`", read(ROOT / "docs" / "findings.md"), re.M))
    used: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        if path.relative_to(SOURCE).parts[0] not in ("dicom", "case"):
            used |= codes_of(path)
    # What is wrong with a plane is named where the plane is cleaned.
    used |= set(
        re.findall(r'"((?:self-crossing|overlapping)-[a-z]+)"', read(SOURCE / "dvh" / "planes.py"))
    )
    assert len(used) > 20
    patterns = {code: re.compile(re.escape(code).replace(r"\*", "[a-z-]+")) for code in used}
    missing = {c for c, p in patterns.items() if not any(p.fullmatch(d) for d in documented)}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_pictures_are_small():
    pictures = list((ROOT / "docs" / "images").glob("*.png"))
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < 300_000, picture.name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_settings_of_the_pages_are_known(page):
    """Options that a page writes exist in the program."""
    known = {"--help", "--version", "--check"}
    for path in (SOURCE / "cli").glob("*.py"):
        text = read(path)
        known |= set(re.findall(r'"(--[a-z-]+)"', text))
        known |= {f"--{name.replace('_', '-')}" for name in re.findall(r"^    (\w+): ", text, re.M)}
    named = set(re.findall(r"`(--[a-z][a-z-]+)", read(page)))
    assert named <= known
