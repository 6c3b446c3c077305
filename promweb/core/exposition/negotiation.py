"""Chooses the format of a scrape: protobuf if the client prefers it to text, otherwise text.

prometheus_client chooses among the text formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from .escaping import SCHEMES
from .protobuf import ProtobufFormat
from .text import TextFormat

__all__ = ["LONGEST_HEADER", "Format", "any_format", "text_format"]

LONGEST_HEADER = 4096
"""Longer headers are ignored. Prometheus sends about 350 characters."""

_VERSION = re.compile(r"\s*version\s*=\s*(.*?)\s*", re.ASCII)
_NUMBERS = re.compile(r"\d{1,4}(\.\d{1,4}){0,3}", re.ASCII)
_WEIGHT = re.compile(r"[01](\.\d{0,3})?", re.ASCII)

_PROTOBUF = "application/vnd.google.protobuf"
_MESSAGE = {"proto": "io.prometheus.client.MetricFamily", "encoding": "delimited"}
_TEXTS = ("application/openmetrics-text", "text/plain", "text/*", "application/*", "*/*")


class Format(Protocol):
    """Turns metrics into bytes: `write` for each metric, then the end."""

    content_type: str
    end: bytes

    def write(self, metric: Metric) -> Iterator[bytes]:
        """Yield a metric as bytes, in pieces that take little time each."""


class _Range(NamedTuple):
    """A media range of an Accept header (RFC 9110, 12.5.1)."""

    name: str
    parameters: dict[str, str]
    weight: float


def any_format(accept: str | None) -> Format:
    """Return the format for an Accept header; never raises.

    Protobuf needs a higher weight than every accepted text format: many clients list it without
    needing it, and people can read text.
    """
    ranges = [_read(part) for part in _header(accept).split(",")]
    wanted = [media for media in ranges if media.name == _PROTOBUF and _is_ours(media)]
    best = max(wanted, key=lambda media: media.weight, default=None)
    text = max((media.weight for media in ranges if media.name in _TEXTS), default=0.0)
    if best is None or best.weight <= text:
        return text_format(accept)
    return ProtobufFormat(best.parameters.get("escaping", ""))


def text_format(accept: str | None) -> Format:
    """Return the text format for an Accept header, which prometheus_client chooses.

    prometheus_client raises for versions that are not numbers, so those do not reach it.
    """
    ranges = [_known(part) for part in _header(accept).split(",") if _has_plain_version(part)]
    return TextFormat(*choose_encoder(",".join(ranges)))


def _header(accept: str | None) -> str:
    return "" if accept is None or len(accept) > LONGEST_HEADER else accept


def _read(media_range: str) -> _Range:
    name, *rest = media_range.split(";")
    pairs = [part.partition("=") for part in rest]
    parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
    weight = parameters.get("q", "1")
    is_weight = _WEIGHT.fullmatch(weight) is not None
    return _Range(name.strip().lower(), parameters, float(weight) if is_weight else 0.0)


def _is_ours(media: _Range) -> bool:
    """Tell whether this is the message and the encoding that promweb writes."""
    parameters = media.parameters
    if parameters.get("escaping", SCHEMES[0]) not in SCHEMES:
        return False
    return all(parameters.get(name) == value for name, value in _MESSAGE.items())


def _has_plain_version(media_range: str) -> bool:
    versions = map(_VERSION.fullmatch, media_range.split(";"))
    return all(_NUMBERS.fullmatch(version[1]) for version in versions if version)


def _known(media_range: str) -> str:
    """Return a media range with OpenMetrics 1.0.0 in place of a newer version.

    prometheus_client claims any version that is asked for.
    """
    name, *parameters = media_range.split(";")
    if name.strip() != "application/openmetrics-text":
        return media_range
    for position, parameter in enumerate(parameters):
        version = _VERSION.fullmatch(parameter)
        if version and int(version[1].partition(".")[0]) >= 1:
            parameters[position] = "version=1.0.0"
    return ";".join((name, *parameters))
