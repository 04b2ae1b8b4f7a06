"""Plans -> one result folder each, and never a second one for the same files.

``RESULTS/plan-KEY`` holds what ``cordgap analyze --out`` writes and ``outcome.json``. It appears
in one step, when all of it is there; the folder is the record that the plan was analysed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import IO, Any, Literal

from cordgap._version import __version__
from cordgap.dicom.archive import is_zip
from cordgap.errors import CordgapError, NetworkError
from cordgap.network.exports import Folder, PlanExport

Status = Literal["ok", "refused", "failed", "timeout"]
OUTCOME = "outcome.json"
_WORK = ".work-"
_LOCK = ".lock"
# An analysis that has answered has nothing more to do.
_LAST_SECONDS = 10.0

# Analyses a folder into another one and returns the exit code; a function of a module, since it
# runs in a process of its own.
Analyse = Callable[[Path, Path], int]


@dataclass(frozen=True)
class Outcome:
    """What became of one plan.

    ``exit_code`` is that of ``cordgap analyze``; null where it did not get there.
    """

    plan: str
    status: Status
    exit_code: int | None
    code: str | None
    reason: str | None
    files: int
    seconds: float


class Desk:
    """A folder of results that one process at a time writes; use it in a ``with`` block.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    analyse : callable
    timeout_s : float
        After this a plan is given up.
    words : str
        What names the options of the analysis: with others a plan has another result. Empty where
        there are none.

    Raises
    ------
    NetworkError
        If the folder cannot be written, or another process writes it.
    """

    def __init__(
        self, folder: Path, analyse: Analyse, *, timeout_s: float = 600.0, words: str = ""
    ) -> None:
        self.folder = folder
        self._words = words
        self._analyse = analyse
        self._timeout_s = timeout_s
        self._tried: set[str] = set()
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Desk:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / _LOCK).open("ab")
        except OSError as error:
            raise NetworkError(
                f"the folder of results cannot be written: {error.strerror}; name another",
                code="results-unwritable",
            ) from error
        if not _locked(self._lock):
            self._lock.close()
            raise NetworkError(
                "another process writes results into this folder; end it, or name another folder",
                code="results-in-use",
            )
        for work in self.folder.glob(f"{_WORK}*"):
            shutil.rmtree(work, ignore_errors=True)
        for outcome in self.outcomes():
            # What failed for a reason that may be gone is tried again.
            if outcome.status in ("failed", "timeout"):
                shutil.rmtree(self.folder / outcome.plan, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def outcomes(self) -> list[Outcome]:
        """Return what is on record."""
        found = []
        for file in sorted(self.folder.glob(f"plan-*/{OUTCOME}")):
            values = json.loads(file.read_text(encoding="utf-8"))
            found.append(Outcome(**{name: values[name] for name in Outcome.__dataclass_fields__}))
        return found

    def knows(self, plan: PlanExport) -> bool:
        """Tell whether a plan was analysed, or was tried in this run."""
        name = self._name(plan)
        return name in self._tried or (self.folder / name).is_dir()

    def _name(self, plan: PlanExport) -> str:
        if not self._words:
            return f"plan-{plan.key}"
        both = hashlib.sha256(f"{plan.key}|{self._words}".encode()).hexdigest()
        return f"plan-{both[: len(plan.key)]}"

    def take(self, plan: PlanExport, source: Folder) -> Outcome | None:
        """Analyse a plan; None where its files changed meanwhile: nothing is kept then.

        An ENOSPC or the like while the outcome is written is an outcome too (``failed``), but not
        on record: the next run tries again.
        """
        started = time.monotonic()
        work = self.folder / f"{_WORK}{secrets.token_hex(6)}"
        out = work / "out"
        try:
            try:
                place = stage(plan.files, work / "plan")
                status, exit_code, code, reason = self._run(place, out)
            except OSError as error:
                reason = f"the files cannot be shown to the analysis: {error.strerror}"
                status, exit_code, code = "failed", None, "results-unwritable"
            if not source.unchanged(plan.files):
                return None
            self._tried.add(self._name(plan))
            outcome = Outcome(
                self._name(plan), status, exit_code, code, reason, len(plan.files),
                round(time.monotonic() - started, 2),
            )  # fmt: skip
            return self._keep(outcome, out)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _keep(self, outcome: Outcome, out: Path) -> Outcome:
        head = {"schema": "cordgap.outcome/1", "cordgap_version": __version__}
        try:
            if outcome.status != "ok" and out.exists():
                shutil.rmtree(out)  # what a crash left is no result
            out.mkdir(exist_ok=True)
            with (out / OUTCOME).open("x", encoding="utf-8") as stream:
                json.dump(head | asdict(outcome), stream, indent=1)
                stream.flush()
                os.fsync(stream.fileno())
            out.replace(self.folder / outcome.plan)
        except OSError as error:
            reason = f"the result cannot be written: {error.strerror}; make room and start again"
            return Outcome(
                outcome.plan, "failed", None, "results-unwritable", reason, outcome.files,
                outcome.seconds,
            )  # fmt: skip
        return outcome

    def _run(self, folder: Path, out: Path) -> tuple[Status, int | None, str | None, str | None]:
        """Run the analysis in a process of its own, which may crash or hang."""
        context = get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_in_process, args=(self._analyse, folder, out, sender), daemon=True
        )
        process.start()
        sender.close()
        try:
            if not connection.wait([receiver], self._timeout_s):
                return "timeout", None, "plan-timeout", f"no result within {self._timeout_s:g} s"
            try:
                status, exit_code, code, reason = receiver.recv()
            except EOFError:
                process.join(_LAST_SECONDS)
                reason = f"the process ended with {process.exitcode}"
                return "failed", None, "process-ended", reason
            process.join(_LAST_SECONDS)
            return status, exit_code, code, reason
        finally:
            if process.is_alive():
                process.kill()
                process.join()
            receiver.close()
            process.close()


def _in_process(analyse: Analyse, folder: Path, out: Path, sender: Any) -> None:
    """Analyse, and say what came out; the text for the terminal goes nowhere."""
    import sys

    threading.Thread(target=_end_with_parent, daemon=True).start()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        sys.stdout = sys.stderr = nowhere
        try:
            answer: tuple[Any, ...] = ("ok", analyse(folder, out), None, None)
        except CordgapError as error:
            answer = ("refused", 2, error.code, str(error))
            if isinstance(error.__cause__, OSError) and error.code == "option":
                # The report cannot be written: the plan is not to blame.
                reason = f"the report cannot be written: {error.__cause__.strerror}"
                answer = ("failed", None, "results-unwritable", reason)
        except BaseException as error:
            answer = ("failed", None, "unexpected", type(error).__name__)
        sender.send(answer)
        sender.close()


def _end_with_parent() -> None:
    """End this process when the one that started it is killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def stage(files: tuple[Path, ...], folder: Path) -> Path:
    """Show files, and no others, in a folder: as links where that is possible, else as copies.

    Returns
    -------
    Path
        What to analyse: the folder, or a single ZIP file in it.
    """
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        name = file.name if not (folder / file.name).exists() else f"{number}-{file.name}"
        try:
            (folder / name).symlink_to(file.resolve())
        except (OSError, NotImplementedError):
            shutil.copyfile(file, folder / name)
    only = folder / files[0].name
    return only if len(files) == 1 and is_zip(only) else folder


def watch(
    source: Folder, desk: Desk, *, quiet_s: float, patience_s: float, once: bool = False
) -> Iterator[Outcome | str]:
    """Analyse every plan that arrives in a folder.

    Parameters
    ----------
    source : Folder
    desk : Desk
    quiet_s : float
        A plan is looked at when it did not change for so long.
    patience_s : float
        A plan that lacks what it refers to is analysed as it is after so long.
    once : bool
        End when everything that is there was analysed; nothing is waited for but quiet.

    Yields
    ------
    Outcome or str
        An outcome, or in words what a plan waits for; "" now and then, so that others can stop.
    """
    said: set[str] = set()
    while True:
        now = time.monotonic()
        source.look(now)
        again = False
        for plan, since in source.plans(now, quiet_s):
            if desk.knows(plan):
                continue
            if plan.missing and not once and now - since < patience_s:
                if plan.key not in said:
                    said.add(plan.key)
                    yield f"waiting for {plan.missing} ({len(plan.files)} files are there)"
                continue
            outcome = desk.take(plan, source)
            again = again or outcome is None
            if outcome is not None:
                yield outcome
        if once and not again and source.quiet(now, quiet_s):
            return
        yield ""
        time.sleep(min(1.0, max(0.05, quiet_s / 4)))


def _locked(stream: IO[bytes]) -> bool:
    """Lock a file for this process, until it is closed or the process ends however it does."""
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
