"""A plan as cordgap sees it: structures, dose, prescription, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cordgap.case.grid import CtImage, DoseGrid
from cordgap.case.prior import PriorCourse
from cordgap.case.structure import Structure
from cordgap.errors import Finding, StructureNotFoundError

DoseType = Literal["PHYSICAL", "EFFECTIVE"]


@dataclass(frozen=True)
class Prescription:
    """Prescribed dose of the whole course.

    Parameters
    ----------
    dose_gy : float
        Total dose in Gy.
    fractions : int
        Number of fractions.
    source : str
        Where it came from: ``RTPLAN``, ``option``, ``cordgap.toml`` or ``phantom``.
    """

    dose_gy: float
    fractions: int
    source: str


@dataclass(frozen=True)
class InputFile:
    """One file that went into a case; never a patient name.

    ``path`` is for reading the file again; it is not printed, since folders carry names.
    """

    kind: Literal["rtstruct", "rtdose", "rtplan", "ct", "prior", "registration"]
    file: str
    sop_instance_uid: str
    sha256: str | None = None
    path: Path | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class IgnoredFile:
    """A file, or several of one kind, that did not go into a case, and why."""

    file: str
    reason: str


@dataclass(frozen=True, eq=False)
class Case:
    """Everything that is known of one plan. Immutable; made by a reader or by a phantom."""

    structures: tuple[Structure, ...]
    dose: DoseGrid | None
    prescription: Prescription | None = None
    image: CtImage | None = None
    dose_type: DoseType = "PHYSICAL"
    inputs: tuple[InputFile, ...] = ()
    ignored: tuple[IgnoredFile, ...] = ()
    findings: tuple[Finding, ...] = ()
    frame_of_reference_uid: str | None = None
    patient_position: str | None = None
    priors: tuple[PriorCourse, ...] = ()
    case_id: str = "unnamed"
    identity: dict[str, str] = field(default_factory=dict, repr=False)

    def structure(self, roi_name: str) -> Structure:
        """Return the structure of that name (case and outer blanks forgiven).

        Raises
        ------
        StructureNotFoundError
            With the names that are there.
        """
        wanted = roi_name.strip().casefold()
        exact = [s for s in self.structures if s.roi_name == roi_name]
        loose = exact or [s for s in self.structures if s.roi_name.strip().casefold() == wanted]
        if len(loose) == 1:
            return loose[0]
        names = ", ".join(s.roi_name for s in self.structures) or "none"
        if not loose:
            raise StructureNotFoundError(
                f"no structure is named {roi_name!r}; the structure set has: {names}"
            )
        numbers = ", ".join(str(s.roi_number) for s in loose)
        raise StructureNotFoundError(
            f"{len(loose)} structures are named {roi_name!r} (ROI numbers {numbers}); "
            "rename one of them in the planning system"
        )
