"""The hot loops of the DVH as machine code, where numba is installed and worth its start-up.

The same lines, pieces and histogram as in :mod:`cordgap.dvh.lines` and
:mod:`cordgap.dvh.integrate`, in one loop each; results agree to rounding. Nothing here is needed:
without numba, or where it does not work, numpy does the same.

The functions that numba compiles are plain Python and can be run as such.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cordgap.dvh.lines import TURNS, Spans, strips
from cordgap.dvh.lofts import Lofts, Section, Vertices
from cordgap.dvh.planes import DIRECTIONS
from cordgap.errors import OptionError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
Engine = Literal["auto", "numpy", "compiled"]

# What numba costs before its first result (0.3 s with its cache, 2.5 s without), and what a piece
# costs in numpy: numba is loaded once numpy has spent as much as its start-up.
STARTUP_S = 1.0
NUMPY_S_PER_PIECE = 2.0e-7
# Types that the loops are compiled for, so that the cache is complete after the first use.
_VECTOR, _LINE = "float64[::1]", "Array(float64, 1, 'C', True)"
_INDEX = "Array(intp, 1, 'C', True)"
_STACK = "Array(float64, 3, 'C', True)"
_TABLE = "Array(float64, 2, 'C', True)"
_SPANS = f"float64[:,::1]({_STACK},{_INDEX},{_LINE},{_LINE},{_LINE},{_TABLE},{_TABLE},int64)"
_VERTICES = f"float64[:,:,::1]({_INDEX},{_LINE},{_LINE},{','.join([_TABLE] * 5)})"
_ADD = (
    f"void({','.join([_LINE] * 15)},int64,int64,"
    f"float64,float64,{_VECTOR},{_VECTOR},{_VECTOR})"
)
_numpy_pieces = 0.0


@dataclass(frozen=True)
class Kernels:
    """The compiled loops."""

    vertices: Any
    spans: Any
    add: Any


_kernels: Kernels | None = None
_refused = False


def kernels_for(pieces: float, engine: Engine) -> Kernels | None:
    """Return the compiled loops where they are wanted for that many pieces, None for numpy.

    Raises
    ------
    OptionError
        If ``engine`` is ``compiled`` and numba is absent or does not work.
    """
    global _numpy_pieces
    if engine == "numpy":
        return None
    if engine == "compiled":
        found = _load()
        if found is None:
            raise OptionError(
                "engine 'compiled': numba is not installed or does not work here; install "
                "cordgap[fast], or leave the engine out"
            )
        return found
    if _kernels is not None:
        return _kernels
    _numpy_pieces += pieces
    return _load() if _numpy_pieces * NUMPY_S_PER_PIECE > STARTUP_S else None


def _load() -> Kernels | None:
    global _kernels, _refused
    if _kernels is None and not _refused:
        try:
            _kernels = _compile()
        except Exception as error:
            # An optional accelerator must not break anything: numpy gives the same numbers.
            logging.getLogger(__name__).info("numba cannot be used: %s", error)
            _refused = True
    return _kernels


def _compile() -> Kernels:
    with warnings.catch_warnings():
        # How numba feels about its cache or its threads is no matter of this package.
        warnings.simplefilter("ignore")
        import numba

        made = []
        for function, signature in (
            (loft_vertices, _VERTICES), (spans_of, _SPANS), (add_spans, _ADD),
        ):  # fmt: skip
            how = {"error_model": "numpy", "nogil": True}
            try:
                made.append(numba.njit(signature, cache=True, **how)(function))
            except (RuntimeError, OSError):
                # No folder for the cache can be written: compile anew in each process.
                made.append(numba.njit(signature, **how)(function))
    return Kernels(*made)


def loft_vertices(
    which: IntArray,
    share: FloatArray,
    shaped: FloatArray,
    directions: FloatArray,
    centre0_mm: FloatArray,
    centre1_mm: FloatArray,
    squared0_mm2: FloatArray,
    squared1_mm2: FloatArray,
) -> FloatArray:
    """Vertices (k, n_angles, 2) of cross-sections of lofts: ``vertices_of`` in one loop."""
    m = directions.shape[0]
    out = np.empty((which.size, m, 2))
    for i in range(which.size):
        n = which[i]
        x = centre0_mm[n, 0] + share[i] * (centre1_mm[n, 0] - centre0_mm[n, 0])
        y = centre0_mm[n, 1] + share[i] * (centre1_mm[n, 1] - centre0_mm[n, 1])
        for j in range(m):
            q = squared0_mm2[n, j] + shaped[i] * (squared1_mm2[n, j] - squared0_mm2[n, j])
            radius = np.sqrt(max(q, 0.0))
            out[i, j, 0] = radius * directions[j, 0] + x
            out[i, j, 1] = radius * directions[j, 1] + y
    return out


def spans_of(
    starts: FloatArray,
    after: IntArray,
    z_mm: FloatArray,
    thickness_mm: FloatArray,
    area_mm2: FloatArray,
    middles: FloatArray,
    heights: FloatArray,
    first_index: int,
) -> FloatArray:
    """Cut sub-slices into spans: ``scan_section`` in one loop.

    Returns
    -------
    ndarray of shape (11, n)
        x0, x1, y, z, area, dy, dz, and the leans in y at both ends and in z at both ends.
    """
    k, m = z_mm.size, starts.shape[1]
    shared = starts.shape[0] == 1
    n_lines = middles.shape[1]
    # Count the crossings: edge j of sub-slice i meets the lines from line_of[i, j] to the one of
    # the vertex where it ends.
    line_of = np.empty((k, m), np.int32)
    lows, extents = np.empty(k), np.empty(k)
    total = 0
    for i in range(k):
        s = 0 if shared else i
        low = high = starts[s, 0, 1]
        for j in range(m):
            low, high = min(low, starts[s, j, 1]), max(high, starts[s, j, 1])
        lows[i], extents[i] = low, high - low
        per_extent = extents[i] if extents[i] > 0 else 1.0
        middle = middles[(first_index + i) % TURNS]
        line = 0
        for j in range(m):
            # The line of a vertex is near that of the last one.
            share = (starts[s, j, 1] - low) / per_extent
            while line < n_lines and middle[line] < share:
                line += 1
            while line > 0 and middle[line - 1] >= share:
                line -= 1
            line_of[i, j] = line
        for j in range(m):
            total += abs(line_of[i, after[j]] - line_of[i, j])
    out = np.empty((11, total // 2))
    count = np.empty(n_lines + 1, np.int64)
    room = np.empty(n_lines + 1, np.int64)
    x, lean_y, lean_z = np.empty(total), np.empty(total), np.empty(total)
    done = 0
    for i in range(k):
        turn = (first_index + i) % TURNS
        s = 0 if shared else i
        below, above = max(i - 1, 0), min(i + 1, k - 1)
        rise = z_mm[above] - z_mm[below]
        # Sort crossings by line: count, make room, fill in order of x.
        count[:] = 0
        for j in range(m):
            a, b = line_of[i, j], line_of[i, after[j]]
            for line in range(min(a, b), max(a, b)):
                count[line + 1] += 1
        for line in range(n_lines):
            count[line + 1] += count[line]
        room[:] = count
        for j in range(m):
            a, b = line_of[i, j], line_of[i, after[j]]
            if a == b:
                continue
            x0, y0 = starts[s, j, 0], starts[s, j, 1]
            x1, y1 = starts[s, after[j], 0], starts[s, after[j], 1]
            lean = (x1 - x0) / (y1 - y0)
            up = 0.0
            if not shared and k > 1:
                moved_x = starts[above, j, 0] - starts[below, j, 0]
                moved_y = starts[above, j, 1] - starts[below, j, 1]
                up = (moved_x - moved_y * lean) / rise
            for line in range(min(a, b), max(a, b)):
                at = x0 + (lows[i] + extents[i] * middles[turn, line] - y0) * lean
                slot = room[line]
                room[line] += 1
                while slot > count[line] and x[slot - 1] > at:
                    x[slot], lean_y[slot], lean_z[slot] = (
                        x[slot - 1],
                        lean_y[slot - 1],
                        lean_z[slot - 1],
                    )
                    slot -= 1
                x[slot], lean_y[slot], lean_z[slot] = at, lean, up
        area = 0.0
        for line in range(n_lines):
            for c in range(count[line], count[line + 1], 2):
                area += (x[c + 1] - x[c]) * (extents[i] * heights[turn, line])
        scale = area_mm2[i] / area if area > 0 else 0.0
        for line in range(n_lines):
            height = extents[i] * heights[turn, line]
            for c in range(count[line], count[line + 1], 2):
                width = x[c + 1] - x[c]
                steep_y, steep_z = width / height, width / thickness_mm[i]
                out[0, done] = x[c]
                out[1, done] = x[c + 1]
                out[2, done] = lows[i] + extents[i] * middles[turn, line]
                out[3, done] = z_mm[i]
                out[4, done] = scale * thickness_mm[i] * height
                out[5, done] = height
                out[6, done] = thickness_mm[i]
                out[7, done] = min(max(lean_y[c], -steep_y), steep_y)
                out[8, done] = min(max(lean_y[c + 1], -steep_y), steep_y)
                out[9, done] = min(max(lean_z[c], -steep_z), steep_z)
                out[10, done] = min(max(lean_z[c + 1], -steep_z), steep_z)
                done += 1
    return out


def add_spans(
    x0_mm: FloatArray,
    x1_mm: FloatArray,
    y_mm: FloatArray,
    z_mm: FloatArray,
    area_mm2: FloatArray,
    dy_mm: FloatArray,
    dz_mm: FloatArray,
    lean_y0: FloatArray,
    lean_y1: FloatArray,
    lean_z0: FloatArray,
    lean_z1: FloatArray,
    gx: FloatArray,
    gy: FloatArray,
    gz: FloatArray,
    samples: FloatArray,
    row: int,
    plane: int,
    low_gy: float,
    width_gy: float,
    slope: FloatArray,
    offset: FloatArray,
    sums: FloatArray,
) -> None:
    """Cut spans at the grid columns and add them to a histogram: ``cut`` and ``add`` in one loop.

    ``samples``, ``row`` and ``plane`` are what ``in_one_line`` returns. Added to are ``slope`` and
    ``offset`` (n_bins + 2,) and ``sums``: volume, volume times dose, lowest and highest dose.
    """
    nx, ny, nz = gx.size, gy.size, gz.size
    last_bin = slope.size - 1
    per_bin = 1.0 / width_gy
    per_step = 1.0 / (gx[1:] - gx[:-1])
    ix = iy = iz = 0
    total, moment, lowest, highest = sums[0], sums[1], sums[2], sums[3]
    for s in range(x0_mm.size):
        y, z, x_in, x_out = y_mm[s], z_mm[s], x0_mm[s], x1_mm[s]
        if y < gy[0] or y > gy[ny - 1] or z < gz[0] or z > gz[nz - 1]:
            continue
        if not (x_out > gx[0] and x_in < gx[nx - 1]):
            continue
        x0, x1 = max(x_in, gx[0]), min(x_out, gx[nx - 1])
        # Cells of the span; the last ones are near.
        while iy < ny - 2 and gy[iy + 1] <= y:
            iy += 1
        while iy > 0 and gy[iy] > y:
            iy -= 1
        while iz < nz - 2 and gz[iz + 1] <= z:
            iz += 1
        while iz > 0 and gz[iz] > z:
            iz -= 1
        while ix < nx - 2 and gx[ix + 1] <= x0:
            ix += 1
        while ix > 0 and gx[ix] > x0:
            ix -= 1
        hy, hz = gy[iy + 1] - gy[iy], gz[iz + 1] - gz[iz]
        ty, tz = (y - gy[iy]) / hy, (z - gz[iz]) / hz
        share_y, share_z = dy_mm[s] / hy, dz_mm[s] / hz
        ly0, lz0 = lean_y0[s] * dy_mm[s], lean_z0[s] * dz_mm[s]
        ly1, lz1 = lean_y1[s] * dy_mm[s] - ly0, lean_z1[s] * dz_mm[s] - lz0
        per_length = 1.0 / max(x_out - x_in, 1e-12)
        node = over_y = over_z = 0.0
        column = ix
        first = True
        while True:
            # The node at this column: dose, and what it changes across the strip in y and z.
            at = iz * plane + iy * row + column
            c00, c01 = samples[at], samples[at + row]
            c10, c11 = samples[at + plane], samples[at + plane + row]
            lower, upper = c01 - c00, c11 - c10
            rise = (c10 - c00) + ty * (upper - lower)
            next_node = (c00 + ty * lower) + tz * rise
            next_y = (lower + tz * (upper - lower)) * share_y
            next_z = rise * share_z
            if not first:
                left, right = gx[column - 1], gx[column]
                start, stop = max(x0, left), min(x1, right)
                inverse = per_step[column - 1]
                t0, t1 = (start - left) * inverse, (stop - left) * inverse
                middle = 0.5 * (t0 + t1)
                rate = next_node - node
                share = (0.5 * (start + stop) - x_in) * per_length
                lean = rate * inverse
                dy = over_y + middle * (next_y - over_y) + lean * (ly0 + share * ly1)
                dz = over_z + middle * (next_z - over_z) + lean * (lz0 + share * lz1)
                along = (t1 - t0) * rate
                weight = (stop - start) * area_mm2[s]
                centre = node + middle * rate
                half = 0.5 * np.sqrt(along * along + (dy * dy + dz * dz))
                half = max(half, 0.01 * width_gy)
                total += weight
                moment += weight * centre
                lowest, highest = min(lowest, centre - half), max(highest, centre + half)
                density = 0.5 * weight / half
                edge = centre - half - low_gy
                i = int(min(max(np.ceil(edge * per_bin), 0.0), last_bin))
                slope[i] += density
                offset[i] += density * edge
                edge = centre + half - low_gy
                i = int(min(max(np.ceil(edge * per_bin), 0.0), last_bin))
                slope[i] -= density
                offset[i] -= density * edge
                if column >= nx - 1 or right >= x1:
                    break
            first = False
            node, over_y, over_z = next_node, next_y, next_z
            column += 1
    sums[0], sums[1], sums[2], sums[3] = total, moment, lowest, highest


def scan_section(section: Section, pitch_mm: float, first_index: int, kernels: Kernels) -> Spans:
    """Cut sub-slices into spans, compiled; see :func:`cordgap.dvh.lines.scan_section`."""
    middles, heights = strips(float(np.ptp(section.starts[..., 1], axis=1).max()), pitch_mm)
    rows = kernels.spans(
        np.ascontiguousarray(section.starts),
        section.after,
        section.z_mm,
        section.thickness_mm,
        section.area_mm2,
        middles,
        heights,
        first_index,
    )
    return Spans(*rows)


def vertices_by(kernels: Kernels) -> Vertices:
    """Return what makes the vertices of lofts, compiled; see ``vertices_of``."""

    def vertices(
        lofts: Lofts, which: IntArray, share: FloatArray, shaped: FloatArray
    ) -> FloatArray:
        made: FloatArray = kernels.vertices(
            which, share, shaped, DIRECTIONS, lofts.centre0_mm, lofts.centre1_mm,
            lofts.squared0_mm2, lofts.squared1_mm2,
        )  # fmt: skip
        return made

    return vertices
