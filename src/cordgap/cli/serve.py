"""``cordgap serve``: a read-only list of results, for this computer alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cordgap.cli import common, flags


def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds results, here or below.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 8765,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """List results on a page of this computer, read-only; Ctrl-C ends it. With --json, print them.

    \b
    Examples:
      cordgap serve reports
      cordgap serve reports --port 0
    """
    from cordgap.report.listing import results_document

    common.start_logging(quiet, verbose)
    if json:
        common.emit(results_document(folder))
        return
    from cordgap.report.server import HOST, make_server

    with make_server(folder, port) as server:
        print(f"Results: http://{HOST}:{server.server_address[1]}/  (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("cordgap: stopped")
