"""One RTDOSE -> dose grid in Gy, read block by block when it is needed.

Units, type, scaling and geometry are checked on opening; pixels are read when they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cordgap.case.case import DoseType
from cordgap.case.grid import MIN_STEP_MM, DoseGrid, Slices
from cordgap.dicom.dataset import (
    numbers,
    open_dataset,
    reading,
    text,
    whole_number,
)
from cordgap.dicom.geometry import AXIAL, COSINE_TOLERANCE, FrameStack, frame_stack
from cordgap.dicom.overrides import NO_OVERRIDES, Overrides
from cordgap.dicom.pixels import BlockReader, block_reader, ends_oddly
from cordgap.errors import CordgapError, DicomError, Finding, OptionError

_KEYWORDS = (
    "SOPInstanceUID", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "DoseUnits", "DoseType", "GridFrameOffsetVector", "DoseGridScaling",
    "PixelData",
)  # fmt: skip

# A dose beyond this is a wrong scaling or cGy labelled as Gy: no course of external beam
# radiotherapy comes near it.
MAX_DOSE_GY = 1000.0
# Offsets agree with ImagePositionPatient when they differ by less than the digits written.
_OFFSET_TOLERANCE_MM = 0.01
# A tilt within tolerance is reported when it moves a corner of the grid by more than this.
_SNAP_REPORT_MM = 0.05
_PEEKS = 5


@dataclass(frozen=True)
class Dose:
    """A dose grid, its type, and what was noticed."""

    grid: DoseGrid
    dose_type: DoseType
    findings: tuple[Finding, ...] = ()


def read_one_dose(path: Path, *, factor: float = 1.0, overrides: Overrides = NO_OVERRIDES) -> Dose:
    """Read one RTDOSE, times a factor.

    Raises
    ------
    DicomError
        When units, scaling, geometry or pixels are missing, truncated or make no sense.
    GeometryMismatchError
        When the grid is oblique.
    """
    file = path.name
    with reading(path):
        ds = open_dataset(path, _KEYWORDS, defer=True)
        dose_type, findings = _check_type(ds, file)
        scaling = _scaling(ds, file) * factor
        percent = _check_units(ds, file, overrides)
        if percent is not None:
            scaling *= percent / 100
            findings.append(_relative(file, percent))
        try:
            stack = _place(ds)
        except CordgapError as error:
            raise error.of_file(file) from error
        read_block = block_reader(ds, path, stack)
        _check_values(read_block, stack, scaling, file)
        if ends_oddly(ds, path):
            findings.append(
                Finding(
                    "dose-file-end",
                    "what follows the pixels is no DICOM element: bytes may have been lost or "
                    "added, which shifts the samples",
                    file=file,
                    action="export the dose again",
                )
            )
    findings += _about_grid(stack, file)

    def load(slices: Slices) -> NDArray[np.float64]:
        with reading(path):
            block = stack.to_patient(read_block(stack.file_slices(slices)))
        values: NDArray[np.float64] = np.multiply(block, scaling, dtype=np.float64)
        return values

    return Dose(DoseGrid(stack.geometry(), load), dose_type, tuple(findings))


def _about_grid(stack: FrameStack, file: str) -> list[Finding]:
    """Say what is legal but rare about a grid, since a damaged number looks the same."""
    findings = []
    if stack.snapped_mm > _SNAP_REPORT_MM:
        findings.append(
            Finding(
                "dose-orientation-snapped",
                f"the dose axes are tilted by less than {COSINE_TOLERANCE:g} and were taken as "
                f"axial, which moves a corner of the grid by {stack.snapped_mm:.2f} mm",
                file=file,
            )
        )
    frames, rows, columns = stack.positions_mm
    steps = np.abs(np.diff(frames))
    if steps.size and np.ptp(steps) > _OFFSET_TOLERANCE_MM:
        listed = f"{steps.min():g} to {steps.max():g} mm"
        findings.append(
            Finding(
                "dose-frames-uneven",
                f"the planes of the dose are unevenly spaced ({listed}); they were used where they "
                "are",
                file=file,
                found=listed,
                expected="one spacing",
                action="check the dose planes in the planning system",
            )
        )
    pitch = [abs(float(axis[1] - axis[0])) for axis in (rows, columns) if axis.size > 1]
    if len(pitch) == 2 and abs(pitch[0] - pitch[1]) > _OFFSET_TOLERANCE_MM:
        findings.append(
            Finding(
                "dose-pixels-not-square",
                f"the dose samples are {pitch[0]:g} mm apart from row to row and {pitch[1]:g} mm "
                "from column to column",
                severity="info",
                file=file,
            )
        )
    return findings


def _check_units(ds: Dataset, file: str, overrides: Overrides) -> float | None:
    """Return Gy per 100 % for a dose in percent, None for one in Gy; refuse anything else."""
    units = text(ds, "DoseUnits").upper()
    given = overrides.relative_dose_gy
    if units == "GY":
        if given is not None:
            raise OptionError(f"--relative-dose-gy: {file} is in Gy already (DoseUnits GY)")
        return None
    if units == "RELATIVE" and given is not None:
        return given
    more = (
        ""
        if units != "RELATIVE"
        else ", or give --relative-dose-gy GY (the dose that 100 stands for)"
    )
    raise DicomError(
        f"{file}: found DoseUnits {units or 'absent'}, expected GY; export the dose in Gy{more}",
        code="dose-units",
        file=file,
        found=units or "absent",
        expected="GY",
        action=f"export the dose in Gy{more}",
    )


def _relative(file: str, percent: float) -> Finding:
    return Finding(
        "dose-relative-scaled",
        f"the dose is relative (DoseUnits RELATIVE); the value 100 was taken as {percent:g} Gy, as "
        "asked for",
        file=file,
        found="RELATIVE",
        expected="GY",
        action="check the maximum dose against the planning system",
    )


def _check_type(ds: Dataset, file: str) -> tuple[DoseType, list[Finding]]:
    dose_type = text(ds, "DoseType").upper()
    if dose_type == "EFFECTIVE":
        return "EFFECTIVE", [
            Finding(
                "dose-effective",
                "the dose is of type EFFECTIVE (weighted for biological effect), and limits for "
                "absorbed dose are compared with it",
                file=file,
                found="EFFECTIVE",
                expected="PHYSICAL",
            )
        ]
    if dose_type not in ("PHYSICAL", ""):
        raise DicomError(
            f"{file}: found DoseType {dose_type}, expected PHYSICAL or EFFECTIVE; export the dose "
            "itself",
            code="dose-type",
            file=file,
            found=dose_type,
            expected="PHYSICAL",
            action="export the dose itself, not a difference or an error",
        )
    if not dose_type:
        return "PHYSICAL", [
            Finding(
                "dose-type-missing",
                "the file states no DoseType; the dose was taken as PHYSICAL",
                file=file,
                found="absent",
                expected="PHYSICAL",
            )
        ]
    return "PHYSICAL", []


def _scaling(ds: Dataset, file: str) -> float:
    try:
        found = numbers(ds, "DoseGridScaling")
    except DicomError:
        found = (float("nan"),)
    value = found[0] if found else None
    if value is None or not np.isfinite(value) or value <= 0:
        raise DicomError(
            f"{file}: found DoseGridScaling {'absent' if value is None else f'{value:g}'}, "
            "expected a positive number; export the dose again",
            code="dose-scaling",
            file=file,
            found="absent" if value is None else f"{value:g}",
            expected="a positive number",
            action="export the dose again",
        )
    return value


def _place(ds: Dataset) -> FrameStack:
    """Find where the samples lie."""
    needed = {}
    for keyword in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
        value = numbers(ds, keyword)
        if value is None:
            raise DicomError(f"{keyword} is absent; export the dose again", code="dose-geometry")
        needed[keyword] = value
    rows, columns = whole_number(ds, "Rows"), whole_number(ds, "Columns")
    if not rows or not columns or rows < 0 or columns < 0:
        raise DicomError(
            f"found {rows} Rows and {columns} Columns; export the dose again", code="dose-geometry"
        )
    orientation = needed["ImageOrientationPatient"]
    return frame_stack(
        orientation,
        needed["ImagePositionPatient"],
        needed["PixelSpacing"],
        (rows, columns),
        _frame_offsets(ds, orientation, needed["ImagePositionPatient"]),
    )


def _frame_offsets(
    ds: Dataset, orientation: Sequence[float], position: Sequence[float]
) -> NDArray[np.float64]:
    """Return the position of each frame along the normal, relative to ImagePositionPatient.

    PS3.3 C.8.8.3.2: the first offset is 0 (relative), or equals the z of ImagePositionPatient
    (absolute), the latter only for axial frames with the patient's own axes.
    """
    stated = whole_number(ds, "NumberOfFrames")
    frames = 1 if stated is None else stated
    try:
        found = numbers(ds, "GridFrameOffsetVector")
    except DicomError as error:
        raise DicomError(f"{error}; export the dose again", code="dose-frame-offsets") from error
    if frames < 1:
        raise DicomError(
            f"found NumberOfFrames {frames}, expected at least 1", code="dose-frame-offsets"
        )
    if found is None:
        if frames > 1:
            raise DicomError(
                f"GridFrameOffsetVector is absent and there are {frames} frames: their positions "
                "are unknown; export the dose again",
                code="dose-frame-offsets",
            )
        return np.zeros(1)
    offsets = np.array(found)
    if offsets.size != frames:
        raise DicomError(
            f"found {offsets.size} frame offsets for {frames} frame(s); export the dose again",
            code="dose-frame-offsets",
        )
    if not np.isfinite(offsets).all():
        raise DicomError(
            "GridFrameOffsetVector holds values that are not numbers", code="dose-frame-offsets"
        )
    steps = np.diff(offsets)
    if steps.size and not ((steps >= MIN_STEP_MM).all() or (steps <= -MIN_STEP_MM).all()):
        raise DicomError(
            "GridFrameOffsetVector is not monotonic or repeats a position; export the dose again",
            code="dose-frame-offsets",
        )
    if abs(offsets[0]) <= _OFFSET_TOLERANCE_MM:
        return offsets
    is_axial = bool(np.allclose(orientation, AXIAL, rtol=0, atol=COSINE_TOLERANCE))
    if is_axial and len(position) == 3 and abs(offsets[0] - position[2]) <= _OFFSET_TOLERANCE_MM:
        return offsets - position[2]
    raise DicomError(
        f"GridFrameOffsetVector starts at {offsets[0]:g}, expected 0 or, for axial frames, the z "
        f"of ImagePositionPatient ({position[-1]:g}); export the dose again",
        code="dose-frame-offsets",
        found=f"{offsets[0]:g}",
        expected=f"0 or {position[-1]:g}",
    )


def _check_values(read_block: BlockReader, stack: FrameStack, scaling: float, file: str) -> None:
    """Refuse a dose that is zero everywhere or beyond anything plausible.

    Looks at some frames spread over the grid, and at all of them only while they are zero.
    """
    frames, rows, columns = stack.shape
    spread = np.unique(np.linspace(0, frames - 1, _PEEKS + 2).astype(int))
    order = [*spread.tolist(), *(f for f in range(frames) if f not in set(spread.tolist()))]
    largest = 0
    for count, frame in enumerate(order):
        if count >= spread.size and largest > 0:
            break
        block = read_block((slice(frame, frame + 1), slice(0, rows), slice(0, columns)))
        largest = max(largest, int(block.max()))
    if largest == 0:
        raise DicomError(
            f"{file}: the dose is zero everywhere; export the computed dose",
            code="dose-zero",
            file=file,
        )
    if largest * scaling > MAX_DOSE_GY:
        raise DicomError(
            f"{file}: found a dose of {largest * scaling:.4g} Gy, expected less than "
            f"{MAX_DOSE_GY:g} Gy; DoseGridScaling ({scaling:g}) or the units are wrong: export "
            "the dose again",
            code="dose-implausible",
            file=file,
            found=f"{largest * scaling:.4g} Gy",
            expected=f"less than {MAX_DOSE_GY:g} Gy",
            action="export the dose again",
        )
