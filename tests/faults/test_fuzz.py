"""Mutants of good plans: every one is read right, refused, or changed with a finding.

The whole run is ``python -m tests.fuzz.run``; here are its first mutants, and tests of the fuzzer
itself: what it calls a failure must be one, and it must see each kind of failure.
"""

from __future__ import annotations

import io
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from tests.fuzz import report
from tests.fuzz.bases import BASES, SLOW, real_bases
from tests.fuzz.bombs import QUICK
from tests.fuzz.elements import Edit, layout_of
from tests.fuzz.mutate import KINDS, Change, make, mutant_of, plan_of, truncations
from tests.fuzz.oracle import (
    BAD,
    CHANGED_NOTED,
    EQUAL,
    EQUAL_NOTED,
    HANG,
    LEAK,
    MEMORY,
    PARTLY,
    REFUSED,
    SILENT,
    TRACEBACK,
    Seen,
    judge_mutant,
    observe,
)
from tests.fuzz.run import Record, Task, finished, good, run, tasks_of, write
from tests.fuzz.workers import peak_bytes, run_all

MUTANTS, SEED = 300, 2
PLANS = [base for base in BASES if base not in SLOW]


def words(records: list[Record]) -> str:
    return "\n".join(f"{r.outcome}: {r.title} {r.detail} {r.changed[:3]} {r.name}" for r in records)


def test_mutants_of_small_plans():
    cuts = truncations(PLANS[:3])
    tasks = [
        *tasks_of(MUTANTS - 40 - len(QUICK), SEED, bases=PLANS, cuts=False, bombs=QUICK),
        *(Task(("cut", *cut)) for cut in cuts[:: len(cuts) // 40][:40]),
    ]
    assert len(tasks) == MUTANTS
    records = run(tasks, processes=2)
    assert len(records) == MUTANTS
    failures = [r for r in records if report.is_failure(r)]
    assert not failures, words(failures)


def test_mutants_of_a_real_export(shared_data):
    bases = real_bases()
    tasks = tasks_of(2 * len(KINDS), SEED, bases=bases, cuts=False, bombs=())
    records = run(tasks, processes=2)
    assert {r.base for r in records} == set(bases)
    failures = [r for r in records if report.is_failure(r)]
    assert not failures, words(failures)


@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    name=st.sampled_from(("rtstruct.dcm", "rtdose.dcm", "rtplan.dcm")),
    place=st.floats(0, 1),
    size=st.integers(0, 12),
    new=st.binary(max_size=24),
)
def test_any_bytes_anywhere(tmp_path_factory, name, place, size, new):
    plan = plan_of("explicit")
    at = int(place * (len(plan.files[name]) - size))
    mutant = mutant_of(plan, "splice", Change(name, f"byte {at}", edits=(Edit(at, size, new),)))
    folder = write(mutant.files, tmp_path_factory.mktemp("splice") / "plan")
    found = judge_mutant(good("explicit"), observe(folder, known=good("explicit")))
    assert not (found.outcome in BAD and (mutant.structural or found.outcome != SILENT)), found


# --- the fuzzer itself ---------------------------------------------------------------------------


def lengths(ds: Dataset, path=()) -> dict[tuple, int]:
    """Map each element that is not a sequence to the length that pydicom read."""
    found: dict[tuple, int] = {}
    for tag in ds.keys():  # noqa: SIM118 (iterating a data set converts its values)
        element = ds.get_item(tag)
        keyword = pydicom.datadict.keyword_for_tag(tag) or f"{int(tag):08X}"
        raw = element.value
        if isinstance(raw, bytes) and ds[tag].VR != "SQ":
            found[*path, keyword] = len(raw)
    for element in ds:
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                found |= lengths(item, (*path, element.keyword, number))
    return found


@pytest.mark.parametrize("base", PLANS)
def test_the_walk_agrees_with_pydicom(base):
    for name, data in plan_of(base).files.items():
        layout = layout_of(data)
        ours = {
            e.path: e.value.size
            for e in layout.elements
            if e.vr not in ("SQ", "item", "fragment") and not e.undefined and e.tag >= 0x00080000
        }
        theirs = lengths(pydicom.dcmread(io.BytesIO(data), force=True))
        theirs = {path: size for path, size in theirs.items() if path in ours or size}
        if "PixelData" not in {p[-1] for p in ours}:
            theirs.pop(("PixelData",), None)  # encapsulated: walked as fragments
        assert ours == theirs, name
        inside = [(e.start, e.end) for e in layout.elements]
        assert all(0 <= start < end <= len(layout.plain) for start, end in inside)


@pytest.mark.parametrize("base", PLANS)
def test_an_edited_file_is_the_file_with_the_edit(base):
    layout = plan_of(base).layouts["rtplan.dcm"]
    dose = next(e for e in layout.elements if e.keyword == "TargetPrescriptionDose")
    assert layout.edited([]) == plan_of(base).files["rtplan.dcm"] or layout.deflated
    data = layout.edited([Edit(dose.value.at, dose.value.size, b"27")])
    ds = pydicom.dcmread(io.BytesIO(data), force=True)
    assert ds.DoseReferenceSequence[0].TargetPrescriptionDose == 27


def test_a_mutant_is_made_from_its_number_alone():
    for number in range(0, 3 * len(KINDS), 7):
        assert make(5, number, bases=PLANS) == make(5, number, bases=PLANS)
    made = [make(5, number, bases=PLANS) for number in range(6 * len(KINDS))]
    assert {m.kind for m in made} == set(KINDS)
    changed = [m for m in made if m.files != plan_of(m.base).files]
    assert len(changed) > 0.97 * len(made)


def test_what_is_payload():
    kinds: dict[str, set[bool]] = {}
    for number in range(6 * len(KINDS)):
        mutant = make(5, number, bases=PLANS)
        kinds.setdefault(mutant.kind, set()).add(mutant.structural)
    payload = {"contour digit", "vertex spike", "pixel bytes", "voxel spike"}
    assert {kind for kind, found in kinds.items() if found == {False}} == payload
    plan = plan_of("explicit")
    data = next(e for e in plan.layouts["rtstruct.dcm"].elements if e.keyword == "ContourData")
    for new, structural in ((b"7", False), (b"-", True), (b"77", True)):
        edit = Edit(data.value.at, 1, new)
        mutant = mutant_of(plan, "x", Change("rtstruct.dcm", "x", edits=(edit,)))
        assert mutant.structural is structural


GOOD_SEEN = Seen({"cord D0.035cc gy": 10.0, "required separation mm": 2.0}, ("a",))
VERDICTS = {
    EQUAL: {},
    EQUAL_NOTED: {"findings": ("a", "b")},
    CHANGED_NOTED: {"values": {"cord D0.035cc gy": 11.0}, "findings": ("b",)},
    PARTLY: {"values": {"cord D0.035cc gy": 10.0, "required separation mm": None}},
    REFUSED: {"error": "no", "error_kind": "DicomError"},
    SILENT: {"values": {"cord D0.035cc gy": 10.002, "required separation mm": 2.0}},
    TRACEBACK: {"trace": "KeyError"},
    MEMORY: {"error": "no", "error_kind": "MemoryError"},
    LEAK: {"leaked": True},
}


@pytest.mark.parametrize("outcome", VERDICTS)
def test_every_outcome_is_told(outcome):
    assert judge_mutant(GOOD_SEEN, replace(GOOD_SEEN, **VERDICTS[outcome])).outcome == outcome


def test_a_finding_that_the_good_plan_has_excuses_nothing():
    seen = replace(GOOD_SEEN, values={"cord D0.035cc gy": 11.0})
    assert judge_mutant(GOOD_SEEN, seen).outcome == SILENT


def test_a_patient_name_in_a_message_is_a_leak(build, tmp_path):
    files = dict(plan_of("explicit").files)
    layout = plan_of("explicit").layouts["rtstruct.dcm"]
    name = next(e for e in layout.elements if e.keyword == "ROIName")
    files["rtstruct.dcm"] = layout.edited([Edit(name.value.at, 10, build.PATIENT[:10].encode())])
    seen = observe(write(files, tmp_path / "plan"))
    assert seen.leaked


def test_the_short_cut_gives_what_the_whole_way_gives(tmp_path):
    files = {**plan_of("implicit").files, "note.txt": b"nothing"}
    folder = write(files, tmp_path / "plan")
    known = good("implicit")
    short, whole = observe(folder, known=known), observe(folder, known=known, whole=True)
    assert short.values == whole.values
    assert short.findings == whole.findings == known.findings


def hand(task):
    return task


def misbehave(task):
    if task == "hang":
        time.sleep(60)
    if task == "spin":
        until = time.process_time() + 60
        while time.process_time() < until:
            pass
    if task == "eat":
        return np.ones(150 << 20, np.uint8).sum() and None
    if task == "die":
        raise SystemExit(3)
    return "fine"


def test_workers_survive_what_mutants_do():
    tasks = ["fine", "spin", "die", "eat", "fine"]
    answers = list(run_all(hand, misbehave, tasks, processes=2, timeout_s=1.0))
    assert sorted(a.task for a in answers) == sorted(tasks)
    by_task = {a.task: a for a in answers}
    assert by_task["spin"].hang
    assert by_task["die"].value is None
    assert not by_task["die"].hang
    assert by_task["fine"].value == "fine"
    peak = by_task["eat"].peak_bytes
    assert peak is None or peak > 150 << 20


def test_a_hang_and_a_death_become_records():
    def answer(**how):
        from tests.fuzz.workers import Answer

        return Answer(**{"task": Task(("random", 1, 0)), "value": None, "seconds": 11.0,
                         "peak_bytes": None, **how})  # fmt: skip

    assert finished(answer(hang=True)).outcome == HANG
    assert finished(answer()).outcome == TRACEBACK
    calm = finished(answer(hang=True))
    heavy = finished(answer(value=replace(calm, outcome=EQUAL), peak_bytes=2 << 30))
    assert heavy.outcome == MEMORY


def test_the_peak_is_measured():
    peak = peak_bytes()
    assert peak is None or peak > 10 << 20


def test_failures_and_their_exceptions():
    calm = finished_record()
    assert not report.is_failure(replace(calm, outcome=EQUAL))
    assert report.is_failure(replace(calm, outcome=SILENT, structural=True))
    payload = replace(calm, outcome=SILENT, structural=False)
    assert not report.is_failure(payload)
    assert report.is_failure(replace(payload, spike=True, cord_gy=1.1))
    assert report.is_failure(replace(payload, outcome=TRACEBACK))


def test_only_the_value_of_a_number_that_nothing_repeats_is_forgiven():
    calm = replace(finished_record(), outcome=SILENT, structural=True)
    for where, fails in (
        ("ImagePositionPatient", False),
        ("FractionGroupSequence.0.NumberOfFractionsPlanned", False),
        ("StructureSetROISequence.1.ROINumber and StructureSetROISequence.0.ROINumber", False),
        ("length of ImagePositionPatient", True),
        ("ROIContourSequence.0.ContourSequence.3.ContourGeometricType", True),
        ("the stream", True),
    ):
        assert report.is_failure(replace(calm, where=where)) is fails, where
        assert report.is_failure(replace(calm, where=where, outcome=TRACEBACK))


def finished_record() -> Record:
    from tests.fuzz.workers import Answer

    return finished(Answer(Task(("random", 1, 0)), None, 1.0, None, hang=True))


def test_tables_count_every_mutant():
    calm = replace(finished_record(), outcome=EQUAL, structural=True)
    spike = replace(calm, structural=False, spike=True, kind="voxel spike", cord_gy=2.0)
    rows = [calm, replace(calm, outcome=SILENT), replace(spike, change_gy=2.0, outcome=SILENT)]
    assert "| **all** | 2 | 1 |" in report.counts_table(rows)
    assert "| 1 to 3 Gy | 1 | 0 | 0 % |" in report.payload_table(rows)
    assert "| voxel spike | 1 | 1 | 0 |" in report.spikes_table(rows)
    lost = replace(spike, change_gy=math.inf, findings=("x",))
    assert "| over 3 Gy | 1 | 1 | 100 % |" in report.payload_table([lost])


def test_reliability_page_has_its_places(tmp_path, monkeypatch):
    page = tmp_path / "reliability.md"
    page.write_text(report.DOCS.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(report, "DOCS", page)
    report.write_docs([replace(finished_record(), outcome=EQUAL)], seed=7)
    assert "Seed 7: 1 random mutants" in Path(page).read_text(encoding="utf-8")
