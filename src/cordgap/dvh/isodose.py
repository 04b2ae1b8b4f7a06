"""Volume inside an isodose surface, over the whole dose grid or in the part that meets a target.

A grid cell whose eight corners all reach the dose counts whole, one whose corners all stay below
counts nothing: trilinear interpolation never leaves the range of its corners. A cell that the
surface cuts is crossed by lines along the axis of its steepest mean gradient. On such a line the
trilinear dose is linear, so the length above the dose is exact; across, the midpoint rule with
``LINES`` x ``LINES`` lines is used, and half as many tell its error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import DoseGrid, Slices
from cordgap.dvh.integrate import DOSE_GRID_WEIGHT, choose_pitch_mm, refine_cubic
from cordgap.dvh.lines import cut, scan
from cordgap.dvh.solid import Solid

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int32]
# First and last sample index, z y x.
_Box = tuple[NDArray[np.intp], NDArray[np.intp]]

# Lines across a cell that the surface cuts, along each of two axes.
LINES = 8
# Samples held at once while the grid is read block by block, and cut cells handled at once.
_BLOCK_SAMPLES = 2_000_000
_CELLS_AT_ONCE = 20_000
# Samples beyond the box that a spline needs to settle; boxes beyond two litres are not refined.
_CUBIC_PAD = 4
_CUBIC_MAX_MM3 = 2e6
# Bodies whose isodose is looked at for a connection: a millimetre finds every cell that matters.
_SEED_PITCH_MM = 1.0


@dataclass(frozen=True)
class IsodoseVolume:
    """Volume that gets at least a dose.

    Parameters
    ----------
    dose_gy : float
    total_cc : float
        Over the whole grid.
    connected_cc : float or None
        Of the connected parts that hold a point of the target; None where no target was given.
    plus_minus_cc : float
        Uncertainty of ``total_cc`` from quadrature (the change when half as many lines cross each
        cut cell) and dose grid (1.6 times the distance to the volume of the cubic spline through
        the same samples, as for metrics).
    includes_dose_grid : bool
        False where no spline was computed (fewer than four samples along an axis, a grid finer
        than 0.75 mm or a very large volume): then ``plus_minus_cc`` is the quadrature alone.
    is_cut_off : bool
        The isodose reaches the outermost samples of the grid: the true volume is larger.
    connected_is_cut_off : bool
        The same for the connected parts.
    """

    dose_gy: float
    total_cc: float
    connected_cc: float | None
    plus_minus_cc: float
    includes_dose_grid: bool
    is_cut_off: bool
    connected_is_cut_off: bool


def isodose_volume(dose: DoseGrid, dose_gy: float, *, target: Solid | None = None) -> IsodoseVolume:
    """Compute the volume of trilinear dose at or above ``dose_gy``.

    Parameters
    ----------
    dose : DoseGrid
        At least two samples along each axis, else the volume is 0 and cut off.
    dose_gy : float
        Above 0.
    target : Solid, optional
        Also find the part of the isodose volume that is connected to this solid. Samples above
        the dose that share a cell count as connected.

    Notes
    -----
    The grid is read in blocks of about two million samples. Finding the connected part needs one
    byte and one label a sample inside the box around the isodose.

    Examples
    --------
    >>> from cordgap.case.grid import GridGeometry
    >>> axis = np.linspace(0.0, 10.0, 6)
    >>> ramp = np.broadcast_to(axis, (6, 6, 6))
    >>> grid = DoseGrid.from_array(GridGeometry(axis, axis, axis), ramp)
    >>> round(isodose_volume(grid, 7.5).total_cc, 9)
    0.25
    """
    if min(dose.geometry.shape) < 2:
        return IsodoseVolume(dose_gy, 0.0, None, 0.0, False, True, True)
    total, coarse, box, cut_off = 0.0, 0.0, None, False
    for block in _blocks(dose.geometry.shape):
        values = np.ascontiguousarray(dose.load(block), dtype=np.float64)
        fine, half = _block_volume(dose, block, values, dose_gy)
        total, coarse = total + fine, coarse + half
        box = _grow(box, block, values >= dose_gy)
    if box is not None:
        cut_off = _at_edge(box, dose.geometry.shape)
    connected, connected_cut_off = None, cut_off
    if target is not None:
        connected, connected_cut_off = _connected(dose, dose_gy, target, box)
    error = abs(total - coarse) / 1000
    cubic = None if box is None else _cubic_change_cc(dose, dose_gy, box)
    if cubic is not None:
        error += DOSE_GRID_WEIGHT * cubic
    return IsodoseVolume(
        dose_gy,
        total / 1000,
        connected,
        error,
        cubic is not None,
        cut_off,
        connected_cut_off,
    )


def _cubic_change_cc(dose: DoseGrid, dose_gy: float, box: _Box) -> float | None:
    """Distance to the volume of the cubic spline through the same samples; None without one."""
    first = np.maximum(box[0] - _CUBIC_PAD, 0)
    last = np.minimum(box[1] + _CUBIC_PAD, np.array(dose.geometry.shape) - 1)
    part = _between(first, last)
    geometry = dose.geometry.part(part)
    if float(np.prod([np.ptp(a) for a in geometry.axes])) > _CUBIC_MAX_MM3:
        return None
    block = DoseGrid.from_array(geometry, dose.load(part))
    refined = refine_cubic(block)
    if refined is None:
        return None
    volumes = []
    for grid in (block, refined):
        parts = _blocks(grid.geometry.shape)
        volumes.append(sum(_block_volume(grid, b, grid.values[b], dose_gy)[1] for b in parts))
    return abs(volumes[1] - volumes[0]) / 1000


def _blocks(shape: tuple[int, int, int]) -> Iterator[Slices]:
    """Slabs of the grid along z that share one plane of samples."""
    nz, ny, nx = shape
    step = max(1, _BLOCK_SAMPLES // (ny * nx) - 1)
    for first in range(0, nz - 1, step):
        yield slice(first, min(first + step, nz - 1) + 1), slice(0, ny), slice(0, nx)


def _block_volume(
    dose: DoseGrid,
    block: Slices,
    values: FloatArray,
    dose_gy: float,
    labels: tuple[IntArray, NDArray[np.bool_]] | None = None,
) -> tuple[float, float]:
    """Volume in mm3 of a block, with all lines and with half; only of the chosen labels."""
    z, y, x = (np.diff(axis[part]) for axis, part in zip(dose.geometry.axes, block, strict=True))
    above = values >= dose_gy
    count = np.zeros([n - 1 for n in above.shape], dtype=np.int8)
    for c in _CORNERS:
        count += above[c]
    if labels is not None:
        number, chosen = labels
        # All corners of a cell that are above carry one label.
        of_cell = np.maximum.reduce([number[c] for c in _CORNERS])
        count[~chosen[of_cell]] = 0
    whole = count == 8
    volume = float(np.einsum("ijk,i,j,k->", whole, z, y, x, optimize=True))
    fine = coarse = volume
    cells = np.flatnonzero((count > 0) & ~whole)
    for first in range(0, cells.size, _CELLS_AT_ONCE):
        iz, iy, ix = np.unravel_index(cells[first : first + _CELLS_AT_ONCE], count.shape)
        corners = np.stack(
            [values[iz + a, iy + b, ix + c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]
        ).reshape(2, 2, 2, -1)
        size = z[iz] * y[iy] * x[ix]
        fine += float(size @ _share_above(corners, dose_gy, LINES))
        coarse += float(size @ _share_above(corners, dose_gy, LINES // 2))
    return fine, coarse


_LOW, _HIGH = slice(None, -1), slice(1, None)
_CORNERS = [(a, b, c) for a in (_LOW, _HIGH) for b in (_LOW, _HIGH) for c in (_LOW, _HIGH)]


def _share_above(corners: FloatArray, dose_gy: float, lines: int) -> FloatArray:
    """Share of each cell, corners (2, 2, 2, n) in z, y, x, whose trilinear dose reaches a dose."""
    slopes = np.stack([np.abs(np.diff(corners, axis=i).mean(axis=(0, 1, 2))) for i in range(3)])
    steepest = slopes.argmax(axis=0)
    share = np.zeros(corners.shape[-1])
    middle = (np.arange(lines) + 0.5) / lines
    u, v = (a.ravel()[:, None] for a in np.meshgrid(middle, middle, indexing="ij"))
    for axis in range(3):
        which = np.flatnonzero(steepest == axis)
        if not which.size:
            continue
        c = np.moveaxis(corners[..., which], axis, 0)
        # Dose at both ends of every line: bilinear on two faces.
        ends = [
            (1 - u) * ((1 - v) * f[0, 0] + v * f[0, 1]) + u * ((1 - v) * f[1, 0] + v * f[1, 1])
            for f in c
        ]
        low, high = np.minimum(*ends), np.maximum(*ends)
        span = np.where(high > low, high - low, 1.0)
        length = np.where(high > low, np.clip((high - dose_gy) / span, 0.0, 1.0), high >= dose_gy)
        share[which] = length.mean(axis=0)
    return share


def _grow(box: _Box | None, block: Slices, above: NDArray[np.bool_]) -> _Box | None:
    """Grow a box of sample indices (first, last) so that it holds what is above in a block."""
    if not above.any():
        return box
    ends = []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        hit = np.flatnonzero(above.any(axis=others)) + block[axis].start
        ends.append((hit[0], hit[-1]))
    first, last = np.array(ends).T
    return (first, last) if box is None else (np.minimum(first, box[0]), np.maximum(last, box[1]))


def _at_edge(box: _Box, shape: Sequence[int]) -> bool:
    return bool((box[0] == 0).any() or (box[1] == np.array(shape) - 1).any())


def _connected(
    dose: DoseGrid, dose_gy: float, target: Solid, box: _Box | None
) -> tuple[float, bool]:
    """Volume in cc of the parts of an isodose that hold a point of the target; cut off or not."""
    from scipy import ndimage

    if box is None:
        return 0.0, False
    # One more sample on each side: cells reach from the outermost sample above to the next one.
    first = np.maximum(box[0] - 1, 0)
    last = np.minimum(box[1] + 1, np.array(dose.geometry.shape) - 1)
    whole = _between(first, last)
    nz, ny, nx = (s.stop - s.start for s in whole)
    shape = (nz, ny, nx)
    above = np.zeros(shape, dtype=bool)
    for part in _blocks(shape):
        above[part] = dose.load(_shift(part, first)) >= dose_gy
    number = np.empty(shape, dtype=np.int32)
    found = ndimage.label(above, structure=np.ones((3, 3, 3)), output=number)
    chosen = np.zeros(found + 1, dtype=bool)
    chosen[_labels_in(dose, dose_gy, target, (first, number))] = True
    chosen[0] = False
    if not chosen.any():
        return 0.0, False
    volume = 0.0
    for part in _blocks(shape):
        block = _shift(part, first)
        values = np.ascontiguousarray(dose.load(block), dtype=np.float64)
        volume += _block_volume(dose, block, values, dose_gy, (number[part], chosen))[0]
    kept = chosen[number]
    found_box = _grow(None, whole, kept)
    assert found_box is not None
    return volume / 1000, _at_edge(found_box, dose.geometry.shape)


def _between(first: NDArray[np.intp], last: NDArray[np.intp]) -> Slices:
    z, y, x = (slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
    return z, y, x


def _shift(part: Slices, first: NDArray[np.intp]) -> Slices:
    z, y, x = (slice(s.start + int(f), s.stop + int(f)) for s, f in zip(part, first, strict=True))
    return z, y, x


def _labels_in(
    dose: DoseGrid, dose_gy: float, target: Solid, labelled: tuple[NDArray[np.intp], IntArray]
) -> IntArray:
    """Labels of the cells in which a point of the target gets the dose."""
    first, number = labelled
    lower, upper = target.bounds_mm
    block = dose.crop(lower, upper, pad=1)
    if min(block.geometry.shape) < 2:
        return np.zeros(0, dtype=np.int32)
    pitch = choose_pitch_mm(target.volume_mm3, float(np.nanmin(dose.geometry.spacing_mm)))
    found = [np.zeros(0, dtype=np.int32)]
    for spans in scan(target, max(pitch, _SEED_PITCH_MM)):
        pieces = cut(spans, block.geometry, block.values)
        hot = np.maximum(pieces.dose0_gy, pieces.dose1_gy) >= dose_gy
        at = []
        for axis, start, points in zip(
            dose.geometry.axes, first, (pieces.z_mm, pieces.y_mm, pieces.x_mm), strict=True
        ):
            i = np.searchsorted(axis, points[hot], side="right") - 1
            at.append(np.clip(i, 0, axis.size - 2) - start)
        for corner in np.ndindex(2, 2, 2):
            index = [i + c for i, c in zip(at, corner, strict=True)]
            inside = np.logical_and.reduce(
                [(i >= 0) & (i < n) for i, n in zip(index, number.shape, strict=True)]
            )
            found.append(np.unique(number[tuple(i[inside] for i in index)]))
    return np.unique(np.concatenate(found))
