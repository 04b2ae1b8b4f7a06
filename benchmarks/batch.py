"""How fast a batch is, how much memory it takes, and how the store scales.

Synthetic plans of three shapes of tumour (anterior, anterolateral, circumferential) in clinical
sampling, with the organs of a chest (``thorax.py``), each under UIDs of its own. Plans a second for
one and two processes, interleaved; peak memory of parent and workers for a tenth of the plans and
for all; the whole analysis of a plan beside a plain loop of dicompyler-core over the DVHs of the
same structures, in the same run, plan by plan; insert and query times of the store at a million
rows.

Usage: python benchmarks/batch.py [--plans N] [--speed N] [--peer N] [--rows N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pydicom

import peer
from cordgap.batch.engine import BatchOptions, run_batch
from cordgap.batch.store import Store
from cordgap.batch.tables import TABLES
from cordgap.batch.work import WorkSettings, analyse_plan, hash_plan, job_document
from cordgap.dicom.inventory import take_inventory
from cordgap.export.plan import write_plan
from cordgap.phantom import Epidural, Sampling, spine_case
from thorax import in_thorax

KEY = "00" * 32
CLINICAL = Sampling(plane_spacing_mm=2.0, dose_spacing_mm=2.0)
SHAPES = ("anterior", "anterolateral", "circumferential")
LOOK_S = 0.1
METRICS_PER_PLAN = 40
NAMES = ("StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


def templates(folder: Path) -> list[Path]:
    """Write one plan of each shape."""
    made = []
    for kind in SHAPES:
        case = spine_case(epidural=Epidural(kind=kind, gap_mm=0.5), sampling=CLINICAL, image=False)
        write_plan(in_thorax(case), folder / kind, dose_bits=16)
        made.append(folder / kind)
    return made


def copies(sources: list[Path], root: Path, count: int) -> None:
    """Write plans that differ in their UIDs: as many bytes to change as digits there are."""
    for number in range(count):
        source = sources[number % len(sources)]
        folder = root / f"{number // 100:03d}" / f"{number:06d}"
        folder.mkdir(parents=True)
        for name in ("RS.dcm", "RP.dcm", "RD.dcm"):
            data = (source / name).read_bytes()
            for uid in uids_of(source):
                # The last digits of every UID are those of the copy; the length stays.
                data = data.replace(uid, uid[:-6] + f"{number + 100000:06d}".encode())
            (folder / name).write_bytes(data)


_uids: dict[Path, set[bytes]] = {}


def uids_of(source: Path) -> set[bytes]:
    """UIDs that a plan was given: those of files, study and frame of reference."""
    if source not in _uids:
        found = set()
        for file in sorted(source.glob("R*.dcm")):
            ds = pydicom.dcmread(file, stop_before_pixels=True)
            found |= {str(ds[n].value).encode() for n in NAMES if n in ds}
        _uids[source] = found
    return _uids[source]


class Watch:
    """Peak resident memory of this process and of its largest worker, in MB."""

    def __enter__(self) -> Watch:
        self.parent = self.worker = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._end.wait(LOOK_S):
            self.parent = max(self.parent, me.memory_info().rss / 2**20)
            for child in me.children():
                try:
                    self.worker = max(self.worker, child.memory_info().rss / 2**20)
                except psutil.NoSuchProcess:
                    continue


def batch(root: Path, folder: Path, jobs: int, limit: int | None = None) -> tuple[float, int]:
    """Run a batch into a new store; return seconds and plans."""
    inventory = take_inventory(root)
    begun = time.perf_counter()
    with Store(folder / f"{time.time_ns()}.duckdb", site_key=KEY) as store:
        done = run_batch(
            root, inventory, store, settings=WorkSettings(), site_key=KEY,
            options=BatchOptions(jobs=jobs, limit=limit),
        )  # fmt: skip
    assert done.counts == {"ok": done.analysed}, done.counts
    return time.perf_counter() - begun, done.analysed


def speed(root: Path, folder: Path, plans: int, repeats: int) -> dict[str, float]:
    """Plans a second of one and of two processes, and the efficiency of the second."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for jobs in (1, 2):
            seconds, done = batch(root, folder, jobs, plans)
            rates[jobs].append(done / seconds)
    one, two = (statistics.median(rates[jobs]) for jobs in (1, 2))
    return {"one": one, "two": two, "efficiency": two / one / 2}


def one_process(root: Path, folder: Path, plans: int) -> dict[str, float]:
    """Peak memory of a run of its own process over so many plans."""
    words = [sys.executable, __file__, "--memory-of", str(plans), str(root), str(folder)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def memory_of(root: Path, folder: Path, plans: int) -> dict[str, float]:
    with Watch() as watch:
        _, done = batch(root, folder, 2, plans)
    return {"plans": done, "parent_mb": watch.parent, "worker_mb": watch.worker}


def beside_peer(root: Path, plans: int) -> dict[str, float]:
    """Whole analysis of a plan over a plain loop of the peer's DVHs, each from the files."""
    ratios, own, other = [], [], []
    settings = WorkSettings()
    for number, plan in enumerate(take_inventory(root).plans[: plans + 1]):
        job = json.loads(
            json.dumps(job_document(root, plan, KEY, settings, settings.words(), None))
        )
        begun = time.perf_counter()
        rows = analyse_plan(job, hash_plan(job)["hashes"])["rows"]
        mine = time.perf_counter() - begun
        assert rows["plans"][0]["status"] == "ok"
        files = {Path(f).name: root / f for f in plan.files}
        begun = time.perf_counter()
        for structure in rows["structures"]:
            peer.plain(files["RS.dcm"], files["RD.dcm"], structure["roi_number"])
        theirs = time.perf_counter() - begun
        if number:  # the first one pays for imports
            own.append(mine)
            other.append(theirs)
            ratios.append(mine / theirs)
    return {
        "own_s": statistics.median(own),
        "peer_s": statistics.median(other),
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "plans": len(ratios),
    }


def store_times(folder: Path, rows: int) -> dict[str, float]:
    """Insert and query times at so many rows of metrics, written as a batch writes them."""
    rng = np.random.default_rng(1)
    path = folder / "large.duckdb"
    plans = rows // METRICS_PER_PLAN
    values = rng.gamma(4.0, 3.0, (plans, METRICS_PER_PLAN))
    together = 50
    begun = time.perf_counter()
    with Store(path, site_key=KEY) as store:
        for start in range(0, plans, together):
            made = []
            for n in range(start, min(start + together, plans)):
                name = {"plan_id": f"{n:016x}", "result_id": f"{n:032x}"}
                head = name | {"status": "ok", "exceeded": bool(n % 3), "machine": f"m{n % 7}"}
                metrics = [
                    name | {"role": "cord" if i < 8 else "gtv", "metric": f"D{i % 8}", "value": v}
                    for i, v in enumerate(values[n].tolist())
                ]
                made.append({"plans": [head], "metrics": metrics})
            store.add(made)
        insert_s = time.perf_counter() - begun
        times = {}
        for name, sql in {
            "count": "SELECT status, count(*) FROM plans GROUP BY status",
            "median": "SELECT metric, median(value) FROM metrics WHERE role = 'cord' GROUP BY 1",
            "one plan": f"SELECT * FROM metrics WHERE plan_id = '{plans // 2:016x}'",
        }.items():
            taken = []
            for _ in range(5):
                begun = time.perf_counter()
                store.select(sql)
                taken.append(time.perf_counter() - begun)
            times[f"query {name} s"] = statistics.median(taken)
    return {
        "rows": plans * METRICS_PER_PLAN,
        "columns": len(TABLES["metrics"]),
        "insert_s": insert_s,
        "rows_a_second": plans * METRICS_PER_PLAN / insert_s,
        "mb": path.stat().st_size / 2**20,
        **times,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=1000)
    parser.add_argument("--speed", type=int, default=60, help="plans for plans a second")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer", type=int, default=9)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", nargs=3)
    given = parser.parse_args()
    if given.memory_of:
        count, root, place = given.memory_of
        print(json.dumps(memory_of(Path(root), Path(place), int(count))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, root = Path(name), Path(name, "tree")
        copies(templates(folder / "templates"), root, given.plans)
        size = sum(f.stat().st_size for f in root.rglob("*.dcm")) / given.plans / 2**20
        begun = time.perf_counter()
        found = take_inventory(root)
        inventory_s = time.perf_counter() - begun
        assert len(found.plans) == given.plans
        result = {
            "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            "plans": given.plans,
            "mb_a_plan": size,
            "inventory_ms_a_plan": 1e3 * inventory_s / given.plans,
            "peer": beside_peer(root, given.peer) if peer.version() else None,
            "store": store_times(folder, given.rows),
        }
        print(json.dumps(result, indent=1), flush=True)
        result["speed"] = speed(root, folder, given.speed, given.repeats)
        print(json.dumps(result["speed"]), flush=True)
        result["memory"] = [
            one_process(root, folder, n) for n in (max(given.plans // 10, 1), given.plans)
        ]
        print(json.dumps(result["memory"]), flush=True)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
