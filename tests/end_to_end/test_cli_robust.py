"""What the command does with values, places and options that make no sense."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from cordgap.cli import common
from cordgap.cli.common import PlanOptions
from cordgap.errors import OptionError
from cordgap.report import files, write

RING = Path(__file__).parents[2] / "plans" / "ring"


@pytest.fixture
def not_read(monkeypatch):
    """Fail where a plan is read: the error must come before."""

    def fail(*args, **kwargs):
        pytest.fail("the plan was read")

    monkeypatch.setattr(PlanOptions, "read", fail)


@pytest.fixture
def plan(build, tmp_path):
    return build.plan_folder(tmp_path / "plan")


# --- values ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rx = 0", "cordgap.toml: rx is 0, expected 0.01 to 200"),
        ("rx = -5.0", "cordgap.toml: rx is -5.0, expected 0.01 to 200"),
        ("rx = nan", "cordgap.toml: rx is nan, expected 0.01 to 200"),
        ("rx = inf", "cordgap.toml: rx is inf, expected 0.01 to 200"),
        ("rx = 1" + 400 * "0", "expected 0.01 to 200"),
        ("rx = 1" + 5000 * "0", "cordgap.toml: not valid TOML"),
        ("fractions = 0", "cordgap.toml: fractions is 0, expected 1 to 60"),
        ("fractions = 61", "cordgap.toml: fractions is 61, expected 1 to 60"),
        ("max_mm = 0", "cordgap.toml: max_mm is 0, expected 0.5 to 20"),
        ("max_mm = nan", "cordgap.toml: max_mm is nan, expected 0.5 to 20"),
        ("max_mm = 99", "cordgap.toml: max_mm is 99, expected 0.5 to 20"),
        (
            'method = "guess"',
            "cordgap.toml: method is 'guess', expected one of trim, plan-gradient, "
            "isodose-recession, population-falloff",
        ),
        ('method = ""', "cordgap.toml: method is blank"),
        ('reachable = ""', "cordgap.toml: reachable is blank"),
        ('cord = " "', "cordgap.toml: cord is blank"),
        ('level = "T7"', "cordgap.toml: level T7: expected NAME=FROM:TO"),
        ('level = "T7=-inf:8"', "cordgap.toml: level T7=-inf:8: expected finite numbers"),
        ('level = ["T7=1:2", "t7=2:3"]', "cordgap.toml: level: t7 is named twice"),
    ],
)
def test_values_of_the_settings_file(cordgap, not_read, tmp_path, text, message):
    (tmp_path / "cordgap.toml").write_text(text, encoding="utf-8")
    code, out, err = cordgap("analyze", tmp_path, "--json")
    assert code == 2
    assert message in err
    assert message in json.loads(out)["error"]["message"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rx", "nan"), "--rx is nan, expected 0.01 to 200"),
        (("--max-mm", "nan"), "--max-mm is nan, expected 0.5 to 20"),
        (("--reachable", ""), "--reachable is blank"),
        (("--cord", ""), "--cord is blank"),
        (("--level", "T7=nan:8"), "--level T7=nan:8: expected finite numbers"),
        (("--level", "T7=1:2", "--level", "T7=1:2"), "--level: T7 is named twice"),
    ],
)
@pytest.mark.parametrize("verb", ["analyze", "separation"])
def test_values_of_options(cordgap, not_read, tmp_path, verb, options, message):
    code, _, err = cordgap(verb, tmp_path, *options)
    assert code == 2
    assert message in err


def test_an_option_is_not_blamed_on_the_file(cordgap, not_read, tmp_path):
    (tmp_path / "cordgap.toml").write_text("rx = 24\nmax_mm = 0\n", encoding="utf-8")
    assert "error: --rx is nan" in cordgap("analyze", tmp_path, "--rx", "nan")[2]


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("rx = 0.01", "rx", 0.01),
        ("rx = 200", "rx", 200),
        ("fractions = 60", "fractions", 60),
        ("max_mm = 0.5", "max_mm", 0.5),
        ('method = "trim"', "method", "trim"),
    ],
)
def test_ends_of_the_ranges_are_in_them(tmp_path, text, key, value):
    (tmp_path / "cordgap.toml").write_text(text, encoding="utf-8")
    options = PlanOptions(path=tmp_path).filled_from_file()
    assert getattr(options, key) == value
    assert options.from_file == (key,)


def test_a_goal_given_twice_counts_once():
    options = PlanOptions(
        path=None,
        constraint=["D0.035cc[Gy]<=17", "D0.035cc[Gy] <= 17.0", "D1cc[Gy]<=10"],
        coverage=["D98%[%]>=95", "D98%[%]>=95"],
    )
    settings = options.settings(None)
    assert [str(g) for g in settings.constraints] == ["D0.035cc[Gy]<=17", "D1cc[Gy]<=10"]
    assert [str(g) for g in settings.coverage] == ["D98%[%]>=95"]


# --- JSON on stdout whatever happens ---


@pytest.mark.parametrize(
    "arguments",
    [
        ("analyze", RING, "--rx", "abc", "--json"),
        ("analyze", RING, "--json", "--nosuch"),
        ("analyze", RING, "--json", "--method", "foo"),
        ("analyze", RING, "--json", "--rx"),
        ("nosuch", "--json"),
    ],
)
def test_json_of_a_usage_error(cordgap, not_read, arguments):
    code, out, err = cordgap(*arguments)
    assert code == 2
    assert err
    document = json.loads(out)
    assert document["schema"] == "cordgap.error/1"
    assert document["exit_code"] == 2
    assert "command line cannot be read" in document["error"]["message"]


def test_usage_error_without_json(cordgap):
    code, out, err = cordgap("analyze", RING, "--nosuch")
    assert (code, out) == (2, "")
    assert "--nosuch" in err


def test_one_document_where_check_refuses(cordgap, tmp_path):
    code, out, _ = cordgap("check", tmp_path, "--json")
    assert code == 2
    assert json.loads(out)["schema"] == "cordgap.check/1"


def test_one_document_where_it_fails_after_the_output(cordgap, monkeypatch, plan):
    def fail(*args, **kwargs):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(common, "tell", fail)
    code, out, err = cordgap("dvh", plan, "--json")
    assert code == 2
    assert err == "cordgap: error: Input/output error\n"
    assert json.loads(out)["schema"] == "cordgap.dvh/1"


# --- places that cannot be written or read ---


def places(tmp_path):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    return {
        "a file": (tmp_path / "file", "is a file"),
        "in a file": (tmp_path / "file" / "deep" / "er", "is a file"),
        "a dead link": (tmp_path / "link", "is a link to nothing"),
        "too long": (tmp_path / ("x" * 300) / "y", "File name too long"),
        "no folder for files": (Path("/proc/nope"), "cannot be written"),
    }


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and links")
@pytest.mark.parametrize("verb", ["analyze", "demo"])
@pytest.mark.parametrize(
    "place", ["a file", "in a file", "a dead link", "too long", "no folder for files"]
)
def test_out_that_cannot_be(cordgap, not_read, tmp_path, verb, place):
    out, message = places(tmp_path)[place]
    before = sorted(tmp_path.iterdir())
    code, printed, err = cordgap(verb, RING if verb == "analyze" else "ring", "--out", out)
    assert (code, printed) == (2, "")
    assert message in err
    assert str(out) in err
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_looking_at_the_folder_leaves_no_trace(tmp_path):
    files.check_folder(tmp_path / "a" / "b")
    files.check_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def break_writing(monkeypatch, name):
    """Let the disk be full at one file."""
    real = Path.write_bytes

    def full(self, data):
        if name in self.name:
            real(self, data[:10])
            raise OSError(28, "No space left on device", str(self))
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)


def test_full_disk_leaves_nothing(cordgap, monkeypatch, plan, tmp_path):
    break_writing(monkeypatch, "report.pdf")
    code, out, err = cordgap("analyze", plan, "--out", tmp_path / "a" / "b", "--json")
    assert code == 2
    assert "cannot be written: No space left on device" in err
    assert json.loads(out)["error"]["type"] == "OptionError"
    assert not (tmp_path / "a").exists()


CONTENTS = {"a.txt": "new", "figures/b.svg": b"new"}


def test_full_disk_keeps_the_old_files(monkeypatch, tmp_path):
    (tmp_path / "a.txt").write_text("old", encoding="utf-8")
    break_writing(monkeypatch, "b.svg")
    with pytest.raises(OSError, match="No space left"):
        files.write_files(tmp_path, CONTENTS)
    assert [p.name for p in tmp_path.rglob("*")] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"


def test_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "figures" / "b.svg").mkdir(parents=True)
    with pytest.raises(OSError, match="is a folder"):
        files.write_files(tmp_path, CONTENTS)
    assert not (tmp_path / "a.txt").exists()


def test_files_are_written_and_replaced(tmp_path):
    (tmp_path / "a.txt").write_text("old", encoding="utf-8")
    written = files.write_files(tmp_path, CONTENTS)
    assert written == [tmp_path / "a.txt", tmp_path / "figures" / "b.svg"]
    assert [p.read_bytes() for p in written] == [b"new", b"new"]
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 2


def test_write_all_says_why(monkeypatch, tmp_path):
    def fail(folder, contents):
        raise PermissionError(13, "Permission denied", str(folder))

    for name in ("analysis_document", "document_pdf", "page_html", "draw_figure"):
        monkeypatch.setattr(write, name, lambda *args, **kwargs: {})
    monkeypatch.setattr(write, "to_json", lambda document: "")
    monkeypatch.setattr(write, "csv_texts", lambda document: {})
    monkeypatch.setattr(write, "figure_bytes", lambda figure, kind: b"")
    monkeypatch.setattr(write, "write_files", fail)
    with pytest.raises(OptionError, match="cannot be written: Permission denied"):
        write.write_all(None, tmp_path)


def test_file_that_vanished(cordgap, monkeypatch):
    def vanish(self, **kwargs):
        raise FileNotFoundError(2, "No such file or directory", "gone.dcm")

    monkeypatch.setattr(PlanOptions, "read", vanish)
    code, out, err = cordgap("analyze", RING, "--json")
    assert code == 2
    assert err == "cordgap: error: gone.dcm: No such file or directory\n"
    document = json.loads(out)
    assert document["error"]["type"] == "FileNotFoundError"
    assert "gone.dcm" in document["error"]["message"]


# --- separation tells the same doubts as analyze ---


def test_separation_reviews_the_case(cordgap, tmp_path):
    shutil.copytree(RING, tmp_path / "plan")
    arguments = (tmp_path / "plan", "--rx", 100, "--fractions", 5, "--json")
    _, out, err = cordgap("separation", *arguments)
    codes = {f["code"] for f in json.loads(out)["warnings"]}
    assert "dose-maximum-implausible" in codes
    assert re.search(r"the dose maximum is .* Gy, below the prescription of 100 Gy", err)
