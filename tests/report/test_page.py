from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from cordgap.analysis import CaseResult
from cordgap.errors import SAFETY_SENTENCES
from cordgap.report.document import document_pdf
from cordgap.report.files import write_file
from cordgap.report.page import page_html
from cordgap.report.sentence import LEVEL_NOT_IDENTIFIED, answer_sentence, highest_words
from cordgap.report.tables import analysis_document
from cordgap.report.write import write_all

CASES = ("coverage-first", "cord-first", "ring", "no dose", "no prescription", "no target")


@pytest.fixture(scope="module")
def pages(results: dict[str, CaseResult]) -> dict[str, str]:
    return {name: page_html(results[name]) for name in (*CASES, "odd names")}


@pytest.mark.parametrize("name", CASES)
def test_page_holds_answer_safety_and_level(
    results: dict[str, CaseResult], pages: dict[str, str], name: str
) -> None:
    text = unescape(pages[name])
    assert answer_sentence(results[name]) in text
    assert all(sentence in text for sentence in SAFETY_SENTENCES)
    assert LEVEL_NOT_IDENTIFIED in text


@pytest.mark.parametrize("name", [*CASES, "odd names"])
def test_page_asks_nobody_for_anything(pages: dict[str, str], name: str) -> None:
    assert "<script" not in pages[name]
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", pages[name])
    assert set(re.findall(r'src="([^,"]*)', pages[name])) == {"data:image/svg+xml;base64"}


def test_page_escapes_names(pages: dict[str, str]) -> None:
    page = pages["odd names"]
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "脊髄" in page


def test_page_holds_identity_only_if_asked(
    results: dict[str, CaseResult], pages: dict[str, str]
) -> None:
    assert "Doe" not in pages["odd names"]
    assert "Doe^Jane" in page_html(results["odd names"], identify=True)


def test_page_prints_the_numbers_of_the_json(result: CaseResult, pages: dict[str, str]) -> None:
    document = analysis_document(result)
    page = unescape(re.sub(r"<[^>]+>", " ", pages["cord-first"]))
    row = document["constraints"][0]
    assert f"{row['value']:.2f} Gy" in page
    assert f"{row['cord_plus_margin']['value']:.2f} Gy" in page
    assert row["source"] in page
    for goal in document["separation"]["coverage_goals"]:
        assert f"{goal['value']:.1f}" in page
    for sextant in document["separation"]["sextants"]:
        assert f"{sextant['gap_mm']:.1f}" in page
        assert f"{sextant['resection_cc']:.2f}" in page
    s = result.separation
    assert s is not None
    assert all(highest_words(x) in page for x in s.highest_doses)
    for structure in document["dvh"]["structures"]:
        assert f"{structure['mean_gy']:.2f}" in page
    assert document["case"]["inputs"]["rtdose"][0]["sop_instance_uid"] in page
    assert document["case"]["inputs"]["rtdose"][0]["sha256"] in page


def test_pdf_is_the_same_twice(result: CaseResult) -> None:
    assert document_pdf(result) == document_pdf(result)


@pytest.mark.parametrize("name", [*CASES, "odd names"])
def test_pdf_has_three_pages(results: dict[str, CaseResult], name: str) -> None:
    data = document_pdf(results[name])
    assert data.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", data)) == 3
    assert b"/FontFile2" in data
    assert b"CreationDate" not in data


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext is not installed")
@pytest.mark.parametrize("name", ["coverage-first", "cord-first", "ring", "no dose"])
def test_pdf_text(results: dict[str, CaseResult], name: str, tmp_path: Path) -> None:
    path = write_file(tmp_path / "report.pdf", document_pdf(results[name]))
    done = subprocess.run(["pdftotext", str(path), "-"], capture_output=True, check=True)
    text = " ".join(done.stdout.decode("utf-8").split())
    assert answer_sentence(results[name])[:30] in text
    assert all(sentence in text for sentence in SAFETY_SENTENCES)
    assert LEVEL_NOT_IDENTIFIED in text
    assert "page 3 of 3" in text
    s = results[name].separation
    assert s is not None
    assert all(x.name in text for x in s.sextants)
    assert "Highest dose [Gy] that an achieved separation allows" in text
    assert all(highest_words(x) in text for x in s.highest_doses)
    assert "and 1 more" not in text.partition("page 2 of 3")[0]


def test_write_all(result: CaseResult, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    paths = write_all(result, folder)
    assert [p for p in folder.rglob("*") if p.is_file() and p not in paths] == []
    assert all(p.stat().st_size > 0 for p in paths)
    assert {p.name for p in paths} >= {
        "result.json", "report.html", "report.pdf", "dvh.csv", "axial.png", "map.svg",
    }  # fmt: skip
    first = {p: p.read_bytes() for p in paths}
    assert {p: p.read_bytes() for p in write_all(result, folder)} == first


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(tmp_path / "a.txt", "old\r\n")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_file(path, "new")
    assert path.read_bytes() == b"old\r\n"
    assert list(tmp_path.iterdir()) == [path]
