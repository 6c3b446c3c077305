"""The methods of a metrics object that return decorators."""

from __future__ import annotations

import time
from abc import ABC
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

from . import mistakes, names, options, readers
from .decorators.calls import Calls, Exclusion
from .decorators.inert import INERT
from .decorators.instrument import Instrument
from .decorators.instruments import Counter, Gauge, Histogram, Summary
from .decorators.remembered import remember
from .decorators.wrapping import Probe, wrap
from .families.catalog import Catalog
from .families.family import Family
from .families.kinds import CounterFamily, GaugeFamily, HistogramFamily, SummaryFamily
from .families.native import NativeHistogramFamily
from .labels.early import early_labels
from .labels.exemplars import ExemplarReader, exemplar_reader
from .labels.plan import LabelPlan
from .native.advice import in_short
from .options import Options
from .requests.excluding import Excludes, excludes
from .requests.scope import Scope

__all__ = ["Decorator", "InstrumentFactories", "LabelValue"]

F = TypeVar("F", bound=Callable[..., Any])
InstrumentT = TypeVar("InstrumentT", bound=Instrument)

LabelValue: TypeAlias = Callable[[Any], object] | Callable[[], object] | object
"""The value of a label. A constant may be any object; the callables tell type checkers the type of
a lambda's argument."""


class Decorator(Protocol):
    """Returns a callable of the same kind and type as its argument."""

    def __call__(self, function: F, /) -> F:
        """Decorate a function, a method or a view class."""


class InstrumentFactories(ABC):
    """The part of a metrics object that `counter`, `gauge`, `histogram` and `summary` need."""

    clock: Callable[[], float] = time.perf_counter
    """The clock for durations, in seconds; a test may replace it."""

    _coroutines: ClassVar[bool]
    """Whether this framework's adapter can await coroutine functions."""
    _request_class: ClassVar[type]
    """The type of the framework's requests."""
    _shield: Callable[[], AbstractContextManager[Any]] = nullcontext
    """Protects from cancellation the labels that are awaited for a cancelled call."""

    _options: Options
    _catalog: Catalog
    _disabled: bool
    """Whether `PROMWEB_DISABLED` was set when this object was made."""

    @mistakes.called_first("counter('name', 'description')")
    def counter(
        self,
        name: str,
        description: str,
        labels: Mapping[str, LabelValue] | None = None,
        initial_value_when_only_static_labels: bool = True,
        *,
        labelnames: Sequence[str] = (),
        namespace: str | None = None,
        subsystem: str = "",
        unit: str = "",
    ) -> Counter:
        """Return an instrument that counts; as a decorator it counts calls, including failed ones.

        `labels` maps a label name to a constant, a callable without arguments, or a callable of
        one: the final response for a view, the return value for another function. `labelnames` are
        labels whose values each call of the instrument gives. `namespace` and `subsystem` come
        before the name, and `unit` after it; `namespace` is that of the metrics object unless
        given, "" means none. If every label is constant, the series starts at 0 unless
        `initial_value_when_only_static_labels` is False. Raises ValueError for a name or label that
        cannot work, and if the registry has another metric of that name.

            orders = metrics.counter("orders", "Orders taken", labelnames=["kind"])
            orders.inc(3, kind="gift")
        """
        return self._instrument(
            Counter,
            CounterFamily,
            name,
            description,
            labels,
            initial_value_when_only_static_labels,
            labelnames,
            (namespace, subsystem, unit),
        )

    @mistakes.called_first("gauge('name', 'description')")
    def gauge(
        self,
        name: str,
        description: str,
        labels: Mapping[str, LabelValue] | None = None,
        initial_value_when_only_static_labels: bool = True,
        *,
        labelnames: Sequence[str] = (),
        multiprocess_mode: str = "livesum",
        namespace: str | None = None,
        subsystem: str = "",
        unit: str = "",
    ) -> Gauge:
        """Return an instrument that goes up and down; as a decorator it counts calls in progress.

        The arguments are those of `counter`; label callables take no argument, because the gauge
        is set before there is a response. `multiprocess_mode` is prometheus_client's. The default
        adds up the levels that living processes have of their own. "mostrecent" is for a level that
        all of them share and one of them sets; such a gauge cannot be counted up and down.

            queue = metrics.gauge("queue_length", "Jobs", multiprocess_mode="mostrecent")
            queue.set(4)
        """
        return self._instrument(
            Gauge,
            GaugeFamily,
            name,
            description,
            labels,
            initial_value_when_only_static_labels,
            labelnames,
            (namespace, subsystem, unit),
            multiprocess_mode=multiprocess_mode,
        )

    @mistakes.called_first("histogram('name', 'description')")
    def histogram(
        self,
        name: str,
        description: str,
        labels: Mapping[str, LabelValue] | None = None,
        initial_value_when_only_static_labels: bool = True,
        *,
        labelnames: Sequence[str] = (),
        buckets: Iterable[float | str] | None = None,
        native_histograms: bool | float | None = None,
        namespace: str | None = None,
        subsystem: str = "",
        unit: str = "",
    ) -> Histogram:
        """Return an instrument that counts in buckets; as a decorator it times calls, in seconds.

        The arguments are those of `counter`, and `buckets`: upper bounds in the unit that you
        observe, prometheus_client's if None. Decorated generators are measured until they are
        exhausted or closed. `native_histograms=True` or a number above 1 adds native buckets, as
        the constructor's argument does for the default metrics; `buckets=()` omits classic ones.

            rows = metrics.histogram("query_rows", "Rows of a query", buckets=(1, 10, 100))
            rows.observe(17)
        """
        of = f" of histogram {name!r}"
        factor = options.read_native(native_histograms, of)
        read = options.read_buckets(buckets, of, native=factor is not None)
        more: dict[str, Any] = {} if read is None else {"buckets": read}
        kind: type[Family[Any]] = HistogramFamily
        if factor is not None:
            kind, more["factor"] = NativeHistogramFamily, factor
            self._catalog.problems.tell(f"Some histograms have native buckets. {in_short()}")
        return self._instrument(
            Histogram,
            kind,
            name,
            description,
            labels,
            initial_value_when_only_static_labels,
            labelnames,
            (namespace, subsystem, unit),
            **more,
        )

    @mistakes.called_first("summary('name', 'description')")
    def summary(
        self,
        name: str,
        description: str,
        labels: Mapping[str, LabelValue] | None = None,
        initial_value_when_only_static_labels: bool = True,
        *,
        labelnames: Sequence[str] = (),
        namespace: str | None = None,
        subsystem: str = "",
        unit: str = "",
    ) -> Summary:
        """Return an instrument that counts and adds up; as a decorator it times calls, in seconds.

        The arguments are those of `counter`.

            @metrics.summary("export_seconds", "Time of exports")
            def export(): ...
        """
        return self._instrument(
            Summary,
            SummaryFamily,
            name,
            description,
            labels,
            initial_value_when_only_static_labels,
            labelnames,
            (namespace, subsystem, unit),
        )

    @staticmethod
    @mistakes.called_first("do_not_track()")
    def do_not_track() -> Decorator:
        """Return a decorator that excludes a view's requests from the default metrics.

        For example:

            @app.get("/health")
            @metrics.do_not_track()
            def health(): ...
        """
        return _decorator("do_not_track()", Exclusion(Scope.do_not_track))

    @staticmethod
    @mistakes.called_first("exclude_all_metrics()")
    def exclude_all_metrics() -> Decorator:
        """Return a decorator that excludes a view's requests from every metric.

        For example:

            @app.get("/debug")
            @metrics.exclude_all_metrics()
            def debug(): ...
        """
        return _decorator("exclude_all_metrics()", Exclusion(Scope.exclude_all))

    def _instrument(
        self,
        instrument_class: type[InstrumentT],
        family_class: type[Family[Any]],
        name: str,
        description: str,
        labels: Mapping[str, LabelValue] | None,
        initial_value: bool,
        labelnames: Sequence[str],
        affixes: tuple[str | None, str, str],
        **more: Any,
    ) -> InstrumentT:
        kind = family_class.client_class.__name__.lower()
        where = f"{kind} {name!r}"
        odd = [names.name_problem(name, kind)]
        namespace, subsystem, unit = affixes
        if namespace is None:
            namespace = self._options.namespace
        full_name = "_".join(filter(None, (namespace, subsystem, name))) if name else name
        given = readers.read_labelnames(labelnames, where)
        defaults = self._options.default_labels
        if given:  # no decorator will ever show them a response
            defaults = early_labels(where, defaults, self._catalog.problems)
        plan = LabelPlan(
            full_name,
            labels,
            defaults,
            self._catalog.problems,
            given=given,
            decorates=True,
            response=family_class is not GaugeFamily,
            coroutines=self._coroutines,
        )
        names.label_problems(plan.names, where, names.RESERVED.get(kind))
        odd += names.label_problems((*(labels or {}), *given), where)
        odd += names.none_problems(labels or {}, where)
        for message in filter(None, odd):
            self._catalog.problems.warn(message)
        try:
            family = family_class(
                full_name,
                description,
                plan.names,
                max_series=self._options.max_series,
                unit=unit,
                **more,
            )
        except (TypeError, ValueError) as error:
            error_class = TypeError if isinstance(error, TypeError) else ValueError
            raise error_class(f"{where}: {error}") from error
        family = self._catalog.add(self._options.registry, family)
        if self._disabled:
            return INERT  # type: ignore[no-any-return]
        if plan.constant and initial_value:
            family.child(plan.overflow)
        return instrument_class(
            Calls(
                where,
                family,
                plan,
                self.clock,
                *self._exclusions(),
                shield=self._shield,
                exemplar=self._exemplar_reader(),
            )
        )

    def _exclusions(self) -> tuple[Excludes | None, Collection[int]]:
        """Return the requests and the statuses that decorators exclude."""
        given = self._options
        if not given.exclude_user_defaults:
            return None, ()
        return excludes(given), given.excluded_statuses

    def _exemplar_reader(self) -> ExemplarReader | None:
        return exemplar_reader(self._options.exemplar, self._catalog.problems)


def _decorator(what: str, probe: Probe) -> Decorator:
    if options.is_disabled():
        return INERT  # type: ignore[no-any-return]

    def decorator(function: F, /) -> F:
        decorated = wrap(function, probe, what)
        remember(decorated, what)
        return decorated

    return decorator
