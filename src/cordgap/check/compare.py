"""The main calculation beside the second one, metric by metric, and what makes them differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cordgap.case.case import Case
from cordgap.case.grid import DoseGrid
from cordgap.case.structure import Structure
from cordgap.check.raster import (
    BIN_GY,
    CAUSES,
    Values,
    changes,
    metric_names,
    steps,
    unit_of,
    values_of_dvh,
)
from cordgap.check.second import second_dvh
from cordgap.check.stored import StoredComparison, compare_stored
from cordgap.dicom.as_written import absolute_offset_mm, contours_as_written
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.solid import build_solid
from cordgap.errors import DicomError, Finding, OptionError

# Differences up to half a percent are not looked into: what a D0.035cc of this program may be off
# by itself in curved fields (CONTRIBUTING, tolerances); nor those within a bin of dicompyler-core.
SAME_SHARE = 5e-3
Status = Literal["agrees", "explained", "not explained", "not comparable"]


@dataclass(frozen=True)
class Cause:
    """How much of a difference one habit of the second program makes."""

    cause: str
    change: float

    @property
    def words(self) -> str:
        """What the habit is."""
        return CAUSES[self.cause]


@dataclass(frozen=True)
class ComparedMetric:
    """One metric of one structure by both calculations; ``None`` where one has no value.

    ``causes`` add up, with ``left_over``, to ``second`` minus ``main``; only those that change the
    metric are there, and only where the two disagree.
    """

    roi_name: str
    metric: str
    unit: str
    main: float | None
    second: float | None
    status: Status
    causes: tuple[Cause, ...] = ()
    left_over: float | None = None

    @property
    def difference(self) -> float | None:
        """Second minus main."""
        return None if self.main is None or self.second is None else self.second - self.main

    def percent(self, change: float | None) -> float | None:
        """Return a change in percent of the main value."""
        return None if change is None or not self.main else 100 * change / self.main

    @property
    def difference_percent(self) -> float | None:
        """Second minus main in percent of main."""
        return self.percent(self.difference)


@dataclass(frozen=True)
class NotCalculated:
    """A structure that the second program cannot calculate, and why."""

    roi_name: str
    reason: str
    explained: bool


@dataclass(frozen=True)
class SecondCalculation:
    """What the second program gave for the chosen structures, and what the files stored."""

    program: str
    rows: tuple[ComparedMetric, ...]
    not_calculated: tuple[NotCalculated, ...] = ()
    stored: StoredComparison | None = None
    findings: tuple[Finding, ...] = ()


def second_calculation(
    case: Case, structures: Iterable[Structure], *, summed_dose: Path | None = None
) -> SecondCalculation:
    """Calculate structures a second time, from the same files, with another program.

    Parameters
    ----------
    case : Case
        As read from its files.
    structures : iterable of Structure
        Those to calculate again.
    summed_dose : Path, optional
        The total dose as one RTDOSE, where the plan adds several files.

    Raises
    ------
    OptionError
        If the case was not read from files, its dose is a sum and ``summed_dose`` is not given,
        or the program is not installed.
    DicomError
        If the files cannot be read again.
    """
    rtstruct, rtdose = _files(case, summed_dose)
    assert case.dose is not None
    shift_mm = absolute_offset_mm(rtdose)
    rows: list[ComparedMetric] = []
    missing: list[NotCalculated] = []
    findings: list[Finding] = []
    program = "dicompyler-core"
    for structure in structures:
        name = structure.roi_name
        main = values_of_dvh(compute_dvh(build_solid(structure), case.dose, uncertainty=False))
        taken = _steps(structure, case.dose, rtstruct, shift_mm)
        replica = taken[-1][1]
        try:
            found = second_dvh(rtstruct, rtdose, structure.roi_number)
        except DicomError as error:
            missing.append(NotCalculated(name, str(error), not replica.get("volume")))
            findings += _unexplained_failure(missing[-1])
            continue
        program = found.program
        of_structure = compare_metrics(name, main, found.stated, taken)
        rows += of_structure
        findings += _unexplained(name, of_structure, program)
    stored = compare_stored(case)
    return SecondCalculation(
        program, tuple(rows), tuple(missing), stored, (*findings, *stored.findings)
    )


def _files(case: Case, summed_dose: Path | None) -> tuple[Path, Path]:
    paths = {k: [f.path for f in case.inputs if f.kind == k] for k in ("rtstruct", "rtdose")}
    if case.dose is None:
        raise OptionError("--second-calc needs a dose; this plan has none")
    if summed_dose is None and len(paths["rtdose"]) > 1:
        raise OptionError("--second-calc needs one RTDOSE file; this plan sums several")
    rtstruct = next(iter(paths["rtstruct"]), None)
    rtdose = summed_dose or next(iter(paths["rtdose"]), None)
    if rtstruct is None or rtdose is None:
        raise OptionError("--second-calc needs files; this case was not read from any")
    return rtstruct, rtdose


def _steps(
    structure: Structure, dose: DoseGrid, rtstruct: Path, shift_mm: float
) -> list[tuple[str, Values]]:
    drawn = contours_as_written(rtstruct, structure.roi_number)
    return list(steps(structure, dose, as_drawn=drawn, frame_shift_mm=shift_mm))


def compare_metrics(
    roi_name: str, main: Values, second: Values, taken: list[tuple[str, Values]]
) -> list[ComparedMetric]:
    """Put two sets of metrics beside each other, and say what makes them differ.

    Parameters
    ----------
    main, second : dict of str to float or None
        The compared metrics of both calculations.
    taken : list of (cause, values)
        From :func:`cordgap.check.raster.steps`: from the first towards the second.
    """
    changed = list(changes(main, taken))
    replica = taken[-1][1]
    rows = []
    for metric in metric_names():
        unit = unit_of(metric)
        a, b = main.get(metric), second.get(metric)
        if a is None and b is None:
            continue
        if a is None or b is None:
            rows.append(ComparedMetric(roi_name, metric, unit, a, b, "not comparable"))
            continue
        same = max(SAME_SHARE * abs(a), BIN_GY if unit == "Gy" else 0.0) * (1 + 1e-9)
        if abs(b - a) <= same:
            rows.append(ComparedMetric(roi_name, metric, unit, a, b, "agrees"))
            continue
        reached = replica.get(metric)
        if reached is None:
            rows.append(ComparedMetric(roi_name, metric, unit, a, b, "not explained"))
            continue
        causes = tuple(
            Cause(cause, change)
            for cause, values in changed
            if (change := values.get(metric)) is not None and abs(change) > 1e-9 * abs(a)
        )
        left = b - reached
        status: Status = "explained" if abs(left) <= same else "not explained"
        rows.append(ComparedMetric(roi_name, metric, unit, a, b, status, causes, left))
    return rows


def _unexplained(name: str, rows: list[ComparedMetric], program: str) -> list[Finding]:
    odd = [row for row in rows if row.status == "not explained"]
    if not odd:
        return []
    listed = ", ".join(f"{r.metric} {r.second:.4g} against {r.main:.4g} {r.unit}" for r in odd)
    return [
        Finding(
            "second-calc-unexplained",
            f"{program} gives {listed}; its known habits do not explain the difference",
            roi_name=name,
            action="compare both with the planning system before using any number",
        )
    ]


def _unexplained_failure(missing: NotCalculated) -> list[Finding]:
    if missing.explained:
        return []
    return [
        Finding(
            "second-calc-failed",
            missing.reason,
            roi_name=missing.roi_name,
            action="compare the numbers with the planning system",
        )
    ]
