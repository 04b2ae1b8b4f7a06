"""A folder that others write to -> the plans in it, once each is there completely.

Files are told apart by what they are and refer to, not by where they lie: a planning system may
export into one folder, or into one a patient, a plan or a series.

``dicom/inventory.py`` answers another question of a tree that nobody writes to: there each total of
doses is a plan of its own, copies are told apart by place, and what cannot be read is counted. Here
all doses of a plan wait for each other, and a damaged file holds its plan back, as it may be half
written.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cordgap.dicom.archive import is_zip
from cordgap.dicom.dataset import open_dataset, reading, text
from cordgap.dicom.discover import FileRecord, read_record, sniff
from cordgap.errors import DicomError

_BLOCK_BYTES = 1 << 20
# Endings of files that are being copied by others.
_UNFINISHED = (".part", ".tmp", ".partial", ".crdownload", ".filepart")


@dataclass(frozen=True)
class Stamp:
    """What tells whether a file changed, and since when it did not."""

    size: int
    modified_ns: int
    since_s: float


@dataclass(frozen=True)
class Known:
    """What is known of one file: its record where it is a DICOM RT object, and its links.

    ``kind`` is ``rt``, ``image``, ``archive``, ``damaged`` or ``other``.
    """

    path: Path
    kind: str
    links: frozenset[str] = frozenset()
    record: FileRecord | None = None


@dataclass(frozen=True)
class PlanExport:
    """The files of one plan; ``key`` stands for the content of its RT files.

    ``missing`` says in words what it refers to and is not there; empty where it is complete.
    """

    key: str
    files: tuple[Path, ...]
    missing: str = ""


class Folder:
    """What lies below a folder now, looked at again and again.

    Parameters
    ----------
    root : Path
    leave_out : sequence of Path
        Folders below it that are not looked into: the results.

    Attributes
    ----------
    unreadable : set of str
        Files and folders that could not be read for want of permission.
    """

    def __init__(self, root: Path, leave_out: Sequence[Path] = ()) -> None:
        self.root = root
        self._leave_out = {path.resolve() for path in leave_out}
        self.unreadable: set[str] = set()
        self._stamps: dict[Path, Stamp] = {}
        self._known: dict[Path, tuple[Stamp, Known]] = {}
        self._hashes: dict[Path, tuple[Stamp, str]] = {}

    def look(self, now_s: float) -> None:
        """Note which files are there, and which of them changed since the last look."""
        seen: dict[Path, Stamp] = {}
        for path in self._files():
            try:
                status = path.stat()
            except OSError:
                continue  # gone since the folder was listed
            if not stat.S_ISREG(status.st_mode):
                continue
            old = self._stamps.get(path)
            if old and (old.size, old.modified_ns) == (status.st_size, status.st_mtime_ns):
                seen[path] = old
            else:
                seen[path] = Stamp(status.st_size, status.st_mtime_ns, now_s)
        self._stamps = seen
        self._known = {path: kept for path, kept in self._known.items() if path in seen}
        self._hashes = {path: kept for path, kept in self._hashes.items() if path in seen}

    def unchanged(self, files: Iterable[Path]) -> bool:
        """Tell whether files are as they were at the last look."""
        for path in files:
            stamp = self._stamps.get(path)
            try:
                status = path.stat()
            except OSError:
                return False
            if stamp is None or (stamp.size, stamp.modified_ns) != (
                status.st_size,
                status.st_mtime_ns,
            ):
                return False
        return True

    def quiet(self, now_s: float, quiet_s: float) -> bool:
        """Tell whether nothing changed for so long."""
        return all(now_s - stamp.since_s >= quiet_s for stamp in self._stamps.values())

    def plans(self, now_s: float, quiet_s: float) -> list[tuple[PlanExport, float]]:
        """Return the plans of which no file, and no file beside one, changed for so long.

        Returns
        -------
        list of (PlanExport, float)
            With the time in s since when they are quiet.
        """
        still = [p for p, s in self._stamps.items() if now_s - s.since_s >= quiet_s]
        busy = {p.parent for p in self._stamps.keys() - set(still)}
        known = [self._look_into(p) for p in still]
        found = []
        for group in grouped(known):
            if any(file.path.parent in busy for file in group):
                continue
            try:
                plans = self._plans_of(group)
            except OSError as error:  # gone, or not readable
                self._note(error)
                continue
            found += [(p, max(self._stamps[file].since_s for file in p.files)) for p in plans]
        return found

    def _note(self, error: OSError) -> None:
        if isinstance(error, PermissionError):
            self.unreadable.add(str(error.filename))

    def _files(self) -> list[Path]:
        found: list[Path] = []
        for place, inner, names in os.walk(self.root, onerror=self._note):
            here = Path(place)
            inner[:] = sorted(
                name
                for name in inner
                if not name.startswith(".") and (here / name).resolve() not in self._leave_out
            )
            found += [
                here / name
                for name in sorted(names)
                if not name.startswith(".") and not name.casefold().endswith(_UNFINISHED)
            ]
        return found

    def _look_into(self, path: Path) -> Known:
        stamp = self._stamps[path]
        kept = self._known.get(path)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        known = look_into(path)
        self._known[path] = (stamp, known)
        return known

    def _hash(self, path: Path) -> str:
        stamp = self._stamps[path]
        kept = self._hashes.get(path)
        if kept is None or kept[0] != stamp:
            kept = (stamp, _sha256(path))
            self._hashes[path] = kept
        return kept[1]

    def _plans_of(self, group: list[Known]) -> list[PlanExport]:
        if group[0].kind == "archive":
            return [self._export([group[0]], [], "")]
        rt = [file for file in group if file.record is not None and not file.record.derived]
        rest = [file for file in group if file.kind in ("image", "damaged")]
        damaged = [file for file in rest if file.kind == "damaged"]
        if not rt and not damaged:
            return []
        parts = plan_parts(rt)
        return [self._export([*part, *damaged], rest, _missing(part)) for part in parts]

    def _export(self, keyed: list[Known], rest: list[Known], missing: str) -> PlanExport:
        hashes = sorted({self._hash(file.path) for file in keyed})
        key = hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16]
        files = dict.fromkeys(file.path for file in (*keyed, *rest))
        return PlanExport(key, tuple(files), missing)


def look_into(path: Path) -> Known:
    """Read what a file is and what it refers to; never raises."""
    kind, uid = sniff(path)
    if kind is None:
        if not os.access(path, os.R_OK):
            return Known(path, "damaged")  # named where it is read again
        return Known(path, "archive" if not uid and is_zip(path) else "other")
    try:
        if kind == "ct":
            with reading(path):
                ds = open_dataset(path, ("StudyInstanceUID", "SeriesInstanceUID"))
                links = {text(ds, "StudyInstanceUID"), text(ds, "SeriesInstanceUID")}
            return Known(path, "image", frozenset(links - {""}))
        record = read_record(path, kind)
    except DicomError:
        return Known(path, "damaged")
    links = {
        record.study_instance_uid, record.sop_instance_uid, *record.plan_uids,
        *record.rtstruct_uids, *record.series_uids,
    }  # fmt: skip
    return Known(path, "rt", frozenset(links - {""}), record)


def grouped(files: Sequence[Known]) -> list[list[Known]]:
    """Put files together that share a study, or refer to one another.

    A ZIP file stands alone; a damaged file belongs to whatever lies in its folder.
    """
    places = {file.path.parent for file in files if file.kind in ("rt", "image")}
    lead: dict[str, str] = {}

    def find(name: str) -> str:
        lead.setdefault(name, name)
        while lead[name] != name:
            lead[name] = lead[lead[name]]
            name = lead[name]
        return name

    used = [file for file in files if file.kind in ("rt", "image")]
    names = [file.links or frozenset({f"file {file.path}"}) for file in used]
    for links in names:
        first, *others = sorted(links)
        for other in others:
            lead[find(other)] = find(first)
    groups: dict[str, list[Known]] = {}
    for file, links in zip(used, names, strict=True):
        groups.setdefault(find(min(links)), []).append(file)
    alone: dict[Path, list[Known]] = {}
    for file in files:
        if file.kind == "archive":
            groups[f"file {file.path}"] = [file]
        if file.kind == "damaged":
            here = file.path.parent
            if here not in places:
                alone.setdefault(here, []).append(file)
            for group in groups.values():
                if any(other.path.parent == here and other.kind != "archive" for other in group):
                    group.append(file)
    return [*groups.values(), *alone.values()]


def plan_parts(rt: Sequence[Known]) -> list[list[Known]]:
    """Split RT objects that belong together into plans: a dose, its plan, its structures.

    What is in no plan of its own (structures without a dose, a plan without one) stays together
    and makes a plan only where there is no dose at all.
    """
    doses = _of_kind(rt, "rtdose")
    if not doses:
        return [list(rt)] if rt else []
    by_plan: dict[tuple[str, ...], list[Known]] = {}
    for dose in doses:
        by_plan.setdefault(_record(dose).plan_uids, []).append(dose)
    parts = []
    for uids, group in by_plan.items():
        # Doses that name no plan: with one plan they are its own, as for a folder of one plan.
        plans = [p for p in _of_kind(rt, "rtplan") if _record(p).sop_instance_uid in uids]
        if not plans and len(by_plan) == 1:
            plans = _of_kind(rt, "rtplan")
        wanted = {uid for file in (*plans, *group) for uid in _record(file).rtstruct_uids}
        structs = _of_kind(rt, "rtstruct")
        named = [s for s in structs if _record(s).sop_instance_uid in wanted]
        parts.append([*group, *plans, *(named or structs)])
    return parts


def _missing(part: Sequence[Known]) -> str:
    """Say what a plan refers to and is not there."""
    there = {_record(file).sop_instance_uid for file in part if file.record}
    words = [
        word
        for kind, word in (("rtstruct", "an RTSTRUCT"), ("rtdose", "an RTDOSE"))
        if not _of_kind(part, kind)
    ]
    doses, plans = _of_kind(part, "rtdose"), _of_kind(part, "rtplan")
    if any(not set(_record(dose).plan_uids) <= there for dose in doses):
        words.append("the RTPLAN of the dose")
    if any(not set(_record(plan).rtstruct_uids) <= there for plan in plans):
        words.append("the RTSTRUCT of the plan")
    return ", ".join(words)


def _of_kind(files: Iterable[Known], kind: str) -> list[Known]:
    return [file for file in files if file.record is not None and file.record.kind == kind]


def _record(file: Known) -> FileRecord:
    assert file.record is not None
    return file.record


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
