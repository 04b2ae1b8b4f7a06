"""What the pages say is so: examples run, codes are explained, pictures and links exist."""

from __future__ import annotations

import ast
import json
import os
import re
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from docs.site import generated, packages, rooms
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from tests.blocks import READ, RUN, Runner, blocks_of, commands_of, difference

import cordgap
from cordgap.cli import main
from cordgap.cli.common import PlanOptions
from cordgap.limits.protocol import available_protocols, load_protocol
from cordgap.report.schema import load_schema, schema_names
from cordgap.separation.uncertainty import parse_scenarios

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "cordgap"
DOCS = ROOT / "docs"
# What is on the site, and what people read without it.
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.glob("*.md"),
        *ROOT.glob("plans/*/*.md"),
        ROOT / "benchmarks/README.md",
    ]
)
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUNNABLE = [b for b in BLOCKS if b.language in RUN and "norun" not in b.options]
NOT_RUN = [b for b in BLOCKS if "norun" in b.options]
WITH_RUNS = sorted({block.page for block in RUNNABLE})
# Text is nothing to run: an equation, or what is printed.
LANGUAGES = {*RUN, *READ, "text"}
VERBS = (
    "analyze", "batch", "check", "compare", "demo", "dvh", "fetch", "learn-falloff", "protocols",
    "query", "receive", "scenarios", "schema", "selftest", "send", "separation", "serve", "trends",
    "watch",
)  # fmt: skip
SKELETON = ["What it answers", "What it cannot", "Steps", "Equation", "Validation", "References"]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> dict[Path, list[str]]:
    """Failures of the blocks of every page; the blocks of a page share a folder."""
    folder = tmp_path_factory.mktemp("pages")
    # The page with most blocks first, so that nobody waits for it at the end.
    pages = sorted(WITH_RUNS, key=lambda p: -sum(b.page == p for b in RUNNABLE))
    waiting = list(enumerate(pages))
    known: dict[tuple[str, ...], tuple[int, str]] = {}

    def work(name: str) -> dict[Path, list[str]]:
        found = {}
        runner = Runner(folder / name, known)
        try:
            while waiting:
                i, page = waiting.pop(0)
                mine = [b for b in BLOCKS if b.page == page]
                found[page] = runner.failures(mine, folder / str(i))
        finally:
            runner.close()
        return found

    with ThreadPoolExecutor(max_workers=2) as pool:
        first, second = pool.map(work, ("home-1", "home-2"))
    return first | second


@pytest.mark.parametrize("page", WITH_RUNS, ids=ids)
def test_blocks_run_as_the_page_says(ran, page):
    assert not ran[page], "\n\n".join(ran[page])


def test_every_block_has_a_language_that_is_checked():
    unknown = {
        f"{b.name} {b.language or 'no language'}"
        for b in BLOCKS
        if b.language not in LANGUAGES and not b.language.startswith("{")
    }
    assert not unknown


def test_blocks_that_do_not_run_say_why(capsys):
    with capsys.disabled():
        print(f"\n{len(RUNNABLE)} blocks of the pages run, {len(NOT_RUN)} do not:")
        for block in NOT_RUN:
            print(f"  {block.name}: {block.options['norun']}")
    assert all(len(b.options["norun"].split()) > 1 or b.language == "bat" for b in NOT_RUN)
    assert all(b.language in RUN for b in NOT_RUN)
    # Most of what the pages show is really run.
    assert len(NOT_RUN) < len(RUNNABLE)


def test_commands_that_do_not_run_are_known():
    """What cannot run is at least made of verbs and options that there are."""
    known = known_options()
    for block in NOT_RUN:
        if block.language != "console":
            continue
        for command in commands_of(block):
            assert command.words[:1] == ("cordgap",), block.name
            assert command.words[1] in VERBS, block.name
            assert {w for w in command.words if w.startswith("--")} <= known, block.name


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in READ], ids=lambda b: b.name)
def test_tables_and_documents_can_be_read(tmp_path, block):
    if block.language == "json":
        json.loads(block.text)
        return
    table = tomllib.loads(block.text)
    if "protocol" in table:
        path = tmp_path / f"{table['protocol']['id']}.toml"
        path.write_text(block.text, encoding="utf-8")
        assert load_protocol(path).constraints
    elif "scenarios" in table:
        parse_scenarios(block.text, block.name)
    elif block.page.parent.parent != ROOT / "plans":  # there: what test_plans_shape.py reads
        (tmp_path / "cordgap.toml").write_text(block.text, encoding="utf-8")
        assert PlanOptions(path=tmp_path).filled_from_file().from_file == tuple(table)


def test_the_comparison_sees_numbers_and_words():
    assert difference("a 1.93 mm", "a 1.95\nmm", numbers=True) is None
    assert "1.96" in difference("a 1.93 mm", "a 1.96 mm", numbers=True)
    assert "found 2" in difference("1 plan", "2 plan", numbers=True)
    assert difference("a 1.93 mm", "a 2.96 mm", numbers=False) is None
    assert difference("a 1.93 mm", "b 1.93 mm", numbers=False)
    assert difference("a 1\n...", "a 1 b 2", numbers=True) is None
    assert difference("a 1", "a 1 b 2", numbers=True)


def test_every_verb_has_an_example():
    shown = {
        command.words[1]
        for block in RUNNABLE
        if block.page.name == "cli.md"
        for command in commands_of(block)
    }
    assert shown == set(VERBS)
    assert set(main.VERBS) == set(VERBS)


def algorithm_pages() -> list[Path]:
    toctree = next(b for b in blocks_of(DOCS / "algorithms.md") if b.language == "{toctree}")
    return [DOCS / f"{name}.md" for name in re.findall(r"^[a-z-]+$", toctree.text, re.M)]


@pytest.mark.parametrize("page", algorithm_pages(), ids=ids)
def test_algorithms_stand_on_one_skeleton(page):
    assert re.findall(r"^## (.*)$", read(page), re.M) == SKELETON
    for part in re.split(r"^## .*$", read(page), flags=re.M)[1:]:
        assert len(part.split()) > 8, "a heading with nothing below it"


def test_the_algorithms_have_their_pages():
    assert {page.stem for page in algorithm_pages()} >= {
        "solid", "dose", "dvh", "indices", "verdicts", "reirradiation", "map", "separation", "trim",
        "plan-gradient", "recession", "falloff", "schedules", "uncertainty", "compare", "escc",
    }  # fmt: skip


def test_readme_names_both_make_commands():
    readme = read(ROOT / "README.md")
    assert "make demo" in readme
    assert "make test" in readme
    assert "not a medical device" in readme.casefold()


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


def anchors(text: str) -> set[str]:
    """Anchors of the headings of a page, as the site and GitHub make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    plain = [re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """The pages that are made from the program."""
    folder = tmp_path_factory.mktemp("site") / "generated"
    generated.write(folder)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_and_pictures_exist(page, written):
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        to = page.parent / name if name else page
        if "generated" in to.parts:
            to = written / to.relative_to(DOCS / "generated")
        assert to.exists(), target
        assert not anchor or anchor in anchors(read(to)), target


def test_links_of_the_made_pages_exist(written):
    for page in written.rglob("*.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
            name, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            to = page.parent / name if name else page
            outside = os.path.relpath(to, written)
            to = DOCS / outside.removeprefix("../") if outside.startswith("..") else to
            assert to.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(read(to)), f"{page.name}: {target}"


def test_the_made_pages_hold_what_the_program_has(written):
    protocols = read(written / "protocols.md")
    for name in available_protocols():
        for row in load_protocol(name).constraints:
            line = next(x for x in protocols.splitlines() if x.startswith(f"| `{row.id}` |"))
            assert f"{row.limit:g} {row.unit}" in line and row.verified in line
    for name in schema_names():
        page = read(written / "schemas" / f"{name}.md")
        assert all(f"`{key}`" in page for key in load_schema(name).get("properties", {}))
    reference = "".join(read(p) for p in (written / "api").glob("*.md"))
    assert all(f"auto{k}:: {name}" in reference for k, name in front_door())


def front_door() -> list[tuple[str, str]]:
    names = [name for name in cordgap.__all__ if name != "__version__"]
    return [
        ("class" if isinstance(getattr(cordgap, name), type) else "function", name)
        for name in names
    ]


# Rows of docs/dependencies.md that no extra installs: of Debian and npm.
NOT_OF_PYPI = {"axe-core", "dicom3tools", "plastimatch", "dcmtk"}


def named_packages(page: str, head: str) -> dict[str, str]:
    """Names in the first cells of the tables below a heading, with the rest of their rows."""
    section = re.search(rf"^## {head}\n(.*?)(?=^## )", page, re.S | re.M)[1]
    found = {}
    for line in re.findall(r"^\| (?!-|package|file)(.*) \|$", section, re.M):
        first, _, rest = line.partition(" | ")
        for part in re.sub(r"\(.*?\)", "", first).split(","):
            if name := re.fullmatch(r"\s*([A-Za-z][\w.-]*)\s*([<>=].*)?", part):
                found[name[1].lower()] = rest
    return found


def test_every_dependency_has_its_reasons():
    page = read(DOCS / "dependencies.md")
    wanted = set(packages.requirements())
    reasons: dict[str, str] = {}
    for head in ("At run time", "Optional", "For development"):
        reasons |= named_packages(page, head)
    named = {name for name in reasons if name in wanted}
    assert wanted - named == set(), "no row says why these are used"
    measured = set(named_packages(page, "Size and health, as measured"))
    assert measured == wanted, "run python docs/site/packages.py"
    for name in wanted:
        assert all(cell.strip() for cell in reasons[name].split(" | ")), f"{name}: an empty cell"
    assert set(reasons) - wanted == NOT_OF_PYPI & set(reasons), "rows of what is not used any more"


def test_bounds_of_the_dependencies_are_those_of_the_project():
    page = read(DOCS / "dependencies.md")
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    for line in [*project["dependencies"], *extras]:
        need = Requirement(line)
        for row in re.findall(rf"^\| {re.escape(need.name)} ([<>=].*?)(?: \(| \|)", page, re.M):
            assert SpecifierSet(row.replace(" ", "")) == need.specifier, line


def test_the_rooms_are_drawn_as_they_are():
    graph = rooms.edges()
    page = read(rooms.PAGE)
    stale = "run python docs/site/rooms.py"
    assert page == rooms.with_table(page, rooms.table(graph)), stale
    assert read(rooms.PICTURE) == rooms.picture(graph), stale
    order = [room for row in rooms.ranks(graph) for room in row]
    assert all(order.index(o) < order.index(r) for r, row in graph.items() for o in row)


def test_pictures_are_small_and_used():
    pictures = [p for p in (DOCS / "images").iterdir() if p.suffix in (".png", ".svg")]
    used = "".join(read(page) for page in PAGES)
    assert sum(p.stat().st_size for p in pictures) < 1_500_000
    for picture in pictures:
        assert picture.stat().st_size < 300_000, picture.name
        assert f"images/{picture.name}" in used, f"{picture.name} is on no page"


def known_options() -> set[str]:
    known = {"--help", "--version", "--check"}
    for path in (SOURCE / "cli").glob("*.py"):
        text = read(path)
        known |= set(re.findall(r'"(--[a-z-]+)"', text))
        known |= {f"--{name.replace('_', '-')}" for name in re.findall(r"^    (\w+): ", text, re.M)}
    return known


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent.name != "benchmarks"], ids=ids)
def test_settings_of_the_pages_are_known(page):
    """Options that a page writes exist in the program."""
    assert set(re.findall(r"`(--[a-z][a-z-]+)", read(page))) <= known_options()
