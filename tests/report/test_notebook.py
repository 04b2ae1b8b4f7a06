"""What a notebook shows, and the notebook of the documentation."""

from __future__ import annotations

import ast
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cordgap.analysis import CaseResult

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "example.ipynb"


@pytest.fixture(scope="module")
def shown() -> list[tuple[dict, object]]:
    """Run the code cells of the notebook one after the other; return cells and last values."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    found = []
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        for cell in cells:
            if cell["cell_type"] == "code":
                *lines, last = _split("".join(cell["source"]))
                exec("\n".join(lines), names)
                found.append((cell, eval(last, names)))
    finally:
        os.chdir(before)
    return found


def _split(source: str) -> list[str]:
    """Statements of a cell; the last is an expression."""
    tree = ast.parse(source)
    assert isinstance(tree.body[-1], ast.Expr)
    return [ast.unparse(statement) for statement in tree.body]


def test_the_notebook_runs_and_says_what_it_shows(shown):
    assert len(shown) >= 5
    for cell, value in shown:
        (output,) = cell["outputs"]
        assert output["output_type"] == "execute_result"
        printed = "".join(output["data"]["text/plain"])
        if isinstance(value, tuple | list | dict):
            # Layout apart: numbers and names are those of today.
            assert "".join(printed.split()) == "".join(repr(value).split())
        if hasattr(value, "_repr_png_"):
            assert value._repr_png_().startswith(b"\x89PNG")
            assert "image/png" in output["data"]


def test_a_result_shows_itself(shown):
    result = shown[0][1]
    assert isinstance(result, CaseResult)
    html = result._repr_html_()
    assert "data:image/png;base64," in html
    assert "Make 2.5 mm between tumour and cord" in html
    assert "LEVEL NOT IDENTIFIED" in html
    assert "does not decide whether to operate" in html
    assert html.count("<img ") == 2
    assert "<script" not in html
    assert len(repr(result)) < 200


def test_names_are_text(shown):
    result = shown[0][1]
    rows = tuple(replace(c, roi_name="<img src=x onerror=alert(1)>") for c in result.constraints)
    html = replace(result, constraints=rows)._repr_html_()
    assert "&lt;img src=x" in html
    assert "<img src=x" not in html
