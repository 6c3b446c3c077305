"""The default metrics: their definitions, and how one exchange is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from .catalog import Catalog
from .exchange import Exchange
from .families import (
    OVERFLOW,
    CounterFamily,
    DerivedCounterFamily,
    GaugeFamily,
    HistogramFamily,
    LabelValues,
    SummaryFamily,
)
from .grouping import Grouping
from .labels import ERROR, LabelPlan
from .site import standard_method
from .version import __version__
from .websockets import WebsocketMetrics

__all__ = ["DefaultMetrics"]

SIZE_BUCKETS = tuple(4**power for power in range(3, 14))
"""Upper bounds for sizes, in bytes: 64 B to 64 MiB."""


class DefaultMetrics:
    """The default families of one prefix in one registry, and their recorder.

    Families that the registry has already are shared. Raises `ValueError` when a name is taken by
    something else, or when a default label has the name of a label that is there anyway.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        prefix: str,
        grouping: Grouping,
        buckets: Iterable[float | str] | None,
        histogram: bool,
        default_labels: Mapping[str, object],
        excludes: Callable[[str], bool],
        max_series: int,
        coroutines: bool,
        in_progress: bool,
        request_size: bool,
        response_size: bool,
        response_start: bool,
        websockets: bool,
    ) -> None:
        catalog = Catalog.of(registry)
        self.problems = catalog.problems
        self._excludes = excludes
        self._grouping = grouping
        self._grouped_by_attribute = grouping.attribute is not None
        taken = {"method", "status", grouping.name}.intersection(default_labels)
        if taken:
            raise ValueError(
                f"default_labels: the default metrics have a label {sorted(taken)[0]!r} already; "
                "give the default label another name"
            )
        duration_name = f"{prefix}http_request_duration_seconds"
        calls = {} if grouping.call is None else {grouping.name: grouping.call}
        self.plan = LabelPlan(
            duration_name, calls, default_labels, self.problems, coroutines=coroutines
        )
        self._fold = self.plan.fold[len(calls) :]

        catalog.info(
            registry,
            f"{prefix}exporter_info",
            "Information about the Prometheus Flask exporter",
            ("version",),
            (__version__,),
        )
        by_method = ("method", "status", *default_labels)
        by_group = ("method", grouping.name, "status", *default_labels)
        time_buckets = {} if buckets is None else {"buckets": tuple(buckets)}
        help_text = "Flask HTTP request duration in seconds"
        self.duration: HistogramFamily | SummaryFamily
        if histogram:
            self.duration = catalog.add(
                registry,
                HistogramFamily(
                    duration_name, help_text, by_group, max_series=max_series, **time_buckets
                ),
            )
        else:
            self.duration = catalog.add(
                registry, SummaryFamily(duration_name, help_text, by_group, max_series=max_series)
            )
        catalog.add(
            registry,
            DerivedCounterFamily(
                f"{prefix}http_request_total",
                "Total number of HTTP requests",
                self.duration,
                grouping.name,
            ),
        )
        self._exceptions = catalog.add(
            registry,
            CounterFamily(
                f"{prefix}http_request_exceptions_total",
                "Total number of HTTP requests which resulted in an exception",
                by_method,
                max_series=max_series,
            ),
        )
        self.in_progress: GaugeFamily | None = None
        if in_progress:
            self.in_progress = catalog.add(
                registry,
                GaugeFamily(
                    f"{prefix}http_requests_in_progress",
                    "Number of HTTP requests in progress",
                    ("method",),
                    multiprocess_mode="livesum",
                ),
            )

        def optional(wanted: bool, name: str, text: str, **options: Any) -> HistogramFamily | None:
            if not wanted:
                return None
            family = HistogramFamily(
                f"{prefix}{name}", text, by_group, max_series=max_series, **options
            )
            return catalog.add(registry, family)

        self.request_size = optional(
            request_size,
            "http_request_size_bytes",
            "Size of HTTP request bodies in bytes",
            buckets=SIZE_BUCKETS,
        )
        self.response_size = optional(
            response_size,
            "http_response_size_bytes",
            "Size of HTTP response bodies in bytes",
            buckets=SIZE_BUCKETS,
        )
        self.response_start = optional(
            response_start,
            "http_response_start_seconds",
            "Time until the first byte of the HTTP response in seconds",
            **time_buckets,
        )
        self.websockets: WebsocketMetrics | None = None
        if websockets:
            self.websockets = WebsocketMetrics(
                registry, prefix, grouping, excludes, max_series, coroutines=coroutines
            )
        self.measures_sizes = request_size or response_size
        self._optional = self.measures_sizes or response_start

    def record(self, exchange: Exchange, values: LabelValues, seconds: float) -> None:
        """Record a request that has ended; `values` are those of the plan."""
        request = exchange.request
        if self._excludes(request.path):
            return
        method = standard_method(request.method)
        status = str(exchange.status)
        if self._grouped_by_attribute:
            group = self._group(request)
        else:
            group, values = values[0], values[1:]
        key = (method, group, status, *values)
        child = self.duration.children.get(key)
        if child is None:
            child = self.duration.child(key, (method, OVERFLOW, status, *self._fold))
        child.observe(seconds)
        if exchange.failed:
            self._exceptions.child((method, status, *values), (method, status, *self._fold)).inc()
        if self._optional:
            self._record_optional(exchange, key)

    def _group(self, request: Any) -> str:
        try:
            return self._grouping.of(request)
        except Exception:
            self.problems.label_error(self.duration.name, self._grouping.name)
            return ERROR

    def _record_optional(self, exchange: Exchange, key: LabelValues) -> None:
        folded = (key[0], OVERFLOW, key[2], *self._fold)
        for family, value in (
            (self.request_size, exchange.request_bytes),
            (self.response_size, exchange.response_bytes),
            (self.response_start, exchange.response_start),
        ):
            if family is not None:
                family.child(key, folded).observe(value)
