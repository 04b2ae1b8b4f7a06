"""``cordgap send``: gives an archive the DICOM objects of a result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cordgap.cli import common, flags, network


def send(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Folders of results, or DICOM files.")
    ],
    pacs: network.PacsOption,
    aet: network.AetOption = "CORDGAP",
    tls: network.TlsOption = False,
    cert: network.CertOption = None,
    key: network.KeyOption = None,
    ca: network.CaOption = None,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Put structures, DVHs and report of a result (analyze --out DIR --dicom) into an archive.

    \b
    Examples:
      cordgap send report --pacs ORTHANC@127.0.0.1:4242
      cordgap send report --pacs https://pacs.example/dicom-web
    """
    common.start_logging(quiet, verbose)
    network.require_extra()
    from cordgap.network import pacs as archive

    place = archive.make_pacs(pacs, aet=aet, tls=tls, cert=cert, key=key, ca=ca)
    files = archive.own_objects(paths)
    sent, refused = archive.send(place, files)
    if json:
        common.emit(network.transfer_document("send", sent=sent, refused=refused))
    else:
        print(f"{sent} of {len(files)} object(s) sent, {network.refused_words(refused)}")
    raise typer.Exit(4 if refused else 0)
