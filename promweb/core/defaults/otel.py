"""The default metrics with OpenTelemetry's names, and how one exchange is recorded in them.

Names, labels and buckets are those of the semantic conventions for HTTP metrics, as OpenTelemetry's
rules for Prometheus spell them. What the conventions leave unset is an empty label, which
Prometheus takes for no label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from ..families.catalog import Catalog
from ..families.children import NumberChild, ObservedChild
from ..families.kinds import GaugeFamily, HistogramFamily, SummaryFamily
from ..families.limits import OVERFLOW
from ..labels.exemplars import ExemplarReader
from ..labels.plan import LabelPlan
from ..requests.exchange import Exchange
from ..requests.site import METHODS, Recorder
from .group_by import Grouping
from .http import SIZE_BUCKETS, check_buckets
from .vocabulary import OTEL
from .websockets import WebsocketMetrics

__all__ = ["ConventionMetrics"]

DURATION = OTEL.duration

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

OTHER = OTEL.other
"""The method of every method that HTTP does not define, and what stands for unknown schemes."""

_SCHEMES = frozenset(("http", "https"))

# The versions that there are, as the frameworks spell them and as the conventions do.
_VERSIONS = {
    **{version: version for version in ("1.0", "1.1", "2", "3")},
    **{"HTTP/1.0": "1.0", "HTTP/1.1": "1.1", "HTTP/2": "2", "HTTP/2.0": "2"},
    **{"HTTP/3": "3", "HTTP/3.0": "3", "2.0": "2", "3.0": "3"},
}

Ready = tuple[ObservedChild, ObservedChild | None, ObservedChild | None]
"""The children of one label set: duration, size of the request, size of the response."""


class ConventionMetrics:
    """The families of the conventions in one registry, and their recorder.

    Families that the registry has already are shared. Raises `ValueError` when a name is taken by
    something else, or when a default label has the name of a label that is there anyway.
    """

    needs_scheme = True

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        buckets: Iterable[float | str] | None,
        default_labels: Mapping[str, object],
        excludes: Callable[[str], bool] | None,
        max_series: int,
        coroutines: bool,
        in_progress: bool,
        request_size: bool,
        response_size: bool,
        websockets: bool,
        exemplar: ExemplarReader | None = None,
    ) -> None:
        self.check(buckets, default_labels)
        catalog = Catalog.of(registry)
        self.problems = catalog.problems
        self.excludes = excludes
        self.exemplar = exemplar
        self.plan = LabelPlan(DURATION, {}, default_labels, self.problems, coroutines=coroutines)

        def histogram(name: str, text: str, buckets: Iterable[float | str]) -> HistogramFamily:
            labels = (*LABELS, *default_labels)
            family = HistogramFamily(name, text, labels, buckets=buckets, max_series=max_series)
            return catalog.add(registry, family)

        self.duration: HistogramFamily | SummaryFamily = histogram(
            DURATION, "Duration of HTTP server requests.", buckets or DURATION_BUCKETS
        )
        self.request_size: HistogramFamily | None = None
        if request_size:
            self.request_size = histogram(
                OTEL.request_size, "Size of HTTP server request bodies.", SIZE_BUCKETS
            )
        self.response_size: HistogramFamily | None = None
        if response_size:
            self.response_size = histogram(
                OTEL.response_size, "Size of HTTP server response bodies.", SIZE_BUCKETS
            )
        self.in_progress: GaugeFamily | None = None
        if in_progress:
            self.in_progress = catalog.add(
                registry,
                GaugeFamily(
                    OTEL.in_progress,
                    "Number of active HTTP server requests.",
                    ("http_request_method", "url_scheme"),
                    max_series=max_series,
                    multiprocess_mode="livesum",
                ),
            )
        self.websockets: WebsocketMetrics | None = None
        if websockets:  # the conventions have nothing for them
            route = Grouping("url_rule", "http_route", unmatched="")
            self.websockets = WebsocketMetrics(
                registry, "", route, excludes, max_series, coroutines=coroutines
            )
        self._look()

    @staticmethod
    def check(buckets: Iterable[float | str] | None, default_labels: Mapping[str, object]) -> None:
        """Raise for arguments that no metrics of the conventions can be made of."""
        taken = [label for label in LABELS if label in default_labels]
        if taken:
            raise ValueError(
                f"default_labels: with naming='otel' the default metrics have a label {taken[0]!r} "
                "already; give the default label another name"
            )
        check_buckets(buckets, DURATION)

    def adopt(self, other: Recorder) -> None:
        """Record what another recorder of the same duration family would."""
        for family in ("in_progress", "request_size", "response_size"):
            if getattr(self, family) is None:
                setattr(self, family, getattr(other, family))
        self._look()

    def _look(self) -> None:
        """See which families there are."""
        self.measures_sizes = bool(self.request_size or self.response_size)
        self.measures_body = self.response_size is not None
        # By method, route, status, scheme and protocol, as the framework has them.
        # A new dictionary: other threads are recording requests meanwhile.
        self._ready: dict[tuple[str, str, int, str, str], Ready] = {}
        self.record = self._ordinary()
        """Records a request that has ended and of which nothing is special; never raises."""

    def occupied(self, request: Any) -> NumberChild:
        """Return the child of `in_progress` that counts a request."""
        assert self.in_progress is not None
        return self.in_progress.child((_method(request.method), _scheme(request.scheme)))

    def _ordinary(self) -> Callable[[Exchange, float], None]:
        """Return `record` for the ordinary request, whose label set is known.

        All else is for `record_specially`.
        """
        find, specially, problems = self._ready.get, self.record_specially, self.problems
        if not self.plan.constant or self.excludes is not None or self.exemplar is not None:
            return specially

        def record(exchange: Exchange, seconds: float) -> None:
            try:
                request = exchange.request
                rule = request.url_rule
                ready = None
                if rule is not None:
                    protocol = exchange.site.protocol(request)
                    ready = find(
                        (request.method, rule.rule, exchange.status, request.scheme, protocol)
                    )
                if ready is None:
                    specially(exchange, seconds)
                else:
                    _observe(ready, exchange, seconds)
            except Exception:
                problems.failed("record a request")

        return record

    def record_specially(self, exchange: Exchange, seconds: float) -> None:
        """Record any request that has ended; never raise."""
        ready_children = self._ready
        try:
            request, status = exchange.request, exchange.status
            rule = request.url_rule
            if rule is not None and rule.endpoint in exchange.site.endpoints:
                return  # the metrics endpoint itself, whoever answered for it
            if self.excludes is not None and self.excludes(request.path):
                return
            defaults = self.plan.fold if self.plan.constant else exchange.values(self)
            protocol = exchange.site.protocol(request)
            method, scheme = _method(request.method), _scheme(request.scheme)
            route = "" if rule is None else rule.rule
            others = (str(status), scheme, _VERSIONS.get(protocol, ""), _error_type(exchange))
            labels = (method, route, *others, *defaults)
            folded = (method, OVERFLOW if route else "", *others, *self.plan.fold)
            ready = (
                self.duration.child(labels, folded),
                None if self.request_size is None else self.request_size.child(labels, folded),
                None if self.response_size is None else self.response_size.child(labels, folded),
            )
            _observe(ready, exchange, seconds)
            exemplar = None if self.exemplar is None else exchange.exemplar(self)
            if exemplar is not None:
                ready[0].exemplify(exemplar, max(seconds, 0.0))
            # What is kept is bounded by the family: clients invent paths, methods and versions.
            as_given = (method, scheme) == (request.method, request.scheme)
            kept = as_given and protocol in _VERSIONS and not exchange.failed and rule is not None
            if kept and self.duration.children.get(labels) is ready[0]:
                ready_children[method, route, status, scheme, protocol] = ready
        except Exception:
            self.problems.failed("record a request")


def _observe(ready: Ready, exchange: Exchange, seconds: float) -> None:
    """Record a request in the children of its label set."""
    duration, request_size, response_size = ready
    duration.observe(seconds)
    if request_size is not None:
        request_size.observe(exchange.request_size)
    if response_size is not None:
        response_size.observe(exchange.response_bytes)


def _method(method: str) -> str:
    return method if method in METHODS else OTHER


def _scheme(scheme: str) -> str:
    return scheme if scheme in _SCHEMES else OTHER


def _error_type(exchange: Exchange) -> str:
    """Return the class of an exception that nobody handled, or else a status that is an error.

    The class is named as OpenTelemetry's SDK for Python does: with its module, unless built in.
    """
    error = exchange.raised if exchange.failed else None
    if error is None:
        return str(exchange.status) if exchange.status >= 500 else ""
    module = error.__module__
    return error.__qualname__ if module == "builtins" else f"{module}.{error.__qualname__}"
