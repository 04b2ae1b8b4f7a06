"""``cordgap fetch``: gets studies from an archive."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from cordgap.cli import common, flags, network
from cordgap.errors import OptionError

_DAY = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})")


def fetch(
    pacs: network.PacsOption,
    into: Annotated[Path, typer.Option(metavar="DIR", help="Folder for what arrives.")],
    study: Annotated[
        list[str] | None, typer.Option(metavar="UID", help="Study to get (repeatable).")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="All studies with a dose of this day or later."),
    ] = None,
    by: Annotated[
        Literal["get", "move", "web"] | None,
        typer.Option(help="C-GET, C-MOVE or DICOMweb; by default web for a URL, else get."),
    ] = None,
    aet: network.AetOption = "CORDGAP",
    host: Annotated[str, typer.Option(help="For --by move: address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="For --by move: port that the archive knows.")
    ] = 11112,
    tls: network.TlsOption = False,
    cert: network.CertOption = None,
    key: network.KeyOption = None,
    ca: network.CaOption = None,
    max_object_mb: network.ObjectMbOption = 512,
    max_objects: network.ObjectsOption = 200_000,
    keep_free_mb: network.FreeMbOption = 1024,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Get studies from an archive into a folder.

    \b
    Examples:
      cordgap fetch --pacs ORTHANC@127.0.0.1:4242 --since 2026-01-01 --into inbox
      cordgap fetch --pacs https://pacs.example/dicom-web --study 1.2.3 --into inbox
    """
    common.start_logging(quiet, verbose)
    network.require_extra()
    if bool(study) == (since is not None):
        raise OptionError("give either --study UID, once or more, or --since DATE")
    day = _DAY.fullmatch(since) if since is not None else None
    if since is not None and day is None:
        raise OptionError(f"--since {since}: expected a day as 2026-01-31")
    from cordgap.network import pacs as archive

    if by == "move" and tls:
        raise OptionError("--by move does not go with --tls: the objects would come without it")
    place = archive.make_pacs(pacs, aet=aet, tls=tls, cert=cert, key=key, ca=ca)
    inbox = network.make_inbox(into, max_object_mb, max_objects, keep_free_mb)
    studies = list(study or [])
    if day is not None:
        studies = archive.find_studies(place, "".join(day.groups()))
    how = by or ("web" if place.is_url else "get")
    tally = archive.fetch(place, studies, inbox, how=how, listen=(host, port))
    if json:
        common.emit(network.transfer_document("fetch", **network.arrived(tally)))
    else:
        print(
            f"{tally.stored} object(s) of {len(tally.studies)} of {len(studies)} study(ies) "
            f"stored, {tally.repeated} had come before, {network.refused_words(tally.refused)}"
        )
    nothing = not tally.studies
    raise typer.Exit(4 if tally.refused else 2 if nothing else 0)
