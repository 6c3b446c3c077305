"""Answers one request of a connection: h11 reads it, a WSGI application answers it."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from io import BytesIO
from socketserver import StreamRequestHandler
from typing import Any
from urllib.parse import unquote
from wsgiref.handlers import SimpleHandler

import h11

from .connections import ConnectionServer

__all__ = ["LONGEST_HEAD", "RequestServer", "WSGIApp"]

logger = logging.getLogger("promweb")

LONGEST_HEAD = 32768
"""The most bytes of the request line and the headers together."""

WSGIApp = Callable[..., Any]


class RequestServer(ConnectionServer):
    """Answers the first request of each connection with a WSGI application."""

    def __init__(
        self,
        app: WSGIApp,
        family: socket.AddressFamily,
        address: Any,
        context: ssl.SSLContext | None,
    ) -> None:
        self.app = app
        self._is_secure = context is not None
        super().__init__(family, address, _Handler, context)

    def environ(self) -> dict[str, str]:
        """Return the part of WSGI's environment that all requests share."""
        host, port, *_ = self.server_address
        return {
            "SERVER_NAME": str(host),
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SCRIPT_NAME": "",
            "HTTPS": "on" if self._is_secure else "off",
        }


class _Handler(StreamRequestHandler):
    """Reads one request without its body, answers it and ends the connection."""

    server: RequestServer
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
        environ = {**self.server.environ(), **environ}
        answer = _Answer(BytesIO(), self.wfile, sys.stderr, environ)
        answer.os_environ = {}  # so that no view can show the variables of this process
        answer.run(app)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        client = self.server.clients[self.request]
        client.asked()
        try:
            return self.server.app(environ, start_response)
        finally:
            client.answered()


def _environ(request: h11.Request, client: str) -> dict[str, str]:
    """Return the request's part of WSGI's environment, without a body."""
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
        # WSGI spells `X_Real` and `X-Real` alike: a client could forge a header of the proxy.
        if b"_" not in name and name not in (b"content-length", b"transfer-encoding"):
            key = "HTTP_" + name.decode("ascii").upper().replace("-", "_")
            text = value.decode("latin-1")
            environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def _refusal(status: int) -> WSGIApp:
    """Return an application that answers with a status and its phrase."""
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
        """Log an exception of the application; at debug level if the client left."""
        level = logging.DEBUG if isinstance(exc_info[1], OSError) else logging.ERROR
        logger.log(level, "An answer of the metrics server failed.", exc_info=exc_info)
