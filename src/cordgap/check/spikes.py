"""Single samples and single vertices that stick out and decide a number.

A flipped bit in the pixels or a lost digit in a contour leaves a file that is valid in every
respect. What gives it away is that one value disagrees with its neighbours; what makes it matter
is that the metrics change without it. Both are asked here: candidates come from the neighbours,
and only those whose removal moves a metric are reported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import DoseGrid
from cordgap.case.structure import ContourPlane, Structure
from cordgap.dvh.curve import DVH
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.solid import build_solid
from cordgap.errors import Finding, StructureError

FloatArray = NDArray[np.float64]

# A change of a metric that is reported.
MIN_EFFECT_GY = 0.5
# A sample is a candidate when along every axis it differs from the line between its neighbours by
# this much, and by this multiple of what is usual around the structure (Monte Carlo doses are
# noisy).
_MIN_EXCESS_GY = 0.5
_EXCESS_RATIO = 6.0
# A vertex is a candidate when it lies this far from the line between its neighbours, and by this
# multiple of what is usual in its contour. 0.25 mm is 0.5 Gy in the steepest gradients of SBRT.
_MIN_HEIGHT_MM = 0.25
_HEIGHT_RATIO = 4.0
_MIN_VERTICES = 6
# More candidates than this are noise, not damage.
_MAX_CANDIDATES = 8
_NEAR_MAXIMUM_CC = 0.035


@dataclass(frozen=True)
class _Shift:
    """The metric that changes most without the candidates."""

    metric: str
    with_gy: float
    without_gy: float

    @property
    def size_gy(self) -> float:
        return abs(self.with_gy - self.without_gy)


def spike_findings(structure: Structure, dose: DoseGrid) -> list[Finding]:
    """Find samples of the dose and vertices of the contours that alone move a metric.

    Parameters
    ----------
    structure : Structure
    dose : DoseGrid

    Returns
    -------
    list of Finding
        ``dose-spike`` and ``contour-spike``; empty where the structure has no solid.
    """
    try:
        solid = build_solid(structure)
    except StructureError:
        return []
    lower, upper = solid.bounds_mm
    block = dose.crop(lower, upper, pad=3)
    excess, smooth = _excess(block)
    worst = _candidates(excess)
    without, count, place = _without_spikes(structure)
    if not worst.size and not count:
        return []
    before = compute_dvh(solid, block, uncertainty=False)
    if before.covered_volume_cc <= 0:
        return []
    found = []
    if worst.size:
        values = block.values.copy()
        values.reshape(-1)[worst] = smooth.reshape(-1)[worst]
        mended = DoseGrid.from_array(block.geometry, values)
        shift = _largest(before, compute_dvh(solid, mended, uncertainty=False))
        if shift.size_gy >= MIN_EFFECT_GY:
            found.append(_dose_finding(structure, block, worst, smooth, shift))
    if count:
        try:
            shift = _largest(before, compute_dvh(build_solid(without), block, uncertainty=False))
        except StructureError:
            return found
        if shift.size_gy >= MIN_EFFECT_GY:
            found.append(_contour_finding(structure, count, place, shift))
    return found


def _excess(block: DoseGrid) -> tuple[FloatArray, FloatArray]:
    """Return how far each sample lies off its neighbours along every axis, and their mean.

    The excess is the smallest of the three where they have one sign, else 0: an edge or a ridge is
    curved along one axis, a single wrong sample along all.
    """
    values = block.values
    least = np.full(values.shape, np.inf)
    signs = np.zeros(values.shape)
    expected = np.zeros(values.shape)
    agree = np.zeros(values.shape)
    used = 0
    for axis, positions in enumerate(block.geometry.axes):
        if positions.size < 3:
            continue
        moved = np.moveaxis(values, axis, 0)
        share = ((positions[1:-1] - positions[:-2]) / (positions[2:] - positions[:-2]))[
            :, None, None
        ]
        line = (1 - share) * moved[:-2] + share * moved[2:]
        inner = [slice(None)] * 3
        inner[axis] = slice(1, -1)
        difference = np.zeros(values.shape)
        difference[tuple(inner)] = np.moveaxis(moved[1:-1] - line, 0, axis)
        # At the edge of the grid an axis has no two neighbours and says nothing.
        known = np.zeros(values.shape, dtype=bool)
        known[tuple(inner)] = True
        least = np.where(known, np.minimum(least, np.abs(difference)), least)
        signs += np.where(known, np.sign(difference), 0.0)
        expected += values - difference
        used += 1
        agree += known
    if not used:
        return np.zeros(values.shape), values
    single = (np.abs(signs) == agree) & (agree >= min(used, 2))
    return np.where(single & np.isfinite(least), least, 0.0), expected / used


def _candidates(excess: FloatArray) -> NDArray[np.intp]:
    """Return the flat indices of the few samples that stick out, the worst first."""
    flat = excess.reshape(-1)
    usual = float(np.median(flat[flat > 0])) if (flat > 0).any() else 0.0
    # Where many stick out alike, that is how this dose is.
    limit = max(_MIN_EXCESS_GY, _EXCESS_RATIO * usual, 0.5 * float(flat.max(initial=0.0)))
    far = np.flatnonzero(flat >= limit)
    if far.size > _MAX_CANDIDATES:
        far = far[:0]
    return far[np.argsort(-flat[far])]


def _heights(ring: FloatArray) -> FloatArray:
    """Return the distance of each vertex from the segment between its neighbours, shape (n,)."""
    before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
    chord = after - before
    length2 = np.maximum((chord * chord).sum(axis=1), 1e-12)
    share = np.clip(((ring - before) * chord).sum(axis=1) / length2, 0.0, 1.0)
    foot = before + share[:, None] * chord
    return np.asarray(np.hypot(*(ring - foot).T))


def _prominence(ring: FloatArray) -> FloatArray:
    """Return the height of the vertices that stick out, 0 for the others, shape (n,)."""
    if len(ring) < _MIN_VERTICES:
        return np.zeros(len(ring))
    height = _heights(ring)
    limit = max(_MIN_HEIGHT_MM, _HEIGHT_RATIO * float(np.median(height)))
    # The neighbours of a spike stick out too: only the highest of a run counts.
    peak = (height >= np.roll(height, 1)) & (height >= np.roll(height, -1))
    return np.where((height > limit) & peak, height, 0.0)


def _without_spikes(structure: Structure) -> tuple[Structure, int, tuple[float, float, float]]:
    """Return the structure without the few vertices that stick out, their number, the worst."""
    heights = [[_prominence(ring) for ring in plane.contours] for plane in structure.planes]
    flat = np.concatenate([h for plane in heights for h in plane]) if heights else np.zeros(1)
    limit = max(0.5 * float(flat.max(initial=0.0)), _MIN_HEIGHT_MM)
    count = int((flat >= limit).sum())
    place = (0.0, 0.0, 0.0)
    if not 0 < count <= _MAX_CANDIDATES:
        return structure, 0, place
    planes = []
    for plane, found in zip(structure.planes, heights, strict=True):
        rings = []
        for ring, height in zip(plane.contours, found, strict=True):
            out = height >= limit
            rings.append(ring if len(ring) - out.sum() < 3 else ring[~out])
            if out.any() and height.max() == flat.max():
                x, y = ring[int(np.argmax(height))]
                place = (float(x), float(y), plane.z_mm)
        planes.append(ContourPlane(plane.z_mm, tuple(rings), plane.is_xor))
    return replace(structure, planes=tuple(planes)), count, place


def _largest(a: DVH, b: DVH) -> _Shift:
    """Return the metric that differs most between two histograms."""
    rows = [_Shift("Max", a.max_gy, b.max_gy), _Shift("Mean", a.mean_gy, b.mean_gy)]
    if min(a.covered_volume_cc, b.covered_volume_cc) > _NEAR_MAXIMUM_CC:
        hot = a.dose_of_hottest_gy(_NEAR_MAXIMUM_CC), b.dose_of_hottest_gy(_NEAR_MAXIMUM_CC)
        rows.append(_Shift("D0.035cc", *hot))
    return max(rows, key=lambda row: row.size_gy)


def _effect(structure: Structure, shift: _Shift) -> str:
    return (
        f"without it {shift.metric} of {structure.roi_name} would be {shift.without_gy:.2f} "
        f"instead of {shift.with_gy:.2f} Gy"
    )


def _dose_finding(
    structure: Structure,
    block: DoseGrid,
    worst: NDArray[np.intp],
    smooth: FloatArray,
    shift: _Shift,
) -> Finding:
    k, j, i = np.unravel_index(int(worst[0]), block.values.shape)
    geometry = block.geometry
    where = f"({geometry.x_mm[i]:.1f}, {geometry.y_mm[j]:.1f}, {geometry.z_mm[k]:.1f})"
    value, around = float(block.values[k, j, i]), float(smooth[k, j, i])
    more = f" and {worst.size - 1} other sample(s)" if worst.size > 1 else ""
    return Finding(
        "dose-spike",
        f"the dose at {where} mm is {value:.2f} Gy where the samples around it say {around:.2f}"
        f"{more}; {_effect(structure, shift)}",
        roi_name=structure.roi_name,
        found=f"{value:.2f} Gy",
        expected=f"about {around:.2f} Gy",
        action="look at the dose there in the planning system; export it again",
    )


def _contour_finding(
    structure: Structure, count: int, place: tuple[float, float, float], shift: _Shift
) -> Finding:
    where = ", ".join(f"{v:.1f}" for v in place)
    return Finding(
        "contour-spike",
        f"{count} point(s) of {structure.roi_name} stick out of their contour, the farthest at "
        f"({where}) mm; {_effect(structure, shift)}",
        roi_name=structure.roi_name,
        action="look at the contour there in the planning system",
    )
