"""Solid x dose -> histogram: exact along x, fine in y and z.

Each sub-slice of the solid is cut by scanlines. Along a scanline the trilinear
dose is linear between neighbouring grid columns, so each piece of the line adds a *uniform*
distribution of dose to the histogram, which is added exactly. What the dose does across the pitch,
in y and z, widens the piece to the spread it really has. Each sub-slice is scaled to its exact
area: one occupancy for volume and for dose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.dvh import compiled
from cordgap.dvh.compiled import Engine, Kernels
from cordgap.dvh.curve import DVH, Alternative, empty_dvh
from cordgap.dvh.lines import Pieces, Spans, cell, cut, in_one_line, joined, scan_section, sections
from cordgap.dvh.solid import Ends, Solid

FloatArray = NDArray[np.float64]

# Quadrature of small structures, across and up: D0.035cc of the analytic cords within 0.02 mm.
FINE_PITCH_MM = 0.5
HEIGHT_PER_PITCH = 1.4
# Bodies smaller than a cubic centimetre take this share of their size.
_PITCH_SHARE = 0.05
# Organs take this share of theirs, and litres in a fine dose grid the pitch that gives about so
# many pieces of line.
_ORGAN_SHARE = 0.015
MAX_PIECES = 600_000
# 16,000 bins: the arrays stay below the size that the system takes back after each use.
_N_BINS = 16_000
_SAMPLES_AT_ONCE = 60_000
_SPANS_AT_ONCE = 4_000
_MOST_SAMPLES_FOR_KINKS = 1_000_000
# Share of the volume below which a cumulative sum is round-off, not volume.
_ROUND_OFF = 1e-11
# Pieces with the alternatives, for one without: a quarter, and a quarter in columns of 0.5 mm.
_PRICE_OF_BOTH = 2.5
# How much the distance to each alternative counts (docs/dvh.md): with these the interval contains
# the continuous truth of the analytic cords, and of bodies that close, in 9 of 10 cases.
DOSE_GRID_WEIGHT = 1.6
QUADRATURE_WEIGHT = 0.5
BETWEEN_PLANES_WEIGHT = 0.5
CLOSING_CAP_WEIGHT = 1.0
CUT_END_WEIGHT = 0.05
# Cubic interpolation: samples beyond the box that the spline needs to settle, sample distance
# after refinement, and how many refined samples are worth computing.
_CUBIC_PAD = 4
_CUBIC_STEP_MM = 0.5
_CUBIC_MAX_SAMPLES = 1_500_000

# glibc gives arrays beyond a size back to the system when they are freed, and each new one is
# paid for page by page: half of the time of a DVH. Freeing one large array, which is never
# touched, raises that size for the process; elsewhere it does nothing.
_ = np.empty(3_000_000)
del _


def choose_pitch_mm(volume_mm3: float, spacing_mm: float) -> float:
    """Pick the quadrature pitch: fine for cords and targets, coarser for litres."""
    size = float(np.cbrt(volume_mm3))
    fine = max(min(FINE_PITCH_MM, _PITCH_SHARE * size), _ORGAN_SHARE * size)
    return max(fine, float(np.sqrt(volume_mm3 / (MAX_PIECES * spacing_mm))))


def all_samples(grid: DoseGrid) -> FloatArray:
    """All samples of a grid, without a copy where they are in memory."""
    nz, ny, nx = grid.geometry.shape
    return np.asarray(grid.load((slice(0, nz), slice(0, ny), slice(0, nx))), dtype=np.float64)


def _range(samples: FloatArray) -> tuple[float, float]:
    """Lowest and highest sample, a few planes at a time: large blocks are read once, not twice."""
    step = max(1, _SAMPLES_AT_ONCE // samples[0].size)
    parts = [samples[i : i + step] for i in range(0, len(samples), step)]
    ends = [(float(part.min()), float(part.max())) for part in parts]
    return min(low for low, _ in ends), max(high for _, high in ends)


class _Histogram:
    """Cumulative distribution of a sum of uniform distributions, exact at the bin edges."""

    def __init__(self, grid: DoseGrid) -> None:
        self.geometry, self.samples = grid.geometry, all_samples(grid)
        self.line = in_one_line(self.samples)
        self.lowest, self.highest = _range(self.samples)
        span = self.highest - self.lowest
        pad = 1e-3 * max(span, 1e-6 * max(abs(self.highest), 1.0), 1e-9)
        self.low = self.lowest - pad
        self.width = (self.highest + pad - self.low) / _N_BINS
        self.slope = np.zeros(_N_BINS + 2)
        self.offset = np.zeros(_N_BINS + 2)
        # Volume, volume times dose, lowest and highest dose.
        self.sums = np.array([0.0, 0.0, np.inf, -np.inf])

    def add(self, spans: Spans, kernels: Kernels | None) -> None:
        """Add what spans get of the dose."""
        if kernels is None:
            self._add(cut(spans, self.geometry, self.samples))
            return
        kernels.add_spans(
            spans.x0_mm, spans.x1_mm, spans.y_mm, spans.z_mm, spans.area_mm2, spans.dy_mm,
            spans.dz_mm, spans.lean_y0, spans.lean_y1, spans.lean_z0, spans.lean_z1,
            self.geometry.x_mm, self.geometry.y_mm, self.geometry.z_mm,
            *self.line, self.low, self.width, self.slope, self.offset, self.sums,
        )  # fmt: skip

    def _add(self, pieces: Pieces) -> None:
        weight = pieces.volume_mm3
        if not weight.size:
            return
        d0, d1 = pieces.dose0_gy, pieces.dose1_gy
        along = d1 - d0
        middle = 0.5 * (d0 + d1)
        half = 0.5 * np.sqrt(along * along + pieces.across_gy * pieces.across_gy)
        half = np.maximum(half, 0.01 * self.width)
        low, high = middle - half - self.low, middle + half - self.low
        slope = weight / (high - low)
        for edge, density in ((low, slope), (high, -slope)):
            index = np.clip(np.ceil(edge * (1.0 / self.width)), 0, _N_BINS + 1).astype(np.intp)
            first = int(index.min())
            index -= first
            for sums, weights in ((self.slope, density), (self.offset, density * edge)):
                found = np.bincount(index, weights=weights)
                sums[first : first + found.size] += found
        self.sums[0] += weight.sum()
        # No dot product: it would wake threads, which costs more than the sum.
        self.sums[1] += (weight * middle).sum()
        self.sums[2] = min(self.sums[2], (middle - half).min())
        self.sums[3] = max(self.sums[3], (middle + half).max())

    def dvh(self, total_volume_mm3: float, kernels: Kernels | None = None) -> DVH:
        """Return the curve of what was added."""
        total, moment, lowest, highest = (float(value) for value in self.sums)
        if total <= 0:
            return empty_dvh(total_volume_mm3 / 1000)
        if kernels is None:
            above = self._above(total)
        else:
            above = kernels.cumulate(self.slope, self.offset, self.width, total, _ROUND_OFF)
        # From the last edge above which everything lies to the first above which nothing does.
        first = max(int(np.count_nonzero(above >= total)) - 1, 0)
        top = int(np.count_nonzero(above > 0)) + 1
        return DVH(
            self.low + np.arange(first, top, dtype=np.float64) * self.width,
            above[first:top] / 1000,
            total_volume_mm3 / 1000,
            # With their spread across, as in the curve, but never beyond what the samples hold.
            max(lowest, self.lowest),
            moment / total,
            min(highest, self.highest),
        )

    def _above(self, total: float) -> FloatArray:
        """Volume above each bin edge; as ``cumulate`` in :mod:`cordgap.dvh.loops`."""
        edges = np.arange(_N_BINS + 2, dtype=np.float64) * self.width
        above = total - (edges * np.cumsum(self.slope) - np.cumsum(self.offset))
        above[above < _ROUND_OFF * total] = 0.0
        np.minimum(above, total, out=above)
        above = np.maximum.accumulate(above[::-1])[::-1]
        above[0], above[-1] = total, 0.0
        return above


def refine_cubic(
    block: DoseGrid,
    step_mm: float = _CUBIC_STEP_MM,
    *,
    box_mm: tuple[FloatArray, FloatArray] | None = None,
) -> DoseGrid | None:
    """Interpolate a block of dose with cubic splines on a finer grid through the same points.

    The finer grid spans the whole block, or the part of it around a box (lower, upper) in x, y, z.
    Returns None where an axis has fewer than four samples, or where the box is so large that a
    finer grid is not worth its price.
    """
    axes, weights = [], []
    extents = [float(axis[-1] - axis[0]) for axis in block.geometry.axes]
    # Large boxes take a coarser step, as long as it still halves the grid.
    step_mm = max(step_mm, (float(np.prod(extents)) / _CUBIC_MAX_SAMPLES) ** (1 / 3))
    for i, axis in enumerate(block.geometry.axes):
        if axis.size < 4 or float(np.diff(axis).max()) < 1.5 * step_mm:
            return None
        factor = int(np.ceil(float(np.diff(axis).max()) / step_mm - 1e-6))
        share = np.arange(factor) / factor
        fine = np.r_[(axis[:-1, None] + share * np.diff(axis)[:, None]).ravel(), axis[-1]]
        if box_mm is not None:
            low, high = box_mm[0][2 - i], box_mm[1][2 - i]
            first = int(np.clip(np.searchsorted(fine, low) - 2, 0, fine.size - 2))
            fine = fine[first : max(int(np.searchsorted(fine, high)) + 2, first + 2)]
        axes.append(fine)
        # The spline is linear in the samples: one matrix an axis does all lines at once.
        weights.append(_spline_weights(axis, fine))
    values = weights[1] @ (block.values @ weights[2].T)
    rows = values.shape[1:]
    values = (weights[0] @ values.reshape(len(values), -1)).reshape(-1, *rows)
    return DoseGrid.from_array(GridGeometry(axes[2], axes[1], axes[0]), values)


def _spline_weights(axis: FloatArray, fine: FloatArray) -> FloatArray:
    """Matrix (len(fine), len(axis)) that evaluates the natural cubic spline through samples."""
    n, h = axis.size, np.diff(axis)
    # Second derivatives: tridiagonal system, its right side linear in the samples.
    system, right = np.eye(n), np.zeros((n, n))
    for i in range(1, n - 1):
        system[i, i - 1 : i + 2] = h[i - 1], 2 * (h[i - 1] + h[i]), h[i]
        right[i, i - 1 : i + 2] = 6 / h[i - 1], -6 / h[i - 1] - 6 / h[i], 6 / h[i]
    bend = np.linalg.solve(system, right)
    left, share = cell(axis, fine)
    width = h[left][:, None]
    b = share[:, None]
    a = 1 - b
    samples = np.eye(n)
    weights: FloatArray = (
        a * samples[left] + b * samples[left + 1]
        + ((a**3 - a) * bend[left] + (b**3 - b) * bend[left + 1]) * width * width / 6
    )  # fmt: skip
    return weights


def kinks(grid: DoseGrid, axis: int, kernels: Kernels | None = None) -> FloatArray | None:
    """Samples along an axis at which the trilinear dose changes its slope, or ends.

    A grid that was made finer by linear interpolation has the kinks of the one it was made of.

    Parameters
    ----------
    axis : int
        Of ``grid.values``: 0 for planes, 1 for rows.
    kernels : Kernels, optional
        Compiled loops to use.

    Returns
    -------
    ndarray or None
        Positions in mm, both ends included; None in a large grid, of which every sample would
        have to be read for it.
    """
    at = grid.geometry.axes[axis]
    if np.prod(grid.geometry.shape) > _MOST_SAMPLES_FOR_KINKS or at.size < 3:
        return None
    values = grid.values
    if kernels is not None:
        change, largest = kernels.slope_change(
            *in_one_line(values), *grid.geometry.shape, at, axis == 0
        )
    else:
        step = np.diff(at)[:, None, None] if axis == 0 else np.diff(at)[:, None]
        bend = np.abs(np.diff(np.diff(values, axis=axis) / step, axis=axis))
        # Along x first: several times faster than all at once.
        change = bend.max(axis=2).max(axis=1 - axis)
        largest = max(abs(float(values.min())), abs(float(values.max())))
    # Round-off is no kink.
    there = at[1:-1][change > 1e-9 * largest / float(np.diff(at).min())]
    found: FloatArray = np.concatenate([at[:1], there, at[-1:]])
    return found


def _if_apart(kinks_mm: FloatArray | None, step_mm: float) -> FloatArray | None:
    """Kinks at which a quadrature of that step ends its cells; None where they lie closer."""
    if kinks_mm is None or kinks_mm.size < 4:
        return kinks_mm
    inner = kinks_mm[1:-1]
    return None if np.ptp(inner) < step_mm * (inner.size - 1) else kinks_mm


def held_z_mm(z_mm: FloatArray, solid: Solid, geometry: GridGeometry) -> FloatArray:
    """Let end caps just beyond the dose grid take the dose of its outermost plane.

    A cap is a convention: where every contoured plane lies inside the grid and only the half-slice
    beyond the last one sticks out, by no more than half a dose voxel, the structure is covered.

    Returns
    -------
    ndarray
        Heights at which the dose is read: those given, but for such caps.
    """
    z = geometry.z_mm
    first, last = solid.plane_range_mm
    bottom, top = solid.z_range_mm
    if z.size < 2 or (z[0] <= bottom and top <= z[-1]):
        return z_mm
    if first < z[0] - 1e-3 or last > z[-1] + 1e-3:
        return z_mm
    reach = 0.5 * max(float(z[1] - z[0]), float(z[-1] - z[-2])) + 1e-3
    if bottom < z[0] - reach or top > z[-1] + reach:
        return z_mm
    held: FloatArray = np.clip(z_mm, z[0], z[-1])
    return held


def hold_caps(spans: Spans, solid: Solid, geometry: GridGeometry) -> Spans:
    """Hold the dose of end caps just beyond the dose grid, see :func:`held_z_mm`."""
    held = held_z_mm(spans.z_mm, solid, geometry)
    if held is spans.z_mm:
        return spans
    # Where the dose is held it does not change across the sub-slice.
    return replace(spans, z_mm=held, dz_mm=np.where(held == spans.z_mm, spans.dz_mm, 0.0))


def compute_dvh(
    solid: Solid,
    dose: DoseGrid,
    *,
    uncertainty: bool = True,
    pitch_mm: float | None = None,
    engine: Engine = "auto",
) -> DVH:
    """Compute the dose-volume histogram of a solid.

    Parameters
    ----------
    solid : Solid
    dose : DoseGrid
        Trilinear between its samples; only the block around the solid is read.
    uncertainty : bool
        Also compute the alternatives from which every metric gets its ``plus_minus``; left out
        for structures so large that the dose grid cannot matter.
    pitch_mm : float, optional
        Quadrature pitch in place of the one chosen from the volume.
    engine : {"auto", "numpy", "compiled"}
        How the sums are done; the numbers are the same to rounding. ``auto`` compiles where numba
        is installed and the work so far repays its start-up.

    Returns
    -------
    DVH
        Of the part inside the grid; its ``total_volume_cc`` is the whole solid.

    Raises
    ------
    OptionError
        If ``engine`` is ``compiled`` and numba is absent.
    """
    lower, upper = solid.bounds_mm
    block = dose.crop(lower, upper, pad=_CUBIC_PAD if uncertainty else 1)
    volume = solid.volume_mm3
    if min(block.geometry.shape) < 2:
        return empty_dvh(volume / 1000)
    spacing = dose.geometry.spacing_mm
    pitch = pitch_mm or choose_pitch_mm(volume, float(np.nanmin(spacing)))
    pieces = volume / (HEIGHT_PER_PITCH * pitch * pitch * spacing[0])
    kernels = compiled.kernels_for((_PRICE_OF_BOTH if uncertainty else 1.0) * pieces, engine)
    block = DoseGrid.from_array(block.geometry, all_samples(block))
    # Of the grid alone: a finer one through the same samples has no kinks to speak of.
    bends = kinks(block, 0, kernels), kinks(block, 1, kernels)
    main = _histogram(solid, [block], pitch, bends, kernels)[0]
    cubic = refine_cubic(block, box_mm=(lower, upper)) if uncertainty else None
    if cubic is None:
        return main
    # Both at twice the pitch: what is left between them is the dose grid alone.
    coarse, refined = _histogram(solid, [block, cubic], 2 * pitch, bends, kernels)
    ends: Ends = "flat" if solid.closes or solid.ends in ("rounded", "none") else "rounded"
    capped, sliced = (
        _histogram(other, [block], 2 * pitch, bends, kernels)[0]
        for other in (
            solid.rebuilt(ends=ends),
            solid.rebuilt(between="shape" if solid.between == "slab" else "slab"),
        )
    )
    cap_weight = CLOSING_CAP_WEIGHT if solid.closes else CUT_END_WEIGHT
    return replace(
        main,
        alternatives=(
            Alternative("dose grid", DOSE_GRID_WEIGHT, refined, coarse),
            Alternative("quadrature", QUADRATURE_WEIGHT, coarse),
            Alternative("end caps", cap_weight, capped, coarse),
            Alternative("between planes", BETWEEN_PLANES_WEIGHT, sliced, coarse),
        ),
    )


def _histogram(
    solid: Solid,
    grids: Sequence[DoseGrid],
    pitch_mm: float,
    bends: tuple[FloatArray | None, FloatArray | None],
    kernels: Kernels | None,
) -> list[DVH]:
    """Integrate one solid over several grids of the same dose, with the same scanlines.

    ``bends`` are the kinks of the dose along z and along y.
    """
    histograms = [_Histogram(grid) for grid in grids]
    height = HEIGHT_PER_PITCH * pitch_mm
    geometry = grids[0].geometry
    planes, rows = _if_apart(bends[0], height), _if_apart(bends[1], pitch_mm)
    pending: list[Spans] = []
    for section in sections(solid, pitch_mm, height, planes, kernels):
        spans = scan_section(section, pitch_mm, rows, kernels)
        pending.append(hold_caps(spans, solid, geometry))
        if sum(part.x0_mm.size for part in pending) > _SPANS_AT_ONCE:
            _add_all(histograms, pending, kernels)
            pending = []
    _add_all(histograms, pending, kernels)
    return [h.dvh(solid.volume_mm3, kernels) for h in histograms]


def _add_all(
    histograms: Sequence[_Histogram], parts: Sequence[Spans], kernels: Kernels | None
) -> None:
    """Add the spans of several sections at once: many small ones cost more than their sum."""
    if not parts:
        return
    spans = joined(parts)
    for histogram in histograms:
        histogram.add(spans, kernels)
