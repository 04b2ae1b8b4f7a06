"""``cordgap receive``: a DICOM node that takes plans from known senders."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from cordgap.cli import common, flags, network, shared
from cordgap.errors import OptionError


@shared.takes(*shared.DOUBTS, *shared.ANALYSIS)
def receive(
    into: Annotated[Path, typer.Option(metavar="DIR", help="Folder for what arrives.")],
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="AET", help="Who may send (repeatable); all others are refused."),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 11112,
    aet: network.AetOption = "CORDGAP",
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this computer need a real one.")
    ] = "127.0.0.1",
    tls: network.TlsOption = False,
    cert: network.CertOption = None,
    key: network.KeyOption = None,
    ca: network.CaOption = None,
    max_object_mb: network.ObjectMbOption = 512,
    max_objects: network.ObjectsOption = 200_000,
    keep_free_mb: network.FreeMbOption = 1024,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Analyse each plan when its study is quiet.")
    ] = False,
    out: network.ResultsOption = Path("cordgap-results"),
    settle_s: network.SettleOption = 10.0,
    patience_s: network.PatienceOption = 300.0,
    timeout_s: network.TimeoutOption = 600.0,
    *,
    given: shared.Given,
    idle_s: Annotated[
        float | None, typer.Option(min=0, help="End when nothing came for so many seconds.")
    ] = None,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Take DICOM objects from known senders into a folder; Ctrl-C ends it.

    Options of the analysis go with --analyze and hold for every plan.

    \b
    Examples:
      cordgap receive --into inbox --allow ECLIPSE --port 11112
      cordgap receive --into inbox --allow ECLIPSE --analyze --out results
    """
    options = common.PlanOptions.given(given)
    common.start_logging(quiet, verbose)
    network.require_extra()
    from cordgap.cli.analyze import standing
    from cordgap.network.desk import Desk, watch
    from cordgap.network.exports import Folder
    from cordgap.network.link import tls_context
    from cordgap.network.receive import receiving

    analyse, words = standing(options)
    if words and not analyze:
        raise OptionError("options of the analysis are given without --analyze")
    context = tls_context(server=True, cert=cert, key=key, ca=ca) if tls else None
    inbox = network.make_inbox(into, max_object_mb, max_objects, keep_free_mb)
    report = network.Report(silent=json)
    analyses = None
    with ExitStack() as stack:
        desk = None
        if analyze:
            desk = stack.enter_context(Desk(out, analyse, timeout_s=timeout_s, words=words))
        tally = stack.enter_context(
            receiving(inbox, address=(host, port), ae_title=aet, allow=allow or [], context=context)
        )
        if not json:
            who = f"{', '.join(allow or [])} may send{', over TLS' if tls else ''}"
            print(f"{aet} listens on {host}:{tally.port}; {who}  (Ctrl-C ends)", flush=True)

        def idle() -> bool:
            return idle_s is not None and time.monotonic() - tally.last >= idle_s

        with network.until_stopped():
            if desk is None:
                while not idle():
                    time.sleep(0.1)
            else:
                source = Folder(into, leave_out=[out])
                for event in watch(source, desk, quiet_s=settle_s, patience_s=patience_s):
                    report.say(event)
                    if idle():
                        break
                for event in watch(
                    source, desk, quiet_s=settle_s, patience_s=patience_s, once=True
                ):
                    report.say(event)
        if desk is not None:
            analyses = report.document(desk, source)
    if json:
        common.emit(
            network.transfer_document("receive", **network.arrived(tally), analyses=analyses)
        )
    else:
        print(
            f"{tally.stored} object(s) of {len(tally.studies)} study(ies) stored, "
            f"{tally.repeated} had come before, {network.refused_words(tally.refused)}; "
            f"{tally.rejected} association(s) refused, {tally.aborted} aborted"
        )
        if analyze:
            print(report.closing())
    raise typer.Exit(4 if tally.refused else report.exit_code)
