"""What only the user can know about the files, and takes responsibility for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Overrides:
    """Decisions that the files alone do not allow. Each one used becomes a warning.

    Parameters
    ----------
    ignore_frame_of_reference : bool
        Take dose and structures as one coordinate system although their frames of reference
        differ, as after an anonymiser that gave each file its own.
    relative_dose_gy : float, optional
        Dose in Gy that the value 100 of a dose in percent (DoseUnits RELATIVE) stands for.
    one_fraction : bool
        The dose files of type FRACTION or FRACTION_SESSION hold the dose of one fraction: multiply
        them by the number of fractions.
    fractions : int, optional
        That number, where the RTPLAN does not tell it.
    """

    ignore_frame_of_reference: bool = False
    relative_dose_gy: float | None = None
    one_fraction: bool = False
    fractions: int | None = None


NO_OVERRIDES = Overrides()
