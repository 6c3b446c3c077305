"""Metric families: the label sets of one metric name, their bound, and how they become samples.

A family is a `Collector` of an ordinary prometheus_client registry and hides how it stores its
numbers: whoever records holds a child (one label set) and calls `inc`, `dec` or `observe` on it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from prometheus_client import Counter, Gauge, Histogram, Summary
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from .children import Child, HistogramChild, Lock, NumberChild, ObservedChild, SummaryChild

__all__ = [
    "OVERFLOW",
    "AnyFamily",
    "CounterFamily",
    "DerivedCounterFamily",
    "Family",
    "GaugeFamily",
    "HistogramFamily",
    "LabelValues",
    "SummaryFamily",
]

LabelValues = tuple[str, ...]
Sample = tuple[str, dict[str, str], float]  # suffix, extra labels, value
Row = tuple[LabelValues, float, list[Sample]]  # label set, created, samples

OVERFLOW = "<overflow>"
"""The label value that stands for everything that came after a family was full."""

ChildT = TypeVar("ChildT", bound=Child)


class Family(Generic[ChildT]):
    """One metric name, its label names and at most `max_series` label sets.

    Arguments are prometheus_client's, and so are the rules for names, units and buckets: they are
    checked by building its own metric of this type, which raises `ValueError`.
    """

    client_class: ClassVar[type[Any]]
    child_class: ClassVar[type[Any]]
    bounds: Sequence[float] = ()

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        *,
        max_series: int = 1000,
        **options: Any,
    ) -> None:
        self.labelnames = tuple(labelnames)
        # Unregistered and with a label: such a metric allocates no storage.
        prototype = self.client_class(
            name, documentation, self.labelnames or ("unlabelled",), registry=None, **options
        )
        self._definition: Metric = next(iter(prototype.describe()))
        self.name = self._definition.name
        self.given_name = name
        """The name as the program gave it, which says `_total` or not."""
        self.type = self._definition.type
        self.max_series = max_series
        self.on_fold: Callable[[str], None] | None = None
        self.hidden_while_empty = False
        self.lock: Lock = threading.RLock()
        self.children: dict[LabelValues, ChildT] = {}
        if not self.labelnames:
            self.child(())
        _families.add(self)

    @property
    def schema(self) -> tuple[object, ...]:
        """What must be equal for two definitions of a name to be the same family."""
        return (self.type, self.labelnames)

    def __str__(self) -> str:
        return f"{self.type} {self.name!r} with labels {self.labelnames}"

    def child(self, values: LabelValues, folded: LabelValues = ()) -> ChildT:
        """Return the child of a label set, making it if it is new and there is room for it.

        `folded` is the label set to use when the family is full: `values` with the
        request-derived ones replaced by `<overflow>`. A tenth of the room is kept for such sets;
        when that is used up as well, every value becomes `<overflow>`.
        """
        child = self.children.get(values)
        return self._admit(values, folded) if child is None else child

    def _admit(self, values: LabelValues, folded: LabelValues) -> ChildT:
        values = tuple(map(_encodable, values))
        everything = (OVERFLOW,) * len(values)
        folded = folded or everything
        reserve = 1
        if folded != everything and self.max_series > 2:
            reserve = max(2, self.max_series // 10)
        with self.lock:
            for candidate, room in (
                (values, self.max_series - reserve),
                (folded, self.max_series - 1),
                (everything, self.max_series),
            ):
                child = self.children.get(candidate)
                if child is None and (len(self.children) < room or not values):
                    child = self.children[candidate] = self.child_class(self)
                if child is not None:
                    break
        assert child is not None, "only `everything` can take the last place"
        if candidate is not values and self.on_fold is not None:
            self.on_fold(self.given_name)
        return child

    def clear(self) -> None:
        """Start from zero in a forked child, where another thread may have held the lock."""
        self.lock = threading.RLock()
        for child in self.children.values():
            child.clear()

    def describe(self) -> Iterable[Metric]:
        """Return the definition without samples (prometheus_client's `Collector` protocol)."""
        return [self._metric()]

    def collect(self) -> Iterator[Metric]:
        """Yield the family with its samples (prometheus_client's `Collector` protocol)."""
        rows = self.rows()
        if self.hidden_while_empty and not rows:
            return
        metric = self._metric()
        with_created = self.type != "gauge" and _created_series_enabled()
        for values, created, samples in rows:
            labels = dict(zip(self.labelnames, values, strict=True))
            for suffix, extra, value in samples:
                metric.add_sample(self.name + suffix, {**labels, **extra}, value)
            if with_created:
                metric.add_sample(self.name + "_created", labels, created)
        yield metric

    def rows(self) -> list[Row]:
        """Return each label set with its samples, consistent within the label set."""
        with self.lock:
            children = list(self.children.items())
        rows = []
        for values, child in children:
            with self.lock:
                rows.append((values, child.created, self._samples(child)))
        return rows

    def _samples(self, child: ChildT) -> list[Sample]:
        raise NotImplementedError

    def _metric(self) -> Metric:
        known = self._definition
        return Metric(known.name, known.documentation, known.type, known.unit)


class CounterFamily(Family[NumberChild]):
    client_class = Counter
    child_class = NumberChild

    def _samples(self, child: NumberChild) -> list[Sample]:
        return [("_total", {}, child.value)]


class GaugeFamily(Family[NumberChild]):
    client_class = Gauge
    child_class = NumberChild

    def _samples(self, child: NumberChild) -> list[Sample]:
        return [("", {}, child.value)]


class SummaryFamily(Family[SummaryChild]):
    client_class = Summary
    child_class = SummaryChild

    def _samples(self, child: SummaryChild) -> list[Sample]:
        return [("_count", {}, float(child.total)), ("_sum", {}, child.sum)]


class HistogramFamily(Family[HistogramChild]):
    """Buckets are inclusive upper bounds in the unit observed; +Inf is added when missing."""

    client_class = Histogram
    child_class = HistogramChild

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        *,
        buckets: Iterable[float | str] = Histogram.DEFAULT_BUCKETS,
        max_series: int = 1000,
        **options: Any,
    ) -> None:
        bounds = [float(bound) for bound in buckets]
        if bounds and bounds[-1] != float("inf"):
            bounds.append(float("inf"))
        self.bounds = tuple(bounds)
        self._le = [{"le": floatToGoString(bound)} for bound in bounds]  # type: ignore[no-untyped-call]
        super().__init__(
            name, documentation, labelnames, max_series=max_series, buckets=bounds, **options
        )

    @property
    def schema(self) -> tuple[object, ...]:
        return (*super().schema, self.bounds)

    def __str__(self) -> str:
        return f"{super().__str__()} and buckets {self.bounds}"

    def _samples(self, child: HistogramChild) -> list[Sample]:
        samples: list[Sample] = []
        cumulative = 0
        for le, count in zip(self._le, child.buckets, strict=True):
            cumulative += count
            samples.append(("_bucket", le, float(cumulative)))
        samples.append(("_count", {}, float(cumulative)))
        if self.bounds[0] >= 0:  # with negative observations a sum is no counter
            samples.append(("_sum", {}, child.sum))
        return samples


class DerivedCounterFamily(CounterFamily):
    """A counter that is the observation count of another family, summed over one of its labels.

    Nothing is recorded here: counting requests apart from timing them would be paid for on every
    request, and the sum is needed only when somebody looks.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        source: HistogramFamily | SummaryFamily,
        summed_over: str,
    ) -> None:
        self.source = source
        self._index = source.labelnames.index(summed_over)
        super().__init__(name, documentation, self._without(source.labelnames))

    @property
    def schema(self) -> tuple[object, ...]:
        return (*super().schema, id(self.source))

    def rows(self) -> list[Row]:
        with self.source.lock:
            children: list[tuple[LabelValues, ObservedChild]] = [*self.source.children.items()]
        totals: dict[LabelValues, tuple[float, int]] = {}
        for values, child in children:
            key = self._without(values)
            created, count = totals.get(key, (child.created, 0))
            totals[key] = (min(created, child.created), count + child.total)
        return [
            (values, created, [("_total", {}, float(count))])
            for values, (created, count) in totals.items()
        ]

    def _without(self, values: LabelValues) -> LabelValues:
        return values[: self._index] + values[self._index + 1 :]


AnyFamily = CounterFamily | GaugeFamily | SummaryFamily | HistogramFamily

_families: weakref.WeakSet[Family[Any]] = weakref.WeakSet()


def _start_from_zero() -> None:
    for family in _families:
        family.clear()


os.register_at_fork(after_in_child=_start_from_zero)


def _encodable(value: str) -> str:
    """Replace what UTF-8 cannot express (lone surrogates), which would break every scrape."""
    return value.encode("utf-8", "replace").decode("utf-8")


def _created_series_enabled() -> bool:
    """Tell whether prometheus_client exposes `_created` series; it has a switch but no getter."""
    probe = Counter("promweb_probe", "Never registered.", registry=None)
    return len(next(iter(probe.collect())).samples) > 1
