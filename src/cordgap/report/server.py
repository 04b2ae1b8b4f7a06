"""A list of results on 127.0.0.1, read-only: for a tumour board, not for a network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from cordgap.errors import OptionError
from cordgap.report.listing import FOLDERS, PAGES, result_folders, results_document
from cordgap.report.page import page_environment, script_hash

HOST = "127.0.0.1"
# What is served, by the end of the name; nothing else is.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".csv": "text/csv; charset=utf-8",
    ".stl": "model/stl",
    ".glb": "model/gltf-binary",
    ".dcm": "application/dicom",
}
_INNER = ("figures", *FOLDERS)
_SCRIPT = "list.js"
# Nobody else may frame, sniff, keep or be told of what is shown.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def list_html(folder: Path) -> str:
    """Return the list of the results below a folder as a page."""
    page: str = (
        page_environment()
        .get_template("list.html")
        .render(
            document=results_document(folder),
            pages=PAGES,
            quote=quote,
            script_hashes=[script_hash(_SCRIPT)],
        )
    )
    return page


def make_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of the results below a folder, bound to 127.0.0.1 alone.

    Parameters
    ----------
    folder : Path
    port : int
        0 takes a free one.

    Raises
    ------
    OptionError
        If the folder is none, or the port cannot be used.
    """
    results_document(folder)
    try:
        return ThreadingHTTPServer((HOST, port), _handler(folder))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "it is out of range"
        raise OptionError(f"--port {port} cannot be used: {reason}") from error


def file_at(folder: Path, path: str) -> Path | None:
    """Return the file of a result that a path names; None for everything else.

    Only files of a served kind, in the folder of a result or in one that a result has, and only
    where they really lie below ``folder``.
    """
    root = folder.resolve()
    try:
        file = (root / unquote(path).lstrip("/")).resolve()
    except (OSError, ValueError):
        return None
    places = {place.resolve() for place in result_folders(root)}
    home = file.parent.parent if file.parent.name in _INNER else file.parent
    inside = file.is_relative_to(root) and home in places
    return file if inside and file.suffix.lower() in TYPES and file.is_file() else None


def _handler(folder: Path) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers GET and HEAD; everything else is refused by the base class."""

        server_version, sys_version = "cordgap", ""
        protocol_version = "HTTP/1.1"
        # A connection that says nothing is closed.
        timeout = 30

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            # A page elsewhere whose name was made to point here must not read anything.
            port = self.connection.getsockname()[1]
            if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
                self.send_error(HTTPStatus.FORBIDDEN, "Not this host")
                return
            path = urlsplit(self.path).path
            if path == "/":
                body, kind = list_html(folder).encode("utf-8"), TYPES[".html"]
            else:
                file = file_at(folder, path)
                if file is None:
                    self.send_error(HTTPStatus.NOT_FOUND)
                    return
                body, kind = file.read_bytes(), TYPES[file.suffix.lower()]
            self.send_response(HTTPStatus.OK)
            for name, value in (_HEADERS | {"Content-Type": kind}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            # Paths may hold names: they are not written.
            logging.getLogger("cordgap").debug("a request was answered")

    return Handler
