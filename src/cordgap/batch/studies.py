"""Plans that lie in an archive: a worker fetches what it needs, into a folder that it removes.

A study is to a batch what a ZIP file is: a worker lists its plans, then they are analysed one by
one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cordgap.dicom.inventory import Inventory, PlanFiles
from cordgap.errors import NetworkError, OptionError

if TYPE_CHECKING:
    from cordgap.network.pacs import Pacs

# What a plan is made of: other series of a study stay where they are.
_MODALITIES = ("RTSTRUCT", "RTDOSE", "RTPLAN", "CT")
# Faults of a network, which the next run may not meet.
PASSING = (
    "archive-unusable", "no-answer", "archive-refused", "association-refused", "fetch-incomplete",
    "inbox-full", "inbox-unwritable",
)  # fmt: skip


@dataclass(frozen=True)
class PacsPlace:
    """Where an archive is, in words that go to a worker: files are paths on its own disk."""

    address: str
    aet: str = "CORDGAP"
    tls: bool = False
    cert: str | None = None
    key: str | None = None
    ca: str | None = None

    def opened(self) -> Pacs:
        """Return the archive.

        Raises
        ------
        OptionError
            If the address has another form, or a file cannot be used.
        """
        from cordgap.network.pacs import make_pacs

        cert, key, ca = (None if x is None else Path(x) for x in (self.cert, self.key, self.ca))
        return make_pacs(self.address, aet=self.aet, tls=self.tls, cert=cert, key=key, ca=ca)


def inventory_of(place: PacsPlace, studies: Sequence[str], since: str | None) -> Inventory:
    """Return the studies that are to be analysed; nothing is fetched yet.

    Parameters
    ----------
    place : PacsPlace
    studies : sequence of str
        Study Instance UIDs.
    since : str or None
        Instead of ``studies``: a day (YYYYMMDD); all with an RTDOSE of that day or later.

    Raises
    ------
    NetworkError
        If the archive does not answer, or refuses.
    OptionError
        If a study is no UID, or the archive cannot be addressed.
    """
    from cordgap.network.inbox import check_uids
    from cordgap.network.pacs import find_studies

    pacs = place.opened()
    try:
        check_uids(*studies)
    except NetworkError as error:
        raise OptionError("--study: expected a Study Instance UID, digits and dots") from error
    found = list(dict.fromkeys(studies if since is None else find_studies(pacs, since)))
    return Inventory(tuple(PlanFiles((), archive=uid) for uid in found), studies=len(found))


@contextmanager
def fetched(place: PacsPlace, study: str) -> Iterator[Path]:
    """Hold the objects of a study in a private folder: ``STUDY/RD.UID.dcm`` and so on.

    By C-GET, or DICOMweb for a URL. The folder is removed at the end, whatever happens.

    Raises
    ------
    NetworkError
        If the archive does not answer or refuses, has nothing of the study, or if an object of it
        could not be kept: a plan is not analysed from a part of its files. Also where a worker
        lacks a package or a file of TLS, which is not the fault of a plan.
    """
    try:
        from cordgap.network.inbox import Inbox
        from cordgap.network.pacs import fetch

        pacs = place.opened()
    except (ImportError, OptionError) as error:
        raise NetworkError(
            f"a worker cannot ask the archive: {error}; install cordgap[pacs] and the files of "
            "--tls there",
            code="archive-unusable",
        ) from error
    with tempfile.TemporaryDirectory(prefix="cordgap-study-") as name:
        folder = Path(name)
        tally = fetch(
            pacs,
            [study],
            Inbox(folder),
            how="web" if pacs.is_url else "get",
            listen=("", 0),
            modalities=_MODALITIES,
        )
        if tally.refused or not tally.stored:
            found = f"{tally.stored} object(s), {sum(tally.refused.values())} refused"
            raise NetworkError(
                f"a study could not be fetched whole: {found}; see that the archive holds its plan "
                "and run again",
                code="fetch-incomplete",
                found=found,
            )
        yield folder
