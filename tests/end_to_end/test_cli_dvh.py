"""``cordgap dvh`` beyond the plain table: presets, indices, surfaces, files."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import jsonschema
import pydicom
import pytest

from cordgap.cli.common import PlanOptions
from cordgap.report.schema import load_schema

RING = Path(__file__).parents[2] / "plans" / "ring"
TWO = ("--structure", "SpinalCord", "--structure", "GTV", "--metric", "D0.035cc[Gy]")


@pytest.fixture
def cordgap(cordgap):
    """Run ``cordgap dvh``."""
    return partial(cordgap, "dvh")


@pytest.fixture
def not_read(monkeypatch):
    monkeypatch.setattr(PlanOptions, "read", lambda *a, **k: pytest.fail("the plan was read"))


def document(out):
    found = json.loads(out)
    jsonschema.Draft202012Validator(load_schema("dvh")).validate(found)
    return found


def test_everything_in_one_document(cordgap, tmp_path):
    code, out, err = cordgap(
        RING, *TWO, "--compare-presets", "--indices", "--geud-a", "-5", "--dose-surface",
        "--csv", tmp_path / "c.csv", "--rtdose-out", tmp_path / "d.dcm", "--json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    found = document(out)
    assert [s["roi_name"] for s in found["structures"]] == ["SpinalCord", "GTV"]
    assert len(found["comparison"]["presets"]) == 7
    assert [x["geud_a"] for x in found["indices"]] == [-5, -5]
    assert found["indices"][1]["conformity"]["total"]["ci_paddick"] < 1
    assert found["dose_surfaces"][0]["area_cm2"] > 0
    assert "preset" not in found
    with (tmp_path / "c.csv").open(newline="", encoding="utf-8") as stream:
        assert "area_cm2" in next(csv.reader(stream))
    ds = pydicom.dcmread(tmp_path / "d.dcm")
    assert len(ds.DVHSequence) == 2
    assert ds.DoseComment.endswith("(shape, half-slice)")


def test_plain_document_has_nothing_more(cordgap):
    found = document(cordgap(RING, *TWO, "--json")[1])
    assert not {"preset", "comparison", "indices", "dose_surfaces"} & set(found)


def test_tables(cordgap):
    code, out, _ = cordgap(RING, *TWO, "--compare-presets", "--indices", "--dose-surface")
    assert code == 0
    assert "ProKnow" in out
    assert "here (shape, half-slice)" in out
    assert "6.894 (-0.047)" in out
    assert "Eclipse: ends: a rounded cap beyond the last plane (rounded)." in out
    assert "RayStation: ends: half a slice beyond the last plane, flat at the end (flat)." in out
    assert "CI (RTOG) 1.059, CI (Paddick) 0.821" in out
    assert "near-max Gy" in out
    assert ">= 24 Gy" in out


@pytest.mark.parametrize("name", ["ProKnow", "pinnacle"])
def test_preset_in_the_document(cordgap, name):
    found = document(cordgap(RING, *TWO, "--preset", name, "--json")[1])
    assert found["preset"]["name"].casefold() == name.casefold()
    assert found["settings"]["between"] == "slab"
    assert found["settings"]["ends"] == "half-slice"


def test_preset_is_what_differences_are_taken_to(cordgap):
    _, out, _ = cordgap(RING, *TWO, "--preset", "Pinnacle", "--compare-presets")
    assert "Pinnacle: the same rules as here" in out
    assert "here (slab, half-slice, without dose)" in out


def test_prescription_of_the_option_counts(cordgap):
    found = document(
        cordgap(RING, *TWO, "--indices", "--rx", "20", "--fractions", "2", "--json")[1]
    )
    assert found["indices"][1]["conformity"]["isodoses"][0]["dose_gy"] == 20


def test_names_only_where_asked_for(cordgap, build, tmp_path):
    plan = build.plan_folder(tmp_path / "plan")
    for flag, name in (((), ""), (("--identify",), "SECRET^NAME")):
        assert cordgap(plan, "--rtdose-out", tmp_path / "d.dcm", *flag, "-q")[0] == 0
        assert str(pydicom.dcmread(tmp_path / "d.dcm").PatientName) == name


def test_structures_left_out_of_the_dicom_file_are_named(cordgap, build, tmp_path):
    rois = {"SpinalCord": build.tube(), "Long": build.tube(z=range(-12, 200, 3))}
    plan = build.plan_folder(tmp_path / "plan", rtstruct=build.rtstruct(rois))
    _, out, err = cordgap(plan, "--rtdose-out", tmp_path / "d.dcm", "--indices", "--dose-surface")
    assert "Long not written [dvh-not-written]" in err
    assert ">= " in out
    _, out, _ = cordgap(plan, "--rtdose-out", tmp_path / "d.dcm", "--json", "-q")
    assert document(out)["warnings"][-1]["code"] == "dvh-not-written"


def test_structures_without_numbers(cordgap, build, tmp_path):
    rois = {"SpinalCord": build.tube(), "Empty": [], "Away": build.tube(z=range(300, 320, 3))}
    plan = build.plan_folder(tmp_path / "plan", rtstruct=build.rtstruct(rois))
    more = ("--compare-presets", "--indices", "--dose-surface", "--csv", tmp_path / "c.csv")
    code, out, _ = cordgap(plan, *more, "--json", "-q")
    assert code == 0
    found = document(out)
    assert [x["reason"] is None for x in found["dose_surfaces"]] == [True, False, False]
    assert cordgap(plan, *more, "-q")[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--geud-a", "3"), "--geud-a belongs to --indices"),
        (("--indices", "--geud-a", "0"), "expected a finite number other than 0"),
        (("--indices", "--geud-a", "nan"), "expected a finite number other than 0"),
        (("--identify",), "--identify belongs to --rtdose-out"),
        (("--csv", "/nowhere/c.csv"), "its folder does not exist"),
        (("--csv", RING), "is a folder; name a file"),
        (("--rtdose-out", RING / "new.dcm"), "second dose of the plan"),
        (("--preset", "MIM", "--ends", "none"), "--preset sets what --between and --ends set"),
        (("--preset", "Monaco"), "the presets are Eclipse"),
    ],
)
def test_options_that_make_no_sense(cordgap, not_read, options, message):
    code, out, err = cordgap(RING, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert not (RING / "new.dcm").exists()
