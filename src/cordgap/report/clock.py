"""The clock face: the six sextants around the cord with their millimetres, seen from the feet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cordgap.analysis import CaseResult
from cordgap.report.axial import Artists
from cordgap.report.numbers import shown
from cordgap.report.style import BLACK, BLUE, GREY, VERMILION
from cordgap.separation.result import Sextant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INNER, _OUTER, _WORDS = 0.30, 1.0, 0.67
_SIDES = (("ANTERIOR", 0), ("LEFT", 90), ("POSTERIOR", 180), ("RIGHT", 270))
# The tint of what is missing, light enough for black words and for grey print.
_TINT = "#FBE3D3"


def plot_clock(ax: Axes, result: CaseResult) -> Artists:
    """Draw the sextants as a clock: gap now [mm] and what is missing to the estimate [mm].

    Anterior is above and patient left on the right, as in the axial pictures. A sextant with
    something missing is tinted and has a thick border; one that is not cleared is hatched.

    Returns
    -------
    dict
        ``wedges`` (one a sextant, as in ``SEXTANTS``), ``words``, ``sides``, ``cord``.
    """
    from matplotlib.patches import Circle, Wedge

    artists: Artists = {"wedges": [], "words": [], "sides": [], "cord": []}
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))
    ax.set_title("Gap by direction [mm], seen from the feet")
    s = result.separation
    if s is None:
        artists["words"] = [ax.text(0, 0, "no separation", ha="center", va="center", color=GREY)]
        return artists
    for i, sextant in enumerate(s.sextants):
        missing = bool(sextant.deficit_mm)
        # matplotlib counts from the right, against the clock; directions go with the clock.
        middle = 90.0 - 60.0 * i
        wedge = Wedge(
            (0, 0), _OUTER, middle - 30, middle + 30, width=_OUTER - _INNER,
            facecolor=_TINT if missing else "white", edgecolor=VERMILION if missing else GREY,
            linewidth=2.4 if missing else 0.8, hatch=None if sextant.reachable else "///",
            zorder=2 if missing else 1,
        )  # fmt: skip
        ax.add_patch(wedge)
        artists["wedges"].append(wedge)
        angle = np.radians(60.0 * i)
        text = ax.text(
            _WORDS * np.sin(angle), _WORDS * np.cos(angle), _words(sextant), ha="center",
            va="center", fontsize=9, fontweight="bold" if missing else "normal", color=BLACK,
            zorder=3, linespacing=1.15,
        )  # fmt: skip
        artists["words"].append(text)
    cord = Circle((0, 0), _INNER, facecolor="white", edgecolor=BLUE, linewidth=2.0, zorder=3)
    ax.add_patch(cord)
    artists["cord"] = [cord, ax.text(0, 0, "cord", ha="center", va="center", zorder=4)]
    for name, direction in _SIDES:
        angle = np.radians(direction)
        side = ax.text(
            1.13 * np.sin(angle), 1.13 * np.cos(angle), name, ha="center", va="center",
            fontweight="bold", fontsize=9, rotation=(0, -90, 0, 90)[direction // 90],
        )  # fmt: skip
        artists["sides"].append(side)
    return artists


def _words(x: Sextant) -> str:
    """Gap, what is missing, what is removed: a line each."""
    lines = ["> 20 mm" if x.gap_mm is None else shown(x.gap_mm, 1, "mm")]
    if not x.reachable:
        lines.append("not cleared")
    elif x.deficit_mm:
        lines.append(f"+ {shown(x.deficit_mm, 1, 'mm')}")
    if x.resection_cc:
        lines.append(shown(x.resection_cc, 2, "cc"))
    return "\n".join(lines)
