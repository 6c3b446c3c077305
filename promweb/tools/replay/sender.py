"""Sends requests to one service only, within limits."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPSConnection
from ipaddress import ip_address
from urllib.parse import urlsplit

from .requests_file import Request

__all__ = ["MAX_BODY", "Sender", "is_loopback"]

MAX_BODY = 16 * 2**20
"""The most bytes of an answer that are read."""

_CHUNK = 2**16


def is_loopback(url: str) -> bool:
    """Tell whether a URL points to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Sender:
    """Sends requests to one service, without proxies, redirects or cookies.

    `timeout` is in seconds, for each whole answer; a stream that takes longer is abandoned.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._host, self._port = parts.hostname or "", parts.port
        self._context = context if parts.scheme == "https" else None
        self._is_https = parts.scheme == "https"
        self._timeout = timeout
        self._clock = clock

    def send(self, request: Request) -> int:
        """Return the status of the answer; raise OSError or HTTPException if there is none."""
        deadline = self._clock() + self._timeout
        connection = self._connection()
        try:
            headers = {"User-Agent": "promweb-diff", "Connection": "close", **dict(request.headers)}
            connection.request(request.method, request.target, request.body, headers)
            with connection.getresponse() as response:
                room = MAX_BODY
                while room > 0 and self._clock() < deadline and (piece := response.read1(_CHUNK)):
                    room -= len(piece)
                return response.status
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        if self._is_https:
            return HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._context
            )
        return HTTPConnection(self._host, self._port, timeout=self._timeout)
