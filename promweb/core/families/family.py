"""Metric families: the label sets of one metric name, their bound, and how they become samples.

A family is a `Collector` of an ordinary prometheus_client registry and hides how it stores its
numbers: whoever records holds a child (one label set) and calls `inc`, `dec` or `observe` on it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar, Generic, TypeVar

from prometheus_client import Counter, Gauge, Histogram, Summary
from prometheus_client.metrics_core import Metric

from .. import forking
from ..exposition.layout import (
    FamilyMetric,
    Format,
    LabelValues,
    Layout,
    Shape,
    text_of,
    texts_of_counts,
)
from .children import Child, Lock, NumberChild, ObservedChild
from .storage import Storage

__all__ = [
    "MAX_LABEL_BYTES",
    "OVERFLOW",
    "AnyFamily",
    "CounterFamily",
    "DerivedCounterFamily",
    "Family",
    "GaugeFamily",
    "HistogramFamily",
    "LabelValues",
    "SummaryFamily",
    "encodable",
]

OVERFLOW = "<overflow>"
"""The label value that stands for everything that came after a family was full."""

MAX_LABEL_BYTES = 256
"""The most a label value from a request may have, as UTF-8; a longer one is `<overflow>`.

Not cut: a stranger could send any number of different beginnings, and each would take room.
"""

_MOST_LAYOUTS = 32
"""How many layouts a family keeps. What scrapes ask for needs two or three of them."""

ChildT = TypeVar("ChildT", bound=Child)


class LabelSets(Generic[ChildT]):
    """Label sets and their numbers, at one moment.

    Pairs are made as they are read. Thousands of tuples at once would set off the garbage
    collector, which goes through the whole program and lets nobody run meanwhile.
    """

    __slots__ = ("_children", "_values")

    def __init__(self, children: Mapping[LabelValues, ChildT]) -> None:
        self._values = list(children)
        self._children = list(children.values())

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[tuple[LabelValues, ChildT]]:
        return zip(self._values, self._children, strict=True)


class Family(Generic[ChildT]):
    """One metric name, its label names and at most `max_series` label sets.

    Arguments are prometheus_client's, and so are the rules for names, units and buckets: they are
    checked by building its own metric of this type, which raises `ValueError`.
    """

    client_class: ClassVar[type[Any]]
    child_class: ClassVar[type[Any]]
    bounds: Sequence[float] = ()
    zeros: list[int] = [0]  # noqa: RUF012
    totals: tuple[DerivedCounterFamily, ...] = ()
    """The counters that are derived from this family and kept in a storage."""

    shape: Shape
    """The samples of a label set, in order: name suffix, and the `le` label of a bucket."""

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
        definition: Metric = next(iter(prototype.describe()))
        self.name = definition.name
        self.given_name = name
        """The name as the program gave it, which says `_total` or not."""
        self.documentation = definition.documentation
        self.type = definition.type
        self.unit = definition.unit
        self.max_series = max_series
        self._ample = max_series - _reserve(max_series)
        """With fewer label sets than this, there is room for one more of any kind."""
        self.on_fold: Callable[[str, bool], None] | None = None
        """Is told the name of the family, and whether a value was too long rather than one more."""
        self.storage: Storage | None = None
        self.hidden_while_empty = False
        self.lock: Lock = threading.RLock()
        self.children: dict[LabelValues, ChildT] = {}
        self._being_made = 0
        self._layouts: dict[object, Layout | None] = {}
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
        when that is used up as well, every value becomes `<overflow>`. A request-derived value
        that is too long becomes `<overflow>` in any case.
        """
        child = self.children.get(values)
        return self._admit(values, folded) if child is None else child

    def _admit(self, values: LabelValues, folded: LabelValues) -> ChildT:
        text, too_long, is_folded = "".join(values), False, False
        if len(text) > MAX_LABEL_BYTES or not text.isascii():
            bounded = _without_long(values, folded)
            too_long = bounded != values
            values = tuple(map(encodable, bounded))
        with self.lock:
            child = self.children.get(values)
            if child is None:
                child = self._make_child(values, self._ample)
        if child is None:
            child, is_folded = self._find_room(values, folded)
        if (too_long or is_folded) and self.on_fold is not None:
            self.on_fold(self.given_name, too_long)
        return child

    def _find_room(self, values: LabelValues, folded: LabelValues) -> tuple[ChildT, bool]:
        """Return the child of a new label set, or of a folded one, and whether that was needed."""
        # Constant values are worth keeping: there is room for label sets that are folded in part.
        reserve = 1
        if self.max_series > 2 and folded.count(OVERFLOW) < len(folded):
            reserve = _reserve(self.max_series)
        everything = (OVERFLOW,) * len(values)
        with self.lock:
            for candidate, room in (
                (values, self.max_series - reserve if values else 1),
                (folded or everything, self.max_series - 1),
                (everything, float("inf")),  # only this one takes the last place
            ):
                child = self.children.get(candidate)
                if child is None:
                    child = self._make_child(candidate, room)
                if child is not None:
                    return child, candidate is not values
        raise AssertionError("there is always room for `everything`")

    def _make_child(self, values: LabelValues, room: float) -> ChildT | None:
        """Make a label set if there is room for it; the lock is held.

        A signal handler may make label sets meanwhile, in this thread: this one, which is then
        made once, or others, for which there is one place less.
        """
        self._being_made += 1
        try:
            if len(self.children) + self._being_made > room:
                return None
            storage = self.storage
            made = self.child_class(self) if storage is None else storage.make_child(self, values)
            return self.children.setdefault(values, made)
        finally:
            self._being_made -= 1

    def keep_in(self, storage: Storage) -> None:
        """Keep the numbers in `storage` from now on; nothing has been recorded yet."""
        self.storage = storage
        storage.accept(self)
        for values in self.children:
            self.children[values] = storage.make_child(self, values)

    def clear(self) -> None:
        """Start from zero in a forked child, where another thread may have held the lock."""
        self.lock = threading.RLock()
        for child in self.children.values():
            child.clear()

    def describe(self) -> Iterable[Metric]:
        """Return the definition without samples (prometheus_client's `Collector` protocol)."""
        return [Metric(self.name, self.documentation, self.type, self.unit)]

    def collect(self) -> Iterator[Metric]:
        """Yield the family (prometheus_client's `Collector` protocol); samples come on demand."""
        if self.children or not self.hidden_while_empty:
            yield FamilyMetric(self)

    def label_sets(self) -> LabelSets[ChildT]:
        """Return the label sets there are now, and their numbers."""
        with self.lock:
            return LabelSets(self.children)

    def numbers(self, child: ChildT) -> list[float]:
        """Return the values of a label set's samples, in the order of `shape`."""
        raise NotImplementedError

    def texts(self, child: ChildT) -> tuple[str, ...]:
        """Return what `numbers` does, as it is written."""
        return tuple(map(text_of, self.numbers(child)))

    def layout(
        self, format: Format, with_created: bool, names: frozenset[str] | None
    ) -> Layout | None:
        """Return how to write the family fast, None where that would not be byte-identical."""
        with_created = with_created and self.type != "gauge"
        key = (format.openmetrics, format.escaping, with_created, names)
        layouts = self._layouts
        if key not in layouts:
            if len(layouts) >= _MOST_LAYOUTS:  # clients choose formats and names
                layouts = self._layouts = {}
            layout = Layout(self, format, with_created=with_created, names=names)
            layouts[key] = layout if layout.agrees() else None
        return layouts[key]

    @property
    def sample_names(self) -> frozenset[str]:
        """The names that samples of this family may have."""
        return frozenset(self.name + suffix for suffix, _ in (*self.shape, ("_created", None)))


class CounterFamily(Family[NumberChild]):
    client_class = Counter
    child_class = NumberChild

    shape = (("_total", None),)

    def numbers(self, child: NumberChild) -> list[float]:
        return [child.value]


class GaugeFamily(Family[NumberChild]):
    """A gauge; `mode` says how the numbers of several processes become one.

    The modes are prometheus_client's. The default sums up the processes that are alive: what a
    killed process had in progress is over, and restarted workers add no series.
    """

    client_class = Gauge
    child_class = NumberChild

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
        if multiprocess_mode.endswith("mostrecent"):
            raise ValueError(
                f"multiprocess_mode={multiprocess_mode!r} is for gauges that are set; "
                "one that counts up and down can be livesum, sum, liveall, all, min or max"
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

    def numbers(self, child: NumberChild) -> list[float]:
        return [child.value]


class SummaryFamily(Family[ObservedChild]):
    bounds = (float("inf"),)
    client_class = Summary
    child_class = ObservedChild

    shape = (("_count", None), ("_sum", None))

    def numbers(self, child: ObservedChild) -> list[float]:
        (count,), total = child.snapshot()
        return [float(count), total]


class HistogramFamily(Family[ObservedChild]):
    """Buckets are inclusive upper bounds in the unit observed; +Inf is added when missing."""

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
        self.has_sum = bool(bounds) and bounds[0] >= 0  # otherwise it is no counter
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
        """Be recorded after all: others read the storage, and do not know what is derived."""
        super().keep_in(storage)
        others = (total for total in self.source.totals if total.name != self.name)
        self.source.totals = (*others, self)

    def total(self, values: LabelValues) -> NumberChild:
        """Return the child that counts what a label set of the source observes."""
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
    """Give a total the newest exemplar that there is, as one of a single recording."""
    for exemplar in (child.exemplars or {}).copy().values():
        known = (total.exemplars or {}).get(0)
        if known is None or known.timestamp < exemplar.timestamp:  # type: ignore[operator]
            total.exemplars = {0: exemplar._replace(value=1.0)}


AnyFamily = CounterFamily | GaugeFamily | SummaryFamily | HistogramFamily

_families: weakref.WeakSet[Family[Any]] = weakref.WeakSet()


def _start_from_zero() -> None:
    for family in _families:
        family.clear()


forking.in_child(_start_from_zero)


def _reserve(max_series: int) -> int:
    """Return how many label sets are kept for those that are folded."""
    return max(2, max_series // 10)


def _is_long(value: str) -> bool:
    if value.isascii() or len(value) > MAX_LABEL_BYTES:
        return len(value) > MAX_LABEL_BYTES
    return len(value.encode("utf-8", "replace")) > MAX_LABEL_BYTES


def _without_long(values: LabelValues, folded: LabelValues) -> LabelValues:
    """Replace the values that are too long, but not those that the program wrote itself."""
    return tuple(
        OVERFLOW if _is_long(value) and value != constant else value
        for value, constant in zip(values, folded or (OVERFLOW,) * len(values), strict=True)
    )


def encodable(value: str) -> str:
    """Replace what UTF-8 cannot express (lone surrogates), which would break every scrape."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
