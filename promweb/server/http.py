"""A small HTTP server in threads of its own, for metrics on a separate port."""

from __future__ import annotations

import atexit
import logging
import socket
import ssl as tls
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from io import BytesIO
from string import printable
from typing import Any
from urllib.parse import quote
from wsgiref.handlers import SimpleHandler
from wsgiref.simple_server import WSGIRequestHandler

from ..core import forking
from .connections import ConnectionServer

__all__ = ["MetricsServer", "serve"]

logger = logging.getLogger("promweb")

LONGEST_HEAD = 32768
"""Bytes that the request line and the headers may have together."""

WSGIApp = Callable[..., Any]


class MetricsServer:
    """A running server. The end of the program closes it; forked children do not inherit it."""

    def __init__(self, server: ConnectionServer, host: str, endpoint: str, scheme: str) -> None:
        self._server = server
        self.port: int = server.server_address[1]
        """The port it listens on."""
        if host in ("", "0.0.0.0", "::"):
            host = "localhost"
        self.url: str = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{endpoint}"
        """The URL of the metrics."""
        self._thread = threading.Thread(
            target=server.serve_forever, name=f"promweb-{self.port}", daemon=True
        )
        self._thread.start()
        _running.add(self)
        atexit.register(self.close)

    def close(self) -> None:
        """Stop listening and end the threads; a second call does nothing.

        Scrapes that are being answered have 5 seconds to finish.
        """
        if self in _running:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._forget()

    def _forget(self) -> None:
        _running.discard(self)
        atexit.unregister(self.close)

    def _leave_to_parent(self) -> None:
        self._server.leave_to_parent()
        self._forget()


_running: weakref.WeakSet[MetricsServer] = weakref.WeakSet()


def _leave_to_parent() -> None:
    """Close a forked child's copies of the servers: it has no threads for them."""
    for server in list(_running):
        server._leave_to_parent()


forking.in_child(_leave_to_parent)


def serve(
    app: WSGIApp,
    port: int,
    host: str = "0.0.0.0",
    endpoint: str = "/metrics",
    ssl: Mapping[str, str] | tls.SSLContext | None = None,
) -> MetricsServer:
    """Serve a WSGI application from a daemon thread, and one more for each client.

    `ssl` is a server's context, or a dictionary of paths: a certificate chain (`cert`), its key
    (`key`), and the authority of clients' certificates (`client_ca`) if they must show one. Raises
    `OSError` if the port is taken and `ValueError` for an `ssl` that cannot work.
    """
    context = None if ssl is None else _tls_context(ssl)
    family, *_, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    server = _Server(family, address[:2], _Handler, context)
    server.app = app
    server.base_environ = {
        "SERVER_NAME": host,
        "SERVER_PORT": str(server.server_address[1]),
        "SCRIPT_NAME": "",
        "CONTENT_LENGTH": "",
        "HTTPS": "off" if context is None else "on",
    }
    return MetricsServer(server, host, endpoint, "http" if context is None else "https")


def _tls_context(ssl: Mapping[str, str] | tls.SSLContext) -> tls.SSLContext:
    if isinstance(ssl, tls.SSLContext):
        if ssl.protocol is tls.PROTOCOL_TLS_CLIENT:
            raise ValueError(
                "ssl is a context for clients: make one with "
                "ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)"
            )
        return ssl
    paths = "write ssl={'cert': 'path', 'key': 'path'}, and 'client_ca' for client certificates"
    if missing := {"cert", "key"}.difference(ssl):
        raise ValueError(f"ssl lacks {sorted(missing)}: {paths}")
    if unknown := set(ssl).difference({"cert", "key", "client_ca"}):
        raise ValueError(f"ssl has no {sorted(unknown)}: {paths}")
    context = tls.create_default_context(tls.Purpose.CLIENT_AUTH, cafile=ssl.get("client_ca"))
    context.load_cert_chain(ssl["cert"], ssl["key"])
    if "client_ca" in ssl:
        context.verify_mode = tls.CERT_REQUIRED
    return context


class _Server(ConnectionServer):
    app: WSGIApp
    base_environ: dict[str, str]


class _Handler(WSGIRequestHandler):
    """Reads one request without its body, answers it and ends the connection."""

    server: _Server
    rfile: Any
    wfile: Any
    server_version, sys_version = "promweb", ""  # no versions for strangers
    default_request_version = "HTTP/1.0"  # so that every answer has a status line

    def handle(self) -> None:
        """Answer a request once its whole head has arrived."""
        with self.rfile as stream:
            head, is_whole = _read_head(stream)
        self.rfile = BytesIO(head)
        self.raw_requestline = self.rfile.readline()
        if is_whole and self.parse_request():
            if any("\n" in value for value in self.headers.values()):
                return self.send_error(400, "Folded header")  # RFC 9112, 5.2
            answer = _Answer(BytesIO(), self.wfile, sys.stderr, self.get_environ())
            answer.os_environ = {}  # so that no view can show this process's variables
            answer.run(self._answer)
        elif len(head) == LONGEST_HEAD:
            self.requestline = self.request_version = self.command = ""
            self.send_error(431)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        client = self.server.clients[self.request]
        client.asked()
        try:
            return self.server.app(environ, start_response)
        finally:
            client.answered()

    def get_environ(self) -> dict[str, Any]:
        """Return the WSGI environment of a request."""
        # WSGI spells `X_Real` and `X-Real` alike: a client could pass for the proxy before us.
        for name in set(self.headers):
            if "_" in name:
                del self.headers[name]
        scheme, is_absolute, rest = self.path.partition("://")
        if is_absolute and scheme.lower() in ("http", "https"):  # RFC 9112, 3.2.2
            self.path = "/" + rest.partition("/")[2]
        environ = super().get_environ()
        # Both frameworks raise for a query string with bytes that are not UTF-8.
        environ["QUERY_STRING"] = quote(environ["QUERY_STRING"], printable, "latin-1")
        return environ

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def _read_head(stream: Any) -> tuple[bytes, bool]:
    """Return the request line and headers, and whether the empty line after them arrived."""
    head = bytearray()
    while line := stream.readline(LONGEST_HEAD - len(head)):
        head += line
        if line in (b"\r\n", b"\n"):
            return bytes(head), True
    return bytes(head), False


class _Answer(SimpleHandler):
    def log_exception(self, exc_info: Any) -> None:
        """Log what the application raised; a client that left is only logged at debug level."""
        level = logging.DEBUG if isinstance(exc_info[1], OSError) else logging.ERROR
        logger.log(level, "An answer of the metrics server failed.", exc_info=exc_info)
