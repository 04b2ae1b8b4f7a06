"""Worker processes with a time limit and a memory measure.

A worker prepares its task itself (makes the mutant and writes it), so that only small things cross
the pipe; time and memory count from then on. One that does not answer in time is killed and
replaced. Memory is the peak of the resident set during
one mutant: reset and read through /proc where there is one, else the peak of the process, which can
only be larger. Where the system can, the address space is capped too, to protect the machine.
"""

from __future__ import annotations

import faulthandler
import math
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

# Processor time where the system tells it of another process, so that a busy machine makes no hang;
# elapsed time elsewhere, and in any case beyond this multiple.
TIMEOUT_S = 10.0
_PATIENCE = 12
# Starting up, importing, and making a large mutant.
START_S = 120.0
MEMORY_BYTES = 1 << 30
_CAP_BYTES = 6 << 30
_DUMP = "where.txt"
_STATUS = Path("/proc/self/status")
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Answer:
    """What a worker said of one task; ``value`` is None where it died or was killed."""

    task: Any
    value: Any
    seconds: float
    peak_bytes: int | None
    hang: bool = False
    where: str = ""


def run_all(
    prepare: Callable[[Any], Any],
    work: Callable[[Any], Any],
    tasks: Iterable[Any],
    *,
    processes: int,
    timeout_s: float = TIMEOUT_S,
) -> Iterator[Answer]:
    """Yield an answer for each task, in the order of completion."""
    waiting = iter(tasks)
    context = multiprocessing.get_context("spawn")
    workers = [_Worker(context, prepare, work) for _ in range(processes)]
    try:
        busy = [w for w in workers if w.give(next(waiting, _END))]
        while busy:
            wait([w.pipe for w in busy], timeout=0.2)
            for worker in list(busy):
                answer = worker.answer(timeout_s)
                if answer is None:
                    continue
                yield answer
                if not worker.give(next(waiting, _END)):
                    busy.remove(worker)
    finally:
        for worker in workers:
            worker.stop()


_END = object()


class _Worker:
    def __init__(self, context: Any, *functions: Callable[[Any], Any]) -> None:
        self.context, self.functions = context, functions
        self.task: Any = None
        self.started = 0.0
        self.limit_s, self.used_s = START_S, 0.0
        self._start()

    def _start(self) -> None:
        self.pipe, other = self.context.Pipe()
        self.process = self.context.Process(
            target=_serve, args=(other, *self.functions), daemon=True
        )
        for name in _THREADS:
            os.environ.setdefault(name, "1")
        self.process.start()
        other.close()

    def give(self, task: Any) -> bool:
        if task is _END:
            return False
        self.task, self.started, self.limit_s = task, time.monotonic(), START_S
        self.pipe.send(task)
        return True

    def answer(self, timeout_s: float) -> Answer | None:
        seconds = time.monotonic() - self.started
        try:
            if self.pipe.poll():
                value = self.pipe.recv()
                if value == "ready":
                    self.started, self.limit_s = time.monotonic(), timeout_s
                    self.used_s = _processor_s(self.process.pid)
                    return None
                result, seconds, peak = value
                if seconds <= timeout_s:
                    return Answer(self.task, result, seconds, peak)
                return Answer(self.task, None, seconds, peak, hang=True, where=self._where())
        except (EOFError, OSError):
            self._again()
            return Answer(self.task, None, seconds, None)
        if seconds > self.limit_s and not self._waiting(seconds):
            used = _processor_s(self.process.pid) - self.used_s
            where = f"{self._where()} ({used:.0f} s of processor time)"
            self._again()
            return Answer(self.task, None, seconds, None, hang=True, where=where)
        return None

    def _waiting(self, seconds: float) -> bool:
        """Tell whether a worker over its time has not had the processor for that long."""
        used = _processor_s(self.process.pid)
        used -= self.used_s if math.isfinite(used) else 0.0
        return used < self.limit_s and seconds < _PATIENCE * self.limit_s

    def _where(self) -> str:
        """Return where the worker was shortly before its time ran out."""
        with suppress(OSError):
            dump = scratch(self.process.pid) / _DUMP
            lines = dump.read_text(encoding="utf-8").splitlines()
            own = [line.strip() for line in lines if "cordgap" in line and "tests" not in line]
            short = [re.sub(r'File ".*[/\\](\w+\.py)", line', r"\1", line) for line in own[:3]]
            return " < ".join(short)
        return ""

    def _again(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()
        shutil.rmtree(scratch(self.process.pid), ignore_errors=True)
        self._start()

    def stop(self) -> None:
        self.pipe.close()
        self.process.join(1)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        shutil.rmtree(scratch(self.process.pid), ignore_errors=True)


def _processor_s(pid: int | None) -> float:
    """Return the processor time of a process; infinite where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return math.inf
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def scratch(pid: int | None = None) -> Path:
    """Return the folder of a worker (this process by default); removed when it ends."""
    return Path(tempfile.gettempdir()) / f"cordgap-fuzz-{os.getpid() if pid is None else pid}"


def _serve(pipe: Connection, prepare: Callable[[Any], Any], work: Callable[[Any], Any]) -> None:
    _cap()
    scratch().mkdir(exist_ok=True)
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        prepared = prepare(task)
        pipe.send("ready")
        _forget_peak()
        started = time.process_time()
        with (scratch() / _DUMP).open("w", encoding="utf-8") as dump:
            faulthandler.dump_traceback_later(0.8 * TIMEOUT_S, file=dump)
            result = work(prepared)
            faulthandler.cancel_dump_traceback_later()
        pipe.send((result, time.process_time() - started, peak_bytes()))


def _cap() -> None:
    if sys.platform.startswith("linux"):
        import resource

        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (_CAP_BYTES, resource.RLIM_INFINITY))


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int | None:
    """Return the peak resident set of this process; None where the system does not tell."""
    with suppress(OSError):
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
