"""What every association needs: names, what is exchanged, TLS, and limits on the wire.

pynetdicom believes the length that a peer states (4 GB) and waits for it; the classes here do not.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from cordgap.errors import NetworkError, OptionError

_LOG = logging.getLogger(__name__)

# What a plan is made of, and what planning systems send along with it.
STORAGE_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.481.3",  # RT Structure Set
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
    "1.2.840.10008.5.1.4.1.1.481.5",  # RT Plan
    "1.2.840.10008.5.1.4.1.1.481.8",  # RT Ion Plan
    "1.2.840.10008.5.1.4.1.1.481.1",  # RT Image
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.66.1",  # Spatial Registration
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
)
# Not the deflated one: it has to be inflated as a whole to be looked at.
TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # explicit, little endian
    "1.2.840.10008.1.2",  # implicit
    "1.2.840.10008.1.2.2",  # explicit, big endian
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.70",  # JPEG lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
)
MOST_PDU_BYTES = 1 << 20  # we announce 128 kB; an association request stays below it as well
ANNOUNCED_PDU_BYTES = 128 << 10
PDU_SECONDS = 30.0
MOST_CONNECTIONS = 32
# Senders that write a message in two pieces wait for our acknowledgement in between, 40 ms each.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")


def check_ae_title(title: str, option: str) -> str:
    """Return an application entity title without blanks around it.

    Raises
    ------
    OptionError
        If it is empty, longer than 16 characters, or has others than ASCII ones.
    """
    if not title.strip() or not _AE_TITLE.fullmatch(title.strip()):
        raise OptionError(
            f"{option} {title!r}: expected 1 to 16 ASCII characters without backslash"
        )
    return title.strip()


def make_ae(title: str) -> AE:
    """Return an application entity with our timeouts; it logs only where cordgap does."""
    logging.getLogger("pynetdicom").setLevel(
        logging.DEBUG if _LOG.isEnabledFor(logging.DEBUG) else logging.CRITICAL + 1
    )
    ae = AE(ae_title=title)
    ae.acse_timeout = 15
    ae.dimse_timeout = 60
    ae.network_timeout = 60
    ae.connection_timeout = 15
    ae.maximum_pdu_size = ANNOUNCED_PDU_BYTES
    # Connections are counted as they come (GuardedServer); the library counts dead ones too.
    ae.maximum_associations = 10 * MOST_CONNECTIONS
    return ae


def storage_contexts() -> list[PresentationContext]:
    """Return the presentation contexts of every class that is kept."""
    return [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in STORAGE_CLASSES]


def tls_context(
    *, server: bool, cert: Path | None, key: Path | None, ca: Path | None
) -> ssl.SSLContext:
    """Return a TLS context, 1.2 or newer.

    Parameters
    ----------
    server : bool
        A server needs ``cert`` and ``key``; with ``ca`` it takes only clients certified by it. A
        client trusts ``ca``, or what the system trusts; host names are checked.
    cert, key, ca : Path, optional
        PEM files.

    Raises
    ------
    OptionError
        If a file is missing or is none.
    """
    if server and cert is None:
        raise OptionError("--tls needs --cert FILE, and --key FILE unless the key is in it")
    purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
    try:
        context = ssl.create_default_context(purpose, cafile=None if ca is None else str(ca))
        if cert is not None:
            context.load_cert_chain(cert, key)
    except OSError as error:  # SSLError is one
        reason = error.strerror or type(error).__name__
        raise OptionError(f"--cert, --key or --ca cannot be used: {reason}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if server and ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _GuardedSocket(AssociationSocket):
    """Reads no PDU and no message beyond the limits, and waits for none for ever."""

    message_bytes = 0
    most_message_bytes = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes; less where the peer went away.

        Raises
        ------
        OSError
            Beyond a limit; the library closes the connection.
        """
        self.message_bytes += nr_bytes
        if nr_bytes > MOST_PDU_BYTES or self.message_bytes > self.most_message_bytes:
            _LOG.warning("a connection was closed: it sends more than is allowed")
            raise OSError("beyond the limit")
        data = bytearray(nr_bytes)
        view, got, end = memoryview(data), 0, time.monotonic() + PDU_SECONDS
        while got < nr_bytes:
            assert self.socket is not None
            if time.monotonic() > end:
                raise TimeoutError("the peer is too slow")
            count = self.socket.recv_into(view[got:])
            if _QUICKACK is not None:
                self.socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            if not count:
                break
            got += count
        view.release()
        del data[got:]
        return data

    def _shutdown_socket(self) -> None:
        # The library leaves the descriptor open where the peer was gone already, and the thread
        # of the association waiting for a request that cannot come any more.
        super()._shutdown_socket()
        if self.socket is not None:
            self.socket.close()
            if self.assoc.requestor.primitive is None:
                self.assoc.dul.to_user_queue.put(None)


class _Handler(RequestHandler):
    server: GuardedServer

    def handle(self) -> None:
        self.request.settimeout(PDU_SECONDS)
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().handle()

    def _create_association(self) -> Any:
        assoc = super()._create_association()
        guarded = _GuardedSocket(assoc, client_socket=self.request)
        # The one that the library made has told the state machine of the connection already.
        assoc.dul.event_queue.get_nowait()
        guarded.most_message_bytes = self.server.most_message_bytes
        assoc.dul.socket = guarded
        return assoc


class GuardedServer(ThreadedAssociationServer):
    """Takes connections up to a number; one that stalls or talks nonsense stops no other."""

    daemon_threads = True
    request_queue_size = MOST_CONNECTIONS
    most_message_bytes = 0

    def __init__(
        self,
        ae: AE,
        address: Any,
        ae_title: str,
        contexts: list[PresentationContext],
        ssl_context: ssl.SSLContext | None = None,
        evt_handlers: list[Any] | None = None,
    ) -> None:
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(ae, address, ae_title, contexts, ssl_context, evt_handlers, _Handler)
        self.bind(evt.EVT_DIMSE_RECV, _message_is_complete)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; the TLS handshake is made in its own thread."""
        assert self.socket is not None
        client, address = self.socket.accept()
        # Answers are small and each is waited for.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.ssl_context is None:
            return client, address
        client.settimeout(PDU_SECONDS)
        try:
            return self.ssl_context.wrap_socket(
                client, server_side=True, do_handshake_on_connect=False
            ), address
        except OSError:
            client.close()
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Refuse a connection above the number that is allowed at a time."""
        with self._guard:
            self._open = {s for s in self._open if s.fileno() != -1}
            if len(self._open) >= MOST_CONNECTIONS:
                _LOG.warning("a connection was refused: %d are open", len(self._open))
                return False
            self._open.add(request)
            return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note the end of a connection that never became an association."""
        _LOG.info("a connection failed before it became an association", exc_info=True)


def _message_is_complete(event: Any) -> None:
    guarded = event.assoc.dul.socket
    if guarded is not None:
        guarded.message_bytes = 0


def listen(
    ae: AE,
    address: tuple[str, int],
    handlers: list[Any],
    *,
    context: ssl.SSLContext | None,
    most_message_bytes: int,
) -> GuardedServer:
    """Start a server in a thread of its own; ``server.shutdown()`` ends it.

    Raises
    ------
    NetworkError
        If the port cannot be had.
    """
    try:
        server: Any = ae.make_server(
            address, evt_handlers=handlers, ssl_context=context, server_class=GuardedServer
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NetworkError(
            f"cannot listen on {address[0]}:{address[1]}: {reason}; choose another --port",
            code="port-unusable",
        ) from error
    server.most_message_bytes = most_message_bytes
    ae._servers.append(server)
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    assert isinstance(server, GuardedServer)
    return server
