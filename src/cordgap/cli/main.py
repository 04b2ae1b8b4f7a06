"""The ``cordgap`` command: its verbs, its exit codes, and how an error is shown."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from cordgap._version import __version__
from cordgap.cli import analyze, check, demo, dvh, protocols, schema, separation
from cordgap.cli.common import emit_error, report_error, start_output
from cordgap.errors import CordgapError, OptionError

_HELP = """How far must tumour stand off the spinal cord for stereotactic radiotherapy?

Reads an exported plan (DICOM RTSTRUCT, RTDOSE, RTPLAN, CT), computes dose-volume histograms, checks
cord limits with their sources and estimates the separation needed. Research and second-check use;
not a medical device.

Exit codes: 2 unusable input or usage, 3 something not evaluable, 1 something exceeded, 0 all met.
"""

app = typer.Typer(name="cordgap", help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False)
app.command("analyze")(analyze.analyze)
app.command("dvh")(dvh.dvh)
app.command("separation")(separation.separation)
app.command("check")(check.check)
app.command("protocols")(protocols.protocols)
app.command("demo")(demo.demo)
app.command("schema")(schema.schema)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cordgap {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Hold the options common to all verbs."""


def run() -> None:
    """Run the command; every error ends as one message and exit code 2, never as a traceback."""
    # Windows consoles still start in a code page that cannot write these outputs.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    start_output()
    try:
        app()
    except SystemExit as stop:
        if stop.code == 2:
            words = "the command line cannot be read; the message is on stderr"
            emit_error(OptionError(words))
        raise
    except CordgapError as error:
        sys.exit(report_error(error))
    except KeyboardInterrupt:
        print("cordgap: interrupted; nothing more was written", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        logging.getLogger("cordgap").debug("file error", exc_info=True)
        sys.exit(report_error(error))
    except Exception as error:
        if os.environ.get("CORDGAP_DEBUG"):
            raise
        logging.getLogger("cordgap").debug("unexpected error", exc_info=True)
        sys.exit(report_error(error))
