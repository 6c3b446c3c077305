"""Fetches one exposition over HTTP, within limits.

Every failure raises `ScrapeError`, which says what happened.
"""

from __future__ import annotations

import json
import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from http.client import BadStatusLine, HTTPException, HTTPResponse, IncompleteRead
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from .parsing import OPENMETRICS, Exposition, ScrapeError, one_line, parse

__all__ = ["MAX_BYTES", "Client", "metrics_url"]

MAX_BYTES = 64 * 2**20
"""The largest exposition to read, in bytes, after decompression."""

_CHUNK = 2**16
_TEXT = "text/plain;version=0.0.4, */*;q=0.1"
"""The format that is cheaper to parse."""
_OPENMETRICS = f"{OPENMETRICS};version=1.0.0, text/plain;version=0.0.4;q=0.5, */*;q=0.1"
_HEADERS = {"Accept-Encoding": "gzip", "User-Agent": "promweb"}


# OpenSSL's names for an answer that is not TLS, by version.
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
_TLS_ALERT = "\x15\x03"


class Client:
    """Fetches expositions, with the same headers and the same trust for every URL.

    `timeout` is in seconds, for connecting and for the whole answer. It follows no redirects,
    because the headers may have a secret that only this server may see.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._headers = {**_HEADERS, **(headers or {})}
        self.timeout = timeout
        self.context = context
        self._clock = clock
        self._opener = OpenerDirector()
        for handler in (
            ProxyHandler(),
            HTTPHandler(),
            HTTPSHandler(context=context),
            HTTPDefaultErrorHandler(),
            HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    def scrape(self, url: str, *, openmetrics: bool = False) -> Exposition:
        """Fetch and parse; with `openmetrics` it prefers OpenMetrics, which has units."""
        content_type, body = self._fetch(url, _OPENMETRICS if openmetrics else _TEXT)
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise ScrapeError(f"the answer is not UTF-8: {error}") from error
        return parse(text, content_type)

    def json(self, url: str) -> Any:
        """Fetch a JSON document."""
        try:
            return json.loads(self._fetch(url, "application/json")[1])
        except ValueError as error:
            raise ScrapeError(f"the answer is not JSON: {error}") from error

    def _fetch(self, url: str, accept: str) -> tuple[str, bytes]:
        deadline = self._clock() + self.timeout
        request = Request(url, headers={"Accept": accept, **self._headers})
        try:
            with self._opener.open(request, timeout=self.timeout) as r:
                body = b"".join(self._pieces(r, deadline))
                return r.headers.get("Content-Type", ""), body
        except HTTPError as error:
            error.close()
            where = error.headers.get("Location")
            said = f"answered {error.code} {error.reason}".strip()
            said += f" and redirects to {where}" if where else ""
            raise ScrapeError(one_line(said)) from error
        except TimeoutError as error:
            raise ScrapeError(self._too_slow()) from error
        except URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise ScrapeError(self._too_slow()) from error
            if isinstance(error.reason, ssl.SSLError) and error.reason.reason in _NO_TLS:
                raise ScrapeError("it does not speak TLS; write http://") from error
            raise ScrapeError(one_line(error.reason)) from error
        except BadStatusLine as error:
            if str(error).startswith(_TLS_ALERT):
                raise ScrapeError("it speaks TLS; write https://") from error
            raise ScrapeError(one_line(error)) from error
        except IncompleteRead as error:
            raise ScrapeError("the answer is cut short") from error
        except (OSError, HTTPException, UnicodeError) as error:
            raise ScrapeError(one_line(error)) from error
        except zlib.error as error:
            raise ScrapeError(f"the answer claims to be gzip and is not: {error}") from error

    def _pieces(self, response: HTTPResponse, deadline: float) -> Iterator[bytes]:
        """Yield the body, decompressed; raise ScrapeError if it is too long or cut short."""
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding not in ("gzip", "identity"):
            raise ScrapeError(f"the answer is encoded as {encoding!r}; it must be gzip")
        unzip = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
        received, room = 0, MAX_BYTES
        while piece := response.read1(_CHUNK):
            if self._clock() > deadline:
                raise TimeoutError
            received += len(piece)
            if unzip is not None:
                piece = unzip.decompress(piece)  # at most about a thousand times as large
            room -= len(piece)
            if room < 0 or received > MAX_BYTES:
                raise ScrapeError(f"the answer has more than {MAX_BYTES:,} bytes")
            yield piece
        expected = response.headers.get("Content-Length", "")
        if (unzip is not None and not unzip.eof) or expected not in ("", str(received)):
            raise ScrapeError("the answer is cut short")

    def _too_slow(self) -> str:
        return f"no complete answer within {self.timeout:g} s"


def metrics_url(given: str) -> str:
    """Return the URL of a service's metrics; `http://` and `/metrics` may be left out.

    Raises `ValueError` for a URL that cannot be scraped.
    """
    if not given.isascii() or not given.isprintable() or " " in given:
        raise ValueError("it has spaces or characters that are not ASCII; percent-encode them")
    parts = urlsplit(given if "://" in given else f"http://{given}")
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"the scheme is {parts.scheme!r}; it must be http or https")
    if parts.username is not None:
        raise ValueError("it has a user name; give it with --user, so that it is not displayed")
    if not parts.hostname:
        raise ValueError("it has no host")
    _ = parts.port  # raises ValueError for a bad port
    return urlunsplit(parts._replace(path=parts.path or "/metrics", fragment=""))
