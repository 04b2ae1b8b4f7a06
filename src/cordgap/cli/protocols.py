"""``cordgap protocols``: the constraint tables with their sources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cordgap.cli import common, flags

if TYPE_CHECKING:
    from cordgap.limits.constraint import Constraint
    from cordgap.limits.protocol import Protocol


def protocols(
    protocol_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One table; all if none is named.")
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(metavar="STRUCTURE", help="Rows of all tables for one structure."),
    ] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check a table of your own.")
    ] = None,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Print the constraint tables with their sources.

    \b
    Examples:
      cordgap protocols
      cordgap protocols hytec-2021
      cordgap protocols --compare cord
      cordgap protocols --check our-clinic.toml
    """
    common.start_logging(quiet, verbose)
    from cordgap.limits.protocol import available_protocols, load_protocol
    from cordgap.report.tables import protocols_document

    if check is not None:
        tables = [load_protocol(check)]
    elif protocol_id is not None:
        tables = [load_protocol(protocol_id)]
    else:
        tables = [load_protocol(name) for name in available_protocols()]
    rows = None if compare is None else _rows_of(tables, compare)
    if json:
        common.emit(protocols_document(tables, comparison=rows, structure=compare))
        return
    if rows is not None:
        for name, row in rows:
            print(f"{name:<26} {_line(row)}")
        count = len({name for name, _ in rows})
        print(f"{len(rows)} rows of {count} tables, as they are: none is an average")
        return
    for table in tables:
        _print_protocol(table)
    if check is not None:
        print(f"{check.name}: {len(tables[0].constraints)} rows, no error")


def _print_protocol(protocol: Protocol) -> None:
    print(f"{protocol.id}: {protocol.title}")
    print(f"  {protocol.citation}" + (f", doi:{protocol.doi}" if protocol.doi else ""))
    own = ", ".join(word for word in (protocol.site, protocol.date) if word)
    if own or protocol.inherits:
        base = f"starts from {protocol.inherits}" if protocol.inherits else ""
        print("  " + "; ".join(word for word in (own, base) if word))
    if protocol.notes:
        print(f"  {protocol.notes}")
    for row in protocol.constraints:
        print(f"  {_line(row)}")
    print()


def _line(row: Constraint) -> str:
    from cordgap.limits.constraint import role_words

    number = "any" if row.fractions is None else str(row.fractions)
    spread = "" if row.limit_high is None else f" ({row.limit_low:g}-{row.limit_high:g})"
    evaluated = f"{row.metric}" + (f" for {row.metric_source}" if row.surrogate else "")
    off = ", off unless asked for with --row" if row.verified == "unverified" else ""
    part = f" ({row.segment})" if row.segment else ""
    return (
        f"{row.id:<22} {number:>3} fx  {role_words(row.structure):<16} {evaluated:<24} "
        f"<= {row.limit:g} {row.unit}{spread}  {row.level}, {row.verified}{off}{part}"
    )


def _rows_of(tables: list[Protocol], structure: str) -> list[tuple[str, Constraint]]:
    """Rows of all tables for one structure, by number of fractions and metric."""
    from cordgap.errors import OptionError

    rows = [
        (row.fractions or 0, str(row.metric), table.id, row)
        for table in tables
        for row in table.constraints
        if row.structure == structure
    ]
    if not rows:
        known = sorted({row.structure for table in tables for row in table.constraints})
        raise OptionError(
            f"--compare {structure}: no table has it; structures are {', '.join(known)}"
        )
    return [(name, row) for _, _, name, row in sorted(rows, key=lambda r: r[:3])]
