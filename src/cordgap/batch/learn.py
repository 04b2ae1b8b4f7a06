"""Read the falloff of every plan under a folder: resumable, and no plan stops the others.

Each plan is read in a process of its own kind: one that hangs or dies is given up, noted with its
reason, and the next one goes on. What was read is kept in a file beside the model, a line a plan,
so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from cordgap._version import __version__
from cordgap.batch.lane import Lane, LaneTimeoutError
from cordgap.errors import CordgapError, OptionError
from cordgap.separation.learned import PlanReading

# A folder is one of files by these; anything else is looked into for its beginning.
_DICOM_NAMES = (".dcm", ".ima")
_LOOKED_AT = 50


@dataclass(frozen=True)
class Outcome:
    """What became of one plan: its reading, or ``refused``, ``failed`` or ``timeout`` and why.

    ``key`` stands for the folder and its files; it changes when a file does.
    """

    key: str
    status: str
    reading: PlanReading | None = None
    code: str | None = None
    reason: str | None = None


Progress = Callable[[int, int, Outcome], None]


def plan_folders(root: Path) -> Iterator[Path]:
    """Folders with plans: the first ones on the way down that hold DICOM files, and ZIP files."""
    if _holds_dicom(root):
        yield root
        return
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from plan_folders(entry)
        elif entry.suffix.casefold() == ".zip":
            yield entry


def _holds_dicom(folder: Path) -> bool:
    files = [f for f in sorted(folder.iterdir()) if f.is_file() and not f.name.startswith(".")]
    return any(
        f.suffix.casefold() in _DICOM_NAMES or _starts_as_dicom(f) for f in files[:_LOOKED_AT]
    )


def _starts_as_dicom(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def read_folder(folder: str) -> dict[str, Any]:
    """Read one plan; never raises. Runs in a process of its own."""
    from cordgap.dicom.read import read_case
    from cordgap.separation.learned import read_falloff

    try:
        case = read_case(folder, with_image=False, with_hashes=False)
        return {"status": "ok", "reading": asdict(read_falloff(case))}
    except CordgapError as error:
        return {"status": "refused", "code": error.code, "reason": str(error)}
    except MemoryError:
        raise
    except Exception as error:
        # Whatever it is, it is the fault of one plan and stays with it.
        return {"status": "failed", "code": "unexpected", "reason": type(error).__name__}


class _Worker:
    """One process, started anew after it was given up."""

    def __init__(self) -> None:
        self.lane = Lane()

    def read(self, folder: Path, timeout_s: float) -> dict[str, Any]:
        try:
            return self.lane.call(read_folder, str(folder), timeout_s=timeout_s)
        except CordgapError as error:
            status = "timeout" if isinstance(error, LaneTimeoutError) else "failed"
            return {"status": status, "code": error.code, "reason": str(error)}

    def stop(self) -> None:
        self.lane.stop()


def read_root(
    root: Path,
    state: Path,
    *,
    jobs: int = 1,
    timeout_s: float = 120.0,
    progress: Progress | None = None,
) -> tuple[Outcome, ...]:
    """Read every plan under a folder that the state does not know yet.

    Parameters
    ----------
    root : Path
    state : Path
        File of what was read so far, a JSON line a plan; made if it is not there. It has no names.
    jobs : int
        Processes at a time.
    timeout_s : float
        After this a plan is given up.
    progress : callable, optional
        Called with the number done, the number in all, and the outcome.

    Returns
    -------
    tuple of Outcome
        Of the plans that are under ``root`` now, each once, in the order of their folders.

    Raises
    ------
    OptionError
        If there is no such folder, or no plan in it.
    """
    if not root.is_dir():
        raise OptionError(f"{root.name}: there is no such folder")
    keys = {_key(root, folder): folder for folder in plan_folders(root)}
    if not keys:
        raise OptionError(f"{root.name}: no DICOM files were found; name the folder of your plans")
    known = _read_state(state)
    done = len(keys.keys() & known.keys())
    lock = Lock()
    state.parent.mkdir(parents=True, exist_ok=True)

    def work() -> None:
        nonlocal done
        worker = _Worker()
        try:
            while todo:
                key, folder = todo.popleft()
                outcome = _outcome(key, worker.read(folder, timeout_s))
                with lock:
                    with state.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(_line(outcome)) + "\n")
                    known[key] = outcome
                    done += 1
                    if progress is not None:
                        progress(done, len(keys), outcome)
        except IndexError:  # another thread took the last one
            pass
        finally:
            worker.stop()

    todo = deque((key, folder) for key, folder in keys.items() if key not in known)
    if todo:
        with ThreadPoolExecutor(max_workers=jobs) as threads:
            for thread in [threads.submit(work) for _ in range(min(jobs, len(todo)))]:
                thread.result()
    return tuple(known[key] for key in keys)


def _key(root: Path, folder: Path) -> str:
    """Hash of a folder's place and of the names, sizes and times of its files."""
    hashed = hashlib.sha256(f"{__version__}|{folder.relative_to(root)}".encode())
    files = [folder] if folder.is_file() else sorted(f for f in folder.rglob("*") if f.is_file())
    for file in files:
        stat = file.stat()
        hashed.update(f"|{file.name}|{stat.st_size}|{stat.st_mtime_ns}".encode())
    return hashed.hexdigest()[:16]


def _line(outcome: Outcome) -> dict[str, Any]:
    """Return what is kept of a plan: codes, no words, since words may hold file names."""
    reading = None if outcome.reading is None else asdict(outcome.reading)
    return {
        "key": outcome.key,
        "status": outcome.status,
        "code": outcome.code,
        "reading": reading,
    }


def _outcome(key: str, raw: dict[str, Any]) -> Outcome:
    reading = raw.get("reading")
    return Outcome(
        key,
        raw["status"],
        None if reading is None else PlanReading(**reading),
        raw.get("code"),
        raw.get("reason"),
    )


def _read_state(state: Path) -> dict[str, Outcome]:
    """Read what is known; a line that a stopped run left half written is left out."""
    known: dict[str, Outcome] = {}
    if not state.is_file():
        return known
    text = state.read_text(encoding="utf-8")
    for line in text.splitlines():
        try:
            raw = json.loads(line)
            known[raw["key"]] = _outcome(raw["key"], raw)
        except (ValueError, KeyError, TypeError):
            continue
    if text and not text.endswith("\n"):
        with state.open("a", encoding="utf-8") as stream:
            stream.write("\n")
    return known
