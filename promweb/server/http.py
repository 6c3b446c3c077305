"""A small HTTP server in threads of its own, for metrics on a separate port."""

from __future__ import annotations

import atexit
import logging
import socket
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from ssl import SSLContext

from ..core import forking
from .answering import RequestServer, WSGIApp
from .ports import port_number
from .tls import server_context

__all__ = ["MetricsServer", "NoServer", "serve"]

logger = logging.getLogger("promweb")

RETRY = 1.0
"""Seconds between two attempts to take a port that another socket has."""


class MetricsServer:
    """A running server. It closes when the program ends; forked children do not inherit it.

    For example:

        server = metrics.start_http_server(0)
        print(server.port, server.url)
    """

    def __init__(self, server: RequestServer, host: str, endpoint: str, scheme: str) -> None:
        self._server = server
        self.is_waiting: bool = not server.listen()
        """Whether another socket has the port; this server takes the port once it is free."""
        self.port: int = server.server_address[1]
        """The port it listens on, or waits for."""
        if host in ("", "0.0.0.0", "::"):
            host = "localhost"
        self.url: str = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{endpoint}"
        """The URL of the metrics."""
        self._closing = threading.Event()
        self._closer: int | None = None
        """The thread that closes the server."""
        self._lock = threading.RLock()  # nothing takes the port once `_closing` is set
        self._thread = threading.Thread(target=self._run, name=f"promweb-{self.port}", daemon=True)
        self._thread.start()
        _running.add(self)
        atexit.register(self.close)

    def _run(self) -> None:
        while self.is_waiting:
            if self._closing.wait(RETRY):
                return
            self._take_over()
        self._server.serve_forever()

    def _take_over(self) -> None:
        with self._lock, suppress(OSError):
            if not self._closing.is_set() and self._server.listen():
                self.is_waiting = False
                logger.info(
                    "Port %d is free; this process serves the metrics at %s.", self.port, self.url
                )

    def close(self) -> None:
        """Stop listening and end the threads; a second call does nothing.

        Scrapes in progress have 5 seconds to finish.

            server.close()
        """
        me = threading.get_ident()
        if self not in _running or self._closer == me:  # a signal handler has called it meanwhile
            return
        self._closer = me
        try:
            with self._lock:
                self._closing.set()
            if not self.is_waiting:
                self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._forget()
        finally:
            self._closer = None

    def _forget(self) -> None:
        _running.discard(self)
        atexit.unregister(self.close)

    def _leave_to_parent(self) -> None:
        self._server.leave_to_parent()
        self._forget()


class NoServer(MetricsServer):
    """Stands for a server in processes that must not serve metrics: it never listens.

    For example:

        server = NoServer(9100)
    """

    def __init__(self, port: int) -> None:
        self.is_waiting = False
        self.port = port
        self.url = ""

    def close(self) -> None:
        """Do nothing.

        For example:

            server = NoServer(9100)
        """


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
    ssl: Mapping[str, str] | SSLContext | None = None,
) -> MetricsServer:
    """Serve a WSGI application in a daemon thread, with another thread for each client.

    If another socket has the port, the server waits for it. `ssl` is a server's context, or a
    dictionary of paths: a certificate chain (`cert`), its key (`key`), and, to require client
    certificates, their authority (`client_ca`). Raises ValueError for a port or an `ssl` that
    cannot work, and OSError for a file or an address that cannot be used.

        server = serve(wsgi_app, 9100)
    """
    port = port_number(port)
    context = None if ssl is None else server_context(ssl)
    family, *_, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    server = RequestServer(app, family, address[:2], context)
    try:
        return MetricsServer(server, host, endpoint, "http" if context is None else "https")
    except OSError:
        server.server_close()
        raise
