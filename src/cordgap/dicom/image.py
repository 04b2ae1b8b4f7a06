"""CT slices -> image in HU, read slice by slice when it is needed.

The image is for looking at; no number depends on it but the thickness of a structure that was
contoured on a single slice. A CT that is broken gives a finding and no image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import MIN_STEP_MM, CtImage, Slices
from cordgap.dicom.dataset import numbers, open_dataset, reading, text, whole_number
from cordgap.dicom.geometry import FrameStack, frame_stack
from cordgap.errors import CordgapError, DicomError, Finding

_KEYWORDS = (
    "SeriesInstanceUID", "FrameOfReferenceUID", "PatientPosition", "Rows", "Columns",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
)  # fmt: skip
_TOLERANCE_MM = 0.01


@dataclass(frozen=True)
class _Slice:
    path: Path
    series_uid: str
    patient_position: str
    orientation: tuple[float, ...]
    position_mm: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class Image:
    """A CT image, or None with the finding that says why."""

    image: CtImage | None = None
    patient_position: str | None = None
    findings: tuple[Finding, ...] = ()


def read_image(
    paths: Sequence[Path],
    *,
    frame_of_reference_uids: Sequence[str] = (),
    series_uids: Sequence[str] = (),
) -> Image:
    """Assemble the CT slices that belong to a structure set; never raises.

    Parameters
    ----------
    paths : sequence of Path
        CT slices, of any series.
    frame_of_reference_uids : sequence of str
        Slices of another frame of reference are left out.
    series_uids : sequence of str
        Series that the structure set refers to, preferred where several are there.
    """
    if not paths:
        return Image()
    try:
        slices = [s for path in paths if (s := _read_slice(path, frame_of_reference_uids))]
        if not slices:
            return _unused("no CT slice shares the frame of reference of the structures")
        chosen = _one_series(slices, series_uids)
        image = _assemble(chosen)
    except CordgapError as error:
        return _unused(str(error))
    return Image(image, chosen[0].patient_position or None)


def _unused(reason: str) -> Image:
    message = f"the CT was not used: {reason}"
    return Image(findings=(Finding("ct-not-used", message, severity="info"),))


def _read_slice(path: Path, frame_of_reference_uids: Sequence[str]) -> _Slice | None:
    with reading(path):
        ds = open_dataset(path, _KEYWORDS)
        frame = text(ds, "FrameOfReferenceUID")
        if frame_of_reference_uids and frame and frame not in frame_of_reference_uids:
            return None
        return _Slice(
            path=path,
            series_uid=text(ds, "SeriesInstanceUID"),
            patient_position=text(ds, "PatientPosition"),
            orientation=numbers(ds, "ImageOrientationPatient") or (),
            position_mm=numbers(ds, "ImagePositionPatient") or (),
            spacing_mm=numbers(ds, "PixelSpacing") or (),
            size=(whole_number(ds, "Rows") or 0, whole_number(ds, "Columns") or 0),
        )


def _one_series(slices: Sequence[_Slice], preferred: Sequence[str]) -> list[_Slice]:
    series = {s.series_uid for s in slices}
    referenced = series & set(preferred)
    if len(referenced) == 1:
        series = referenced
    if len(series) > 1:
        raise DicomError(f"{len(series)} CT series are there and it cannot be told which is meant")
    return [s for s in slices if s.series_uid in series]


def _assemble(slices: list[_Slice]) -> CtImage:
    first = slices[0]
    for other in slices[1:]:
        if other.size != first.size or not (
            _close(other.orientation, first.orientation, 1e-4)
            and _close(other.spacing_mm, first.spacing_mm, 1e-4)
        ):
            raise DicomError(f"{other.path.name} and {first.path.name} differ in size or direction")
    if not all(first.size):
        raise DicomError(f"{first.path.name} has no Rows or Columns")
    if not all(len(s.position_mm) == 3 for s in slices) or len(first.orientation) != 6:
        raise DicomError("a slice has no position or orientation")
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    positions = np.array([s.position_mm for s in slices])
    along = positions @ normal
    order = np.argsort(along)
    slices = [slices[i] for i in order]
    offsets = along[order] - along[order[0]]
    if offsets.size > 1 and np.diff(offsets).min() < MIN_STEP_MM:
        raise DicomError("two slices have the same position")
    inside = positions[order] - np.outer(offsets, normal)
    if np.abs(inside - inside[0]).max() > _TOLERANCE_MM:
        raise DicomError("the slices are shifted against each other")
    stack = frame_stack(first.orientation, tuple(inside[0]), first.spacing_mm, first.size, offsets)
    return CtImage(stack.geometry(), _Loader(stack, tuple(s.path for s in slices)))


def _close(a: Sequence[float], b: Sequence[float], tolerance: float) -> bool:
    return len(a) == len(b) and bool(np.allclose(a, b, rtol=0, atol=tolerance))


@dataclass(frozen=True)
class _Loader:
    """Reads the slices that a block needs."""

    stack: FrameStack
    paths: tuple[Path, ...]

    def __call__(self, slices: Slices) -> NDArray[np.float64]:
        frames, rows, columns = self.stack.file_slices(slices)
        pixels = [_hounsfield(path)[rows, columns] for path in self.paths[frames]]
        return np.asarray(self.stack.to_patient(np.stack(pixels)), dtype=np.float64)


def _hounsfield(path: Path) -> NDArray[np.float64]:
    with reading(path):
        ds = open_dataset(path)
        slope = (numbers(ds, "RescaleSlope") or (1.0,))[0]
        intercept = (numbers(ds, "RescaleIntercept") or (0.0,))[0]
        return np.asarray(ds.pixel_array, dtype=np.float64) * slope + intercept
