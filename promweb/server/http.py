"""A small HTTP server in threads of its own, for metrics on a separate port.

h11 reads requests, `wsgiref` writes answers; a connection has one of each.
"""

from __future__ import annotations

import atexit
import logging
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from io import BytesIO
from socketserver import StreamRequestHandler
from ssl import SSLContext
from typing import Any
from urllib.parse import unquote
from wsgiref.handlers import SimpleHandler

import h11

from ..core import forking
from .connections import ConnectionServer
from .ports import port_number
from .tls import server_context

__all__ = ["MetricsServer", "NoServer", "serve"]

logger = logging.getLogger("promweb")

LONGEST_HEAD = 32768
"""Bytes that the request line and the headers may have together."""
RETRY = 1.0
"""Seconds between two attempts to take a port that another socket has."""

WSGIApp = Callable[..., Any]


class MetricsServer:
    """A running server. The end of the program closes it; forked children do not inherit it.

    For example:

        server = metrics.start_http_server(0)
        print(server.port, server.url)
    """

    def __init__(self, server: ConnectionServer, host: str, endpoint: str, scheme: str) -> None:
        self._server = server
        self.is_waiting: bool = not server.listen()
        """Whether another socket has the port; this server takes it as soon as it is free."""
        self.port: int = server.server_address[1]
        """The port it listens on, or waits for."""
        if host in ("", "0.0.0.0", "::"):
            host = "localhost"
        self.url: str = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{endpoint}"
        """The URL of the metrics."""
        self._closing = threading.Event()
        self._lock = threading.Lock()  # nothing takes the port once `_closing` is set
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

        Scrapes that are being answered have 5 seconds to finish.

            server.close()
        """
        if self in _running:
            with self._lock:
                self._closing.set()
            if not self.is_waiting:
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


class NoServer(MetricsServer):
    """What a program gets that is not to serve metrics: it has a port, and listens nowhere.

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
    """Serve a WSGI application from a daemon thread, and one more for each client.

    While another socket has the port, the server waits for it. `ssl` is a server's context, or a
    dictionary of paths: a certificate chain (`cert`), its key (`key`), and the authority of
    clients' certificates (`client_ca`) if they must show one. Raises ValueError for a port or an
    `ssl` that cannot work, and OSError for a file or an address that cannot be used.

        server = serve(wsgi_app, 9100)
    """
    port = port_number(port)
    context = None if ssl is None else server_context(ssl)
    family, *_, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    server = _Server(family, address[:2], _Handler, context)
    server.app = app
    server.base_environ = {
        "SERVER_NAME": host,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": "",
        "HTTPS": "off" if context is None else "on",
    }
    try:
        return MetricsServer(server, host, endpoint, "http" if context is None else "https")
    except OSError:
        server.server_close()
        raise


class _Server(ConnectionServer):
    app: WSGIApp
    base_environ: dict[str, str]


class _Handler(StreamRequestHandler):
    """Reads one request without its body, answers it and ends the connection."""

    server: _Server
    wfile: Any

    def handle(self) -> None:
        """Answer a request once its whole head has arrived."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
        try:
            while (event := connection.next_event()) is h11.NEED_DATA:
                data = self.request.recv(4096)
                if not data:
                    return  # the client left, or was cut off
                connection.receive_data(data)
        except h11.RemoteProtocolError as error:
            self._run(_refusal(error.error_status_hint), {})
            return
        assert isinstance(event, h11.Request)  # the first event of a connection
        if event.http_version in (b"1.0", b"1.1"):
            self._run(self._answer, _environ(event, self.client_address[0]))
        else:
            self._run(_refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED), {})

    def _run(self, app: WSGIApp, environ: Mapping[str, str]) -> None:
        port = str(self.server.server_address[1])
        environ = {**self.server.base_environ, "SERVER_PORT": port, **environ}
        answer = _Answer(BytesIO(), self.wfile, sys.stderr, environ)
        answer.os_environ = {}  # so that no view can show this process's variables
        answer.run(app)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        client = self.server.clients[self.request]
        client.asked()
        try:
            return self.server.app(environ, start_response)
        finally:
            client.answered()


def _environ(request: h11.Request, client: str) -> dict[str, str]:
    """Return what WSGI calls the parts of a request, as if it had no body."""
    target = request.target.decode("ascii")
    scheme, is_absolute, rest = target.partition("://")
    if is_absolute and scheme.lower() in ("http", "https"):  # RFC 9112, 3.2.2
        target = "/" + rest.partition("/")[2]
    path, _, query = target.partition("?")
    environ = {
        "REMOTE_ADDR": client,
        "REQUEST_METHOD": request.method.decode("ascii"),
        "SERVER_PROTOCOL": f"HTTP/{request.http_version.decode('ascii')}",
        "PATH_INFO": unquote(path, "latin-1"),
        "QUERY_STRING": query,
    }
    for name, value in request.headers:
        # WSGI spells `X_Real` and `X-Real` alike: a client could pass for the proxy before us.
        if b"_" not in name and name not in (b"content-length", b"transfer-encoding"):
            key = "HTTP_" + name.decode("ascii").upper().replace("-", "_")
            text = value.decode("latin-1")
            environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def _refusal(status: int) -> WSGIApp:
    """Return an application that answers with a status and its name."""
    phrase = HTTPStatus(status).phrase
    body = f"{phrase}\n".encode()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(f"{status} {phrase}", headers)
        return [body]

    return app


class _Answer(SimpleHandler):
    http_version = "1.1"
    headers: Any

    def cleanup_headers(self) -> None:
        """Add the headers that an application must not send."""
        super().cleanup_headers()
        self.headers["Connection"] = "close"

    def log_exception(self, exc_info: Any) -> None:
        """Log what the application raised; a client that left is only logged at debug level."""
        level = logging.DEBUG if isinstance(exc_info[1], OSError) else logging.ERROR
        logger.log(level, "An answer of the metrics server failed.", exc_info=exc_info)
