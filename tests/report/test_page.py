from __future__ import annotations

import ast
import io
import re
import shutil
import subprocess
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html import unescape
from pathlib import Path

import pytest
from PIL import Image

from cordgap.analysis import CaseResult
from cordgap.errors import SAFETY_SENTENCES, OptionError
from cordgap.report.document import document_pdf
from cordgap.report.files import write_file
from cordgap.report.numbers import shown
from cordgap.report.page import page_html
from cordgap.report.scenario_words import escc_words
from cordgap.report.sentence import LEVEL_NOT_IDENTIFIED, answer_sentence, highest_words
from cordgap.report.sheet import UNKNOWN, goal_line, read_extras, volume_rows
from cordgap.report.tables import analysis_document
from cordgap.report.write import write_all

ROOT = Path(__file__).parents[2]
PLOTLY = ROOT / "src/cordgap/report/templates/vendor/plotly-cartesian.min.js"
MOST_BYTES = 8_000_000
TAG = re.compile(r"</?(?:div|p|span|table|t[drh]|html|body|img|a|ul|li|h[1-6]|b|br|svg)\b[^<]*>")
CASES = (
    "coverage-first",
    "cord-first",
    "ring",
    "no dose",
    "no prescription",
    "no target",
    "not reachable",
)


@pytest.fixture(scope="module")
def pdfs(results: dict[str, CaseResult]) -> dict[str, bytes]:
    return {name: document_pdf(results[name]) for name in (*CASES, "odd names", "scenarios")}


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
    page = pages[name]
    # plotly's own text holds addresses in comments; the browser test sees that it asks for none.
    own = page.replace(PLOTLY.read_text(encoding="utf-8"), "")
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", own)
    assert set(re.findall(r'src="([^,"]*)', own)) == {"data:image/svg+xml;base64"}
    assert len(page.encode("utf-8")) < MOST_BYTES


@pytest.mark.parametrize("name", [*CASES, "odd names"])
def test_only_the_scripts_of_the_page_run(pages: dict[str, str], name: str) -> None:
    page = pages[name]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = unescape(policy[1])
    assert rules.startswith("default-src 'none'; ")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    if not scripts:
        assert "script-src 'none'" in rules
        return
    hashes = [b64encode(sha256(s.encode("utf-8")).digest()).decode("ascii") for s in scripts]
    allowed = re.search(r"script-src ([^;]*)$", rules)
    assert allowed is not None
    assert allowed[1].split() == [f"'sha256-{h}'" for h in hashes]


def test_no_html_in_python() -> None:
    """Templates hold the page; Python fills them."""
    for file in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
        tags = [t for t in texts if isinstance(t, str) and TAG.search(t)]
        assert tags == [], file.name


def test_page_escapes_names(pages: dict[str, str]) -> None:
    page = pages["odd names"]
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "脊髄" in page


def test_page_holds_identity_only_if_asked(
    results: dict[str, CaseResult], pages: dict[str, str]
) -> None:
    assert "Doe^Jane" not in pages["odd names"]
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


def test_pdf_is_the_same_twice(result: CaseResult, pdfs: dict[str, bytes]) -> None:
    assert document_pdf(result) == pdfs["cord-first"]


@pytest.mark.parametrize("name", [*CASES, "odd names"])
def test_pdf_has_its_fonts_and_no_date(pdfs: dict[str, bytes], name: str) -> None:
    data = pdfs[name]
    assert data.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type /Page\b", data)) <= 5
    assert b"/FontFile2" in data
    assert b"CreationDate" not in data


def text_of(data: bytes, folder: Path) -> list[str]:
    """Text of each page of a PDF."""
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed")
    path = write_file(folder / "report.pdf", data)
    done = subprocess.run(["pdftotext", str(path), "-"], capture_output=True, check=True)
    return [" ".join(page.split()) for page in done.stdout.decode("utf-8").split("\f")[:-1]]


@pytest.mark.parametrize(
    "name", ["coverage-first", "cord-first", "ring", "no dose", "not reachable"]
)
def test_pdf_text(
    results: dict[str, CaseResult], pdfs: dict[str, bytes], name: str, tmp_path: Path
) -> None:
    result = results[name]
    pages = text_of(pdfs[name], tmp_path)
    sheet, text = pages[0], " ".join(pages)
    assert answer_sentence(result)[:30] in sheet
    assert "Patient:" in sheet
    assert "Date of birth:" in sheet
    assert goal_line(result)[:30] in sheet
    assert all(line in sheet for line in UNKNOWN)
    assert all(sentence in page for page in pages for sentence in SAFETY_SENTENCES)
    assert LEVEL_NOT_IDENTIFIED in sheet
    assert f"page {len(pages)} of {len(pages)}" in pages[-1]
    s = result.separation
    assert s is not None
    assert all(x.name in sheet for x in s.sextants)
    for row in volume_rows(s):
        assert row.words in sheet
        assert shown(row.all_cc, 2) in sheet
    assert "Highest dose [Gy] that an achieved separation allows" in text
    assert all(highest_words(x) in text for x in s.highest_doses)
    assert "What each method says" in text
    assert all(m.method in text for m in s.methods)
    for word in ("Constraints", "Integrity", "Method, inputs and versions", "Dose and volume"):
        assert word in text
    # The sheet has one side; what follows holds everything.
    assert "more: see report.html" not in " ".join(pages[1:])


def test_pdf_holds_notes_logo_and_metadata(
    result: CaseResult, pdfs: dict[str, bytes], tmp_path: Path
) -> None:
    logo = tmp_path / "logo.png"
    Image.new("RGB", (300, 90), "#0072B2").save(logo)
    extras = read_extras("First line\n" + "a note that wraps " * 300, logo, ["Plan=A1", "Ward = 3"])
    assert extras is not None
    data = document_pdf(result, extras=extras)
    pages = text_of(data, tmp_path)
    text = " ".join(pages)
    assert "First line" in text
    assert text.count("a note that wraps") + text.count("a note that") >= 300
    assert "Plan A1" in text
    assert "Ward 3" in text
    assert data.count(b"/Subtype /Image") > pdfs["cord-first"].count(b"/Subtype /Image")


def test_pdf_identity_is_printed_only_if_asked(
    results: dict[str, CaseResult], tmp_path: Path
) -> None:
    identity = {"patient_name": "Doe^Jane", "patient_id": "PID77", "birth_date": "19600203"}
    result = results["cord-first"]
    known = replace(result, case=replace(result.case, identity=identity))
    without = document_pdf(known)
    sheet = text_of(document_pdf(known, identify=True), tmp_path)[0]
    assert all(value in sheet for value in identity.values())
    assert not any(v in text for v in identity.values() for text in text_of(without, tmp_path))


@pytest.mark.parametrize(
    ("notes", "logo", "metadata", "message"),
    [
        (None, b"not a picture", [], "--logo logo.png cannot be read: not a PNG or JPEG"),
        (None, None, ["Plan"], "--metadata 'Plan': write KEY=VALUE"),
        (None, None, ["a=1", "a=2"], "each KEY once"),
        (None, b"GIF89a" + bytes(20), [], "not a PNG or JPEG"),
    ],
)
def test_extras_that_cannot_be_used(
    tmp_path: Path, notes: str | None, logo: bytes | None, metadata: list[str], message: str
) -> None:
    path = tmp_path / "logo.png"
    if logo is not None:
        path.write_bytes(logo)
    with pytest.raises(OptionError, match=re.escape(message)):
        read_extras(notes, None if logo is None else path, metadata)


def test_a_logo_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    path = write_file(tmp_path / "logo.png", buffer.getvalue())
    with pytest.raises(OptionError, match="pixels"):
        read_extras(None, path, [])


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


def test_delivery_uncertainty_on_page_and_pdf(
    results: dict[str, CaseResult], pages: dict[str, str], pdfs: dict[str, bytes], tmp_path: Path
) -> None:
    """It stands where scenarios were asked for, and nowhere else."""
    found = results["scenarios"].scenarios
    assert found is not None
    text = unescape(re.sub(r"<[^>]+>", " ", pages["scenarios"]))
    printed = " ".join(text_of(pdfs["scenarios"], tmp_path))
    for row in found.rows:
        assert row.required_separation_mm is not None
        words = f"{shown(row.required_separation_mm)} mm"
        assert re.search(rf"{100 * row.probability:.0f} %\s+{words[:-3]}\s", text)
        assert f"{100 * row.probability:.0f} % keep it with {words}" in printed
    for part in found.model.parts:
        assert part.source in text
    assert "delivery uncertainty" not in pages["ring"].lower()
    assert "Delivery uncertainty" not in " ".join(text_of(pdfs["ring"], tmp_path))


@pytest.mark.parametrize("name", ["ring", "coverage-first", "no dose"])
def test_the_epidural_grade_stands_on_page_and_pdf(
    results: dict[str, CaseResult],
    pages: dict[str, str],
    pdfs: dict[str, bytes],
    tmp_path: Path,
    name: str,
) -> None:
    words = escc_words(results[name].escc)
    assert words in unescape(pages[name])
    assert words in " ".join(text_of(pdfs[name], tmp_path))
