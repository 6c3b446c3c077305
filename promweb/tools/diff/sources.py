"""Where an exposition comes from: a URL, a file, or standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ...scrapes.http_client import Client, metrics_url
from ...scrapes.parsing import OPENMETRICS, Exposition, NotAnExposition, ScrapeError, parse

__all__ = ["Source", "read_all"]

_FILES = (".txt", ".prom", ".om", ".metrics", ".log")
_AT_ONCE = 8


@dataclass(frozen=True)
class Source:
    """One service, or a saved exposition of one."""

    given: str
    url: str | None
    """None for a file and for standard input."""

    @classmethod
    def of(cls, given: str) -> Source:
        """Read an argument; raise ValueError if it is neither a file nor a URL."""
        if given == "-":
            return cls(given, None)
        if "://" not in given:
            if Path(given).exists():
                return cls(given, None)
            if given.startswith(("/", ".")) or given.endswith(_FILES):
                raise ValueError("there is no such file")
        return cls(given, metrics_url(given))

    def read(self, client: Client) -> Exposition:
        """Return the exposition; raise ScrapeError if it cannot be read."""
        if self.url is not None:
            try:
                return client.scrape(self.url, openmetrics=True)
            except NotAnExposition:
                # The text format is less strict, and Prometheus falls back to it, too.
                return client.scrape(self.url)
        try:
            data = sys.stdin.buffer.read() if self.given == "-" else Path(self.given).read_bytes()
            text = data.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ScrapeError(f"it cannot be read: {error}") from error
        if not text.strip():
            raise ScrapeError("it is empty")
        return parse(text, OPENMETRICS if text.rstrip().endswith("# EOF") else "")


def read_all(sources: Sequence[Source], client: Client) -> list[Exposition]:
    """Read all sources at once; raise ScrapeError that names the one that failed."""

    def read(source: Source) -> Exposition:
        try:
            return source.read(client)
        except ScrapeError as error:
            raise ScrapeError(f"{source.given}: {error}") from error

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(read, sources))
