"""``cordgap separation``: the separation alone, with or without a dose."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from cordgap.cli import common, flags, shared
from cordgap.cli.common import PlanOptions
from cordgap.errors import DicomError

if TYPE_CHECKING:
    from cordgap.case.case import Case


@shared.takes(*shared.FILES, *shared.ANALYSIS, *shared.PREVIOUS)
def separation(
    given: shared.Given,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Estimate the separation between cord and tumour alone.

    \b
    Examples:
      cordgap separation plans/ring
      cordgap separation plans/ring --constraint "D0.035cc[Gy]<=17"
      cordgap separation --rtstruct RS.dcm --rx 24 --fractions 2

    Without a dose, from contours and a prescription: cordgap separation PATH --rx 24 --fractions 2.
    From contours alone the schedules are answered.
    """
    options = PlanOptions.given(given).filled_from_file()
    common.start_logging(quiet, verbose)
    from dataclasses import replace

    from cordgap.analysis import analyze, require_separation
    from cordgap.case.naming import identify
    from cordgap.check.findings import review
    from cordgap.report.sentence import summary_text
    from cordgap.report.tables import separation_document

    named = {name.strip().casefold() for name in (options.cord, options.target) if name}

    def wanted(roi_name: str) -> bool:
        role = identify(roi_name).role
        return roi_name.strip().casefold() in named or role not in ("other", "body", "esophagus")

    without_dose = options.rx is not None and options.fractions is not None
    case = _read(options, wanted, need_dose=not without_dose)
    result = analyze(case, options.settings(case))
    require_separation(result)
    result = replace(result, findings=review(result))
    if json:
        common.emit(separation_document(result))
        common.tell(result.findings, quiet=quiet)
    else:
        print(summary_text(result))
    raise typer.Exit(result.exit_code)


def _read(options: PlanOptions, wanted: Callable[[str], bool], *, need_dose: bool) -> Case:
    """Read the plan; contours alone, with neither dose nor plan, need no dose."""
    try:
        return options.read(need_dose=need_dose, with_image=False, wanted=wanted)
    except DicomError as error:
        if error.code not in ("rtdose-missing", "files-not-given"):
            raise
        case = options.read(need_dose=False, with_image=False, wanted=wanted)
        lost = any(f.code == "file-unreadable" for f in case.findings)
        if lost or any(f.kind == "rtplan" for f in case.inputs):
            raise
        return case
