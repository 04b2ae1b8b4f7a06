"""Several RTDOSE files -> one dose: planes of a series, or doses to be added."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import MIN_STEP_MM, DoseGrid, GridGeometry, Slices
from cordgap.dicom.dose import Dose, read_one_dose
from cordgap.dicom.overrides import NO_OVERRIDES, Overrides
from cordgap.dicom.pixels import BlockReader
from cordgap.errors import DicomError, Finding, GeometryMismatchError

FloatArray = NDArray[np.float64]

# Planes farther apart than this times the usual spacing mean that a file is missing.
_MAX_PLANE_GAP = 1.6
_SAME_POSITION_MM = 0.01
_AXES = "xyz"


def read_dose(
    paths: Sequence[Path],
    *,
    factors: Sequence[float] = (),
    overrides: Overrides = NO_OVERRIDES,
) -> Dose:
    """Read one RTDOSE, the planes of one, or the sum of several.

    Parameters
    ----------
    paths : sequence of Path
    factors : sequence of float
        What each dose is multiplied by; empty for 1.
    overrides : Overrides

    Raises
    ------
    DicomError
        When units, scaling, geometry or pixels are missing, truncated or make no sense.
    GeometryMismatchError
        When a grid is oblique, or grids to be summed do not overlap.

    Notes
    -----
    Doses on different grids are added on the finest of them, within the box that all of them
    cover: beyond it the total is not known. The others are interpolated linearly.
    """
    weights = factors or [1.0] * len(paths)
    parts = [
        read_one_dose(path, factor=factor, overrides=overrides)
        for path, factor in zip(paths, weights, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    effective = any(part.dose_type == "EFFECTIVE" for part in parts)
    if effective and any(part.dose_type == "PHYSICAL" for part in parts):
        raise DicomError(
            f"{', '.join(p.name for p in paths)}: some are of DoseType EFFECTIVE and some "
            "PHYSICAL; they cannot be added: export the sum from the planning system",
            code="dose-kinds-mixed",
        )
    grids = [part.grid for part in parts]
    notes: list[Finding] = []
    frame_axis = _frame_axis(grids)
    if frame_axis is not None:
        grid = _stacked(grids, frame_axis, paths)
        notes.append(
            Finding(
                "dose-planes-assembled",
                f"the dose was put together from {len(grids)} files of one plane each",
                severity="info",
                file=paths[0].name,
            )
        )
    elif all(g.geometry.same_positions(grids[0].geometry) for g in grids[1:]):
        grid = DoseGrid(grids[0].geometry, _sum_of([g.load for g in grids]))
    else:
        geometry = _common(grids, paths)
        grid = DoseGrid(geometry, _sum_of([_resampled(g, geometry) for g in grids]))
        words = "; ".join(
            f"{path.name} {_grid_words(g.geometry)}" for path, g in zip(paths, grids, strict=True)
        )
        notes.append(
            Finding(
                "dose-grids-resampled",
                f"doses on different grids ({words}) were added on {_grid_words(geometry)}, where "
                "all of them are known",
                file=paths[0].name,
                found=f"{len(grids)} grids",
                expected="one grid",
                action="export the sum from the planning system",
            )
        )
    findings = {(f.code, f.file): f for part in parts for f in part.findings}
    return Dose(grid, "EFFECTIVE" if effective else "PHYSICAL", (*findings.values(), *notes))


def _sum_of(readers: Sequence[BlockReader]) -> BlockReader:
    def load(slices: Slices) -> FloatArray:
        total = np.array(readers[0](slices), dtype=np.float64)
        for reader in readers[1:]:
            total += reader(slices)
        return total

    return load


def _frame_axis(grids: Sequence[DoseGrid]) -> int | None:
    """Return the patient axis (0, 1, 2 for x, y, z) along which grids are single planes apart."""
    geometries = [g.geometry for g in grids]
    axes = [(g.x_mm, g.y_mm, g.z_mm) for g in geometries]
    for axis in (2, 1, 0):
        others = [a for a in range(3) if a != axis]
        if any(a[axis].size != 1 for a in axes) or not all(
            _same(a[other], axes[0][other]) for a in axes for other in others
        ):
            continue
        positions = np.sort([float(a[axis][0]) for a in axes])
        if np.diff(positions).min() >= MIN_STEP_MM:
            return axis
    return None


def _same(a: FloatArray, b: FloatArray) -> bool:
    return a.size == b.size and bool(np.allclose(a, b, rtol=0, atol=_SAME_POSITION_MM))


def _stacked(grids: Sequence[DoseGrid], axis: int, paths: Sequence[Path]) -> DoseGrid:
    """Put planes into one grid along an axis."""
    positions = np.array([float((g.geometry.lower_mm)[axis]) for g in grids])
    order = np.argsort(positions)
    steps = np.diff(positions[order])
    if steps.max() > _MAX_PLANE_GAP * float(np.median(steps)):
        at = int(np.argmax(steps))
        where = f"{_AXES[axis]} = {positions[order][at]:g} and {positions[order][at + 1]:g} mm"
        raise DicomError(
            f"{paths[order[at]].name}: a plane of the dose is missing between {where}, where the "
            f"others are {np.median(steps):g} mm apart; export all planes of the dose",
            code="dose-planes-missing",
            file=paths[order[at]].name,
            found=f"{steps[at]:g} mm",
            expected=f"{np.median(steps):g} mm",
            action="export all planes of the dose",
        )
    first = grids[0].geometry
    axes = [first.x_mm, first.y_mm, first.z_mm]
    axes[axis] = positions[order]
    sorted_grids = [grids[i] for i in order]
    position = 2 - axis  # arrays are (z, y, x)

    def load(slices: Slices) -> FloatArray:
        chosen = sorted_grids[slices[position]]
        inside = list(slices)
        inside[position] = slice(0, 1)
        return np.concatenate([g.load((inside[0], inside[1], inside[2])) for g in chosen], position)

    return DoseGrid(GridGeometry(*axes), load)


def _common(grids: Sequence[DoseGrid], paths: Sequence[Path]) -> GridGeometry:
    """Return the samples of the finest grid that lie within all grids."""
    lower = np.max([g.geometry.lower_mm for g in grids], axis=0) - _SAME_POSITION_MM
    upper = np.min([g.geometry.upper_mm for g in grids], axis=0) + _SAME_POSITION_MM
    finest = min(grids, key=lambda g: float(np.nanprod(g.geometry.spacing_mm))).geometry
    axes = []
    for axis, low, high in zip((finest.x_mm, finest.y_mm, finest.z_mm), lower, upper, strict=True):
        inside = axis[(axis >= low) & (axis <= high)]
        if inside.size < min(2, axis.size):
            raise GeometryMismatchError(
                f"the dose grids of {', '.join(p.name for p in paths)} do not overlap: "
                f"{'; '.join(_grid_words(g.geometry) for g in grids)}; export the sum from the "
                "planning system",
                code="dose-grids-apart",
                file=paths[0].name,
                action="export the sum from the planning system",
            )
        axes.append(inside)
    return GridGeometry(*axes)


def _resampled(grid: DoseGrid, geometry: GridGeometry) -> BlockReader:
    """Read blocks of ``geometry`` from another grid, trilinear between its samples."""

    def load(slices: Slices) -> FloatArray:
        wanted = geometry.part(slices)
        part = grid.crop(wanted.lower_mm, wanted.upper_mm)
        block: FloatArray = part.values
        for axis, (known, at) in enumerate(zip(part.geometry.axes, wanted.axes, strict=True)):
            block = _along(block, axis, known, at)
        return block

    return load


def _along(block: FloatArray, axis: int, known: FloatArray, at: FloatArray) -> FloatArray:
    """Interpolate linearly along one axis; ``at`` lies within ``known`` but for round-off."""
    if known.size == 1:
        return np.repeat(block, at.size, axis=axis)
    index = np.clip(np.searchsorted(known, at, side="right") - 1, 0, known.size - 2)
    share = np.clip((at - known[index]) / (known[index + 1] - known[index]), 0.0, 1.0)
    shape = [1, 1, 1]
    shape[axis] = at.size
    share = share.reshape(shape)
    lower, upper = np.take(block, index, axis=axis), np.take(block, index + 1, axis=axis)
    return (1 - share) * lower + share * upper


def _grid_words(geometry: GridGeometry) -> str:
    nz, ny, nx = geometry.shape
    spacing = " x ".join(f"{s:g}" for s in geometry.spacing_mm)
    corner = ", ".join(f"{v:g}" for v in geometry.lower_mm)
    return f"{nx} x {ny} x {nz} samples of {spacing} mm from ({corner})"
