"""Regions that a result adds to a structure set, on the planes of the original."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil

import numpy as np
from numpy.typing import NDArray

from cordgap.analysis import CaseResult
from cordgap.case.structure import Structure
from cordgap.dvh.solid import Solid, build_solid
from cordgap.dvh.surface import Surface, surface_of
from cordgap.errors import OptionError
from cordgap.export.outlines import (
    VOLUME_FRACTION,
    Outline,
    Rings,
    Section,
    equal_volume,
    outline_of,
    rings_of,
)
from cordgap.limits.constraint import PRV_MARGIN_MM
from cordgap.report.style import REMOVED, SHELL, role_colour
from cordgap.separation.result import GapMap
from cordgap.separation.sections import Split, even_odd, regions_within, split_target

FloatArray = NDArray[np.float64]

# PS3.3 C.8.8.5 allows 64 characters; Eclipse shows 16 and refuses more.
NAME_LENGTH = 16
# What lies between the planes and is less than this is not worth a word.
LEAST_CC = 0.001
# Separations that differ by less are the same.
_SAME_MM = 1e-6
# Distance of the cross-sections from which a volume is added up.
LEVELS_MM = 0.5
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
    planes: Rings


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
    rois: list[Roi] = []
    notes: list[str] = []
    if resection_known(result):
        pieces = _pieces(result, pair, separation_mm)
        for (word, what, colour), (volume_cc, outline) in zip(
            (
                ("Resect", "closer than", REMOVED),
                ("Remain", "left after decompression to", role_colour(target.role)),
            ),
            pieces,
            strict=True,
        ):
            if not outline.planes:
                lost = f": {volume_cc:.3f} cc between the planes" if volume_cc >= LEAST_CC else ""
                notes.append(f"no plane holds a part of {target.roi_name} {what} {near}{lost}")
                continue
            name = unique_name(f"CG_{word}_{mm}", taken)
            if not outline.holds(volume_cc, 2 * VOLUME_FRACTION):
                held = "no volume" if outline.volume_cc is None else f"{outline.volume_cc:.3f} cc"
                notes.append(f"the contours of {name} hold {held}, not {volume_cc:.3f} cc")
            words = f"cordgap: part of {target.roi_name} {what} {of}, {volume_cc:.3f} cc"
            if outline.shift_mm:
                words += f", outline moved by {outline.shift_mm:+.3f} mm to hold it"
            rois.append(Roi(name, words, colour, "CONTROL", target, outline.planes))
    low, high = pair.target.z_range_mm
    levels = cord.z_mm[(cord.z_mm >= low - separation_mm) & (cord.z_mm <= high + separation_mm)]
    shell = _margin(cord, pair.cord, pair.cord_surface, separation_mm, levels, hollow=True)
    name = unique_name(f"CG_Shell_{mm}", taken)
    words = f"cordgap: within {of}, the cord left out, at the levels of {target.roi_name}"
    rois.append(Roi(name, words, SHELL, "AVOIDANCE", cord, shell))
    return rois, notes


def _pieces(
    result: CaseResult, pair: Pair, separation_mm: float
) -> tuple[tuple[float, Outline], tuple[float, Outline]]:
    """What is removed and what is left: volume in cc, and outlines that hold it.

    Both are cut along one line, which is moved until the smaller holds its volume.
    """
    assert result.separation is not None
    assert result.target is not None
    source, gaps, settings = result.target.structure, result.separation.map, result.settings

    @cache
    def cut(shift_mm: float) -> list[Split]:
        return split_target(
            pair.target,
            pair.cord_surface,
            separation_mm + shift_mm,
            z_mm=source.z_mm,
            gaps=gaps,
            clearable=pair.clearable,
        )

    def removed(shift_mm: float) -> Outline:
        sections = [(x.z_mm, x.removed) for x in cut(shift_mm)]
        return outline(sections, shift_mm)

    def left(shift_mm: float) -> Outline:
        sections = [(x.z_mm, x.remaining) for x in cut(shift_mm)]
        return outline(sections, shift_mm)

    def outline(sections: list[Section], shift_mm: float) -> Outline:
        found = outline_of(sections, source, between=settings.between, ends=settings.ends)
        return replace(found, shift_mm=shift_mm)

    removed_cc = stated_cc(result, separation_mm)
    if removed_cc is None:
        removed_cc = removed_volume_cc(pair, gaps, separation_mm)
    left_cc = max(pair.target.volume_cc - removed_cc, 0.0)
    pair_of_pieces = [(removed_cc, removed), (left_cc, left)]
    small, large = sorted(pair_of_pieces, key=lambda piece: piece[0])
    first = equal_volume(small[1], small[0])
    second = large[1](first.shift_mm)
    if not second.holds(large[0]):
        second = equal_volume(large[1], large[0])
    found = {small[1]: (small[0], first), large[1]: (large[0], second)}
    return found[removed], found[left]


def stated_cc(result: CaseResult, separation_mm: float) -> float | None:
    """Volume that the result states for what is removed at a separation; None where it does not."""
    s = result.separation
    assert s is not None
    required = s.required_separation_mm
    if required is not None and abs(required - separation_mm) < _SAME_MM:
        return s.resection_cc
    same = (p for p in s.curve if abs(p.separation_mm - separation_mm) < _SAME_MM)
    return next((p.resection_cc for p in same if p.resection_cc is not None), None)


def removed_volume_cc(
    pair: Pair, gaps: GapMap, separation_mm: float, *, step_mm: float = LEVELS_MM
) -> float:
    """Volume removed, from the cross-section in the middle of every layer of the target.

    Layers thicker than ``step_mm`` are looked at in several places.
    """
    edges = [
        np.linspace(x.bottom_mm, x.top_mm, 1 + ceil((x.top_mm - x.bottom_mm) / step_mm))
        for x in pair.target.layers
    ]
    bottom = np.concatenate([e[:-1] for e in edges])
    top = np.concatenate([e[1:] for e in edges])
    splits = split_target(
        pair.target,
        pair.cord_surface,
        separation_mm,
        z_mm=0.5 * (bottom + top),
        gaps=gaps,
        clearable=pair.clearable,
    )
    return float(np.dot([s.removed.area for s in splits], top - bottom)) / 1000.0


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
) -> Rings:
    import shapely

    drawn = {plane.z_mm: plane.contours for plane in solid.planes}
    planes = []
    for z, (region,) in zip(
        levels_mm.tolist(), regions_within(surface, [margin_mm], levels_mm), strict=True
    ):
        body = even_odd(drawn[z])
        grown = shapely.union(region, body)
        planes.append((z, shapely.difference(grown, body) if hollow else grown))
    return rings_of(planes)


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
