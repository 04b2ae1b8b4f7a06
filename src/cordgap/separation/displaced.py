"""Near-maximum dose of a structure that moves through a dose: many displacements, fast.

A scenario moves every point p to R (p + g o) + b: a rotation R, a shift b, and growth by g along
the outward field o. Points are kept in small clusters; from the dose at the middle of a
cluster and the steepest dose near it follows what its points can get at most and at least, so that
most clusters need no look at their points. Nothing is approximated by that: the near-maximum is the
one that all points would give. The same in numpy and, where numba is installed, as machine code.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import DoseGrid
from cordgap.dvh.compiled import Engine
from cordgap.dvh.lines import cell
from cordgap.errors import OptionError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Edge of a cluster: smaller ones are bounded closer, and there are more of them.
CLUSTER_MM = 1.6
# Shares of round-off: a bound must not fall short by the last digit.
_SLACK_GY = 1e-9


@dataclass(frozen=True, eq=False)
class Points:
    """Points of a structure in clusters.

    ``points_mm`` and ``outward`` have shape (n, 3), ``volume_mm3`` (n,); cluster j holds the points
    from ``start[j]`` to ``start[j + 1]``, all within ``radius_mm[j]`` of ``centre_mm[j]``; their
    outward vectors differ from ``centre_outward[j]`` by at most ``spread[j]``.
    """

    points_mm: FloatArray
    outward: FloatArray
    volume_mm3: FloatArray
    start: IntArray
    centre_mm: FloatArray
    centre_outward: FloatArray
    radius_mm: FloatArray
    spread: FloatArray

    @property
    def cluster_mm3(self) -> FloatArray:
        """Volume of each cluster."""
        return np.asarray(np.add.reduceat(self.volume_mm3, self.start[:-1]), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Moves:
    """Displacements of n scenarios: ``rotation`` (n, 3, 3), ``shift_mm`` (n, 3), ``growth_mm`` n.

    A point p with outward vector o goes to ``rotation @ (p + growth * o) + shift``.
    """

    rotation: FloatArray
    shift_mm: FloatArray
    growth_mm: FloatArray

    def apply(self, k: int, points: FloatArray, outward: FloatArray) -> FloatArray:
        """Return where points (n, 3) are in scenario ``k``."""
        turned = (points + self.growth_mm[k] * outward) @ self.rotation[k].T
        return np.asarray(turned + self.shift_mm[k], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class SteepDose:
    """A block of dose with the steepest slope that trilinear dose has around each of its cells."""

    x_mm: FloatArray
    y_mm: FloatArray
    z_mm: FloatArray
    dose_gy: FloatArray
    steepest_gy_per_mm: FloatArray


def cluster_points(
    points_mm: FloatArray, outward: FloatArray, volume_mm3: FloatArray, edge_mm: float = CLUSTER_MM
) -> Points:
    """Sort points (n, 3) into clusters: cubes of an edge of ``edge_mm``."""
    box = np.floor((points_mm - points_mm.min(axis=0)) / edge_mm).astype(np.int64)
    count = box.max(axis=0) + 1
    key = (box[:, 2] * count[1] + box[:, 1]) * count[0] + box[:, 0]
    order = np.argsort(key, kind="stable")
    key = key[order]
    points, out = np.ascontiguousarray(points_mm[order]), np.ascontiguousarray(outward[order])
    start = np.r_[0, np.flatnonzero(np.diff(key)) + 1, key.size].astype(np.int64)
    size = np.diff(start)
    which = np.repeat(np.arange(size.size), size)
    centre = np.add.reduceat(points, start[:-1]) / size[:, None]
    middle = np.add.reduceat(out, start[:-1]) / size[:, None]
    away = np.linalg.norm(points - centre[which], axis=1)
    aside = np.linalg.norm(out - middle[which], axis=1)
    return Points(
        points, out, np.ascontiguousarray(volume_mm3[order]), start, centre, middle,
        np.maximum.reduceat(away, start[:-1]), np.maximum.reduceat(aside, start[:-1]),
    )  # fmt: skip


def steep_dose(dose: DoseGrid, points: Points, moves: Moves) -> SteepDose:
    """Crop a dose to where the points go, and bound its slope around each cell.

    Outside the grid the dose of its edge is held; whoever calls sees to it that it does not matter.
    """
    from scipy.ndimage import maximum_filter

    lower, upper = reach_mm(points, moves)
    block = dose.crop(lower, upper, pad=2)
    axes = block.geometry.axes
    values = np.ascontiguousarray(block.values)
    squared = np.zeros([n - 1 for n in values.shape])
    for axis, positions in enumerate(axes):
        step = np.diff(positions).reshape([-1 if i == axis else 1 for i in range(3)])
        rise = np.abs(np.diff(values, axis=axis)) / step
        for other in range(3):
            if other != axis:
                first = [slice(None)] * 3
                second = list(first)
                first[other], second[other] = slice(None, -1), slice(1, None)
                rise = np.maximum(rise[tuple(first)], rise[tuple(second)])
        squared += rise * rise
    ball = float((points.radius_mm + np.abs(moves.growth_mm).max() * points.spread).max())
    size = [2 * int(np.ceil(ball / float(np.diff(a).min()))) + 1 for a in axes]
    steepest = maximum_filter(np.sqrt(squared), size=size, mode="nearest")
    z, y, x = axes
    return SteepDose(x, y, z, values, np.ascontiguousarray(steepest))


def reach_mm(points: Points, moves: Moves) -> tuple[FloatArray, FloatArray]:
    """Box (lower, upper) that holds every point in every scenario."""
    lower, upper = points.points_mm.min(axis=0), points.points_mm.max(axis=0)
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    box = lower + corners * (upper - lower)
    moved = np.einsum("kij,nj->kni", moves.rotation, box) + moves.shift_mm[:, None]
    longest = float(np.linalg.norm(points.outward, axis=1).max())
    grown = float(np.abs(moves.growth_mm).max()) * longest
    return moved.min(axis=(0, 1)) - grown, moved.max(axis=(0, 1)) + grown


def near_maximum_gy(
    points: Points,
    moves: Moves,
    dose: SteepDose,
    volume_mm3: FloatArray,
    *,
    engine: Engine = "auto",
    prune: bool = True,
) -> FloatArray:
    """Dose that the hottest ``volume_mm3[k]`` of the structure gets at least, in each scenario.

    Parameters
    ----------
    points, moves, dose
        The structure, its n displacements, and the dose around them.
    volume_mm3 : ndarray of shape (n,)
        Volume of the hot end, less than that of the structure.
    engine : {"auto", "numpy", "compiled"}
        ``auto`` compiles where numba is installed and there are many points; the numbers are the
        same to rounding.
    prune : bool
        Whether clusters that cannot matter are left out; for tests and benchmarks.

    Returns
    -------
    ndarray of shape (n,)
        In Gy.

    Raises
    ------
    OptionError
        If ``engine`` is ``compiled`` and numba is absent.
    """
    kernel = _kernel(engine, len(points.points_mm) * len(moves.growth_mm))
    if kernel is None:
        found = [
            _one(points, moves, dose, float(volume_mm3[k]), k, prune=prune)
            for k in range(len(moves.growth_mm))
        ]
        return np.array(found)
    result: FloatArray = kernel(
        points.points_mm, points.outward, points.volume_mm3, points.start, points.centre_mm,
        points.centre_outward, points.radius_mm, points.spread, points.cluster_mm3,
        moves.rotation, moves.shift_mm, moves.growth_mm, np.ascontiguousarray(volume_mm3),
        dose.x_mm, dose.y_mm, dose.z_mm, dose.dose_gy, dose.steepest_gy_per_mm, prune,
    )  # fmt: skip
    return result


def dose_held_gy(
    dose: SteepDose, at: FloatArray
) -> tuple[FloatArray, tuple[NDArray[np.intp], ...]]:
    """Trilinear dose at points (n, 3), the edge held outside, and the cell of each point."""
    cells, shares = [], []
    for axis, values in ((dose.x_mm, at[:, 0]), (dose.y_mm, at[:, 1]), (dose.z_mm, at[:, 2])):
        i, t = cell(axis, np.clip(values, axis[0], axis[-1]))
        cells.append(i)
        shares.append(t)
    (i, j, k), (tx, ty, tz) = cells, shares
    _, ny, nx = dose.dose_gy.shape
    flat = dose.dose_gy.ravel()
    first = (k * ny + j) * nx + i
    planes = []
    for up in (0, ny * nx):
        rows = []
        for over in (0, nx):
            a = flat[first + (up + over)]
            rows.append(a + tx * (flat[first + (up + over + 1)] - a))
        planes.append(rows[0] + ty * (rows[1] - rows[0]))
    return planes[0] + tz * (planes[1] - planes[0]), (k, j, i)


def _one(
    points: Points, moves: Moves, dose: SteepDose, volume_mm3: float, k: int, *, prune: bool
) -> float:
    """Near-maximum of one scenario, in numpy."""

    def reached(gy: FloatArray, mm3: FloatArray) -> float:
        """Value at which the volume of all that is hotter reaches what is wanted."""
        order = np.argsort(-gy)
        at = int(np.searchsorted(np.cumsum(mm3[order]), volume_mm3))
        return float(gy[order[min(at, order.size - 1)]])

    def of(clusters: NDArray[np.bool_], floor_gy: float) -> float:
        """Near-maximum of the points of some clusters, among those above a floor.

        A point that is the floor itself may come out a rounding below it: there is slack for that.
        """
        chosen = np.repeat(clusters, np.diff(points.start))
        at = moves.apply(k, points.points_mm[chosen], points.outward[chosen])
        gy, _ = dose_held_gy(dose, at)
        hot = gy >= floor_gy - _SLACK_GY
        return reached(gy[hot], points.volume_mm3[chosen][hot])

    if not prune:
        return of(np.ones(points.radius_mm.size, dtype=bool), -np.inf)
    middle, (kz, ky, kx) = dose_held_gy(
        dose, moves.apply(k, points.centre_mm, points.centre_outward)
    )
    ball = points.radius_mm + abs(moves.growth_mm[k]) * points.spread
    slack = dose.steepest_gy_per_mm[kz, ky, kx] * ball + _SLACK_GY
    floor = reached(middle - slack, points.cluster_mm3)
    floor = of(middle - slack >= floor, floor)
    return of(middle + slack >= floor, floor)


_compiled: Any = None
_refused = False
# Fewer samples than this are done in numpy before numba has started.
_WORTH_COMPILING = 20_000_000


def _kernel(engine: Engine, samples: int) -> Any:
    global _compiled, _refused
    if engine == "numpy" or (engine == "auto" and samples < _WORTH_COMPILING):
        return None
    if _compiled is None and not _refused:
        try:
            with warnings.catch_warnings():
                # How numba feels about its cache is no matter of this package.
                warnings.simplefilter("ignore")
                _compiled = _compile()
        except Exception as error:
            # An optional accelerator must not break anything: numpy gives the same numbers.
            logging.getLogger(__name__).info("numba cannot be used: %s", error)
            _refused = True
    if _compiled is None and engine == "compiled":
        raise OptionError(
            "engine 'compiled': numba is not installed or does not work here; install "
            "cordgap[fast], or leave the engine out"
        )
    return _compiled


def _compile() -> Any:
    import numba

    how: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    try:
        return numba.njit(_NEAR_MAXIMA, cache=True, **how)(near_maxima)
    except (RuntimeError, OSError):
        # No folder for the cache can be written: compile anew in each process.
        return numba.njit(_NEAR_MAXIMA, **how)(near_maxima)


# Types that the loop is compiled for, so that the cache is complete after the first use.
_LINE, _TABLE = "Array(float64, 1, 'C', True)", "Array(float64, 2, 'C', True)"
_BLOCK, _INDEX = "Array(float64, 3, 'C', True)", "Array(int64, 1, 'C', True)"
_NEAR_MAXIMA = (
    f"float64[::1]({_TABLE},{_TABLE},{_LINE},{_INDEX},{_TABLE},{_TABLE},{_LINE},{_LINE},{_LINE},"
    f"{_BLOCK},{_TABLE},{_LINE},{_LINE},{_LINE},{_LINE},{_LINE},{_BLOCK},{_BLOCK},boolean)"
)


def near_maxima(
    points: FloatArray,
    outward: FloatArray,
    volume: FloatArray,
    start: IntArray,
    centre: FloatArray,
    centre_outward: FloatArray,
    radius: FloatArray,
    spread: FloatArray,
    cluster_mm3: FloatArray,
    rotation: FloatArray,
    shift: FloatArray,
    growth: FloatArray,
    wanted_mm3: FloatArray,
    gx: FloatArray,
    gy: FloatArray,
    gz: FloatArray,
    dose: FloatArray,
    steepest: FloatArray,
    prune: bool,
) -> FloatArray:
    """Near-maximum of every scenario in one loop; what :func:`near_maximum_gy` does in numpy.

    Three passes a scenario: over the middles of the clusters, which gives a dose that the hot end
    reaches in any case; over the points of the clusters that are above it for sure, which gives a
    higher one; over the points of the clusters that may reach that.
    """
    m, nx, ny, nz = radius.size, gx.size, gy.size, gz.size
    out = np.empty(growth.size)
    value, weight = np.empty(volume.size + m), np.empty(volume.size + m)
    least, most = np.empty(m), np.empty(m)
    per_x, per_y, per_z = 1.0 / np.diff(gx), 1.0 / np.diff(gy), 1.0 / np.diff(gz)
    # Where each axis is, from bins as wide as its smallest step: no search, no branch.
    bins_x, bins_y, bins_z = per_x.max(), per_y.max(), per_z.max()
    at_x = gx[0] + np.arange(int((gx[nx - 1] - gx[0]) * bins_x) + 2) / bins_x
    at_y = gy[0] + np.arange(int((gy[ny - 1] - gy[0]) * bins_y) + 2) / bins_y
    at_z = gz[0] + np.arange(int((gz[nz - 1] - gz[0]) * bins_z) + 2) / bins_z
    bin_x = np.minimum(np.maximum(np.searchsorted(gx, at_x - 1e-9, "right") - 1, 0), nx - 2)
    bin_y = np.minimum(np.maximum(np.searchsorted(gy, at_y - 1e-9, "right") - 1, 0), ny - 2)
    bin_z = np.minimum(np.maximum(np.searchsorted(gz, at_z - 1e-9, "right") - 1, 0), nz - 2)
    # Unsigned steps: an index that cannot be negative needs no look.
    line, one, row, plane = dose.ravel(), np.uint64(1), np.uint64(nx), np.uint64(nx * ny)
    for k in range(growth.size):
        g = growth[k]
        r00, r01, r02 = rotation[k, 0, 0], rotation[k, 0, 1], rotation[k, 0, 2]
        r10, r11, r12 = rotation[k, 1, 0], rotation[k, 1, 1], rotation[k, 1, 2]
        r20, r21, r22 = rotation[k, 2, 0], rotation[k, 2, 1], rotation[k, 2, 2]
        sx, sy, sz = shift[k, 0], shift[k, 1], shift[k, 2]
        floor = -np.inf
        for stage in range(3):
            if stage < 2 and not prune:
                continue
            count = 0
            source = centre if stage == 0 else points
            field = centre_outward if stage == 0 else outward
            for j in range(m):
                if prune and (
                    (stage == 1 and least[j] < floor) or (stage == 2 and most[j] < floor)
                ):
                    continue
                first, last = (j, j + 1) if stage == 0 else (start[j], start[j + 1])
                for i in range(first, last):
                    px = source[i, 0] + g * field[i, 0]
                    py = source[i, 1] + g * field[i, 1]
                    pz = source[i, 2] + g * field[i, 2]
                    x = r00 * px + r01 * py + r02 * pz + sx
                    y = r10 * px + r11 * py + r12 * pz + sy
                    z = r20 * px + r21 * py + r22 * pz + sz
                    # The edge of the grid is held. A bin holds at most one sample position.
                    x = min(max(x, gx[0]), gx[nx - 1])
                    y = min(max(y, gy[0]), gy[ny - 1])
                    z = min(max(z, gz[0]), gz[nz - 1])
                    ix = bin_x[np.uint64((x - gx[0]) * bins_x)]
                    ix = min(ix + (gx[ix + 1] <= x), nx - 2)
                    iy = bin_y[np.uint64((y - gy[0]) * bins_y)]
                    iy = min(iy + (gy[iy + 1] <= y), ny - 2)
                    iz = bin_z[np.uint64((z - gz[0]) * bins_z)]
                    iz = min(iz + (gz[iz + 1] <= z), nz - 2)
                    tx = (x - gx[ix]) * per_x[ix]
                    ty = (y - gy[iy]) * per_y[iy]
                    tz = (z - gz[iz]) * per_z[iz]
                    at = np.uint64((iz * ny + iy) * nx + ix)
                    a, b = line[at], line[at + row]
                    c, d = line[at + plane], line[at + plane + row]
                    a += tx * (line[at + one] - a)
                    b += tx * (line[at + row + one] - b)
                    c += tx * (line[at + plane + one] - c)
                    d += tx * (line[at + plane + row + one] - d)
                    a += ty * (b - a)
                    c += ty * (d - c)
                    a += tz * (c - a)
                    if stage == 0:
                        ball = radius[j] + abs(g) * spread[j]
                        slack = steepest[iz, iy, ix] * ball + 1e-9
                        least[j], most[j] = a - slack, a + slack
                        value[j], weight[j] = a - slack, cluster_mm3[j]
                        count = m
                    elif a >= floor:
                        value[count], weight[count] = a, volume[i]
                        count += 1
            # The value at which the volume of all that is hotter reaches what is wanted.
            need, low, high = wanted_mm3[k], 0, count
            found = np.inf
            while low < high:
                pivot = value[(low + high) // 2]
                hotter, same = low, low
                above = equal = 0.0
                for i in range(low, high):
                    v, w = value[i], weight[i]
                    if v > pivot:
                        value[i], weight[i] = value[same], weight[same]
                        value[same], weight[same] = value[hotter], weight[hotter]
                        value[hotter], weight[hotter] = v, w
                        hotter += 1
                        same += 1
                        above += w
                    elif v == pivot:
                        value[i], weight[i] = value[same], weight[same]
                        value[same], weight[same] = v, w
                        same += 1
                        equal += w
                if above >= need:
                    high = hotter
                elif above + equal >= need:
                    found = pivot
                    break
                else:
                    need -= above + equal
                    found = pivot
                    low = same
            floor = found
        out[k] = floor
    return out
