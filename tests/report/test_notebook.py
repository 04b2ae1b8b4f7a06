"""What a notebook shows, and the notebook of the documentation."""

from __future__ import annotations

import ast
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cordgap.analysis import CaseResult
from cordgap.comparison import compare_cases
from cordgap.errors import Finding
from cordgap.phantom import spine_case
from cordgap.report.numbers import shown as as_read
from cordgap.report.tables import analysis_document

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


NASTY = "<img src=x onerror=alert(1)>"


def _shown_numbers(html: str) -> set[str]:
    return set(re.findall(r"(?<![\w.])\d+\.\d+", re.sub(r"<[^>]*>", " ", html)))


def _written_numbers(value: object) -> set[str]:
    """Every number of a document with no, one and two digits, as people read it."""
    if isinstance(value, dict):
        return set().union(*(_written_numbers(v) for v in value.values()))
    if isinstance(value, list):
        return set().union(*(_written_numbers(v) for v in value))
    if isinstance(value, str):
        return set(re.findall(r"\d+\.\d+", value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {f"{value:g}", *(as_read(value, digits) for digits in (1, 2))}
    return set()


def test_parts_of_a_result_show_themselves(shown_result):
    document = analysis_document(shown_result)
    known = _written_numbers({k: v for k, v in document.items() if k != "dvh"})
    known |= _written_numbers(
        [{k: v for k, v in s.items() if k != "dvh"} for s in document["dvh"]["structures"]]
    )
    html = shown_result.separation._repr_html_()
    assert "2.5 mm" in html
    assert "left anterolateral" in html
    assert html.count("<table>") == 4
    parts = [html]
    parts += [row._repr_html_() for row in shown_result.constraints]
    parts += [s._repr_html_() for s in shown_result.structures]
    for part in parts:
        assert "does not decide whether to operate" in part
        assert "<script" not in part
        assert _shown_numbers(part) <= known
    assert any("D0.035cc[Gy]" in part and "hytec_cord_2" in part for part in parts)


def test_parts_without_an_answer_say_why(shown_result):
    s = replace(
        shown_result.separation,
        required_separation_mm=None,
        interval_mm=None,
        make_mm=None,
        resection_cc=None,
        status="not evaluable",
        reason="the dose is unknown",
        findings=(Finding("coarse-dose-grid", NASTY),),
    )
    html = s._repr_html_()
    assert "not evaluable: the dose is unknown" in html
    assert "&lt;img src=x" in html


def test_names_in_parts_are_text(shown_result):
    s = shown_result.separation
    named = replace(s.cord_goals[0], roi_name=NASTY)
    structure = replace(
        shown_result.structures[0],
        structure=replace(shown_result.structures[0].structure, roi_name=NASTY),
    )
    pages = (
        replace(s, target_roi_name=NASTY, cord_roi_name=NASTY, cord_goals=(named,)),
        replace(shown_result.constraints[0], roi_name=NASTY, source=NASTY, reason=NASTY),
        structure,
    )
    for value in pages:
        html = value._repr_html_()
        assert "&lt;img src=x" in html
        assert "<img" not in html


def test_a_comparison_shows_itself():
    case = spine_case(image=False)
    html = compare_cases(case, case)._repr_html_()
    assert "0.0 mm achieved" in html
    assert "by sextant: before, now, achieved (mm)" in html
    assert "<script" not in html


@pytest.fixture(scope="module")
def shown_result(shown) -> CaseResult:
    result = shown[0][1]
    assert isinstance(result, CaseResult)
    return result
