"""Lanes in a Dask cluster: the same tasks, each in a worker process of its own on the other side.

A Dask worker hands a task to a lane of its own (lane.py), so that a plan that hangs, grows or
crashes takes no Dask worker with it. A Dask worker that is killed loses its task to another one.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from cordgap._version import __version__
from cordgap.batch.lane import (
    Lane,
    LaneDiedError,
    LaneMemoryError,
    LaneTimeoutError,
    Task,
    task_name,
)
from cordgap.errors import CordgapError

# How long a scheduler may be silent before a run is given up.
CONNECT_S = 15.0
# Beyond the time of a task: for starting a worker process, and for another Dask worker's turn.
_GRACE_S = 60.0
_LOOK_S = 1.0
_CLOSE_S = 5.0
_ERRORS = {e.default_code: e for e in (LaneDiedError, LaneMemoryError, LaneTimeoutError)}
_own = threading.local()


class ClusterError(CordgapError):
    """The Dask scheduler cannot be reached, or was lost."""

    default_code = "cluster-lost"


def run_task(name: str, arguments: list[Any], timeout_s: float, memory_mb: int | None) -> Any:
    """Run a task on a Dask worker, in a process of its own; errors of the lane as values."""
    lane = getattr(_own, "lane", None)
    if lane is None:
        lane = _own.lane = Lane(memory_mb)
        atexit.register(lane.stop)
    module, _, function = name.partition(":")
    try:
        task = getattr(import_module(module), function)
        return {"result": lane.call(task, *arguments, timeout_s=timeout_s)}
    except CordgapError as error:
        return {"code": error.code, "reason": str(error)}


class ClusterLane:
    """One place in a cluster: a task at a time, until the client is closed."""

    def __init__(self, client: Any, memory_mb: int | None) -> None:
        self._client, self._memory_mb = client, memory_mb
        self._stopped = threading.Event()

    def call(self, task: Task, *arguments: Any, timeout_s: float) -> dict[str, Any]:
        """Run a task somewhere in the cluster.

        Raises
        ------
        LaneTimeoutError, LaneMemoryError, LaneDiedError
            If it did not come back.
        ClusterError
            If the scheduler is lost.
        """
        from concurrent.futures import CancelledError

        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError

        if self._stopped.is_set():
            raise LaneDiedError("the run was stopped")
        try:
            future = self._client.submit(
                run_task, task_name(task), list(arguments), timeout_s, self._memory_mb, pure=False
            )
            answer = self._wait(future, timeout_s + _GRACE_S)
        except KilledWorker as error:
            raise LaneDiedError("several Dask workers died while they had it") from error
        except (CancelledError, CommClosedError, OSError, RuntimeError) as error:
            if self._stopped.is_set():
                raise LaneDiedError("the run was stopped") from error
            raise _lost() from error
        if "code" in answer:
            raise _ERRORS.get(answer["code"], LaneDiedError)(answer["reason"])
        result: dict[str, Any] = answer["result"]
        return result

    def _wait(self, future: Any, longest_s: float) -> Any:
        """Wait for a result, as long as the scheduler is there."""
        waited = 0.0
        try:
            while waited < longest_s:
                try:
                    return future.result(timeout=_LOOK_S)
                except TimeoutError:
                    waited += _LOOK_S
                if self._stopped.is_set():
                    raise LaneDiedError("the run was stopped")
                if self._client.status not in ("running", "connecting", "newly-created"):
                    raise _lost()
        finally:
            future.release()
        raise LaneTimeoutError(f"no answer from the cluster within {longest_s:g} s")

    def stop(self) -> None:
        """Take no more tasks; what runs is left to end by its own limit."""
        self._stopped.set()


@contextmanager
def cluster_lanes(address: str, memory_mb: int | None) -> Iterator[Sequence[ClusterLane]]:
    """Connect to a scheduler for a while, with a lane for each thread of its workers.

    Raises
    ------
    ClusterError
        If there is no scheduler, no worker, or another version of cordgap on a worker.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(
            "a cluster needs Dask: pip install 'cordgap[cluster]'", code="package-missing"
        ) from error
    client = None
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
        client.wait_for_workers(1, timeout=CONNECT_S)
        versions = client.run(worker_version)
    except (OSError, TimeoutError, ValueError) as error:
        if client is not None:
            client.close(timeout=1)
        raise ClusterError(
            f"--scheduler {address}: no scheduler with a worker answers; start `dask scheduler` "
            "and `dask worker`, and check the address",
            code="cluster-unreachable",
        ) from error
    others = sorted(set(versions.values()) - {__version__})
    try:
        if others:
            raise ClusterError(
                f"the workers have cordgap {', '.join(others)}, this is {__version__}; install "
                "the same version everywhere",
                code="cluster-version",
            )
        places = sum(client.nthreads().values())
        yield [ClusterLane(client, memory_mb) for _ in range(places)]
    finally:
        client.close(timeout=_CLOSE_S)


def worker_version() -> str:
    """Return the version of cordgap where it is called."""
    return __version__


def _lost() -> ClusterError:
    return ClusterError(
        "the Dask scheduler was lost; what was finished is kept. Start it again and run the same "
        "command"
    )
