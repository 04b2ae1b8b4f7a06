"""Solid x dose -> histogram: exact along x, fine in y and z.

Each sub-slice of the solid is cut by scanlines at a fixed pitch. Along a scanline the trilinear
dose is linear between neighbouring grid columns, so each piece of the line adds a *uniform*
distribution of dose to the histogram, which is added exactly. What the dose does across the pitch,
in y and z, widens the piece to the spread it really has. Scanlines of successive sub-slices are
shifted by the golden ratio so that nothing repeats, and each sub-slice is scaled to its exact area:
one occupancy for volume and for dose.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.dvh.curve import DVH, Alternative, empty_dvh
from cordgap.dvh.solid import Ends, Section, Solid

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# Quadrature pitch of small structures: D0.035cc of the analytic cords within 0.02 mm.
FINE_PITCH_MM = 0.25
# Large structures take the pitch that gives about this many pieces of line.
MAX_PIECES = 600_000
# Edge-scanline crossings handled at once; bounds the memory to some 100 MB.
_CHUNK_CROSSINGS = 400_000
_N_BINS = 20_000
# Share of the volume below which a cumulative sum is round-off, not volume.
_ROUND_OFF = 1e-11
_GOLDEN = 0.6180339887498949
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
_CUBIC_MAX_SAMPLES = 6_000_000


@dataclass(frozen=True, eq=False)
class Spans:
    """Pieces of scanlines inside a solid.

    ``x0_mm`` to ``x1_mm`` at ``y_mm``, ``z_mm``; ``area_mm2`` is the cross-section (y times z)
    that each piece stands for, ``dy_mm`` and ``dz_mm`` its extents.
    """

    x0_mm: FloatArray
    x1_mm: FloatArray
    y_mm: FloatArray
    z_mm: FloatArray
    area_mm2: FloatArray
    dy_mm: float
    dz_mm: FloatArray


def choose_pitch_mm(volume_mm3: float, spacing_mm: float) -> float:
    """Pick the quadrature pitch: fine for cords and targets, coarser for litres."""
    return max(FINE_PITCH_MM, float(np.sqrt(volume_mm3 / (MAX_PIECES * spacing_mm))))


def scan(solid: Solid, pitch_mm: float) -> Iterator[Spans]:
    """Cut a solid into spans, a bounded number at a time."""
    count = 0
    for section in solid.sections(pitch_mm):
        for part in _parts(section, pitch_mm):
            yield _scan_section(part, pitch_mm, count)
            count += part.z_mm.size


def _parts(section: Section, pitch_mm: float) -> Iterator[Section]:
    height = float(np.ptp(section.starts[..., 1])) + pitch_mm
    per_slice = section.starts.shape[1] + 4.0 * height / pitch_mm
    step = max(1, int(_CHUNK_CROSSINGS / per_slice))
    if step >= section.z_mm.size:
        yield section
        return
    for first in range(0, section.z_mm.size, step):
        rows = slice(first, first + step)
        shared = section.starts.shape[0] == 1
        yield Section(
            section.z_mm[rows],
            section.thickness_mm[rows],
            section.area_mm2[rows],
            section.starts if shared else section.starts[rows],
            section.ends if shared else section.ends[rows],
        )


def _scan_section(section: Section, pitch_mm: float, first_index: int) -> Spans:
    k = section.z_mm.size
    phase = (((first_index + np.arange(k)) * _GOLDEN) % 1.0) * pitch_mm
    shape = (k, section.starts.shape[1], 2)
    a, b = np.broadcast_to(section.starts, shape), np.broadcast_to(section.ends, shape)
    origin_y = float(section.starts[..., 1].min())
    ya, yb = a[..., 1] - origin_y, b[..., 1] - origin_y
    low, high = np.minimum(ya, yb), np.maximum(ya, yb)
    first = np.ceil((low - phase[:, None]) / pitch_mm)
    n_lines = (np.ceil((high - phase[:, None]) / pitch_mm) - first).astype(np.intp).ravel()
    edge = np.repeat(np.arange(n_lines.size), n_lines)
    rank = np.arange(edge.size) - np.repeat(np.cumsum(n_lines) - n_lines, n_lines)
    line = first.ravel()[edge] + rank
    which = edge // shape[1]
    y = phase[which] + line * pitch_mm
    y0, y1 = ya.ravel()[edge], yb.ravel()[edge]
    x0, x1 = a[..., 0].ravel()[edge], b[..., 0].ravel()[edge]
    x = x0 + (y - y0) * ((x1 - x0) / (y1 - y0))
    # Sort by sub-slice, line and x at once: one number that orders all three.
    left, width = (float(x.min()), float(np.ptp(x)) + 1.0) if x.size else (0.0, 1.0)
    lines_per_slice = int(line.max()) + 2 if x.size else 1
    key = (which * lines_per_slice + (line + 1).astype(np.intp)).astype(np.float64)
    order = np.argsort(key * width + (x - left), kind="stable")
    x, y, which = x[order], y[order] + origin_y, which[order]
    x_in, x_out, y, which = x[0::2], x[1::2], y[0::2], which[0::2]
    length = np.bincount(which, weights=x_out - x_in, minlength=k)
    # Scale each sub-slice to its exact area.
    scale = np.divide(section.area_mm2, length, out=np.zeros(k), where=length > 0)
    return Spans(
        x_in,
        x_out,
        y,
        section.z_mm[which],
        (scale * section.thickness_mm)[which],
        pitch_mm,
        section.thickness_mm[which],
    )


@dataclass(frozen=True, eq=False)
class Pieces:
    """Spans cut at the grid columns: the dose at both ends, its spread across, the volume."""

    dose0_gy: FloatArray
    dose1_gy: FloatArray
    across_gy: FloatArray
    volume_mm3: FloatArray
    x_mm: FloatArray
    y_mm: FloatArray
    z_mm: FloatArray


def _cell(axis: FloatArray, positions: FloatArray) -> tuple[IntArray, FloatArray]:
    """Index of the cell that holds each position, and the share of the way through it."""
    i = np.clip(np.searchsorted(axis, positions, side="right") - 1, 0, axis.size - 2)
    return i, (positions - axis[i]) / (axis[i + 1] - axis[i])


def cut(
    spans: Spans, geometry: GridGeometry, dose_gy: FloatArray, *, max_length_mm: float = np.inf
) -> Pieces:
    """Cut spans at the columns of a dose block and read the dose; what lies outside is left out.

    Parameters
    ----------
    dose_gy : ndarray of shape (nz, ny, nx)
        Samples on ``geometry``; at least two along each axis.
    max_length_mm : float
        Pieces longer than this are cut again.
    """
    gx, gy, gz = geometry.x_mm, geometry.y_mm, geometry.z_mm
    inside = (
        (spans.y_mm >= gy[0]) & (spans.y_mm <= gy[-1])
        & (spans.z_mm >= gz[0]) & (spans.z_mm <= gz[-1])
        & (spans.x1_mm > gx[0]) & (spans.x0_mm < gx[-1])
    )  # fmt: skip
    x0 = np.maximum(spans.x0_mm[inside], gx[0])
    x1 = np.minimum(spans.x1_mm[inside], gx[-1])
    y, z = spans.y_mm[inside], spans.z_mm[inside]
    knots = gx
    if np.isfinite(max_length_mm) and gx.size > 1:
        steps = [
            np.linspace(lo, hi, max(1, int(np.ceil((hi - lo) / max_length_mm))) + 1)[:-1]
            for lo, hi in itertools.pairwise(gx)
        ]
        knots = np.r_[np.concatenate(steps), gx[-1]]
    first, _ = _cell(knots, x0)
    last = np.clip(np.searchsorted(knots, x1, side="left") - 1, first, knots.size - 2)
    n = last - first + 1
    span = np.repeat(np.arange(n.size), n)
    piece = np.arange(span.size) - np.repeat(np.cumsum(n) - n, n)
    column = first[span] + piece
    start = np.maximum(x0[span], knots[column])
    stop = np.minimum(x1[span], knots[column + 1])
    ix, tx0 = _cell(gx, 0.5 * (start + stop))
    step = gx[ix + 1] - gx[ix]
    tx0, tx1 = (start - gx[ix]) / step, (stop - gx[ix]) / step
    iy, ty = _cell(gy, y)
    iz, tz = _cell(gz, z)
    hy, hz = gy[iy + 1] - gy[iy], gz[iz + 1] - gz[iz]
    nx, nxy = gx.size, gx.size * gy.size
    flat = dose_gy.ravel()
    corner = (iz * nxy + iy * nx)[span] + ix
    ty, tz = ty[span], tz[span]
    c000, c001 = flat[corner], flat[corner + 1]
    c010, c011 = flat[corner + nx], flat[corner + nx + 1]
    c100, c101 = flat[corner + nxy], flat[corner + nxy + 1]
    c110, c111 = flat[corner + nxy + nx], flat[corner + nxy + nx + 1]
    # Along y on the lower and upper plane, then along z: values at the left and right column.
    l0, l1 = c000 + ty * (c010 - c000), c100 + ty * (c110 - c100)
    r0, r1 = c001 + ty * (c011 - c001), c101 + ty * (c111 - c101)
    left, right = l0 + tz * (l1 - l0), r0 + tz * (r1 - r0)
    middle = 0.5 * (tx0 + tx1)
    slope_z = (l1 - l0) + middle * ((r1 - r0) - (l1 - l0))
    bottom = (c010 - c000) + middle * ((c011 - c001) - (c010 - c000))
    top = (c110 - c100) + middle * ((c111 - c101) - (c110 - c100))
    slope_y = bottom + tz * (top - bottom)
    dy = slope_y * (spans.dy_mm / hy)[span]
    dz = slope_z * (spans.dz_mm[inside] / hz)[span]
    return Pieces(
        left + tx0 * (right - left),
        left + tx1 * (right - left),
        np.sqrt(dy * dy + dz * dz),
        (stop - start) * spans.area_mm2[inside][span],
        0.5 * (start + stop),
        y[span],
        z[span],
    )


class _Histogram:
    """Cumulative distribution of a sum of uniform distributions, exact at the bin edges."""

    def __init__(self, low_gy: float, high_gy: float) -> None:
        self.lowest, self.highest = low_gy, high_gy
        pad = 1e-3 * max(high_gy - low_gy, 1e-6 * max(abs(high_gy), 1.0), 1e-9)
        self.low = low_gy - pad
        self.width = (high_gy + pad - self.low) / _N_BINS
        self.slope = np.zeros(_N_BINS + 2)
        self.offset = np.zeros(_N_BINS + 2)
        self.total = self.moment = 0.0
        self.minimum, self.maximum = np.inf, -np.inf

    def add(self, pieces: Pieces) -> None:
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
        for edge, sign in ((low, 1.0), (high, -1.0)):
            index = np.clip(np.ceil(edge / self.width), 0, _N_BINS + 1).astype(np.intp)
            self.slope += sign * np.bincount(index, weights=slope, minlength=_N_BINS + 2)
            self.offset += sign * np.bincount(index, weights=slope * edge, minlength=_N_BINS + 2)
        self.total += float(weight.sum())
        self.moment += float(np.dot(weight, middle))
        # With their spread across, as in the curve, but never beyond what the samples hold.
        self.minimum = max(min(self.minimum, float((middle - half).min())), self.lowest)
        self.maximum = min(max(self.maximum, float((middle + half).max())), self.highest)

    def dvh(self, total_volume_mm3: float) -> DVH:
        edges = np.arange(_N_BINS + 2, dtype=np.float64) * self.width
        below = edges * np.cumsum(self.slope) - np.cumsum(self.offset)
        above = np.clip(self.total - below, 0.0, self.total)
        above[above < _ROUND_OFF * self.total] = 0.0
        above = np.maximum.accumulate(above[::-1])[::-1]
        above[0], above[-1] = self.total, 0.0
        if self.total <= 0:
            return empty_dvh(total_volume_mm3 / 1000)
        dose = self.low + edges
        keep = slice(max(int(np.searchsorted(-above, -self.total, side="right")) - 1, 0), None)
        top = int(np.argmax(above <= 0)) + 1
        return DVH(
            dose[keep.start : top],
            above[keep.start : top] / 1000,
            total_volume_mm3 / 1000,
            self.minimum,
            self.moment / self.total,
            self.maximum,
        )


def refine_cubic(block: DoseGrid, step_mm: float = _CUBIC_STEP_MM) -> DoseGrid | None:
    """Interpolate a block of dose with cubic splines on a finer grid through the same points.

    Returns None where an axis has fewer than four samples, or where the box is so large that a
    finer grid is not worth its price.
    """
    axes, weights = [], []
    extents = [float(axis[-1] - axis[0]) for axis in block.geometry.axes]
    # Large boxes take a coarser step, as long as it still halves the grid.
    step_mm = max(step_mm, (float(np.prod(extents)) / _CUBIC_MAX_SAMPLES) ** (1 / 3))
    for axis in block.geometry.axes:
        if axis.size < 4 or float(np.diff(axis).max()) < 1.5 * step_mm:
            return None
        factor = int(np.ceil(float(np.diff(axis).max()) / step_mm - 1e-6))
        share = np.arange(factor) / factor
        fine = np.r_[(axis[:-1, None] + share * np.diff(axis)[:, None]).ravel(), axis[-1]]
        axes.append(fine)
        # The spline is linear in the samples: one matrix an axis does all lines at once.
        weights.append(_spline_weights(axis, fine))
    values = np.einsum("ai,ijk->ajk", weights[0], block.values, optimize=True)
    values = np.einsum("bj,ajk->abk", weights[1], values, optimize=True)
    values = np.einsum("ck,abk->abc", weights[2], values, optimize=True)
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
    cell, share = _cell(axis, fine)
    width = h[cell][:, None]
    b = share[:, None]
    a = 1 - b
    samples = np.eye(n)
    weights: FloatArray = (
        a * samples[cell] + b * samples[cell + 1]
        + ((a**3 - a) * bend[cell] + (b**3 - b) * bend[cell + 1]) * width * width / 6
    )  # fmt: skip
    return weights


def hold_caps(spans: Spans, solid: Solid, geometry: GridGeometry) -> Spans:
    """Let end caps just beyond the dose grid take the dose of its outermost plane.

    A cap is a convention: where every contoured plane lies inside the grid and only the half-slice
    beyond the last one sticks out, by no more than half a dose voxel, the structure is covered.
    """
    z = geometry.z_mm
    first, last = solid.plane_range_mm
    if z.size < 2:
        return spans
    if first < z[0] - 1e-3 or last > z[-1] + 1e-3:
        return spans
    reach = 0.5 * max(float(z[1] - z[0]), float(z[-1] - z[-2])) + 1e-3
    if solid.z_range_mm[0] < z[0] - reach or solid.z_range_mm[1] > z[-1] + reach:
        return spans
    held = np.clip(spans.z_mm, z[0], z[-1])
    # Where the dose is held it does not change across the sub-slice.
    return replace(spans, z_mm=held, dz_mm=np.where(held == spans.z_mm, spans.dz_mm, 0.0))


def compute_dvh(
    solid: Solid, dose: DoseGrid, *, uncertainty: bool = True, pitch_mm: float | None = None
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

    Returns
    -------
    DVH
        Of the part inside the grid; its ``total_volume_cc`` is the whole solid.
    """
    lower, upper = solid.bounds_mm
    block = dose.crop(lower, upper, pad=_CUBIC_PAD if uncertainty else 1)
    volume = solid.volume_mm3
    if min(block.geometry.shape) < 2:
        return empty_dvh(volume / 1000)
    pitch = pitch_mm or choose_pitch_mm(volume, float(np.nanmin(dose.geometry.spacing_mm)))
    block = DoseGrid.from_array(block.geometry, block.values)
    main = _histogram(solid, [block], pitch)[0]
    cubic = refine_cubic(block) if uncertainty else None
    if cubic is None:
        return main
    # Both at twice the pitch: what is left between them is the dose grid alone.
    coarse, refined = _histogram(solid, [block, cubic], 2 * pitch)
    ends: Ends = "flat" if solid.closes or solid.ends in ("rounded", "none") else "rounded"
    capped, sliced = (
        _histogram(other, [block], 2 * pitch)[0]
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


def _histogram(solid: Solid, grids: Sequence[DoseGrid], pitch_mm: float) -> list[DVH]:
    """Integrate one solid over several grids of the same dose, with the same scanlines."""
    histograms = [_Histogram(float(g.values.min()), float(g.values.max())) for g in grids]
    for spans in scan(solid, pitch_mm):
        held = hold_caps(spans, solid, grids[0].geometry)
        for grid, histogram in zip(grids, histograms, strict=True):
            histogram.add(cut(held, grid.geometry, grid.values))
    return [h.dvh(solid.volume_mm3) for h in histograms]
