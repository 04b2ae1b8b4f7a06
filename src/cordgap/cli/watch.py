"""``cordgap watch``: analyses what a planning system exports into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cordgap.cli import common, flags, network, shared
from cordgap.errors import OptionError


@shared.takes(*shared.DOUBTS, *shared.ANALYSIS)
def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that is exported to.")],
    out: network.ResultsOption = Path("cordgap-results"),
    once: Annotated[bool, typer.Option("--once", help="Analyse what is there, then end.")] = False,
    settle_s: network.SettleOption = 10.0,
    patience_s: network.PatienceOption = 300.0,
    timeout_s: network.TimeoutOption = 600.0,
    *,
    given: shared.Given,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Analyse every plan that is exported into a folder, once each; Ctrl-C ends it.

    Options of the analysis hold for every plan.

    \b
    Examples:
      cordgap watch /exports --out results --protocol hytec-2021
      cordgap watch /exports --out results --once
    """
    options = common.PlanOptions.given(given)
    common.start_logging(quiet, verbose)
    if not folder.is_dir():
        raise OptionError(f"{folder.name or folder} is not a folder: name the one exported to")
    if out.resolve() == folder.resolve():
        raise OptionError("--out is DIR itself: name another folder for the results")
    from cordgap.cli.analyze import standing
    from cordgap.network.desk import Desk
    from cordgap.network.desk import watch as watch_folder
    from cordgap.network.exports import Folder

    report = network.Report(silent=json)
    source = Folder(folder, leave_out=[out])
    analyse, words = standing(options)
    with Desk(out, analyse, timeout_s=timeout_s, words=words) as desk:
        before = len(desk.outcomes())
        with network.until_stopped():
            for event in watch_folder(
                source, desk, quiet_s=settle_s, patience_s=patience_s, once=once
            ):
                report.say(event)
        document = report.document(desk, source)
    if source.unreadable:
        report.say(f"{len(source.unreadable)} file(s) or folder(s) cannot be read")
    if json:
        common.emit(document)
    else:
        print(f"{report.closing()}; {before} had been before")
    nothing = once and not report.outcomes and not before
    raise typer.Exit(2 if nothing else max(report.exit_code, 4 if source.unreadable else 0))
