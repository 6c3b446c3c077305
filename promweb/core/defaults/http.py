"""The default metrics: their definitions, and how one exchange is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from ..families.catalog import Catalog
from ..families.children import NumberChild, ObservedChild
from ..families.kinds import (
    CounterFamily,
    DerivedCounterFamily,
    GaugeFamily,
    HistogramFamily,
    SummaryFamily,
)
from ..families.limits import OVERFLOW, LabelValues
from ..labels.exemplars import ExemplarReader
from ..labels.plan import ERROR, LabelPlan
from ..requests.exchange import Exchange
from ..requests.site import METHODS, OTHER, Recorder, standard_method
from ..version import __version__
from .group_by import UNIQUE_GROUPS, UNMATCHED, Grouping
from .websockets import WebsocketMetrics

__all__ = ["SIZE_BUCKETS", "DefaultMetrics", "check_buckets"]

SIZE_BUCKETS = tuple(4**power for power in range(3, 14))
"""Upper bounds for sizes, in bytes: 64 B to 64 MiB."""

_STATUSES = range(100, 600)
"""The statuses that HTTP has room for (RFC 9110, section 15)."""


class DefaultMetrics:
    """The default families of one prefix in one registry, and their recorder.

    Families that the registry has already are shared. Raises `ValueError` when a name is taken by
    something else, or when a default label has the name of a label that is there anyway.
    """

    needs_scheme = False

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        prefix: str,
        grouping: Grouping,
        buckets: Iterable[float | str] | None,
        histogram: bool,
        default_labels: Mapping[str, object],
        excludes: Callable[[str], bool] | None,
        max_series: int,
        coroutines: bool,
        in_progress: bool,
        request_size: bool,
        response_size: bool,
        response_start: bool,
        websockets: bool,
        status_classes: bool = False,
        exemplar: ExemplarReader | None = None,
    ) -> None:
        catalog = Catalog.of(registry)
        self.problems = catalog.problems
        self.excludes = excludes
        self.exemplar = exemplar
        self._group_name = grouping.name
        self._read_group = grouping.attribute
        self._status = _status_class if status_classes else str
        self._ready: dict[tuple[str, str, int], ObservedChild] = {}
        self.check(prefix, grouping, buckets, default_labels)
        duration_name = f"{prefix}http_request_duration_seconds"
        calls = {} if grouping.call is None else {grouping.name: grouping.call}
        self.plan = LabelPlan(
            duration_name, calls, default_labels, self.problems, coroutines=coroutines
        )
        self._skip = len(calls)
        """How many values of the plan are the group."""

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
                    max_series=max_series,
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
        self._look()

    @staticmethod
    def check(
        prefix: str,
        grouping: Grouping,
        buckets: Iterable[float | str] | None,
        default_labels: Mapping[str, object],
    ) -> None:
        """Raise for arguments that no default metrics can be made of."""
        taken = {"method", "status", grouping.name}.intersection(default_labels)
        if taken:
            raise ValueError(
                f"default_labels: the default metrics have a label {sorted(taken)[0]!r} already; "
                "give the default label another name"
            )
        try:
            HistogramFamily("duration", "", default_labels)
        except ValueError as error:
            raise ValueError(f"default_labels: {error}") from error
        check_buckets(buckets, f"{prefix}http_request_duration_seconds")

    def adopt(self, other: Recorder) -> None:
        """Record what another recorder of the same duration family would."""
        for family in ("in_progress", "request_size", "response_size", "response_start"):
            if getattr(self, family) is None:
                setattr(self, family, getattr(other, family))
        self._look()

    def _look(self) -> None:
        """See which families there are."""
        self.measures_sizes = bool(self.request_size or self.response_size)
        self.measures_body = bool(self.response_size or self.response_start)
        self._measures_more = self.measures_sizes or self.measures_body
        # A new dictionary: other threads are recording requests meanwhile.
        self._ready_more: dict[tuple[str, str, int], Any] = {}
        self.record = self._ordinary()
        """Records a request that has ended and of which nothing is special; never raises."""

    def _ordinary(self) -> Callable[[Exchange, float], None]:
        """Return `record` for the ordinary request: one lookup, one append.

        Ordinary is a request that matched, whose label set is known, and whose labels need no
        callable. All else is for `record_specially`.
        """
        read_group, specially, problems = self._read_group, self.record_specially, self.problems
        find_child, find_children = self._ready.get, self._ready_more.get
        if read_group not in UNIQUE_GROUPS or not self.plan.constant:
            return specially
        if self.excludes is not None or self.exemplar is not None:
            return specially

        def record(exchange: Exchange, seconds: float) -> None:
            try:
                request = exchange.request
                child = None
                if request.url_rule is not None:
                    child = find_child((request.method, read_group(request), exchange.status))
                if child is None:
                    specially(exchange, seconds)
                    return
                child.record(seconds)
            except Exception:
                problems.failed("record a request")

        def record_more(exchange: Exchange, seconds: float) -> None:
            try:
                request = exchange.request
                children = None
                if request.url_rule is not None:
                    children = find_children((request.method, read_group(request), exchange.status))
                if children is None:
                    specially(exchange, seconds)
                    return
                duration, request_size, response_size, response_start = children
                duration.record(seconds)
                if request_size is not None:
                    counted = exchange.input
                    request_size.record(exchange.request_bytes if counted is None else counted.size)
                if response_size is not None:
                    response_size.record(exchange.response_bytes)
                if response_start is not None:
                    response_start.record(exchange.response_start or seconds)
            except Exception:
                problems.failed("record a request")

        return record_more if self._measures_more else record

    def record_specially(self, exchange: Exchange, seconds: float) -> None:
        """Record any request that has ended; never raise."""
        ready_more = self._ready_more
        try:
            request = exchange.request
            rule = request.url_rule
            if rule is not None and rule.endpoint in exchange.site.endpoints:
                return  # the metrics endpoint itself, whoever answered for it
            if self.excludes is not None and self.excludes(request.path):
                return
            values = self.plan.fold if self.plan.constant else exchange.values(self)
            group = values[0] if self._read_group is None else self._group(request)
            method = request.method if request.method in METHODS else OTHER
            status = self._status(exchange.status)
            defaults, folded = values[self._skip :], self.plan.fold[self._skip :]
            labels: LabelValues = (method, group, status)
            folded_labels: LabelValues = (method, OVERFLOW, status)
            if defaults:
                labels, folded_labels = labels + defaults, folded_labels + folded
            child = self.duration.child(labels, folded_labels)
            child.observe(seconds)
            exemplar = None if self.exemplar is None else exchange.exemplar(self)
            if exemplar is not None:
                child.exemplify(exemplar, max(seconds, 0.0))
            if exchange.failed:
                failed = self._exceptions.child(
                    (method, status, *defaults), (method, status, *folded)
                )
                failed.inc()
                if exemplar is not None:
                    failed.exemplify(exemplar, 1.0)
            children: tuple[ObservedChild | None, ...] = ()
            if self._measures_more:
                children = (child, *self._observe_more(exchange, seconds, labels, folded_labels))
            # What is kept is bounded: clients invent paths and methods, and maybe statuses, of
            # which a class has many.
            kept = method == request.method and exchange.status in _STATUSES
            if kept and self.duration.children.get(labels) is child:
                if children:
                    ready_more[method, group, exchange.status] = children
                else:
                    self._ready[method, group, exchange.status] = child
        except Exception:
            self.problems.failed("record a request")

    def occupied(self, request: Any) -> NumberChild:
        """Return the child of `in_progress` that counts a request."""
        assert self.in_progress is not None
        return self.in_progress.child((standard_method(request.method),))

    def _observe_more(
        self, exchange: Exchange, seconds: float, labels: LabelValues, folded: LabelValues
    ) -> Iterator[ObservedChild | None]:
        """Record in the opt-in histograms; yield the child of each, None for one that is off."""
        for family, amount in (
            (self.request_size, exchange.request_size),
            (self.response_size, exchange.response_bytes),
            (self.response_start, exchange.response_start or seconds),
        ):
            child = None if family is None else family.child(labels, folded)
            if child is not None:
                child.observe(amount)
            yield child

    def _group(self, request: Any) -> str:
        if request.url_rule is None:
            return UNMATCHED
        assert self._read_group is not None, "a function of the request is a label of the plan"
        try:
            return self._read_group(request)
        except Exception:
            self.problems.label_error(self.duration.name, self._group_name)
            return ERROR


def check_buckets(buckets: Iterable[float | str] | None, name: str) -> None:
    """Raise for buckets that the duration histogram of a name cannot have."""
    if buckets is None:
        return
    try:
        HistogramFamily("duration", "", buckets=buckets)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"buckets={buckets!r} of {name}: {error}") from error


def _status_class(status: int) -> str:
    """Return `4xx` for 404; `<other>` for what is no status of HTTP."""
    return f"{status // 100}xx" if status in _STATUSES else OTHER
