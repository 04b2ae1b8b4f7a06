"""What the readers make of a folder, and whether that is right for a mutant of a good plan."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tests.dicom.builders import PATIENT

from cordgap.analysis import CaseResult, analyze
from cordgap.case.case import Case, Prescription
from cordgap.check.findings import review
from cordgap.check.verdict import judge
from cordgap.dicom import read_case
from cordgap.errors import CordgapError, Finding

# A tenth of the last digit that is ever printed: 0.01 Gy, 0.1 mm, 0.01 cc.
SAME = {"gy": 1e-3, "mm": 1e-2, "cc": 1e-3}
# Names of patients in the base plans; no message may hold one.
CANARIES = (PATIENT, "SECRET-ID", PATIENT.split("^")[0])
CORD_D = "cord D0.035cc gy"
CORD_DOSES = (CORD_D, "cord D2% gy", "cord D95% gy", "cord D98% gy", "cord mean gy")

EQUAL, EQUAL_NOTED, CHANGED_NOTED, PARTLY, REFUSED = (
    "equal", "equal with finding", "changed with finding", "number withheld", "refused",
)  # fmt: skip
SILENT, TRACEBACK, HANG, MEMORY, LEAK = (
    "SILENT CHANGE", "TRACEBACK", "HANG", "MEMORY", "LEAK",
)  # fmt: skip
GOOD = (EQUAL, EQUAL_NOTED, CHANGED_NOTED, PARTLY, REFUSED)
BAD = (SILENT, TRACEBACK, HANG, MEMORY, LEAK)


@dataclass(frozen=True)
class Seen:
    """What came out of a folder: numbers, findings above information, or an error.

    ``values`` are numbers, words, or None for a number that is withheld. ``fingerprint`` stands
    for everything that the analysis reads.
    """

    values: dict[str, float | str | None]
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    error: str | None = None
    error_kind: str | None = None
    trace: str | None = None
    leaked: bool = False
    warned: tuple[str, ...] = ()

    def counts(self) -> Counter[str]:
        return Counter(self.findings)


@dataclass(frozen=True)
class Judgement:
    outcome: str
    changed: tuple[tuple[str, float | str | None, float | str | None], ...] = ()
    new: tuple[str, ...] = ()

    def change_gy(self, keys: tuple[str, ...] = (CORD_D,)) -> float:
        """How far D0.035cc of the cord (or the largest of other doses) moved."""
        moved = [
            abs(new - old) if isinstance(new, float) else math.inf
            for key, old, new in self.changed
            if key in keys and isinstance(old, float)
        ]
        return max(moved, default=0.0)


def observe(
    folder: Path,
    *,
    known: Seen | None = None,
    prescription: Prescription | None = None,
    whole: bool = False,
) -> Seen:
    """Read and analyse a folder.

    Where the case is the very one that is known, down to each voxel and vertex, the analysis (a
    function of the case) is not run again unless ``whole``.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seen = _observe(folder, known, prescription, whole)
    return replace(seen, warned=tuple({str(w.category.__name__) for w in caught}))


def _observe(
    folder: Path, known: Seen | None, prescription: Prescription | None, whole: bool
) -> Seen:
    try:
        case = read_case(folder)
        if prescription is not None:
            case = replace(case, prescription=prescription)
        mark = fingerprint(case)
        if known is not None and mark == known.fingerprint and not whole:
            later = tuple(f for f in known.findings if f.startswith("later "))
            return _seen(dict(known.values), _read_findings(case), mark, later)
        result = analyze(case)
        result = replace(result, findings=review(result))
        verdict = judge(case, result.findings, prescription=result.prescription)
    except CordgapError as error:
        kind = type(error).__name__
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                kind = "MemoryError"
            cause = cause.__cause__ or cause.__context__
        text = str(error)
        return Seen({}, error=text, error_kind=kind, leaked=_leaks([text]))
    seen = _seen(numbers(result), _read_findings(case), mark, ())
    early = set(_read_findings(case))
    later = [f for f in dict.fromkeys((*result.findings, *verdict.findings)) if f not in early]
    return Seen(
        seen.values,
        (*seen.findings, *(f"later {_label(f)}" for f in later if f.severity != "info")),
        (*seen.notes, *(f"later {_label(f)}" for f in later if f.severity == "info")),
        mark,
        leaked=seen.leaked or _leaks(f.message for f in later),
    )


def _seen(
    values: dict[str, float | str | None],
    findings: list[Finding],
    mark: str,
    later: tuple[str, ...],
) -> Seen:
    return Seen(
        values,
        (*(_label(f) for f in findings if f.severity != "info"), *later),
        tuple(_label(f) for f in findings if f.severity == "info"),
        mark,
        leaked=_leaks(f.message for f in findings),
    )


def _read_findings(case: Case) -> list[Finding]:
    return [*case.findings, *(f for s in case.structures for f in s.findings)]


def _label(finding: Finding) -> str:
    return f"{finding.code} {finding.roi_name or ''}".strip()


def _leaks(texts) -> bool:
    return any(canary in text for text in texts for canary in CANARIES)


def fingerprint(case: Case) -> str:
    """Hash everything that the analysis can see."""
    digest = hashlib.sha256()

    def put(*values: object) -> None:
        digest.update(repr(values).encode())

    for s in case.structures:
        put(s.roi_number, s.roi_name, s.role, s.status, s.reason, s.slab_thickness_mm)
        for plane in s.planes:
            put(plane.z_mm, len(plane.contours))
            for contour in plane.contours:
                digest.update(np.ascontiguousarray(contour, np.float64).tobytes())
    if case.dose is not None:
        for axis in case.dose.geometry.axes:
            digest.update(np.asarray(axis, np.float64).tobytes())
        digest.update(case.dose.values.tobytes())
    put(case.prescription, case.dose_type, case.dose is None)
    return digest.hexdigest()


def numbers(result: CaseResult) -> dict[str, float | str | None]:
    """Return the numbers that a reader of the report acts on."""
    found: dict[str, float | str | None] = {}
    for word, choice in (("cord", result.cord), ("target", result.target)):
        structure = choice.structure if choice else None
        found[f"{word} is"] = structure.role if structure else None
        row = next((s for s in result.structures if s.structure is structure), None)
        for metric in ("D0.035cc[Gy]", "D2%[Gy]", "D95%[Gy]", "D98%[Gy]"):
            value = row.metrics[metric].value if row and row.metrics else None
            bound = row.metrics[metric].bound if row and row.metrics else None
            found[f"{word} {metric.split('[')[0]} gy"] = value
            found[f"{word} {metric.split('[')[0]} bound"] = bound
        found[f"{word} volume cc"] = row.volume_cc if row else None
        found[f"{word} mean gy"] = row.dvh.mean_gy if row and row.dvh else None
    rx = result.prescription
    found["prescription gy"] = rx.dose_gy if rx else None
    found["fractions"] = str(rx.fractions) if rx else None
    for c in result.constraints:
        found[f"{c.id} verdict"] = None if c.verdict == "not evaluable" else c.verdict
    s = result.separation
    found["required separation mm"] = s.required_separation_mm if s else None
    found["upper end mm"] = s.interval_mm[1] if s and s.interval_mm else None
    found["separation mm"] = s.separation_mm if s else None
    found["method"] = s.method if s else None
    return found


def judge_mutant(good: Seen, seen: Seen) -> Judgement:
    """Compare a mutant with the good plan that it was made of.

    A number that is withheld is an answer; another number needs a finding (warning or error) that
    the good plan does not have.
    """
    new = tuple((seen.counts() - good.counts()).keys())
    if seen.trace is not None:
        return Judgement(TRACEBACK)
    if seen.leaked:
        return Judgement(LEAK)
    if seen.error is not None:
        return Judgement(MEMORY if seen.error_kind == "MemoryError" else REFUSED)
    keys = dict.fromkeys((*good.values, *seen.values))
    changed = tuple(
        (key, good.values.get(key), seen.values.get(key))
        for key in keys
        if not _same(key, good.values.get(key), seen.values.get(key))
    )
    if not changed:
        return Judgement(EQUAL_NOTED if new else EQUAL, (), new)
    if all(value is None for _, _, value in changed):
        return Judgement(PARTLY, changed, new)
    return Judgement(CHANGED_NOTED if new else SILENT, changed, new)


def _same(key: str, old: float | str | None, new: float | str | None) -> bool:
    if isinstance(old, float | int) and isinstance(new, float | int):
        return abs(old - new) <= SAME[key.rsplit(" ", 1)[-1]]
    return old == new
