"""Before and after surgery as one picture: both maps on one scale, and the sextants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cordgap.report.axial import Artists
from cordgap.report.figures import unroll
from cordgap.report.numbers import shown
from cordgap.report.sentence import gap_level_mm, level_label
from cordgap.report.style import BLUE, GREY, PRESENT, RC, VERMILION, label
from cordgap.separation.gap import MAX_GAP_MM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cordgap.comparison import Comparison


def draw_comparison(found: Comparison) -> Figure:
    """Draw the gap maps before and after and the gaps by sextant on a figure of its own."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(13.0, 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        plot_comparison(figure, found)
        figure.supxlabel(
            f"cordgap {found.after.cordgap_version}, cases {found.before.case.case_id} and "
            f"{found.after.case.case_id}. Research and second-check use only. "
            f"{label(level_label(found.before, gap_level_mm(found.before.separation)), 60)}.",
            fontsize=7, color=GREY,
        )  # fmt: skip
    return figure


def plot_comparison(figure: Figure, found: Comparison) -> Artists:
    """Draw on a figure that is given.

    Returns
    -------
    dict
        ``maps``, ``colorbar``, ``before``, ``after``, ``required``.
    """
    from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

    change, prediction = found.change, found.prediction
    axes = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 1.15))
    finite = [g.gap_mm[np.isfinite(g.gap_mm)] for g in (change.before, change.after)]
    top = max([float(f.max()) for f in finite if f.size] or [1.0])
    wanted = prediction.required_separation_mm or min(2.0, 0.5 * top)
    wanted = max(wanted, 0.1)
    norm = TwoSlopeNorm(wanted, 0.0, max(top, 1.05 * wanted))
    shades = LinearSegmentedColormap.from_list("gap", [VERMILION, "#FFFFFF", BLUE])
    colours = shades.with_extremes(bad="#D9D9D9")
    artists: Artists = {"maps": [], "colorbar": [], "before": [], "after": [], "required": []}
    titles = (
        f"Before: {shown(change.separation_before_mm, 1, 'mm')}",
        f"After: {shown(change.separation_after_mm, 1, 'mm')}",
    )
    level = change.before.level_mm
    for ax, gaps, title in zip(axes, (change.before, change.after), titles, strict=False):
        direction, gap = unroll(gaps.direction_deg, gaps.gap_mm)
        half = 0.5 * float(direction[1] - direction[0])
        step = 0.5 * float(level[1] - level[0]) if level.size > 1 else 0.5
        extent = (direction[0] - half, direction[-1] + half, level[0] - step, level[-1] + step)
        artists["maps"].append(
            ax.imshow(
                np.ma.masked_invalid(gap), origin="lower", extent=extent, aspect="auto",
                cmap=colours, norm=norm, interpolation="nearest",
            )
        )  # fmt: skip
        ax.set_title(title)
        ax.set_xticks([-180, -90, 0, 90, 180])
        ax.set_xticklabels(["back", "right", "front", "left", "back"])
        ax.set_ylabel("Level z before [mm]")
    bar = figure.colorbar(artists["maps"][0], ax=axes[:2], location="bottom", shrink=0.7)
    word = "the required" if prediction.required_separation_mm is not None else ""
    bar.set_label(f"Gap [mm], white is {word} {shown(wanted, 1, 'mm')}; grey is beyond 20 mm")
    artists["colorbar"].append(bar)
    _sextants(axes[2], found, artists)
    figure.suptitle(
        f"{shown(change.achieved_mm, 1, 'mm')} of separation achieved", x=0.01, ha="left",
        fontsize=12, fontweight="bold",
    )  # fmt: skip
    return artists


def _sextants(ax: Axes, found: Comparison, artists: Artists) -> None:
    rows = found.change.sextants
    y = np.arange(len(rows))[::-1]
    for key, shift, colour, values in (
        ("before", 0.2, PRESENT, [r.before_mm for r in rows]),
        ("after", -0.2, BLUE, [r.after_mm for r in rows]),
    ):
        widths = [MAX_GAP_MM if v is None else v for v in values]
        artists[key] = list(ax.barh(y + shift, widths, height=0.36, color=colour, label=key))
        for at, value, width in zip(y + shift, values, widths, strict=True):
            words = f"> {MAX_GAP_MM:g}" if value is None else shown(value)
            ax.annotate(
                words, (width, at), xytext=(3, 0), textcoords="offset points", va="center",
                fontsize=8, color=colour,
            )  # fmt: skip
    p = found.prediction
    if p.required_separation_mm is not None and p.interval_mm is not None:
        ax.axvspan(*p.interval_mm, color=VERMILION, alpha=0.15, lw=0)
        artists["required"] = [
            ax.axvline(p.required_separation_mm, color=VERMILION, lw=1.6, label="required")
        ]
    ax.set_yticks(y)
    ax.set_yticklabels([r.name for r in rows])
    ax.set_xlim(0, 1.12 * max(float(b.get_width()) for b in artists["after"] + artists["before"]))
    ax.set_xlabel("Smallest gap [mm]")
    ax.set_title("By sextant")
    ax.legend(loc="lower right")
