"""``cordgap analyze``: the main job on one plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cordgap.cli import common
from cordgap.cli import prior as prior_options
from cordgap.cli.common import PlanOptions


def analyze(
    path: common.OptionalPathArgument = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write result.json, report.html, report.pdf, figures and CSV."
        ),
    ] = None,
    rtstruct: common.RtstructOption = None,
    rtdose: common.RtdoseOption = None,
    rtplan: common.RtplanOption = None,
    accept: common.AcceptOption = None,
    relative_dose_gy: common.RelativeDoseOption = None,
    cord: common.CordOption = None,
    target: common.TargetOption = None,
    rx: common.RxOption = None,
    fractions: common.FractionsOption = None,
    protocol: common.ProtocolOption = None,
    constraint: common.ConstraintOption = None,
    coverage: common.CoverageOption = None,
    max_mm: common.MaxOption = None,
    method: common.MethodOption = None,
    reachable: common.ReachableOption = None,
    alpha_beta: common.AlphaBetaOption = None,
    level: common.LevelOption = None,
    row: prior_options.RowOption = None,
    prior: prior_options.PriorOption = None,
    prior_fractions: prior_options.PriorFractionsOption = None,
    prior_date: prior_options.PriorDateOption = None,
    registration: prior_options.RegistrationOption = None,
    recovery: prior_options.RecoveryOption = False,
    identify: Annotated[
        bool, typer.Option("--identify", help="Put patient name and ID into the report.")
    ] = False,
    json: common.JsonOption = False,
    quiet: common.QuietOption = False,
    verbose: common.VerboseOption = 0,
) -> None:
    """Analyse one plan: DVHs, cord limits, and the separation needed.

    Example: cordgap analyze plans/coverage-first --out report
    """
    options = PlanOptions.given(locals()).filled_from_file()
    common.start_logging(quiet, verbose)
    code = run_analysis(options, out=out, json=json, quiet=quiet)
    raise typer.Exit(code)


def run_analysis(options: PlanOptions, *, out: Path | None, json: bool, quiet: bool) -> int:
    """Read, analyse, write and print; return the exit code."""
    from dataclasses import replace

    from cordgap.analysis import analyze as analyze_case
    from cordgap.check.findings import review
    from cordgap.report.tables import analysis_document

    if out is not None:
        from cordgap.report.files import check_folder

        check_folder(out)
    case = options.read()
    result = analyze_case(case, options.settings(case))
    result = replace(result, findings=review(result))
    written: list[Path] = []
    if out is not None:
        from cordgap.report.write import write_all

        written = write_all(result, out, identify=options.identify)
    if json:
        common.emit(analysis_document(result, identify=options.identify))
        common.tell(result.findings, quiet=quiet)
    else:
        from cordgap.report.sentence import summary_text

        print(summary_text(result))
        if written:
            print(f"\nReport: {written[0].parent}")
            for file in written:
                if file.name in ("report.html", "report.pdf", "result.json"):
                    print(f"  {file.name}")
    return result.exit_code
