"""Every finding of the reader is documented."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import cordgap.case.structure
import cordgap.dicom

ROOT = Path(__file__).parents[2]


def test_every_code_is_on_the_page():
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([a-z-]+)`", page, re.M))
    folder = Path(cordgap.dicom.__file__).parent
    used = set()
    for path in (*folder.glob("*.py"), Path(cordgap.case.structure.__file__)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                used |= {
                    n.value
                    for n in ast.walk(node.args[0])
                    if isinstance(n, ast.Constant) and isinstance(n.value, str)
                }
    assert used
    assert used <= documented
