"""The self-test as a PDF for the commissioning file, with lines to sign."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from cordgap.check.selftest import LIMITS, Group, Selftest, groups
from cordgap.errors import SAFETY_SENTENCES
from cordgap.report.layout import MARGIN_MM, TOP_MM, WIDTH_MM, Column, frame, new_page
from cordgap.report.numbers import NO_NUMBER
from cordgap.report.selftest import error_words, limit_words, missed_line, verdict_line
from cordgap.report.style import GREY, RC, VERMILION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIGNED = (
    ("Institution", "Computer"), ("Run by (name)", "Date"), ("Function", "Signature"),
    ("Reviewed by (medical physicist)", "Date"), ("Function", "Signature"),
)  # fmt: skip
_LINE_MM = 9.0
# More missed rows than these are counted: the JSON has them all.
_MOST_MISSED = 60


def selftest_pdf(result: Selftest, *, date: str | None = None) -> bytes:
    """Return the PDF: the same bytes for the same installation, unless a date is given.

    Parameters
    ----------
    result : Selftest
    date : str, optional
        Printed where the date of the run goes; else a line to fill in.
    """
    import matplotlib
    from matplotlib.backends.backend_pdf import PdfPages

    buffer = io.BytesIO()
    metadata = {
        "Title": "cordgap self-test",
        "Creator": f"cordgap {result.cordgap_version}",
        "CreationDate": None,
        "ModDate": None,
    }
    with matplotlib.rc_context(RC), PdfPages(buffer, metadata=metadata) as file:
        pages = [new_page()]
        _fill(pages, result, date)
        head = f"cordgap {result.cordgap_version}    self-test"
        for number, page in enumerate(pages, start=1):
            frame(page, head, " ".join(SAFETY_SENTENCES), (number, len(pages)))
            file.savefig(page)
    return buffer.getvalue()


def _fill(pages: list[Figure], result: Selftest, date: str | None) -> None:
    column = Column(pages[0], MARGIN_MM, WIDTH_MM, TOP_MM, pages=pages)
    column.text(f"Self-test of cordgap {result.cordgap_version}", 14, weight="bold")
    colour = {} if result.passed else {"color": VERMILION}
    column.text(verdict_line(result).capitalize(), 11, weight="bold", **colour)
    column.gap(1.0)
    column.text(
        "Bodies whose doses, volumes and distances are known are written as DICOM, read back and "
        "computed on this computer, and held against the limits of the validation. It shows that "
        "this installation computes as validated; it does not replace the comparison with the "
        "local planning system (docs/commissioning.md).",
        8,
    )
    _sign(column, date)
    if result.failed:
        column.heading("Missed")
        lines = [missed_line(row) for row in result.failed]
        column.bullets(lines[:_MOST_MISSED], 7.5)
        if len(lines) > _MOST_MISSED:
            column.text(f"and {len(lines) - _MOST_MISSED} more: see cordgap selftest --json", 7.5)
    _installation(column, result)
    column.heading("Results")
    column.text("The worst of each row: what comes nearest to its limit, or beyond.", 7.5)
    rows = [_cells(group) for group in groups(result.rows) if group.part != "tables"]
    head = ("part", "case", "limit", "values", "missed", "worst", "may be")
    column.table(head, rows, (0.13, 0.25, 0.19, 0.08, 0.08, 0.14, 0.13), 7)
    _tables(column, result)
    column.heading("Limits, and where they come from")
    limits = [(x.id, x.words, x.source) for x in LIMITS]
    column.table(("limit", "words", "source"), limits, (0.19, 0.46, 0.35), 7)


def _cells(group: Group) -> tuple[str, ...]:
    return (
        group.part, group.subject, group.limit_id, str(group.count), str(group.failed),
        error_words(group.worst), limit_words(group.worst),
    )  # fmt: skip


def _sign(column: Column, date: str | None) -> None:
    """Draw the lines to fill in: the date of the run may be printed."""
    half = WIDTH_MM / 2
    for number, pair in enumerate(_SIGNED):
        column.y += _LINE_MM
        for side, words in enumerate(pair):
            left = MARGIN_MM + side * half
            column.line(left, left + half - 6.0, column.y, GREY)
            printed = date if (date and number == 1 and words == "Date") else None
            if printed:
                Column(column.page, left, half - 6.0, column.y - 4.5).text(printed, 9)
            Column(column.page, left, half - 6.0, column.y + 0.5).text(words, 7, color=GREY)
    column.gap(5.0)


def _installation(column: Column, result: Selftest) -> None:
    column.heading("Installation")
    p = result.platform
    column.text(
        f"{p['implementation']} {p['python']} on {p['system']} {p['release']}, {p['machine']}, "
        f"{p['byte_order']}-endian; computed by {' and '.join(result.engines)}",
        7.5,
    )
    versions = [f"{n} {v or 'not installed'}" for n, v in result.versions.items()]
    column.text(", ".join(versions), 7.5)
    for note in result.notes:
        column.text(note, 7.5)


def _tables(column: Column, result: Selftest) -> None:
    column.heading("Constraint tables, SHA-256")
    rows = [
        (
            row.subject.removeprefix("limits/tables/"),
            row.found if isinstance(row.found, str) else NO_NUMBER,
            "as recorded" if row.passed else "not as recorded",
        )
        for row in result.rows
        if row.part == "tables"
    ]
    column.table(("table", "found", "release"), rows, (0.27, 0.6, 0.13), 6.5)
