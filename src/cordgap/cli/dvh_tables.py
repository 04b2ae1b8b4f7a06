"""The tables that ``cordgap dvh`` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cordgap.errors import OutOfRangeError
from cordgap.report.numbers import NO_NUMBER

if TYPE_CHECKING:
    from rich.table import Table

    from cordgap.dvh.comparison import Comparison, Row
    from cordgap.dvh.dose_surface import DoseSurface
    from cordgap.dvh.indices import Conformity, Gradient, Indices
    from cordgap.dvh.metrics import MetricValue
    from cordgap.dvh.structures import StructureResult

_WIDTH = 100
# Areas whose dose is printed beside the whole surface.
_HOTTEST_CM2 = (0.1, 1.0)
_LEVELS_PERCENT = (50, 100)


def print_results(results: tuple[StructureResult, ...]) -> None:
    """Print volume and metrics, a line a structure, and why there are none."""
    names = list(results[0].metrics) if results else []
    table = _table("structure", "volume cc")
    for name in names:
        table.add_column(_plain(name), justify="right")
    for result in results:
        volume = "-" if result.volume_cc is None else f"{result.volume_cc:.3f}"
        cells = [_metric(result.metrics[name]) for name in names]
        table.add_row(_plain(result.structure.roi_name), volume, *cells)
    # Never cut a table that goes into a file or a pipe.
    _print(table, 30 + 18 * (len(names) + 2))
    for result in results:
        if result.status != "ok":
            print(f"{result.structure.roi_name}: {result.status}: {result.reason}")


def print_comparison(comparison: Comparison) -> None:
    """Print our value of every metric, each preset with its difference, and why it differs."""
    presets = [e.preset for e in comparison.explanations]
    table = _table("structure", "metric", f"here ({comparison.rules})")
    for preset in presets:
        table.add_column(preset.name, justify="right")
    last = None
    for row in comparison.rows:
        name = "" if row.roi_number == last else _plain(row.roi_name)
        last = row.roi_number
        ours = "-" if row.ours is None else f"{row.ours:.3f}"
        metric = _plain("volume cc" if row.metric == "volume[cc]" else row.metric)
        table.add_row(name, metric, ours, *(_delta(row, i) for i in range(len(presets))))
    _print(table, 70 + 20 * (len(presets) + 1))
    print("\ndifference to here in brackets; which rule makes it:")
    for explanation in comparison.explanations:
        print(_wrapped(explanation.text))


def _delta(row: Row, index: int) -> str:
    value, difference = row.values[index], row.difference(index)
    if value is None:
        return "-"
    if difference is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({round(difference, 3) + 0.0:+.3f})"


def print_indices(
    results: Sequence[StructureResult], indices: Sequence[Indices], rx_gy: float | None
) -> None:
    """Print near-maximum, near-minimum, homogeneity and gEUD; below, conformity of targets."""
    table = _table("structure")
    for name in ("near-max Gy", "near-min Gy", "HI", "gEUD Gy", "a"):
        table.add_column(name, justify="right")
    for result, x in zip(results, indices, strict=True):
        table.add_row(
            _plain(result.structure.roi_name),
            f"{_named(x.near_max.name)} {_metric(x.near_max.value)}",
            f"{_named(x.near_min.name)} {_metric(x.near_min.value)}",
            _metric(x.homogeneity),
            _metric(x.geud),
            "-" if x.geud_a is None else f"{x.geud_a:g}",
        )
    print()
    _print(table, 130)
    for result, x in zip(results, indices, strict=True):
        name = result.structure.roi_name
        if x.conformity is not None:
            print()
            print(_wrapped(_sentence(name, x.conformity, rx_gy or 0.0)))
        elif x.conformity_reason != "not a target":
            print(_wrapped(f"{name}: no conformity: {x.conformity_reason}"))


def _named(metric: str) -> str:
    return metric.partition("[")[0]


def _sentence(name: str, c: Conformity, rx_gy: float) -> str:
    full, half = c.prescription, c.half
    words = (
        f"{name}: {100 * c.coverage:.1f} % of {c.target_cc:.3f} cc get {rx_gy:g} Gy; isodose "
        f"volume {full.total_cc:.3f} ± {full.plus_minus_cc:.3f} cc, of half the dose "
        f"{half.total_cc:.3f} ± {half.plus_minus_cc:.3f} cc. {_gradient(c.total)}"
    )
    apart = abs(c.connected.prescription_cc - c.total.prescription_cc) > 1e-6
    if apart or abs(c.connected.half_cc - c.total.half_cc) > 1e-6:
        words += (
            f" Connected to {name} alone: {c.connected.prescription_cc:.3f} cc, of half the dose "
            f"{c.connected.half_cc:.3f} cc. {_gradient(c.connected)}"
        )
    return words


def _gradient(g: Gradient) -> str:
    def number(value: float | None) -> str:
        return NO_NUMBER if value is None else f"{value:.3f}"

    words = (
        f"CI (RTOG) {number(g.ci_rtog)}, CI (Paddick) {number(g.ci_paddick)}, "
        f"GI {number(g.gi)}, R50% {number(g.r50)}."
    )
    return words if g.reason is None else f"{words} {g.reason[0].upper()}{g.reason[1:]}."


def print_surfaces(
    results: Sequence[StructureResult],
    surfaces: Sequence[DoseSurface | None],
    rx_gy: float | None,
) -> None:
    """Print area, the dose of the hottest parts of it, and areas at shares of the prescription."""
    table = _table("structure")
    heads = ["area cm2", "flat", "in grid", *(f"D{a:g}cm2 Gy" for a in _HOTTEST_CM2)]
    levels = [p / 100 * rx_gy for p in _LEVELS_PERCENT] if rx_gy else []
    heads += [f">= {level:g} Gy" for level in levels]
    for head in heads:
        table.add_column(head, justify="right")
    for result, surface in zip(results, surfaces, strict=True):
        cells = ["-"] * len(heads)
        if surface is not None:
            covered = surface.covered_area_cm2
            areas = surface.total_area_cm2, surface.flat_area_cm2, covered
            sign = "" if surface.is_complete else ">= "
            hottest = [_hottest(surface, area) for area in _HOTTEST_CM2]
            above = [f"{surface.area_at_least_cm2(level):.3f}" for level in levels]
            cells = [f"{a:.3f}" for a in areas]
            cells += [x if x == "-" else sign + x for x in (*hottest, *above)]
        table.add_row(_plain(result.structure.roi_name), *cells)
    print()
    _print(table, 130)


def _hottest(surface: DoseSurface, area_cm2: float) -> str:
    try:
        return f"{surface.dose_of_hottest_gy(area_cm2):.3f}"
    except OutOfRangeError:
        return "-"


def _metric(read: MetricValue) -> str:
    if read.value is None:
        return "-"
    sign = ">= " if read.bound else ""
    spread = "" if read.plus_minus is None else f" ± {read.plus_minus:.2f}"
    return f"{sign}{read.value:.3f}{spread}"


def _table(*heads: str) -> Table:
    from rich.table import Table

    return Table(*heads, box=None, pad_edge=False)


def _print(table: Table, least_width: int) -> None:
    from rich.console import Console

    console = Console()
    console.width = max(console.width, least_width)
    console.print(table)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
