"""What the axial viewer of the page draws, plane by plane, small enough to travel in the page.

A plane holds a picture of the CT, outlines, isodoses, and the distance to the cord on a coarse
lattice. The browser interpolates that distance and shades what is closer than the slider says, so
that one small table serves every separation.
"""

from __future__ import annotations

import io
import itertools
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cordgap.analysis import CaseResult
from cordgap.case.grid import ScalarGrid
from cordgap.case.structure import Structure
from cordgap.dvh.solid import Solid
from cordgap.dvh.surface import surface_of
from cordgap.report.axial import ISODOSES_PERCENT, WINDOW_HU, sample_plane, solids_shown
from cordgap.report.numbers import shown
from cordgap.report.sentence import level_label
from cordgap.report.style import role_colour
from cordgap.separation.result import Separation

FloatArray = NDArray[np.float64]
Plane = dict[str, Any]

# Most planes in a page: beyond, every second or third level is shown.
MOST_PLANES = 150
# Beyond the levels of the map, along the cord, planes are at least this far apart.
BEYOND_MM = 3.0
# Sides of the square that is shown, and the room left around cord and target.
LEAST_VIEW_MM, MOST_VIEW_MM, ROOM_MM = 70.0, 160.0, 12.0
# Pixels of a picture are at least this large, and at most so many stand in a row.
PIXEL_MM, MOST_PIXELS = 0.5, 200
JPEG_QUALITY = 85
# Lattice of distances to the cord, and what a byte of it stands for: -2 mm and up.
LATTICE_MM, LOWEST_MM = 1.0, -2.0
_TOP_BYTE = 254
# Outlines may leave out points that lie this near to the line; coordinates have 0.01 mm.
OUTLINE_MM = 0.05


@dataclass(frozen=True)
class View:
    """The square that every plane shows, in patient coordinates."""

    left_mm: float
    front_mm: float
    size_mm: float

    def axis_mm(self, start_mm: float, step_mm: float) -> FloatArray:
        """Middles of steps along one side."""
        n = round(self.size_mm / step_mm)
        return start_mm + (np.arange(n, dtype=np.float64) + 0.5) * (self.size_mm / n)


def axial_planes(result: CaseResult, s: Separation) -> dict[str, Any]:
    """Return the planes of the axial viewer, ready for JSON.

    Parameters
    ----------
    result : CaseResult
    s : Separation
        Of ``result``; its map says which levels there are.

    Returns
    -------
    dict
        ``view`` (square in mm), ``byte_mm`` and ``lowest_mm`` (what a byte of a distance lattice
        stands for), ``step_mm`` (between planes), ``near_target_mm`` (first and last plane of the
        map), ``beyond_mm`` (between the planes along the cord before and after; None without
        any), ``planes``, ``structures``.
    """
    near_target = plane_levels(s)
    solids = solids_shown(result)
    centred = np.isfinite(s.map.centre_mm).all(axis=1)
    if not near_target.size or not centred.any() or len(solids) < 2:
        return {"planes": []}
    view = _view(solids, s)
    levels, beyond_mm = levels_along(near_target, solids[-1][1], view)
    byte_mm = (result.settings.max_mm + 1.0 - LOWEST_MM) / _TOP_BYTE
    near = _distances(solids, levels, result.settings.max_mm, byte_mm)
    pictures = _pictures(result.case.image, view, levels)
    doses = _isodoses(result, view, levels)
    planes = []
    for i, z in enumerate(levels):
        planes.append(
            {
                "z_mm": round(float(z), 2),
                "z": shown(float(z), 1),
                "label": level_label(result, float(z)),
                "centre": _centre(s, float(z), view),
                "rings": [
                    [_flat(ring, view) for ring in solid.section_at(float(z))]
                    for _, solid in solids
                ],
                "isodoses": doses[i],
                "picture": pictures[i],
                "near": _placed(near[i], view),
            }
        )
    return {
        "view": {"left_mm": view.left_mm, "front_mm": view.front_mm, "size_mm": view.size_mm},
        "byte_mm": byte_mm,
        "lowest_mm": LOWEST_MM,
        "lattice_mm": LATTICE_MM,
        # Half a byte, and what the lattice adds, rounded up.
        "shade_mm": float(np.ceil(10.0 * (0.5 * byte_mm + 0.05)) / 10.0),
        "step_mm": float(near_target[1] - near_target[0]) if near_target.size > 1 else 0.0,
        "near_target_mm": [float(near_target[0]), float(near_target[-1])],
        "beyond_mm": beyond_mm if levels.size > near_target.size else None,
        "structures": [
            {"name": x.roi_name, "colour": role_colour(x.role), "role": x.role} for x, _ in solids
        ],
        "has_ct": result.case.image is not None,
        "planes": planes,
    }


def plane_levels(s: Separation) -> FloatArray:
    """Levels of the map, thinned evenly where there are too many for a page."""
    levels = s.map.level_mm
    every = int(np.ceil(levels.size / MOST_PLANES)) if levels.size else 1
    thinned: FloatArray = levels[::every]
    return thinned


def levels_along(near_target: FloatArray, cord: Solid, view: View) -> tuple[FloatArray, float]:
    """Go on along the cord from the levels of the map, as far as the view shows all of it.

    Returns
    -------
    levels, beyond_mm
        Ascending, at most ``MOST_PLANES`` (or those of the map); the step of those that were added.
    """
    low, high = cord.z_range_mm
    lengths = max(float(near_target[0]) - low, 0.0), max(high - float(near_target[-1]), 0.0)
    room = MOST_PLANES - near_target.size
    if room < 1:
        return near_target, 0.0
    step = max(BEYOND_MM, sum(lengths) / room)
    added: list[list[float]] = []
    for start, length, towards in zip(near_target[[0, -1]], lengths, (-step, step), strict=True):
        levels = start + towards * np.arange(1, int(length / step) + 1)
        seen = itertools.takewhile(lambda z: _shows(view, cord.section_at(z)), levels.tolist())
        added.append(list(seen))
    return np.array([*reversed(added[0]), *near_target, *added[1]]), step


def _shows(view: View, rings: Sequence[FloatArray]) -> bool:
    """Whether a cross-section is there and lies in the view."""
    if not rings:
        return False
    places = np.concatenate(rings) - [view.left_mm, view.front_mm]
    return bool((places >= 0.0).all() and (places <= view.size_mm).all())


def _view(solids: Sequence[tuple[Structure, Solid]], s: Separation) -> View:
    known = s.map.centre_mm[np.isfinite(s.map.centre_mm).all(axis=1)]
    target = solids[0][1]
    low = np.minimum(known.min(axis=0), target.bounds_mm[0][:2]) - ROOM_MM
    high = np.maximum(known.max(axis=0), target.bounds_mm[1][:2]) + ROOM_MM
    size = float(np.clip((high - low).max(), LEAST_VIEW_MM, MOST_VIEW_MM))
    middle = 0.5 * (low + high)
    # Too wide a target: the cord decides.
    cord = 0.5 * (known.min(axis=0) + known.max(axis=0))
    off = np.clip(middle - cord, -0.3 * size, 0.3 * size)
    corner = np.round(cord + off - size / 2, 2)
    return View(float(corner[0]), float(corner[1]), round(size, 2))


def _centre(s: Separation, z: float, view: View) -> list[int] | None:
    i = int(np.argmin(np.abs(s.map.level_mm - z)))
    centre = s.map.centre_mm[i]
    if not s.map.level_mm[0] <= z <= s.map.level_mm[-1] or not np.isfinite(centre).all():
        return None
    return _flat(centre[None], view)


def _flat(points: FloatArray, view: View) -> list[int]:
    """Points as whole hundredths of a mm from the corner: x, y, x, y, ..."""
    if len(points) > 3:
        from shapely import LineString

        points = np.asarray(LineString(points).simplify(OUTLINE_MM).coords)[:, :2]
    offset = 100.0 * (points - np.array([view.left_mm, view.front_mm]))
    return [int(v) for v in np.round(offset).ravel()]


def _distances(
    solids: Sequence[tuple[Structure, Solid]], levels: FloatArray, max_mm: float, byte_mm: float
) -> list[Plane | None]:
    """Distance to the cord around the target of each plane, as bytes on a lattice."""
    target, cord = solids[0][1], solids[-1][1]
    boxes: list[tuple[FloatArray, FloatArray] | None] = []
    points = []
    there = []
    reach = max_mm + LATTICE_MM
    for z in levels:
        rings = target.section_at(float(z))
        outline = cord.section_at(float(z)) or [
            cord.bounds_mm[0][None, :2],
            cord.bounds_mm[1][None, :2],
        ]
        box = None
        if rings:
            every, around = np.concatenate(rings), np.concatenate(outline)
            # Two lattice steps around, so that every pixel of the target lies between four points.
            low = np.maximum(every.min(axis=0) - 2 * LATTICE_MM, around.min(axis=0) - reach)
            high = np.minimum(every.max(axis=0) + 2 * LATTICE_MM, around.max(axis=0) + reach)
            if (high > low).all():
                x = np.arange(np.floor(low[0]), np.ceil(high[0]) + 0.5, LATTICE_MM)
                y = np.arange(np.floor(low[1]), np.ceil(high[1]) + 0.5, LATTICE_MM)
                box = (x, y)
                xx, yy = np.meshgrid(x, y)
                points.append(np.c_[xx.ravel(), yy.ravel(), np.full(xx.size, z)])
                there.append(float(z))
        boxes.append(box)
    if not points:
        return [None] * len(boxes)
    span = (there[0] - reach, there[-1] + reach)
    surface = surface_of(cord, z_range_mm=span)
    distance = surface.distance_mm(np.concatenate(points), limit_mm=max_mm + 1.0)
    level = np.clip(np.round((distance - LOWEST_MM) / byte_mm), 0, 255)
    found: list[Plane | None] = []
    start = 0
    for box in boxes:
        if box is None:
            found.append(None)
            continue
        x, y = box
        part = level[start : start + x.size * y.size].astype(np.uint8)
        start += part.size
        data = b64encode(part.tobytes()).decode("ascii")
        found.append({"x": x[0], "y": y[0], "columns": x.size, "rows": y.size, "data": data})
    return found


def _placed(near: Plane | None, view: View) -> Plane | None:
    """Move the corner of a lattice to that of the view, in mm."""
    if near is None:
        return None
    return near | {
        "x": round(float(near["x"]) - view.left_mm, 4),
        "y": round(float(near["y"]) - view.front_mm, 4),
    }


def _pictures(image: ScalarGrid | None, view: View, levels: FloatArray) -> list[str | None]:
    """CT of each plane as JPEG, grey where there is none."""
    if image is None:
        return [None] * levels.size
    from PIL import Image

    pixel = max(PIXEL_MM, view.size_mm / MOST_PIXELS)
    x, y = view.axis_mm(view.left_mm, pixel), view.axis_mm(view.front_mm, pixel)
    block = image.crop((x[0], y[0], levels[0]), (x[-1], y[-1], levels[-1]))
    low, high = WINDOW_HU
    pictures: list[str | None] = []
    for z in levels:
        hu = sample_plane(block, x, y, float(z))
        if not np.isfinite(hu).any():
            pictures.append(None)
            continue
        grey = np.clip(255.0 * (np.nan_to_num(hu, nan=low) - low) / (high - low), 0, 255)
        buffer = io.BytesIO()
        Image.fromarray(grey.astype(np.uint8)).save(buffer, "JPEG", quality=JPEG_QUALITY)
        pictures.append(b64encode(buffer.getvalue()).decode("ascii"))
    return pictures


def _isodoses(result: CaseResult, view: View, levels: FloatArray) -> list[list[Plane]]:
    """Isodose lines of each plane: the dose they stand for, and their points."""
    rx, dose = result.prescription, result.case.dose
    if rx is None or dose is None or min(dose.geometry.shape) < 2:
        return [[] for _ in levels]
    from contourpy import contour_generator

    x, y = (view.axis_mm(start, 1.0) for start in (view.left_mm, view.front_mm))
    block = dose.crop((x[0], y[0], levels[0]), (x[-1], y[-1], levels[-1]))
    wanted = [(p * rx.dose_gy / 100.0, f"{p:g} %", "") for p in ISODOSES_PERCENT]
    limit = limit_gy(result)
    if limit is not None:
        wanted.append((limit, f"limit {limit:g} Gy", "limit"))
    found = []
    for z in levels:
        lines = contour_generator(x, y, np.ma.masked_invalid(sample_plane(block, x, y, float(z))))
        here = []
        for gy, words, kind in wanted:
            parts = [_flat(np.asarray(line), view) for line in lines.lines(gy)]
            if parts:
                here.append({"words": words, "kind": kind, "lines": parts})
        found.append(here)
    return found


def limit_gy(result: CaseResult) -> float | None:
    """Dose of the binding cord limit; None where it is no dose."""
    s = result.separation
    if s is None:
        return None
    for goal in s.cord_goals:
        if goal.id == s.binding_constraint and goal.unit == "Gy":
            return goal.limit
    return None
