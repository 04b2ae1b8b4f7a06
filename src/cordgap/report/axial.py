"""Axial planes through the smallest gap and the worst levels, seen from the feet.

Patient right is on the left, whatever the orientation of the patient on the table: points are in
patient coordinates, and R and L stand on the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cordgap.analysis import CaseResult
from cordgap.case.grid import ScalarGrid
from cordgap.case.structure import Structure
from cordgap.dvh.planes import inside_rings
from cordgap.dvh.solid import Solid, build_solid
from cordgap.dvh.surface import surface_of
from cordgap.errors import StructureError
from cordgap.report.numbers import shown
from cordgap.report.sentence import gap_level_mm, level_label
from cordgap.report.style import BLACK, YELLOW, label, role_colour
from cordgap.separation.gap import centroid_mm, sextant_of
from cordgap.separation.result import SEXTANTS, Separation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]
Artists = dict[str, list[Any]]

VIEW_MM = 70.0
# Of planes beside each other: closer, with the dose of the limit alone.
CLOSE_VIEW_MM = 48.0
_STEP_MM = 0.25
# Soft-tissue window: centre 40 HU, width 400 HU.
WINDOW_HU = (-160.0, 240.0)
ISODOSES_PERCENT = (30.0, 50.0, 70.0, 90.0, 100.0, 110.0)
# An isodose this close to the dose of the limit is left out beside it.
_TOO_CLOSE_PERCENT = 3.0
# Labels of isodoses keep this far from the middle of the picture, as shares of the view.
_LABEL_SHARE = (0.23, 0.44)
# What labels keep clear of, as a share of the view: R, L, A, P, the scale.
_MARK_PLACES = {
    "R": (0.02, 0.5), "L": (0.98, 0.5), "A": (0.5, 0.02), "P": (0.5, 0.98), "scale": (0.13, 0.95),
}  # fmt: skip
# As many planes stand beside each other.
_MOST_LEVELS = 3
# The gap is drawn on planes this near to it.
_GAP_REACH_MM = 1.0


@dataclass(frozen=True, eq=False)
class _View:
    """A square of the plane: its sample positions, and what lies under the lines."""

    x_mm: FloatArray
    y_mm: FloatArray
    z_mm: float
    dark: bool

    @property
    def size_mm(self) -> float:
        return float(self.x_mm[-1] - self.x_mm[0])

    @property
    def extent(self) -> tuple[float, float, float, float]:
        return self.x_mm[0], self.x_mm[-1], self.y_mm[-1], self.y_mm[0]

    @property
    def points(self) -> FloatArray:
        x, y = np.meshgrid(self.x_mm, self.y_mm)
        return np.stack([x.ravel(), y.ravel(), np.full(x.size, self.z_mm)], axis=1)


def plot_axial(ax: Axes, result: CaseResult, z_mm: float | None = None) -> Artists:
    """Draw one axial plane: CT, isodoses, contours, the gap, and what would have to go.

    Parameters
    ----------
    ax : Axes
    result : CaseResult
    z_mm : float, optional
        The plane; the one through the smallest gap if it is not given.

    Returns
    -------
    dict
        The artists: ``image``, ``isodoses``, ``contours``, ``removal``, ``gap``, ``marks``.
    """
    solids = solids_shown(result)
    z = _plane_mm(result, solids, z_mm)
    artists = _draw_plane(ax, result, solids, z)
    ax.set_title(f"Axial plane z = {shown(z, 1)} mm; {label(level_label(result, z), 60)}")
    _legend(ax, artists, -0.01)
    return artists


def plot_levels(ax: Axes, result: CaseResult) -> list[Artists]:
    """Draw the axial planes with most to remove, most first, beside each other.

    Parameters
    ----------
    ax : Axes
        Turned off; the planes are drawn on insets.
    result : CaseResult

    Returns
    -------
    list of dict
        The artists of each plane as in :func:`plot_axial`, and ``axes``.
    """
    ax.set_axis_off()
    levels = result.separation.worst_levels_mm if result.separation else ()
    if not levels:
        ax.set_title("Planes with most to remove")
        words = "nothing is to be removed, or no separation is known"
        ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center")
        return []
    ax.set_title("Planes with most to remove", pad=26)
    solids = solids_shown(result)
    planes = []
    for i, z in enumerate(levels):
        inset = ax.inset_axes((i / _MOST_LEVELS, 0.0, 0.97 / _MOST_LEVELS, 1.0))
        artists = _draw_plane(inset, result, solids, z, size_mm=CLOSE_VIEW_MM)
        name = label(f"z = {shown(z, 1)} mm; {level_label(result, z)}", 70)
        inset.set_title("\n".join(wrap(name, 36)), fontsize=7.5, pad=4)
        planes.append(artists | {"axes": [inset]})
    _legend(ax, planes[0], -0.02)
    return planes


def _draw_plane(
    ax: Axes,
    result: CaseResult,
    solids: list[tuple[Structure, Solid]],
    z_mm: float,
    size_mm: float = VIEW_MM,
) -> Artists:
    s = result.separation
    view = _view(result, solids, z_mm, size_mm)
    artists: Artists = {"image": [], "isodoses": [], "contours": [], "removal": []}
    if result.case.image is not None:
        hu = sample_plane(result.case.image, view.x_mm, view.y_mm, z_mm)
        low, high = WINDOW_HU
        artists["image"] = [
            ax.imshow(hu, cmap="gray", vmin=low, vmax=high, extent=view.extent, aspect="equal")
        ]
    artists["removal"] = _draw_removal(ax, result, solids, view)
    artists["isodoses"] = _draw_isodoses(ax, result, view)
    artists["contours"] = _draw_contours(ax, solids, view)
    artists["gap"] = _draw_gap(ax, s, view) if s is not None else []
    artists["marks"] = _draw_marks(ax, view)
    ax.set(xlim=view.extent[:2], ylim=view.extent[2:], xticks=[], yticks=[])
    ax.set_aspect("equal")
    return artists


def _legend(ax: Axes, artists: Artists, down: float) -> None:
    handles = [a for a in [*artists["contours"], *artists["removal"]] if a.get_label()]
    if handles:
        ax.legend(
            handles, [h.get_label() for h in handles], loc="upper left", ncols=min(3, len(handles)),
            bbox_to_anchor=(0.0, down), borderaxespad=0.0, handlelength=1.4,
        )  # fmt: skip


def sample_plane(grid: ScalarGrid, x_mm: FloatArray, y_mm: FloatArray, z_mm: float) -> FloatArray:
    """Read a grid on an axial plane, trilinearly; nan outside."""
    lower, upper = [x_mm[0], y_mm[0], z_mm], [x_mm[-1], y_mm[-1], z_mm]
    part = grid.crop(lower, upper)
    geometry, values = part.geometry, part.values
    whole = grid.geometry
    for axis, (positions, known) in enumerate(
        (
            (np.array([z_mm]), geometry.z_mm),
            (y_mm, geometry.y_mm),
            (x_mm, geometry.x_mm),
        )
    ):
        if known.size == 1:
            values = np.repeat(values, positions.size, axis=axis)
            continue
        i = np.clip(np.searchsorted(known, positions, side="right") - 1, 0, known.size - 2)
        share = (positions - known[i]) / (known[i + 1] - known[i])
        shape = [-1 if a == axis else 1 for a in range(3)]
        share = share.reshape(shape)
        values = (
            np.take(values, i, axis=axis) * (1 - share) + np.take(values, i + 1, axis=axis) * share
        )
    plane = np.array(values[0])
    plane[:, (x_mm < whole.x_mm[0]) | (x_mm > whole.x_mm[-1])] = np.nan
    plane[(y_mm < whole.y_mm[0]) | (y_mm > whole.y_mm[-1]), :] = np.nan
    if z_mm < whole.z_mm[0] or z_mm > whole.z_mm[-1]:
        plane[:] = np.nan
    return plane


def solids_shown(result: CaseResult) -> list[tuple[Structure, Solid]]:
    """Solids of what the picture shows, the target first and the cord last (on top)."""
    cord = result.cord.structure if result.cord else None
    target = result.target.structure if result.target else None
    beside = [
        s
        for role in ("canal", "thecal_sac", "cord_prv")
        for s in result.case.structures
        if s.role == role and s is not cord and s is not target
    ]
    found = []
    for structure in (target, *beside, cord):
        if structure is None:
            continue
        try:
            solid = build_solid(
                structure, between=result.settings.between, ends=result.settings.ends
            )
        except StructureError:
            continue
        found.append((structure, solid))
    return found


def _plane_mm(
    result: CaseResult, solids: list[tuple[Structure, Solid]], z_mm: float | None
) -> float:
    if z_mm is not None:
        return z_mm
    z = gap_level_mm(result.separation)
    if z is not None:
        return z
    return float(np.mean(solids[-1][1].z_range_mm)) if solids else 0.0


def _view(
    result: CaseResult, solids: list[tuple[Structure, Solid]], z_mm: float, size_mm: float
) -> _View:
    rings = solids[-1][1].section_at(z_mm) if solids else []
    if rings:
        centre = centroid_mm(rings)
    elif result.separation is not None:
        centre = np.array(result.separation.closest_cord_point_mm[:2])
    else:
        centre = np.zeros(2)
    half = np.arange(-size_mm / 2, size_mm / 2 + _STEP_MM / 2, _STEP_MM)
    return _View(centre[0] + half, centre[1] + half, z_mm, result.case.image is not None)


def _stroke(width: float, colour: str) -> list[Any]:
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=width, foreground=colour)]


def _draw_contours(ax: Axes, solids: list[tuple[Structure, Solid]], view: _View) -> list[Any]:
    artists = []
    for structure, solid in solids:
        name: str | None = label(structure.roi_name)
        for ring in solid.section_at(view.z_mm):
            closed = np.vstack([ring, ring[:1]])
            (line,) = ax.plot(
                closed[:, 0], closed[:, 1], color=role_colour(structure.role), lw=1.8,
                label=name or "", path_effects=_stroke(3.0, "white") if view.dark else None,
            )  # fmt: skip
            line.set_label(name or "")
            name = None
            artists.append(line)
    return artists


def _draw_removal(
    ax: Axes, result: CaseResult, solids: list[tuple[Structure, Solid]], view: _View
) -> list[Any]:
    """Tint the target on this plane that is closer to the cord, in 3D, than required.

    A dashed line inside the target shows how far what is to be made reaches. Where surgery can
    clear some sextants only, what stays in the others is not tinted.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    s = result.separation
    if s is None or s.required_separation_mm is None or len(solids) < 2:
        return []
    required = s.required_separation_mm
    farthest = max(required, s.make_mm or 0.0)
    if farthest <= s.separation_mm:
        return []
    cord, target = solids[-1][1], solids[0][1]
    rings = target.section_at(view.z_mm)
    if not rings:
        return []
    points = view.points
    inside = np.flatnonzero(inside_rings(rings, points[:, :2]))
    names = [x.name for x in s.sextants if x.reachable]
    if len(names) < len(SEXTANTS):
        can = np.array([name in names for name in SEXTANTS])
        inside = inside[can[sextant_of(points[inside], s.map)]]
    reach = (view.z_mm - farthest - 1.0, view.z_mm + farthest + 1.0)
    surface = surface_of(cord, z_range_mm=reach)
    if not inside.size or not len(surface.points_mm):
        return []
    each = np.full(len(points), np.nan)
    each[inside] = surface.distance_mm(points[inside], limit_mm=farthest + 1.0)
    distance = each.reshape(view.y_mm.size, view.x_mm.size)
    handles: list[Any] = []
    mask = distance < required
    if required > s.separation_mm and mask.any():
        ax.contourf(
            view.x_mm, view.y_mm, mask.astype(float), levels=[0.5, 1.5], colors=[YELLOW],
            alpha=0.75, hatches=["////"], zorder=1.5,
        )  # fmt: skip
        text = f"closer than the required {shown(required, 1, 'mm')}"
        handles.append(Patch(facecolor=YELLOW, hatch="////", label=text))
    if s.make_mm is not None and np.nanmin(distance) < s.make_mm < np.nanmax(distance):
        ax.contour(
            view.x_mm, view.y_mm, np.ma.masked_invalid(np.minimum(distance, farthest + 1.0)),
            levels=[s.make_mm], colors=[YELLOW], linewidths=1.6, linestyles="dashed", zorder=1.6,
        ).set_path_effects(_stroke(2.6, "black"))  # fmt: skip
        text = f"{shown(s.make_mm, 1, 'mm')} from the cord (make)"
        handles.append(Line2D([], [], color=YELLOW, ls="--", lw=1.6, label=text,
                              path_effects=_stroke(2.6, "black")))  # fmt: skip
    return handles


def _draw_isodoses(ax: Axes, result: CaseResult, view: _View) -> list[Any]:
    rx, dose = result.prescription, result.case.dose
    if rx is None or dose is None:
        return []
    gy = sample_plane(dose, view.x_mm, view.y_mm, view.z_mm)
    percent = np.ma.masked_invalid(100.0 * gy / rx.dose_gy)
    if percent.count() == 0:
        return []
    limit = _limit_percent(result)
    levels = [p for p in ISODOSES_PERCENT if limit is None or abs(p - limit) > _TOO_CLOSE_PERCENT]
    ink, halo = ("white", "black") if view.dark else ("#333333", "white")
    artists = []
    taken = [np.array(place) * view.size_mm for place in _MARK_PLACES.values()]
    if result.separation is not None:
        place = _gap_words_place(result.separation, view)
        taken.append(np.array(place) - [view.x_mm[0], view.y_mm[0]])
    if view.size_mm < VIEW_MM:
        levels = []
    for values, width, style in ((levels, 0.9, "solid"), ([limit], 1.8, "dashed")):
        inside = [v for v in values if v is not None and percent.min() < v < percent.max()]
        if not inside:
            continue
        lines = ax.contour(
            view.x_mm, view.y_mm, percent, levels=inside, colors=[ink], linewidths=width,
            linestyles=style,
        )  # fmt: skip
        lines.set_path_effects(_stroke(width + 0.8, halo))
        places = [
            p
            for path in lines.get_paths()
            if (p := _place(np.asarray(path.vertices, float), view, taken))
        ]
        words = (
            (lambda p: f"limit {p * rx.dose_gy / 100:g} Gy")
            if style == "dashed"
            else (lambda p: f"{p:.0f} %")
        )
        if places:
            for text in ax.clabel(lines, fmt=words, fontsize=7, inline_spacing=3, manual=places):
                text.set_path_effects(_stroke(1.5, halo))
        artists.append(lines)
    return artists


def _place(
    vertices: FloatArray, view: _View, taken: list[FloatArray]
) -> tuple[float, float] | None:
    """Point of an isodose for its label: away from the cord, the edge and other labels."""
    origin = np.array([view.x_mm[0], view.y_mm[0]])
    places = vertices - origin
    radius = np.abs(places / view.size_mm - 0.5).max(axis=1)
    free = places[(radius > _LABEL_SHARE[0]) & (radius < _LABEL_SHARE[1])]
    if not len(free):
        return None
    nearest = np.min([np.linalg.norm(free - p, axis=1) for p in taken], axis=0)
    best = free[int(np.argmax(np.minimum(nearest, 12.0)))]
    taken.append(best)
    return float(best[0] + origin[0]), float(best[1] + origin[1])


def _limit_percent(result: CaseResult) -> float | None:
    """Dose of the binding cord limit in % of the prescription."""
    s, rx = result.separation, result.prescription
    if s is None or rx is None:
        return None
    for goal in s.cord_goals:
        if goal.id == s.binding_constraint and goal.unit == "Gy":
            return 100.0 * goal.limit / rx.dose_gy
    return None


def _draw_gap(ax: Axes, s: Separation, view: _View) -> list[Any]:
    a, b = np.array(s.closest_cord_point_mm), np.array(s.closest_target_point_mm)
    if abs(0.5 * (a[2] + b[2]) - view.z_mm) > _GAP_REACH_MM:
        return []
    (line,) = ax.plot(
        [a[0], b[0]], [a[1], b[1]], color=BLACK, lw=2.2, marker="o", ms=3.5, mfc="white",
        zorder=5,
    )  # fmt: skip
    middle = 0.5 * (a + b)[:2]
    place = _gap_words_place(s, view)
    text = ax.annotate(
        f"gap {shown(s.separation_mm, 1, 'mm')}", xy=tuple(middle), xytext=place,
        fontsize=9, fontweight="bold", ha="center", va="center", zorder=6,
        bbox={"boxstyle": "round,pad=0.25", "fc": "white", "ec": BLACK, "lw": 0.8},
        arrowprops={"arrowstyle": "-", "color": BLACK, "lw": 1.0},
    )  # fmt: skip
    return [line, text]


def _gap_words_place(s: Separation, view: _View) -> tuple[float, float]:
    """Where the words of the gap stand: on its side, above or below the letter of that side."""
    x = 0.5 * (s.closest_cord_point_mm[0] + s.closest_target_point_mm[0])
    y = 0.5 * (s.closest_cord_point_mm[1] + s.closest_target_point_mm[1])
    side = -1.0 if x < view.x_mm.mean() else 1.0
    down = 5.0 if y > view.y_mm.mean() + 2.0 else -5.0
    return float(view.x_mm.mean() + side * 0.36 * view.size_mm), y + down


def _draw_marks(ax: Axes, view: _View) -> list[Any]:
    ink, halo = ("white", "black") if view.dark else ("black", "white")
    sides = {"R": "left", "L": "right"}
    tops = {"A": "top", "P": "bottom"}
    marks = [
        ax.text(
            x, 1 - y, mark, transform=ax.transAxes, color=ink, fontsize=12, fontweight="bold",
            ha=sides.get(mark, "center"), va=tops.get(mark, "center"),
            path_effects=_stroke(2.0, halo), zorder=6,
        )
        for mark, (x, y) in _MARK_PLACES.items()
        if mark != "scale"
    ]  # fmt: skip
    bar = view.x_mm[0] + 4.0, view.y_mm[-1] - 3.0
    (scale,) = ax.plot(
        [bar[0], bar[0] + 10.0], [bar[1]] * 2, color=ink, lw=2.0, path_effects=_stroke(3.2, halo)
    )
    words = ax.text(
        bar[0] + 5.0, bar[1] - 0.8, "10 mm", color=ink, fontsize=7, ha="center", va="bottom",
        path_effects=_stroke(1.6, halo),
    )  # fmt: skip
    return [*marks, scale, words]
