"""A messy tree -> the plans in it, each with the files that belong to it.

A tree may hold many patients, several plans and doses of each, files without an extension and ZIP
files. Doses make plans: each total (totals.py) is one, with the RTPLAN that it refers to and the
structure set that they share. What has no dose is listed too, so that it is refused with a reason
and not passed over.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cordgap.dicom.archive import is_zip
from cordgap.dicom.discover import FileRecord, head_of, kind_of_head, read_record, series_in_head
from cordgap.dicom.totals import totals_of

_ZIP_START = b"PK\x03\x04"


@dataclass(frozen=True)
class PlanFiles:
    """Files of one plan, or one ZIP file that holds plans.

    Parameters
    ----------
    files : tuple of str
        RT files, then CT slices, relative to the tree.
    uids : tuple of str
        What names the plan: the SOP Instance UIDs of its doses, else of its plan or structure set.
    archive : str or None
        ZIP file, relative to the tree, or a study of an archive, by its UID; ``files`` are then
        relative to what it holds, or empty where it was not looked into yet.
    names_content : bool
        Whether other plans of the tree have the same UIDs, so that these alone name none of them.
    """

    files: tuple[str, ...]
    uids: tuple[str, ...] = ()
    archive: str | None = None
    names_content: bool = False


@dataclass(frozen=True)
class Inventory:
    """Plans of a tree; ``unreadable`` counts RT files and folders that cannot be read.

    ``studies`` is None for a tree, else how many were found in an archive in place of files.
    """

    plans: tuple[PlanFiles, ...]
    files: int = 0
    not_dicom: int = 0
    unreadable: int = 0
    studies: int | None = None


Progress = Callable[[int], None]


def take_inventory(root: Path, *, progress: Progress | None = None) -> Inventory:
    """Find the plans below a folder.

    Parameters
    ----------
    root : Path
    progress : callable, optional
        Called with the number of files looked at, now and then.

    Notes
    -----
    Reads 2 kB of each file, and of an RT file what links it to others. Of a CT slice only its name
    is kept. ZIP files are listed and not opened. Folders and files that begin with a dot, and links
    to folders, are passed over.
    """
    rt: list[FileRecord] = []
    slices: dict[str, list[Path]] = {}
    series_of: dict[Path, set[str]] = {}
    archives: list[str] = []
    files = unrelated = unreadable = 0
    for path in _walk(root):
        if path is None:
            unreadable += 1
            continue
        files += 1
        if progress is not None and files % 100 == 0:
            progress(files)
        try:
            head = head_of(path)
        except OSError:
            unreadable += 1
            continue
        kind, uid = kind_of_head(head)
        if kind == "ct":
            series = series_in_head(head)
            slices.setdefault(series, []).append(path)
            series_of.setdefault(path.parent, set()).add(series)
        elif kind is not None:
            try:
                record = read_record(path, kind)
            except Exception:
                # Whatever it is, it is the fault of one file and stops nothing. It stays in the
                # list: a plan that misses it shall say so.
                unreadable += 1
                record = FileRecord(kind, path)
            if not record.derived:
                rt.append(record)
        elif head.startswith(_ZIP_START) and is_zip(path):
            archives.append(path.relative_to(root).as_posix())
        elif not uid:
            unrelated += 1
    plans = [*_plans(root, rt, slices, series_of), *(PlanFiles((), archive=a) for a in archives)]
    return Inventory(tuple(plans), files, unrelated, unreadable)


def _walk(root: Path) -> Iterator[Path | None]:
    """Yield files in a fixed order; None for a folder that cannot be read."""
    waiting = [root]
    while waiting:
        try:
            entries = sorted(os.scandir(waiting.pop()), key=lambda entry: entry.name)
        except OSError:
            yield None
            continue
        folders = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif entry.is_file():
                yield Path(entry.path)
        waiting.extend(reversed(folders))


def _plans(
    root: Path,
    records: Sequence[FileRecord],
    slices: dict[str, list[Path]],
    series_of: dict[Path, set[str]],
) -> Iterator[PlanFiles]:
    by_uid: dict[str, list[FileRecord]] = {}
    by_frame: dict[str, list[FileRecord]] = {}
    # For a dose that says nothing of where it belongs.
    beside: dict[tuple[Path, str], list[FileRecord]] = {}
    for r in records:
        if r.kind == "rtdose":
            continue
        by_uid.setdefault(r.sop_instance_uid, []).append(r)
        beside.setdefault((r.path.parent, r.kind), []).append(r)
        if r.kind == "rtstruct":
            for frame in r.frame_of_reference_uids:
                by_frame.setdefault(frame, []).append(r)
    used: set[Path] = set()
    groups: list[tuple[FileRecord, ...]] = []
    for doses in _doses(records):
        near = doses[0].path
        plans = [
            _nearest(by_uid.get(u, []), near)
            for u in _unique(u for d in doses for u in d.plan_uids)
        ]
        found = [r for members in plans for r in members if r.kind == "rtplan"]
        if not any(d.plan_uids for d in doses):
            # A damaged dose, or one without references: the plan beside it, if of the same study.
            study = doses[0].study_instance_uid
            beside_it = beside.get((near.parent, "rtplan"), [])
            found = [r for r in beside_it if study in ("", r.study_instance_uid)]
        wanted = _unique(u for r in (*found, *doses) for u in r.rtstruct_uids)
        structs = [
            r for u in wanted for r in _nearest(by_uid.get(u, []), near) if r.kind == "rtstruct"
        ]
        if not structs:
            frames = _unique(f for d in doses for f in d.frame_of_reference_uids)
            structs = [r for f in frames for r in _nearest(by_frame.get(f, []), near)]
        structs = structs or beside.get((near.parent, "rtstruct"), [])
        group = tuple(dict.fromkeys([*doses, *found, *structs]))
        used.update(r.path for r in group)
        # The copies of a file that was taken belong to it.
        taken = {r.sop_instance_uid for r in group if r.sop_instance_uid}
        used.update(r.path for u in taken for r in by_uid.get(u, []))
        groups.append(group)
    for kind in ("rtplan", "rtstruct"):  # what no dose leads to
        for r in records:
            if r.kind != kind or r.path in used:
                continue
            more = [o for u in r.rtstruct_uids for o in _nearest(by_uid.get(u, []), r.path)]
            group = tuple(dict.fromkeys([r, *more]))
            used.update(o.path for o in group)
            groups.append(group)
    names = [_names(group) for group in groups]
    count = Counter(names)
    for group, uids in zip(groups, names, strict=True):
        series = [u for r in group for u in r.series_uids if u in slices]
        # Where the contours name no series that is here, the slices beside them may be theirs.
        here = sorted({u for r in group for u in series_of.get(r.path.parent, ())})
        places = {r.path.parent for r in group}
        ct = [path for u in dict.fromkeys(series or here) for path in _in_places(slices[u], places)]
        paths = [*(r.path for r in group), *ct]
        names_here = tuple(p.relative_to(root).as_posix() for p in paths)
        yield PlanFiles(names_here, uids, names_content=count[uids] > 1 or not all(uids))


def _doses(records: Sequence[FileRecord]) -> Iterator[tuple[FileRecord, ...]]:
    """Yield the totals among the doses of each plan, and what makes none, to be refused."""
    by_plan: dict[tuple[str, ...], list[FileRecord]] = {}
    for r in records:
        if r.kind == "rtdose":
            by_plan.setdefault(r.plan_uids or (str(r.path),), []).append(r)
    for members in by_plan.values():
        for part in _without_copies(members):
            yield from totals_of(part) or [tuple(part)]


def _without_copies(members: list[FileRecord]) -> list[list[FileRecord]]:
    """Part doses by folder where several carry one UID: they are told apart by their content."""
    if len({r.sop_instance_uid for r in members}) == len(members):
        return [members]
    folders: dict[Path, list[FileRecord]] = {}
    for r in members:
        folders.setdefault(r.path.parent, []).append(r)
    return list(folders.values())


def _names(group: tuple[FileRecord, ...]) -> tuple[str, ...]:
    kind = group[0].kind
    return tuple(sorted({r.sop_instance_uid for r in group if r.kind == kind}))


def _nearest(records: Iterable[FileRecord], place: Path) -> list[FileRecord]:
    """Of files that carry the same UID return the one nearest in the tree, or those as near."""
    listed = list(records)
    if len(listed) < 2:
        return listed
    shared = [len(os.path.commonpath([r.path.parent, place.parent])) for r in listed]
    return [r for r, n in zip(listed, shared, strict=True) if n == max(shared)]


def _in_places(paths: list[Path], places: set[Path]) -> list[Path]:
    """Slices in the folders of a plan; all of a series where none lies there."""
    return [p for p in paths if p.parent in places] or paths


def _unique(words: Iterable[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word]
