"""The command as people use it: exit codes, JSON, messages for bad input, the demo plans."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from tests.end_to_end.conftest import regular

PLANS = Path(__file__).parents[2] / "plans"
NAMES = ("coverage-first", "cord-first", "ring")
VERBS = (
    "analyze", "dvh", "separation", "compare", "check", "protocols", "scenarios", "learn-falloff",
    "batch", "query",
    "demo", "schema", "selftest",
)  # fmt: skip
COMMAND = Path(sys.executable).parent / ("cordgap.exe" if os.name == "nt" else "cordgap")


def process(*arguments, cwd=None):
    """Run the installed command as a process of its own."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, encoding="utf-8",
        timeout=120, check=False,
    )  # fmt: skip
    return regular(done.returncode, done.stdout, done.stderr)


def expected(name):
    text = (PLANS / name / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^Expected:\n\n```toml\n(.*?)^```$", text, flags=re.M | re.S)
    return tomllib.loads(block)


# --- the demo plans hold what their README says ---


@pytest.mark.parametrize("name", NAMES)
def test_demo_plan(cordgap, name):
    block = expected(name)
    done = cordgap("analyze", PLANS / name, "--json", "-q")
    assert done.code == block["exit_code"]
    assert done.err == ""
    result = done.json
    assert result["schema"] == "cordgap.analysis/1"
    rx = result["prescription"]
    assert (rx["dose_gy"], rx["fractions"]) == (block["prescription_gy"], block["fractions"])
    separation = result["separation"]
    assert separation["question"] == block["question"]
    (goal,) = separation["cord_goals"]
    assert f"{goal['metric']}<={goal['limit']:g}" == block["cord_goal"]
    assert goal["verdict"] == block["cord_verdict"]
    # Printed to 0.01 Gy by another program, whose raster is 0.5 mm fine: 0.5 %.
    assert goal["value"] == pytest.approx(block["cord_gy"], rel=5e-3)
    (coverage,) = [g for g in separation["coverage_goals"] if g["headline"]]
    assert f"{coverage['metric']}>={coverage['at_least']:g}" == block["coverage_goal"]
    assert coverage["verdict"] == block["coverage_verdict"]
    assert coverage["value"] == pytest.approx(block["coverage_percent"], abs=0.5)
    low, high = block["required_separation_mm_min"], block["required_separation_mm_max"]
    assert low <= separation["required_separation_mm"] <= high
    low, high = separation["interval_mm"]
    assert low <= block["required_separation_mm_truth"] <= high


def test_summary_for_people(cordgap):
    done = cordgap("analyze", PLANS / "coverage-first")
    assert done.code == 1
    for words in ("24 Gy in 2 fractions (RTPLAN)", "cord SpinalCord (TG-263)", "exceeded",
                  "not a medical device", "LEVEL NOT IDENTIFIED"):  # fmt: skip
        assert words in done.out


def test_demo_exits_0_and_writes_its_report(tmp_path):
    done = process("demo", "ring", "--out", tmp_path / "report")
    assert done.code == 0
    written = {p.name for p in (tmp_path / "report").iterdir()}
    assert {"result.json", "report.html", "report.pdf"} <= written
    result = json.loads((tmp_path / "report" / "result.json").read_text(encoding="utf-8"))
    assert result["schema"] == "cordgap.analysis/1"


# --- where surgery cannot reach, and numbers of fractions without a limit ---


def test_reachable_says_what_stands_in_the_way(cordgap):
    done = cordgap("separation", PLANS / "coverage-first", "--reachable", "anterior", "--json")
    assert done.code == 1  # an answer; the cord goal decides
    found = done.json
    assert found["status"] == "not reachable"
    names = [x["name"] for x in found["in_the_way"]]
    assert names == ["left anterolateral", "right anterolateral"]
    assert found["everywhere_mm"] > 1.0
    text = cordgap("separation", PLANS / "coverage-first", "--reachable", "anterior").out
    assert "Not reachable: no separation" in text


def test_reachable_gives_the_separation_for_those_sides(cordgap):
    sides = "anterior,left-anterolateral,left-posterolateral"
    done = cordgap("separation", PLANS / "cord-first", "--reachable", sides, "--json")
    found = done.json
    assert found["status"] == "ok"
    assert found["required_separation_mm"] > found["separation_mm"]
    assert {x["name"] for x in found["sextants"] if not x["reachable"]} == {
        "posterior", "right posterolateral", "right anterolateral",
    }  # fmt: skip
    assert "cleared-in-part" in {f["code"] for f in found["warnings"]}


def test_alpha_beta_changes_derived_limits_only(cordgap):
    plan, found = PLANS / "coverage-first", {}
    for ratio in (2, 3):
        done = cordgap("separation", plan, "--fractions", 6, "--alpha-beta", ratio, "--json", "-q")
        assert done.json["settings"]["alpha_beta_gy"] == ratio
        found[ratio] = {(x["dose_gy"], x["fractions"]): x for x in done.json["schedules"]}
    assert found[2][24, 6]["limit"] > found[3][24, 6]["limit"] > 25.3
    assert found[2][24, 6]["derived_from"]["constraint_id"] == "hytec_cord_5"
    assert found[2][30, 5] == found[3][30, 5]
    assert cordgap("separation", plan, "--alpha-beta", 0).code == 2


# --- exit codes ---


def test_exit_0_all_met(cordgap):
    done = cordgap("analyze", PLANS / "coverage-first", "--constraint", "D0.035cc[Gy]<=40", "-q")
    assert done.code == 0


def test_exit_1_something_exceeded():
    done = process("separation", PLANS / "ring", "--json", "-q")
    assert done.code == 1
    assert done.json["schema"] == "cordgap.separation/1"
    assert done.err == ""


def test_exit_3_not_evaluable(cordgap):
    """HyTEC has no limit for seven fractions: nothing can be said about the cord."""
    done = cordgap("analyze", PLANS / "ring", "--rx", 28, "--fractions", 7, "--json", "-q")
    assert done.code == 3
    assert "no-limit-for-fractions" in {f["code"] for f in done.json["warnings"]}


def test_exit_2_usage():
    done = process("dvh", PLANS / "ring", "--between", "blob")
    assert done.code == 2
    assert "--between" in done.err


# --- bad input: one message, exit code 2, nothing written ---


def tilt(contour, by=3.0):
    tilted = contour.copy()
    tilted[:, 2] += np.linspace(0, by, len(tilted))
    return tilted


def with_(ds, **values):
    for keyword, value in values.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def empty(build, folder):
    folder.mkdir()


def not_dicom(build, folder):
    folder.mkdir()
    (folder / "letter.txt").write_text("Dear colleague", encoding="utf-8")
    (folder / "picture.dcm").write_bytes(b"\x89PNG" + bytes(300))


def truncated(build, folder):
    build.plan_folder(folder)
    whole = (folder / "rtdose.dcm").read_bytes()
    (folder / "rtdose.dcm").write_bytes(whole[: len(whole) * 2 // 3])


def changed_dose(**values):
    return lambda build, folder: build.plan_folder(folder, rtdose=with_(build.rtdose(), **values))


def rois(make):
    return lambda build, folder: build.plan_folder(folder, rtstruct=build.rtstruct(make(build)))


BAD = {
    "empty folder": (empty, "the folder holds no DICOM RT files"),
    "not DICOM": (not_dicom, "no DICOM RT files, but 0 other DICOM and 2 other files"),
    "no RTDOSE": (
        lambda build, folder: build.plan_folder(folder, rtdose=None),
        r"no RTDOSE was found.*cordgap separation PATH --rx",
    ),
    "no RTSTRUCT": (
        lambda build, folder: build.plan_folder(folder, rtstruct=None), "no RTSTRUCT",
    ),
    "other frame of reference": (
        lambda build, folder: build.plan_folder(folder, rtdose=build.rtdose(frame="1.2.3.4")),
        r"rtdose.dcm and rtstruct.dcm have different frames of reference",
    ),
    "no cord": (
        rois(lambda build: {"GTV": build.tube(), "Lung_L": build.tube()}),
        r"no structure is known as the spinal cord. The structure set has: GTV, Lung_L. .*--cord",
    ),
    "relative units": (changed_dose(DoseUnits="RELATIVE"), "found DoseUnits RELATIVE, expected GY"),
    "no scaling": (changed_dose(DoseGridScaling=None), "DoseGridScaling absent"),
    "zero scaling": (changed_dose(DoseGridScaling="0"), "found DoseGridScaling 0"),
    "truncated": (truncated, "rtdose.dcm: the pixel data are truncated"),
    "empty cord": (
        rois(lambda build: {"SpinalCord": [], "GTV": build.tube(4.0, centre=(12.0, 0.0))}),
        "the cord 'SpinalCord' has no usable contour; draw it",
    ),
    "tilted cord": (
        rois(lambda build: {"SpinalCord": [tilt(c) for c in build.tube()], "GTV": build.tube(4.0)}),
        "the cord 'SpinalCord' has no usable contour",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(cordgap, build, tmp_path, make, message):
    make(build, tmp_path / "plan")
    out = tmp_path / "report"
    done = cordgap("analyze", tmp_path / "plan", "--json", "--out", out)
    assert done.code == 2
    assert re.search(message, done.err)
    assert done.err.startswith("cordgap: error: ")
    assert not out.exists()
    document = done.json
    assert document["schema"] == "cordgap.error/1"
    assert document["exit_code"] == 2
    assert re.search(message, document["error"]["message"])
    assert "SECRET" not in done.out + done.err


@pytest.mark.parametrize("verb", ["dvh", "separation", "check"])
def test_other_verbs_refuse_too(cordgap, build, tmp_path, verb):
    changed_dose(DoseUnits="RELATIVE")(build, tmp_path / "plan")
    done = cordgap(verb, tmp_path / "plan")
    assert done.code == 2
    assert "found DoseUnits RELATIVE" in done.out + done.err


def test_bad_input_as_a_process(build, tmp_path):
    not_dicom(build, tmp_path / "plan")
    done = process("analyze", "plan", "--out", "report", cwd=tmp_path)
    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_single_plane_cord_has_no_volume(cordgap, build, tmp_path):
    contours = {"SpinalCord": [build.circle()], "GTV": build.tube(4.0, centre=(12.0, 0.0))}
    build.plan_folder(tmp_path / "plan", rtstruct=build.rtstruct(contours))
    done = cordgap("analyze", tmp_path / "plan", "--json", "-q")
    assert done.code == 3
    cord = next(s for s in done.json["dvh"]["structures"] if s["roi_name"] == "SpinalCord")
    assert cord["volume_cc"] is None
    assert "single contoured plane and no thickness" in cord["reason"]
    assert done.json["separation"] is None or done.json["separation"]["status"] == "not evaluable"


def test_empty_structure_beside_good_ones(cordgap, build, tmp_path):
    contours = {
        "SpinalCord": build.tube(), "GTV": build.tube(4.0, centre=(12.0, 0.0)), "Lung_L": [],
    }  # fmt: skip
    build.plan_folder(tmp_path / "plan", rtstruct=build.rtstruct(contours))
    done = cordgap("dvh", tmp_path / "plan", "--json", "-q")
    assert done.code == 0
    lung = next(s for s in done.json["structures"] if s["roi_name"] == "Lung_L")
    assert (lung["status"], lung["volume_cc"]) == ("empty", None)
    assert cordgap("dvh", tmp_path / "plan", "--structure", "Lung_L", "-q").code == 3


# --- with contours and a prescription alone ---


def test_without_a_dose(cordgap, build, tmp_path):
    build.plan_folder(tmp_path / "plan", rtdose=None)
    done = cordgap("separation", tmp_path / "plan", "--rx", 24, "--fractions", 2, "--json", "-q")
    assert done.code == 3  # no goal can be evaluated without a dose
    assert done.json["question"] == "no plan"
    low, high = done.json["interval_mm"]
    assert low < done.json["required_separation_mm"] < high


# --- cordgap.toml ---


@pytest.fixture
def plan(build, tmp_path):
    return build.plan_folder(tmp_path / "plan")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('chord = "x"', r"cordgap.toml: unknown key 'chord'; known keys are .*cord, coverage"),
        ('rx = "x"', r"cordgap.toml: rx is 'x', expected a number"),
        ("fractions = 2.5", r"cordgap.toml: fractions is 2.5, expected a whole number"),
        ("rx = true", r"cordgap.toml: rx is True, expected a number"),
        ("cord = 5", r"cordgap.toml: cord is 5, expected a string"),
        ("coverage = [1, 2]", r"cordgap.toml: coverage must hold strings only"),
        ("rx = ", r"cordgap.toml: not valid TOML"),
    ],
)
def test_bad_settings_file(cordgap, plan, text, message):
    (plan / "cordgap.toml").write_text(text, encoding="utf-8")
    done = cordgap("analyze", plan)
    assert done.code == 2
    assert re.search(message, done.err)


def test_settings_file_is_used_and_reported(cordgap, plan):
    (plan / "cordgap.toml").write_text(
        'rx = 30\nfractions = 5\nconstraint = "D0.1cc[Gy]<=99"\n', encoding="utf-8"
    )
    done = cordgap("analyze", plan, "--json", "-q")
    rx = done.json["prescription"]
    assert rx == {"dose_gy": 30.0, "fractions": 5, "source": "cordgap.toml"}
    assert [g["metric"] for g in done.json["separation"]["cord_goals"]] == ["D0.1cc[Gy]"]
    assert "30 Gy in 5 fractions (cordgap.toml)" in cordgap("analyze", plan).out


def test_options_win_over_the_settings_file(cordgap, plan):
    (plan / "cordgap.toml").write_text("rx = 30\nfractions = 5\n", encoding="utf-8")
    done = cordgap("analyze", plan, "--rx", 27, "--fractions", 3, "--json", "-q")
    assert done.json["prescription"] == {"dose_gy": 27.0, "fractions": 3, "source": "option"}


# --- options, help ---


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(cordgap, verb):
    done = cordgap(verb, "--help")
    assert done.code == 0
    assert re.search(rf"Examples:\s+cordgap {verb}\b", done.out)


def test_help_lists_the_verbs_and_the_exit_codes():
    done = process("--help")
    assert done.code == 0
    assert all(verb in done.out for verb in VERBS)
    assert "Exit codes" in done.out


def test_version(cordgap):
    done = cordgap("--version")
    assert (done.code, done.out.split()[0]) == (0, "cordgap")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--constraint", "D5xx[Gy]<=3"), "found 'x', expected cc or %"),
        (("--coverage", "D98%[%]<=95"), "coverage is a lower bound"),
        (("--cord", "Nothing"), "no structure is named 'Nothing'"),
        (("--target", "Nothing"), "no structure is named 'Nothing'"),
        (("--protocol", "nothing"), "nothing"),
        (("--level", "T7"), "expected NAME=FROM:TO"),
        (("--rtdose", "missing.dcm"), "missing.dcm"),
        (("--max-mm", "99"), "--max-mm"),
    ],
)
def test_bad_options(cordgap, plan, options, message):
    done = cordgap("analyze", plan, *options)
    assert done.code == 2
    assert message in done.err


def test_files_without_a_folder(cordgap, plan):
    done = cordgap(
        "dvh", "--rtstruct", plan / "rtstruct.dcm", "--rtdose", plan / "rtdose.dcm",
        "--structure", "spinalcord", "--metric", "D0.1cc[Gy]", "--metric", "Mean[Gy]",
        "--json", "-q",
    )  # fmt: skip
    assert done.code == 0
    (structure,) = done.json["structures"]
    assert list(structure["metrics"]) == ["D0.1cc[Gy]", "Mean[Gy]"]
    curve = structure["dvh"]
    assert curve["volume_cc"][0] == pytest.approx(structure["volume_in_dose_grid_cc"])
    assert (np.diff(curve["volume_cc"]) <= 0).all()


def test_two_names_of_which_one_is_missing_lists_the_whole_set(cordgap, plan):
    done = cordgap("dvh", plan, "--structure", "SpinalCord", "--structure", "Nothing")
    assert done.code == 2
    assert "no structure is named 'Nothing'" in done.err
    assert "GTV" in done.err


def test_check(cordgap, plan):
    done = cordgap("check", plan)
    assert done.code == 0
    assert done.out.splitlines()[0] in ("usable", "usable with warnings")
    assert "rtdose: rtdose.dcm" in done.out


def test_same_input_same_output(cordgap, plan):
    first, second = (cordgap("analyze", plan, "--json", "-q").out for _ in range(2))
    assert first == second


def test_order_of_files_does_not_matter(cordgap, build, tmp_path):
    """The same files under other names, so that they are found in another order."""
    build.plan_folder(tmp_path / "a")
    (tmp_path / "b").mkdir()
    renamed = {"rtstruct.dcm": "z1", "rtdose.dcm": "a9", "rtplan.dcm": "k"}
    for old, new in renamed.items():
        shutil.copy(tmp_path / "a" / old, tmp_path / "b" / new)
    a, b = (cordgap("separation", tmp_path / f, "--json", "-q").json for f in "ab")
    assert a["required_separation_mm"] == b["required_separation_mm"]
    assert a["separation_mm"] == b["separation_mm"]
