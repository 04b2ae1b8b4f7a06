"""The house rules that a parser can check: imports, length of files, docstrings and types."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "cordgap"
# In the order in which a plan flows: a room imports from the rooms before it and from itself.
ROOMS = (
    "errors", "case", "phantom", "dicom", "dvh", "limits", "separation", "analysis", "comparison",
    "check",
    "report", "export", "selftest", "network", "batch", "cli",
)  # fmt: skip
ANYONE = {"_version"}
ONLY_IN = {
    "pydicom": {"dicom", "export", "network"},
    "pynetdicom": {"network"},
    "dicomweb_client": {"network"},
    "matplotlib": {"report"},
    "mpl_toolkits": {"report"},
    "jinja2": {"report"},
    "typer": {"cli"},
    "rich": {"cli"},
    "dicompylercore": {"check"},
    "contourpy": {"separation", "report"},
    "skimage": {"export"},
    "trimesh": {"export"},
    "duckdb": {"batch"},
    "distributed": {"batch"},
    "dask": {"batch"},
    "psutil": {"batch"},
}
# Start-up must not pay for these: they are imported where they are used.
LATE = (
    "matplotlib", "mpl_toolkits", "jinja2", "scipy", "shapely", "dicompylercore", "numba",
    "contourpy", "skimage", "trimesh", "duckdb", "distributed", "dask", "psutil",
)  # fmt: skip
LONGEST = 500
FILES = sorted(SOURCE.rglob("*.py"))


def name_of(file: Path) -> str:
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@cache
def imports(file: Path, *, within_functions: bool = True, types: bool = False) -> frozenset[str]:
    """Modules that a file imports; imports for the type checker alone only where asked for."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if not types and is_type_checking(node):
            return
        if not within_functions and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: imports are absolute"
            assert node.module is not None
            # "from cordgap.cli import common" imports the module cordgap.cli.common.
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree_of(file))
    return frozenset(found)


MODULES = {name_of(file) for file in FILES}


def test_there_is_something_to_check():
    assert len(FILES) > 40
    assert {"cordgap.dvh.solid", "cordgap.cli.main"} <= MODULES


def test_every_room_has_a_place():
    rooms = {room_of(module) for module in MODULES} - {None} - ANYONE
    assert rooms <= set(ROOMS)


def ids(file: Path) -> str:
    return str(file.relative_to(SOURCE))


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_imports_go_one_way(file):
    room = room_of(name_of(file))
    if room is None:  # the front door may lead anywhere
        return
    allowed = ANYONE if room in ANYONE else {*ANYONE, *ROOMS[: ROOMS.index(room) + 1]}
    inner = {m for m in imports(file, types=True) if m.split(".")[0] == "cordgap"}
    wrong = {m for m in inner if room_of(m) not in allowed}
    # The package itself is its front door: nothing inside may go through it.
    assert not wrong, f"{ids(file)} imports {sorted(wrong)}"


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_outside_packages_stay_in_their_rooms(file):
    room = room_of(name_of(file))
    for module in imports(file, types=True):
        top = module.split(".")[0]
        assert top not in ONLY_IN or room in ONLY_IN[top], f"{ids(file)} imports {module}"


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_slow_packages_are_imported_where_they_are_used(file):
    early = {m.split(".")[0] for m in imports(file, within_functions=False)}
    assert not early & set(LATE), f"{ids(file)} imports {sorted(early & set(LATE))} at the top"


def test_no_cycles():
    graph = {name_of(f): imports(f, types=True) & MODULES for f in FILES}
    graph["cordgap"] = frozenset()  # the front door imports what it hands out, late
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module in done:
            return
        for other in sorted(graph[module] - {module}):
            walk(other, (*path, module))
        done.add(module)

    for module in sorted(graph):
        walk(module, ())


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_files_are_short(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST


# What the docstring of a longer file says: why it is one file.
REASON = re.compile(r"\b[Ll]onger than\b.*\b(because|on purpose|so that)\b", re.S)
BESIDE = sorted(
    path
    for folder in ("tests", "benchmarks", "docs/site")
    for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("file", BESIDE, ids=lambda p: str(p.relative_to(ROOT)))
def test_long_files_say_why(file):
    text = file.read_text(encoding="utf-8")
    if len(text.splitlines()) > LONGEST:
        assert REASON.search(ast.get_docstring(ast.parse(text)) or ""), "no reason in its docstring"


def public_definitions(file: Path) -> list[tuple[str, ast.AST]]:
    """Functions, classes and methods of a file that others may use, by their names."""
    found: list[tuple[str, ast.AST]] = []

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if node.name.startswith("_"):
                continue
            # The variants of an overload have their text at the one that is carried out.
            if not any("overload" in ast.unparse(d) for d in node.decorator_list):
                found.append((f"{prefix}{node.name}", node))
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.")

    visit(tree_of(file).body, "")
    return found


def untyped(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """What of a function has no type: its arguments, and what it returns."""
    given = node.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    missing = [a.arg for a in every if a and a.annotation is None and a.arg not in ("self", "cls")]
    return missing + ([] if node.returns else ["what it returns"])


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_public_names_are_described_and_typed(file):
    assert ast.get_docstring(tree_of(file)), "the file itself"
    for name, node in public_definitions(file):
        assert ast.get_docstring(node), f"{ids(file)}: {name} has no docstring"
        if not isinstance(node, ast.ClassDef):
            assert not untyped(node), f"{ids(file)}: {name} has no type for {untyped(node)}"


def test_the_eye_for_names_sees():
    assert sum(len(public_definitions(file)) for file in FILES) > 400
    bare = ast.parse("def f(a, b: int): ...").body[0]
    assert untyped(bare) == ["a", "what it returns"]
