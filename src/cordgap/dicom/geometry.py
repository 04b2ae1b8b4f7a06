"""From image orientation, position and spacing to ascending patient axes.

A stack of frames is stored as ``(frame, row, column)``. Each of these runs along one patient axis,
forwards or backwards; :class:`FrameStack` knows which, and turns a request for a block in
``(z, y, x)`` into file indices and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cordgap.case.grid import GridGeometry, Slices
from cordgap.errors import DicomError, GeometryMismatchError

# Direction cosines this close to 0 or 1 are round-off of the writer, not a tilt.
COSINE_TOLERANCE = 1e-3
# No grid is as coarse; between such samples nothing is known.
MAX_STEP_MM = 100.0
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class FrameStack:
    """Which patient axis each file axis follows, and the position of each sample along it.

    Parameters
    ----------
    patient_axis : tuple of int
        For frame, row and column index: 0, 1 or 2 for x, y or z.
    positions_mm : tuple of arrays
        Position along that patient axis for each index, ascending or descending.
    snapped_mm : float
        The largest shift of a sample that comes from taking the orientation as axis-aligned.
    """

    patient_axis: tuple[int, int, int]
    positions_mm: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    snapped_mm: float = 0.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of frames, rows, columns."""
        frames, rows, columns = (p.size for p in self.positions_mm)
        return frames, rows, columns

    @property
    def flipped(self) -> tuple[bool, bool, bool]:
        """Whether the position falls with the index, for frame, row, column."""
        f, r, c = (p.size > 1 and bool(p[-1] < p[0]) for p in self.positions_mm)
        return f, r, c

    def geometry(self) -> GridGeometry:
        """Return the grid with ascending axes."""
        axes = {a: np.sort(p) for a, p in zip(self.patient_axis, self.positions_mm, strict=True)}
        return GridGeometry(axes[0], axes[1], axes[2])

    def file_slices(self, slices: Slices) -> Slices:
        """Turn index ranges (z, y, x) of the ascending grid into ranges (frame, row, column)."""
        found = []
        for axis, size, flip in zip(self.patient_axis, self.shape, self.flipped, strict=True):
            start, stop, _ = slices[2 - axis].indices(size)
            found.append(slice(size - stop, size - start) if flip else slice(start, stop))
        return found[0], found[1], found[2]

    def to_patient(self, block: NDArray[np.generic]) -> NDArray[np.generic]:
        """Turn a block (frame, row, column) into (z, y, x), ascending."""
        backwards = tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)
        order = [self.patient_axis.index(axis) for axis in (2, 1, 0)]
        return block[backwards].transpose(order)


def frame_stack(
    orientation: Sequence[float],
    position_mm: Sequence[float],
    spacing_mm: Sequence[float],
    size: tuple[int, int],
    offsets_mm: ArrayLike,
) -> FrameStack:
    """Place frames in the patient.

    Parameters
    ----------
    orientation : six direction cosines
        ImageOrientationPatient: along a row, then down a column.
    position_mm : three numbers
        ImagePositionPatient: the centre of the first sample of the frame with offset 0.
    spacing_mm : two numbers
        PixelSpacing: distance between rows, then between columns.
    size : tuple of int
        Rows, columns.
    offsets_mm : array
        Position of each frame along the normal (row direction x column direction).

    Raises
    ------
    GeometryMismatchError
        When the orientation is oblique.
    DicomError
        When a value is missing, not finite or makes no sense.
    """
    position = np.asarray(position_mm, dtype=np.float64)
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    cosines = np.asarray(orientation, dtype=np.float64)
    if cosines.size != 6 or not np.isfinite(cosines).all():
        raise DicomError(
            f"ImageOrientationPatient: found {list(orientation)}, expected six numbers",
            code="dose-geometry",
        )
    if position.size != 3 or not np.isfinite(position).all():
        raise DicomError(
            f"ImagePositionPatient: found {list(position_mm)}, expected three numbers",
            code="dose-geometry",
        )
    if (
        spacing.size != 2
        or not np.isfinite(spacing).all()
        or not (spacing > 0).all()
        or (spacing.max() > MAX_STEP_MM)
    ):
        raise DicomError(
            f"PixelSpacing: found {list(spacing_mm)}, expected two positive numbers of at most "
            f"{MAX_STEP_MM:g} mm",
            code="dose-geometry",
        )
    along_row, down_column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(along_row), np.linalg.norm(down_column)
    if abs(along_row @ down_column) > 0.01 or np.abs(np.subtract(lengths, 1)).max() > 0.01:
        raise DicomError(
            f"ImageOrientationPatient: found {[float(c) for c in cosines]}, whose rows and columns "
            "are not perpendicular unit vectors; the file is damaged: export it again",
            code="dose-geometry",
        )
    offsets = np.asarray(offsets_mm, dtype=np.float64)
    if offsets.size > 1 and np.abs(np.diff(offsets)).max() > MAX_STEP_MM:
        raise DicomError(
            f"found frames {np.abs(np.diff(offsets)).max():g} mm apart, expected at most "
            f"{MAX_STEP_MM:g} mm; export it again",
            code="dose-geometry",
        )
    directions = (np.cross(along_row, down_column), down_column, along_row)
    axes, signs = zip(*(_patient_axis(d, cosines) for d in directions), strict=True)
    steps = (
        offsets,
        np.arange(size[0]) * spacing[0],
        np.arange(size[1]) * spacing[1],
    )
    placed = [
        position[axis] + sign * step for axis, sign, step in zip(axes, signs, steps, strict=True)
    ]
    snapped = sum(
        float(np.abs(step).max()) * float(np.linalg.norm(direction - sign * np.eye(3)[axis]))
        for step, direction, axis, sign in zip(steps, directions, axes, signs, strict=True)
    )
    return FrameStack(
        (axes[0], axes[1], axes[2]), (placed[0], placed[1], placed[2]), snapped_mm=snapped
    )


def _patient_axis(
    direction: NDArray[np.float64], cosines: NDArray[np.float64]
) -> tuple[int, float]:
    axis = int(np.argmax(np.abs(direction)))
    sign = 1.0 if direction[axis] > 0 else -1.0
    if np.abs(direction - sign * np.eye(3)[axis]).max() > COSINE_TOLERANCE:
        raise GeometryMismatchError(
            "the image axes are oblique to the patient axes: found ImageOrientationPatient "
            f"{[round(float(c), 5) for c in cosines]}, expected each direction cosine within "
            f"{COSINE_TOLERANCE} of 0, 1 or -1; export the dose on an axial grid",
            code="dose-oblique",
            found=str([round(float(c), 5) for c in cosines]),
            expected="axes along the patient's",
            action="export the dose on an axial grid",
        )
    return axis, sign
