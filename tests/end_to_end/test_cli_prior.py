"""Previous radiation as people give it: a number, a file, a registered file, half of a cord."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread

from cordgap.case.transform import RigidTransform
from cordgap.export.plan import write_plan
from cordgap.export.prior import write_prior
from cordgap.phantom import PRIOR_FRAME_UID, prior_dose, spine_case
from cordgap.phantom.shapes import PHANTOM_FRAME_UID

SHIFT = np.eye(4)
SHIFT[:3, 3] = (14.0, -6.0, 120.0)
WAY = RigidTransform(PHANTOM_FRAME_UID, PRIOR_FRAME_UID, SHIFT)
NUMBER = ("--prior", "30Gy", "--prior-fractions", "10", "--prior-date", "2025-03-01")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A plan with a previous dose in its own frame, one in another, and the registration."""
    folder = tmp_path_factory.mktemp("plan")
    whole = spine_case(image=False)
    slim = tuple(s for s in whole.structures if s.role in ("cord", "thecal_sac", "gtv"))
    case = replace(whole, structures=slim)
    write_plan(case, folder)
    apart = folder.parent / "before"
    write_prior(case, prior_dose(case), apart, name="SAME")
    write_prior(case, prior_dose(case, transform=WAY), apart, transform=WAY, name="MOVED")
    write_prior(case, prior_dose(case, up_to_mm=0.0), apart, name="HALF")
    return folder, apart


def separation(cordgap, folder, *options):
    code, out, _ = cordgap("separation", folder, *options, "--json", "-q")
    return code, json.loads(out)


def conditions(document):
    return {c["id"]: c for c in document["reirradiation"]["conditions"]}


def test_a_number(cordgap, written):
    code, found = separation(cordgap, written[0], *NUMBER)
    again = found["reirradiation"]
    assert code == 1
    assert again["prior_courses"][0]["eqd2_gy"] == 37.5
    # The plan of the phantom is of 2026-01-01: 306 days.
    assert again["prior_courses"][0]["interval_months"] == pytest.approx(10.05, abs=0.01)
    assert again["remaining"]["binding"] == "rert_sbrt"
    assert found["binding_constraint"] == "reirradiation_2"
    assert {c["verdict"] for c in again["conditions"]} == {"met", "exceeded"}
    assert again["inputs"] == []


def test_a_file_inside_the_folder_is_not_taken_for_the_plan_s(cordgap, written, tmp_path):
    folder = tmp_path / "plan"
    shutil.copytree(written[0], folder)
    shutil.copy(written[1] / "SAME.dcm", folder / "OLD.dcm")
    assert cordgap("separation", folder, "-q")[0] == 2  # two doses, and nothing says which
    given = ("--prior", "OLD.dcm", "--prior-fractions", "10", "--prior-date", "14mo")
    _, found = separation(cordgap, folder, *given)
    (course,) = found["reirradiation"]["prior_courses"]
    assert (course["name"], course["interval_months"]) == ("OLD.dcm", 14.0)
    assert course["near_maximum_gy"] == pytest.approx(27.8, abs=0.3)
    (used,) = found["reirradiation"]["inputs"]
    assert (used["file"], used["kind"], len(used["sha256"])) == ("OLD.dcm", "prior", 64)


def test_a_registered_file_gives_the_same_as_one_of_the_same_frame(cordgap, written):
    folder, apart = written
    given = ("--prior-fractions", "10", "--prior-date", "14mo")
    _, same = separation(cordgap, folder, "--prior", apart / "SAME.dcm", *given)
    reg = ("--registration", apart / "MOVED_REG.dcm")
    _, moved = separation(cordgap, folder, "--prior", apart / "MOVED.dcm", *given, *reg)
    for name, condition in conditions(same).items():
        # Grids of 2.5 mm sample the same flat field at other points.
        assert conditions(moved)[name]["value"] == pytest.approx(condition["value"], abs=0.02)
    assert moved["required_separation_mm"] == pytest.approx(
        same["required_separation_mm"], abs=0.01
    )
    assert "prior-registered" in {w["code"] for w in moved["warnings"]}


def refusal(cordgap, folder, *options):
    code, out, _ = cordgap("separation", folder, *options, "--json", "-q")
    assert code == 2
    return json.loads(out)["error"]


def test_another_frame_without_a_registration_is_refused(cordgap, written):
    folder, apart = written
    given = ("--prior", apart / "MOVED.dcm", "--prior-fractions", "10")
    error = refusal(cordgap, folder, *given)
    assert error["code"] == "prior-not-registered"
    assert "--registration" in error["message"]
    strange = apart / "STRANGE.dcm"
    ds = dcmread(apart / "MOVED_REG.dcm")
    ds.RegistrationSequence[1].FrameOfReferenceUID = "1.2.3"
    ds.save_as(strange)
    error = refusal(cordgap, folder, *given, "--registration", strange)
    assert error["code"] == "registration-other-frames"
    ds = dcmread(apart / "MOVED_REG.dcm")
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.3"
    ds.save_as(strange)
    error = refusal(cordgap, folder, *given, "--registration", strange)
    assert error["code"] == "registration-deformable"


def test_half_of_the_cord(cordgap, written):
    folder, apart = written
    given = ("--prior", apart / "HALF.dcm", "--prior-fractions", "10", "--prior-date", "14mo")
    code, found = separation(cordgap, folder, *given)
    assert (code, found["status"], found["required_separation_mm"]) == (3, "not evaluable", None)
    assert "covers only a part of ThecalSac" in found["reason"]
    assert {x["reason"] is None for x in found["reirradiation"]["levels"]} == {True, False}


def test_two_months(cordgap, written):
    given = ("--prior", "3000cGy", "--prior-fractions", "10", "--prior-date", "2mo")
    code, found = separation(cordgap, written[0], *given)
    assert code == 3
    assert conditions(found)["rert_interval"]["verdict"] == "exceeded"
    assert found["reirradiation"]["remaining"]["limits"] == []
    assert "shorter than the 5 months" in found["reason"]


def test_a_number_of_fractions_that_nobody_published(cordgap, written):
    more = ("--rx", "35", "--fractions", "7")
    code, found = separation(cordgap, written[0], *NUMBER, *more)
    (goal,) = found["cord_goals"]
    assert goal["id"] == "reirradiation_7"
    # 25 Gy EQD2 in 7: D (D / 7 + 2) / 4 = 25, rounded down to 0.01 Gy.
    assert goal["limit"] == int(100 * 3.5 * (np.sqrt(4 + 400 / 7) - 2)) / 100
    codes = {w["code"] for w in found["warnings"]}
    assert {"no-limit-for-fractions", "reirradiation-fractions"} <= codes
    assert code == 1


def test_several_courses_in_order(cordgap, written):
    given = ("--prior", "20Gy", "--prior-fractions", "10", "--prior-date", "40mo")
    more = ("--prior", "10Gy", "--prior-fractions", "5", "--prior-date", "9mo")
    _, found = separation(cordgap, written[0], *given, *more)
    names = [(c["name"], c["fractions"]) for c in found["reirradiation"]["prior_courses"]]
    assert names == [("20 Gy", 10), ("10 Gy", 5)]
    assert conditions(found)["rert_interval"]["value"] == 9.0


def test_settings_file(cordgap, written, tmp_path):
    folder = tmp_path / "plan"
    shutil.copytree(written[0], folder)
    text = 'prior = ["30Gy"]\nprior_fractions = [10]\nprior_date = ["14mo"]\nrecovery = true\n'
    (folder / "cordgap.toml").write_text(text)
    _, found = separation(cordgap, folder)
    assert found["reirradiation"]["recovery"]["cumulative_eqd2_gy"] is not None
    assert found["settings"]["recovery"] is True
    error = refusal(cordgap, folder, "--prior", "20Gy")  # nothing of it comes from the file
    assert "--prior-fractions 0 time(s)" in error["message"]
    (folder / "cordgap.toml").write_text('prior = ["30Gy"]\nprior_fractions = ["10"]\n')
    assert "must hold whole numbers" in refusal(cordgap, folder)["message"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--prior", "30", "--prior-fractions", "10"),
            "a dose needs its unit; write 30Gy or 30cGy",
        ),
        (("--prior", "3000Gy", "--prior-fractions", "10"), "at most 200 Gy"),
        (("--prior", "30Gy"), "--prior is given 1 time(s) and --prior-fractions 0 time(s)"),
        (
            ("--prior", "30Gy", "--prior-fractions", "10", "--prior-date", "1.3.2025"),
            "expected a date (2025-03-01), an interval (14mo) or unknown",
        ),
        (
            ("--prior", "30Gy", "--prior-fractions", "10", "--prior-date", "2027-03-01"),
            "lies after the date of the plan",
        ),
        (("--prior", "none.dcm", "--prior-fractions", "10"), "--prior none.dcm: no such RTDOSE"),
        (("--prior-fractions", "10"), "--prior is given 0 time(s)"),
        (("--row", "nothing"), "no constraint table has a row 'nothing'"),
        (("--row", "tg101_cord_1_12"), "is for 1 fraction(s), the plan has 2"),
    ],
)
def test_what_is_wrong_is_said(cordgap, written, options, words):
    assert words in refusal(cordgap, written[0], *options)["message"]


def test_a_dose_of_one_beam_is_no_course(cordgap, written, tmp_path):
    ds = dcmread(written[1] / "SAME.dcm")
    ds.DoseSummationType = "BEAM"
    ds.save_as(tmp_path / "BEAM.dcm")
    given = ("--prior", tmp_path / "BEAM.dcm", "--prior-fractions", "10")
    assert refusal(cordgap, written[0], *given)["code"] == "dose-not-total"


def test_comparison_of_tables_as_json(cordgap):
    code, out, _ = cordgap("protocols", "--compare", "cord", "--json")
    found = json.loads(out)
    rows = found["comparison"]["rows"]
    assert (code, found["protocols"], found["comparison"]["structure"]) == (0, [], "cord")
    three = {(r["protocol"], r["limit"]) for r in rows if r["fractions"] == 3}
    assert {("hytec-2021", 20.3), ("aapm-tg101-2010", 21.9), ("nccn-lung", 18.0)} <= three
    assert all(r["structure"] == "cord" for r in rows)


def test_summary_says_what_is_left(cordgap, written):
    code, out, _ = cordgap("separation", written[0], *NUMBER)
    assert code == 1
    for words in (
        "previous radiation (hytec-2021-reirradiation, on ThecalSac)",
        "30 Gy in 10",
        "not met       EQD2 of the new course",
        "What is left for ThecalSac: 25.0 Gy EQD2",
        "myelopathy: no region, previous radiation",
    ):
        assert words in out
