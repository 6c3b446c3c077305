"""One websocket connection, and the families that measure connections.

    begin  ->  match  ->  (accepted, message ...)  ->  finish

A connection is in progress from when it is accepted. One that was rejected is recorded as well,
with the HTTP status of the rejection in place of a close code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry

from .. import forking
from ..families.catalog import Catalog
from ..families.children import NumberChild
from ..families.kinds import CounterFamily, GaugeFamily, HistogramFamily
from ..families.limits import OVERFLOW
from ..labels.plan import ERROR, LabelPlan
from ..requests.exchange import Visit
from ..requests.site import Site
from .group_by import Grouping

__all__ = ["Connection", "WebsocketMetrics"]

DURATION_BUCKETS = (0.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600)
"""Upper bounds for the duration of connections, in seconds: a tenth of one to a day."""

_MEASURE = "measure a websocket connection"


class WebsocketMetrics:
    """The websocket families of one prefix, made when the first connection is matched."""

    def __init__(
        self,
        registry: CollectorRegistry,
        prefix: str,
        grouping: Grouping,
        excludes: Callable[[str], bool] | None,
        max_series: int,
        *,
        coroutines: bool,
    ) -> None:
        self._registry = registry
        self._prefix = prefix
        self._max_series = max_series
        self._problems = Catalog.of(registry).problems
        self._made = False
        self.grouping = grouping
        self.excludes = excludes
        calls = {} if grouping.call is None else {grouping.name: grouping.call}
        self._duration_name = f"{prefix}websocket_connection_duration_seconds"
        self._plan = LabelPlan(
            self._duration_name, calls, {}, self._problems, coroutines=coroutines
        )

    async def group(self, websocket: Any) -> str:
        """Return the group of a connection, within its websocket context."""
        self._make()
        read = self.grouping.attribute
        if read is None:
            return (await self._plan.resolve_async(None))[0]
        try:
            return self.grouping.unmatched if websocket.url_rule is None else read(websocket)
        except Exception:
            self._problems.label_error(self._duration_name, self.grouping.name)
            return ERROR

    def open(self, group: str) -> NumberChild:
        """Count a connection as in progress; return what to count down when it ends."""
        child = self._in_progress.child((group,))
        child.inc()
        return child

    def message(self, group: str, direction: str) -> None:
        """Count a message, `received` or `sent`."""
        self._messages.child((group, direction), (OVERFLOW, direction)).inc()

    def closed(self, group: str, close_code: str, seconds: float) -> None:
        """Record a connection that has ended."""
        self._duration.child((group, close_code), (OVERFLOW, close_code)).observe(seconds)

    def _make(self) -> None:
        with forking.definitions:
            if self._made:
                return
            catalog, group, size = Catalog.of(self._registry), self.grouping.name, self._max_series
            self._in_progress = catalog.add(
                self._registry,
                GaugeFamily(
                    f"{self._prefix}websocket_connections_in_progress",
                    "Number of open websocket connections",
                    (group,),
                    max_series=size,
                    multiprocess_mode="livesum",
                ),
            )
            self._duration = catalog.add(
                self._registry,
                HistogramFamily(
                    self._duration_name,
                    "Duration of websocket connections in seconds",
                    (group, "close_code"),
                    max_series=size,
                    buckets=DURATION_BUCKETS,
                ),
            )
            self._messages = catalog.add(
                self._registry,
                CounterFamily(
                    f"{self._prefix}websocket_messages_total",
                    "Number of websocket messages",
                    (group, "direction"),
                    max_series=size,
                ),
            )
            self._made = True


class Connection(Visit):
    """One websocket connection. Nothing here raises."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._groups: list[tuple[WebsocketMetrics, str]] = []
        self._finished = False
        self._matched = False
        self._ended: tuple[int, float] | None = None
        """Close code and seconds, once it ended; maybe before the route was known."""
        self._early = 0
        """How many messages came in before the route was known."""

    async def match(self, websocket: object) -> None:
        """Take the websocket and compute its groups; the websocket context is there."""
        self.request = websocket
        try:
            await self._find_groups(websocket)
        finally:  # cancelled: the client went while a group was computed
            self._arrive()

    async def _find_groups(self, websocket: object) -> None:
        for recorder in self.site.recorders:
            metrics = recorder.websockets
            if metrics is None or (metrics.excludes and metrics.excludes(self.request.path)):
                continue
            self._groups.append((metrics, ERROR))
            try:
                self._groups[-1] = (metrics, await metrics.group(websocket))
            except Exception:
                self._groups.pop()
                recorder.problems.failed(_MEASURE)

    def _arrive(self) -> None:
        """Record what came before the groups were known."""
        self._matched = True
        for _ in range(self._early):
            self.message("received")
        if self._ended is not None:
            self._record(*self._ended)

    def accepted(self) -> None:
        """Be in progress from now on."""
        if self._counts and not self.entered and not self._finished:
            for metrics, group in self._groups:
                try:
                    self.entered = (*self.entered, metrics.open(group))
                except Exception:
                    self.site.problems.failed(_MEASURE)

    def message(self, direction: str) -> None:
        """Count a message, `received` or `sent`."""
        if not self._matched:
            self._early += 1
        elif self._counts:
            for metrics, group in self._groups:
                try:
                    metrics.message(group, direction)
                except Exception:
                    self.site.problems.failed(_MEASURE)

    def finish(self, close_code: int) -> None:
        """End the connection and record it; only the first call counts."""
        if self._finished:
            return
        self._finished = True
        self._ended = (close_code, max(self.site.clock() - self.start, 0.0))
        if self._matched:
            self._record(*self._ended)
        self.leave()

    def _record(self, close_code: int, seconds: float) -> None:
        if self._counts:
            for metrics, group in self._groups:
                try:
                    metrics.closed(group, str(close_code), seconds)
                except Exception:
                    self.site.problems.failed(_MEASURE)

    @property
    def _counts(self) -> bool:
        return self.tracked and not self.excluded
