"""The list of results: what it reads, what it shows, and what it never gives out."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from cordgap.analysis import CaseResult
from cordgap.errors import OptionError
from cordgap.report.listing import results_document
from cordgap.report.schema import load_schema
from cordgap.report.server import HOST, file_at, list_html, make_server
from cordgap.report.tables import analysis_document, to_json

SECRET = "not for anybody"


@pytest.fixture(scope="module")
def folder(results: dict[str, CaseResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results: two plans, hostile names, a broken one, and files that are none."""
    root = tmp_path_factory.mktemp("board")
    shelf = root / "results"
    for place, name in (("a", "cord-first"), ("b/c", "coverage-first"), ("<b>&d", "odd names")):
        (shelf / place / "figures").mkdir(parents=True)
        text = to_json(analysis_document(results[name], identify=name == "odd names"))
        (shelf / place / "result.json").write_text(text, encoding="utf-8")
        (shelf / place / "report.html").write_text(f"page of {name}", encoding="utf-8")
        (shelf / place / "figures" / "map.svg").write_text("<svg/>", encoding="utf-8")
        (shelf / place / "mesh").mkdir()
        (shelf / place / "dicom").mkdir()
        (shelf / place / "mesh" / "cord.stl").write_bytes(b"solid")
        (shelf / place / "dicom" / "structures.dcm").write_bytes(b"DICM")
        (shelf / place / "dicom" / "key.pem").write_text(SECRET, encoding="utf-8")
        (shelf / place / "key.pem").write_text(SECRET, encoding="utf-8")
    (shelf / "broken").mkdir()
    (shelf / "broken" / "result.json").write_text('{"schema": 1}', encoding="utf-8")
    (shelf / "other").mkdir()
    (shelf / "other" / "report.html").write_text(SECRET, encoding="utf-8")
    (root / "report.html").write_text(SECRET, encoding="utf-8")
    (root / "result.json").write_text(SECRET, encoding="utf-8")
    (shelf / "a" / "link.html").symlink_to(root / "report.html")
    return shelf


def test_document_holds_the_numbers_of_each_result(
    folder: Path, results: dict[str, CaseResult]
) -> None:
    document = json.loads(to_json(results_document(folder)))
    jsonschema.Draft202012Validator(load_schema("results")).validate(document)
    rows = {row["folder"]: row for row in document["results"]}
    assert set(rows) == {"a", "b/c", "<b>&d", "broken"}
    separation = analysis_document(results["cord-first"])["separation"]
    for key in ("make_mm", "required_separation_mm", "interval_mm", "separation_mm"):
        assert rows["a"][key] == separation[key]
    assert (rows["a"]["verdict"], rows["b/c"]["verdict"]) == ("exceeded", "exceeded")
    assert rows["a"]["patient_name"] is None
    assert rows["broken"]["verdict"] == "not readable"
    assert rows["broken"]["reason"] == "result.json is not a result of cordgap analyze"
    inner = ["mesh/cord.stl", "dicom/structures.dcm"]
    assert rows["a"]["files"] == ["report.html", "result.json", *inner]


def test_page_lists_names_as_text(folder: Path) -> None:
    page = list_html(folder)
    assert "<b>&d" not in page
    assert "&lt;b&gt;&amp;d" in page
    assert 'href="/%3Cb%3E%26d/report.html"' in page
    assert 'href="/%3Cb%3E%26d/dicom/structures.dcm"' in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


@pytest.mark.parametrize(
    "path",
    [
        "/../report.html", "/%2e%2e/report.html", "/a/../../report.html", "/a/key.pem",
        "/a/dicom/key.pem",
        "/a/link.html", "/other/report.html", "/etc/passwd", "//etc/passwd", "/a", "/a/",
        "/a/figures/../../../report.html", "/a/%00", "/a/nothing.html",
    ],
)  # fmt: skip
def test_nothing_else_is_given_out(folder: Path, path: str) -> None:
    assert file_at(folder, path) is None


def test_files_of_results_are_given_out(folder: Path) -> None:
    assert file_at(folder, "/a/report.html") == (folder / "a" / "report.html").resolve()
    assert file_at(folder, "/b/c/figures/map.svg") is not None
    assert file_at(folder, "/b/c/mesh/cord.stl") is not None
    assert file_at(folder, "/b/c/dicom/structures.dcm") is not None
    assert file_at(folder, "/%3Cb%3E%26d/report.html") is not None


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    server = make_server(folder, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def ask(port: int, method: str, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def test_server_answers_reading_alone(port: int) -> None:
    status, body, headers = ask(port, "GET", "/")
    assert status == 200
    assert b"4 results" in body
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert ask(port, "GET", "/a/report.html")[1] == b"page of cord-first"
    assert ask(port, "HEAD", "/a/report.html")[:2] == (200, b"")
    assert ask(port, "GET", "/../report.html")[0] == 404
    for method in ("POST", "PUT", "DELETE"):
        assert ask(port, method, "/a/report.html")[0] == 501


def test_server_answers_to_its_own_name_alone(port: int) -> None:
    status, body, _ = ask(port, "GET", "/a/result.json", Host="evil.example")
    assert status == 403
    assert b"GTV" not in body
    assert ask(port, "GET", "/", Host=f"localhost:{port}")[0] == 200


def test_refusals(folder: Path, port: int) -> None:
    with pytest.raises(OptionError, match="nowhere is not a folder"):
        results_document(folder / "nowhere")
    with pytest.raises(OptionError, match="--port"):
        make_server(folder, port)
    with pytest.raises(OptionError, match="out of range"):
        make_server(folder, 70_000)
