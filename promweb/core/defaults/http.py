"""The default metrics with promweb's names, which are those of prometheus_flask_exporter."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from ..families.kinds import CounterFamily, HistogramFamily, SummaryFamily
from ..families.limits import LabelValues
from ..options import Options
from ..requests.exchange import Exchange
from ..requests.methods import OTHER, standard_method
from .group_by import Grouping
from .recording import STATUSES, Naming
from .rows import SIZE_BUCKETS, Row, request_size, response_size, response_start
from .vocabulary import PROMWEB

__all__ = ["promweb_naming"]


def promweb_naming(options: Options) -> Naming:
    """Return promweb's names with the prefix and the group of some options."""
    prefix, grouping = options.prefix, Grouping(options.group_by)
    is_histogram = options.default_latency_as_histogram
    rows = (
        Row(
            prefix + PROMWEB.duration,
            "Flask HTTP request duration in seconds",
            buckets=options.buckets if is_histogram else None,
            kind=HistogramFamily if is_histogram else SummaryFamily,
            total=(prefix + "http_request_total", "Total number of HTTP requests"),
        ),
        Row(
            prefix + "http_request_exceptions_total",
            "Total number of HTTP requests which resulted in an exception",
            lambda exchange, seconds: 1.0,
            kind=CounterFamily,
            has_group=False,
            failures_only=True,
        ),
        Row(
            prefix + PROMWEB.request_size,
            "Size of HTTP request bodies in bytes",
            request_size,
            buckets=SIZE_BUCKETS,
            option="request_size",
        ),
        Row(
            prefix + PROMWEB.response_size,
            "Size of HTTP response bodies in bytes",
            response_size,
            buckets=SIZE_BUCKETS,
            option="response_size",
        ),
        Row(
            prefix + "http_response_start_seconds",
            "Time until the first byte of the HTTP response in seconds",
            response_start,
            buckets=options.buckets,
            option="response_start",
        ),
    )
    return Naming(
        grouping=grouping,
        labels=("method", grouping.name, "status"),
        key=_KEYS.get(grouping.name) or _key_reader(grouping),
        values=_values_reader(_status_class if options.status_classes else str),
        rows=rows,
        in_progress=(
            prefix + PROMWEB.in_progress,
            "Number of HTTP requests in progress",
            ("method",),
        ),
        in_progress_values=lambda request: ((standard_method(request.method),),) * 2,
        info=(prefix + "exporter_info", "Information about the Prometheus Flask exporter"),
        prefix=prefix,
    )


Key = tuple[Hashable, ...]
"""The values that tell label sets apart. To make them raises for a request without a route."""


def _key_by_path(exchange: Exchange) -> Key:
    request = exchange.request
    return request.url_rule.rule, request.path, request.method, exchange.status, exchange.failed


def _key_by_endpoint(exchange: Exchange) -> Key:
    request = exchange.request
    return request.url_rule.endpoint, request.method, exchange.status, exchange.failed


def _key_by_rule(exchange: Exchange) -> Key:
    request = exchange.request
    return request.url_rule.rule, request.method, exchange.status, exchange.failed


_KEYS = {"path": _key_by_path, "endpoint": _key_by_endpoint, "url_rule": _key_by_rule}


def _key_reader(grouping: Grouping) -> Callable[[Exchange], Key]:
    """Return what makes the key for any other group; one that a function gives is a label."""
    group = grouping.attribute
    return lambda exchange: (group and group(exchange.request), *_key_by_endpoint(exchange))


def _values_reader(
    status_text: Callable[[int], str],
) -> Callable[[Exchange, str], LabelValues]:
    def values(exchange: Exchange, group: str) -> LabelValues:
        return standard_method(exchange.request.method), group, status_text(exchange.status)

    return values


def _status_class(status: int) -> str:
    """Return `4xx` for 404; `<other>` for a status that HTTP does not define."""
    return f"{status // 100}xx" if status in STATUSES else OTHER
