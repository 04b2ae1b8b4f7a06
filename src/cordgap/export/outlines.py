"""Outlines on the planes of an original that hold a stated volume when they are read back.

Contours hold less than the solid that they were cut from: what happens between the planes is lost,
one or two hundredths of a sliver. Moving the outline by a few micrometres gives it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cordgap.case.structure import Structure, structure_from_contours
from cordgap.dvh.solid import Between, Ends, build_solid
from cordgap.dvh.surface import search_tree
from cordgap.errors import StructureError

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

FloatArray = NDArray[np.float64]
# Closed rings (n, 2) in mm by plane.
Rings = tuple[tuple[float, tuple[FloatArray, ...]], ...]
Section = tuple[float, "BaseGeometry"]

# Less is what is left where two outlines touch.
MIN_PIECE_MM2 = 0.05
# Promised are 0.5 % of the volume; half of it is left to what others do between planes.
VOLUME_FRACTION = 0.0025
# An outline that would have to move farther is left where it is: no display shows a tenth of a
# pixel of 1 mm, and contours are drawn no better.
MOST_SHIFT_MM = 0.1
# First step, and how often the next is taken along the line through the last two.
_STEP_MM = 0.01
_STEPS = 6


@dataclass(frozen=True, eq=False)
class Outline:
    """Rings, the volume in cc of the solid that they stand for, and how far they were moved.

    The volume is None where our own reader would make no solid of them.
    """

    planes: Rings
    volume_cc: float | None
    shift_mm: float = 0.0

    def holds(self, volume_cc: float, fraction: float = VOLUME_FRACTION) -> bool:
        """Whether the volume is this one, but for a fraction of it."""
        held = self.volume_cc
        return held is not None and abs(held - volume_cc) <= fraction * volume_cc


def outline_of(
    sections: Iterable[Section], source: Structure, *, between: Between, ends: Ends
) -> Outline:
    """Rings of cross-sections on the planes of a structure, and the volume that they hold."""
    planes = rings_of(sections)
    contours = [np.c_[ring, np.full(len(ring), z)] for z, rings in planes for ring in rings]
    single = slab_thickness_mm(source) if len(planes) == 1 else None
    try:
        drawn = structure_from_contours(1, "outline", contours, slab_thickness_mm=single)
        return Outline(planes, build_solid(drawn, between=between, ends=ends).volume_cc)
    except StructureError:
        return Outline(planes, None)


def equal_volume(at: Callable[[float], Outline], volume_cc: float) -> Outline:
    """Move an outline until it holds a volume (secant method).

    Parameters
    ----------
    at : callable
        Outline for a shift in mm of the distance at which it is cut.
    volume_cc : float
        Above 0.

    Returns
    -------
    Outline
        The one that was not moved, where it holds the volume or no shift within
        ``MOST_SHIFT_MM`` makes it so.
    """
    first = at(0.0)
    if first.volume_cc is None or first.holds(volume_cc):
        return first
    before, held, shift = 0.0, first.volume_cc, _STEP_MM
    for _ in range(_STEPS):
        if abs(shift) > MOST_SHIFT_MM:
            break
        now = at(shift)
        if now.holds(volume_cc):
            return now
        if now.volume_cc is None or now.volume_cc == held:
            break
        slope = (now.volume_cc - held) / (shift - before)
        before, held = shift, now.volume_cc
        shift += (volume_cc - held) / slope
    return first


def slab_thickness_mm(source: Structure) -> float | None:
    """Thickness of a single plane among those of a structure."""
    gaps = np.diff(source.z_mm)
    return float(np.median(gaps)) if gaps.size else source.slab_thickness_mm


def rings_of(sections: Iterable[Section]) -> Rings:
    """Closed rings of each plane, planes without area left out."""
    found = []
    for z, geometry in sections:
        parts = getattr(geometry, "geoms", [geometry])
        rings = tuple(
            keyhole(part)
            for part in parts
            if part.geom_type == "Polygon" and part.area >= MIN_PIECE_MM2
        )
        if rings:
            found.append((z, rings))
    return tuple(found)


def keyhole(polygon: BaseGeometry) -> FloatArray:
    """One ring (n, 2) that goes along a polygon and, through channels without width, its holes.

    Every planning system reads it, while not all combine contours of one plane by exclusive or.
    """
    import shapely

    solid = shapely.geometry.polygon.orient(polygon)
    ring = np.asarray(solid.exterior.coords, dtype=np.float64)[:-1, :2]
    holes = [np.asarray(h.coords, dtype=np.float64)[:-1, :2] for h in solid.interiors]
    while holes:
        tree = search_tree(ring)
        reach = [tuple(np.atleast_1d(found) for found in tree.query(hole)) for hole in holes]
        nearest = int(np.argmin([distance.min() for distance, _ in reach]))
        distance, index = reach[nearest]
        hole = holes.pop(nearest)
        j = int(np.argmin(distance))
        i = int(index[j])
        ring = np.concatenate([ring[: i + 1], hole[j:], hole[: j + 1], ring[i:]])
    return ring
