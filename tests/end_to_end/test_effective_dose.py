"""A dose weighted for biological effect is named as such wherever a number of it is shown."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from cordgap.cli.main import VERBS, build_app

ROOT = Path(__file__).parents[2]
WORDS = "EFFECTIVE dose (weighted for biological effect), not absorbed dose"


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A demo plan without CT, its dose declared EFFECTIVE."""
    folder = tmp_path_factory.mktemp("effective")
    for name in ("0050.dcm", "0051.dcm", "0052.dcm"):
        shutil.copy(ROOT / "plans" / "coverage-first" / name, folder)
    ds = pydicom.dcmread(folder / "0052.dcm")
    ds.DoseType = "EFFECTIVE"
    ds.save_as(folder / "0052.dcm")
    return folder


def run(*words):
    result = CliRunner().invoke(build_app(), [str(w) for w in words])
    assert result.exit_code in (0, 1), result.output
    return result.stdout


@pytest.mark.parametrize("verb", ["analyze", "separation", "dvh"])
def test_text(plan, verb):
    assert verb in VERBS
    assert WORDS in run(verb, plan)


def test_check(plan):
    assert "EFFECTIVE" in run("check", plan)


@pytest.mark.parametrize("verb", ["separation", "dvh"])
def test_json(plan, verb):
    assert json.loads(run(verb, plan, "--json"))["dose_type"] == "EFFECTIVE"


def test_report(plan, tmp_path):
    out = tmp_path / "report"
    run("analyze", plan, "--out", out)
    assert json.loads((out / "result.json").read_text("utf-8"))["case"]["dose_type"] == "EFFECTIVE"
    assert WORDS in (out / "report.html").read_text("utf-8")
    sheets = sorted(out.rglob("*.csv"))
    assert len(sheets) >= 4
    for sheet in sheets:
        head, *rows = sheet.read_text("utf-8").splitlines()
        assert head.endswith(",dose_type")
        assert all(row.endswith(",EFFECTIVE") for row in rows)
    if shutil.which("pdftotext"):
        done = subprocess.run(
            ["pdftotext", str(out / "report.pdf"), "-"], capture_output=True, check=True, text=True
        )
        assert "EFFECTIVE dose" in done.stdout


def test_figures(plan):
    from cordgap.analysis import analyze
    from cordgap.dicom import read_case
    from cordgap.report.figures import draw_figure

    figure = draw_figure("dvh", analyze(read_case(plan)))
    assert "EFFECTIVE dose, not absorbed dose" in figure.get_supxlabel()


def test_curves(plan, tmp_path):
    file = tmp_path / "curves.csv"
    run("dvh", plan, "--csv", file)
    head, *rows = file.read_text("utf-8").splitlines()
    assert head.endswith(",dose_type")
    assert rows
    assert all(row.endswith(",EFFECTIVE") for row in rows)
