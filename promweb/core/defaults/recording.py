"""The recorder of the default metrics, for every naming.

A naming is data: the labels of a request and how to read them, and a table of families.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..families.catalog import Catalog
from ..families.children import NumberChild
from ..families.family import Family
from ..families.kinds import DerivedCounterFamily, GaugeFamily, HistogramFamily
from ..families.limits import OVERFLOW, LabelValues
from ..families.native import NativeHistogramFamily
from ..insight.loop import StepMetrics, steps_of
from ..insight.queue_time import QueueTime
from ..labels.early import early_plan
from ..labels.exemplars import ExemplarReader
from ..labels.plan import LabelPlan
from ..options import Options
from ..requests.exchange import Exchange
from ..requests.excluding import excludes
from ..requests.methods import METHODS
from ..requests.recorder import Recorder
from ..requests.scope import Scope
from ..requests.site import Site
from ..version import __version__
from .group_by import Grouping
from .rows import Row
from .websockets import WebsocketMetrics

__all__ = [
    "STATUSES",
    "Naming",
    "RequestRecorder",
    "group_reader",
    "unless_excluded",
]

STATUSES = range(100, 600)
"""The statuses that HTTP has room for (RFC 9110, section 15)."""


Recording = tuple[Any, Callable[[Exchange, float], Any] | None]
"""A child, and what it records of a request; None means the seconds."""
Children = Sequence[Recording]
"""The children of a request's label set."""


@dataclass(frozen=True)
class Naming:
    """The names of the default metrics, and how to read the labels of a request."""

    grouping: Grouping
    labels: tuple[str, ...]
    """The labels of a request; the second one is the group."""
    key: Callable[[Exchange], Hashable]
    """Returns the values that distinguish label sets, as the framework has them; raises for a
    request without a route."""
    values: Callable[[Exchange, str], LabelValues]
    """Returns the values of `labels` for an exchange and its group."""
    rows: tuple[Row, ...]
    """The families; the first one is the duration."""
    in_progress: tuple[str, str, tuple[str, ...]]
    """Name, help and labels of the gauge of requests in progress."""
    in_progress_values: Callable[[Any], tuple[LabelValues, LabelValues]]
    """Returns the values of these labels for a request, and those to use if the family is full."""
    info: tuple[str, str] | None
    """Name and help of the gauge that has promweb's version as a label."""
    prefix: str
    """The beginning of the names of families that the naming has no words of its own for."""


class RequestRecorder:
    """The default families of one naming in one registry, and how an exchange is recorded in them.

    It shares families that the registry has already. Raises ValueError if another metric has a
    name.
    """

    def __init__(
        self,
        naming: Naming,
        options: Options,
        *,
        coroutines: bool,
        exemplar: ExemplarReader | None = None,
    ) -> None:
        grouping, defaults = naming.grouping, options.default_labels
        calls = {} if grouping.call is None else {grouping.name: grouping.call}
        catalog = Catalog.of(options.registry)
        self.problems = catalog.problems
        self.exemplar = exemplar
        self.plan = LabelPlan(
            naming.rows[0].name, calls, defaults, self.problems, coroutines=coroutines
        )
        self._naming = naming
        self._key = naming.key
        self._excludes = excludes(options)
        self._group = group_reader(grouping, self, naming.rows[0].name)
        self._plan_starts = len(calls)  # the group of a function is the plan's first label

        def add(kind: type[Family[Any]], *definition: Any, **arguments: Any) -> Any:
            return catalog.add(options.registry, kind(*definition, **arguments))

        if naming.info is not None:
            catalog.info(options.registry, *naming.info, ("version",), (__version__,))
        labels = (*naming.labels, *defaults)
        self._families: dict[str, tuple[Row, Family[Any]]] = {}
        for row in naming.rows:
            if not row.option or getattr(options, row.option):
                arguments: dict[str, Any] = {"max_series": options.max_series}
                if row.buckets is not None:
                    arguments["buckets"] = row.buckets
                kind = row.kind
                if kind is HistogramFamily and options.native_histograms is not None:
                    kind = NativeHistogramFamily
                    arguments["factor"] = options.native_histograms
                    if options.buckets == ():
                        arguments["buckets"] = ()
                names = labels if row.has_group else _without_group(labels)
                family = add(kind, row.name, row.documentation, names, **arguments)
                self._families[row.name] = row, family
                if row.total is not None:
                    add(DerivedCounterFamily, *row.total, family, grouping.name)
        self.identity: Any = self._families[naming.rows[0].name][1]
        self._in_progress: GaugeFamily | None = None
        self._early: LabelPlan | None = None
        self._in_progress_values = naming.in_progress_values
        if options.in_progress:
            name, text, early = naming.in_progress
            group = {}
            if options.in_progress == "group":
                group, early = calls, self._group_early(naming, name)
            self._early = early_plan(name, group, defaults, self.problems, coroutines=coroutines)
            self._in_progress = add(
                GaugeFamily,
                name,
                text,
                (*early, *self._early.names),
                max_series=options.max_series,
                multiprocess_mode="livesum",
            )
        self._steps: StepMetrics | None = None
        if options.event_loop and coroutines:
            self._steps = StepMetrics(naming.prefix, grouping.name, options)
        self.websockets: WebsocketMetrics | None = None
        if options.websockets:
            self.websockets = WebsocketMetrics(
                naming.prefix, grouping, options, self._steps, coroutines=coroutines
            )
        self._queue_time: QueueTime | None = None
        if options.queue_time:
            self._queue_time = QueueTime(naming.prefix, options, coroutines=coroutines)
        self._known: dict[Hashable, Children] = {}
        self.record: Callable[[Exchange, float], None] = self._record
        """Records a request that has ended; never raises."""
        self._record_steps: Callable[[Exchange, float], None] = self._record_now
        if options.excludes_some:
            self.record = unless_excluded(options, self._record)
            self._record_steps = unless_excluded(options, self._record_now)

    comes_last = False

    @property
    def needs_sizes(self) -> bool:
        return any(row.option for row, _ in self._families.values())

    @property
    def counts_in_progress(self) -> bool:
        return self._in_progress is not None

    @property
    def awaits_in_progress(self) -> bool:
        return self._early is not None and self._early.awaits

    def in_progress(self, request: Any) -> NumberChild | None:
        """Return the child that counts a request as in progress, if there is one."""
        plan = self._early_plan(request)
        return None if plan is None else self._early_child(request, plan, plan.resolve(None))

    async def in_progress_async(self, request: Any) -> NumberChild | None:
        """Like `in_progress`, but await the labels."""
        plan = self._early_plan(request)
        if plan is None:
            return None
        return self._early_child(request, plan, await plan.resolve_async(None))

    def _early_plan(self, request: Any) -> LabelPlan | None:
        """Return the plan of a request in progress, None if it is not counted."""
        return None if self._excludes and self._excludes(request) else self._early

    def _early_child(self, request: Any, plan: LabelPlan, defaults: LabelValues) -> NumberChild:
        assert self._in_progress is not None
        values, overflow = self._in_progress_values(request)
        return self._in_progress.child((*values, *defaults), (*overflow, *plan.overflow))

    def _group_early(self, naming: Naming, name: str) -> tuple[str, ...]:
        """Count requests in progress by group; return the names of the labels without callables."""
        _, _, (_, *others) = naming.in_progress
        read = naming.grouping.reader(name, self.problems)
        before = naming.in_progress_values

        def values(request: Any) -> tuple[LabelValues, LabelValues]:
            rest = before(request)[0][1:]
            if read is None:
                return rest, rest
            return (read(request), *rest), (OVERFLOW, *rest)

        self._in_progress_values = values
        return tuple(others) if read is None else (naming.grouping.name, *others)

    def preparations(self, site: Site) -> Iterable[Callable[[Scope], None]]:
        """Return what else is to be done with a request that reaches the dispatch."""
        return () if self._queue_time is None else (self._queue_time.preparation(site),)

    def merge(self, other: RequestRecorder) -> None:
        """Also record for another recorder of the same duration family."""
        self._families = {**other._families, **self._families}
        if self._in_progress is None:
            self._in_progress_values = other._in_progress_values
        self._in_progress = self._in_progress or other._in_progress
        self._early = self._early or other._early
        self.websockets = self.websockets or other.websockets
        self._queue_time = self._queue_time or other._queue_time
        self._steps = self._steps or other._steps
        if self.websockets is not None:
            self.websockets.steps = self._steps
        self._known = {}

    def _record(self, exchange: Exchange, seconds: float) -> None:
        key = self._key  # Python 3.11 is slow to call an attribute that is not a method
        try:
            try:
                children = self._known[key(exchange)]
            except Exception:  # a new label set, or no route
                children = self._find(exchange)
            for child, amount_of in children:
                child.record(seconds if amount_of is None else amount_of(exchange, seconds))
            if self.exemplar is not None:
                self._exemplify(exchange, seconds, children)
        except Exception:
            self.problems.failed("record a request")

    def _exemplify(self, exchange: Exchange, seconds: float, children: Children) -> None:
        exemplar = exchange.exemplar(self)
        if exemplar is not None:
            for child, amount_of in children:
                amount = seconds if amount_of is None else amount_of(exchange, seconds)
                child.exemplify(exemplar, amount)

    def record_steps(self, exchange: Exchange) -> None:
        """Record what a request that goes on did in the event loop; never raises."""
        self._record_steps(exchange, 0.0)

    def _record_now(self, exchange: Exchange, seconds: float) -> None:
        try:
            steps, metrics, plan, start = exchange.steps, self._steps, self.plan, self._plan_starts
            if steps is not None and metrics is not None:
                values = plan.overflow if plan.constant else exchange.labels(self)
                full = plan.overflow[start:]
                metrics.child(self._group(exchange), values[start:], full).record(steps.read())
        except Exception:
            self.problems.failed("record a request")

    def _find(self, exchange: Exchange) -> Children:
        """Return the children of a request's label set; cache them if their number is bounded."""
        known, plan, start = self._known, self.plan, self._plan_starts
        group = self._group(exchange)
        values = self._naming.values(exchange, group)
        overflow = (values[0], OVERFLOW if group else "", *values[2:], *plan.overflow[start:])
        defaults = plan.overflow if plan.constant else exchange.labels(self)
        values = (*values, *defaults[start:])
        found: list[Recording] = []
        is_bounded = plan.constant and _is_standard(exchange)
        for row, family in self._families.values():
            if row.failures_only and not exchange.failed:
                continue
            if row.has_group:
                child = family.child(values, overflow)
                is_bounded = is_bounded and family.children.get(values) is child
            else:
                child = family.child(_without_group(values), _without_group(overflow))
            found.append((child, row.amount))
        if self._steps is not None:
            full = plan.overflow[start:]
            found.append((self._steps.child(group, defaults[start:], full), steps_of))
        children = tuple(found)
        if is_bounded:
            with suppress(Exception):  # a request without a route or a readable group has no key
                known[self._key(exchange)] = children
        return children


def group_reader(grouping: Grouping, recorder: Recorder, metric: str) -> Callable[[Exchange], str]:
    """Return a function that reads the group of an exchange that has ended, and never raises. If a

    function gives the group, it is the first label of the recorder's plan.
    """
    read = grouping.reader(metric, recorder.problems)
    if read is not None:
        return lambda exchange: read(exchange.request)

    def group(exchange: Exchange) -> str:
        is_unseen = exchange.request is exchange.unseen
        return grouping.middleware if is_unseen else exchange.labels(recorder)[0]

    return group


def _is_standard(exchange: Exchange) -> bool:
    """Return whether method and status are HTTP's own; clients invent any number of others."""
    return exchange.request.method in METHODS and exchange.status in STATUSES


def _without_group(labels: tuple[str, ...]) -> tuple[str, ...]:
    return (labels[0], *labels[2:])


def unless_excluded(
    options: Options, record: Callable[[Exchange, float], None]
) -> Callable[[Exchange, float], None]:
    """Return a function that records the exchanges that the options do not exclude."""
    is_excluded, statuses = excludes(options) or (lambda request: False), options.excluded_statuses

    def record_included(exchange: Exchange, seconds: float) -> None:
        if exchange.status not in statuses and not is_excluded(exchange.request):
            record(exchange, seconds)

    return record_included
