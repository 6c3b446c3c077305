"""A small HTTP server in a thread of its own, for metrics on a separate port."""

from __future__ import annotations

import logging
import socket
import ssl as tls
import threading
from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

__all__ = ["MetricsServer", "serve"]

logger = logging.getLogger("promweb")

TIMEOUT = 10.0
"""Seconds that a connection may take for its TLS handshake, and for each read and write."""


class MetricsServer:
    """A running server."""

    def __init__(self, server: WSGIServer, host: str, endpoint: str, scheme: str) -> None:
        self._server = server
        self.port: int = server.server_address[1]
        """The port it listens on."""
        if host in ("", "0.0.0.0", "::"):
            host = "localhost"
        self.url: str = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{endpoint}"
        """Where the metrics are."""
        self._thread = threading.Thread(
            target=server.serve_forever, name=f"promweb-{self.port}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening and wait for the thread; doing so twice is harmless."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def serve(
    app: Callable[..., Any],
    port: int,
    host: str = "0.0.0.0",
    endpoint: str = "/metrics",
    ssl: dict[str, str] | None = None,
) -> MetricsServer:
    """Serve a WSGI application from a daemon thread.

    `ssl` holds the paths of a certificate chain (`cert`) and its key (`key`). Raises `OSError` if
    the port is taken and `ValueError` if `ssl` lacks a path.
    """
    context = None if ssl is None else _tls_context(ssl)
    family, *_, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    server_class = type("Server", (_Server,), {"address_family": family, "context": context})
    server = server_class(address[:2], _Handler)
    server.set_app(app)
    return MetricsServer(server, host, endpoint, "http" if context is None else "https")


def _tls_context(ssl: dict[str, str]) -> tls.SSLContext:
    missing = {"cert", "key"}.difference(ssl)
    if missing:
        raise ValueError(
            f"ssl lacks {sorted(missing)}: write ssl={{'cert': 'path', 'key': 'path'}}"
        )
    context = tls.create_default_context(tls.Purpose.CLIENT_AUTH)
    context.load_cert_chain(ssl["cert"], ssl["key"])
    return context


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    context: tls.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer one connection, in its thread: a slow handshake keeps nobody else waiting."""
        request.settimeout(TIMEOUT)
        if self.context is None:
            super().finish_request(request, client_address)
            return
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that vanish, stall or speak no TLS are no news."""
        logger.debug("A connection to the metrics server failed.", exc_info=True)


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
