"""Distances between cord and target: overall, per level, per direction.

All distances are Euclidean in 3D between the surfaces of the solids as reconstructed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cordgap.dvh.solid import Solid
from cordgap.dvh.surface import Surface, contains
from cordgap.separation.result import SEXTANTS, BindingLevels, GapMap, Sextant

FloatArray = NDArray[np.float64]

# Targets farther away than this have no gap in the map.
MAX_GAP_MM = 20.0
LEVEL_STEP_MM = 1.0
DIRECTION_STEP_DEG = 5.0
# Gaps that touch are the same 0.
_SAME_GAP_MM = 1e-6


@dataclass(frozen=True)
class Gap:
    """Where cord and target come closest; overlap and penetration where they meet."""

    separation_mm: float
    penetration_mm: float
    cord_point_mm: tuple[float, float, float]
    target_point_mm: tuple[float, float, float]


def measure_gap(cord: Surface, target: Surface) -> Gap:
    """Measure the smallest distance between cord and target, 0 where they overlap."""
    inside = contains(cord.solid, target.points_mm)
    if inside.any():
        return _overlap(cord, target.points_mm[inside], swap=False)
    inside = contains(target.solid, cord.points_mm)
    if inside.any():
        return _overlap(target, cord.points_mm[inside], swap=True)
    # Some of the points bound the distance; then only the few within that bound are searched.
    some = target.points_mm[:: max(1, len(target.points_mm) // 2000)]
    bound = float(cord.distance_mm(some).min())
    distance, index = cord.nearest(target.points_mm, limit_mm=bound + cord.step_mm)
    i = int(np.argmin(distance))
    foot = _foot(cord, int(index[i]), target.points_mm[i])
    return Gap(float(distance[i]), 0.0, _triple(foot), _triple(target.points_mm[i]))


def _overlap(surface: Surface, points: FloatArray, *, swap: bool) -> Gap:
    """Deepest of the points of one body inside the other."""
    distance, index = surface.nearest(points)
    i = int(np.argmin(distance))
    foot = _foot(surface, int(index[i]), points[i])
    cord_point, target_point = (points[i], foot) if swap else (foot, points[i])
    return Gap(0.0, float(-distance[i]), _triple(cord_point), _triple(target_point))


def _foot(surface: Surface, index: int, point: FloatArray) -> FloatArray:
    """Foot of a point on the flat patch around a surface sample."""
    away = point - surface.points_mm[index]
    normal = surface.normals[index]
    foot: FloatArray = point - normal * float(np.dot(away, normal))
    return foot


def _triple(point: FloatArray) -> tuple[float, float, float]:
    return float(point[0]), float(point[1]), float(point[2])


def direction_deg(dx: FloatArray, dy: FloatArray) -> FloatArray:
    """Direction in the axial plane (LPS): 0 anterior, 90 patient left, 180 posterior, 270 right."""
    return np.degrees(np.arctan2(dx, -dy)) % 360.0


def centroid_mm(rings: list[FloatArray]) -> FloatArray:
    """Area centroid of rings with the even-odd sign taken from nesting by size."""
    areas, centres = [], []
    for ring in rings:
        p, q = ring - ring[0], np.roll(ring, -1, axis=0) - ring[0]
        cross = p[:, 0] * q[:, 1] - q[:, 0] * p[:, 1]
        total = cross.sum()
        if abs(total) < 1e-12:
            continue
        areas.append(abs(total) / 2)
        centres.append(ring[0] + ((p + q) * cross[:, None]).sum(axis=0) / (3 * total))
    largest = int(np.argmax(areas))
    return np.asarray(centres[largest])


def map_gaps(cord: Solid, target: Surface, gap: Gap) -> GapMap:
    """Measure the gap per level and direction, as seen from the cord.

    A cell is the ray from the cord centroid at that level and direction; it meets the cord surface
    in a point whose 3D distance to the target is the gap. The cell that holds the closest point of
    all takes that gap, so that the smallest gap of the map is the separation.
    """
    lower, upper = target.points_mm[:, 2].min(), target.points_mm[:, 2].max()
    bottom, top = cord.z_range_mm
    first = np.ceil(max(bottom, lower - MAX_GAP_MM) / LEVEL_STEP_MM) * LEVEL_STEP_MM
    last = np.floor(min(top, upper + MAX_GAP_MM) / LEVEL_STEP_MM) * LEVEL_STEP_MM
    levels = np.arange(first, last + LEVEL_STEP_MM / 2, LEVEL_STEP_MM)
    directions = np.arange(0.0, 360.0, DIRECTION_STEP_DEG)
    angle = np.radians(directions)
    rays = np.c_[np.sin(angle), -np.cos(angle)]
    points = np.full((levels.size, directions.size, 3), np.nan)
    centres = np.full((levels.size, 2), np.nan)
    for i, z in enumerate(levels):
        rings = cord.section_at(float(z))
        if rings:
            centres[i] = centroid_mm(rings)
            points[i, :, :2] = ray_hits(rings, centres[i], rays)
            points[i, :, 2] = z
    gaps = np.full(points.shape[:2], np.nan)
    known = np.isfinite(points).all(axis=2)
    distance = target.distance_mm(points[known], limit_mm=MAX_GAP_MM)
    distance = np.maximum(distance, gap.separation_mm)
    gaps[known] = np.where(np.isfinite(distance), distance, np.nan)
    _mark_closest(gaps, levels, directions, centres, gap)
    return GapMap(levels, directions, gaps, None, centres)


def _mark_closest(
    gaps: FloatArray, levels: FloatArray, directions: FloatArray, centres: FloatArray, gap: Gap
) -> None:
    if not levels.size or gap.separation_mm > MAX_GAP_MM:
        return
    x, y, z = gap.cord_point_mm
    i = int(np.argmin(np.abs(levels - z)))
    if not np.isfinite(centres[i]).all():
        return
    towards = direction_deg(np.array(x - centres[i, 0]), np.array(y - centres[i, 1]))
    j = int(np.round(float(towards) / DIRECTION_STEP_DEG)) % directions.size
    gaps[i, j] = np.fmin(gaps[i, j], gap.separation_mm)


def ray_hits(rings: list[FloatArray], centre: FloatArray, rays: FloatArray) -> FloatArray:
    """Outermost point at which each ray from the centre meets the rings; nan where it does not."""
    a = np.concatenate(rings) - centre
    e = np.concatenate([np.roll(r, -1, axis=0) for r in rings]) - centre - a
    across = rays[:, :1] * e[:, 1] - rays[:, 1:] * e[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (a[:, 0] * e[:, 1] - a[:, 1] * e[:, 0]) / across
        share = (a[:, 0] * rays[:, 1:] - a[:, 1] * rays[:, :1]) / across
    hit = (share >= -1e-9) & (share <= 1 + 1e-9) & (along > 0)
    reach = np.where(hit, along, -np.inf).max(axis=1)
    hits: FloatArray = centre + reach[:, None] * rays
    hits[~np.isfinite(reach)] = np.nan
    return hits


def sextant_index(direction: FloatArray) -> NDArray[np.intp]:
    """Index into ``SEXTANTS`` of directions in degrees; sextants are centred on 0, 60, ..., 300."""
    index: NDArray[np.intp] = (np.floor((np.asarray(direction) + 30.0) / 60.0) % 6).astype(np.intp)
    return index


def directions_of(points: FloatArray, gaps: GapMap) -> FloatArray:
    """Direction in degrees of points (n, 3) around the cord, seen from its centroid at their z.

    Between levels of the map the centroid moves on a straight line; beyond its ends it stays.
    """
    known = np.isfinite(gaps.centre_mm).all(axis=1)
    if not known.any():
        return np.zeros(len(points))
    level, centre = gaps.level_mm[known], gaps.centre_mm[known]
    x, y = (np.interp(points[:, 2], level, centre[:, i]) for i in (0, 1))
    return direction_deg(points[:, 0] - x, points[:, 1] - y)


def sextant_of(points: FloatArray, gaps: GapMap) -> NDArray[np.intp]:
    """Index into ``SEXTANTS`` of points (n, 3) around the cord."""
    return sextant_index(directions_of(points, gaps))


def summarise_sextants(
    gaps: GapMap, resection_cc: FloatArray | None = None, reachable: tuple[str, ...] = ()
) -> tuple[Sextant, ...]:
    """Return the smallest gap of each sextant and its level, and what is to be removed there.

    A direction on the border of two sextants counts in both: its cell reaches into either, and
    left and right are treated alike. ``resection_cc`` has one volume a sextant; ``reachable`` names
    the sextants that surgery can clear, all where none are named.
    """
    rows = []
    for i, name in enumerate(SEXTANTS):
        off = np.abs((gaps.direction_deg - 60.0 * i + 180.0) % 360.0 - 180.0)
        within = off <= 30.0 + 1e-9
        part = gaps.gap_mm[:, within]
        gap = level = deficit = None
        if np.isfinite(part).any():
            gap = float(np.nanmin(part))
            level = float(gaps.level_mm[int(np.argmin(_row_min(part)))])
            if gaps.deficit_mm is not None:
                deficit = float(np.nanmax(gaps.deficit_mm[:, within]))
        removed = None if resection_cc is None else float(resection_cc[i])
        can = not reachable or name in reachable
        rows.append(Sextant(name, gap, level, deficit, removed, can))
    return tuple(rows)


def binding_levels(gaps: GapMap) -> tuple[BindingLevels, ...]:
    """Runs of levels at which the target is closer than required, from the feet up.

    The worst level of a run is the one with the smallest gap; where several touch alike, the one
    with the most that is missing over all directions.
    """
    if gaps.deficit_mm is None or not gaps.level_mm.size:
        return ()
    deficit = np.nan_to_num(gaps.deficit_mm)
    deepest, total = deficit.max(axis=1), deficit.sum(axis=1)
    binds = deepest > 0
    edges = np.flatnonzero(np.diff(np.r_[False, binds, False]))
    half = 0.5 * LEVEL_STEP_MM
    runs = []
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        here = deepest[first:end]
        tied = here >= here.max() - _SAME_GAP_MM
        worst = first + int(np.argmax(np.where(tied, total[first:end], -1.0)))
        cell = int(np.nanargmin(gaps.gap_mm[worst]))
        direction = float(gaps.direction_deg[cell])
        runs.append(
            BindingLevels(
                z_mm=(float(gaps.level_mm[first]) - half, float(gaps.level_mm[end - 1]) + half),
                worst_mm=float(gaps.level_mm[worst]),
                gap_mm=float(gaps.gap_mm[worst, cell]),
                deficit_mm=float(gaps.deficit_mm[worst, cell]),
                direction_deg=direction,
                sextant=SEXTANTS[int(sextant_index(np.array(direction)))],
            )
        )
    return tuple(runs)


def worst_levels(
    gaps: GapMap, removed_cc: FloatArray, *, most: int = 3, apart_mm: float = 5.0
) -> tuple[float, ...]:
    """Levels with most to remove (``removed_cc``, one a level), most first, spread over the extent.

    No level is nearer than ``apart_mm``, or a quarter of the extent of all, to one before it.
    """
    binds = gaps.level_mm[removed_cc > 0]
    if not binds.size:
        return ()
    apart = max(apart_mm, float(np.ptp(binds)) / (most + 1))
    chosen: list[float] = []
    for i in np.argsort(-removed_cc, kind="stable"):
        z = float(gaps.level_mm[i])
        if removed_cc[i] <= 0 or len(chosen) == most:
            break
        if all(abs(z - other) >= apart for other in chosen):
            chosen.append(z)
    return tuple(chosen)


def _row_min(part: FloatArray) -> FloatArray:
    lowest: FloatArray = np.where(np.isfinite(part), part, np.inf).min(axis=1)
    return lowest
