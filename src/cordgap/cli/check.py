"""``cordgap check``: may the input be trusted, before any number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cordgap.cli import common
from cordgap.cli.common import PlanOptions
from cordgap.errors import CordgapError

if TYPE_CHECKING:
    from cordgap.check.compare import SecondCalculation


def check(
    path: common.OptionalPathArgument = None,
    rtstruct: common.RtstructOption = None,
    rtdose: common.RtdoseOption = None,
    rtplan: common.RtplanOption = None,
    accept: common.AcceptOption = None,
    relative_dose_gy: common.RelativeDoseOption = None,
    cord: common.CordOption = None,
    target: common.TargetOption = None,
    rx: common.RxOption = None,
    fractions: common.FractionsOption = None,
    second_calc: Annotated[
        bool,
        typer.Option("--second-calc", help="Calculate cord and target again, by dicompyler-core."),
    ] = False,
    json: common.JsonOption = False,
    quiet: common.QuietOption = False,
    verbose: common.VerboseOption = 0,
) -> None:
    """Check the files of a plan: usable, usable with warnings, or refused.

    Example: cordgap check plans/coverage-first
    """
    common.start_logging(quiet, verbose)
    from cordgap.check.verdict import judge
    from cordgap.report.tables import check_document, second_part

    options = PlanOptions(
        path=path,
        rtstruct=rtstruct,
        rtdose=rtdose or [],
        rtplan=rtplan,
        accept=accept or [],
        relative_dose_gy=relative_dose_gy,
        cord=cord,
        target=target,
        rx=rx,
        fractions=fractions,
    )
    try:
        options = options.filled_from_file()
        case = options.read(with_image=True)
        prescription = options.prescription(case)
    except CordgapError as error:
        case, prescription = None, None
        verdict = judge(None, (error.finding(),))
    else:
        verdict = judge(
            case, (), cord=options.cord, target=options.target, prescription=prescription
        )
    second = None
    if second_calc and case is not None and verdict.word != "refused":
        from cordgap.check.compare import second_calculation

        chosen = [s for s in (verdict.cord, verdict.target) if s is not None]
        second = second_calculation(case, chosen)
    if json:
        calculated = None if second is None else second_part(second)
        reason = "the input was refused" if second_calc else "it was not asked for"
        document = check_document(
            verdict.findings,
            used=verdict.used,
            ignored=[(i.file, i.reason) for i in verdict.ignored],
            second_calculation=calculated,
            second_calculation_reason=reason,
        )
        common.emit(document)
    else:
        print(verdict.word)
        for used in verdict.used:
            print(f"  {used.kind}: {used.file}")
        for ignored in verdict.ignored:
            print(f"  not used: {ignored.file}: {ignored.reason}")
        for finding in verdict.findings:
            where = f"{finding.roi_name}: " if finding.roi_name else ""
            print(f"  {finding.severity}: {where}{finding.message} [{finding.code}]")
            if finding.action:
                print(f"      to do: {finding.action}")
        if second is not None:
            _print_second(second)
    raise typer.Exit(2 if verdict.word == "refused" else 0)


def _print_second(second: SecondCalculation) -> None:
    print(f"second calculation by {second.program}")
    for row in second.rows:
        shown = "-" if row.difference_percent is None else f"{row.difference_percent:+.1f} %"
        print(
            f"  {row.roi_name:<20} {row.metric:<8} {row.main:9.3f} {row.second:9.3f} {row.unit:<3}"
            f" {shown}"
        )
    print(
        "  It counts dose pixels whose centre lies in the contour: on thin structures in steep\n"
        "  gradients differences of 10 % and more are its own."
    )
