"""RTDOSE -> dose grid in Gy, read block by block when it is needed.

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
from cordgap.case.grid import MIN_STEP_MM, DoseGrid, GridGeometry, Slices
from cordgap.dicom.dataset import (
    numbers,
    open_dataset,
    reading,
    text,
    whole_number,
)
from cordgap.dicom.geometry import AXIAL, COSINE_TOLERANCE, FrameStack, frame_stack
from cordgap.dicom.pixels import BlockReader, block_reader
from cordgap.errors import CordgapError, DicomError, Finding, GeometryMismatchError

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


def read_dose(paths: Sequence[Path]) -> Dose:
    """Read one RTDOSE, or the sum of several on the same grid.

    Raises
    ------
    DicomError
        When units, scaling, geometry or pixels are missing, truncated or make no sense.
    GeometryMismatchError
        When the grid is oblique, or the files to be summed have different grids.
    """
    parts = [_read_one(path) for path in paths]
    first = parts[0].grid.geometry
    for path, part in zip(paths[1:], parts[1:], strict=True):
        if not part.grid.geometry.same_positions(first):
            raise GeometryMismatchError(
                f"{path.name} and {paths[0].name} are on different grids: found "
                f"{_grid_words(part.grid.geometry)} and {_grid_words(first)}; doses are added only "
                "on one grid: export the sum from the planning system"
            )
    findings = {f.code: f for part in reversed(parts) for f in part.findings}
    effective = any(part.dose_type == "EFFECTIVE" for part in parts)
    if effective and any(part.dose_type == "PHYSICAL" for part in parts):
        raise DicomError(
            f"{', '.join(p.name for p in paths)}: some are of DoseType EFFECTIVE and some "
            "PHYSICAL; they cannot be added: export the sum from the planning system"
        )
    grid = parts[0].grid
    if len(parts) > 1:
        grid = DoseGrid(first, _sum_of([part.grid for part in parts]))
    return Dose(grid, "EFFECTIVE" if effective else "PHYSICAL", tuple(findings.values()))


def _sum_of(grids: Sequence[DoseGrid]) -> BlockReader:
    def load(slices: Slices) -> NDArray[np.float64]:
        total = np.array(grids[0].load(slices), dtype=np.float64)
        for grid in grids[1:]:
            total += grid.load(slices)
        return total

    return load


def _grid_words(geometry: GridGeometry) -> str:
    nz, ny, nx = geometry.shape
    spacing = " x ".join(f"{s:g}" for s in geometry.spacing_mm)
    corner = ", ".join(f"{v:g}" for v in geometry.lower_mm)
    return f"{nx} x {ny} x {nz} samples of {spacing} mm from ({corner})"


def _read_one(path: Path) -> Dose:
    file = path.name
    with reading(path):
        ds = open_dataset(path, _KEYWORDS, defer=True)
        dose_type, findings = _check_units(ds, file)
        scaling = _scaling(ds, file)
        try:
            stack = _place(ds)
        except CordgapError as error:
            raise type(error)(f"{file}: {error}") from error
        read_block = block_reader(ds, path, stack)
        _check_values(read_block, stack, scaling, file)
    if stack.snapped_mm > _SNAP_REPORT_MM:
        findings.append(
            Finding(
                "dose-orientation-snapped",
                f"the dose axes are tilted by less than {COSINE_TOLERANCE:g} and were taken as "
                f"axial, which moves a corner of the grid by {stack.snapped_mm:.2f} mm",
                file=file,
            )
        )

    def load(slices: Slices) -> NDArray[np.float64]:
        with reading(path):
            block = stack.to_patient(read_block(stack.file_slices(slices)))
        values: NDArray[np.float64] = np.multiply(block, scaling, dtype=np.float64)
        return values

    return Dose(DoseGrid(stack.geometry(), load), dose_type, tuple(findings))


def _check_units(ds: Dataset, file: str) -> tuple[DoseType, list[Finding]]:
    units = text(ds, "DoseUnits").upper()
    if units != "GY":
        raise DicomError(
            f"{file}: found DoseUnits {units or 'absent'}, expected GY; export the dose in Gy"
        )
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
            "itself"
        )
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
            "expected a positive number; export the dose again"
        )
    return value


def _place(ds: Dataset) -> FrameStack:
    """Find where the samples lie."""
    needed = {}
    for keyword in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
        value = numbers(ds, keyword)
        if value is None:
            raise DicomError(f"{keyword} is absent; export the dose again")
        needed[keyword] = value
    rows, columns = whole_number(ds, "Rows"), whole_number(ds, "Columns")
    if not rows or not columns or rows < 0 or columns < 0:
        raise DicomError(f"found {rows} Rows and {columns} Columns; export the dose again")
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
    found = numbers(ds, "GridFrameOffsetVector")
    if frames < 1:
        raise DicomError(f"found NumberOfFrames {frames}, expected at least 1")
    if found is None:
        if frames > 1:
            raise DicomError(
                f"GridFrameOffsetVector is absent and there are {frames} frames: their positions "
                "are unknown; export the dose again"
            )
        return np.zeros(1)
    offsets = np.array(found)
    if offsets.size != frames:
        raise DicomError(
            f"found {offsets.size} frame offsets for {frames} frame(s); export the dose again"
        )
    if not np.isfinite(offsets).all():
        raise DicomError("GridFrameOffsetVector holds values that are not numbers")
    steps = np.diff(offsets)
    if steps.size and not ((steps >= MIN_STEP_MM).all() or (steps <= -MIN_STEP_MM).all()):
        raise DicomError(
            "GridFrameOffsetVector is not monotonic or repeats a position; export the dose again"
        )
    if abs(offsets[0]) <= _OFFSET_TOLERANCE_MM:
        return offsets
    is_axial = bool(np.allclose(orientation, AXIAL, rtol=0, atol=COSINE_TOLERANCE))
    if is_axial and len(position) == 3 and abs(offsets[0] - position[2]) <= _OFFSET_TOLERANCE_MM:
        return offsets - position[2]
    raise DicomError(
        f"GridFrameOffsetVector starts at {offsets[0]:g}, expected 0 or, for axial frames, the z "
        f"of ImagePositionPatient ({position[-1]:g}); export the dose again"
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
        raise DicomError(f"{file}: the dose is zero everywhere; export the computed dose")
    if largest * scaling > MAX_DOSE_GY:
        raise DicomError(
            f"{file}: found a dose of {largest * scaling:.4g} Gy, expected less than "
            f"{MAX_DOSE_GY:g} Gy; DoseGridScaling ({scaling:g}) or the units are wrong: export "
            "the dose again"
        )
