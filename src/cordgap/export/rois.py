"""Regions that a result adds to a structure set, on the planes of the original."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cordgap.analysis import CaseResult
from cordgap.case.structure import Structure
from cordgap.dvh.solid import Solid, build_solid
from cordgap.dvh.surface import Surface, surface_of
from cordgap.errors import OptionError
from cordgap.limits.constraint import PRV_MARGIN_MM
from cordgap.report.style import REMOVED, SHELL, role_colour
from cordgap.separation.sections import even_odd, regions_within, split_target

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

FloatArray = NDArray[np.float64]

# PS3.3 C.8.8.5 allows 64 characters; Eclipse shows 16 and refuses more.
NAME_LENGTH = 16
# Less is what is left where two outlines touch.
MIN_PIECE_MM2 = 0.05
# The cord's surface is needed a little beyond the levels that look at it.
_BEYOND_MM = 2.0


@dataclass(frozen=True, eq=False)
class Roi:
    """A derived region: closed rings (n, 2) in mm by plane; a hole is joined by a keyhole.

    ``source`` is the structure whose planes it lies on.
    """

    name: str
    description: str
    colour: str
    interpreted_type: str
    source: Structure
    planes: tuple[tuple[float, tuple[FloatArray, ...]], ...]


@dataclass(frozen=True, eq=False)
class Pair:
    """Cord and target of a result as solids, and how far the cord's surface was sampled."""

    cord: Solid
    target: Solid
    cord_surface: Surface
    clearable: tuple[bool, ...]


def separations_of(result: CaseResult, at_mm: float | None = None) -> tuple[float, ...]:
    """Separations at which something is written: ``at_mm``, or the required one and what to make.

    Raises
    ------
    OptionError
        When ``at_mm`` is not above 0 and at most the largest separation considered.
    """
    most = result.settings.max_mm
    if at_mm is not None:
        if not 0 < at_mm <= most:
            raise OptionError(f"--at is {at_mm:g} mm, expected above 0 and at most {most:g}")
        return (at_mm,)
    s = result.separation
    if s is None or s.required_separation_mm is None:
        return ()
    wanted = [s.required_separation_mm]
    if s.make_mm is not None and s.make_mm > s.required_separation_mm + 0.05:
        wanted.append(s.make_mm)
    return tuple(x for x in wanted if x > 0)


def pair_of(result: CaseResult, reach_mm: float) -> Pair:
    """Build cord and target of a result with a separation, and the cord's surface around it."""
    assert result.cord is not None
    assert result.target is not None
    assert result.separation is not None
    settings = result.settings
    cord = build_solid(result.cord.structure, between=settings.between, ends=settings.ends)
    target = build_solid(result.target.structure, between=settings.between, ends=settings.ends)
    bottom, top = target.z_range_mm
    # The shell goes beyond the target by the reach, and looks at cord as far away again.
    reach = 2 * reach_mm + _BEYOND_MM
    surface = surface_of(cord, z_range_mm=(bottom - reach, top + reach))
    return Pair(cord, target, surface, tuple(x.reachable for x in result.separation.sextants))


def resection_known(result: CaseResult) -> bool:
    """Whether the result may say what is removed: not of a PTV, nor of a target half seen."""
    s = result.separation
    if s is None or s.target_role == "ptv":
        return False
    return s.required_separation_mm is None or s.resection_cc is not None


def derived_rois(
    result: CaseResult, separations_mm: Sequence[float]
) -> tuple[tuple[Roi, ...], tuple[str, ...]]:
    """Work out the regions to add: what is removed, what is left, the shell, and the cord's PRV.

    Returns
    -------
    rois, notes
        Notes say what was left out, and why.
    """
    taken = {s.roi_name.strip().casefold() for s in result.case.structures}
    rois: list[Roi] = []
    notes: list[str] = []
    if result.separation is None:
        notes.append(
            f"what is removed and left, and the shell, are not written: {result.separation_reason}"
        )
        separations_mm = ()
    elif not separations_mm:
        notes.append(
            "no required separation is known: what is removed and left, and the shell, are not "
            "written; choose a separation with --at MM"
        )
    elif not resection_known(result):
        notes.append("no resection volume can be given for this target: it is not written")
    if separations_mm:
        pair = pair_of(result, max(separations_mm))
        for separation in separations_mm:
            found, missing = _at(result, pair, separation, taken)
            rois += found
            notes += missing
    # A margin around a canal or a PRV would be no PRV of the cord.
    if result.cord is not None and result.cord.structure.role in ("cord", "other"):
        rois.append(_prv(result, result.cord.structure, taken))
    return tuple(rois), tuple(notes)


def _at(
    result: CaseResult, pair: Pair, separation_mm: float, taken: set[str]
) -> tuple[list[Roi], list[str]]:
    assert result.separation is not None
    assert result.cord is not None
    assert result.target is not None
    cord, target = result.cord.structure, result.target.structure
    mm = f"{separation_mm:.1f}mm"
    near = f"{separation_mm:.2f} mm from {cord.roi_name}"
    of = f"{near}, {result.cordgap_version}"
    rois, notes = [], []
    if resection_known(result):
        splits = split_target(
            pair.target,
            pair.cord_surface,
            separation_mm,
            z_mm=target.z_mm,
            gaps=result.separation.map,
            clearable=pair.clearable,
        )
        for word, colour, what, planes in (
            ("Resect", REMOVED, "closer than", [(s.z_mm, s.removed) for s in splits]),
            (
                "Remain",
                role_colour(target.role),
                "left after decompression to",
                [(s.z_mm, s.remaining) for s in splits],
            ),
        ):
            rings = _rings(planes)
            if not rings:
                notes.append(f"no part of {target.roi_name} is {what} {near}")
                continue
            name = unique_name(f"CG_{word}_{mm}", taken)
            words = f"cordgap: part of {target.roi_name} {what} {of}"
            rois.append(Roi(name, words, colour, "CONTROL", target, rings))
    low, high = pair.target.z_range_mm
    levels = cord.z_mm[(cord.z_mm >= low - separation_mm) & (cord.z_mm <= high + separation_mm)]
    shell = _margin(cord, pair.cord, pair.cord_surface, separation_mm, levels, hollow=True)
    name = unique_name(f"CG_Shell_{mm}", taken)
    words = f"cordgap: within {of}, the cord left out, at the levels of {target.roi_name}"
    rois.append(Roi(name, words, SHELL, "AVOIDANCE", cord, shell))
    return rois, notes


def _prv(result: CaseResult, cord: Structure, taken: set[str]) -> Roi:
    """The cord and what lies within the margin of it, at the levels where the cord is drawn."""
    solid = build_solid(cord, between=result.settings.between, ends=result.settings.ends)
    planes = _margin(cord, solid, surface_of(solid), PRV_MARGIN_MM, cord.z_mm, hollow=False)
    name = unique_name(f"CG_Cord_PRV{PRV_MARGIN_MM:g}", taken)
    words = f"cordgap: {cord.roi_name} + {PRV_MARGIN_MM:g} mm, {result.cordgap_version}"
    return Roi(name, words, role_colour("cord_prv"), "AVOIDANCE", cord, planes)


def _margin(
    structure: Structure,
    solid: Solid,
    surface: Surface,
    margin_mm: float,
    levels_mm: FloatArray,
    *,
    hollow: bool,
) -> tuple[tuple[float, tuple[FloatArray, ...]], ...]:
    import shapely

    drawn = {plane.z_mm: plane.contours for plane in solid.planes}
    planes = []
    for z, (region,) in zip(
        levels_mm.tolist(), regions_within(surface, [margin_mm], levels_mm), strict=True
    ):
        body = even_odd(drawn[z])
        grown = shapely.union(region, body)
        planes.append((z, shapely.difference(grown, body) if hollow else grown))
    return _rings(planes)


def _rings(
    planes: Iterable[tuple[float, BaseGeometry]],
) -> tuple[tuple[float, tuple[FloatArray, ...]], ...]:
    """Closed rings of each plane, planes without area left out."""
    found = []
    for z, geometry in planes:
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
    from scipy.spatial import cKDTree

    solid = shapely.geometry.polygon.orient(polygon)
    ring = np.asarray(solid.exterior.coords, dtype=np.float64)[:-1, :2]
    holes = [np.asarray(h.coords, dtype=np.float64)[:-1, :2] for h in solid.interiors]
    while holes:
        tree = cKDTree(ring)
        reach = [tuple(np.atleast_1d(found) for found in tree.query(hole)) for hole in holes]
        nearest = int(np.argmin([distance.min() for distance, _ in reach]))
        distance, index = reach[nearest]
        hole = holes.pop(nearest)
        j = int(np.argmin(distance))
        i = int(index[j])
        ring = np.concatenate([ring[: i + 1], hole[j:], hole[: j + 1], ring[i:]])
    return ring


def unique_name(wanted: str, taken: Collection[str]) -> str:
    """Return a name of at most 16 characters that is not taken (whatever its case), and take it."""
    name, number = wanted[:NAME_LENGTH], 1
    while name.casefold() in taken:
        number += 1
        suffix = f"_{number}"
        name = wanted[: NAME_LENGTH - len(suffix)] + suffix
    if isinstance(taken, set):
        taken.add(name.casefold())
    return name
