"""A previous course of radiation, as a dose or as a number."""

from __future__ import annotations

from dataclasses import dataclass

from cordgap.case.grid import DoseGrid
from cordgap.case.transform import RigidTransform
from cordgap.errors import OptionError

# Mean length of a month of the Gregorian calendar.
DAYS_PER_MONTH = 30.436875


@dataclass(frozen=True, eq=False)
class PriorCourse:
    """One previous course.

    Parameters
    ----------
    fractions : int
    dose : DoseGrid, optional
        Absorbed dose of the whole course.
    dose_gy : float, optional
        In place of a grid: one dose that the whole cord is taken to have got, in Gy.
    transform : RigidTransform, optional
        From the coordinates of the plan to those of ``dose``; None where they are the same.
    interval_months : float, optional
        From this course to the new one; None where it is not known.
    source : str
        File name, or the number as it was given; never a patient name.
    interval_source : str, optional
        Where the interval comes from.

    Raises
    ------
    OptionError
        If neither or both of dose and number are given, or a number makes no sense.
    """

    fractions: int
    dose: DoseGrid | None = None
    dose_gy: float | None = None
    transform: RigidTransform | None = None
    interval_months: float | None = None
    source: str = "number"
    interval_source: str | None = None

    def __post_init__(self) -> None:
        if (self.dose is None) == (self.dose_gy is None):
            raise OptionError(f"{self.source}: give either a dose file or a dose in Gy")
        if self.dose_gy is not None and not 0 < self.dose_gy < float("inf"):
            raise OptionError(f"{self.source}: {self.dose_gy} Gy, expected a dose above 0")
        if not self.fractions > 0:
            raise OptionError(f"{self.source}: {self.fractions} fractions, expected 1 or more")
        if self.interval_months is not None and not self.interval_months >= 0:
            raise OptionError(
                f"{self.source}: the interval is {self.interval_months} months, expected 0 or more"
            )
