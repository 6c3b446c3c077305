"""The numbers of many files as one: a plan is made when keys change, and filled at each scrape.

All files of one kind (see `naming`) have a common order of keys. A plan knows where each file has
the numbers in that order, so that thousands of them are fetched, put in order and summed up by
single calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from ..core.families import AnyFamily, CounterFamily, GaugeFamily, HistogramFamily, SummaryFamily
from ..core.rendering import FamilyMetric, Format, text_of, texts_of_counts
from .reading import FileReader, Key, Keys, Numbers, picker

__all__ = ["Plan"]

Part = tuple[str, float | None]
"""Which number of a label set: the sample's name, and the bound of a bucket."""

_COMBINE: dict[str, tuple[Callable[[Any], Any], float]] = {
    "min": (min, float("inf")),
    "max": (max, float("-inf")),
}
"""How numbers of several files become one, and what stands for a missing one; else summed up."""


class Plan:
    """How to read the files of one kind that have the keys which they had when this was made."""

    def __init__(self, kind: str, files: Sequence[tuple[FileReader, str]], keys: Keys) -> None:
        self._type, _, mode = kind.partition("_")
        mode = mode.removeprefix("live")
        self._by_time = mode == "mostrecent"
        self._combine, missing = _COMBINE.get(mode, (sum, 0.0))
        columns = []
        for file, owner in files:
            own = file.keys
            if mode == "all":
                own = [keys.of_process(key, owner) for key in own]
            columns += [(file, column) for column in _columns(own, file.positions)]
        order = dict.fromkeys(chain.from_iterable(column for _, column in columns))
        self._keys = list(order)
        self._rows = [_Row(file, column, order, missing) for file, column in columns]
        self.families = _families(self._type, self._keys, may_lack=self._by_time)

    def numbers(self) -> list[Any]:
        """Return the numbers of all keys, as they are now; None is for no number."""
        if self._by_time:
            return _most_recent(
                [row.read() for row in self._rows], [row.read(1) for row in self._rows]
            )
        if len(self._rows) == 1:
            return list(self._rows[0].read())
        return list(map(self._combine, zip(*[row.read() for row in self._rows], strict=True)))


class _Row:
    """One file's numbers in the common order."""

    def __init__(
        self, file: FileReader, column: dict[Key, int], order: Collection[Key], missing: float
    ) -> None:
        self._file = file
        self._missing: tuple[float, ...] = ()
        found = list(map(column.get, order))
        self._positions = [position for position in found if position is not None]
        self._spread: Callable[[Numbers], Numbers] | None = None
        if len(self._positions) < len(order):
            last = len(self._positions)
            index = iter(range(last))
            self._missing = (missing,)
            self._spread = picker([next(index) if key in column else last for key in order])
        self._pick = picker(self._positions)

    def read(self, offset: int = 0) -> Numbers:
        """Return the numbers, or what is `offset` doubles behind each."""
        pick = self._pick
        if offset:
            pick = picker([position + offset for position in self._positions])
        numbers = pick(self._file.doubles)
        return numbers if self._spread is None else self._spread(numbers + self._missing)


def _columns(keys: Sequence[Key], positions: Sequence[int]) -> Iterator[dict[Key, int]]:
    """Yield where a file has its keys; more than once if a key is there more than once."""
    while True:
        column = dict(zip(keys, positions, strict=True))
        yield column
        if len(column) == len(keys):
            return
        left = [(k, p) for k, p in zip(keys, positions, strict=True) if column[k] != p]
        keys, positions = [key for key, _ in left], [position for _, position in left]


def _most_recent(rows: Iterable[Numbers], times: Iterable[Numbers]) -> list[float | None]:
    """Return the numbers that were set last, None for one that never was."""
    result: list[float | None] = []
    for numbers, set_at in zip(zip(*rows, strict=True), zip(*times, strict=True), strict=True):
        latest = max(set_at)
        result.append(numbers[set_at.index(latest)] if latest > 0 else None)
    return result


class MergedChild:
    """One label set: where its numbers are in the common order."""

    __slots__ = ("pick", "slots", "written")

    created = 0.0

    def __init__(self, slots: dict[Part, int]) -> None:
        self.slots = slots
        self.pick: Any = None
        self.written: tuple[str, str, str, str] | None = None


class MergedFamily:
    """The label sets of one metric name.

    `pattern` is a family of the core that writes such label sets fast; None where they are not
    alike, which promweb's own always are, or `may_lack` numbers.
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
        self.pattern = None if may_lack else self._find_pattern()

    def metric(self, numbers: Sequence[Any]) -> Metric:
        """Return the family with these numbers."""
        if self.pattern is not None:
            return MergedMetric(self, numbers)
        metric = Metric(self.name, self.help, self.type)
        metric.samples = list(self.samples(numbers, None))
        return metric

    def samples(self, numbers: Sequence[Any], names: frozenset[str] | None) -> Iterator[Sample]:
        """Yield samples, those of a histogram cumulated."""
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
        """Return what makes the texts of a label set, in the order of the pattern's shape."""
        if self.type != "histogram":
            return lambda child: tuple([text_of(number) for number in child.pick(numbers)])

        def texts(child: MergedChild) -> tuple[str, ...]:
            *buckets, total = child.pick(numbers)
            counts = texts_of_counts(buckets)
            return (*counts, counts[-1], text_of(total))

        return texts

    def _find_pattern(self) -> AnyFamily | None:
        labelnames = tuple([name for name, _ in self.labels[0]])
        first: dict[Part, int] = self.rows[0][1].slots
        bounds = sorted(le for _, le in first if le is not None)
        pattern: AnyFamily
        try:
            if self.type == "histogram":
                pattern = HistogramFamily(self.name, self.help, labelnames, buckets=bounds)
                parts: list[Part] = [(f"{self.name}_bucket", bound) for bound in bounds]
                parts.append((f"{self.name}_sum", None))
                if not pattern.has_sum or bounds[-1] != float("inf"):
                    return None
            else:
                pattern = _PATTERNS[self.type](self.name, self.help, labelnames)
                parts = [(self.name + suffix, None) for suffix, _ in pattern.shape]
        except (KeyError, ValueError):
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

    def __init__(
        self, merged: MergedFamily, numbers: Sequence[float], names: frozenset[str] | None = None
    ) -> None:
        assert merged.pattern is not None
        super().__init__(merged.pattern, names)
        self._merged = merged
        self._numbers = numbers

    @property
    def samples(self) -> list[Sample]:  # type: ignore[override]
        """The samples of all label sets."""
        return list(self._merged.samples(self._numbers, self.names))

    def write(self, format: Format, with_created: bool) -> Iterator[str] | None:
        """Return the text in pieces; nobody knows when it was created."""
        layout = self.family.layout(format, False, self.names)
        if layout is None:
            return None
        return layout.write(self._merged.rows, self._merged.texts(self._numbers))

    def _restricted_metric(self, names: Iterable[str]) -> MergedMetric | None:
        wanted = self.family.sample_names.intersection(names)
        return MergedMetric(self._merged, self._numbers, wanted) if wanted else None


def _by_bound(part: tuple[Part, int]) -> tuple[bool, float]:
    le = part[0][1]
    return (le is None, le or 0.0)


def _families(type: str, keys: Iterable[Key], *, may_lack: bool) -> list[MergedFamily]:
    """Return the families that keys belong to, with slots in the order of the keys."""
    metrics: dict[str, tuple[str, dict[Any, dict[Part, int]]]] = {}
    for slot, key in enumerate(keys):
        metric = metrics.get(key.metric)
        if metric is None:
            metric = metrics[key.metric] = (key.help, {})
        label_sets = metric[1]
        slots = label_sets.get(key.labels)
        if slots is None:
            slots = label_sets[key.labels] = {}
        slots[key.part] = slot
    return [
        MergedFamily(type, name, help, label_sets, may_lack)
        for name, (help, label_sets) in metrics.items()
    ]


def restricted(metric: Metric, names: frozenset[str]) -> Metric | None:
    """Return a metric with the samples of these names only, None if there are none."""
    if isinstance(metric, MergedMetric):
        return metric._restricted_metric(names)
    kept = [sample for sample in metric.samples if sample.name in names]
    result = Metric(metric.name, metric.documentation, metric.type)
    result.samples = kept
    return result if kept else None
