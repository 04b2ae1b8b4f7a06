"""An archive: ask which studies it has, get them, and give it what cordgap wrote."""

from __future__ import annotations

import io
import logging
import re
import ssl
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context, build_role

from cordgap.dicom.dataset import reading
from cordgap.dicom.discover import OWN_MANUFACTURER
from cordgap.errors import CordgapError, DicomError, NetworkError, OptionError
from cordgap.network.inbox import Inbox, check_uids
from cordgap.network.link import (
    STORAGE_CLASSES,
    check_ae_title,
    make_ae,
    storage_contexts,
    tls_context,
)
from cordgap.network.receive import Tally, keep, receiving

_LOG = logging.getLogger(__name__)
How = Literal["get", "move", "web"]
_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_NODE = re.compile(r"(?P<aet>[^@\\]{1,16})@(?P<host>[^@/\s]+):(?P<port>\d{1,5})")
_PENDING = (0xFF00, 0xFF01)
_WEB_SECONDS = 60.0
_WARNINGS = range(0xB000, 0xC000)


@dataclass(frozen=True)
class Pacs:
    """Where an archive is: ``AET@HOST:PORT``, or the URL of its DICOMweb service.

    ``aet`` is our name; ``context`` is for TLS; ``ca`` and ``cert`` are PEM files for a URL.
    """

    address: str
    aet: str = "CORDGAP"
    context: ssl.SSLContext | None = None
    ca: Path | None = None
    cert: tuple[Path, Path | None] | None = None

    @property
    def is_url(self) -> bool:
        """Whether it is spoken to by DICOMweb."""
        return urlsplit(self.address).scheme in ("http", "https")

    def node(self) -> tuple[str, str, int]:
        """Return title, host and port.

        Raises
        ------
        OptionError
            If the address has another form.
        """
        match = _NODE.fullmatch(self.address)
        if match is None or not 0 < int(match["port"]) < 65536:
            raise OptionError(
                f"--pacs {self.address}: expected AET@HOST:PORT, or the URL of a DICOMweb service"
            )
        return check_ae_title(match["aet"], "--pacs"), match["host"], int(match["port"])


def make_pacs(
    address: str,
    *,
    aet: str = "CORDGAP",
    tls: bool = False,
    cert: Path | None = None,
    key: Path | None = None,
    ca: Path | None = None,
) -> Pacs:
    """Return an archive, with a TLS context where ``tls`` is wanted; files are PEM.

    Raises
    ------
    OptionError
        If a file cannot be used, or the address has another form.
    """
    context = tls_context(server=False, cert=cert, key=key, ca=ca) if tls else None
    pair = None if cert is None else (cert, key)
    pacs = Pacs(address, aet=aet, context=context, ca=ca, cert=pair)
    if not pacs.is_url:
        pacs.node()
    return pacs


def find_studies(pacs: Pacs, since: str) -> list[str]:
    """Return the UIDs of the studies with an RTDOSE, of a day (YYYYMMDD) or later.

    Raises
    ------
    NetworkError
        If the archive does not answer, or refuses.
    """
    if pacs.is_url:
        with _web(pacs) as client:
            found = client.search_for_studies(
                fields=["StudyInstanceUID"],
                search_filters={"StudyDate": f"{since}-", "ModalitiesInStudy": "RTDOSE"},
            )
            uids = [str(row["0020000D"]["Value"][0]) for row in found]
    else:
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.StudyDate = f"{since}-"
        query.ModalitiesInStudy = "RTDOSE"
        query.StudyInstanceUID = ""
        with _associated(pacs, [build_context(_FIND)]) as assoc:
            uids = [str(row.get("StudyInstanceUID", "")) for row in _found(assoc, query)]
    check_uids(*uids)
    return list(dict.fromkeys(uids))


def fetch(
    pacs: Pacs,
    studies: Sequence[str],
    inbox: Inbox,
    *,
    how: How,
    listen: tuple[str, int],
    modalities: Collection[str] | None = None,
) -> Tally:
    """Get studies into an inbox.

    Parameters
    ----------
    pacs : Pacs
    studies : sequence of str
        Study Instance UIDs.
    inbox : Inbox
    how : {"get", "move", "web"}
        C-GET over the same connection, C-MOVE to ``listen`` (the archive must know our title and
        address), or DICOMweb.
    listen : (str, int)
        For C-MOVE.
    modalities : collection of str, optional
        Only the series of these modalities, such as RTDOSE; by default all of a study.

    Raises
    ------
    NetworkError
        If the archive does not answer, refuses, or could not send all; what arrived is kept.
    OptionError
        If a study is no UID, or the address does not fit ``how``.
    """
    try:
        check_uids(*studies)
    except NetworkError as error:
        raise OptionError("--study: expected a Study Instance UID, digits and dots") from error
    if (how == "web") != pacs.is_url:
        raise OptionError(f"--by {how} does not fit --pacs {pacs.address}")
    if how == "web":
        return _fetch_web(pacs, studies, inbox, modalities)
    if how == "move":
        title, _, _ = pacs.node()
        with (
            receiving(inbox, address=listen, ae_title=pacs.aet, allow=[title]) as tally,
            _associated(pacs, [build_context(_MOVE), build_context(_FIND)]) as assoc,
        ):
            for order in _orders(assoc, studies, modalities):
                _all_sent(assoc.send_c_move(order, pacs.aet, _MOVE))
        return tally
    tally = Tally()
    contexts = [build_context(_GET), build_context(_FIND), *storage_contexts()]
    roles = [build_role(uid, scp_role=True) for uid in STORAGE_CLASSES]
    handlers = [(evt.EVT_C_STORE, lambda event: keep(event, inbox, tally))]
    with _associated(pacs, contexts, roles=roles, handlers=handlers) as assoc:
        for order in _orders(assoc, studies, modalities):
            _all_sent(assoc.send_c_get(order, _GET))
    return tally


def _fetch_web(
    pacs: Pacs, studies: Sequence[str], inbox: Inbox, modalities: Collection[str] | None
) -> Tally:
    tally = Tally()
    with _web(pacs) as client:
        for study in studies:
            for ds in _objects(client, study, modalities):
                try:
                    stream = io.BytesIO()
                    ds.save_as(stream, enforce_file_format=True)
                    stored = inbox.store(b"", stream.getbuffer())
                except CordgapError as error:
                    tally.refuse(error.code)
                    _LOG.warning("an object was refused: %s [%s]", error, error.code)
                else:
                    tally.count("stored" if stored.new else "repeated")
                    tally.studies.add(stored.study_uid)
    return tally


def _objects(client: Any, study: str, modalities: Collection[str] | None) -> Iterator[Dataset]:
    """Yield the objects of a study as they are stored, all or those of some modalities."""
    media = (("application/dicom", "*"),)
    if modalities is None:
        yield from client.iter_study(study, media_types=media)
        return
    for row in client.search_for_series(study, fields=["SeriesInstanceUID", "Modality"]):
        if row.get("00080060", {}).get("Value", [""])[0] in modalities:
            yield from client.iter_series(study, row["0020000E"]["Value"][0], media_types=media)


def own_objects(paths: Sequence[Path]) -> list[Path]:
    """Return the DICOM files that cordgap wrote, among files and below folders.

    Raises
    ------
    DicomError
        If a file that was named is not one, or there is none at all.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob("*.dcm")) if path.is_dir() else [path]
        for file in inside:
            with reading(file):
                ds = pydicom.dcmread(file, specific_tags=["Manufacturer", "SOPClassUID"])
                own = str(ds.get("Manufacturer", "")) == OWN_MANUFACTURER
            if own:
                found.append(file)
            elif not path.is_dir():
                raise DicomError(
                    f"{file.name} was not written by cordgap and is not sent; give the folder of "
                    "a result that was made with --dicom",
                    code="not-own",
                    file=file.name,
                )
    if not found:
        raise DicomError(
            "there is no DICOM object of cordgap to send; analyse with --out DIR --dicom first",
            code="not-own",
        )
    return found


def send(pacs: Pacs, files: Sequence[Path]) -> tuple[int, dict[str, int]]:
    """Store files in an archive, by C-STORE or DICOMweb (STOW-RS).

    Returns
    -------
    sent : int
    refused : dict of str to int
        By what the archive answered, such as ``status-A700``.

    Raises
    ------
    NetworkError
        If it does not answer, or takes no association.
    """
    refused: dict[str, int] = {}
    sent = 0
    if pacs.is_url:
        with _web(pacs) as client:
            for file in files:
                answer = client.store_instances([_read(file)])
                failed = answer.get("FailedSOPSequence") or []
                for item in failed:
                    word = f"status-{int(item.get('FailureReason', 0)):04X}"
                    refused[word] = refused.get(word, 0) + 1
                sent += not failed
        return sent, refused
    datasets = [_read(file) for file in files]
    contexts: dict[tuple[str, str], PresentationContext] = {}
    for ds in datasets:
        pair = str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)
        contexts[pair] = build_context(pair[0], pair[1])
    with _associated(pacs, list(contexts.values())) as assoc:
        for ds in datasets:
            try:
                status = assoc.send_c_store(ds)
            except ValueError:
                word = "class-not-taken"  # no presentation context was accepted for it
            except RuntimeError:
                word = "association-lost"
            else:
                code = status.get("Status")
                if code == 0 or code in _WARNINGS:
                    sent += 1
                    continue
                word = "no-answer" if code is None else f"status-{int(code):04X}"
            refused[word] = refused.get(word, 0) + 1
    return sent, refused


def _read(file: Path) -> Any:
    with reading(file):
        return pydicom.dcmread(file)


@contextmanager
def _associated(
    pacs: Pacs,
    contexts: list[PresentationContext],
    *,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Association]:
    """Hold an association with an archive."""
    title, host, port = pacs.node()
    ae = make_ae(check_ae_title(pacs.aet, "--aet"))
    try:
        assoc = ae.associate(
            host,
            port,
            contexts=contexts,
            ae_title=title,
            ext_neg=list(roles),
            evt_handlers=list(handlers),
            tls_args=None if pacs.context is None else (pacs.context, host),
        )
    except OSError as error:  # no such host
        raise _silent(host, port) from error
    if not assoc.is_established:
        if assoc.is_rejected:
            raise NetworkError(
                f"{title} at {host}:{port} refuses {pacs.aet}: have it entered there, or see the "
                "title in --pacs",
                code="association-refused",
            )
        raise _silent(host, port)
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def _silent(host: str, port: int) -> NetworkError:
    return NetworkError(
        f"no archive answers at {host}:{port}; see host, port and --tls", code="no-answer"
    )


def _orders(
    assoc: Association, studies: Sequence[str], modalities: Collection[str] | None
) -> Iterator[Dataset]:
    """Yield what is asked for: each study, or each of its series of some modalities."""
    for study in studies:
        order = Dataset()
        order.QueryRetrieveLevel = "STUDY"
        order.StudyInstanceUID = study
        if modalities is None:
            yield order
            continue
        order.QueryRetrieveLevel = "SERIES"
        order.SeriesInstanceUID = order.Modality = ""
        found = [r for r in _found(assoc, order) if str(r.get("Modality", "")) in modalities]
        del order.Modality
        for row in found:
            order.SeriesInstanceUID = row.SeriesInstanceUID
            yield order


def _found(assoc: Association, query: Dataset) -> list[Dataset]:
    """Ask a question to its end and return the answers."""
    return [
        row
        for status, row in assoc.send_c_find(query, _FIND)
        if _code_of(status, "the query") in _PENDING and row is not None
    ]


def _code_of(status: Dataset, what: str) -> int:
    """Return the status of an answer; refuse one that says failure, or none at all."""
    code = status.get("Status")
    if code is None:
        raise NetworkError(f"the archive ended the connection during {what}", code="no-answer")
    if int(code) not in (0, *_PENDING):
        raise NetworkError(
            f"the archive refused {what} with status {int(code):04X}; what arrived before is kept",
            code="archive-refused",
            found=f"{int(code):04X}",
        )
    return int(code)


def _all_sent(answers: Iterator[tuple[Dataset, Dataset | None]]) -> None:
    """See an order through to its end; some objects that were not sent are a failure of it."""
    for status, _ in answers:
        failed = int(status.get("NumberOfFailedSuboperations") or 0)
        if failed and status.get("Status") not in _PENDING:
            raise NetworkError(
                f"{failed} object(s) of a study could not be sent; what arrived before is kept: "
                "see the limits of --into and what the archive knows of us, and fetch again",
                code="fetch-incomplete",
            )
        _code_of(status, "the study")


@contextmanager
def _web(pacs: Pacs) -> Iterator[Any]:
    """Hold a DICOMweb client; its failures end as one error without the URL of a study."""
    import requests
    from dicomweb_client.web import DICOMwebClient

    logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL + 1)
    session = requests.Session()
    if pacs.ca is not None:
        session.verify = str(pacs.ca)
    if pacs.cert is not None:
        cert, key = pacs.cert
        session.cert = str(cert) if key is None else (str(cert), str(key))
    try:
        client = DICOMwebClient(
            pacs.address, session=session, permissive_uid=True, timeout=_WEB_SECONDS
        )
        client.set_http_retry_params(retry=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield client
    except requests.HTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        raise NetworkError(
            f"the DICOMweb service refused with HTTP {code}; credentials are taken from ~/.netrc",
            code="archive-refused",
            found=f"HTTP {code}",
        ) from error
    except (requests.RequestException, OSError) as error:
        raise NetworkError(
            f"the DICOMweb service does not answer ({type(error).__name__}); see --pacs and --ca",
            code="no-answer",
        ) from error
    except CordgapError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise NetworkError(
            f"the DICOMweb service answers what is no DICOMweb ({type(error).__name__})",
            code="archive-refused",
        ) from error
    finally:
        session.close()
