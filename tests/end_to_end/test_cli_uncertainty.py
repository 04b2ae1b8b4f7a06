"""Uncertainty, answers without a plan, comparison and learned falloff from the command line."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest

from cordgap.export.plan import write_plan
from cordgap.phantom import Epidural, Sampling, SpineDose, spine_case
from cordgap.report.schema import load_schema

COARSE = Sampling(plane_spacing_mm=3.0, dose_spacing_mm=2.5)


def lean(**how):
    """The spine phantom with the structures that matter here."""
    case = spine_case(image=False, sampling=COARSE, **how)
    names = ("GTV", "SpinalCord", "ThecalSac", "SpinalCanal")
    return replace(case, structures=tuple(s for s in case.structures if s.roi_name in names))


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    """Before and after surgery, contours alone, and a plan whose dose was forgotten."""
    root = tmp_path_factory.mktemp("plans")
    before = lean()
    after = lean(epidural=Epidural(gap_mm=2.8), dose=SpineDose(cord_edge_gy=14.0))
    write_plan(before, root / "before")
    write_plan(after, root / "after")
    write_plan(replace(before, dose=None, prescription=None), root / "contours")
    write_plan(replace(before, dose=None), root / "forgotten")
    write_plan(after, root / "stranger", patient_id="SOMEONE")
    return root


def valid(done, name):
    jsonschema.validate(done.json, load_schema(name))
    return done.json


def test_scenarios_of_a_separation(cordgap, plans, tmp_path):
    text = cordgap("scenarios", "--toml").out
    (tmp_path / "few.toml").write_text(text.replace("scenarios = 1000", "scenarios = 60"), "utf-8")
    done = cordgap(
        "separation", plans / "before", "--scenarios", tmp_path / "few.toml", "--json", "-q"
    )
    found = valid(done, "separation")["scenarios"]
    assert (found["status"], found["model"]["scenarios"]) == ("ok", 60)
    assert found["model"]["source"] == "few.toml"
    needed = [row["required_separation_mm"] for row in found["required"]]
    assert done.json["required_separation_mm"] <= needed[0] < needed[1] <= needed[2]
    plain = valid(cordgap("separation", plans / "before", "--json", "-q"), "separation")
    assert plain["scenarios"] is None
    assert "--scenarios" in plain["scenarios_reason"]
    assert plain["required_separation_mm"] == done.json["required_separation_mm"]
    assert plain["escc"]["status"] in ("determined", "not determinable")


def test_a_bad_scenario_file(cordgap, plans, tmp_path):
    (tmp_path / "bad.toml").write_text(
        cordgap("scenarios", "--toml").out.replace("sd_mm = 0.7", "sd_mm = -0.7"), "utf-8"
    )
    for done in (
        cordgap("separation", plans / "before", "--scenarios", tmp_path / "bad.toml"),
        cordgap("scenarios", tmp_path / "bad.toml"),
    ):
        assert done.code == 2
        assert "bad.toml: [contour]: sd_mm is -0.7: a standard deviation is 0 or more" in done.err


def test_the_scenario_set_is_printed(cordgap):
    document = valid(cordgap("scenarios", "--json"), "scenarios")
    assert document["total_sd_mm"][1] == pytest.approx(1.4036)
    done = cordgap("scenarios")
    assert (done.code, "Radiat Oncol" in done.out) == (0, True)


def test_contours_without_a_prescription(cordgap, plans):
    done = cordgap("separation", plans / "contours", "--json", "-q")
    assert done.code == 3
    document = valid(done, "separation")
    assert (document["question"], document["status"]) == ("no plan", "not evaluable")
    assert document["required_separation_mm"] is None
    assert "the prescription is not known" in document["reason"]
    assert document["separation_mm"] == pytest.approx(1.0, abs=0.05)
    rows = {(s["dose_gy"], s["fractions"]): s for s in document["schedules"]}
    assert rows[24.0, 2]["required_separation_mm"] > 0
    with_rx = cordgap(
        "separation", plans / "contours", "--rx", 24, "--fractions", 2, "--json", "-q"
    )
    assert with_rx.json["required_separation_mm"] == rows[24.0, 2]["required_separation_mm"]


def test_a_plan_whose_dose_was_forgotten_is_refused(cordgap, plans):
    done = cordgap("separation", plans / "forgotten", "--json", "-q")
    assert (done.code, done.json["error"]["code"]) == (2, "rtdose-missing")


def test_compare(cordgap, plans, tmp_path):
    done = cordgap(
        "compare", plans / "before", plans / "after", "--out", tmp_path / "out", "--json", "-q"
    )
    document = valid(done, "compare")
    assert document["achieved_mm"] == pytest.approx(1.8, abs=0.05)
    assert document["in_canal_after_cc"] < document["in_canal_before_cc"]
    assert document["prediction"]["expectation"] == "enough"
    assert document["prediction"]["cord_verdict"] == "met"
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == ["compare.json", "compare.png", "compare.svg"]
    assert json.loads((tmp_path / "out" / "compare.json").read_text("utf-8")) == document


def test_compare_refuses_strangers(cordgap, plans):
    done = cordgap("compare", plans / "before", plans / "stranger", "--json", "-q")
    assert (done.code, done.json["error"]["code"]) == (2, "different-patients")
    assert "SOMEONE" not in done.out + done.err


def test_compare_refuses_a_registration_that_is_none(cordgap, plans):
    done = cordgap(
        "compare", plans / "before", plans / "after", "--registration",
        plans / "before" / "RS.dcm", "--json", "-q",
    )  # fmt: skip
    assert (done.code, done.json["error"]["code"]) == (2, "file-kind")


def test_learned_falloff_is_used(cordgap, plans, tmp_path):
    for i, gap in enumerate(np.linspace(0.2, 2.2, 3)):
        dose = SpineDose(cord_edge_gy=23.0 - 2.0 * float(gap), gradient_gy_per_mm=2.0)
        case = lean(epidural=Epidural(gap_mm=float(gap)), dose=dose)
        write_plan(case, tmp_path / "site" / f"plan{i}")
    model = tmp_path / "model.json"
    done = cordgap("learn-falloff", tmp_path / "site", "--out", model, "--json", "-q")
    assert done.code == 0
    document = valid(done, "falloff")
    assert document["plans_read"] == 3
    assert document["too_few_for_a_spread"] is True
    again = cordgap("learn-falloff", tmp_path / "site", "--out", model, "--json", "-q")
    assert again.json == document
    asked = ("separation", plans / "contours", "--rx", 24, "--fractions", 2, "--falloff", model)
    used = cordgap(*asked, "--json", "-q")
    assert used.json["falloff_model"]["source"] == "model.json"
    assert used.json["falloff_model"]["plans"] == document["model"]["plans"]
    assert "falloff: learned from" in cordgap(*asked).out
