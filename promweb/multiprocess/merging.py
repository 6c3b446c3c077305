"""The numbers of many files as one: a plan is made when keys change, and filled at each scrape.

All files of one kind (see `naming`) have a common order of keys. A plan knows where each file has
the numbers in that order, so that thousands of them are fetched, put in order and summed up by
single calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, count
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from ..core.families import AnyFamily, CounterFamily, GaugeFamily, HistogramFamily, SummaryFamily
from ..core.rendering import FamilyMetric, Format, text_of, texts_of_counts
from .reading import Block, FileReader, Key, Keys, Numbers, Shape, picker

__all__ = ["Plan"]

Part = tuple[str, float | None]
"""Which number of a label set: the sample's name, and the bound of a bucket."""

_COMBINE: dict[str, tuple[Callable[[Any], Any], float]] = {
    "min": (min, float("inf")),
    "max": (max, float("-inf")),
}
"""How numbers of several files become one, and what stands for a missing one; else summed up."""


Column = dict[Block, int]
"""Where a file has which block, in doubles."""


class Plan:
    """How to read the files of one kind that have the keys which they had when this was made."""

    def __init__(self, kind: str, files: Sequence[tuple[FileReader, str]], keys: Keys) -> None:
        self._type, _, mode = kind.partition("_")
        mode = mode.removeprefix("live")
        self._by_time = mode == "mostrecent"
        self._combine, missing = _COMBINE.get(mode, (sum, 0.0))
        sources = []
        for file, owner in files:
            blocks = file.blocks
            if mode == "all":
                blocks = [_of_process(block, owner, keys) for block in blocks]
            sources.append((file, blocks, file.bases))
        if _overlap(chain.from_iterable(blocks for _, blocks, _ in sources)):
            singles: dict[Key, Block] = {}
            sources = [(file, *_split(blocks, bases, singles)) for file, blocks, bases in sources]
        order = dict.fromkeys(chain.from_iterable(blocks for _, blocks, _ in sources))
        columns = [
            (file, column) for file, blocks, bases in sources for column in _columns(blocks, bases)
        ]
        self._rows = [_Row(file, column, order, missing) for file, column in columns]
        self.families = _families(self._type, order, may_lack=self._by_time)

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
        self, file: FileReader, column: Column, order: Collection[Block], missing: float
    ) -> None:
        self._file = file
        self._missing = (missing,)
        self._spread: Callable[[Numbers], Numbers] | None = None
        bases = list(map(column.get, order))
        blocks = [
            (block, base) for block, base in zip(order, bases, strict=True) if base is not None
        ]
        self._positions = [base + word for block, base in blocks for word in block.shape.words]
        self._pick = picker(self._positions)
        if None in bases:
            last = len(self._positions)
            index = iter(range(last))
            self._spread = picker(
                [
                    last if base is None else next(index)
                    for block, base in zip(order, bases, strict=True)
                    for _ in block.keys
                ]
            )

    def read(self, offset: int = 0) -> Numbers:
        """Return the numbers, or what is `offset` doubles behind each."""
        pick = self._pick
        if offset:
            pick = picker([position + offset for position in self._positions])
        numbers = pick(self._file.doubles)
        return numbers if self._spread is None else self._spread(numbers + self._missing)


def _columns(blocks: Sequence[Block], bases: Sequence[int]) -> Iterator[Column]:
    """Yield where a file has its blocks; more than once if one is there more than once."""
    while True:
        column = dict(zip(blocks, bases, strict=True))
        yield column
        if len(column) == len(blocks):
            return
        left = [(b, at) for b, at in zip(blocks, bases, strict=True) if column[b] != at]
        blocks, bases = [block for block, _ in left], [at for _, at in left]


def _overlap(blocks: Iterable[Block]) -> bool:
    """Tell whether a key is in several blocks: files are not alike, or one was only begun."""
    keys = [key for block in dict.fromkeys(blocks) for key in block.keys]
    return len(set(keys)) < len(keys)


def _split(
    blocks: Sequence[Block], bases: Sequence[int], singles: dict[Key, Block]
) -> tuple[list[Block], list[int]]:
    """Return blocks of one key each; `singles` has those that were made before."""
    keys, positions = [], []
    for block, base in zip(blocks, bases, strict=True):
        for key, word in zip(block.keys, block.shape.words, strict=True):
            single = singles.get(key)
            if single is None:
                single = singles[key] = Block((key,), (), _SINGLE)
            keys.append(single)
            positions.append(base + word - _SINGLE.words[0])
    return keys, positions


def _of_process(block: Block, pid: str, keys: Keys) -> Block:
    """Return a block whose keys are those of one process."""
    return Block(tuple([keys.of_process(key, pid) for key in block.keys]), (), block.shape)


_SINGLE = Shape([0])


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
    exemplars = None

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


def _families(type: str, blocks: Iterable[Block], *, may_lack: bool) -> list[MergedFamily]:
    """Return the families that blocks belong to, with slots in the order of the blocks."""
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


def restricted(metric: Metric, names: frozenset[str]) -> Metric | None:
    """Return a metric with the samples of these names only, None if there are none."""
    if isinstance(metric, MergedMetric):
        return metric._restricted_metric(names)
    kept = [sample for sample in metric.samples if sample.name in names]
    result = Metric(metric.name, metric.documentation, metric.type)
    result.samples = kept
    return result if kept else None
