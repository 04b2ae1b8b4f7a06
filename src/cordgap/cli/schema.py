"""``cordgap schema``: the JSON Schemas of everything that ``--json`` prints."""

from __future__ import annotations

from typing import Annotated

import typer

from cordgap.cli import common, flags
from cordgap.errors import OptionError


def schema(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One schema.")] = None,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Print a JSON Schema, or list the names.

    \b
    Examples:
      cordgap schema
      cordgap schema separation
    """
    common.start_logging(quiet, verbose)
    from cordgap.report.schema import load_schema, schema_names

    if name is None:
        if json:
            common.emit({"schemas": list(schema_names())})
        else:
            print("\n".join(schema_names()))
        return
    if name not in schema_names():
        raise OptionError(f"there is no schema {name!r}; there are {', '.join(schema_names())}")
    common.emit(load_schema(name))
