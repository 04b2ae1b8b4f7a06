"""``cordgap learn-falloff``: a site's own falloff model, from its plans."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cordgap.cli import common, flags
from cordgap.errors import OutOfRangeError

if TYPE_CHECKING:
    from cordgap.batch.learn import Outcome


def learn_falloff(
    root: Annotated[
        Path, typer.Argument(metavar="ROOT", help="Folder with a folder for each plan.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The model; what was read is kept beside it.")
    ] = Path("falloff.json"),
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Plans at a time.")] = 1,
    timeout_s: Annotated[
        float,
        typer.Option("--timeout", metavar="S", min=1.0, help="After this a plan is given up."),
    ] = 120.0,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Learn how dose falls off near the cord from your own plans.

    \b
    Examples:
      cordgap learn-falloff ROOT --out our-falloff.json
      cordgap learn-falloff ROOT --out our-falloff.json --jobs 4
    """
    common.start_logging(quiet, verbose)
    from cordgap.batch.learn import read_root
    from cordgap.report.falloff_parts import learned_document, learned_lines
    from cordgap.report.files import write_file
    from cordgap.report.tables import to_json
    from cordgap.separation.learned import learn

    def progress(done: int, total: int, outcome: Outcome) -> None:
        if not quiet and (outcome.status != "ok" or done % 10 == 0 or done == total):
            why = f": {outcome.reason}" if outcome.reason else ""
            print(f"{done} of {total}, {outcome.status}{why}", file=sys.stderr)

    state = out.with_name(out.name + ".plans")
    outcomes = read_root(root, state, jobs=jobs, timeout_s=timeout_s, progress=progress)
    readings = [o.reading for o in outcomes if o.reading is not None]
    refused = [(o.status, o.code) for o in outcomes if o.reading is None]
    if not readings:
        codes = ", ".join(sorted({code or status for status, code in refused}))
        raise OutOfRangeError(
            f"none of {len(outcomes)} plan(s) says anything about falloff ({codes})",
            code="falloff-not-learned",
        )
    document = learned_document(learn(readings, out.name), refused)
    write_file(out, to_json(document) + "\n")
    if json:
        common.emit(document)
    else:
        print("\n".join([*learned_lines(document), f"written: {out.name}"]))
