"""A metric family: the label sets of one metric name, their bound, and how they become samples.

A family is a `Collector` of an ordinary prometheus_client registry and hides how it stores its
numbers: a recorder asks for a child (one label set) and calls `record` on it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from prometheus_client import Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from .. import forking
from ..native.buckets import Buckets
from .children import Child, Lock, Shape
from .limits import MAX_LABEL_BYTES, OVERFLOW, LabelValues, encodable, reserved, without_long
from .numbers import text_of
from .storage import Storage, Total

__all__ = ["EXEMPLARY", "Family", "FamilyMetric", "LabelSets", "Rows", "created_series_enabled"]

EXEMPLARY = ("_bucket", "_total")
"""The suffixes of samples that may have an exemplar (OpenMetrics 1.0)."""

ChildT = TypeVar("ChildT", bound=Child)


class LabelSets(Generic[ChildT]):
    """Label sets and their numbers, at one moment.

    Iterating makes the pairs one by one. Thousands of tuples at once would trigger the garbage
    collector, which traverses the whole program and lets no other thread run meanwhile.
    """

    __slots__ = ("_children", "_values")

    def __init__(self, children: Mapping[LabelValues, ChildT]) -> None:
        self._values = list(children)
        self._children = list(children.values())

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[tuple[LabelValues, ChildT]]:
        return zip(self._values, self._children, strict=True)


Rows = LabelSets[Any] | Sequence[tuple[LabelValues, Any]]
"""Label sets and their numbers, at one moment."""


Native = Callable[[LabelValues, Any], tuple[Sequence[float], Buckets] | None]


class Family(Generic[ChildT]):
    """One metric name, its label names and at most `max_series` label sets.

    Arguments are prometheus_client's, and so are the rules for names, units and buckets: building
    prometheus_client's own metric of this type checks them, and raises ValueError.
    """

    client_class: ClassVar[type[Any]]
    child_class: ClassVar[type[Any]]
    bounds: Sequence[float] = ()
    zeros: list[int] = [0]  # noqa: RUF012
    totals: tuple[Total, ...] = ()
    """The counters that are derived from this family and kept in a storage."""

    native: Native | None = None
    """Returns the classic and native buckets of a label set; None if it has only classic ones."""

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
        self.name: str = definition.name
        self.given_name = name
        """The name as the program gave it, with or without `_total`."""
        self.documentation: str = definition.documentation
        self.type: str = definition.type
        self.unit: str = definition.unit
        self.max_series = max_series
        self._unreserved = max_series - reserved(max_series)
        """Below this number of label sets there is room for any kind."""
        self.on_overflow: Callable[[str, bool], None] | None = None
        """Called with the family's name and the reason: True if a label value was too long, False
        if the family is full."""
        self.storage: Storage | None = None
        self.hidden_while_empty = False
        self.lock: Lock = threading.RLock()
        self.children: dict[LabelValues, ChildT] = {}
        self._being_made = 0
        if not self.labelnames:
            self.child(())
        _families.add(self)

    @property
    def schema(self) -> tuple[object, ...]:
        """The parts of a definition; families with equal ones are the same."""
        return (self.type, self.labelnames)

    def __str__(self) -> str:
        return f"{self.type} {self.name!r} with labels {self.labelnames}"

    def child(self, values: LabelValues, overflow: LabelValues = ()) -> ChildT:
        """Return the child of a label set, and make it if it is new and there is room for it.

        `overflow` is the label set to use if the family is full: `values` with `<overflow>` in
        place of the request-derived ones. A tenth of the room is kept for such sets; when that is
        used up as well, every value becomes `<overflow>`. A request-derived value that is too long
        becomes `<overflow>` in any case.
        """
        child = self.children.get(values)
        return self._admit(values, overflow) if child is None else child

    def _admit(self, values: LabelValues, overflow: LabelValues) -> ChildT:
        text, too_long, overflows = "".join(values), False, False
        if len(text) > MAX_LABEL_BYTES or not text.isascii():
            short = without_long(values, overflow)
            too_long = short != values
            values = tuple(map(encodable, short))
        with self.lock:
            child = self.children.get(values)
            if child is None:
                child = self._make_child(values, self._unreserved)
        if child is None:
            child, overflows = self._find_room(values, overflow)
        if (too_long or overflows) and self.on_overflow is not None:
            self.on_overflow(self.given_name, too_long)
        return child

    def _find_room(self, values: LabelValues, overflow: LabelValues) -> tuple[ChildT, bool]:
        """Return the child of a new label set, and whether it is one with `<overflow>` instead."""
        # Constant values are worth keeping: places are reserved for label sets that keep them.
        reserve = 1
        if self.max_series > 2 and overflow.count(OVERFLOW) < len(overflow):
            reserve = reserved(self.max_series)
        everything = (OVERFLOW,) * len(values)
        with self.lock:
            for candidate, room in (
                (values, self.max_series - reserve if values else 1),
                (overflow or everything, self.max_series - 1),
                (everything, float("inf")),  # only this one takes the last place
            ):
                child = self.children.get(candidate)
                if child is None:
                    child = self._make_child(candidate, room)
                if child is not None:
                    return child, candidate != values
        raise AssertionError("there is always room for `everything`")

    def _make_child(self, values: LabelValues, room: float) -> ChildT | None:
        """Make a label set if there is room for it; the caller holds the lock.

        Meanwhile a signal handler may make label sets in this thread: the same one, which is then
        made once, or others, which take one more place.
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
        """Return the present label sets, and their numbers."""
        with self.lock:
            return LabelSets(self.children)

    def numbers(self, child: ChildT) -> list[float]:
        """Return the values of a label set's samples, in the order of `shape`."""
        raise NotImplementedError

    def texts(self, child: ChildT) -> tuple[str, ...]:
        """Return the same values as text."""
        return tuple(map(text_of, self.numbers(child)))

    @property
    def sample_names(self) -> frozenset[str]:
        """The names that samples of this family may have."""
        return frozenset(self.name + suffix for suffix, _ in (*self.shape, ("_created", None)))


class FamilyMetric(Metric):
    """The result of a family's `collect`: a `Metric` that makes its samples when they are read.

    `names` restricts it to samples of these names.
    """

    def __init__(self, family: Family[Any], names: frozenset[str] | None = None) -> None:
        self.family = family
        self.names = names
        self.name = family.name
        self.documentation = family.documentation
        self.type = family.type
        self.unit = family.unit if names is None else ""  # as prometheus_client restricts
        self.texts: Callable[[Any], tuple[str, ...]] = family.texts
        """Returns the values of a label set as text, in the order of the family's `shape`."""
        self.amounts: Callable[[Any], tuple[Sequence[float], float]] = _snapshot
        """Returns the observations per bucket of a label set, and their sum; of a counter or a
        gauge no buckets, and the value."""
        self.native: Native | None = family.native

    @property
    def has_created(self) -> bool:
        """Whether its label sets have a time of creation, which may be exposed."""
        return self.type != "gauge" and self.family.storage is None

    def label_sets(self) -> Rows:
        """Return the present label sets, and their numbers."""
        return self.family.label_sets()

    @property
    def samples(self) -> list[Sample]:  # type: ignore[override]
        """The samples of all label sets, as of now."""
        with_created = self.has_created and created_series_enabled()
        return list(self.samples_of(self.label_sets(), with_created))

    def samples_of(
        self, label_sets: Iterable[tuple[LabelValues, Any]], with_created: bool
    ) -> Iterator[Sample]:
        """Yield the samples of some label sets of the family."""
        family, names = self.family, self.names
        for values, child in label_sets:
            labels = dict(zip(family.labelnames, values, strict=True))
            numbers = [*zip(family.shape, family.numbers(child), strict=True)]
            if with_created:
                numbers.append((("_created", None), child.created))
            exemplars = (child.exemplars or {}).copy()
            for place, ((suffix, le), number) in enumerate(numbers):
                name = family.name + suffix
                if names is None or name in names:
                    exemplar = exemplars.get(place) if suffix in EXEMPLARY else None
                    le_labels = labels if le is None else {**labels, "le": le}
                    yield Sample(name, le_labels, number, None, exemplar)

    def _restricted_metric(self, names: Iterable[str]) -> FamilyMetric | None:
        """Do the same as prometheus_client's private method of this name, without the samples.

        Its restricted registry calls it; without it the public `samples` would be used.
        """
        wanted = self.family.sample_names.intersection(names)
        return FamilyMetric(self.family, wanted) if wanted and self.label_sets() else None


def _snapshot(child: Any) -> tuple[Sequence[float], float]:
    return child.snapshot()  # type: ignore[no-any-return]


def created_series_enabled() -> bool:
    """Tell whether prometheus_client exposes `_created` series; it has a switch but no getter.

    Call it only for a metric that has times of creation: with several workers no metric has, and
    making one writes to a file.
    """
    probe = Counter("promweb_probe", "Never registered.", registry=None)
    return len(next(iter(probe.collect())).samples) > 1


_families: weakref.WeakSet[Family[Any]] = weakref.WeakSet()


def _start_from_zero() -> None:
    for family in _families:
        family.clear()


forking.in_child(_start_from_zero)
