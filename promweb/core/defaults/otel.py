"""The default metrics with OpenTelemetry's names.

Names, labels and buckets are those of the semantic conventions for HTTP metrics, as OpenTelemetry's
rules for Prometheus spell them. A label that the conventions leave unset is empty, and Prometheus
drops it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ..families.limits import LabelValues
from ..options import Options
from ..requests.exchange import Exchange
from ..requests.methods import METHODS
from .group_by import Grouping
from .recording import Naming
from .rows import SIZE_BUCKETS, Row, request_size, response_size
from .vocabulary import OTEL

__all__ = ["DURATION_BUCKETS", "LABELS", "otel_naming"]

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Upper bounds for the duration, in seconds; the conventions ask for these."""

LABELS = (
    "http_request_method",
    "http_route",
    "http_response_status_code",
    "url_scheme",
    "network_protocol_version",
    "error_type",
)

_SCHEMES = frozenset(("http", "https"))

# The versions of HTTP, as the frameworks and the conventions spell them.
_VERSIONS = {
    **{version: version for version in ("1.0", "1.1", "2", "3")},
    **{"HTTP/1.0": "1.0", "HTTP/1.1": "1.1", "HTTP/2": "2", "HTTP/2.0": "2"},
    **{"HTTP/3": "3", "HTTP/3.0": "3", "2.0": "2", "3.0": "3"},
}


def otel_naming(options: Options) -> Naming:
    """Return OpenTelemetry's names."""
    route = Grouping("url_rule", "http_route", unmatched="")
    rows = (
        Row(
            OTEL.duration,
            "Duration of HTTP server requests.",
            buckets=options.buckets or DURATION_BUCKETS,
        ),
        Row(
            OTEL.request_size,
            "Size of HTTP server request bodies.",
            request_size,
            buckets=SIZE_BUCKETS,
            option="request_size",
        ),
        Row(
            OTEL.response_size,
            "Size of HTTP server response bodies.",
            response_size,
            buckets=SIZE_BUCKETS,
            option="response_size",
        ),
    )
    return Naming(
        grouping=route,
        labels=LABELS,
        key=_key,
        values=_values,
        rows=rows,
        in_progress=(
            OTEL.in_progress,
            "Number of active HTTP server requests.",
            ("http_request_method", "url_scheme"),
        ),
        in_progress_values=_in_progress_values,
        info=None,
        prefix="",
    )


def _key(exchange: Exchange) -> Hashable:
    # An unknown scheme or version is <other> or "": clients invent any number of them.
    request = exchange.request
    return (
        request.url_rule.rule,
        request.method,
        exchange.status,
        _scheme(request.scheme),
        _version(exchange),
        exchange.raised if exchange.failed else None,
    )


def _values(exchange: Exchange, route: str) -> LabelValues:
    request = exchange.request
    return (
        _method(request.method),
        route,
        str(exchange.status),
        _scheme(request.scheme),
        _version(exchange),
        _error_type(exchange),
    )


def _method(method: str) -> str:
    return method if method in METHODS else OTEL.other


def _scheme(scheme: str) -> str:
    return scheme if scheme in _SCHEMES else OTEL.other


def _version(exchange: Exchange) -> str:
    return _VERSIONS.get(exchange.site.protocol(exchange.request), "")


def _error_type(exchange: Exchange) -> str:
    """Return the class of an unhandled exception, or else a status that is an error.

    The class is named as OpenTelemetry's SDK for Python does: with its module, unless built in.
    """
    error: Any = exchange.raised if exchange.failed else None
    if error is None:
        return str(exchange.status) if exchange.status >= 500 else ""
    module = error.__module__
    return error.__qualname__ if module == "builtins" else f"{module}.{error.__qualname__}"


def _in_progress_values(request: Any) -> tuple[LabelValues, LabelValues]:
    values = _method(request.method), _scheme(request.scheme)
    return values, values
