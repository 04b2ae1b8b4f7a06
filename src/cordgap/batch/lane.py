"""One worker process that takes one task at a time and may hang, grow or die without harm.

The process is this module, started by its name. A task is a function of cordgap by name with JSON
arguments; its result is JSON. Nothing else goes over the pipe, and what a task prints goes nowhere.
A worker that was given up is killed and the next task starts another one; a worker whose parent is
gone ends by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from cordgap.errors import CordgapError

Task = Callable[..., dict[str, Any]]

# Exit code of a worker that found itself over its memory limit where the system sets none.
MEMORY_EXIT = 77
_WATCH_S = 0.25
# A worker outlives its deadline by this only if nobody is left to kill it.
_GRACE_S = 30.0


class LaneTimeoutError(CordgapError):
    """A task gave no answer in time; its worker was killed."""

    default_code = "plan-timeout"


class LaneMemoryError(CordgapError):
    """A task needed more memory than it may have."""

    default_code = "plan-memory"


class LaneDiedError(CordgapError):
    """A worker ended in the middle of a task."""

    default_code = "worker-died"


def task_name(task: Task) -> str:
    """Return the name by which a worker finds a function."""
    return f"{task.__module__}:{task.__qualname__}"


class Lane:
    """A worker process, started when it is needed and started anew after it was given up.

    Parameters
    ----------
    memory_mb : int, optional
        Address space that a task may take; None for no limit.
    folder : str, optional
        Where the folder of the worker's temporary files is made; it is removed with the worker.
    """

    def __init__(self, memory_mb: int | None = None, folder: str | None = None) -> None:
        self._memory_mb = memory_mb
        self._folder = folder
        self._own: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process of the worker; None before it was started and after it was given up."""
        return None if self._process is None else self._process.pid

    def call(self, task: Task, *arguments: Any, timeout_s: float) -> dict[str, Any]:
        """Run a task and return its result.

        Raises
        ------
        LaneTimeoutError, LaneMemoryError, LaneDiedError
            If it did not come back.
        """
        process = self._started()
        expired = threading.Event()

        def give_up() -> None:
            expired.set()
            process.kill()

        line = json.dumps({"task": task_name(task), "arguments": arguments, "timeout_s": timeout_s})
        clock = threading.Timer(timeout_s, give_up)
        clock.daemon = True
        clock.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except (OSError, ValueError):  # ended, or its pipes closed by stop()
            answer = b""
        finally:
            clock.cancel()
        if not answer.endswith(b"\n"):
            process.kill()
            code = process.wait()
            self.stop()
            if expired.is_set():
                raise LaneTimeoutError(f"no answer within {timeout_s:g} s")
            if code == MEMORY_EXIT:
                raise self._too_large()
            raise LaneDiedError(f"the worker ended by itself ({_ending(code)})")
        reply: dict[str, Any] = json.loads(answer)
        if "memory" in reply:
            self.stop()  # what is left of its memory may be in pieces
            raise self._too_large()
        result: dict[str, Any] = reply["result"]
        return result

    def stop(self) -> None:
        """End the worker, whatever it does."""
        process, self._process = self._process, None
        own, self._own = self._own, None
        if process is None:
            return
        process.kill()
        process.wait()
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.stop()
        self._own = own = tempfile.mkdtemp(prefix="cordgap-lane-", dir=self._folder)
        words = [sys.executable, "-m", __name__, str(self._memory_mb or 0), str(os.getpid()), own]
        environment = dict(os.environ)
        # One plan a core: threads of the arithmetic libraries would only be in each other's way.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment.setdefault(name, "1")
        environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
        environment |= {"TMPDIR": own, "TEMP": own, "TMP": own}
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            # Ctrl-C is for the parent, which decides what becomes of its workers.
            start_new_session=os.name == "posix",
        )
        return self._process

    def _too_large(self) -> LaneMemoryError:
        return LaneMemoryError(f"more than {self._memory_mb} MB of memory are needed")


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def limit_memory(memory_mb: int) -> str:
    """Limit the memory of this process.

    Returns
    -------
    str
        ``system`` where the system keeps the limit, ``watched`` where a thread does, ``none`` where
        neither can (see ``memory_is_limited``).
    """
    if not _system_limits():
        if not memory_is_limited():
            return "none"
        threading.Thread(target=_watch_memory, args=(memory_mb,), daemon=True).start()
        return "watched"
    import resource

    size = memory_mb << 20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    return "system"


def memory_is_limited() -> bool:
    """Tell whether a memory limit can be kept here: by the system, or by psutil."""
    return _system_limits() or find_spec("psutil") is not None


def _system_limits() -> bool:
    """Tell whether the system keeps a limit: Windows has none, macOS takes one and does not."""
    return sys.platform != "darwin" and find_spec("resource") is not None


def _watch_memory(memory_mb: int) -> None:
    import psutil

    process = psutil.Process()
    while process.memory_info().rss <= memory_mb << 20:
        time.sleep(_WATCH_S)
    os._exit(MEMORY_EXIT)


def _watch_parent(parent: int, folder: str, deadline: list[float]) -> None:
    """End with the parent; or long after the deadline, where a parent cannot be asked for.

    Nobody else is left to remove the temporary files then.
    """
    while True:
        time.sleep(_WATCH_S)
        if (os.name == "posix" and os.getppid() != parent) or time.monotonic() > deadline[0]:
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(1)


def _serve() -> None:
    """Take tasks from standard input until it ends."""
    memory_mb, parent, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    deadline = [float("inf")]
    threading.Thread(target=_watch_parent, args=(parent, folder, deadline), daemon=True).start()
    if memory_mb:
        limit_memory(memory_mb)
    try:
        for line in sys.stdin.buffer:
            job = json.loads(line)
            deadline[0] = time.monotonic() + job["timeout_s"] + _GRACE_S
            module, _, name = job["task"].partition(":")
            try:
                reply = {"result": getattr(import_module(module), name)(*job["arguments"])}
            except MemoryError:
                reply = {"memory": True}
            deadline[0] = float("inf")
            answers.write(json.dumps(reply).encode() + b"\n")
            answers.flush()
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # nobody is left to ask, or to tidy up


if __name__ == "__main__":
    _serve()
