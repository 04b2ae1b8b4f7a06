"""Rectilinear grids of scalar samples (dose in Gy, CT in HU), aligned with the patient axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cordgap.errors import OutOfRangeError

FloatArray = NDArray[np.float64]
Slices = tuple[slice, slice, slice]

# Two sample planes closer than this are the same plane: DICOM writes positions as decimal
# strings of at most 16 characters, and no scanner or planning system steps finer.
MIN_STEP_MM = 1e-3


def _axis(values: ArrayLike, name: str) -> FloatArray:
    axis = np.array(values, dtype=np.float64, ndmin=1)
    if axis.ndim != 1 or axis.size == 0 or not np.isfinite(axis).all():
        raise OutOfRangeError(f"grid axis {name}: expected a finite 1-D array, found {values!r}")
    if axis.size > 1 and np.diff(axis).min() < MIN_STEP_MM:
        raise OutOfRangeError(f"grid axis {name}: positions must increase strictly")
    axis.flags.writeable = False
    return axis


@dataclass(frozen=True, eq=False)
class GridGeometry:
    """Where the samples of a grid lie: three ascending axes in DICOM patient coordinates (LPS, mm).

    A reader turns any axis-aligned orientation into this form by flipping and transposing the
    array, so that nothing downstream needs to know how a file was written. Axes may be unevenly
    spaced.
    """

    x_mm: FloatArray
    y_mm: FloatArray
    z_mm: FloatArray

    def __post_init__(self) -> None:
        for name in ("x_mm", "y_mm", "z_mm"):
            object.__setattr__(self, name, _axis(getattr(self, name), name))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of samples as ``(nz, ny, nx)``."""
        return self.z_mm.size, self.y_mm.size, self.x_mm.size

    @property
    def axes(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The axes in array order z, y, x."""
        return self.z_mm, self.y_mm, self.x_mm

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Median spacing along x, y, z; ``nan`` along an axis with one sample."""
        dx, dy, dz = (
            float(np.median(np.diff(a))) if a.size > 1 else float("nan")
            for a in (self.x_mm, self.y_mm, self.z_mm)
        )
        return dx, dy, dz

    @property
    def lower_mm(self) -> FloatArray:
        """First sample position (x, y, z)."""
        return np.array([self.x_mm[0], self.y_mm[0], self.z_mm[0]])

    @property
    def upper_mm(self) -> FloatArray:
        """Last sample position (x, y, z)."""
        return np.array([self.x_mm[-1], self.y_mm[-1], self.z_mm[-1]])

    def slices_around(self, lower_mm: ArrayLike, upper_mm: ArrayLike, pad: int = 1) -> Slices:
        """Index ranges (z, y, x) of the samples that span a box, and ``pad`` more on each side.

        A box that misses the grid altogether gives the nearest samples, so that the result is
        never empty; whoever interpolates must test coverage by position.
        """
        lower, upper = np.asarray(lower_mm, float), np.asarray(upper_mm, float)
        ranges = []
        for axis, lo, hi in zip(self.axes, lower[::-1], upper[::-1], strict=True):
            first = int(np.searchsorted(axis, lo, side="right")) - 1 - pad
            last = int(np.searchsorted(axis, hi, side="left")) + pad
            first = min(max(first, 0), axis.size - 1)
            ranges.append(slice(first, max(min(last, axis.size - 1), first) + 1))
        return ranges[0], ranges[1], ranges[2]

    def part(self, slices: Slices) -> GridGeometry:
        """Return the geometry of a block of this grid."""
        z, y, x = slices
        return GridGeometry(self.x_mm[x], self.y_mm[y], self.z_mm[z])

    def same_positions(self, other: GridGeometry, tolerance_mm: float = 0.01) -> bool:
        """Tell whether two grids sample the same points (to ``tolerance_mm``)."""
        return self.shape == other.shape and all(
            bool(np.allclose(a, b, rtol=0, atol=tolerance_mm))
            for a, b in zip(self.axes, other.axes, strict=True)
        )


@dataclass(frozen=True, eq=False)
class ScalarGrid:
    """Samples on a :class:`GridGeometry`, read when they are needed.

    Parameters
    ----------
    geometry : GridGeometry
    load : callable
        Takes index slices ``(z, y, x)`` and returns that block as an array. A file-backed grid
        reads only what the block needs.
    """

    geometry: GridGeometry
    load: Callable[[Slices], NDArray[np.floating]]

    @classmethod
    def from_array(cls, geometry: GridGeometry, values: ArrayLike) -> Self:
        """Wrap an array of shape ``(nz, ny, nx)``."""
        array = np.asarray(values)
        if array.shape != geometry.shape:
            raise OutOfRangeError(
                f"grid values have shape {array.shape}, the axes say {geometry.shape}"
            )
        array = array.view()
        array.flags.writeable = False
        return cls(geometry, lambda slices: array[slices])

    @cached_property
    def values(self) -> FloatArray:
        """All samples as a read-only float64 array of shape ``(nz, ny, nx)``."""
        nz, ny, nx = self.geometry.shape
        block = np.ascontiguousarray(
            self.load((slice(0, nz), slice(0, ny), slice(0, nx))), dtype=np.float64
        )
        block.flags.writeable = False
        return block

    def crop(self, lower_mm: ArrayLike, upper_mm: ArrayLike, pad: int = 1) -> Self:
        """Read the block of samples that spans a box, with ``pad`` more samples on each side.

        Samples that are in memory as float64 are not copied.
        """
        slices = self.geometry.slices_around(lower_mm, upper_mm, pad)
        block = np.asarray(self.load(slices), dtype=np.float64)
        return type(self).from_array(self.geometry.part(slices), block)


class DoseGrid(ScalarGrid):
    """Absorbed dose in Gy."""


class CtImage(ScalarGrid):
    """CT numbers in HU."""
