"""The answer to a scrape, the same for Flask, Quart and the separate server."""

from __future__ import annotations

import gzip
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from ..families.catalog import Catalog
from .layout import FamilyMetric, Format, created_series_enabled

__all__ = ["Scrape", "answer", "render"]

_VERSION = re.compile(r"\s*version\s*=\s*(.*?)\s*", re.ASCII)
_NUMBERS = re.compile(r"\d{1,4}(\.\d{1,4}){0,3}", re.ASCII)
_LONGEST_HEADER = 4096  # Prometheus sends about 350 characters
_MOST_NAMES = 1000  # looking for more would take longer than writing everything


def _hold_breath() -> None:
    """Let nobody else run."""


class Scrape(NamedTuple):
    """A response to a scrape."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def answer(
    registry: CollectorRegistry,
    accept: str | None = None,
    accept_encoding: str | None = None,
    names: Sequence[str] | None = None,
    breathe: Callable[[], None] = _hold_breath,
) -> Scrape:
    """Answer a scrape of `registry`, restricted to the sample names in `names` if there are any.

    More than a thousand names restrict nothing: the answer has all that was asked for, and more.
    Never raises for what a client sent: without an acceptable format it is the text format 0.0.4,
    as prometheus_client does. A collector that raises makes it a 500 that names the collector.
    `breathe` is called every few dozen label sets, to let other threads run.
    """
    if names and len(names) > _MOST_NAMES:
        names = None
    try:
        body, content_type = render(registry, accept, names, breathe)
    except Exception as error:
        culprit = _culprit(error)
        Catalog.of(registry).problems.failed(f"answer a scrape ({culprit} failed)")
        text = f"{culprit} failed: {type(error).__name__}\n"
        return Scrape(500, [("Content-Type", "text/plain; charset=utf-8")], text.encode())
    headers = [("Content-Type", content_type), ("Vary", "Accept, Accept-Encoding")]
    if _accepts_gzip(accept_encoding):
        headers.append(("Content-Encoding", "gzip"))
        # Level 1 takes a tenth of level 9's time for 1.4 times its size.
        body = gzip.compress(body, compresslevel=1, mtime=0)
    headers.append(("Content-Length", str(len(body))))
    return Scrape(200, headers, body)


def render(
    registry: CollectorRegistry,
    accept: str | None = None,
    names: Sequence[str] | None = None,
    breathe: Callable[[], None] = _hold_breath,
) -> tuple[bytes, str]:
    """Return the exposition and its content type, negotiated by prometheus_client."""
    encode, content_type = _negotiate(accept)
    openmetrics = content_type.startswith("application/openmetrics-text")
    format = Format(encode, openmetrics, content_type.partition("escaping=")[2])
    with_created = not Catalog.is_shared(registry) and created_series_enabled()
    body = BytesIO()
    for metric in Catalog.collect(registry, names, breathe):
        for text in _write(metric, format, with_created):
            body.write(text.encode("latin-1"))  # and so in UTF-8: see `rendering`
            breathe()
    if openmetrics:
        body.write(b"# EOF\n")
    return body.getvalue(), content_type


def _write(metric: Metric, format: Format, with_created: bool) -> Iterator[str]:
    """Yield the text of a metric in batches, if it is a family that has a layout."""
    if isinstance(metric, FamilyMetric):
        texts = metric.write(format, with_created)
        if texts is not None:
            return texts
    return iter((format.write(metric),))


def _negotiate(accept: str | None) -> tuple[Callable[[Any], bytes], str]:
    """Choose the format; prometheus_client raises for some versions that are no numbers."""
    accept = accept or ""
    if len(accept) > _LONGEST_HEADER:
        accept = ""
    wellformed = ",".join(part for part in accept.split(",") if _has_plain_version(part))
    return choose_encoder(wellformed)


def _has_plain_version(media_range: str) -> bool:
    versions = map(_VERSION.fullmatch, media_range.split(";"))
    return all(_NUMBERS.fullmatch(version[1]) for version in versions if version)


def _accepts_gzip(accept_encoding: str | None) -> bool:
    """Tell whether the header names gzip with a weight above zero (RFC 9110, 12.5.3)."""
    for coding in (accept_encoding or "")[:_LONGEST_HEADER].lower().split(","):
        name, _, parameters = coding.partition(";")
        if name.strip() == "gzip":
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0{0,3})?\s*", parameters)
    return False


def _culprit(error: BaseException) -> str:
    """Name the collector whose `collect` raised, or whose metric could not be encoded."""
    if error.args and isinstance(error.args[-1], Metric):  # prometheus_client appends it
        return f"The collector of the metric {error.args[-1].name}"
    name = "promweb"
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if frame.f_code.co_name == "collect" and owner is not None:
            name = f"The collector {type(owner).__module__}.{type(owner).__qualname__}"
    return name
