"""A tree of plans through workers into the store: resumable, and no plan stops the others.

Lanes (local processes, or places in a Dask cluster) take plans from one list; this process alone
writes, as results come, all that wait in one transaction.
"""

from __future__ import annotations

import queue
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from cordgap._version import __version__
from cordgap.batch.lane import Lane, LaneDiedError, LaneMemoryError, LaneTimeoutError, Task
from cordgap.batch.store import Rows, Store, StoreError
from cordgap.batch.studies import PacsPlace
from cordgap.batch.work import (
    Job,
    WorkSettings,
    analyse_plan,
    hash_plan,
    job_document,
    list_archive,
    lost_rows,
    plans_of,
)
from cordgap.dicom.inventory import Inventory, PlanFiles
from cordgap.errors import CordgapError

STATUSES = ("ok", "refused", "failed", "timeout")
DEFAULT_TIMEOUT_S = 300.0
DEFAULT_MEMORY_MB = 4096
# A worker that died is tried once more: the next plan may have been the reason, or nobody.
_TRIES = 2
_RUN_DIGITS = 12


class AnyLane(Protocol):
    """Something that runs one task at a time elsewhere."""

    def call(self, task: Task, *arguments: Any, timeout_s: float) -> dict[str, Any]:
        """Run a task; raises the errors of lane.py."""

    def stop(self) -> None:
        """End it."""


@dataclass(frozen=True)
class BatchOptions:
    """How a batch runs; none of it changes a result."""

    jobs: int = 1
    timeout_s: float = DEFAULT_TIMEOUT_S
    memory_mb: int | None = DEFAULT_MEMORY_MB
    limit: int | None = None
    scheduler: str | None = None
    dry_run: bool = False
    out: Path | None = None


@dataclass(frozen=True)
class Done:
    """One plan that is through: ``new`` where it was analysed now; ``place`` is not kept."""

    result_id: str
    plan_id: str
    status: str
    code: str | None
    reason: str | None
    new: bool
    plan: PlanFiles
    rows: Rows | None = None
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """What a batch came to. ``left`` plans were not begun (``--limit``, or it was stopped)."""

    run_id: str
    found: int
    known: int
    analysed: int
    copies: int
    left: int
    counts: dict[str, int]
    exceeded: int
    state: str
    empty_archives: int = 0
    done: tuple[Done, ...] = field(default=(), repr=False)

    @property
    def exit_code(self) -> int:
        """2 nothing usable, 4 some refused or failed, 1 something exceeded, 0 else."""
        if not self.counts.get("ok"):
            return 2
        if any(self.counts.get(status) for status in STATUSES[1:]):
            return 4
        return 1 if self.exceeded else 0


Progress = Callable[[Done, int, int], None]


class _Run:
    """What the lanes of one run share."""

    def __init__(
        self,
        source: Path | PacsPlace,
        plans: Iterable[PlanFiles],
        known: dict[str, str],
        settings: WorkSettings,
        site_key: str,
        options: BatchOptions,
    ) -> None:
        self.source, self.site_key, self.options = source, site_key, options
        self.settings = settings
        self.words = settings.words()
        self.todo = deque(plans)
        self.total = len(self.todo)
        self.known = known
        self.claimed: set[str] = set()
        self.begun = 0
        self.empty = 0
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.results: queue.Queue[Done | BaseException | None] = queue.Queue()

    def job(self, plan: PlanFiles) -> dict[str, Any]:
        return job_document(
            self.source, plan, self.site_key, self.settings, self.words, self.options.out
        )

    def work(self, lane: AnyLane) -> None:
        """Take plans until there are none; what happens to the lane itself ends the run."""
        try:
            while not self.stopped.is_set():
                try:
                    plan = self.todo.popleft()
                except IndexError:
                    break
                for one, hashed in self._opened(lane, plan):
                    if self.stopped.is_set():
                        break
                    done = one if isinstance(one, Done) else self._one(lane, one, hashed)
                    if done is not None and not self.stopped.is_set():
                        self.results.put(done)
        except BaseException as error:
            self.results.put(error)
        finally:
            lane.stop()
            self.results.put(None)

    def _opened(
        self, lane: AnyLane, plan: PlanFiles
    ) -> Iterator[tuple[PlanFiles | Done, dict[str, Any] | None]]:
        """Yield a plan, or those of a ZIP file or study; with its hashes where it has them."""
        if plan.archive is None or plan.files:
            yield plan, None
            return
        listed, lost = self._call(lane, plan, None, list_archive)
        if lost is not None or listed.get("rows"):
            rows = lost or listed["rows"]
            key = rows["plans"][0]["result_id"]
            if key in self.known:
                yield Done(key, self.known[key], "known", None, None, False, plan), None
            else:
                yield self._done(rows, plan), None
            return
        found = plans_of(listed["plans"], plan.archive)
        with self.lock:
            self.empty += not found
        yield from zip(found, listed["hashed"] or repeat(None), strict=False)

    def _one(self, lane: AnyLane, plan: PlanFiles, hashed: dict[str, Any] | None) -> Done | None:
        """Analyse a plan unless its result is known, or made by this very run."""
        lost = None
        if hashed is None:
            hashed, lost = self._call(lane, plan, None, hash_plan)
        if lost is not None or hashed.get("rows"):
            return self._done(lost or hashed["rows"], plan)
        key = hashed["key"]
        with self.lock:
            if key in self.claimed:
                return Done(key, "", "copy", None, None, False, plan)
            self.claimed.add(key)
            if key in self.known:
                places = Job.of(self.job(plan)).places
                plan_id = self.known[key]
                return Done(key, plan_id, "known", None, None, False, plan, places=places)
            if self.options.limit is not None and self.begun >= self.options.limit:
                self.claimed.discard(key)
                return Done(key, "", "left", None, None, False, plan)
            self.begun += 1
        if self.options.dry_run:
            return Done(key, "", "new", None, None, True, plan)
        made, lost = self._call(lane, plan, hashed["hashes"], analyse_plan)
        return self._done(lost or made["rows"], plan)

    def _call(
        self, lane: AnyLane, plan: PlanFiles, hashes: dict[str, Any] | None, task: Task
    ) -> tuple[dict[str, Any], Rows | None]:
        """Return the answer of a worker, or the rows that say why there is none."""
        job = self.job(plan)
        arguments = (job,) if hashes is None else (job, hashes)
        status, error = "failed", CordgapError("")
        for _ in range(_TRIES):
            try:
                return lane.call(task, *arguments, timeout_s=self.options.timeout_s), None
            except LaneTimeoutError as slow:
                status, error = "timeout", slow
                break
            except LaneMemoryError as large:
                error = large
                break
            except LaneDiedError as died:
                error = died
                if self.stopped.is_set():
                    break
        return {}, lost_rows(job, hashes, status, error.code, str(error))

    def _done(self, rows: Rows, plan: PlanFiles) -> Done:
        head = rows["plans"][0]
        with self.lock:
            self.claimed.add(head["result_id"])
        return Done(
            head["result_id"], head["plan_id"], head["status"], head["code"], head["reason"],
            True, plan, rows,
        )  # fmt: skip


def run_batch(
    source: Path | PacsPlace,
    inventory: Inventory,
    store: Store,
    *,
    settings: WorkSettings,
    site_key: str,
    options: BatchOptions,
    progress: Progress | None = None,
) -> Summary:
    """Analyse the plans of an inventory that the store does not know yet.

    Parameters
    ----------
    source : Path or PacsPlace
        Folder that the inventory is of, or archive whose studies it lists.
    inventory : Inventory
    store : Store
    settings : WorkSettings
    site_key : str
        Key of the pseudonyms (pseudonym.py).
    options : BatchOptions
    progress : callable, optional
        Called with each plan that is through, the number through, and the number in all.

    Returns
    -------
    Summary
        Also after Ctrl-C, with the state ``interrupted``; what was finished is in the store.

    Raises
    ------
    StoreError
        If the store cannot be written. What was written before is kept.
    ClusterError
        If the scheduler is lost.
    """
    place = source.resolve() if isinstance(source, Path) else source
    run = _Run(place, inventory.plans, store.known(), settings, site_key, options)
    run_id = uuid4().hex[:_RUN_DIGITS]
    record: dict[str, Any] = {
        "run_id": run_id,
        "state": "running",
        "started_at": _now(),
        "cordgap_version": __version__,
        "settings": run.words,
        "scheduler": "dask" if options.scheduler else "local",
        "jobs": options.jobs,
        "found": len(inventory.plans),
    }
    if not options.dry_run:
        store.write_run(record)
    state, done = "complete", list[Done]()
    with (
        tempfile.TemporaryDirectory(prefix="cordgap-batch-", ignore_cleanup_errors=True) as folder,
        _lanes(options, folder, len(inventory.plans)) as lanes,
    ):
        threads = [threading.Thread(target=run.work, args=(lane,), daemon=True) for lane in lanes]
        try:
            for thread in threads:
                thread.start()
            for some in _batches(run, len(threads)):
                if not options.dry_run:
                    _write(store, some, run_id)
                for one in some:
                    done.append(_light(one))
                    if progress is not None:
                        progress(one, len(done), max(len(inventory.plans), len(done)))
        except KeyboardInterrupt:
            state = "interrupted"
        except BaseException:
            state = "stopped"
            raise
        finally:
            run.stopped.set()
            for lane in lanes:
                lane.stop()
            for thread in threads:
                thread.join()
            if state != "complete" and not options.dry_run:
                waiting = [d for d in _rest(run.results) if isinstance(d, Done)]
                # Where it is the store that stopped the run, there is nothing to write to.
                with suppress(StoreError):
                    _write(store, waiting, run_id)
                    done += [_light(d) for d in waiting]
                    store.write_run(record | {"state": state, "ended_at": _now()})
    summary = _summary(run_id, run, store, done, state)
    if not options.dry_run:
        ended = {"state": state, "ended_at": _now(), "exit_code": summary.exit_code}
        counts = {status: summary.counts.get(status, 0) for status in STATUSES}
        counts |= {"known": summary.known, "analysed": summary.analysed, "found": summary.found}
        store.write_run(record | ended | counts)
    return summary


@contextmanager
def _lanes(options: BatchOptions, folder: str, plans: int) -> Iterator[Sequence[AnyLane]]:
    if options.scheduler is not None:
        from cordgap.batch.cluster import cluster_lanes

        with cluster_lanes(options.scheduler, options.memory_mb) as far:
            yield far
        return
    count = min(options.jobs, max(plans, 1))
    yield [Lane(options.memory_mb, folder) for _ in repeat(None, count)]


def _batches(run: _Run, lanes: int) -> Iterator[list[Done]]:
    """Yield what is through, all that waits at a time, until every lane has ended."""
    open_lanes = lanes
    while open_lanes:
        some: list[Done] = []
        for one in [_next(run.results), *_rest(run.results)]:
            if one is None:
                open_lanes -= 1
            elif isinstance(one, Done):
                some.append(one)
            else:
                raise one
        if some:
            yield some


def _next(results: queue.Queue[Done | BaseException | None]) -> Done | BaseException | None:
    while True:
        try:
            return results.get(timeout=0.5)  # so that Ctrl-C is heard on every system
        except queue.Empty:
            continue


def _rest(
    results: queue.Queue[Done | BaseException | None],
) -> Iterator[Done | BaseException | None]:
    while True:
        try:
            yield results.get_nowait()
        except queue.Empty:
            return


def _write(store: Store, some: Sequence[Done], run_id: str) -> None:
    now = _now()
    new = [d.rows for d in some if d.rows is not None]
    for rows in new:
        rows["plans"][0] |= {"run_id": run_id, "analysed_at": now}
    store.add(new)
    known = [d for d in some if d.status == "known"]
    places = [p for d in known for p in d.places if p != d.plan_id]
    store.promote([d.result_id for d in known], places)


def _light(done: Done) -> Done:
    """Return what is kept of a plan in memory: not its rows, not the names of its slices."""
    files = done.plan.files[:1]
    plan = PlanFiles(files, (), done.plan.archive)
    return Done(done.result_id, done.plan_id, done.status, done.code, None, done.new, plan)


def _summary(run_id: str, run: _Run, store: Store, done: Sequence[Done], state: str) -> Summary:
    kinds = {kind: sum(d.status == kind for d in done) for kind in ("known", "copy", "left", "new")}
    counts, exceeded = store.counts({d.result_id for d in done})
    # What was under way when the run was stopped is left too.
    unfinished = 0 if state == "complete" else max(run.total - len(done), len(run.todo))
    left = kinds["left"] + unfinished
    return Summary(
        run_id=run_id,
        found=len(done) + unfinished - kinds["copy"],
        known=kinds["known"],
        analysed=sum(d.new for d in done),
        copies=kinds["copy"],
        left=left,
        counts=counts,
        exceeded=exceeded,
        state=state,
        empty_archives=run.empty,
        done=tuple(done),
    )


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
