"""Solid -> lines, and lines x dose -> pieces: the geometry of the quadrature.

A sub-slice of a solid is cut into strips along y, evenly spaced in the angle whose cosine is y:
they begin and end with the outline, are thin there and a pitch high in between, so that a round
outline is met without error, and none reaches beyond it. Sub-slices and strips also end at the
planes and rows of the dose grid, where the trilinear dose has its kinks. A *span* is the part
inside the solid of the scanline in the middle of a strip, and stands for the strip. Where the
surface leans, the strip leans with it, so that the ends of spans follow the surface and a dose that
does not change along the surface is not spread there. A *piece* is the part of a span between two
columns of the dose grid, where the trilinear dose is linear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.dvh.compiled import Kernels
from cordgap.dvh.sections import Section
from cordgap.dvh.solid import Solid

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# Edges and crossings handled at once, for the same reason as _VERTICES_AT_ONCE of a solid.
_AT_ONCE = 60_000
# Strips of the smallest outline.
LEAST_STRIPS = 6
# Even strips of successive sub-slices are shifted by this share of the pitch: nothing repeats.
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, eq=False)
class Spans:
    """Pieces of scanlines inside a solid.

    ``x0_mm`` to ``x1_mm`` at ``y_mm``, ``z_mm``; ``area_mm2`` is the cross-section (y times z)
    that each span stands for, ``dy_mm`` and ``dz_mm`` its extents. ``lean_y0`` and ``lean_y1`` say
    by how much the two ends move in x per mm of y, ``lean_z0`` and ``lean_z1`` per mm of z.
    """

    x0_mm: FloatArray
    x1_mm: FloatArray
    y_mm: FloatArray
    z_mm: FloatArray
    area_mm2: FloatArray
    dy_mm: FloatArray
    dz_mm: FloatArray
    lean_y0: FloatArray
    lean_y1: FloatArray
    lean_z0: FloatArray
    lean_z1: FloatArray


def joined(parts: Sequence[Spans]) -> Spans:
    """Spans of several sections as one."""
    if len(parts) == 1:
        return parts[0]
    return Spans(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Spans)))


def sections(
    solid: Solid,
    pitch_mm: float,
    height_mm: float,
    planes_mm: FloatArray | None = None,
    kernels: Kernels | None = None,
) -> Iterator[Section]:
    """Cut a solid into sub-slices, a bounded number at a time; none crosses one of the planes."""
    for section in solid.sections(height_mm, planes_mm, kernels):
        yield from _parts(section, pitch_mm)


def scan(solid: Solid, pitch_mm: float) -> Iterator[Spans]:
    """Cut a solid into spans of even strips, a bounded number at a time: cells of about one size.

    The strips are shifted from sub-slice to sub-slice, so that cells that are taken or left as a
    whole do not add up their errors.
    """
    count = 0
    for section in sections(solid, pitch_mm, pitch_mm):
        apart = section.apart()
        yield _spans(apart, *even_strips(*apart.along_y(), pitch_mm, count), None)
        count += apart.z_mm.size


def _parts(section: Section, pitch_mm: float) -> Iterator[Section]:
    # A first and a last line, and two crossings of each between; contours of more rings have more.
    met = section.sizes + 2.0 / pitch_mm * section.along_y()[1]
    k = section.z_mm.size
    # The lean of the surface is read off neighbouring sub-slices: take some together.
    step = max(8, int(_AT_ONCE / float(met.max())))
    if step >= k:
        yield section
        return
    for begin in range(0, k, step):
        yield section.part(begin, min(begin + step, k))


def scan_section(
    section: Section,
    pitch_mm: float,
    rows_mm: FloatArray | None = None,
    kernels: Kernels | None = None,
) -> Spans:
    """Cut sub-slices into spans.

    Parameters
    ----------
    section : Section
    pitch_mm : float
        Height of the strips where they are highest.
    rows_mm : ndarray of shape (n,), optional
        Rows at which strips end, ascending.
    kernels : Kernels, optional
        Compiled loops to use.

    Returns
    -------
    Spans
        Scaled so that each sub-slice has its exact area: one occupancy for volume and for dose.
    """
    return _spans(section, *strips(section, pitch_mm, rows_mm, kernels), kernels)


def _spans(
    section: Section,
    line_y: FloatArray,
    heights: FloatArray,
    weights: FloatArray,
    first_line: IntArray,
    kernels: Kernels | None,
) -> Spans:
    """Cut sub-slices at lines that are given for each outline, see :func:`strips`."""
    k = section.z_mm.size
    if kernels is not None:
        return Spans(
            *kernels.spans_of(
                section.points_mm, section.after, section.first, section.outline, section.rising,
                section.z_mm, section.thickness_mm, section.area_mm2, line_y, heights, weights,
                first_line,
            )
        )  # fmt: skip
    # Crossings: each edge meets the lines from its lower to its upper end. One outline after the
    # other, on a line of its own.
    xs, ys = np.ascontiguousarray(section.points_mm.T)
    low, extent = section.along_y()
    apart = (float(extent.max()) + 1.0) * np.arange(low.size) - low
    which_line = np.repeat(np.arange(low.size), np.diff(first_line))
    which_vertex = np.repeat(np.arange(low.size), section.sizes)
    line_a = np.searchsorted(line_y + apart[which_line], ys + apart[which_vertex])
    line_b = line_a[section.after]
    # Each sub-slice has the edges of its outline.
    size = section.sizes[section.outline]
    before = np.cumsum(size) - size
    start = np.arange(size.sum()) + np.repeat(section.first[section.outline] - before, size)
    which = np.repeat(np.arange(k), size)
    n_lines = np.abs(line_b - line_a)[start]
    edge = np.repeat(np.arange(start.size), n_lines)
    rank = np.arange(edge.size) - np.repeat(np.cumsum(n_lines) - n_lines, n_lines)
    which, start = which[edge], start[edge]
    to = section.after[start]
    line = np.minimum(line_a, line_b)[start] + rank
    y = line_y[line]
    lean_y = (xs[to] - xs[start]) / (ys[to] - ys[start])
    x = xs[start] + (y - ys[start]) * lean_y
    if section.rising and k > 1:
        # The start of an edge moves from the sub-slice below to the one above.
        below, above = np.maximum(which - 1, 0), np.minimum(which + 1, k - 1)
        at = start - section.first[which]
        lower, upper = section.first[below] + at, section.first[above] + at
        moved_x, moved_y = xs[upper] - xs[lower], ys[upper] - ys[lower]
        rise = section.z_mm[above] - section.z_mm[below]
        lean_z = (moved_x - moved_y * lean_y) / rise
    else:
        lean_z = np.zeros(x.size)
    # Sort by sub-slice, line and x at once: one number that orders all three.
    left, width = (float(x.min()), float(np.ptp(x)) + 1.0) if x.size else (0.0, 1.0)
    of_each = np.diff(first_line)[section.outline]
    key = line + (np.cumsum(of_each) - of_each - first_line[section.outline])[which]
    order = np.argsort(key * width + (x - left), kind="stable")
    enters, leaves = order[0::2], order[1::2]
    x_in, x_out, which = x[enters], x[leaves], which[enters]
    length = x_out - x_in
    height, weight = heights[line[enters]], weights[line[enters]]
    total = np.bincount(which, weights=length * weight, minlength=k)
    # Scale each sub-slice to its exact area.
    scale = np.divide(section.area_mm2, total, out=np.zeros(k), where=total > 0)
    thickness = section.thickness_mm[which]
    # A strip cannot lean by more than its own length.
    steepest_y, steepest_z = length / height, length / thickness
    return Spans(
        x_in,
        x_out,
        y[enters],
        section.z_mm[which],
        (scale * section.thickness_mm)[which] * weight,
        height,
        thickness,
        _clip(lean_y[enters], steepest_y),
        _clip(lean_y[leaves], steepest_y),
        _clip(lean_z[enters], steepest_z),
        _clip(lean_z[leaves], steepest_z),
    )


def strips(
    section: Section,
    pitch_mm: float,
    rows_mm: FloatArray | None,
    kernels: Kernels | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    """Cut the outlines of a section into strips along y.

    Parameters
    ----------
    section : Section
    pitch_mm : float
        Height of the strips where they are highest.
    rows_mm : ndarray, optional
        Where strips must end, ascending.

    Returns
    -------
    middles, heights, weights : ndarray of shape (n,)
        Scanlines and heights of the strips around them, of one outline after the other; the weight
        times the length of the scanline is the area of the strip, where the outline is an ellipse.
    first : ndarray of shape (o + 1,)
        Where those of each outline begin.
    """
    if kernels is not None:
        rows = np.empty(0) if rows_mm is None else rows_mm
        found, first = kernels.strips_of(
            section.points_mm, section.first, float(LEAST_STRIPS), pitch_mm, rows
        )
        return *found, first
    low_mm, extent_mm = section.along_y()
    wanted = np.maximum(LEAST_STRIPS, (0.5 * np.pi / pitch_mm) * extent_mm)
    ends = np.zeros((low_mm.size, 2))
    if rows_mm is not None:
        inside = (rows_mm > low_mm.min()) & (rows_mm < (low_mm + extent_mm).max())
        ends = np.zeros((low_mm.size, 2 + np.count_nonzero(inside)))
        share = (rows_mm[inside] - low_mm[:, None]) / np.where(extent_mm > 0, extent_mm, 1.0)[
            :, None
        ]
        # Half of the angle, so that the first strips are not lost in 1 - cos.
        ends[:, 1:-1] = np.arcsin(np.sqrt(np.clip(share, 0.0, 1.0)))
    ends[:, -1] = 0.5 * np.pi
    between = np.diff(ends, axis=1)
    n = np.ceil(between * (wanted * (2 / np.pi))[:, None] - 1e-9).astype(np.intp)
    first = np.r_[0, np.cumsum(n.sum(axis=1))]
    n = n.ravel()
    step = np.divide(between.ravel(), n, out=np.zeros(n.size), where=n > 0)
    interval = np.repeat(np.arange(n.size), n)
    rank = np.arange(interval.size) - np.repeat(np.cumsum(n) - n, n)
    step = step[interval]
    start = ends[:, :-1].ravel()[interval] + rank * step
    stop = start + step
    share0, share1 = np.sin(start) ** 2, np.sin(stop) ** 2
    middle, height = 0.5 * (share0 + share1), share1 - share0
    # Of a circle of diameter 1, whose chord at share s is 2 sqrt(s (1 - s)).
    chord0, chord, chord1 = (2 * np.sqrt(s * (1 - s)) for s in (share0, middle, share1))
    moment = chord0 * (1 - 2 * share0) - chord1 * (1 - 2 * share1)
    round_area = 0.5 * step + 0.25 * moment
    which = interval // between.shape[1]
    low, extent = low_mm[which], extent_mm[which]
    return low + extent * middle, extent * height, extent * (round_area / chord), first


def even_strips(
    low_mm: FloatArray, extent_mm: FloatArray, pitch_mm: float, first_index: int
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    """Cut extents along y at lines a pitch apart, shifted from one extent to the next.

    ``first_index`` is the running number of the first extent. Returns what ``strips`` returns.
    """
    phase = ((first_index + np.arange(low_mm.size)) * _GOLDEN) % 1.0
    from_mm = low_mm - float(low_mm.min())
    line0 = np.ceil(from_mm / pitch_mm - phase)
    n = (np.ceil((from_mm + extent_mm) / pitch_mm - phase) - line0).astype(np.intp)
    first = np.r_[0, np.cumsum(n)]
    which = np.repeat(np.arange(n.size), n)
    line = line0[which] + np.arange(which.size) - first[which]
    middles = float(low_mm.min()) + (line + phase[which]) * pitch_mm
    heights = np.full(middles.size, pitch_mm)
    return middles, heights, heights, first


def _clip(values: FloatArray, largest: FloatArray) -> FloatArray:
    return np.minimum(np.maximum(values, -largest), largest)


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


def cell(axis: FloatArray, positions: FloatArray) -> tuple[IntArray, FloatArray]:
    """Index of the cell that holds each position, and the share of the way through it."""
    i = np.clip(np.searchsorted(axis, positions, side="right") - 1, 0, axis.size - 2)
    return i, (positions - axis[i]) / (axis[i + 1] - axis[i])


def dose_at(block: DoseGrid, x_mm: FloatArray, y_mm: FloatArray, z_mm: FloatArray) -> FloatArray:
    """Trilinear dose in Gy at points; beyond the block that of its outermost cell is held.

    Parameters
    ----------
    block : DoseGrid
        At least two samples along each axis.
    x_mm, y_mm, z_mm : ndarray of shape (n,)
    """
    axes = block.geometry.axes
    held = (np.clip(v, a[0], a[-1]) for v, a in zip((z_mm, y_mm, x_mm), axes, strict=True))
    (iz, tz), (iy, ty), (ix, tx) = (cell(a, v) for a, v in zip(axes, held, strict=True))
    flat, row, plane = in_one_line(block.values)
    corner = iz * plane + iy * row + ix
    gy: FloatArray = np.zeros(corner.size)
    for k, wz in ((0, 1 - tz), (plane, tz)):
        for j, wy in ((0, 1 - ty), (row, ty)):
            low, high = flat[corner + (k + j)], flat[corner + (k + j + 1)]
            gy += wz * wy * (low + tx * (high - low))
    return gy


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
    if np.isfinite(max_length_mm):
        geometry, dose_gy = _finer_columns(geometry, dose_gy, max_length_mm)
    gx, gy, gz = geometry.x_mm, geometry.y_mm, geometry.z_mm
    inside = np.flatnonzero(
        (spans.y_mm >= gy[0]) & (spans.y_mm <= gy[-1])
        & (spans.z_mm >= gz[0]) & (spans.z_mm <= gz[-1])
        & (spans.x1_mm > gx[0]) & (spans.x0_mm < gx[-1])
    )  # fmt: skip
    y, z = spans.y_mm[inside], spans.z_mm[inside]
    x_in, x_out = spans.x0_mm[inside], spans.x1_mm[inside]
    x0, x1 = np.maximum(x_in, gx[0]), np.minimum(x_out, gx[-1])
    first, _ = cell(gx, x0)
    last = np.clip(np.searchsorted(gx, x1, side="left") - 1, first, gx.size - 2)
    iy, ty = cell(gy, y)
    iz, tz = cell(gz, z)
    # Nodes: the columns that a span meets, and the ones before and behind it. The dose there, and
    # what it changes across the strip in y and in z.
    n = last - first + 2
    span = np.repeat(np.arange(n.size), n)
    ends = np.cumsum(n)
    column = np.arange(span.size) + (first - (ends - n))[span]
    flat, row, plane = in_one_line(dose_gy)
    corner = (iz * plane + iy * row)[span] + column
    c00, c01 = flat[corner], flat[corner + row]
    c10, c11 = flat[corner + plane], flat[corner + plane + row]
    lower, upper = c01 - c00, c11 - c10
    ty, tz = ty[span], tz[span]
    low, rise = c00 + ty * lower, (c10 - c00) + ty * (upper - lower)
    node = low + tz * rise
    over_y = lower + tz * (upper - lower)
    dy_mm, dz_mm = spans.dy_mm[inside], spans.dz_mm[inside]
    over_y *= (dy_mm / (gy[iy + 1] - gy[iy]))[span]
    rise *= (dz_mm / (gz[iz + 1] - gz[iz]))[span]
    # Pieces lie between two nodes of a span.
    begins = np.ones(span.size, dtype=bool)
    begins[ends - 1] = False
    a = np.flatnonzero(begins)
    b = a + 1
    span, column = span[a], column[a]
    left = gx[column]
    start, stop = np.maximum(x0[span], left), np.minimum(x1[span], gx[column + 1])
    step = gx[column + 1] - left
    t0, t1 = (start - left) / step, (stop - left) / step
    middle = 0.5 * (t0 + t1)
    along = node[b] - node[a]
    # Strips lean with the surface at both ends of the span, and evenly between them.
    x = 0.5 * (start + stop)
    share = (x - x_in[span]) / np.maximum(x_out - x_in, 1e-12)[span]
    slope = along / step
    ly0, lz0 = spans.lean_y0[inside] * dy_mm, spans.lean_z0[inside] * dz_mm
    ly1, lz1 = spans.lean_y1[inside] * dy_mm - ly0, spans.lean_z1[inside] * dz_mm - lz0
    dy = over_y[a] + middle * (over_y[b] - over_y[a]) + slope * (ly0[span] + share * ly1[span])
    dz = rise[a] + middle * (rise[b] - rise[a]) + slope * (lz0[span] + share * lz1[span])
    return Pieces(
        node[a] + t0 * along,
        node[a] + t1 * along,
        np.sqrt(dy * dy + dz * dz),
        (stop - start) * spans.area_mm2[inside][span],
        x,
        y[span],
        z[span],
    )


def in_one_line(block: FloatArray) -> tuple[FloatArray, int, int]:
    """Samples (nz, ny, nx) as one line of memory, and how far apart rows and planes lie in it.

    A block cut out of a larger array is not copied.
    """
    plane, row, sample = block.strides
    if sample != block.itemsize or row < 0 or plane < 0 or row % sample or plane % sample:
        block = np.ascontiguousarray(block)
        plane, row, sample = block.strides
    last = sum((n - 1) * step for n, step in zip(block.shape, block.strides, strict=True))
    flat = as_strided(block, (last // sample + 1,), (sample,), writeable=False)
    return flat, row // sample, plane // sample


def _finer_columns(
    geometry: GridGeometry, dose_gy: FloatArray, max_length_mm: float
) -> tuple[GridGeometry, FloatArray]:
    """Add columns to a block, with the dose that lies on the line between two."""
    gx = geometry.x_mm
    n = np.maximum(1, np.ceil(np.diff(gx) / max_length_mm)).astype(np.intp)
    if (n == 1).all():
        return geometry, dose_gy
    i = np.repeat(np.arange(n.size), n)
    share = (np.arange(i.size) - np.repeat(np.cumsum(n) - n, n)) / n[i]
    values = dose_gy[:, :, i] + share * (dose_gy[:, :, i + 1] - dose_gy[:, :, i])
    finer = GridGeometry(
        np.r_[gx[i] + share * np.diff(gx)[i], gx[-1]], geometry.y_mm, geometry.z_mm
    )
    return finer, np.concatenate([values, dose_gy[:, :, -1:]], axis=2)
