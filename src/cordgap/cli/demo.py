"""``cordgap demo``: the main job on a plan that comes with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cordgap.cli import common, flags
from cordgap.cli.analyze import run_analysis
from cordgap.cli.common import PlanOptions
from cordgap.errors import OptionError


def demo(
    plan: Annotated[
        Literal["coverage-first", "cord-first", "ring"], typer.Argument(help="Which demo plan.")
    ] = "coverage-first",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the report goes.")] = Path(
        "cordgap-report"
    ),
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Analyse a demo plan and write its report; exits 0 once the report is written.

    \b
    Examples:
      cordgap demo
      cordgap demo ring --out ring-report
    """
    common.start_logging(quiet, verbose)
    options = PlanOptions(path=demo_plans() / plan).filled_from_file()
    run_analysis(options, out=out, json=json, quiet=quiet)


def demo_plans() -> Path:
    """Return the folder of the demo plans, as installed or in a checkout.

    Raises
    ------
    OptionError
        If this installation has none.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "plans", package.parent.parent / "plans"):
        if folder.is_dir():
            return folder
    raise OptionError("this installation has no demo plans; clone the repository to get them")
