"""The kinds of families: counter, gauge, summary, histogram, and derived counter."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, Summary

from .children import GaugeChild, NumberChild, ObservedChild
from .family import Family, LabelSets
from .limits import LabelValues
from .numbers import text_of, texts_of_counts
from .storage import Storage

__all__ = [
    "AnyFamily",
    "CounterFamily",
    "DerivedCounterFamily",
    "GaugeFamily",
    "HistogramFamily",
    "SummaryFamily",
]


class CounterFamily(Family[NumberChild]):
    """A number that only goes up."""

    client_class = Counter
    child_class = NumberChild

    shape = (("_total", None),)

    def numbers(self, child: NumberChild) -> list[float]:
        return [child.value]


class GaugeFamily(Family[GaugeChild]):
    """A gauge; `mode` tells how to combine the numbers of several processes.

    The modes are prometheus_client's. The default adds up the living processes: the requests in
    progress of a killed process are over, and restarted workers add no series.
    """

    client_class = Gauge
    child_class = GaugeChild

    shape = (("", None),)

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        *,
        max_series: int = 1000,
        multiprocess_mode: str = "livesum",
        **options: Any,
    ) -> None:
        modes = sorted(Gauge._MULTIPROC_MODES)
        if multiprocess_mode not in modes:
            raise ValueError(
                f"multiprocess_mode={multiprocess_mode!r}: must be one of {', '.join(modes)}"
            )
        self.mode = multiprocess_mode
        super().__init__(
            name,
            documentation,
            labelnames,
            max_series=max_series,
            multiprocess_mode=multiprocess_mode,
            **options,
        )

    @property
    def is_only_set(self) -> bool:
        """Whether the newest value of several processes counts, so that adding makes no sense."""
        return self.mode.endswith("mostrecent")

    def numbers(self, child: NumberChild) -> list[float]:
        return [child.value]


class SummaryFamily(Family[ObservedChild]):
    """A count and a sum of observations."""

    bounds = (float("inf"),)
    client_class = Summary
    child_class = ObservedChild

    shape = (("_count", None), ("_sum", None))

    def numbers(self, child: ObservedChild) -> list[float]:
        (count,), total = child.snapshot()
        return [float(count), total]


class HistogramFamily(Family[ObservedChild]):
    """Buckets have inclusive upper bounds in the unit observed; +Inf is added if it is missing."""

    client_class = Histogram
    child_class = ObservedChild

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
        self.zeros = [0] * len(bounds)
        self.shape = (*(("_bucket", text_of(bound)) for bound in bounds), ("_count", None))
        self.has_sum = bool(bounds) and bounds[0] >= 0  # a counter must not go down
        if self.has_sum:
            self.shape += (("_sum", None),)
        super().__init__(
            name, documentation, labelnames, max_series=max_series, buckets=bounds, **options
        )

    @property
    def schema(self) -> tuple[object, ...]:
        return (*super().schema, self.bounds)

    def __str__(self) -> str:
        return f"{super().__str__()} and buckets {self.bounds}"

    def numbers(self, child: ObservedChild) -> list[float]:
        buckets, total = child.snapshot()
        cumulative = list(accumulate(buckets))
        return [float(number) for number in (*cumulative, cumulative[-1], total)][: len(self.shape)]

    def texts(self, child: ObservedChild) -> tuple[str, ...]:
        buckets, total = child.snapshot()
        texts = texts_of_counts(buckets)
        if self.has_sum:
            return (*texts, texts[-1], text_of(total))
        return (*texts, texts[-1])


class DerivedCounterFamily(CounterFamily):
    """The observation count of another family, summed over one of its labels.

    It records nothing, and adds up when it is read. Counting each request separately would cost
    time at every request.
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
        super().__init__(
            name,
            documentation,
            self._without(source.labelnames),
            max_series=source.max_series,
        )

    @property
    def schema(self) -> tuple[object, ...]:
        return (*super().schema, id(self.source))

    def keep_in(self, storage: Storage) -> None:
        """Start recording: other processes read the numbers and cannot derive them."""
        super().keep_in(storage)
        others = (total for total in self.source.totals if total.name != self.name)
        self.source.totals = (*others, self)

    def total(self, values: LabelValues) -> NumberChild:
        """Return the child that counts the observations of a label set of the source."""
        return self.child(self._without(values))

    def label_sets(self) -> LabelSets[NumberChild]:
        totals: dict[LabelValues, NumberChild] = {}
        for values, child in self.source.label_sets():
            key = self._without(values)
            total = totals.get(key)
            if total is None:
                total = totals[key] = NumberChild(self)
                total.created = child.created
            total.inc(child.total)
            total.created = min(total.created, child.created)
            _take_newest(total, child)
        return LabelSets(totals)

    def _without(self, values: LabelValues) -> LabelValues:
        return values[: self._index] + values[self._index + 1 :]


def _take_newest(total: NumberChild, child: ObservedChild) -> None:
    """Give a total the child's newest exemplar if it is newer, with the value 1."""
    for exemplar in (child.exemplars or {}).copy().values():
        known = (total.exemplars or {}).get(0)
        if known is None or known.timestamp < exemplar.timestamp:  # type: ignore[operator]
            total.exemplars = {0: exemplar._replace(value=1.0)}


AnyFamily = CounterFamily | GaugeFamily | SummaryFamily | HistogramFamily
