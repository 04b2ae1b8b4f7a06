"""``cordgap dvh``: dose-volume histograms alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cordgap.cli import common
from cordgap.cli.common import PlanOptions
from cordgap.errors import OptionError

if TYPE_CHECKING:
    from cordgap.analysis import Settings, StructureResult
    from cordgap.case.case import Case


def dvh(
    path: common.OptionalPathArgument = None,
    rtstruct: common.RtstructOption = None,
    rtdose: common.RtdoseOption = None,
    rtplan: common.RtplanOption = None,
    structure: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="ROI to compute; repeatable.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="M", help='Metric, "D0.035cc[Gy]"; repeatable.')
    ] = None,
    between: Annotated[
        Literal["shape", "slab"] | None, typer.Option(help="What lies between two planes.")
    ] = None,
    ends: Annotated[
        Literal["half-slice", "none", "rounded"] | None,
        typer.Option(help="What lies beyond the last plane."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="SYSTEM", help="Imitate a planning system.")
    ] = None,
    compare_presets: Annotated[
        bool, typer.Option("--compare-presets", help="Show what each preset gives.")
    ] = False,
    rx: common.RxOption = None,
    fractions: common.FractionsOption = None,
    json: common.JsonOption = False,
    quiet: common.QuietOption = False,
    verbose: common.VerboseOption = 0,
) -> None:
    """Compute dose-volume histograms of a plan.

    Example: cordgap dvh plans/ring --structure SpinalCord --metric "D0.035cc[Gy]"
    """
    common.start_logging(quiet, verbose)
    from cordgap.analysis import DEFAULT_METRICS, Settings, compute_structures
    from cordgap.dvh.metrics import parse_metric
    from cordgap.dvh.presets import find_preset
    from cordgap.report.tables import dvh_document

    metrics = tuple(dict.fromkeys(parse_metric(text) for text in metric or []))
    settings = Settings(metrics=metrics or DEFAULT_METRICS)
    if preset is not None:
        if between or ends:
            raise OptionError("--preset sets what --between and --ends set; give one or the other")
        chosen = find_preset(preset)
        settings = replace(settings, between=chosen.between, ends=chosen.ends)
    settings = replace(settings, between=between or settings.between, ends=ends or settings.ends)
    options = PlanOptions(
        path=path, rtstruct=rtstruct, rtdose=rtdose or [], rtplan=rtplan, rx=rx, fractions=fractions
    ).filled_from_file()
    wanted = _named(structure) if structure else None
    case = options.read(with_image=False, wanted=wanted)
    rx_gy = rx
    if rx_gy is None and (prescription := options.prescription(case)) is not None:
        rx_gy = prescription.dose_gy
    results = compute_structures(case, settings, rx_gy=rx_gy, names=structure or ())
    if compare_presets:
        _compare(case, settings, results, rx_gy, structure or [])
    elif json:
        common.emit(dvh_document(case, results, settings, case.findings))
        common.tell(case.findings, quiet=quiet)
    else:
        _print_table(results)
        common.tell((*case.findings, *(f for r in results for f in r.findings)), quiet=quiet)
    asked = structure and any(r.status != "ok" for r in results)
    raise typer.Exit(3 if asked or not any(r.status == "ok" for r in results) else 0)


class _named:
    """Rule that keeps the structures that were asked for, as loosely as they are looked up."""

    def __init__(self, names: list[str]) -> None:
        self.names = {name.strip().casefold() for name in names}

    def __call__(self, roi_name: str) -> bool:
        return roi_name.strip().casefold() in self.names


def _print_table(results: tuple[StructureResult, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    names = list(results[0].metrics) if results else []
    table = Table("structure", "volume cc", box=None, pad_edge=False)
    for name in names:
        table.add_column(name, justify="right")
    for result in results:
        volume = "-" if result.volume_cc is None else f"{result.volume_cc:.3f}"
        cells = [_cell(result, name) for name in names]
        table.add_row(_plain(result.structure.roi_name), volume, *cells)
    # Never cut a table that goes into a file or a pipe.
    console.width = max(console.width, 30 + 18 * (len(names) + 2))
    console.print(table)
    for result in results:
        if result.status != "ok":
            console.print(_plain(f"{result.structure.roi_name}: {result.status}: {result.reason}"))


def _cell(result: StructureResult, name: str) -> str:
    read = result.metrics[name]
    if read.value is None:
        return "-"
    sign = ">= " if read.bound else ""
    spread = "" if read.plus_minus is None else f" ± {read.plus_minus:.2f}"
    return f"{sign}{read.value:.3f}{spread}"


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _compare(
    case: Case,
    settings: Settings,
    own: tuple[StructureResult, ...],
    rx_gy: float | None,
    names: list[str],
) -> None:
    from rich.console import Console
    from rich.table import Table

    from cordgap.analysis import compute_structures
    from cordgap.dvh.presets import PRESETS

    columns = {f"{settings.between}, {settings.ends}": own}
    for preset in PRESETS:
        changed = replace(settings, between=preset.between, ends=preset.ends)
        columns[f"{preset.name} ({preset.between}, {preset.ends})"] = compute_structures(
            case, changed, rx_gy=rx_gy, names=names
        )
    table = Table("structure", "metric", *columns, box=None, pad_edge=False)
    for i, result in enumerate(own):
        name = _plain(result.structure.roi_name)
        volumes = [column[i].volume_cc for column in columns.values()]
        table.add_row(name, "volume cc", *("-" if v is None else f"{v:.3f}" for v in volumes))
        for metric in result.metrics:
            values = [column[i].metrics[metric].value for column in columns.values()]
            table.add_row("", metric, *("-" if v is None else f"{v:.3f}" for v in values))
    console = Console()
    console.width = max(console.width, 60 + 28 * len(columns))
    console.print(table)
