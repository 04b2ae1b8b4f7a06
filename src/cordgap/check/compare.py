"""The main calculation beside the second one, metric by metric."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cordgap.case.case import Case
from cordgap.case.structure import Structure
from cordgap.check.second import second_dvh
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.solid import build_solid
from cordgap.errors import OptionError

# Volumes in cc read off both histograms, besides volume and mean.
_NEAR_MAXIMA_CC = (0.035, 0.1, 1.0)


@dataclass(frozen=True)
class ComparedMetric:
    """One metric of one structure by both calculations; ``None`` where one has no value."""

    roi_name: str
    metric: str
    unit: str
    main: float | None
    second: float | None

    @property
    def difference_percent(self) -> float | None:
        """Second minus main in percent of main."""
        if self.main is None or self.second is None or self.main == 0:
            return None
        return 100 * (self.second / self.main - 1)


@dataclass(frozen=True)
class SecondCalculation:
    """What the second program gave for the chosen structures."""

    program: str
    rows: tuple[ComparedMetric, ...]


def second_calculation(case: Case, structures: Iterable[Structure]) -> SecondCalculation:
    """Calculate structures a second time, from the same files, with another program.

    Raises
    ------
    OptionError
        If the case was not read from one RTSTRUCT and one RTDOSE, or the program is missing.
    DicomError
        If the second program cannot calculate.
    """
    paths = {k: [f.path for f in case.inputs if f.kind == k] for k in ("rtstruct", "rtdose")}
    if len(paths["rtdose"]) != 1 or case.dose is None:
        raise OptionError("--second-calc needs exactly one RTDOSE file; this plan sums several")
    rtstruct, rtdose = paths["rtstruct"][0], paths["rtdose"][0]
    if rtstruct is None or rtdose is None:
        raise OptionError("--second-calc needs files; this case was not read from any")
    rows: list[ComparedMetric] = []
    program = ""
    for structure in structures:
        dvh = compute_dvh(build_solid(structure), case.dose, uncertainty=False)
        other = second_dvh(rtstruct, rtdose, structure.roi_number)
        program = other.program
        name = structure.roi_name
        rows.append(
            ComparedMetric(name, "volume", "cc", dvh.total_volume_cc, other.total_volume_cc)
        )
        rows.append(ComparedMetric(name, "Mean", "Gy", dvh.mean_gy, other.mean_gy))
        for volume in _NEAR_MAXIMA_CC:
            if volume <= min(dvh.covered_volume_cc, other.total_volume_cc):
                main, second = dvh.dose_of_hottest_gy(volume), other.dose_of_hottest_gy(volume)
                rows.append(ComparedMetric(name, f"D{volume:g}cc", "Gy", main, second))
    return SecondCalculation(program, tuple(rows))
