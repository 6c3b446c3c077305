"""The same requests to two services: one after the other, bounded, to the addresses given."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from urllib.parse import urlsplit

from ...scrapes.parsing import ScrapeError, one_line
from .differences import Difference, Differences, Level, listed
from .requests_file import Request

__all__ = ["Sender", "is_loopback", "replay"]

MAX_BODY = 16 * 2**20
"""How much of an answer is read, in bytes."""

_CHUNK = 2**16
_PATIENCE = 5
"""How many requests in a row may have no answer."""


def is_loopback(url: str) -> bool:
    """Tell whether an address is one of this machine alone."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Sender:
    """Sends requests to one service, without proxies, redirects or cookies.

    `timeout` is in seconds, for each answer as a whole; a stream is left when it is over.
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
        """Return the status of the answer; raise OSError or HTTPException where there is none."""
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


def replay(
    requests: Iterable[Request],
    old: Sender,
    new: Sender,
    *,
    rate: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Differences:
    """Send each request to both services, at most `rate` per second, and compare statuses.

    Raises `ScrapeError` where a service no longer answers.
    """
    others: dict[str, list[str]] = {}
    silent = {old: 0, new: 0}
    following = clock()
    for request in requests:
        sleep(max(following - clock(), 0.0))
        following = max(following, clock()) + 1 / rate
        statuses = [_status(sender, request, silent) for sender in (old, new)]
        if statuses[0] != statuses[1]:
            said = f"answered {statuses[0]} by OLD and {statuses[1]} by NEW"
            others.setdefault(said, []).append(str(request))
    yield from _found(others)


def _status(sender: Sender, request: Request, silent: dict[Sender, int]) -> str:
    try:
        status = str(sender.send(request))
    except (OSError, HTTPException) as error:
        silent[sender] += 1
        if silent[sender] >= _PATIENCE:
            said = f"{sender.url} did not answer {_PATIENCE} requests in a row: {one_line(error)}"
            raise ScrapeError(said) from error
        return f"not at all ({one_line(error)})"
    silent[sender] = 0
    return status


def _found(others: dict[str, list[str]]) -> Iterator[Difference]:
    for said, requests in others.items():
        what = f"{listed(dict.fromkeys(requests))}: {said}"
        yield Difference(Level.BREAKS, "answer", "", what)
