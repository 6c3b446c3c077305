"""The families that measure websocket connections."""

from __future__ import annotations

from typing import Any

from .. import forking
from ..families.catalog import Catalog
from ..families.children import NumberChild
from ..families.family import Family
from ..families.kinds import CounterFamily, GaugeFamily, HistogramFamily
from ..families.limits import OVERFLOW, LabelValues
from ..insight.loop import StepMetrics
from ..labels.early import early_plan
from ..labels.plan import ERROR, LabelPlan
from ..options import Options
from ..requests.excluding import excludes
from ..requests.steps import Steps
from .group_by import Grouping

__all__ = ["WebsocketMetrics"]

DURATION_BUCKETS = (0.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600)
"""Upper bounds for the duration of connections, in seconds: a tenth of one to a day."""


class WebsocketMetrics:
    """The websocket families of one prefix; the first dispatched connection defines them."""

    def __init__(
        self,
        prefix: str,
        grouping: Grouping,
        options: Options,
        steps: StepMetrics | None = None,
        *,
        coroutines: bool,
    ) -> None:
        self.excludes = excludes(options)
        self._prefix = prefix
        self._grouping = grouping
        self._options = options
        self.steps = steps
        self._coroutines = coroutines
        self._problems = Catalog.of(options.registry).problems
        self._duration_name = f"{prefix}websocket_connection_duration_seconds"
        self._group = grouping.reader(self._duration_name, self._problems)
        self.unknown: LabelValues = (ERROR,)
        self._made = False

    async def labels(self, websocket: Any) -> LabelValues:
        """Return group and default labels of a connection, within its websocket context."""
        self.define()
        values = await self._plan.resolve_async(None)
        return values if self._group is None else (self._group(websocket), *values)

    def open(self, values: LabelValues) -> NumberChild:
        """Count a connection as in progress; return the child to count down when it ends."""
        child = self._in_progress.child(values, self._overflow)
        child.inc()
        return child

    def message(self, values: LabelValues, direction: str) -> None:
        """Count a message, `received` or `sent`."""
        self._messages.child((*values, direction), (*self._overflow, direction)).inc()

    def stepped(self, values: LabelValues, steps: Steps) -> None:
        """Record what a connection did in the event loop."""
        metrics = self.steps
        if metrics is not None:
            names = self._labels[1:]
            defaults, overflow = values[1:], self._overflow[1:]
            defaults, overflow = metrics.fill(names, defaults), metrics.fill(names, overflow)
            metrics.child(values[0], defaults, overflow).record(steps.read())

    def closed(self, values: LabelValues, close_code: str, seconds: float) -> None:
        """Record a connection that has ended."""
        child = self._duration.child((*values, close_code), (*self._overflow, close_code))
        child.observe(seconds)

    def define(self) -> None:
        """Register the families; doing so again changes nothing."""
        with forking.definitions:
            if self._made:
                return
            options, group = self._options, self._grouping.name
            call = self._grouping.call
            plan = early_plan(
                self._duration_name,
                {} if call is None else {group: call},
                options.default_labels,
                self._problems,
                coroutines=self._coroutines,
            )
            labels = plan.names if call is not None else (group, *plan.names)
            overflow = plan.overflow if call is not None else (OVERFLOW, *plan.overflow)
            catalog = Catalog.of(options.registry)

            def add(
                kind: type[Family[Any]], name: str, text: str, *more: str, **arguments: Any
            ) -> Any:
                arguments["max_series"] = options.max_series
                family = kind(self._prefix + name, text, (*labels, *more), **arguments)
                return catalog.add(options.registry, family)

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
            self._plan: LabelPlan = plan
            self._labels = labels
            self._overflow: LabelValues = overflow
            self.unknown = tuple(ERROR for _ in labels)
            self._made = True
