"""Reading many plans: what was read is kept, and one bad plan stops nothing."""

from __future__ import annotations

import json

import pytest

from cordgap.batch import learn
from cordgap.batch.learn import plan_folders, read_root
from cordgap.errors import OptionError
from cordgap.export.plan import write_plan
from cordgap.phantom import Epidural, Sampling, spine_case

COARSE = Sampling(plane_spacing_mm=3.0, dose_spacing_mm=2.5)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Three plans, one folder of text, one damaged plan, and a note beside them."""
    root = tmp_path_factory.mktemp("site")
    for gap in (0.0, 1.0):
        case = spine_case(epidural=Epidural(gap_mm=gap), sampling=COARSE, image=False)
        write_plan(case, root / f"plan{gap:g}" / "export")
    write_plan(
        spine_case(epidural=Epidural(gap_mm=1.0), sampling=COARSE, image=False), root / "bad"
    )
    dose = root / "bad" / "RD.dcm"
    dose.write_bytes(dose.read_bytes()[:4000])
    (root / "notes").mkdir()
    (root / "notes" / "readme.txt").write_text("nothing", encoding="utf-8")
    (root / "list.csv").write_text("x", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def first(site, tmp_path_factory):
    state = tmp_path_factory.mktemp("out") / "model.json.plans"
    return state, read_root(site, state, jobs=2)


def test_folders_are_found(site):
    assert [f.name for f in plan_folders(site)] == ["bad", "export", "export"]


def test_one_bad_plan_stops_nothing(first):
    _, outcomes = first
    assert sorted(o.status for o in outcomes) == ["ok", "ok", "refused"]
    bad = next(o for o in outcomes if o.status == "refused")
    assert bad.code is not None
    gaps = sorted(o.reading.separation_mm for o in outcomes if o.reading)
    # The phantom's gap, less the cosine of the tilt of its cord.
    assert gaps == pytest.approx([0.0, 1.0], abs=0.05)


def test_a_second_run_reads_nothing_again(site, first, monkeypatch):
    state, outcomes = first

    def never(*_):
        raise AssertionError("a plan was read again")

    monkeypatch.setattr(learn._Worker, "read", never)
    again = read_root(site, state)
    assert [(o.key, o.status, o.reading) for o in again] == [
        (o.key, o.status, o.reading) for o in outcomes
    ]


def test_a_stopped_run_goes_on(site, first, tmp_path, monkeypatch):
    state = tmp_path / "state"
    lines = first[0].read_text(encoding="utf-8").splitlines()
    # Stopped in the middle of the second line.
    state.write_text(lines[0] + "\n" + lines[1][:40], encoding="utf-8")
    read = []
    done = {o.key: o for o in first[1]}

    def again(_, folder, timeout_s):
        read.append(folder)
        found = next(o for key, o in done.items() if learn._key(site, folder) == key)
        return learn._line(found)

    monkeypatch.setattr(learn._Worker, "read", again)
    outcomes = read_root(site, state)
    assert len(read) == 2
    assert sorted(o.status for o in outcomes) == ["ok", "ok", "refused"]
    known = [json.loads(line) for line in state.read_text("utf-8").splitlines() if line[-1] == "}"]
    assert len(known) == 3


def test_the_state_holds_no_names(first):
    text = first[0].read_text(encoding="utf-8")
    assert "plan1" not in text
    assert "export" not in text


def test_a_plan_that_hangs_is_given_up(site, tmp_path):
    outcomes = read_root(site, tmp_path / "state", timeout_s=1e-3)
    assert {o.status for o in outcomes} == {"timeout"}
    assert {o.code for o in outcomes} == {"plan-timeout"}


def test_no_folder_and_no_plan_are_refused(site, tmp_path):
    with pytest.raises(OptionError, match="no such folder"):
        read_root(tmp_path / "no", tmp_path / "state")
    with pytest.raises(OptionError, match="no DICOM files"):
        read_root(site / "notes", tmp_path / "state")
