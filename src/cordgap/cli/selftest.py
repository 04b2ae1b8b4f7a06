"""``cordgap selftest``: does this installation compute what it should?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cordgap.cli import common, flags
from cordgap.errors import OptionError


def selftest(
    pdf: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a PDF for the commissioning file."),
    ] = None,
    date: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Date printed on the PDF, 2026-11-21; else a blank."),
    ] = None,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Compute known cases on this installation and hold them against the limits.

    Phantoms with a known answer are written as DICOM in every patient position and read back;
    constraint tables are held against the release. Exits 0 if every limit is kept, 1 if one is
    missed.

    \b
    Examples:
      cordgap selftest
      cordgap selftest --pdf selftest.pdf --date 2026-11-21
      cordgap selftest --json
    """
    common.start_logging(quiet, verbose)
    when = None if date is None else _date(date)
    if when is not None and pdf is None:
        raise OptionError("--date is printed on the PDF: give --pdf FILE too")
    from cordgap.report.files import write_file
    from cordgap.report.selftest import selftest_document, selftest_text
    from cordgap.selftest.run import run_selftest

    show = sys.stderr.isatty() and not quiet
    result = run_selftest((lambda part: print(part, file=sys.stderr)) if show else None)
    if pdf is not None:
        from cordgap.report.selftest_pdf import selftest_pdf

        write_file(pdf, selftest_pdf(result, date=when))
    if json:
        common.emit(selftest_document(result))
    else:
        print(selftest_text(result, full=verbose > 0))
    raise typer.Exit(result.exit_code)


def _date(text: str) -> str:
    """Check a date, written year-month-day."""
    from datetime import date

    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise OptionError(f"--date {text}: expected year-month-day, 2026-11-21") from None
