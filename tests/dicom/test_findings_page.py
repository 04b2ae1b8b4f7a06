"""Every finding and every refusal is documented."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import cordgap

ROOT = Path(__file__).parents[2]
# Made of a word and an ending; the page lists the whole codes.
_ENDINGS = {"-missing", "-outside-dose-grid", "structure-"}


def codes_in(tree: ast.AST) -> set[str]:
    """Strings that are the code of a finding, of an error, or the code of an error class."""
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if getattr(node.func, "id", "") == "Finding" and node.args:
                found.append(node.args[0])
            found += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        if isinstance(node, ast.Assign) and node.targets[0].__dict__.get("id") == "default_code":
            found.append(node.value)
    return {
        n.value
        for part in found
        for n in ast.walk(part)
        if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }


def test_every_code_is_on_the_page():
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    documented = {
        code
        for row in re.findall(r"^\| (`[^|]+) \|", page, re.M)
        for code in re.findall(r"`([a-z0-9-]+)`", row)
    }
    used: set[str] = set()
    for path in Path(cordgap.__file__).parent.rglob("*.py"):
        used |= codes_in(ast.parse(path.read_text(encoding="utf-8")))
    assert len(used) > 100
    assert used - _ENDINGS <= documented
