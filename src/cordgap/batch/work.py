"""What a worker does with one plan: hash its files, analyse it, return rows of the store.

Arguments and results are JSON. Nothing here raises for the fault of a plan but ``MemoryError``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from cordgap._version import __version__
from cordgap.batch.pseudonym import pseudonym
from cordgap.batch.rows import result_rows
from cordgap.batch.studies import PASSING as NETWORK_PASSING
from cordgap.batch.studies import PacsPlace, fetched
from cordgap.dicom.archive import unpacked
from cordgap.dicom.discover import Discovery, FileRecord, read_record, sniff
from cordgap.dicom.inventory import PlanFiles, take_inventory
from cordgap.errors import CordgapError, DicomError, Finding

Document = dict[str, Any]
# What a second try may mend: these are analysed again by the next run.
PASSING = (
    "plan-timeout", "plan-memory", "worker-died", "input-changed", "input-unreadable",
    *NETWORK_PASSING,
)  # fmt: skip
_ID_DIGITS = 32


@dataclass(frozen=True)
class WorkSettings:
    """How plans are analysed; part of the key of every result."""

    protocol: str | None = None
    constraints: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    max_mm: float | None = None
    accept: tuple[str, ...] = ()

    def words(self) -> str:
        """Return them as JSON; a constraint table of a site's own by its content."""
        values = asdict(self)
        if self.protocol is not None and Path(self.protocol).is_file():
            values["protocol"] = hashlib.sha256(Path(self.protocol).read_bytes()).hexdigest()
        return json.dumps(values, sort_keys=True)


@dataclass(frozen=True)
class Job:
    """One plan as a worker gets it: below ``root``, or in a study of an archive."""

    root: str
    files: tuple[str, ...]
    uids: tuple[str, ...]
    archive: str | None
    names_content: bool
    site_key: str
    settings: WorkSettings
    settings_words: str
    out: str | None = None
    pacs: PacsPlace | None = None

    @classmethod
    def of(cls, raw: Document) -> Job:
        """Read one from JSON."""
        made: Document = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        given: Document = raw["settings"]
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        made["settings"] = WorkSettings(**given)
        made["pacs"] = None if raw["pacs"] is None else PacsPlace(**raw["pacs"])
        return cls(**made)

    @property
    def is_study(self) -> bool:
        """Whether it lies in an archive and was not fetched yet."""
        return self.pacs is not None and not self.root

    @property
    def place(self) -> str:
        """Pseudonym of where it is, which names a plan whose files cannot be read."""
        return pseudonym(self.site_key, "place", self.archive or "", *self.files[:1])

    @property
    def places(self) -> tuple[str, ...]:
        """Its place, and that of the ZIP file that it is in."""
        whole = [] if self.archive is None else [pseudonym(self.site_key, "place", self.archive)]
        return (self.place, *whole)


# The archive that was unpacked last: the plans of one follow each other.
_opened: dict[tuple[str, int], Path] = {}


@contextmanager
def _at_hand(job: Job) -> Iterator[Job]:
    """Hold the files of a job on this disk: those of a study are fetched, and removed again."""
    if job.pacs is None or job.archive is None:
        yield job
        return
    with fetched(job.pacs, job.archive) as folder:
        yield replace(job, root=str(folder))


def _folder(job: Job) -> Path:
    if job.archive is None or job.pacs is not None:
        return Path(job.root)
    path = Path(job.root, job.archive)
    key = (str(path), path.stat().st_mtime_ns)
    if key not in _opened:
        for folder in _opened.values():
            shutil.rmtree(folder, ignore_errors=True)
        _opened.clear()
        _opened[key] = unpacked(path)
    return _opened[key]


def list_archive(raw: Document) -> Document:
    """List the plans of a ZIP file or a study; what cannot be used gives the reason.

    The plans of a study are hashed while they are here (``hashed``, in the order of ``plans``).
    """
    job = Job.of(raw)
    try:
        with _at_hand(job) as here:
            plans = take_inventory(_folder(here)).plans
            hashed = None if job.pacs is None else [_hashed(_job_of(here, p)) for p in plans]
    except (CordgapError, OSError) as error:
        hashes: Document = {}
        if job.pacs is None:
            with suppress(OSError), Path(job.root, job.archive or "").open("rb") as stream:
                hashes = {"archive": hashlib.file_digest(stream, "sha256").hexdigest()}
        return {"rows": _without_result(job, error, hashes)}
    return {"plans": [asdict(p) for p in plans], "hashed": hashed}


def hash_plan(raw: Document) -> Document:
    """Return the key of a plan: hash of its contents, of the settings, of the version."""
    return _hashed(Job.of(raw))


def _hashed(job: Job) -> Document:
    try:
        hashes = _hashes(job)
    except (CordgapError, OSError) as error:
        return {"rows": _without_result(job, error)}
    return {"key": _key(job, hashes), "hashes": hashes}


def _job_of(job: Job, plan: PlanFiles) -> Job:
    """Return the job of one plan of a study."""
    return replace(job, files=plan.files, uids=plan.uids, names_content=plan.names_content)


def analyse_plan(raw: Document, hashes: Document) -> Document:
    """Analyse a plan and return its rows by table."""
    job = Job.of(raw)
    started = time.perf_counter()
    rows: Document
    try:
        with _at_hand(job) as here:
            rows = _tried(here, hashes)
    except (CordgapError, OSError) as error:
        rows = _without_result(job, error, hashes)
    rows["plans"][0]["seconds"] = round(time.perf_counter() - started, 3)
    return {"rows": rows}


def _tried(job: Job, hashes: Document) -> Document:
    try:
        return _analysed(job, hashes)
    except (CordgapError, OSError) as error:
        return _without_result(job, error, hashes)
    except MemoryError:
        raise
    except Exception as error:
        # Whatever it is, it is the fault of one plan and stays with it.
        return _row(job, hashes, "failed", "unexpected", type(error).__name__)


def lost_rows(raw: Document, hashes: Document | None, status: str, code: str, why: str) -> Document:
    """Return the rows of a plan whose worker did not come back."""
    return _row(Job.of(raw), hashes or {}, status, code, why)


def _analysed(job: Job, hashes: Document) -> Document:
    from cordgap.analysis import Settings, analyze
    from cordgap.check.findings import review
    from cordgap.dicom.overrides import Overrides
    from cordgap.dicom.plan import PlanLabels, read_labels
    from cordgap.dicom.read import read_case
    from cordgap.dvh.metrics import parse_goal
    from cordgap.separation.estimate import DEFAULT_MAX_MM

    chosen = job.settings
    case = read_case(
        _discovery(job),
        identify=True,
        overrides=Overrides(
            ignore_frame_of_reference="frame-of-reference" in chosen.accept,
            one_fraction="one-fraction" in chosen.accept,
        ),
    )
    settings = Settings(
        protocol=chosen.protocol,
        constraints=tuple(parse_goal(text) for text in chosen.constraints),
        coverage=tuple(parse_goal(text) for text in chosen.coverage),
        max_mm=DEFAULT_MAX_MM if chosen.max_mm is None else chosen.max_mm,
    )
    result = analyze(case, settings)
    result = replace(result, findings=review(result))
    changed = [f for f in case.inputs if f.sha256 and f.sha256 not in hashes.values()]
    if changed:
        raise _changed()
    labels = PlanLabels()
    plan = next((f.path for f in case.inputs if f.kind == "rtplan" and f.path), None)
    if plan is not None:
        with suppress(CordgapError):
            labels = read_labels(plan)
    rows = _row(job, hashes, "ok", None, result.separation_reason)
    head = rows["plans"][0]
    patient = case.identity.get("patient_id") or case.identity.get("patient_name")

    def named(kind: str, word: str | None) -> str | None:
        return pseudonym(job.site_key, kind, word) if word else None

    of_kind = {k: [f.sha256 for f in case.inputs if f.kind == k] for k in ("rtstruct", "rtplan")}
    head |= {
        "patient_id": named("patient", patient),
        "machine": named("machine", labels.machine),
        "planner": named("planner", labels.planner),
        "plan_month": _month(labels.day),
        "rtstruct_sha256": next(iter(of_kind["rtstruct"]), None),
        "rtplan_sha256": next(iter(of_kind["rtplan"]), None),
        "rtdose_sha256": " ".join(f.sha256 for f in case.inputs if f.kind == "rtdose" and f.sha256),
    }
    rows = result_rows(result, rows)
    if job.out is not None:
        from cordgap.report.write import write_all

        write_all(replace(result, case=replace(case, identity={})), Path(job.out, head["plan_id"]))
        head["report"] = head["plan_id"]
    return _without_names(job, rows)


def _month(day: date | None) -> str | None:
    return None if day is None else day.replace(day=1).isoformat()


def _records(job: Job) -> tuple[list[FileRecord], list[Finding]]:
    """Read what links the files of a plan; one that cannot be read is noted."""
    folder = _folder(job)
    records: list[FileRecord] = []
    notes: list[Finding] = []
    for name in job.files:
        path = folder / name
        kind, _ = sniff(path)
        if kind is None and not path.is_file():
            raise _changed()
        try:
            records.append(read_record(path, kind))
        except DicomError as error:
            words = f"{error}; the file was left out"
            notes.append(Finding("file-unreadable", words, file=path.name))
    return records, notes


def _discovery(job: Job) -> Discovery:
    records, notes = _records(job)
    return Discovery(tuple(records), findings=tuple(notes))


def _changed() -> DicomError:
    return DicomError(
        "a file of the plan was changed or removed while it was analysed; run again when the "
        "export is complete",
        code="input-changed",
    )


def _hashes(job: Job) -> Document:
    """SHA-256 of each RT file; of the CT, number and size, since no dose depends on it."""
    folder = _folder(job)
    found: Document = {}
    slices = size = 0
    for number, name in enumerate(job.files):
        path = folder / name
        kind, _ = sniff(path)
        if kind == "ct":
            slices, size = slices + 1, size + path.stat().st_size
            continue
        with path.open("rb") as stream:
            found[str(number)] = hashlib.file_digest(stream, "sha256").hexdigest()
    found["ct"] = f"{slices} {size}"
    return found


def _key(job: Job, hashes: Document) -> str:
    parts = [__version__, job.settings_words, *sorted(hashes.values())]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:_ID_DIGITS]


def _plan_id(job: Job, hashes: Document) -> str:
    """Pseudonym from UIDs; from the content as well where several plans carry the same."""
    if not (job.uids and all(job.uids)) or (job.names_content and not hashes):
        return job.place
    more = sorted(hashes.values()) if job.names_content else []
    return pseudonym(job.site_key, "plan", *job.uids, *more)


def _row(job: Job, hashes: Document, status: str, code: str | None, why: str | None) -> Document:
    key = _key(job, hashes) if hashes else _key(job, {"place": job.place})
    head = {
        "result_id": key,
        "plan_id": _plan_id(job, hashes),
        "status": status,
        "code": code,
        "reason": why,
        "settings": job.settings_words,
        "cordgap_version": __version__,
        "seconds": 0.0,
        "places": list(job.places),
    }
    return {"plans": [head]}


def _without_result(
    job: Job, error: CordgapError | OSError, hashes: Document | None = None
) -> Document:
    if isinstance(error, OSError):
        kind = error.strerror or type(error).__name__
        rows = _row(job, hashes or {}, "failed", "input-unreadable", f"a file: {kind}")
    else:
        status = "failed" if error.code in PASSING else "refused"
        rows = _row(job, hashes or {}, status, error.code, str(error))
    return _without_names(job, rows)


def _without_names(job: Job, rows: Document) -> Document:
    """Call files by their kind in every text: systems put identifiers into file names."""
    names: dict[str, str] = {}
    with suppress(CordgapError, OSError):
        folder = Path() if job.is_study else _folder(job)
        for name in job.files:
            path = folder / name
            names[path.name] = f"the {(sniff(path)[0] or 'file').upper()}"
    if job.archive is not None:
        names[Path(job.archive).name] = "the ZIP file" if job.pacs is None else "the study"
    for table, column in (("plans", "reason"), ("findings", "message")):
        for row in rows.get(table, ()):
            row[column] = _renamed(row[column], names)
    return rows


def _renamed(text: str | None, names: dict[str, str]) -> str | None:
    if text is None:
        return None
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    return text


def job_document(
    source: Path | PacsPlace,
    plan: PlanFiles,
    key: str,
    settings: WorkSettings,
    words: str,
    out: Path | None,
) -> Document:
    """Return one plan, below a folder or in an archive, as the arguments of a worker."""
    pacs = source if isinstance(source, PacsPlace) else None
    job = Job(
        "" if pacs else str(source), plan.files, plan.uids, plan.archive, plan.names_content, key,
        settings, words, None if out is None else str(out), pacs,
    )  # fmt: skip
    return asdict(job)


def plans_of(raw: Sequence[Document], archive: str) -> list[PlanFiles]:
    """Return the plans that a worker found in a ZIP file."""
    return [
        PlanFiles(tuple(p["files"]), tuple(p["uids"]), archive, p["names_content"]) for p in raw
    ]
