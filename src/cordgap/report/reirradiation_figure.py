"""Previous radiation as a picture: cumulative histograms in EQD2, and what each level got."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cordgap.dvh.samples import histogram
from cordgap.limits.reirradiation import LevelTolerance, Reirradiation
from cordgap.report.style import BLACK, GREY, ORANGE, RC, SKY, VERMILION, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREVIOUS, NEW, TOGETHER = SKY, ORANGE, BLACK


def draw_reirradiation(found: Reirradiation) -> Figure:
    """Draw both pictures beside each other."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(9.0, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        plot_sum_dvh(left, found)
        plot_levels_eqd2(right, found)
    return figure


def plot_sum_dvh(ax: Axes, found: Reirradiation) -> None:
    """Draw the cumulative histograms of the cord: previous courses, new course, both."""
    cord = found.cord
    curves = [("previous", PREVIOUS, histogram(cord.prior_eqd2_gy, cord.samples))]
    if cord.new_eqd2_gy is not None:
        curves.append(("new", NEW, histogram(cord.new_eqd2_gy, cord.samples)))
    if cord.sum_dvh is not None:
        curves.append(("together", TOGETHER, cord.sum_dvh))
    for name, colour, dvh in curves:
        if dvh.covered_volume_cc <= 0:
            continue
        dose = np.r_[0.0, dvh.dose_gy[0], dvh.dose_gy]
        volume = np.r_[dvh.volume_cc[0], dvh.volume_cc[0], dvh.volume_cc]
        part = "" if dvh.is_complete else f" ({100 * dvh.covered_fraction:.0f} % known)"
        ax.plot(dose, volume, color=colour, lw=1.6, label=name + part)
    bound = _cap(found)
    ax.axvline(bound, color=VERMILION, lw=1.0, ls="--")
    ax.annotate(
        f"{bound:g}", (bound, 0.5), xycoords=("data", "axes fraction"), xytext=(3, 0),
        textcoords="offset points", color=VERMILION, fontsize=8,
    )  # fmt: skip
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.set_xlabel(f"EQD2 [Gy], alpha/beta {found.rules.alpha_beta_gy:g} Gy")
    ax.set_ylabel("volume that gets at least this [cc]")
    ax.set_title(f"{label(cord.roi_name)}, voxel by voxel")
    ax.legend(loc="upper right")


def plot_levels_eqd2(ax: Axes, found: Reirradiation) -> None:
    """Draw the highest EQD2 of each level, and the cumulative cap."""
    values = (
        ("previous", PREVIOUS, [x.prior_eqd2_gy for x in found.levels]),
        ("new", NEW, [x.new_eqd2_gy for x in found.levels]),
        ("together", TOGETHER, [x.cumulative_eqd2_gy for x in found.levels]),
    )
    edges = np.array([found.levels[0].z_mm[0], *(x.z_mm[1] for x in found.levels)])
    for name, colour, numbers in values:
        steps = np.array([np.nan if v is None else v for v in numbers])
        if np.isfinite(steps).any():
            ax.stairs(steps, edges, orientation="horizontal", color=colour, lw=1.6, label=name,
                      baseline=None)  # fmt: skip
    for low, high in _unknown(found.levels):
        ax.axhspan(low, high, color=GREY, alpha=0.2, lw=0)
        ax.annotate(
            "previous dose not known", (0.5, 0.5 * (low + high)),
            xycoords=("axes fraction", "data"), ha="center", va="center", color=GREY, fontsize=8,
        )  # fmt: skip
    ax.axvline(_cap(found), color=VERMILION, lw=1.0, ls="--")
    ax.set_xlim(left=0)
    ax.set_xlabel("highest EQD2 [Gy]")
    ax.set_ylabel("z [mm]")
    ax.set_title("by level")


def _cap(found: Reirradiation) -> float:
    bound = found.rules.condition("cumulative_eqd2").at_most
    assert bound is not None
    return bound


def _unknown(levels: tuple[LevelTolerance, ...]) -> list[tuple[float, float]]:
    """Runs of levels that a previous dose does not cover."""
    runs: list[tuple[float, float]] = []
    for x in levels:
        if x.prior_eqd2_gy is not None:
            continue
        if runs and runs[-1][1] == x.z_mm[0]:
            runs[-1] = (runs[-1][0], x.z_mm[1])
        else:
            runs.append(x.z_mm)
    return runs
