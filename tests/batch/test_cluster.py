"""A Dask cluster of two workers, each a process of its own, on this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from cordgap.batch import cluster, work
from cordgap.batch.cluster import ClusterError

pytest.importorskip("distributed")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
WORKER = "-c import sys; from distributed.cli.dask_worker import main; sys.exit(main())"
SCHEDULER = "-c import sys; from distributed.cli.dask_scheduler import main; sys.exit(main())"


def start(program, *words):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(
        [sys.executable, "-c", program[3:], *words],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def waited_for(process, pattern):
    for line in process.stderr:
        if found := re.search(pattern, line):
            return found
    raise AssertionError("it ended before it was ready")


class Cluster:
    """Scheduler and two workers of one thread; ``kill`` is SIGKILL."""

    def __init__(self, folder):
        self.scheduler = start(
            SCHEDULER, "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"
        )
        self.address = waited_for(self.scheduler, r"Scheduler at:\s+(tcp://\S+)")[1]
        words = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", folder)
        self.workers = [start(WORKER, self.address, *map(str, words)) for _ in range(2)]
        for worker in self.workers:
            waited_for(worker, "Starting established connection|Registered to")

    def close(self):
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
            process.stderr.close()


@pytest.fixture
def dask(tmp_path):
    made = Cluster(tmp_path / "dask")
    yield made
    made.close()


COLUMNS = "SELECT * EXCLUDE (run_id, analysed_at, seconds) FROM plans ORDER BY plan_id"


def everything(site, db):
    tables = ("structures", "metrics", "constraints", "separations", "schedules", "findings")
    found = [site.rows(db, COLUMNS)]
    return found + [sorted(map(repr, site.rows(db, f"SELECT * FROM {t}"))) for t in tables]


def test_results_are_those_of_local_work_and_a_killed_worker_costs_none(
    site, written, tmp_path, dask
):
    local, far = tmp_path / "local.duckdb", tmp_path / "far.duckdb"
    site.run(written, local)
    site.plan_at(written / "more", 0.5, "PAT-D")
    shot = []

    def told(done, count, total):
        if not shot:
            shot.append(count)
            dask.workers[0].kill()

    try:
        summary = site.run(written, far, scheduler=dask.address, progress=told)
        assert shot
        assert summary.counts == {"ok": 3, "refused": 1}
        again = site.run(written, local, scheduler=dask.address)
        assert (again.known, again.analysed) == (3, 1)
    finally:
        for file in (written / "more").iterdir():
            file.unlink()
        (written / "more").rmdir()
    assert everything(site, far) == everything(site, local)


def test_a_scheduler_that_is_killed_stops_the_run_and_the_next_one_goes_on(
    site, written, tmp_path, dask
):
    db = tmp_path / "r.duckdb"

    def told(done, count, total):
        dask.scheduler.send_signal(signal.SIGKILL)
        dask.scheduler.wait()

    begun = time.monotonic()
    with pytest.raises(ClusterError, match="scheduler was lost"):
        site.run(written, db, scheduler=dask.address, progress=told)
    assert time.monotonic() - begun < 90
    before = site.count(db)
    assert before >= 1
    assert site.rows(db, "SELECT state FROM runs") == [("stopped",)]
    summary = site.run(written, db)
    assert summary.known == before
    assert (site.count(db), site.count(db, "all_plans")) == (3, 3)


def test_limits_hold_on_the_other_side(site, written, tmp_path, dask):
    db = tmp_path / "r.duckdb"
    summary = site.run(written, db, scheduler=dask.address, timeout_s=0.05)
    assert summary.counts == {"timeout": 3}


def test_no_scheduler_and_another_version_are_refused(tmp_path, dask, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 1.0)
    nobody = "tcp://127.0.0.1:9"
    with (
        pytest.raises(ClusterError, match="no scheduler with a worker answers"),
        cluster.cluster_lanes(nobody, None),
    ):
        pass
    monkeypatch.setattr(cluster, "CONNECT_S", 15.0)
    monkeypatch.setattr(cluster, "__version__", "0.0.0")
    with (
        pytest.raises(ClusterError, match="the same version"),
        cluster.cluster_lanes(dask.address, None),
    ):
        pass
    assert work.__version__ != "0.0.0"
