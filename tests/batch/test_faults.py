"""What may go wrong around a batch: nothing analysed is lost, nothing is counted twice."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pydicom
import pytest

from cordgap.batch import engine, lane, work
from cordgap.batch.lane import Lane, LaneDiedError, LaneMemoryError, LaneTimeoutError
from cordgap.batch.store import Store, StoreError
from cordgap.dicom import archive
from cordgap.dicom.inventory import take_inventory
from cordgap.errors import OptionError


def sleep(seconds):
    """A task."""
    time.sleep(seconds)
    return {}


def grow(megabytes):
    """A task."""
    return {"size": len(bytearray(megabytes << 20))}


def die(number):
    """A task."""
    os.kill(os.getpid(), number)
    return {}


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """This file as a module that workers can import."""
    shutil.copy(__file__, tmp_path / "lane_tasks.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    import lane_tasks

    yield lane_tasks
    sys.modules.pop("lane_tasks")


posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@posix
def test_a_worker_that_hangs_grows_or_dies_is_given_up_and_the_next_task_runs(tasks):
    worker = Lane(memory_mb=1500)
    try:
        with pytest.raises(LaneTimeoutError, match=r"within 0\.5 s"):
            worker.call(tasks.sleep, 60, timeout_s=0.5)
        with pytest.raises(LaneMemoryError, match="1500 MB"):
            worker.call(tasks.grow, 4000, timeout_s=60)
        with pytest.raises(LaneDiedError, match="signal 9"):
            worker.call(tasks.die, int(signal.SIGKILL), timeout_s=60)
        with pytest.raises(LaneDiedError, match="signal 11"):
            worker.call(tasks.die, int(signal.SIGSEGV), timeout_s=60)
        assert worker.call(tasks.grow, 1, timeout_s=60) == {"size": 1 << 20}
    finally:
        worker.stop()


def test_without_limits_of_the_system_a_thread_watches(tmp_path):
    pytest.importorskip("psutil")
    code = (
        "import sys, time, psutil; sys.modules['resource'] = None\n"
        "from cordgap.batch.lane import limit_memory\n"
        "assert limit_memory(300) == 'watched'\n"
        "data = b'x' * (400 << 20)\n"
        "time.sleep(20)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], timeout=60, env=environment, check=False)
    assert done.returncode == lane.MEMORY_EXIT


@posix
def test_a_killed_worker_costs_no_plan(site, written, tmp_path, monkeypatch):
    """SIGKILL in the middle of an analysis: the plan is tried again."""
    killed = []

    class Shot(Lane):
        def call(self, task, *arguments, timeout_s):
            if task is work.analyse_plan and not killed:
                killed.append(self.pid)
                threading.Timer(0.3, os.kill, (self.pid, signal.SIGKILL)).start()
            return super().call(task, *arguments, timeout_s=timeout_s)

    monkeypatch.setattr(engine, "Lane", Shot)
    db = tmp_path / "r.duckdb"
    summary = site.run(written, db)
    assert killed
    assert summary.counts == {"ok": 2, "refused": 1}
    assert site.count(db) == 3


def test_a_plan_that_always_kills_its_worker_is_failed_and_tried_by_the_next_run(
    quick, written, tmp_path, monkeypatch
):
    class Dying(quick.HereLane):
        def call(self, task, *arguments, timeout_s):
            if task is work.analyse_plan:
                raise LaneDiedError("the worker ended by itself (signal 9)")
            return super().call(task, *arguments, timeout_s=timeout_s)

    db = tmp_path / "r.duckdb"
    quick.use_lane(monkeypatch, Dying)
    summary = quick.run(written, db)
    assert summary.counts == {"failed": 3}
    assert quick.rows(db, "SELECT DISTINCT code FROM plans") == [("worker-died",)]
    quick.use_lane(monkeypatch)
    summary = quick.run(written, db)
    assert summary.counts == {"ok": 2, "refused": 1}
    assert (quick.count(db), quick.count(db, "all_plans")) == (3, 3)


@posix
def test_a_plan_that_takes_too_long_is_a_timeout(site, written, tmp_path):
    db = tmp_path / "r.duckdb"
    summary = site.run(written, db, timeout_s=0.05)
    assert summary.counts["timeout"] == 3
    assert site.rows(db, "SELECT DISTINCT status, code FROM plans") == [("timeout", "plan-timeout")]


RUNNER = """
import sys, time
sys.path.insert(0, {here!r})
import site_helper
from pathlib import Path
def told(done, count, total):
    print(count, flush=True)
    time.sleep(30)
site_helper.run(Path({root!r}), Path({db!r}), progress=told)
"""


def start_runner(written, tmp_path, db):
    shutil.copy(Path(__file__).parent / "site.py", tmp_path / "site_helper.py")
    code = RUNNER.format(here=str(tmp_path), root=str(written), db=str(db))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, text=True
    )


@posix
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_parent_stopped_in_the_middle_loses_nothing(site, written, tmp_path, number):
    db = tmp_path / "r.duckdb"
    runner = start_runner(written, tmp_path, db)
    assert runner.stdout.readline().strip() == "1"
    with pytest.raises(StoreError, match="another process has it open"):
        site.count(db)
    runner.send_signal(number)
    runner.wait(timeout=60)
    runner.stdout.close()
    before = site.count(db)
    assert before >= 1
    state = "running" if number == signal.SIGKILL else "interrupted"
    assert site.rows(db, "SELECT state FROM runs") == [(state,)]
    summary = site.run(written, db)
    assert summary.known == before
    assert (site.count(db), site.count(db, "all_plans")) == (3, 3)
    assert summary.counts == {"ok": 2, "refused": 1}


def test_a_worker_ends_with_its_parent_and_takes_its_temporary_files(tmp_path):
    code = (
        "import os, time\n"
        "from cordgap.batch.lane import Lane\n"
        "from cordgap.batch.learn import read_folder\n"
        "lane = Lane(); lane.call(read_folder, '.', timeout_s=60)\n"
        "print(lane.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    places = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "TMPDIR": str(tmp_path)}
    environment = {**os.environ, **places}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, cwd=tmp_path,
        check=False, timeout=60,
    )  # fmt: skip
    pid = int(done.stdout)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text():
            assert list(tmp_path.iterdir()) == []
            return
        time.sleep(0.1)
    pytest.fail("the worker is still there")


def test_disk_full_at_every_write(quick, written, tmp_path, monkeypatch):
    """ENOSPC at the n-th statement that writes, for each n: what was committed stays, once."""
    write = Store._insert
    for wanted in range(1, 40):
        db = tmp_path / f"{wanted}.duckdb"
        calls = []

        def insert(self, table, rows, calls=calls, wanted=wanted):
            if rows:
                calls.append(table)
                if len(calls) == wanted:
                    raise OSError(errno.ENOSPC, "No space left on device")
            write(self, table, rows)

        monkeypatch.setattr(Store, "_insert", insert)
        try:
            quick.run(written, db)
        except StoreError as error:
            assert error.code == "disk-full"
            assert "run the same command again" in str(error)
        else:
            break
        monkeypatch.setattr(Store, "_insert", write)
        before = quick.count(db)
        whole = "SELECT count(*) FROM plans p WHERE status = 'ok' AND 2 <> (SELECT count(*) FROM "
        whole += "structures s WHERE s.result_id = p.result_id)"
        assert quick.rows(db, whole) == [(0,)]
        summary = quick.run(written, db)
        assert summary.known == before
        assert (quick.count(db), quick.count(db, "all_plans")) == (3, 3)
    assert wanted > 4


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    try:
        done = subprocess.run(words, capture_output=True, check=False)
    except OSError:
        pytest.skip("no mount")
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_disk_that_is_really_full(quick, written, tmp_path, small_disk):
    db = small_disk / "r.duckdb"
    quick.run(written, db)
    filler = small_disk / "filler"
    size = 1 << 22
    while size:  # to the last block
        try:
            with filler.open("ab") as stream:
                stream.write(b"x" * size)
        except OSError:
            size //= 2
    settings = work.WorkSettings(max_mm=4.0)
    with pytest.raises(StoreError, match="no space is left"):
        for _ in range(200):  # until the blocks of the database are used up
            quick.run(written, db, settings=settings)
            settings = work.WorkSettings(max_mm=settings.max_mm + 0.01)
    filler.unlink()
    assert quick.count(db) == 3
    quick.run(written, db, settings=settings)
    assert quick.count(db) == 3
    twice = "SELECT result_id FROM all_plans GROUP BY ALL HAVING count(*) > 1"
    assert quick.rows(db, twice) == []


def test_a_folder_that_cannot_be_read(quick, tree, tmp_path, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if not isinstance(path, int) and Path(path).name == "Jones":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    db = tmp_path / "r.duckdb"
    monkeypatch.setattr(os, "scandir", refuse)
    assert take_inventory(tree).unreadable == 1
    assert quick.run(tree, db).analysed == 2
    monkeypatch.setattr(os, "scandir", scan)
    assert quick.run(tree, db).analysed == 1
    assert quick.count(db) == 3


@pytest.mark.parametrize("fault", ["vanishes", "grows"])
def test_a_file_that_changes_during_the_run(here, tree, tmp_path, monkeypatch, fault):
    file = tree / "Jones" / "a" / "b" / "RS.dcm"
    whole = file.read_bytes()

    class Changing(here.HereLane):
        def call(self, task, *arguments, timeout_s):
            if task is work.analyse_plan and "Jones" in arguments[0]["files"][0]:
                if fault == "vanishes":
                    file.unlink()
                else:
                    file.write_bytes(whole + b"\xfc\xff\xfc\xff\x08\0\0\0" + b"12345678")
            return super().call(task, *arguments, timeout_s=timeout_s)

    db = tmp_path / "r.duckdb"
    here.use_lane(monkeypatch, Changing)
    summary = here.run(tree, db)
    assert summary.counts == {"ok": 1, "refused": 1, "failed": 1}
    assert here.rows(db, "SELECT code FROM plans WHERE status = 'failed'") == [("input-changed",)]
    file.write_bytes(whole)
    here.use_lane(monkeypatch)
    summary = here.run(tree, db)
    assert (summary.known, summary.analysed) == (2, 1)
    assert summary.counts == {"ok": 2, "refused": 1}
    assert (here.count(db), here.count(db, "all_plans")) == (3, 3)


def test_a_file_that_vanishes_before_it_is_hashed(quick, tree, tmp_path, monkeypatch):
    file = tree / "Jones" / "a" / "b" / "RS.dcm"
    inventory = take_inventory(tree)
    whole = file.read_bytes()
    file.unlink()
    db = tmp_path / "r.duckdb"
    with Store(db, site_key=quick.KEY) as store:
        summary = engine.run_batch(
            tree, inventory, store, settings=work.WorkSettings(), site_key=quick.KEY,
            options=engine.BatchOptions(),
        )  # fmt: skip
    assert summary.counts["failed"] == 1
    file.write_bytes(whole)
    assert quick.run(tree, db).counts == {"ok": 2, "refused": 1}
    assert quick.count(db) == 3


def test_a_damaged_database_and_other_files_are_refused(quick, written, tmp_path):
    db = tmp_path / "r.duckdb"
    quick.run(written, db)
    data = db.read_bytes()
    for name, content in (("cut", data[: len(data) // 3]), ("text", b"hello\n" * 2000)):
        bad = tmp_path / f"{name}.duckdb"
        bad.write_bytes(content)
        with pytest.raises(StoreError, match="restore it from a backup") as refused:
            quick.run(written, bad)
        assert refused.value.code == "store-damaged"
        assert bad.read_bytes() == content
    assert quick.count(db) == 3


def test_ten_thousand_files_that_are_not_dicom(quick, tmp_path):
    root = tmp_path / "many"
    for number in range(100):
        folder = root / str(number)
        folder.mkdir(parents=True)
        for inner in range(100):
            (folder / f"{inner}.dcm").write_bytes(b"not a plan")
    inventory = take_inventory(root)
    assert (inventory.files, inventory.not_dicom, inventory.plans) == (10_000, 10_000, ())
    assert quick.run(root, tmp_path / "r.duckdb").exit_code == 2


def test_a_bomb_and_a_path_that_climbs_out_of_a_zip(quick, tree, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 50 << 20)
    with zipfile.ZipFile(tree / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("zeros.dcm", bytes(60 << 20))
    with zipfile.ZipFile(tree / "climb.zip", "w") as climb:
        for file in (tree / "Jones" / "a" / "b").iterdir():
            climb.write(file, f"../../../../{file.name}")
    shutil.rmtree(tree / "Jones")
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    db = tmp_path / "r.duckdb"
    summary = quick.run(tree, db)
    assert summary.counts == {"ok": 2, "refused": 2}
    assert ("file-too-large",) in quick.rows(db, "SELECT code FROM plans")
    assert {p for p in tmp_path.rglob("*") if p.is_file()} - before == {db}
    again = quick.run(tree, db)
    assert (again.known, again.analysed) == (4, 0)


def test_hostile_uids_name_nothing_on_the_disk(here, tree, tmp_path):
    shutil.rmtree(tree / "bad")
    shutil.rmtree(tree / "Jones")
    file = next(tree.rglob("RD.dcm"))
    ds = pydicom.dcmread(file)
    with pytest.warns(UserWarning, match="Invalid value for VR UI"):
        ds.SOPInstanceUID = "../../../evil"
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2"
    ds.save_as(file)
    out = tmp_path / "a" / "b" / "out"
    db = tmp_path / "r.duckdb"
    summary = here.run(tree, db, out=out)
    ((plan, status, report),) = here.rows(db, "SELECT plan_id, status, report FROM plans")
    assert summary.analysed == 1
    if status == "ok":
        assert report == plan
    assert not [p for p in tmp_path.rglob("*evil*") if "tree" not in p.parts]
    assert {p.name for p in out.iterdir()} <= {plan} if out.exists() else True


def test_another_site_key_or_a_newer_store_is_refused(quick, written, tmp_path):
    db = tmp_path / "r.duckdb"
    quick.run(written, db)
    with pytest.raises(StoreError, match="another site key"):
        Store(db, site_key="ff" * 32)
    with Store(db) as store:
        store.select("UPDATE store SET version = 99")
    with pytest.raises(StoreError, match="use a newer cordgap"):
        Store(db)
    with pytest.raises(OptionError, match="no such database"):
        Store(tmp_path / "none.duckdb", read_only=True)
