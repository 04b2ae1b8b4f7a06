"""Options that speak of previous courses, shared by the verbs that judge limits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cordgap.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cordgap.dicom.prior import PriorRequest

PriorOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RTDOSE|DOSE",
        help="Previous course: an RTDOSE (path, or a name inside PATH), or a dose with its unit "
        "(30Gy, 3000cGy); repeatable.",
    ),
]
PriorFractionsOption = Annotated[
    list[int] | None,
    typer.Option(
        metavar="N", min=1, max=60, help="Its number of fractions; one for each --prior, in order."
    ),
]
PriorDateOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DATE",
        help="When it was: 2025-03-01, or the interval to the new course, 14mo, or unknown; one "
        "for each --prior, in order.",
    ),
]
RegistrationOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="Rigid DICOM Spatial Registration from the previous dose to the plan; repeatable.",
    ),
]
RecoveryOption = Annotated[
    bool,
    typer.Option(
        "--recovery",
        help="Show the cumulative dose with a rule of thumb for recovery too; compared with no "
        "limit.",
    ),
]
RowOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ID", help="Also evaluate this row of a table, unverified ones too; repeatable."
    ),
]


def prior_requests(
    prior: Sequence[str], fractions: Sequence[int], dates: Sequence[str], *, source: str = "--"
) -> tuple[PriorRequest, ...]:
    """Put together what belongs to each previous course.

    Raises
    ------
    OptionError
        If the options are not as many as the courses, or a value makes no sense.
    """
    from cordgap.dicom.prior import PriorRequest

    if len(fractions) != len(prior):
        raise OptionError(
            f"{source}prior is given {len(prior)} time(s) and {source}prior-fractions "
            f"{len(fractions)} time(s); give one of each, in the same order"
        )
    if dates and len(dates) != len(prior):
        raise OptionError(
            f"{source}prior is given {len(prior)} time(s) and {source}prior-date {len(dates)} "
            "time(s); give one of each, in the same order, or the word unknown"
        )
    whens = list(dates) or ["unknown"] * len(prior)
    requests = tuple(
        PriorRequest(what, number, when)
        for what, number, when in zip(prior, fractions, whens, strict=True)
    )
    for request in requests:
        _ = request.dose_gy, request.interval(None)  # complain before files are looked for
    return requests


def inside(folder: Path | None, name: str) -> str:
    """Return the path of a file that is named by its path, or by its name inside the folder."""
    if folder is not None and not Path(name).is_file() and (folder / name).is_file():
        return str(folder / name)
    return name
