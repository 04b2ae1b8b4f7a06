"""A cord as dicompyler-core counts it, taken apart: one of its habits after the other.

Each step changes one thing of the calculation before it, from the solid of :mod:`cordgap.dvh` to a
replica of dicompyler-core 0.5.6. What a step changes in a metric is what that habit costs; that the
last step gives dicompyler-core's own number shows that nothing else is at work, such as a file read
differently. Nothing here is used for a result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import DoseGrid
from cordgap.case.structure import Structure
from cordgap.dvh.curve import DVH
from cordgap.dvh.integrate import FINE_PITCH_MM, compute_dvh
from cordgap.dvh.solid import build_solid

FloatArray = NDArray[np.float64]
Values = dict[str, float | None]

HOTTEST_CC = (0.035, 0.1, 1.0)
HOTTEST_PERCENT = (2.0, 50.0, 95.0, 98.0)
# Habits of dicompyler-core: a dose plane this near is taken as it is, doses are sorted into bins of
# a centigray, and contours are grouped by z rounded to a hundredth of a millimetre.
SNAP_MM = 0.5
BIN_GY = 0.01
_Z_DIGITS = 2

# What each step stands for, in the order in which they are taken.
CAUSES = {
    "constant-between-planes": "cross-section constant between contour planes",
    "one-dose-plane": "one dose plane for the whole thickness of a contour plane",
    "pixel-centres": "pixels counted whole where their centre lies inside",
    "smallest-gap": "the smallest gap between planes as thickness of all, larger gaps not bridged",
    "contours-as-drawn": "contours as drawn: duplicates erase each other, points make planes",
    "absolute-frame-offsets": "absolute frame offsets taken as relative",
    "volume-outside-dose": "histogram stretched over the volume outside the dose grid",
    "bins": "bins of 0.01 Gy, and the nearest bin in place of interpolation",
}


def metric_names() -> tuple[str, ...]:
    """Return the metrics that are compared."""
    hottest = [f"D{v:g}cc" for v in HOTTEST_CC] + [f"D{p:g}%" for p in HOTTEST_PERCENT]
    return ("volume", "Mean", "Max", *hottest)


def unit_of(metric: str) -> str:
    """Return the unit of a compared metric."""
    return "cc" if metric == "volume" else "Gy"


@dataclass(frozen=True, eq=False)
class _Flat:
    """A contour plane that stands for a slab; ``area_mm2`` is None where pixels are counted."""

    z_mm: float
    rings: tuple[FloatArray, ...]
    thickness_mm: float
    area_mm2: float | None


@dataclass(frozen=True, eq=False)
class _Counted:
    """Doses with the volume that each stands for, the hottest first, and what has no dose."""

    dose_gy: FloatArray
    volume_cc: FloatArray
    outside_cc: float

    @property
    def total_cc(self) -> float:
        return float(self.volume_cc.sum()) + self.outside_cc


def values_of_dvh(dvh: DVH) -> Values:
    """Read the compared metrics off a DVH; None where the structure leaves the dose grid."""
    values: Values = {"volume": dvh.total_volume_cc}
    covered = dvh.covered_volume_cc
    if covered <= 0:
        return values | dict.fromkeys(metric_names()[1:])
    values |= {"Mean": dvh.mean_gy, "Max": dvh.max_gy}
    for cc in HOTTEST_CC:
        values[f"D{cc:g}cc"] = dvh.dose_of_hottest_gy(cc) if cc <= covered else None
    for percent in HOTTEST_PERCENT:
        share = percent / 100 * covered
        values[f"D{percent:g}%"] = dvh.dose_of_hottest_gy(share) if dvh.is_complete else None
    return values


def values_of_bins(counts_cc: FloatArray, edges_gy: FloatArray) -> Values:
    """Read the compared metrics as dicompyler-core does: the first of the nearest bins.

    Parameters
    ----------
    counts_cc : ndarray of shape (n,)
        Cumulative volume at the lower edges of the bins.
    edges_gy : ndarray of shape (n + 1,)
    """
    if counts_cc.size < 2 or counts_cc.max() <= 0:
        return dict.fromkeys(metric_names(), None)
    lost = counts_cc - np.r_[counts_cc[1:], 0.0]
    middle = 0.5 * (edges_gy[1:] + edges_gy[:-1])
    total = float(counts_cc.max())
    values: Values = {
        "volume": total,
        "Mean": float((middle * lost).sum() / lost.sum()),
        "Max": float(edges_gy[1:][lost > 0][-1]),
    }
    for cc in HOTTEST_CC:
        nearest = edges_gy[int(np.argmin(np.abs(counts_cc - cc)))]
        values[f"D{cc:g}cc"] = float(nearest) if cc <= total else None
    for percent in HOTTEST_PERCENT:
        share = np.abs(100 * counts_cc / total - percent)
        values[f"D{percent:g}%"] = float(edges_gy[int(np.argmin(share))])
    return values


def steps(
    structure: Structure,
    dose: DoseGrid,
    *,
    as_drawn: Sequence[FloatArray],
    frame_shift_mm: float = 0.0,
) -> Iterator[tuple[str, Values]]:
    """Go from the main calculation to a replica of dicompyler-core, one habit at a time.

    Parameters
    ----------
    structure : Structure
    dose : DoseGrid
    as_drawn : sequence of ndarray of shape (n, 3)
        Every contour of the file, nothing cleaned.
    frame_shift_mm : float
        How far dicompyler-core displaces the dose along z (absolute frame offsets).

    Yields
    ------
    (cause, values)
        A key of :data:`CAUSES` and the compared metrics after that step.

    Notes
    -----
    Memory is bounded by one plane of the structure at the quadrature pitch.
    """
    slab = build_solid(structure, between="slab")
    yield "constant-between-planes", values_of_dvh(compute_dvh(slab, dose, uncertainty=False))
    flat = [
        _Flat(plane.z_mm, tuple(plane.contours), layer.top_mm - layer.bottom_mm, plane.area_mm2)
        for layer in slab.layers
        if (plane := getattr(layer, "plane", None)) is not None
    ]
    pitch = float(np.nanmax(dose.geometry.spacing_mm[:2]))
    yield "one-dose-plane", _values(_count(flat, dose, int(np.ceil(pitch / FINE_PITCH_MM))))
    flat = [replace(plane, area_mm2=None) for plane in flat]
    yield "pixel-centres", _values(_count(flat, dose, 1))
    gaps = np.diff([plane.z_mm for plane in structure.planes])
    smallest = float(gaps.min()) if gaps.size else 0.0
    flat = [_Flat(plane.z_mm, plane.contours, smallest, None) for plane in structure.planes]
    yield "smallest-gap", _values(_count(flat, dose, 1))
    flat = _planes_as_drawn(as_drawn)
    yield "contours-as-drawn", _values(_count(flat, dose, 1))
    counted = _count(flat, dose, 1, shift_mm=frame_shift_mm)
    yield "absolute-frame-offsets", _values(counted)
    inside = float(counted.volume_cc.sum())
    if inside > 0:
        stretched = counted.volume_cc * (counted.total_cc / inside)
        counted = _Counted(counted.dose_gy, stretched, 0.0)
    yield "volume-outside-dose", _values(counted)
    yield "bins", _binned(counted)


def _planes_as_drawn(contours: Iterable[FloatArray]) -> list[_Flat]:
    """Group contours by the rounded z of their first point; the smallest gap is the thickness."""
    planes: dict[float, list[FloatArray]] = {}
    for points in contours:
        planes.setdefault(round(float(points[0, 2]), _Z_DIGITS), []).append(points[:, :2])
    gaps = np.diff(sorted(planes))
    thickness = float(gaps.min()) if gaps.size else 0.0
    return [_Flat(z, tuple(rings), thickness, None) for z, rings in sorted(planes.items())]


def _count(
    planes: Sequence[_Flat], dose: DoseGrid, parts: int, *, shift_mm: float = 0.0
) -> _Counted:
    """Sample each plane at the pixels of the dose, each cut into ``parts`` x ``parts``."""
    doses, volumes, outside = [np.empty(0)], [np.empty(0)], 0.0
    for plane in planes:
        lower = np.min([ring.min(axis=0) for ring in plane.rings], axis=0)
        upper = np.max([ring.max(axis=0) for ring in plane.rings], axis=0)
        z = plane.z_mm
        slices = dose.geometry.slices_around(np.r_[lower, z], np.r_[upper, z])[1:]
        x_mm, y_mm = dose.geometry.x_mm[slices[1]], dose.geometry.y_mm[slices[0]]
        cell_mm2 = dose.geometry.spacing_mm[0] * dose.geometry.spacing_mm[1] / parts**2
        fine_x, fine_y = (
            _refined(x_mm, lower[0], upper[0], parts),
            _refined(y_mm, lower[1], upper[1], parts),
        )
        inside = inside_lattice(plane.rings, fine_x, fine_y)
        number = int(inside.sum())
        if number == 0:
            continue
        area = number * cell_mm2 if plane.area_mm2 is None else plane.area_mm2
        volume = area * plane.thickness_mm / 1000 / number
        values = _dose_plane(dose, slices, z, shift_mm)
        if values is None:
            outside += volume * number
            continue
        if parts > 1:
            values = _bilinear(values, x_mm, y_mm, fine_x, fine_y)
        found = values[inside]
        outside += volume * float(np.isnan(found).sum())
        found = found[~np.isnan(found)]
        doses.append(found)
        volumes.append(np.full(found.size, volume))
    dose_gy, volume_cc = np.concatenate(doses), np.concatenate(volumes)
    order = np.argsort(-dose_gy, kind="stable")
    return _Counted(dose_gy[order], volume_cc[order], outside)


def _refined(axis: FloatArray, low: float, high: float, parts: int) -> FloatArray:
    """Cut pixels into parts: their middles, as far as the structure reaches beyond the grid too."""
    if parts == 1 or axis.size < 2:
        return axis
    step = (axis[1] - axis[0]) / parts
    first = np.floor((low - axis[0]) / step)
    count = int(np.ceil((high - axis[0]) / step) - first) + 1
    return np.asarray(axis[0] + (first + 0.5 + np.arange(count)) * step)


def _bilinear(
    values: FloatArray, x_mm: FloatArray, y_mm: FloatArray, fine_x: FloatArray, fine_y: FloatArray
) -> FloatArray:
    """Interpolate a plane of dose; nan outside."""

    def weights(axis: FloatArray, fine: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
        i = np.clip(np.searchsorted(axis, fine, side="right") - 1, 0, axis.size - 2)
        share = (fine - axis[i]) / (axis[i + 1] - axis[i])
        return i, np.where((share < 0) | (share > 1), np.nan, share)

    (i, s), (j, t) = weights(x_mm, fine_x), weights(y_mm, fine_y)
    rows = values[j] + t[:, None] * (values[j + 1] - values[j])
    return np.asarray(rows[:, i] + s * (rows[:, i + 1] - rows[:, i]))


def _dose_plane(
    dose: DoseGrid, slices: tuple[slice, slice], z_mm: float, shift_mm: float
) -> FloatArray | None:
    """Return the plane that dicompyler-core uses at a height; None beyond the grid."""
    z = dose.geometry.z_mm + shift_mm
    away = np.abs(z - z_mm)
    nearest = int(np.argmin(away))

    def plane(index: int) -> FloatArray:
        block = dose.load((slice(index, index + 1), *slices))[0]
        return np.asarray(block, dtype=np.float64)

    if away[nearest] < SNAP_MM:
        return plane(nearest)
    if not z[0] <= z_mm <= z[-1]:
        return None
    away[nearest] = away.max()
    other = int(np.argmin(away))
    share = float((z_mm - z[other]) / (z[nearest] - z[other]))
    return share * plane(nearest) + (1 - share) * plane(other)


def inside_lattice(
    rings: Sequence[FloatArray], x_mm: FloatArray, y_mm: FloatArray
) -> NDArray[np.bool_]:
    """Tell which points of a lattice lie inside an odd number of rings.

    Parameters
    ----------
    rings : sequence of ndarray of shape (n, 2)
        Closed; the first point not repeated.
    x_mm, y_mm : ndarray
        Ascending.

    Returns
    -------
    ndarray of shape (len(y_mm), len(x_mm))

    Notes
    -----
    Points on an edge fall as in the point-in-polygon test of matplotlib, which dicompyler-core
    uses: counted on a rising edge, not on a falling one.
    """
    x0, y0 = np.concatenate(rings).T
    x1, y1 = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings]).T
    y = y_mm[:, None]
    row, edge = np.nonzero((y0 < y) != (y1 < y))
    rising = y0[edge] < y1[edge]
    slope = (x0 - x1)[edge] / (y0 - y1)[edge]
    cut = x1[edge] + (y_mm[row] - y1[edge]) * slope
    left = np.where(
        rising, np.searchsorted(x_mm, cut, side="right"), np.searchsorted(x_mm, cut, side="left")
    )
    width = x_mm.size + 1
    cuts = np.bincount(row * width + left, minlength=y_mm.size * width).reshape(-1, width)
    to_the_right = np.cumsum(cuts[:, ::-1], axis=1)[:, ::-1][:, 1:]
    return np.asarray(to_the_right % 2 == 1)


def _values(counted: _Counted) -> Values:
    """Read the compared metrics off counted samples: a step at each of them."""
    values: Values = dict.fromkeys(metric_names())
    values["volume"] = counted.total_cc
    if not counted.volume_cc.sum() > 0:
        return values
    above = np.cumsum(counted.volume_cc)
    covered = float(above[-1])

    def hottest(cc: float) -> float:
        index = int(np.searchsorted(above, cc * (1 - 1e-9), side="left"))
        return float(counted.dose_gy[min(index, above.size - 1)])

    values["Mean"] = float(np.dot(counted.dose_gy, counted.volume_cc) / covered)
    values["Max"] = float(counted.dose_gy[0])
    for cc in HOTTEST_CC:
        values[f"D{cc:g}cc"] = hottest(cc) if cc <= covered else None
    for percent in HOTTEST_PERCENT:
        is_whole = counted.outside_cc <= 1e-9 * counted.total_cc
        values[f"D{percent:g}%"] = hottest(percent / 100 * covered) if is_whole else None
    return values


def _binned(counted: _Counted) -> Values:
    """Sort samples into bins and read the metrics as dicompyler-core does."""
    if not counted.volume_cc.sum() > 0:
        return dict.fromkeys(metric_names())
    index = np.floor(counted.dose_gy * 100 + 1e-9).astype(np.intp)
    # Every pixel stands for the same volume here; counting first keeps equally near bins equal.
    counts = np.bincount(np.maximum(index, 0)).astype(np.float64)
    above = np.cumsum((counts * counted.total_cc / counts.sum())[::-1])[::-1]
    return values_of_bins(np.asarray(above, np.float64), np.arange(above.size + 1.0) * BIN_GY)


def changes(main: Values, taken: Iterable[tuple[str, Values]]) -> Iterator[tuple[str, Values]]:
    """Return what each step changed, against the last step that knew the metric; else None."""
    known = dict(main)
    for cause, values in taken:
        change: Values = {}
        for name, value in values.items():
            before = known.get(name)
            change[name] = None if value is None or before is None else value - before
            known[name] = before if value is None else value
        yield cause, change
