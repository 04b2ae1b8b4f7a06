"""``cordgap scenarios``: the errors that delivery scenarios are drawn from, with their sources."""

from __future__ import annotations

from typing import Annotated

import typer

from cordgap.cli import common, flags
from cordgap.errors import OptionError


def scenarios(
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="A scenario file to check.", show_default=False)
    ] = "default",
    toml: Annotated[
        bool, typer.Option("--toml", help="Print the file that comes with cordgap, to edit.")
    ] = False,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Print, or check, the spreads that delivery scenarios are drawn from.

    \b
    Examples:
      cordgap scenarios
      cordgap scenarios --toml > our-clinic.toml
      cordgap scenarios our-clinic.toml
    """
    common.start_logging(quiet, verbose)
    from cordgap.report.scenario_parts import model_lines, scenario_set_document
    from cordgap.separation.uncertainty import BUILT_IN, default_text, load_scenarios

    if toml:
        if file != BUILT_IN or json:
            raise OptionError("--toml prints the built-in file; leave out FILE and --json")
        print(default_text(), end="")
        return
    model = load_scenarios(file)
    if json:
        common.emit(scenario_set_document(model))
    else:
        print("\n".join(model_lines(model)))
