"""Merges the label sets of many files into metrics; writes text fast where they are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, cast

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from ..core.families.family import FamilyMetric
from ..core.families.kinds import (
    AnyFamily,
    CounterFamily,
    GaugeFamily,
    HistogramFamily,
    SummaryFamily,
)
from ..core.families.limits import LabelValues
from ..core.families.native import NativeHistogramFamily
from ..core.families.numbers import text_of, texts_of_counts
from ..core.native.buckets import Buckets
from .files.file_names import NATIVE
from .files.keys import Block, Part
from .files.reading import picker
from .native.merging import Natives

__all__ = ["MergedFamily", "families", "restricted"]


class MergedChild:
    """One label set: the positions of its numbers in the common order."""

    __slots__ = ("pick", "rendered_labels", "rendered_pairs", "slots")

    created = 0.0
    exemplars = None

    def __init__(self, slots: dict[Part, int]) -> None:
        self.slots = slots
        self.pick: Any = None
        self.rendered_labels: tuple[str, str, str] | None = None
        self.rendered_pairs: Any = None


class MergedFamily:
    """The label sets of one metric name.

    `pattern` is a family of the core that can write these label sets fast. It is None if they
    differ (promweb's own never do), or if numbers may be missing (`may_lack`).
    """

    def __init__(
        self, type: str, name: str, help: str, label_sets: dict[Any, Any], may_lack: bool
    ) -> None:
        self.name = name
        self.type = type
        self.help = help
        self.rows = [
            (tuple([value for _, value in labels]), MergedChild(slots))
            for labels, slots in label_sets.items()
        ]
        self.labels = list(label_sets)
        self.slots = {values: child.slots for values, child in self.rows}
        self.pattern = None if may_lack or type == NATIVE else self._find_pattern()

    def metric(self, numbers: Sequence[Any], natives: Natives | None = None) -> Metric:
        """Return the family with these numbers, and with native buckets if it has any."""
        if self.pattern is not None:
            return MergedMetric(self, numbers, None, natives)
        metric = Metric(self.name, self.help, self.type)
        metric.samples = list(self.samples(numbers, None))
        return metric

    def samples(self, numbers: Sequence[Any], names: frozenset[str] | None) -> Iterator[Sample]:
        """Yield samples; buckets of a histogram are cumulative."""
        for labels, (_, child) in zip(self.labels, self.rows, strict=True):
            count: float | None = None
            pairs = dict(labels)
            for (name, le), slot in sorted(child.slots.items(), key=_by_bound):
                number = numbers[slot]
                if number is None:
                    continue
                if le is not None:
                    number = count = (count or 0.0) + number
                if names is None or name in names:
                    yield Sample(
                        name, pairs if le is None else {**pairs, "le": text_of(le)}, number
                    )
            count_name = f"{self.name}_count"
            if count is not None and (names is None or count_name in names):
                yield Sample(count_name, pairs, count)

    def texts(self, numbers: Sequence[float]) -> Callable[[MergedChild], tuple[str, ...]]:
        """Return a function that gives a label set's texts, in the order of the pattern's shape."""
        if self.type != "histogram":
            return lambda child: tuple([text_of(number) for number in child.pick(numbers)])

        def texts(child: MergedChild) -> tuple[str, ...]:
            *buckets, total = child.pick(numbers)
            counts = texts_of_counts(buckets)
            return (*counts, counts[-1], text_of(total))

        return texts

    def amounts(
        self, numbers: Sequence[float]
    ) -> Callable[[MergedChild], tuple[Sequence[float], float]]:
        """Return a function that gives a label set's numbers: its buckets, and the last one."""

        def amounts(child: MergedChild) -> tuple[Sequence[float], float]:
            *buckets, total = child.pick(numbers)
            return buckets, total

        return amounts

    def _find_pattern(self) -> AnyFamily | None:
        labelnames = tuple([name for name, _ in self.labels[0]])
        first: dict[Part, int] = self.rows[0][1].slots
        bounds = sorted(le for _, le in first if le is not None)
        pattern: AnyFamily
        try:
            if self.type == "histogram":
                # Only a histogram with native buckets may have no other bound.
                make = HistogramFamily if len(bounds) > 1 else NativeHistogramFamily
                pattern = make(self.name, self.help, labelnames, buckets=bounds)
                parts: list[Part] = [(f"{self.name}_bucket", bound) for bound in bounds]
                parts.append((f"{self.name}_sum", None))
                if not pattern.has_sum or bounds[-1] != float("inf"):
                    return None
            else:
                pattern = _PATTERNS[self.type](self.name, self.help, labelnames)
                parts = [(self.name + suffix, None) for suffix, _ in pattern.shape]
        except ValueError:
            return None
        if pattern.name != self.name:
            return None
        wanted = set(parts)
        for labels, (_, child) in zip(self.labels, self.rows, strict=True):
            if child.slots.keys() != wanted or len(labels) != len(labelnames):
                return None
            if labels and tuple([name for name, _ in labels]) != labelnames:
                return None
            child.pick = picker([child.slots[part] for part in parts])
        return pattern


_PATTERNS: dict[str, Any] = {
    "counter": CounterFamily,
    "gauge": GaugeFamily,
    "summary": SummaryFamily,
}


class MergedMetric(FamilyMetric):
    """A family with the numbers of one scrape."""

    has_created = False  # files do not have the times when label sets were created

    def __init__(
        self,
        merged: MergedFamily,
        numbers: Sequence[float],
        names: frozenset[str] | None = None,
        natives: Natives | None = None,
    ) -> None:
        assert merged.pattern is not None
        super().__init__(merged.pattern, names)
        self._merged = merged
        self._numbers = numbers
        self.texts = merged.texts(numbers)
        self.amounts = merged.amounts(numbers)
        self.native = None if natives is None else partial(self._native, natives)

    def _native(
        self, natives: Natives, values: LabelValues, child: MergedChild
    ) -> tuple[Sequence[float], Buckets] | None:
        native = natives.of(values)
        return None if native is None else (self.amounts(child)[0], native)

    def label_sets(self) -> list[tuple[LabelValues, MergedChild]]:
        return self._merged.rows

    @property
    def samples(self) -> list[Sample]:  # type: ignore[override]
        """The samples of all label sets."""
        return list(self._merged.samples(self._numbers, self.names))

    def _restricted_metric(self, names: Iterable[str]) -> MergedMetric | None:
        wanted = self.family.sample_names.intersection(names)
        return MergedMetric(self._merged, self._numbers, wanted) if wanted else None


def _by_bound(part: tuple[Part, int]) -> tuple[bool, float]:
    le = part[0][1]
    return (le is None, le or 0.0)


def restricted(metric: Metric, names: frozenset[str]) -> Metric | None:
    """Return a metric with only the samples of these names; None if it has none.

    If the metric has the name itself, and none of its samples has one, all of it is returned.
    """
    kept: Metric | None = cast(Any, metric)._restricted_metric(names)
    return kept or (metric if metric.name in names else None)


def families(type: str, blocks: Iterable[Block], *, may_lack: bool) -> list[MergedFamily]:
    """Return the families of some blocks, with slots in the order of the blocks."""
    metrics: dict[str, tuple[str, dict[Any, dict[Part, int]]]] = {}
    slot = 0
    for block in blocks:
        first = block.keys[0]
        metric = metrics.get(first.metric)
        if metric is None:
            metric = metrics[first.metric] = (first.help, {})
        slots = metric[1].setdefault(first.labels, {})
        slots.update(zip([key.part for key in block.keys], count(slot), strict=False))
        slot += len(block.keys)
    return [
        MergedFamily(type, name, help, label_sets, may_lack)
        for name, (help, label_sets) in metrics.items()
    ]
