"""The families that measure websocket connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import forking
from ..families.catalog import Catalog
from ..families.children import NumberChild
from ..families.family import Family
from ..families.kinds import CounterFamily, GaugeFamily, HistogramFamily
from ..families.limits import OVERFLOW
from ..labels.plan import ERROR, LabelPlan
from ..options import Options
from .group_by import Grouping

__all__ = ["WebsocketMetrics"]

DURATION_BUCKETS = (0.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600)
"""Upper bounds for the duration of connections, in seconds: a tenth of one to a day."""


class WebsocketMetrics:
    """The websocket families of one prefix, made when the first connection is dispatched."""

    def __init__(
        self, prefix: str, grouping: Grouping, options: Options, *, coroutines: bool
    ) -> None:
        self.excludes: Callable[[str], bool] | None = options.excludes
        self._prefix = prefix
        self._grouping = grouping
        self._options = options
        self._problems = Catalog.of(options.registry).problems
        self._made = False
        calls = {} if grouping.call is None else {grouping.name: grouping.call}
        self._duration_name = f"{prefix}websocket_connection_duration_seconds"
        self._plan = LabelPlan(
            self._duration_name, calls, {}, self._problems, coroutines=coroutines
        )

    async def group(self, websocket: Any) -> str:
        """Return the group of a connection, within its websocket context."""
        self._make()
        grouping = self._grouping
        if grouping.attribute is None:
            return (await self._plan.resolve_async(None))[0]
        try:
            matched = websocket.url_rule is not None
            return grouping.attribute(websocket) if matched else grouping.unmatched
        except Exception:
            self._problems.label_error(self._duration_name, grouping.name)
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
            registry, group = self._options.registry, self._grouping.name
            catalog = Catalog.of(registry)

            def add(
                kind: type[Family[Any]], name: str, text: str, *labels: str, **arguments: Any
            ) -> Any:
                family = kind(
                    self._prefix + name,
                    text,
                    (group, *labels),
                    max_series=self._options.max_series,
                    **arguments,
                )
                return catalog.add(registry, family)

            self._in_progress: GaugeFamily = add(
                GaugeFamily,
                "websocket_connections_in_progress",
                "Number of open websocket connections",
                multiprocess_mode="livesum",
            )
            self._duration: HistogramFamily = add(
                HistogramFamily,
                "websocket_connection_duration_seconds",
                "Duration of websocket connections in seconds",
                "close_code",
                buckets=DURATION_BUCKETS,
            )
            self._messages: CounterFamily = add(
                CounterFamily,
                "websocket_messages_total",
                "Number of websocket messages",
                "direction",
            )
            self._made = True
