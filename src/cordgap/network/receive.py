"""A storage node: takes objects from known senders into an inbox."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from pynetdicom import evt

from cordgap.errors import CordgapError, OptionError
from cordgap.network.inbox import Inbox, file_head
from cordgap.network.link import check_ae_title, listen, make_ae, storage_contexts

_LOG = logging.getLogger(__name__)
_VERIFICATION = "1.2.840.10008.1.1"
# What a sender is told: PS3.4, table B.2-1; a duplicate: PS3.7, C.5.
_STATUS = {"inbox-full": 0xA700, "inbox-unwritable": 0xA700, "object-uid": 0xA900,
           "object-conflict": 0x0111}  # fmt: skip
_NOT_UNDERSTOOD = 0xC000
# Commands and element headers come on top of the data set.
_OVERHEAD_BYTES = 4 << 20


@dataclass
class Tally:
    """What came, counted by the threads of the associations."""

    stored: int = 0
    repeated: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    rejected: int = 0
    aborted: int = 0
    studies: set[str] = field(default_factory=set)
    port: int = 0
    last: float = field(default_factory=time.monotonic)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def count(self, name: str, step: int = 1) -> None:
        """Add to a number, and note that something happened."""
        with self._lock:
            setattr(self, name, getattr(self, name) + step)
            self.last = time.monotonic()

    def touch(self) -> None:
        """Note that something happens."""
        self.last = time.monotonic()

    def refuse(self, code: str) -> None:
        """Count an object that was not kept, by its reason."""
        with self._lock:
            self.refused[code] = self.refused.get(code, 0) + 1
            self.last = time.monotonic()


def keep(event: Any, inbox: Inbox, tally: Tally) -> int:
    """Store the object of a C-STORE request; return the status for the sender."""
    request = event.request
    try:
        head = file_head(
            str(request.AffectedSOPClassUID or ""),
            str(request.AffectedSOPInstanceUID or ""),
            str(event.context.transfer_syntax),
        )
        stored = inbox.store(head, request.DataSet.getbuffer() if request.DataSet else b"")
    except CordgapError as error:
        tally.refuse(error.code)
        _LOG.warning("an object was refused: %s [%s]", error, error.code)
        return _STATUS.get(error.code, _NOT_UNDERSTOOD)
    except Exception as error:
        # Whatever a hostile data set raises is told to its sender and stops nobody else.
        tally.refuse("file-damaged")
        _LOG.warning("an object was refused: %s", type(error).__name__)
        _LOG.debug("refused", exc_info=True)
        return _NOT_UNDERSTOOD
    tally.count("stored" if stored.new else "repeated")
    tally.studies.add(stored.study_uid)
    return 0x0000


@contextmanager
def receiving(
    inbox: Inbox,
    *,
    address: tuple[str, int],
    ae_title: str,
    allow: Sequence[str],
    context: ssl.SSLContext | None = None,
) -> Iterator[Tally]:
    """Take objects while the block runs.

    Parameters
    ----------
    inbox : Inbox
    address : (str, int)
        Of this computer, to listen on; port 0 takes a free one (``Tally.port``).
    ae_title : str
        Our name; associations that call another one are refused.
    allow : sequence of str
        Titles of those who may send; all others are refused.
    context : ssl.SSLContext, optional
        For TLS.

    Raises
    ------
    OptionError
        If nobody may send, or a title is none.
    NetworkError
        If the port cannot be had.
    """
    if not allow:
        raise OptionError("--allow AET is missing: nobody is allowed to send; name who may")
    ae = make_ae(check_ae_title(ae_title, "--aet"))
    ae.require_called_aet = True
    ae.require_calling_aet = [check_ae_title(title, "--allow") for title in allow]
    ae.supported_contexts = storage_contexts()
    ae.add_supported_context(_VERIFICATION)
    tally = Tally()
    handlers = [
        (evt.EVT_C_STORE, lambda event: keep(event, inbox, tally)),
        (evt.EVT_ESTABLISHED, lambda _event: tally.touch()),
        (evt.EVT_REJECTED, lambda _event: tally.count("rejected")),
        (evt.EVT_ABORTED, lambda _event: tally.count("aborted")),
        (evt.EVT_PDU_RECV, lambda _event: tally.touch()),
    ]
    most = inbox.limits.object_bytes + _OVERHEAD_BYTES
    server = listen(ae, address, handlers, context=context, most_message_bytes=most)
    tally.port = int(server.server_address[1])
    try:
        yield tally
    finally:
        ae.shutdown()
