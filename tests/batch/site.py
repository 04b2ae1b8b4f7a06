"""A small site of plans, and a lane in this process for tests of everything but processes."""

from __future__ import annotations

import json
from pathlib import Path

from cordgap.batch import engine
from cordgap.batch.engine import BatchOptions, run_batch
from cordgap.batch.store import Store
from cordgap.batch.work import WorkSettings
from cordgap.dicom.inventory import take_inventory
from cordgap.export.plan import write_plan
from cordgap.phantom import Epidural, Sampling, spine_case

COARSE = Sampling(plane_spacing_mm=3.0, dose_spacing_mm=2.5)
KEY = "0123456789abcdef" * 4


def plan_at(folder: Path, gap_mm: float, patient_id: str = "CORDGAP") -> None:
    case = spine_case(epidural=Epidural(gap_mm=gap_mm), sampling=COARSE, image=False)
    write_plan(case, folder, patient_id=patient_id)


class HereLane:
    """Runs tasks in this process, through JSON as a worker does."""

    def call(self, task, *arguments, timeout_s):
        words = json.loads(json.dumps(arguments))
        return json.loads(json.dumps(task(*words)))

    def stop(self):
        pass


def use_lane(monkeypatch, lane=HereLane):
    monkeypatch.setattr(engine, "Lane", lambda *_: lane())


def run(root: Path, db: Path, **options):
    settings = options.pop("settings", WorkSettings())
    progress = options.pop("progress", None)
    with Store(db, site_key=KEY) as store:
        return run_batch(
            root,
            take_inventory(root),
            store,
            settings=settings,
            site_key=KEY,
            options=BatchOptions(**options),
            progress=progress,
        )


def rows(db: Path, sql: str):
    with Store(db, read_only=True) as store:
        return store.select(sql)[1]


def count(db: Path, table: str = "plans") -> int:
    return rows(db, f"SELECT count(*) FROM {table}")[0][0]
