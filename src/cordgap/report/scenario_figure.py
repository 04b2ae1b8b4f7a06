"""Delivery uncertainty as a picture: the dose band, and probability against separation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cordgap.analysis import CaseResult
from cordgap.report.axial import Artists
from cordgap.report.numbers import shown
from cordgap.report.sentence import cord_word, prescription_words, target_word
from cordgap.report.style import BLACK, BLUE, GREY, PRESENT, SKY, VERMILION
from cordgap.separation.result import Separation
from cordgap.separation.scenarios import Scenarios

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHADES = (BLUE, VERMILION, BLACK)


def plot_scenarios(figure: Figure, result: CaseResult) -> Artists:
    """Draw the dose of the cord and the probability of keeping its limit, against separation.

    Returns
    -------
    dict
        ``band``, ``median``, ``planned``, ``limit``, ``probability``, ``marks``.
    """
    artists: Artists = {
        k: [] for k in ("band", "median", "planned", "limit", "probability", "marks")
    }
    found, s = result.scenarios, result.separation
    if found is None or s is None or found.curve is None:
        ax = figure.add_subplot()
        reason = "no scenarios were asked for" if found is None else found.reason or ""
        ax.text(0.5, 0.5, reason, ha="center", va="center", color=GREY, wrap=True)
        ax.set_axis_off()
        return artists
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    _dose_band(left, found, s, artists)
    _probability(right, found, s, artists)
    n = found.model.scenarios
    figure.suptitle(
        f"{prescription_words(s.prescription)}: cord dose and its limit in {n} delivery scenarios",
        x=0.01, ha="left", fontsize=12, fontweight="bold",
    )  # fmt: skip
    return artists


def _dose_band(ax: Axes, found: Scenarios, s: Separation, artists: Artists) -> None:
    curve = found.curve
    assert curve is not None
    x = curve.separation_mm
    seen = x >= s.separation_mm - 1e-9
    x, dose, nominal = x[seen], curve.dose_gy[seen], curve.nominal_gy[seen]
    artists["band"] = [
        ax.fill_between(
            x, dose[:, 0], dose[:, 2], color=SKY, alpha=0.45, lw=0, label="5 to 95 % of scenarios"
        )
    ]
    artists["median"] = ax.plot(x, dose[:, 1], color=BLUE, lw=2.2, label="middle of the scenarios")
    artists["planned"] = ax.plot(
        x, nominal, color=BLACK, lw=1.4, ls="--", label="without uncertainty"
    )
    artists["limit"] = [
        ax.axhline(
            found.limit_gy or 0.0, color=VERMILION, lw=1.6, label=f"limit {found.limit_gy:.1f} Gy"
        )
    ]
    ax.axvline(s.separation_mm, color=PRESENT, lw=1.0, ls=":")
    ax.set_xlim(0, float(x[-1]))
    ax.set_ylim(0, max(float(dose.max()), found.limit_gy or 0.0) * 1.08)
    ax.set(xlabel=_axis_words(s), ylabel="Cord D0.035cc [Gy]")
    ax.set_title("Dose band of the cord")
    ax.annotate(
        f"now {shown(s.separation_mm, 1, 'mm')}", (s.separation_mm, 0), xytext=(4, 6),
        textcoords="offset points", color=GREY, fontsize=8,
    )  # fmt: skip
    ax.legend(loc="upper right")


def _probability(ax: Axes, found: Scenarios, s: Separation, artists: Artists) -> None:
    curve, required = found.curve, found.required_mm
    assert curve is not None
    assert required is not None
    end = float(curve.separation_mm[-1])
    at = np.r_[0.0, np.sort(required), end]
    share = np.r_[0.0, 100.0 * np.arange(1, required.size + 1) / required.size]
    share = np.r_[share, share[-1]]
    inside = at <= end
    artists["probability"] = ax.step(at[inside], share[inside], where="post", color=BLUE, lw=2.2)
    ax.axvline(s.separation_mm, color=PRESENT, lw=1.0, ls=":")
    for row, colour in zip(found.rows, _SHADES, strict=True):
        if row.required_separation_mm is None:
            continue
        (mark,) = ax.plot(
            row.required_separation_mm, 100 * row.probability, "o", color=colour, ms=7, zorder=5
        )
        artists["marks"].append(mark)
        ax.annotate(
            f"{100 * row.probability:.0f} %: {shown(row.required_separation_mm, 1, 'mm')}",
            (row.required_separation_mm, 100 * row.probability), xytext=(9, -12),
            textcoords="offset points", color=colour, fontsize=10, fontweight="bold",
        )  # fmt: skip
    ax.set(xlim=(0, end), ylim=(0, 103), xlabel=_axis_words(s))
    ax.set_ylabel("Scenarios that keep the cord limit [%]")
    ax.set_title("Probability of keeping the limit")


def _axis_words(s: Separation) -> str:
    return f"Separation between {target_word(s)} and {cord_word(s)} [mm]"
