"""The ``cordgap`` command: its verbs, its exit codes, and how an error is shown."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from cordgap._version import __version__
from cordgap.cli.common import emit_error, report_error, start_output
from cordgap.errors import CordgapError, OptionError

_HELP = """How far must tumour stand off the spinal cord for stereotactic radiotherapy?

Reads an exported plan (DICOM RTSTRUCT, RTDOSE, RTPLAN, CT), computes dose-volume histograms, checks
cord limits with their sources and estimates the separation needed. Research and second-check use;
not a medical device.

Exit codes: 2 unusable input or usage, 3 something not evaluable, 1 something exceeded, 0 all met.
"""

# In the order of --help; each verb is a function of its name in a file of its name.
VERBS = (
    "analyze", "dvh", "separation", "compare", "check", "protocols", "scenarios", "learn-falloff",
    "batch", "query", "trends", "demo", "selftest", "serve", "receive", "fetch", "send", "watch",
    "schema",
)  # fmt: skip


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cordgap {__version__}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Hold the options common to all verbs."""


def build_app(verbs: Sequence[str] = VERBS) -> typer.Typer:
    """Build the command with some of its verbs: one that runs need not load the others."""
    app = typer.Typer(
        name="cordgap", help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False
    )
    app.callback()(_common)
    for verb in verbs:
        module = import_module(f"cordgap.cli.{verb.replace('-', '_')}")
        app.command(verb)(getattr(module, verb.replace("-", "_")))
    return app


def run() -> None:
    """Run the command; every error ends as one message and exit code 2, never as a traceback."""
    # Matrices here are small: threads of the arithmetic libraries, started when numpy is imported,
    # would wait for each other longer than they compute.
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # Windows consoles still start in a code page that cannot write these outputs.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    start_output()
    wanted = sys.argv[1:2]
    try:
        build_app(wanted if wanted and wanted[0] in VERBS else VERBS)()
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
