"""One scrape: an exposition fetched over HTTP within bounds, and parsed.

Whatever goes wrong is a `ScrapeError`, which says what happened. Its text may quote the server and
is not safe for a terminal.
"""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse, IncompleteRead
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

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

__all__ = ["MAX_BYTES", "Client", "Exposition", "ScrapeError", "metrics_url", "parse"]

MAX_BYTES = 64 * 2**20
"""The largest exposition that is read, in bytes, after decompression."""

_CHUNK = 2**16
_LONGEST = 200
"""Characters of an error that are kept."""
_HEADERS = {
    # The text format is the cheaper one to parse; exemplars and units are of no use here.
    "Accept": "text/plain;version=0.0.4, */*;q=0.1",
    "Accept-Encoding": "gzip",
    "User-Agent": "promweb-top",
}


class ScrapeError(Exception):
    """A URL could not be read, or what it answered is not what was asked for."""


@dataclass(frozen=True)
class Exposition:
    """What a scrape brought."""

    families: frozenset[str]
    """Names, also of families that have no sample yet."""
    samples: Mapping[str, list[Sample]] = field(default_factory=dict)
    """By the sample's name, such as `..._bucket`."""


class Client:
    """Fetches expositions, with the same headers and the same trust for every URL.

    `timeout` is in seconds, for connecting and for the whole answer. Redirects are not followed,
    because the headers may have a secret that is for nobody else.
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

    def scrape(self, url: str) -> Exposition:
        """Fetch and parse."""
        content_type, body = self._fetch(url)
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise ScrapeError(f"the answer is not UTF-8: {error}") from error
        return parse(text, content_type)

    def _fetch(self, url: str) -> tuple[str, bytes]:
        deadline = self._clock() + self.timeout
        try:
            with self._opener.open(Request(url, headers=self._headers), timeout=self.timeout) as r:
                body = b"".join(self._pieces(r, deadline))
                return r.headers.get("Content-Type", ""), body
        except HTTPError as error:
            error.close()
            where = error.headers.get("Location")
            said = f"answered {error.code} {error.reason}".strip()
            said += f", go to {where}" if where else ""
            raise ScrapeError(said[:_LONGEST]) from error
        except TimeoutError as error:
            raise ScrapeError(self._too_slow()) from error
        except URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise ScrapeError(self._too_slow()) from error
            raise ScrapeError(_said(error.reason)) from error
        except IncompleteRead as error:
            raise ScrapeError("the answer is cut short") from error
        except (OSError, HTTPException, UnicodeError) as error:
            raise ScrapeError(_said(error)) from error
        except zlib.error as error:
            raise ScrapeError(f"the answer is not gzip, though it says so: {error}") from error

    def _pieces(self, response: HTTPResponse, deadline: float) -> Iterator[bytes]:
        """Yield the body, decompressed; raise when there is too much of it, or too little."""
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding not in ("gzip", "identity"):
            raise ScrapeError(f"the answer is encoded as {encoding!r}; gzip was asked for")
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
    """Return the URL that is meant: `http://` and `/metrics` may be left out.

    Raises `ValueError` for what cannot be scraped.
    """
    if not given.isascii() or not given.isprintable() or " " in given:
        raise ValueError("it has spaces or characters that are not ASCII; percent-encode them")
    parts = urlsplit(given if "://" in given else f"http://{given}")
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"the scheme is {parts.scheme!r}; it must be http or https")
    if parts.username is not None:
        raise ValueError("it has a user name; give that with --user, so that it is not displayed")
    if not parts.hostname:
        raise ValueError("it has no host")
    _ = parts.port  # raises what it is not
    return urlunsplit(parts._replace(path=parts.path or "/metrics", fragment=""))


def parse(text: str, content_type: str = "") -> Exposition:
    """Parse the text format, or OpenMetrics where the content type says so."""
    is_openmetrics = content_type.partition(";")[0].strip() == "application/openmetrics-text"
    read = (
        openmetrics.text_string_to_metric_families
        if is_openmetrics
        else text_string_to_metric_families
    )
    families: set[str] = set()
    samples: dict[str, list[Sample]] = {}
    try:
        for metric in read(text):
            families.add(metric.name)
            for sample in metric.samples:
                if sample.value is None:  # a native histogram, which has buckets elsewhere
                    continue
                samples.setdefault(sample.name, []).append(sample)
    except Exception as error:  # the parsers do not say what they raise, and it is many things
        raise ScrapeError(f"the answer is not an exposition of metrics: {_said(error)}") from error
    return Exposition(frozenset(families), samples)


def _said(error: BaseException | str) -> str:
    """Return the one line that an exception is about."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().split("\n")[0][:_LONGEST] or type(error).__name__
