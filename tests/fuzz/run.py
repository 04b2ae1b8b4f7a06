"""Make mutants, judge what the readers make of them, and write down the counts.

``python -m tests.fuzz.run --count 5000 --seed 1 --out FILE`` from the root of the checkout; with
``--docs`` the tables in docs/reliability.md are written anew.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.fuzz import report
from tests.fuzz.bases import BASES, FRACTIONS, REAL, RX_GY, Files, real_bases
from tests.fuzz.bombs import BOMBS
from tests.fuzz.mutate import Mutant, cut_at, make, truncations
from tests.fuzz.mutate import plan_of as _plan_of
from tests.fuzz.oracle import (
    CORD_DOSES,
    HANG,
    MEMORY,
    TRACEBACK,
    Judgement,
    Seen,
    judge_mutant,
    observe,
)
from tests.fuzz.workers import MEMORY_BYTES, Answer, run_all, scratch

from cordgap.case.case import Prescription

# One mutant in this many goes the whole way although its case is the good one: holds the short
# cut against the truth.
_WHOLE = 25


@dataclass(frozen=True)
class Task:
    """A mutant by name: ("random", seed, number), ("cut", base, file, byte), ("bomb", number)."""

    name: tuple[str | int, ...]
    bases: tuple[str, ...] = tuple(BASES)


@dataclass(frozen=True)
class Record:
    """What became of one mutant."""

    name: tuple[str | int, ...]
    base: str
    kind: str
    title: str
    where: str
    old: str
    new: str
    structural: bool
    spike: bool
    outcome: str
    detail: str
    findings: tuple[str, ...]
    changed: tuple[tuple[str, float | str | None, float | str | None], ...]
    change_gy: float
    cord_gy: float
    warned: tuple[str, ...]
    seconds: float
    peak_bytes: int | None


def mutant(task: Task) -> Mutant:
    """Make the mutant that a task names."""
    how, *rest = task.name
    if how == "random":
        seed, number = rest
        return make(int(seed), int(number), bases=task.bases)
    if how == "cut":
        base, name, at = rest
        return cut_at(str(base), str(name), int(at))
    return BOMBS[int(rest[0])]()


def write(files: Files, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def _prescription(base: str) -> Prescription | None:
    """Real exports here have no plan."""
    has_plan = any("rtplan" in name for name in _plan_of(base).files)
    return None if has_plan else Prescription(RX_GY, FRACTIONS, "option")


@cache
def good(base: str) -> Seen:
    """Read and analyse the good plan."""
    with tempfile.TemporaryDirectory(prefix="cordgap-good-") as folder:
        seen = observe(
            write(_plan_of(base).files, Path(folder) / "plan"), prescription=_prescription(base)
        )
    if seen.error or seen.trace:
        raise AssertionError(f"the good plan {base} is refused: {seen.error or seen.trace}")
    return seen


Prepared = tuple[Task, Mutant, Path]


def prepare(task: Task) -> Prepared:
    made = mutant(task)
    good(made.base)
    folder = Path(tempfile.mkdtemp(prefix="mutant-", dir=scratch()))
    write(made.files, folder / "plan")
    return task, made, folder


def examine(prepared: Prepared) -> Record:
    """Read a mutant and judge what came out."""
    task, made, folder = prepared
    logging.disable(logging.CRITICAL)
    known = good(made.base)
    whole = hash_of(task.name) % _WHOLE == 0
    try:
        seen = observe(
            folder / "plan", known=known, prescription=_prescription(made.base), whole=whole
        )
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        own = [f for f in where if "cordgap" in f.filename] or list(where)
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        seen = Seen({}, trace=f"{type(error).__name__} at {place}: {str(error)[:200]}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return record(task, made, seen, judge_mutant(known, seen))


def hash_of(name: tuple[str | int, ...]) -> int:
    return sum(ord(c) * (i + 1) for i, c in enumerate(str(name)))


def record(task: Task, made: Mutant, seen: Seen, judgement: Judgement) -> Record:
    return Record(
        task.name, made.base, made.kind, made.title(), made.change.where, made.change.old,
        made.change.new, made.structural, made.change.spike, judgement.outcome,
        seen.trace or (f"{seen.error_kind}: {seen.error}" if seen.error else ""),
        judgement.new, judgement.changed, judgement.change_gy(),
        judgement.change_gy(CORD_DOSES), seen.warned, 0.0, None,
    )  # fmt: skip


def finished(answer: Answer) -> Record:
    """Turn a worker's answer into a record; deaths, hangs and memory are outcomes too."""
    from dataclasses import replace

    if answer.value is None:
        made = mutant(answer.task)
        outcome = HANG if answer.hang else TRACEBACK
        detail = f"{answer.seconds:.0f} s at {answer.where}" if answer.hang else "the process died"
        seen = Seen({}, trace=detail)
        return replace(record(answer.task, made, seen, Judgement(outcome)), seconds=answer.seconds)
    found: Record = answer.value
    found = replace(found, seconds=answer.seconds, peak_bytes=answer.peak_bytes)
    if answer.peak_bytes is not None and answer.peak_bytes > MEMORY_BYTES:
        found = replace(
            found, outcome=MEMORY,
            detail=f"{answer.peak_bytes / 2**20:.0f} MB; {found.outcome}; {found.detail}",
        )  # fmt: skip
    return found


def run(
    tasks: Iterable[Task],
    *,
    processes: int,
    meanwhile: Callable[[list[Record]], None] | None = None,
) -> list[Record]:
    """Judge every task; in order of the tasks. ``meanwhile`` gets what there is now and then."""
    listed = list(tasks)
    place = {task: i for i, task in enumerate(listed)}
    records: list[tuple[int, Record]] = []
    for answer in run_all(prepare, examine, listed, processes=processes):
        records.append((place[answer.task], finished(answer)))
        if len(records) % 200 == 0:
            print(f"{len(records)} of {len(listed)}", file=sys.stderr)
            if meanwhile:
                meanwhile([r for _, r in records])
    return [r for _, r in sorted(records, key=lambda pair: pair[0])]


def tasks_of(
    count: int, seed: int, *, bases: Sequence[str], cuts: bool, bombs: Iterable[int]
) -> list[Task]:
    """List the tasks, the dear ones first."""
    tasks = [Task(("bomb", number)) for number in bombs]
    if cuts:
        tasks += [Task(("cut", *cut)) for cut in truncations(bases)]
    return tasks + [Task(("random", seed, number), tuple(bases)) for number in range(count)]


def load(path: Path) -> list[Record]:
    """Read the records that ``--out`` wrote."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        for key in ("name", "findings", "warned"):
            row[key] = tuple(row[key])
        row["changed"] = tuple(tuple(change) for change in row["changed"])
    return [Record(**row) for row in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="random mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write every record as a line of JSON")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-cuts", action="store_true", help="no cut at every boundary")
    parser.add_argument("--no-bombs", action="store_true")
    parser.add_argument("--real", action="store_true", help="real exports too, where they are")
    parser.add_argument("--base", action="append", help="these base plans only")
    parser.add_argument("--failures", type=Path, help="folder for what reproduces each failure")
    parser.add_argument("--records", type=Path, help="no run: take what --out wrote")
    parser.add_argument("--docs", action="store_true", help="write docs/reliability.md anew")
    options = parser.parse_args(arguments)
    bases = list(options.base or BASES)
    if options.real and REAL.is_dir():
        bases += real_bases()
    bombs = () if options.no_bombs else range(len(BOMBS))
    tasks = tasks_of(
        options.count, options.seed, bases=bases, cuts=not options.no_cuts, bombs=bombs
    )

    def keep(records: list[Record]) -> None:
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(r.__dict__, default=str) for r in records]
            options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if options.failures:
            report.write_failures(records, options.failures, files_of)

    def files_of(name: tuple[str | int, ...]) -> Files:
        return mutant(Task(name, tuple(bases))).files

    if options.records:
        records = load(options.records)
    else:
        records = run(tasks, processes=options.jobs, meanwhile=keep)
    keep(records)
    if options.docs:
        report.write_docs(records, seed=options.seed)
    print(report.summary(records))
    return 1 if any(report.is_failure(r) for r in records) else 0


if __name__ == "__main__":
    sys.exit(main())
