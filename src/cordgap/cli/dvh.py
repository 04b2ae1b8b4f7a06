"""``cordgap dvh``: dose-volume histograms alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cordgap.cli import common
from cordgap.cli.common import PlanOptions
from cordgap.errors import OptionError, StructureNotFoundError

if TYPE_CHECKING:
    from cordgap.dvh.solid import Between, Ends
    from cordgap.dvh.structures import StructureResult


def dvh(
    path: common.OptionalPathArgument = None,
    rtstruct: common.RtstructOption = None,
    rtdose: common.RtdoseOption = None,
    rtplan: common.RtplanOption = None,
    accept: common.AcceptOption = None,
    relative_dose_gy: common.RelativeDoseOption = None,
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
        Literal["half-slice", "flat", "none", "rounded"] | None,
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
    if json and compare_presets:
        raise OptionError(
            "--compare-presets prints a table and has no JSON form; leave out --json, or run "
            "--json once for each --preset"
        )
    from cordgap.dvh.metrics import parse_metric
    from cordgap.dvh.presets import PRESETS, find_preset
    from cordgap.dvh.structures import DEFAULT_METRICS, compute_structures

    metrics = tuple(dict.fromkeys(parse_metric(text) for text in metric or []))
    build: tuple[Between, Ends] = (between or "shape", ends or "half-slice")
    if preset is not None:
        if between or ends:
            raise OptionError("--preset sets what --between and --ends set; give one or the other")
        chosen = find_preset(preset)
        build = chosen.between, chosen.ends
    options = PlanOptions(
        path=path,
        rtstruct=rtstruct,
        rtdose=rtdose or [],
        rtplan=rtplan,
        accept=accept or [],
        relative_dose_gy=relative_dose_gy,
        rx=rx,
        fractions=fractions,
    ).filled_from_file()
    rule = NamedStructures(structure or [])
    case = options.read(with_image=False, wanted=rule if structure else None)
    rule.check()
    rx_gy = rx
    if rx_gy is None and (prescription := options.prescription(case)) is not None:
        rx_gy = prescription.dose_gy
    compute = partial(
        compute_structures,
        case,
        metrics=metrics or DEFAULT_METRICS,
        rx_gy=rx_gy,
        names=structure or (),
    )
    results = compute(between=build[0], ends=build[1])
    if compare_presets:
        columns = {f"{build[0]}, {build[1]}": results}
        for p in PRESETS:
            columns[f"{p.name} ({p.between}, {p.ends})"] = compute(between=p.between, ends=p.ends)
        _print_comparison(columns)
    elif json:
        from cordgap.report.tables import dvh_document

        common.emit(dvh_document(case, results, case.findings, between=build[0], ends=build[1]))
        common.tell(case.findings, quiet=quiet)
    else:
        _print_table(results)
        common.tell((*case.findings, *(f for r in results for f in r.findings)), quiet=quiet)
    asked = structure and any(r.status != "ok" for r in results)
    raise typer.Exit(3 if asked or not any(r.status == "ok" for r in results) else 0)


class NamedStructures:
    """Rule that keeps the structures that were asked for, and remembers what it was shown."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.seen: list[str] = []

    def __call__(self, roi_name: str) -> bool:
        """Keep names as loosely as they are looked up."""
        self.seen.append(roi_name)
        return roi_name.strip().casefold() in {name.strip().casefold() for name in self.names}

    def check(self) -> None:
        """Complain about names that no structure has, listing all there are."""
        there = {name.strip().casefold() for name in self.seen}
        for name in self.names:
            if name.strip().casefold() not in there:
                raise StructureNotFoundError(
                    f"no structure is named {name!r}; the structure set has: "
                    + (", ".join(self.seen) or "none")
                )


def _print_table(results: tuple[StructureResult, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    names = list(results[0].metrics) if results else []
    table = Table("structure", "volume cc", box=None, pad_edge=False)
    for name in names:
        table.add_column(_plain(name), justify="right")
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


def _print_comparison(columns: dict[str, tuple[StructureResult, ...]]) -> None:
    """Print volume and metrics of every structure, one column a setting."""
    from rich.console import Console
    from rich.table import Table

    table = Table("structure", "metric", *columns, box=None, pad_edge=False)
    for row in zip(*columns.values(), strict=True):
        volumes = ["-" if r.volume_cc is None else f"{r.volume_cc:.3f}" for r in row]
        table.add_row(_plain(row[0].structure.roi_name), "volume cc", *volumes)
        for metric in row[0].metrics:
            values = [r.metrics[metric].value for r in row]
            table.add_row("", _plain(metric), *("-" if v is None else f"{v:.3f}" for v in values))
    console = Console()
    console.width = max(console.width, 60 + 28 * len(columns))
    console.print(table)
