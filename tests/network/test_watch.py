"""A watched folder: every plan once, whenever and however its files arrive."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import jsonschema
import pydicom
import pytest
from pydicom.uid import generate_uid

from cordgap.errors import CordgapError, DicomError, NetworkError, OptionError
from cordgap.network import desk as desk_module
from cordgap.network.desk import Desk, Outcome, watch
from cordgap.network.exports import Folder
from cordgap.report.schema import load_schema

PLANS = Path(__file__).parents[2] / "plans"
RT = ("RTSTRUCT", "RTPLAN", "RTDOSE")


def count(folder: Path, out: Path) -> int:
    """Stand in for the analysis: says which files it was shown."""
    files = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else [folder]
    kinds = [pydicom.dcmread(p, force=True).get("Modality", "?") for p in files]
    out.mkdir()
    (out / "result.json").write_text(json.dumps(kinds), encoding="utf-8")
    return 1


def refuse(_folder: Path, _out: Path) -> int:
    raise DicomError("no dose in it", code="rtdose-missing")


def crash(_folder: Path, _out: Path) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def hang(_folder: Path, _out: Path) -> int:
    time.sleep(60)
    return 0


def full(_folder: Path, out: Path) -> int:
    from cordgap.report.files import unwritable

    error = OSError(28, "No space left on device")
    raise unwritable(out, error) from error


@pytest.fixture
def exported(tmp_path) -> Path:
    """Return a folder with the RT files and one CT slice of a plan."""
    folder = tmp_path / "in"
    folder.mkdir()
    slices = 0
    for path in sorted((PLANS / "ring").glob("*.dcm")):
        modality = pydicom.dcmread(path, specific_tags=["Modality"]).Modality
        slices += modality == "CT"
        if modality in RT or slices == 1:
            shutil.copy(path, folder / f"{modality}.dcm")
            slices += modality == "CT"
    return folder


def run(folder, out, analyse=count, *, timeout_s=30.0, **options) -> list[Outcome]:
    with Desk(out, analyse, timeout_s=timeout_s) as desk:
        given = {"quiet_s": 0.0, "patience_s": 0.0, "once": True} | options
        return [e for e in watch(Folder(folder, [out]), desk, **given) if isinstance(e, Outcome)]


def rows(out: Path) -> int:
    return len(list(out.glob("plan-*")))


def seen(out: Path) -> list[list[str]]:
    return [json.loads(p.read_text()) for p in sorted(out.glob("plan-*/result.json"))]


def another_plan(folder: Path, into: Path, *, study: str | None = None) -> None:
    """Copy the RT files with UIDs of their own; in the same study where one is given."""
    into.mkdir(exist_ok=True)
    names: dict[str, str] = {}

    def fresh(ds, element):
        if element.VR == "UI" and element.keyword in (
            "SOPInstanceUID", "ReferencedSOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
        ):  # fmt: skip
            old = str(element.value)
            element.value = names.setdefault(old, generate_uid(entropy_srcs=[old, into.name]))

    for modality in RT:
        ds = pydicom.dcmread(folder / f"{modality}.dcm")
        ds.walk(fresh)
        if study is not None:
            ds.StudyInstanceUID = study
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(into / f"{into.name}.{modality}.dcm")


def test_once_and_never_twice(exported, tmp_path):
    out = tmp_path / "out"
    (first,) = run(exported, out)
    assert (first.status, first.exit_code, first.files) == ("ok", 1, 4)
    assert sorted(seen(out)[0]) == ["CT", *sorted(RT)]
    assert run(exported, out) == []
    # Moved, renamed, copied: the same plan.
    shutil.copytree(exported, exported / "again" / "deeper")
    assert run(exported, out) == []
    assert rows(out) == 1
    record = json.loads((out / first.plan / "outcome.json").read_text())
    jsonschema.Draft202012Validator(load_schema("outcome")).validate(record)


def test_two_plans_of_one_study_and_one_of_another_in_one_folder(exported, tmp_path):
    out = tmp_path / "out"
    study = pydicom.dcmread(exported / "RTDOSE.dcm").StudyInstanceUID
    another_plan(exported, tmp_path / "b", study=study)
    another_plan(exported, tmp_path / "c")
    assert len(run(exported, out)) == 1
    for name in "bc":
        for path in (tmp_path / name).iterdir():
            shutil.copy(path, exported)
    # The first is not analysed again because others came into its study and its folder.
    assert [o.status for o in run(exported, out)] == ["ok", "ok"]
    assert rows(out) == 3
    assert all(kinds.count("RTDOSE") == kinds.count("RTPLAN") == 1 for kinds in seen(out))
    assert run(exported, out) == []


def test_a_folder_a_series(exported, tmp_path):
    out = tmp_path / "out"
    for path in list(exported.iterdir()):
        place = exported / path.stem
        place.mkdir()
        path.rename(place / path.name)
    (only,) = run(exported, out)
    assert only.files == 4


def test_a_zip_file(exported, tmp_path):
    out = tmp_path / "out"
    with zipfile.ZipFile(tmp_path / "plan.zip", "w") as archive:
        for path in sorted(exported.iterdir()):
            archive.write(path, path.name)
            path.unlink()
    shutil.move(tmp_path / "plan.zip", exported)
    (only,) = run(exported, out)
    assert (only.status, only.files) == ("ok", 1)


def test_an_export_that_is_not_complete_waits(exported, tmp_path):
    out = tmp_path / "out"
    dose = (exported / "RTDOSE.dcm").rename(tmp_path / "RTDOSE.dcm")
    with Desk(out, count) as desk:
        events = watch(Folder(exported), desk, quiet_s=0.0, patience_s=60.0)
        assert next(events) == "waiting for an RTDOSE (3 files are there)"
        assert next(events) == ""
        assert next(events) == ""  # said once
        assert rows(out) == 0
        shutil.copy(dose, exported)
        outcome = next(e for e in events if e)
        assert (outcome.status, outcome.files) == ("ok", 4)
        assert next(events) == ""
    assert rows(out) == 1


def test_a_file_that_grows_is_waited_for(exported, tmp_path):
    out = tmp_path / "out"
    content = (exported / "RTDOSE.dcm").read_bytes()
    (exported / "RTDOSE.dcm").write_bytes(content[:2000])
    with Desk(out, count) as desk:
        source = Folder(exported)
        for step in range(5):
            (exported / "RTDOSE.dcm").write_bytes(content[: 3000 + step])
            source.look(float(step))
            assert source.plans(float(step), 3.0) == []
        (exported / "RTDOSE.dcm").write_bytes(content)
        source.look(5.0)
        assert source.plans(7.9, 3.0) == []
        ((plan, _),) = source.plans(8.0, 3.0)
        assert desk.take(plan, source).status == "ok"
    assert rows(out) == 1
    assert "RTDOSE" in seen(out)[0]


def grow(folder: Path, out: Path) -> int:
    """Stand in for an analysis during which the planning system writes on."""
    dose = next(p for p in folder.iterdir() if p.name == "RTDOSE.dcm").resolve()
    with dose.open("ab") as stream:
        stream.write(b"more")
    return count(folder, out)


def test_a_file_that_changes_during_the_analysis(exported, tmp_path):
    out = tmp_path / "out"
    with Desk(out, grow) as desk:
        source = Folder(exported)
        source.look(0.0)
        ((plan, _),) = source.plans(1.0, 1.0)
        assert desk.take(plan, source) is None
        assert rows(out) == 0
    assert [o.status for o in run(exported, out)] == ["ok"]
    assert rows(out) == 1


def test_a_file_that_vanishes(exported, tmp_path):
    out = tmp_path / "out"
    with Desk(out, count) as desk:
        source = Folder(exported)
        source.look(0.0)
        (exported / "RTDOSE.dcm").unlink()
        for plan, _ in source.plans(1.0, 1.0):
            assert desk.take(plan, source) is None
    assert rows(out) == 0


@pytest.mark.parametrize(
    ("analyse", "status", "code"),
    [
        (refuse, "refused", "rtdose-missing"),
        (crash, "failed", "process-ended"),
        (hang, "timeout", "plan-timeout"),
        (full, "failed", "results-unwritable"),
    ],
)
def test_what_goes_wrong_is_on_record_and_stops_no_other(exported, tmp_path, analyse, status, code):
    out = tmp_path / "out"
    another_plan(exported, exported / "b")
    outcomes = run(exported, out, analyse, timeout_s=1.0 if analyse is hang else 30.0)
    assert [(o.status, o.code) for o in outcomes] == [(status, code)] * 2
    assert rows(out) == 2
    assert not list(out.glob(".work-*"))
    # A refusal stands; what may have had another cause is tried again by the next run.
    again = run(exported, out)
    assert len(again) == (0 if status == "refused" else 2)
    assert rows(out) == 2


def test_disk_full_when_the_outcome_is_written(exported, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def no_space(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(desk_module.os, "fsync", no_space)
        (outcome,) = run(exported, out)
    assert (outcome.status, outcome.code) == ("failed", "results-unwritable")
    assert "make room and start again" in outcome.reason
    assert rows(out) == 0
    assert [o.status for o in run(exported, out)] == ["ok"]
    assert rows(out) == 1


def test_two_watchers_do_not_share_a_folder(exported, tmp_path):
    out = tmp_path / "out"
    with Desk(out, count), pytest.raises(NetworkError, match="another process") as refused:
        run(exported, out)
    assert refused.value.code == "results-in-use"
    assert len(run(exported, out)) == 1


def wait_for_end(exported: Path) -> bool:
    """Wait until no process has the folder of exports in its command or its environment."""
    word = str(exported.parent).encode()
    end = time.monotonic() + 15
    while time.monotonic() < end:
        left = [p for p in Path("/proc").glob("[0-9]*/environ") if _holds(p, word)]
        if not left:
            return True
        time.sleep(0.1)
    return False


def _holds(path: Path, word: bytes) -> bool:
    try:
        return int(path.parent.name) != os.getpid() and word in path.read_bytes()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are read in /proc")
def test_kill_9_of_the_watcher(exported, tmp_path):
    """Killed in the middle of an analysis: nothing on record, and the next run does it."""
    out = tmp_path / "out"
    program = (
        "from pathlib import Path; from tests.network.test_watch import run, hang; "
        f"run(Path({str(exported)!r}), Path({str(out)!r}), hang)"
    )
    marked = os.environ | {"CORDGAP_TEST": str(exported.parent)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=PLANS.parent, env=marked) as process:
        end = time.monotonic() + 30
        while not list(out.glob(".work-*/plan/*")):
            assert time.monotonic() < end
            time.sleep(0.05)
        process.kill()
    assert rows(out) == 0
    # The process of the analysis ends with the one that started it.
    assert wait_for_end(exported)
    assert [o.status for o in run(exported, out)] == ["ok"]
    assert (rows(out), len(list(out.glob(".work-*")))) == (1, 0)


def test_slices_that_still_come_into_another_folder_are_waited_for(exported):
    images = exported / "images"
    images.mkdir()
    (exported / "CT.dcm").rename(images / "CT.dcm")
    source = Folder(exported)
    source.look(0.0)
    content = (images / "CT.dcm").read_bytes()
    (images / "CT2.dcm").write_bytes(content[:5000])
    source.look(9.0)
    assert source.plans(10.0, 5.0) == []
    (images / "CT2.dcm").unlink()
    source.look(11.0)
    assert len(source.plans(11.0, 5.0)) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFO here")
def test_what_is_no_file_is_not_opened(exported, tmp_path):
    os.mkfifo(exported / "pipe.dcm")
    assert len(run(exported, tmp_path / "out")) == 1


def test_a_folder_of_other_things(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number}.txt").write_text("nothing")
    (folder / "RD.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    assert run(folder, tmp_path / "out") == []


def test_the_verb_does_what_analyze_does(exported, tmp_path, monkeypatch, capsys):
    from cordgap.cli import main

    out = tmp_path / "out"

    def verb(*more):
        words = ["cordgap", "watch", str(exported), "--out", str(out), "--once"]
        monkeypatch.setattr(sys, "argv", [*words, "--settle-s", "0", *more])
        with pytest.raises(SystemExit) as stopped:
            main.run()
        return stopped.value.code, capsys.readouterr().out

    code, text = verb()
    assert code == 1
    assert "exceeded, 4 files" in text
    assert text.endswith("plans: 1 analysed, 0 refused, 0 failed, 0 given up; 0 had been before\n")
    (result,) = out.glob("plan-*/result.json")
    assert {p.name for p in result.parent.iterdir()} >= {"report.html", "report.pdf", "figures"}
    monkeypatch.setattr(sys, "argv", ["cordgap", "analyze", str(exported), "--json"])
    with pytest.raises(SystemExit):
        main.run()
    assert json.loads(result.read_text()) == json.loads(capsys.readouterr().out)
    code, text = verb("--json")
    document = json.loads(text)
    jsonschema.Draft202012Validator(load_schema("watch")).validate(document)
    assert (code, document["outcomes"], document["on_record"]) == (0, [], 1)


def test_with_other_options_a_plan_has_another_result(exported, tmp_path):
    out = tmp_path / "out"
    for words, new in (("", 1), ("rx 24", 1), ("rx 24", 0), ("", 0), ("rx 30", 1)):
        with Desk(out, count, words=words) as desk:
            given = {"quiet_s": 0.0, "patience_s": 0.0, "once": True}
            found = list(watch(Folder(exported, [out]), desk, **given))
        assert sum(isinstance(event, Outcome) for event in found) == new
    assert rows(out) == 3


def test_options_reach_the_analysis(tmp_path, monkeypatch, capsys):
    from cordgap.cli import main
    from cordgap.export.plan import write_plan
    from cordgap.phantom import Sampling, spine_case

    coarse = Sampling(plane_spacing_mm=3.0, dose_spacing_mm=2.5)
    write_plan(spine_case(sampling=coarse, image=False), tmp_path / "in")
    words = ["cordgap", "watch", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--once"]
    options = ["--rx", "30", "--fractions", "5", "--level", "T7=-200:200"]
    monkeypatch.setattr(sys, "argv", [*words, "--settle-s", "0", "--json", *options])
    with pytest.raises(SystemExit):
        main.run()
    (outcome,) = json.loads(capsys.readouterr().out)["outcomes"]
    assert (outcome["status"], outcome["reason"]) == ("ok", None)
    document = json.loads((tmp_path / "out" / outcome["plan"] / "result.json").read_text())
    assert document["prescription"] == {"dose_gy": 30.0, "fractions": 5, "source": "option"}
    assert "T7" in document["separation"]["level"]["label"]


def test_options_that_can_hold_for_no_plan_are_refused_at_the_start(tmp_path):
    from cordgap.cli.analyze import standing
    from cordgap.cli.common import PlanOptions

    for wrong in (
        {"protocol": "nothing"}, {"constraint": ["nonsense"]}, {"level": ["T7"]},
        {"accept": ["all"]}, {"reachable": "everywhere"}, {"falloff": str(tmp_path / "no.json")},
    ):  # fmt: skip
        with pytest.raises(CordgapError):
            standing(PlanOptions(path=None, **wrong))
    # Half a prescription is completed from each plan.
    assert standing(PlanOptions(path=None, fractions=3))[1] == '{"fractions": 3}'
    assert standing(PlanOptions(path=None))[1] == ""


def test_a_file_of_options_counts_by_its_content(tmp_path, monkeypatch):
    from cordgap.cli.analyze import standing
    from cordgap.cli.common import PlanOptions
    from cordgap.limits import protocol

    table = (Path(protocol.__file__).parent / "tables" / "hytec-2021.toml").read_text("utf-8")
    own = tmp_path / "own.toml"
    own.write_text(table, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    analyse, words = standing(PlanOptions(path=None, protocol="own.toml"))
    assert analyse.keywords["options"].protocol == str(own)
    assert standing(PlanOptions(path=None, protocol=str(own)))[1] == words
    own.write_text(table + "\n", encoding="utf-8")
    assert standing(PlanOptions(path=None, protocol="own.toml"))[1] != words


def test_receive_takes_options_of_the_analysis_with_analyze_alone(tmp_path):
    from cordgap.cli.receive import receive

    with pytest.raises(OptionError, match="without --analyze"):
        receive(tmp_path / "inbox", allow=["TPS1"], rx=24.0)


def test_receive_and_analyze(debian, tmp_path, exported):
    storescu = debian("storescu", "dcmtk")
    """Without its dose, which makes it quick: the analysis refuses, and that is on record."""
    out = tmp_path / "out"
    (exported / "RTDOSE.dcm").unlink()
    command = [sys.executable, "-c", "from cordgap.cli.main import run; run()", "receive",
               "--into", str(tmp_path / "inbox"), "--allow", "TPS1", "--port", "0", "--analyze",
               "--out", str(out), "--settle-s", "0.5", "--patience-s", "1",
               "--idle-s", "3"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = process.stdout.readline().partition(";")[0].rpartition(":")[2]
        send = [storescu, "-aet", "TPS1", "-aec", "CORDGAP", "+sd", "127.0.0.1", port]
        subprocess.run([*send, str(exported)], check=True)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 4, rest
    assert "refused, 3 files" in rest
    assert "[rtdose-missing]" in rest
    assert rest.endswith("plans: 0 analysed, 1 refused, 0 failed, 0 given up\n")
    assert rows(out) == 1
