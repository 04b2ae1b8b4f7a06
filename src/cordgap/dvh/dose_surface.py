"""Dose-surface histogram: how much of the surface of a solid gets how much dose.

The surface is that of the solid as reconstructed: the sides of its layers, their lean included,
and the flat faces where a run of planes ends or one extruded plane steps to the next. Sides are cut
into patches between sub-slices, with their slant; flat faces have the exact area of their polygons.
Dose is trilinear, read at one point of each patch; the points are spread over their patches by
irrational steps, so that no row of them lies along an isodose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import DoseGrid
from cordgap.dvh.curve import COVERED_FRACTION, dose_edges_gy
from cordgap.dvh.integrate import held_z_mm
from cordgap.dvh.planes import inside_rings
from cordgap.dvh.solid import Solid
from cordgap.dvh.surface import _faces, _fill
from cordgap.errors import OutOfRangeError

FloatArray = NDArray[np.float64]

# Size of a patch: below the smallest dose voxel, and that of the quadrature of volumes.
PATCH_MM = 0.25
# Large bodies take the patch that gives about this many.
MAX_PATCHES = 1_000_000
# A rounded cap is cut into this many rings at equal steps of its angle.
_CAP_RINGS = 16
# Flat faces of fewer patches than this are read along their outline.
_FEW_PATCHES = 8
# Irrational steps, by row and by column, of the place that is read in each patch.
_ASIDE = (0.7548776662466927, 0.6180339887498949)
_UP = (0.5698402909980532, 0.4142135623730951)


@dataclass(frozen=True, eq=False)
class DoseSurface:
    """Surface of a solid against dose.

    Parameters
    ----------
    dose_gy : ndarray of shape (n,)
        Dose of each patch inside the dose grid, ascending.
    area_cm2 : ndarray of shape (n,)
        Area of each of them.
    total_area_cm2 : float
        Of the whole solid, inside and outside the grid.
    flat_area_cm2 : float
        Of it the flat faces: ends of runs of planes, and steps between extruded planes.
    """

    dose_gy: FloatArray
    area_cm2: FloatArray
    total_area_cm2: float
    flat_area_cm2: float

    @property
    def covered_area_cm2(self) -> float:
        """Area inside the dose grid."""
        return float(self.area_cm2.sum())

    @property
    def is_complete(self) -> bool:
        """Whether the whole surface lies inside the dose grid."""
        return self.covered_area_cm2 >= (1 - COVERED_FRACTION) * self.total_area_cm2

    def area_at_least_cm2(self, dose_gy: float) -> float:
        """Return the area that gets at least ``dose_gy``; of the part inside the grid."""
        return float(self.area_cm2[np.searchsorted(self.dose_gy, dose_gy, side="left") :].sum())

    def dose_of_hottest_gy(self, area_cm2: float) -> float:
        """Return the dose that the hottest ``area_cm2`` gets at least.

        Raises
        ------
        OutOfRangeError
            If the covered area is smaller than that.
        """
        if not 0 < area_cm2 <= self.covered_area_cm2 * (1 + 1e-9):
            raise OutOfRangeError(
                f"asked for the hottest {area_cm2:g} cm2 of a surface with "
                f"{self.covered_area_cm2:.4g} cm2 inside the dose grid"
            )
        # A patch holds doses on both sides of its point: half of its area is hotter.
        hotter = np.cumsum(self.area_cm2[::-1]) - 0.5 * self.area_cm2[::-1]
        return float(np.interp(area_cm2, hotter, self.dose_gy[::-1]))

    def resample(self, step_gy: float = 0.1) -> tuple[FloatArray, FloatArray]:
        """Return dose edges from 0 in steps of ``step_gy``, and the area at or above each."""
        edges = dose_edges_gy(self.dose_gy, step_gy)
        above = np.r_[np.cumsum(self.area_cm2[::-1])[::-1], 0.0]
        return edges, above[np.searchsorted(self.dose_gy, edges, side="left")]


def compute_dose_surface(
    solid: Solid, dose: DoseGrid, *, patch_mm: float | None = None
) -> DoseSurface:
    """Compute the dose-surface histogram of a solid.

    Parameters
    ----------
    solid : Solid
    dose : DoseGrid
        Trilinear between its samples; only the block around the solid is read.
    patch_mm : float, optional
        Size of a patch, in place of 0.25 mm or what a large body allows.

    Returns
    -------
    DoseSurface
        End caps just beyond the grid are held as for volumes (docs/dvh.md).
    """
    from scipy.ndimage import map_coordinates

    size = patch_mm or _choose_patch_mm(solid)
    points, areas, flat = surface_patches(solid, size)
    total = float(areas.sum())
    geometry = dose.geometry
    if min(geometry.shape) < 2:
        return DoseSurface(np.zeros(0), np.zeros(0), total / 100, flat / 100)
    held = _held(points, solid, dose)
    inside = np.all((held >= geometry.lower_mm) & (held <= geometry.upper_mm), axis=1)
    held, areas = held[inside], areas[inside]
    lower, upper = solid.bounds_mm
    block = dose.crop(lower, upper, pad=1)
    index = [
        np.interp(held[:, 2 - i], axis, np.arange(axis.size))
        for i, axis in enumerate(block.geometry.axes)
    ]
    gy: FloatArray = map_coordinates(block.values, index, order=1, mode="nearest")
    order = np.argsort(gy)
    return DoseSurface(gy[order], areas[order] / 100, total / 100, flat / 100)


def _choose_patch_mm(solid: Solid) -> float:
    lower, upper = solid.bounds_mm
    x, y, z = upper - lower
    return max(PATCH_MM, float(np.sqrt(2 * (x * y + x * z + y * z) / MAX_PATCHES)))


def _held(points: FloatArray, solid: Solid, dose: DoseGrid) -> FloatArray:
    """Points with the heights of caps held at the outermost dose plane, as in the histogram."""
    held: FloatArray = points.copy()
    held[:, 2] = held_z_mm(points[:, 2], solid, dose.geometry)
    return held


def surface_patches(solid: Solid, patch_mm: float) -> tuple[FloatArray, FloatArray, float]:
    """Cut the surface of a solid into patches.

    Returns
    -------
    points : ndarray of shape (n, 3)
        A point of each patch, x, y, z.
    areas : ndarray of shape (n,)
        In mm2.
    flat : float
        Area of the flat faces among them, in mm2.
    """
    points, areas = [], []
    rows = 0
    for layer in solid.layers:
        p, a = _side(layer, patch_mm, rows)
        points.append(p.reshape(-1, 3))
        areas.append(a.ravel())
        rows += len(a)
    flat = 0.0
    for z, outward, rings, covered in _faces(solid):
        if _is_tip(solid, z, outward):
            continue
        area = _area_mm2(rings, covered)
        xy = _fill(rings, covered, patch_mm)
        along, across = _scatter((len(xy), 1), 0)
        read = xy + patch_mm * np.column_stack([along, across])
        if len(read) < _FEW_PATCHES:
            # A sliver between two nearly equal planes: it lies along its own outline.
            read = np.concatenate(rings)
            outside = ~inside_rings(covered, read) if covered else np.ones(len(read), dtype=bool)
            read = read[outside] if outside.any() else read
        xy = read
        points.append(np.column_stack([xy, np.full(len(xy), z)]))
        areas.append(np.full(len(xy), area / len(xy)))
        flat += area
    return np.concatenate(points), np.concatenate(areas), flat


def _is_tip(solid: Solid, z: float, outward: float) -> bool:
    """Whether a face is the tip of a rounded cap, which has no area."""
    word = "up" if outward > 0 else "down"
    return any(
        getattr(layer, "taper", None) == word
        and abs((layer.top_mm if outward > 0 else layer.bottom_mm) - z) < 1e-6
        for layer in solid.layers
    )


def _side(layer: Any, patch_mm: float, first_row: int) -> tuple[FloatArray, FloatArray]:
    """Points and areas of the patches on the side of one layer."""
    if getattr(layer, "taper", None):
        return _rounded_side(layer, patch_mm, first_row)
    height = layer.top_mm - layer.bottom_mm
    # Three sub-slices at least, so that the lean at the ends is of second order.
    section = layer.section(min(patch_mm, height / 3))
    lean: FloatArray = np.zeros_like(section.starts)
    if section.starts.shape[0] > 1:
        lean = np.gradient(section.starts, section.z_mm, axis=0, edge_order=2)
    edge = section.ends - section.starts
    next_lean = np.roll(lean, -1, axis=1) if lean.any() else lean
    n = _cuts(edge, patch_mm)
    which, share = _spread(n)
    lean_at = lean[:, which] + share[:, None] * (next_lean - lean)[:, which]
    along = edge[:, which]
    cross = along[..., 0] * lean_at[..., 1] - along[..., 1] * lean_at[..., 0]
    slant = np.sqrt((along**2).sum(axis=-1) + cross**2)
    area = slant / n[which] * section.thickness_mm[:, None]
    aside, up = _scatter(area.shape, first_row)
    rise = up * section.thickness_mm[:, None]
    at = share + aside / n[which]
    points = np.empty((*area.shape, 3))
    points[..., :2] = section.starts[:, which] + at[..., None] * along + rise[..., None] * lean_at
    points[..., 2] = section.z_mm[:, None] + rise
    return points, area


def _rounded_side(layer: Any, patch_mm: float, first_row: int) -> tuple[FloatArray, FloatArray]:
    """Patches of a cap that shrinks as sqrt(1 - u**2), between rings of its angle."""
    height = layer.top_mm - layer.bottom_mm
    base, sign = (layer.bottom_mm, 1.0) if layer.taper == "up" else (layer.top_mm, -1.0)
    rings = layer.plane.contours
    centre = np.concatenate(rings).mean(axis=0)
    reach = float(np.linalg.norm(np.concatenate(rings) - centre, axis=1).max())
    steps = max(_CAP_RINGS, int(np.ceil(0.5 * np.pi * max(height, reach) / patch_mm)))
    angle = np.linspace(0, 0.5 * np.pi, steps + 1)
    z, scale = base + sign * height * np.sin(angle), np.cos(angle)
    starts = np.concatenate(rings)
    ends = np.concatenate([np.roll(c, -1, axis=0) for c in rings])
    n = _cuts((ends - starts)[None], patch_mm)
    which, share = _spread(n)
    half = 0.5 / n[which]
    edge = (ends - starts)[which]
    first = starts[which] + (share - half)[:, None] * edge
    second = starts[which] + (share + half)[:, None] * edge

    def ring(xy: FloatArray) -> FloatArray:
        points = np.empty((z.size, len(xy), 3))
        points[..., :2] = centre + scale[:, None, None] * (xy - centre)
        points[..., 2] = z[:, None]
        return points

    a, b = ring(first), ring(second)
    lower, upper = (a[:-1], b[:-1]), (a[1:], b[1:])
    area: FloatArray = 0.5 * (
        np.linalg.norm(np.cross(lower[1] - lower[0], upper[0] - lower[0]), axis=-1)
        + np.linalg.norm(np.cross(upper[1] - upper[0], upper[1] - lower[1]), axis=-1)
    )
    aside, up = (x[..., None] for x in _scatter(area.shape, first_row))
    low, high = (x[0] + (aside + 0.5) * (x[1] - x[0]) for x in (lower, upper))
    points: FloatArray = low + (up + 0.5) * (high - low)
    return points, area


def _scatter(shape: tuple[int, ...], first_row: int) -> tuple[FloatArray, FloatArray]:
    """Offsets from -1/2 to 1/2 along and across, one pair a patch, by row and column."""
    row, column = np.ogrid[first_row : first_row + shape[0], : shape[1]]
    along: FloatArray = (row * _ASIDE[0] + column * _ASIDE[1]) % 1.0 - 0.5
    across: FloatArray = (row * _UP[0] + column * _UP[1]) % 1.0 - 0.5
    return along, across


def _cuts(edges: FloatArray, patch_mm: float) -> NDArray[np.intp]:
    """Into how many patches each edge is cut, from edges of shape (k, m, 2)."""
    length = np.hypot(edges[..., 0], edges[..., 1]).max(axis=0)
    counts: NDArray[np.intp] = np.maximum(1, np.ceil(length / patch_mm)).astype(np.intp)
    return counts


def _spread(n: NDArray[np.intp]) -> tuple[NDArray[np.intp], FloatArray]:
    """Edge of each patch, and how far along it the middle of the patch lies."""
    which = np.repeat(np.arange(n.size), n)
    rank = np.arange(which.size) - np.repeat(np.cumsum(n) - n, n)
    return which, (rank + 0.5) / n[which]


def _area_mm2(rings: list[FloatArray], covered: list[FloatArray]) -> float:
    """Even-odd area of rings, less what other rings cover."""
    import shapely

    def body(of: list[FloatArray]) -> Any:
        merged = shapely.Polygon()
        for ring in of:
            merged = merged.symmetric_difference(shapely.make_valid(shapely.Polygon(ring)))
        return merged

    face = body(rings)
    return float((face.difference(body(covered)) if covered else face).area)
