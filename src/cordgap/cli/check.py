"""``cordgap check``: may the input be trusted, before any number."""

from __future__ import annotations

from typing import Annotated

import typer

from cordgap.cli import common, flags, shared
from cordgap.cli.common import PlanOptions
from cordgap.errors import CordgapError


@shared.takes(*shared.FILES, *shared.ROIS)
def check(
    given: shared.Given,
    second_calc: Annotated[
        bool,
        typer.Option("--second-calc", help="Calculate cord and target again, by dicompyler-core."),
    ] = False,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Check the files of a plan: usable, usable with warnings, or refused.

    \b
    Examples:
      cordgap check plans/coverage-first
      cordgap check EXPORT --second-calc --json
    """
    options = PlanOptions.given(given)
    common.start_logging(quiet, verbose)
    from cordgap.check.stored import stored_notes
    from cordgap.check.verdict import judge
    from cordgap.report.second import second_part, second_text
    from cordgap.report.tables import check_document

    try:
        options = options.filled_from_file()
        case = options.read(with_image=True)
        prescription = options.prescription(case)
    except CordgapError as error:
        case, prescription = None, None
        verdict = judge(None, (error.finding(),))
    else:
        verdict = judge(
            case,
            stored_notes(case),
            cord=options.cord,
            target=options.target,
            prescription=prescription,
        )
    second = None
    if second_calc and case is not None and verdict.word != "refused":
        from cordgap.cli.second import calculate_again, with_second

        second = calculate_again(case, (verdict.cord, verdict.target))
        verdict = with_second(verdict, second)
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
            print(second_text(second))
    raise typer.Exit(2 if verdict.word == "refused" else 0)
