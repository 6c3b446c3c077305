"""The methods of a metrics object that return decorators."""

from __future__ import annotations

import time
from abc import ABC
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

from . import mistakes, names, options
from .decorators.instruments import Exclusion, Instrument
from .decorators.wrapping import Probe, wrap
from .families.catalog import Catalog
from .families.family import Family
from .families.kinds import CounterFamily, GaugeFamily, HistogramFamily, SummaryFamily
from .families.native import NativeHistogramFamily
from .labels.exemplars import ExemplarReader, exemplar_reader
from .labels.plan import LabelPlan
from .native.advice import in_short
from .options import Options
from .requests.scope import Scope

__all__ = ["Decorator", "InstrumentFactories", "LabelValue"]

F = TypeVar("F", bound=Callable[..., Any])

LabelValue: TypeAlias = Callable[[Any], object] | Callable[[], object] | object
"""What the value of a label may be. Anything may, as a constant; the callables tell type checkers
what the argument of a lambda is."""


_SHARED = ("labels", "initial_value_when_only_static_labels", "namespace", "subsystem", "unit")
_ARGUMENTS = {
    "counter": _SHARED,
    "gauge": (*_SHARED, "multiprocess_mode"),
    "histogram": (*_SHARED, "buckets", "native_histograms"),
    "summary": _SHARED,
}
"""What the methods take after name and description, some of it for prometheus_client."""


class Decorator(Protocol):
    """Returns a callable of the same kind and type as the one it is given."""

    def __call__(self, function: F, /) -> F:
        """Decorate a function, a method or a view class."""


class InstrumentFactories(ABC):
    """What `counter`, `gauge`, `histogram` and `summary` need of a metrics object."""

    clock: Callable[[], float] = time.perf_counter
    """What durations are measured with, in seconds; a test may put its own here."""

    _coroutines: ClassVar[bool]
    """Whether coroutine functions can be awaited by this framework's adapter."""
    _request_class: ClassVar[type]
    """What the framework's requests are."""
    _shield: Callable[[], AbstractContextManager[Any]] = nullcontext
    """Protects from a cancellation the labels that are awaited for what was cancelled."""

    _options: Options
    _catalog: Catalog

    @mistakes.called_first("counter('name', 'description')")
    def counter(
        self,
        name: str,
        description: str,
        labels: Mapping[str, LabelValue] | None = None,
        initial_value_when_only_static_labels: bool = True,
        **kwargs: Any,
    ) -> Decorator:
        """Return a decorator that counts calls, failed ones included.

        `labels` maps a label name to a constant, a callable without arguments, or a callable of
        one: the final response for a view, the return value for another function. Further
        keywords are prometheus_client's. Where every label is constant, the series starts at 0
        unless `initial_value_when_only_static_labels` is False.
        """
        initial = initial_value_when_only_static_labels
        return self._instrument(CounterFamily, name, description, labels, initial, kwargs)

    @mistakes.called_first("gauge('name', 'description')")
    def gauge(
        self,
        name: str,
        description: str,
        labels: Mapping[str, LabelValue] | None = None,
        initial_value_when_only_static_labels: bool = True,
        **kwargs: Any,
    ) -> Decorator:
        """Return a decorator that shows how many calls are in progress.

        The arguments are those of `counter`; label callables take no argument, because the gauge
        is set before there is a response.
        """
        initial = initial_value_when_only_static_labels
        return self._instrument(GaugeFamily, name, description, labels, initial, kwargs)

    @mistakes.called_first("histogram('name', 'description')")
    def histogram(
        self,
        name: str,
        description: str,
        labels: Mapping[str, LabelValue] | None = None,
        initial_value_when_only_static_labels: bool = True,
        **kwargs: Any,
    ) -> Decorator:
        """Return a decorator that measures the duration of calls, in seconds, in buckets.

        The arguments are those of `counter`, and `buckets`: upper bounds in seconds. Generators
        are measured until they are exhausted or closed. `native_histograms=True` or a number above
        1 adds native buckets, as the constructor's argument does for the default metrics;
        `buckets=()` then omits the others.
        """
        initial = initial_value_when_only_static_labels
        return self._instrument(HistogramFamily, name, description, labels, initial, kwargs)

    @mistakes.called_first("summary('name', 'description')")
    def summary(
        self,
        name: str,
        description: str,
        labels: Mapping[str, LabelValue] | None = None,
        initial_value_when_only_static_labels: bool = True,
        **kwargs: Any,
    ) -> Decorator:
        """Return a decorator that measures the duration of calls, in seconds: count and sum.

        The arguments are those of `counter`.
        """
        initial = initial_value_when_only_static_labels
        return self._instrument(SummaryFamily, name, description, labels, initial, kwargs)

    @staticmethod
    @mistakes.called_first("do_not_track()")
    def do_not_track() -> Decorator:
        """Return a decorator that leaves a view's requests out of the default metrics."""
        return _decorator("do_not_track()", Exclusion(Scope.do_not_track))

    @staticmethod
    @mistakes.called_first("exclude_all_metrics()")
    def exclude_all_metrics() -> Decorator:
        """Return a decorator that leaves a view's requests out of every metric."""
        return _decorator("exclude_all_metrics()", Exclusion(Scope.exclude_all))

    def _instrument(
        self,
        family_class: type[Family[Any]],
        name: str,
        description: str,
        labels: Mapping[str, LabelValue] | None,
        initial_value: bool,
        kwargs: dict[str, Any],
    ) -> Decorator:
        kind = family_class.client_class.__name__.lower()
        where = f"{kind} {name!r}"
        odd = [names.name_problem(name, kind)]
        for argument in kwargs:
            if argument not in _ARGUMENTS[kind]:
                raise TypeError(f"{where}: {mistakes.unknown(argument, _ARGUMENTS[kind])}")
        factor = options.read_native(kwargs.pop("native_histograms", None), f" of {where}")
        if factor is not None:
            family_class, kwargs["factor"] = NativeHistogramFamily, factor
            self._catalog.problems.tell(f"Some histograms have native buckets. {in_short()}")
        if "buckets" in kwargs:
            native = factor is not None
            kwargs["buckets"] = options.read_buckets(
                kwargs["buckets"], f" of {where}", native=native
            )
        plan = LabelPlan(
            name,
            labels,
            self._options.default_labels,
            self._catalog.problems,
            response=family_class is not GaugeFamily,
            coroutines=self._coroutines,
        )
        names.label_problems(plan.names, where, names.RESERVED.get(kind))
        odd += names.label_problems(labels or {}, where)
        odd += names.none_problems(labels or {}, where)
        for message in filter(None, odd):
            self._catalog.problems.warn(message)
        try:
            family = family_class(
                name, description, plan.names, max_series=self._options.max_series, **kwargs
            )
        except (TypeError, ValueError) as error:
            error_class = TypeError if isinstance(error, TypeError) else ValueError
            raise error_class(f"{where}: {error}") from error
        family = self._catalog.add(self._options.registry, family)
        if plan.constant and initial_value:
            family.child(plan.overflow)
        excludes = self._options.excludes if self._options.exclude_user_defaults else None
        return _decorator(
            where,
            Instrument(family, plan, self.clock, excludes, self._shield, self._exemplar_reader()),
        )

    def _exemplar_reader(self) -> ExemplarReader | None:
        return exemplar_reader(self._options.exemplar, self._catalog.problems)


def _decorator(what: str, probe: Probe) -> Decorator:
    def decorator(function: F, /) -> F:
        decorated = wrap(function, probe, what)
        mistakes.remember(decorated, what)
        return decorated

    return decorator
