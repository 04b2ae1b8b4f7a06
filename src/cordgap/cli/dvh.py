"""``cordgap dvh``: dose-volume histograms alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cordgap.cli import common, flags, shared
from cordgap.cli.common import PlanOptions
from cordgap.errors import Finding, OptionError, StructureNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cordgap.case.case import Case
    from cordgap.dvh.comparison import Comparison
    from cordgap.dvh.dose_surface import DoseSurface
    from cordgap.dvh.indices import Indices
    from cordgap.dvh.metrics import Metric
    from cordgap.dvh.presets import Preset, Rules
    from cordgap.dvh.solid import Solid
    from cordgap.dvh.structures import StructureResult


@shared.takes(*shared.FILES, "rx", "fractions")
def dvh(
    given: shared.Given,
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
        bool,
        typer.Option(
            "--compare-presets", help="Show what each preset gives, and which rule differs."
        ),
    ] = False,
    indices: Annotated[
        bool,
        typer.Option("--indices", help="Conformity, gradient, homogeneity, near-max/min, gEUD."),
    ] = False,
    geud_a: Annotated[
        float | None, typer.Option(metavar="A", help="Parameter of the gEUD, with --indices.")
    ] = None,
    dose_surface: Annotated[
        bool, typer.Option("--dose-surface", help="Areas of the surface against dose.")
    ] = False,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every curve as CSV.")
    ] = None,
    rtdose_out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the DVHs as DICOM: RTDOSE with DVHSequence."),
    ] = None,
    identify: Annotated[
        bool, typer.Option("--identify", help="Put patient name and ID into --rtdose-out.")
    ] = False,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Compute dose-volume histograms of a plan.

    \b
    Examples:
      cordgap dvh plans/ring
      cordgap dvh plans/ring --structure SpinalCord --metric "D0.035cc[Gy]"
      cordgap dvh --rtstruct RS.dcm --rtdose RD.dcm --json
    """
    options = PlanOptions.given({**given, "identify": identify})
    common.start_logging(quiet, verbose)
    if geud_a is not None and not indices:
        raise OptionError("--geud-a belongs to --indices; give both")
    if geud_a is not None and (geud_a == 0 or not math.isfinite(geud_a)):
        raise OptionError(f"--geud-a is {geud_a:g}, expected a finite number other than 0")
    if identify and rtdose_out is None:
        raise OptionError("--identify belongs to --rtdose-out; nothing else here names a patient")
    _check_file("--csv", csv)
    _check_file("--rtdose-out", rtdose_out, outside=options.path)
    from cordgap.dvh.metrics import parse_metric
    from cordgap.dvh.presets import Rules, compute_under, find_preset
    from cordgap.dvh.structures import DEFAULT_METRICS

    metrics = tuple(dict.fromkeys(parse_metric(text) for text in metric or [])) or DEFAULT_METRICS
    rules = Rules(between or "shape", ends or "half-slice")
    chosen = None
    if preset is not None:
        if between or ends:
            raise OptionError("--preset sets what --between and --ends set; give one or the other")
        chosen = find_preset(preset)
        rules = chosen.rules
    options = options.filled_from_file()
    rule = NamedStructures(structure or [])
    case = options.read(with_image=False, wanted=rule if structure else None)
    rule.check()
    rx_gy = options.rx
    if rx_gy is None and (prescription := options.prescription(case)) is not None:
        rx_gy = prescription.dose_gy
    results = compute_under(case, rules, metrics=metrics, rx_gy=rx_gy, names=structure or ())
    more = More(case, results, rules, rx_gy)
    if compare_presets:
        more.compare(metrics)
    if indices:
        more.add_indices(geud_a)
    if dose_surface:
        more.add_surfaces()
    if csv is not None:
        more.write_csv(csv)
    if rtdose_out is not None:
        more.write_rtdose(rtdose_out, identify=identify)
    if json:
        from cordgap.report.tables import dvh_document

        findings = (*case.findings, *more.findings)
        extras = more.extras(chosen)
        common.emit(
            dvh_document(
                case,
                results,
                findings,
                between=rules.between,
                ends=rules.ends,
                extras=extras,
            )
        )
        common.tell(findings, quiet=quiet)
    else:
        from cordgap.cli import dvh_tables as tables
        from cordgap.report.sentence import dose_type_words

        if kind := dose_type_words(case):
            print(f"all doses: {kind}")
        if more.comparison is not None:
            tables.print_comparison(more.comparison)
        else:
            tables.print_results(results)
        if more.indices is not None:
            tables.print_indices(results, more.indices, rx_gy)
        if more.surfaces is not None:
            tables.print_surfaces(results, more.surfaces, rx_gy)
        of_structures = (f for r in results for f in r.findings)
        common.tell((*case.findings, *of_structures, *more.findings), quiet=quiet)
    asked = structure and any(r.status != "ok" for r in results)
    raise typer.Exit(3 if asked or not any(r.status == "ok" for r in results) else 0)


def _check_file(option: str, file: Path | None, *, outside: Path | None = None) -> None:
    """See that a file can be written, before anything is computed."""
    if file is None:
        return
    if file.is_dir():
        raise OptionError(f"{option} {file}: is a folder; name a file")
    if not file.absolute().parent.is_dir():
        raise OptionError(f"{option} {file}: its folder does not exist; make it first")
    if outside is not None and file.resolve().is_relative_to(outside.resolve()):
        raise OptionError(
            f"{option} {file}: lies inside the folder of the plan, where it would be taken for a "
            "second dose of the plan; name a file elsewhere"
        )


class More:
    """What was asked for besides the DVHs, in the order of the structures."""

    def __init__(
        self, case: Case, results: tuple[StructureResult, ...], rules: Rules, rx_gy: float | None
    ) -> None:
        self.case, self.results, self.rules, self.rx_gy = case, results, rules, rx_gy
        self.comparison: Comparison | None = None
        self.indices: list[Indices] | None = None
        self.surfaces: list[DoseSurface | None] | None = None
        self.findings: tuple[Finding, ...] = ()

    def _solid(self, result: StructureResult) -> Solid | None:
        return None if result.volume_cc is None else self.rules.solid(result.structure)

    def compare(self, metrics: Sequence[Metric]) -> None:
        """Compute the presets."""
        from cordgap.dvh.comparison import compare_presets

        self.comparison = compare_presets(
            self.case, self.results, self.rules, metrics=metrics, rx_gy=self.rx_gy
        )

    def add_indices(self, geud_a: float | None) -> None:
        """Compute the indices."""
        from cordgap.dvh.indices import compute_indices

        self.indices = [
            compute_indices(r, self._solid(r), self.case.dose, rx_gy=self.rx_gy, geud_a=geud_a)
            for r in self.results
        ]

    def add_surfaces(self) -> None:
        """Compute the dose-surface histograms."""
        from cordgap.dvh.dose_surface import compute_dose_surface

        dose = self.case.dose
        solids = [self._solid(r) for r in self.results]
        self.surfaces = [
            None if solid is None or dose is None else compute_dose_surface(solid, dose)
            for solid in solids
        ]

    def write_csv(self, file: Path) -> None:
        """Write every curve."""
        from cordgap.report.dvh_parts import curves_csv
        from cordgap.report.files import write_file

        write_file(file, curves_csv(self.results, self.surfaces, dose_type=self.case.dose_type))

    def write_rtdose(self, file: Path, *, identify: bool) -> None:
        """Write the DVHs as DICOM; what is left out becomes a finding."""
        from cordgap.export.rtdose import write_dvh_dose

        left = write_dvh_dose(
            self.case, self.results, file, comment=f"({self.rules})", identify=identify
        )
        if left:
            self.findings = (
                Finding(
                    "dvh-not-written",
                    f"{len(left)} structure(s) are not wholly inside the dose grid, and a "
                    f"DVHSequence has no word for a part: {', '.join(left)} not written",
                    file=file.name,
                    action="export the dose on a larger grid",
                ),
            )

    def extras(self, chosen: Preset | None) -> dict[str, Any]:
        """Return what goes into the JSON document."""
        from cordgap.report import dvh_parts as parts

        found: dict[str, Any] = {}
        if chosen is not None:
            found["preset"] = parts.preset_part(chosen)
        if self.comparison is not None:
            found["comparison"] = parts.comparison_part(self.comparison)
        if self.indices is not None:
            pairs = zip(self.results, self.indices, strict=True)
            found["indices"] = [parts.indices_part(r.structure, x) for r, x in pairs]
        if self.surfaces is not None:
            found["dose_surfaces"] = [
                parts.surface_part(r.structure, x, r.reason if x is None or r.reason else None)
                for r, x in zip(self.results, self.surfaces, strict=True)
            ]
        return found


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
