"""The hot end of the DVH of a structure grown by a margin (a planning risk volume)."""

from __future__ import annotations

import numpy as np

from cordgap.case.grid import DoseGrid
from cordgap.dvh.curve import DVH
from cordgap.dvh.lines import dose_at
from cordgap.dvh.surface import Surface, contains

# Lattice of the shell around a cord: D0.035cc holds 500 of its cells.
LATTICE_MM = 0.4
# Irrational shares of a cell, by which levels (x, y) and columns (z) are shifted.
_SHIFTS = (0.8191725134, 0.6710436067, 0.6180339887)


def hot_end_of_margin(
    surface: Surface, dose: DoseGrid, margin_mm: float, floor_gy: float
) -> DVH | None:
    """DVH, from ``floor_gy`` upwards, of a structure grown by ``margin_mm`` in 3D.

    Points below ``floor_gy`` are not looked at: the grown structure holds the structure, so its
    near-maximum is at least that of the structure, and only hotter points can matter.

    Returns
    -------
    DVH or None
        Right at doses above ``floor_gy`` and nowhere else; its total volume is what was found.
        None where the grown structure reaches beyond the dose grid, or nothing is above the floor.
    """
    lower = surface.points_mm.min(axis=0) - margin_mm - LATTICE_MM
    upper = surface.points_mm.max(axis=0) + margin_mm + LATTICE_MM
    geometry = dose.geometry
    if min(geometry.shape) < 2:
        return None
    block = dose.crop(lower, upper, pad=1)
    x, y = (np.arange(lower[i], upper[i] + LATTICE_MM, LATTICE_MM) for i in (0, 1))
    levels = np.arange(lower[2], upper[2] + LATTICE_MM, LATTICE_MM)
    kept, doses = [], []
    yy, xx = (a.ravel() for a in np.meshgrid(y, x, indexing="ij"))
    # Every level and every column is shifted by its own part of a cell, so that no layer of the
    # lattice lies along an isodose.
    lift = ((np.arange(xx.size) * _SHIFTS[2]) % 1.0 - 0.5) * LATTICE_MM
    for i, level in enumerate(levels):
        dx, dy = ((i * _SHIFTS[0]) % 1.0 - 0.5), ((i * _SHIFTS[1]) % 1.0 - 0.5)
        px, py, pz = xx + dx * LATTICE_MM, yy + dy * LATTICE_MM, level + lift
        gy = dose_at(block, px, py, pz)
        hot = np.flatnonzero(gy >= floor_gy)
        kept.append(np.c_[px[hot], py[hot], pz[hot]])
        doses.append(gy[hot])
    points, values = np.concatenate(kept), np.concatenate(doses)
    if not values.size:
        return None
    inside = contains(surface.solid, points)
    beyond = np.flatnonzero(~inside)
    inside[beyond] = surface.distance_mm(points[beyond], limit_mm=margin_mm) <= margin_mm
    points, values = points[inside], values[inside]
    low, high = geometry.lower_mm - 1e-6, geometry.upper_mm + 1e-6
    if not values.size or (points < low).any() or (points > high).any():
        return None
    values = np.sort(values)
    cell_cc = LATTICE_MM**3 / 1000
    volume = cell_cc * (np.arange(values.size, 0, -1) - 0.5)
    return DVH(
        np.r_[values[0], values, values[-1]],
        np.r_[cell_cc * values.size, volume, 0.0],
        cell_cc * values.size,
        float(values[0]),
        float(values.mean()),
        float(values[-1]),
    )
