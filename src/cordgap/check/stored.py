"""DVHs stored in the dose file beside those computed here: compared, never used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cordgap.case.case import Case, InputFile
from cordgap.case.grid import DoseGrid
from cordgap.case.structure import Structure
from cordgap.check.raster import (
    HOTTEST_CC,
    HOTTEST_PERCENT,
    Values,
    metric_names,
    unit_of,
    values_of_dvh,
)
from cordgap.dicom.stored_dvh import StoredDvh, StoredDvhs, count_stored_dvhs, read_stored_dvhs
from cordgap.dvh.curve import DVH
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.solid import build_solid
from cordgap.errors import CordgapError, Finding, StructureError

# Planning systems differ in volume by up to a tenth from one another; beyond a quarter it is
# another structure, or another version of it. On top of that, what each makes of the ends of a
# structure, and half a pixel of a CT of 1 mm on its sides, which is much of a thin one.
VOLUME_SHARE = 0.25
SIDE_MM = 0.5
# The mean of the same structure in the same dose does not depend on how it is counted.
MEAN_SHARE = 0.1
MEAN_GY = 0.5


@dataclass(frozen=True)
class StoredRow:
    """One metric of one structure, as stored and as computed here."""

    roi_name: str
    metric: str
    unit: str
    main: float | None
    stored: float | None

    @property
    def difference_percent(self) -> float | None:
        """Stored minus computed in percent of computed."""
        if self.main is None or self.stored is None or self.main == 0:
            return None
        return 100 * (self.stored / self.main - 1)


@dataclass(frozen=True)
class StoredComparison:
    """Stored DVHs beside the computed ones; ``reason`` says why there are none."""

    file: str | None
    rows: tuple[StoredRow, ...] = ()
    findings: tuple[Finding, ...] = ()
    reason: str | None = None


def stored_notes(case: Case | None) -> tuple[Finding, ...]:
    """Say that the dose files store DVHs of their own, where they do."""
    if case is None:
        return ()
    notes = []
    for file in _dose_files(case):
        count = count_stored_dvhs(file.path) if file.path is not None else 0
        if count:
            notes.append(
                Finding(
                    "stored-dvh-present",
                    f"the dose file holds {count} DVH(s) of the exporting system; they are not "
                    "used",
                    severity="info",
                    file=file.file,
                    action="compare them with cordgap check --second-calc",
                )
            )
    return tuple(notes)


def compare_stored(case: Case) -> StoredComparison:
    """Compare the DVHs that the dose file stores with those computed here.

    Parameters
    ----------
    case : Case
        As read from its files.

    Raises
    ------
    DicomError
        If the dose file cannot be read again.
    """
    files = [f for f in _dose_files(case) if f.path is not None]
    if not files or case.dose is None:
        return StoredComparison(None, reason="the case was not read from a dose file")
    if len(files) > 1:
        return StoredComparison(None, reason="the dose is a sum of files; each stores its own part")
    path = files[0].path
    assert path is not None
    found = read_stored_dvhs(path)
    if not found.dvhs:
        reason = "none of them can be compared" if found.findings else "the dose file stores none"
        return StoredComparison(found.file, findings=found.findings, reason=reason)
    return _compare(case, found)


def _dose_files(case: Case) -> list[InputFile]:
    return [f for f in case.inputs if f.kind == "rtdose"]


@dataclass(frozen=True, eq=False)
class _Computed:
    """A structure as computed here; ``room_cc`` is how far its volume may be off elsewhere."""

    structure: Structure
    dvh: DVH
    room_cc: float


def _compare(case: Case, found: StoredDvhs) -> StoredComparison:
    assert case.dose is not None
    structures = {s.roi_number: s for s in case.structures}
    computed: dict[int, _Computed] = {}
    findings = list(found.findings)
    for stored in found.dvhs:
        structure = structures.get(stored.roi_number)
        if structure is None:
            what = f"ROI number {stored.roi_number} is not in the structure set"
            findings.append(_differs(found.file, None, what))
            continue
        try:
            computed[stored.roi_number] = _compute(structure, case.dose)
        except CordgapError as error:
            findings.append(_skipped(found.file, structure, str(error)))
    pairs = [(computed[d.roi_number], d) for d in found.dvhs if d.roi_number in computed]
    odd = {d.roi_number for main, d in pairs if _problem(main, d) is not None}
    for main, stored in pairs:
        problem = _problem(main, stored)
        if problem is None:
            continue
        # After a mix-up of numbers the structure that it fits has a misfit itself.
        fits = [
            computed[number].structure.roi_name
            for number in sorted(odd - {stored.roi_number})
            if _problem(computed[number], stored) is None
        ]
        if len(fits) == 1:
            problem += f"; the stored one fits {fits[0]!r}"
        findings.append(_differs(found.file, main.structure, problem))
    rows = tuple(row for main, stored in pairs for row in _rows(main, stored))
    return StoredComparison(found.file, rows, tuple(findings))


def _compute(structure: Structure, dose: DoseGrid) -> _Computed:
    dvh = compute_dvh(build_solid(structure), dose, uncertainty=False)
    volume = dvh.total_volume_cc
    try:
        ends = volume - build_solid(structure, ends="none").volume_cc
    except StructureError:
        ends = volume
    sides = SIDE_MM * _side_mm2(structure) / 1000
    return _Computed(structure, dvh, VOLUME_SHARE * volume + ends + sides)


def _side_mm2(structure: Structure) -> float:
    """Area of the sides: the length of the contours times the spacing of the planes."""
    gaps = np.diff([plane.z_mm for plane in structure.planes])
    spacing = float(np.median(gaps)) if gaps.size else (structure.slab_thickness_mm or 0.0)
    edges = [np.diff(c, axis=0, append=c[:1]) for p in structure.planes for c in p.contours]
    return spacing * float(sum(np.hypot(e[:, 0], e[:, 1]).sum() for e in edges))


def _rows(main: _Computed, stored: StoredDvh) -> list[StoredRow]:
    ours, theirs = values_of_dvh(main.dvh), _values(stored)
    return [
        StoredRow(main.structure.roi_name, name, unit_of(name), ours.get(name), value)
        for name in metric_names()
        if (value := theirs.get(name)) is not None
    ]


def _values(dvh: StoredDvh) -> Values:
    values: Values = {
        "volume": None if dvh.in_percent else dvh.total,
        "Mean": dvh.curve_mean_gy,
        "Max": dvh.max_gy if dvh.max_gy is not None else dvh.curve_max_gy,
    }
    for cc in HOTTEST_CC:
        known = not dvh.in_percent and cc <= dvh.total
        values[f"D{cc:g}cc"] = dvh.dose_of_hottest_gy(cc) if known else None
    for percent in HOTTEST_PERCENT:
        values[f"D{percent:g}%"] = dvh.dose_of_hottest_gy(percent / 100 * dvh.total)
    return values


def _problem(main: _Computed, stored: StoredDvh) -> str | None:
    """Say what shows that a stored DVH is of another structure or dose, else None."""
    volume = main.dvh.total_volume_cc
    if not stored.in_percent and abs(stored.total - volume) > main.room_cc:
        return f"stored volume {stored.total:.4g} cc, computed {volume:.4g} cc"
    if not main.dvh.is_complete:
        return None
    mean = main.dvh.mean_gy
    if abs(stored.curve_mean_gy - mean) > max(MEAN_SHARE * mean, MEAN_GY, stored.bin_gy):
        return f"stored mean {stored.curve_mean_gy:.4g} Gy, computed {mean:.4g} Gy"
    return None


def _differs(file: str, structure: Structure | None, what: str) -> Finding:
    return Finding(
        "stored-dvh-differs",
        f"the DVH stored in the dose file is of other contours, another structure or another "
        f"dose: {what}",
        roi_name=structure.roi_name if structure else None,
        file=file,
        action="see that dose and structure set are of the same version",
    )


def _skipped(file: str, structure: Structure, why: str) -> Finding:
    return Finding(
        "stored-dvh-not-compared",
        f"a stored DVH was not compared: {why}",
        severity="info",
        roi_name=structure.roi_name,
        file=file,
    )
