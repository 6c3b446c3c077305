"""What numbers stand for: keys, each parsed once, in blocks of one label set."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence

from prometheus_client.metrics_core import Metric

from ..core.families.limits import OVERFLOW
from ..core.families.numbers import text_of
from .client import key_of, read_key
from .writing import STRIDE

__all__ = ["Block", "Key", "Keys", "Labels", "Part", "Shape"]

Labels = tuple[tuple[str, str], ...]

Part = tuple[str, float | None]
"""Which number of a label set: the sample's name, and the bound of a bucket."""


class Key:
    """What a number stands for. There is one object for each, so identity is equality."""

    __slots__ = ("help", "labels", "le", "metric", "part", "raw", "sample")

    def __init__(
        self, metric: str, sample: str, labels: Labels, le: float | None, help: str, raw: bytes
    ) -> None:
        self.metric = metric
        self.sample = sample
        self.labels = labels
        """Names and values, sorted, without the `le` of a bucket."""
        self.le = le
        self.help = help
        self.raw = raw
        """How it was written first."""
        self.part: Part = (sample, le)
        """Which of its label set's numbers it is."""


class Block:
    """Entries that follow each other and belong to one label set. Most files have the same ones.

    Whether a file has a block somewhere is found out by a single comparison of all its keys.
    """

    __slots__ = ("keys", "raws", "shape")

    def __init__(self, keys: tuple[Key, ...], raws: tuple[bytes, ...], shape: Shape) -> None:
        self.keys = keys
        self.raws = raws
        self.shape = shape


class Shape:
    """Where the keys and numbers of a block are, which depends on the lengths of its keys."""

    __slots__ = ("read_keys", "size", "words")

    def __init__(self, lengths: Iterable[int]) -> None:
        self.size = 0
        words = []
        format = []
        for length in lengths:
            padding = 8 - (length + 4) % 8
            self.size += 4 + length + padding
            words.append(self.size // 8)
            self.size += STRIDE
            format.append(f"4x{length}s{padding + STRIDE}x")
        self.words = tuple(words)
        """Where the numbers are, in doubles from the start of the block."""
        self.read_keys = struct.Struct("=" + "".join(format)).unpack_from


class Keys:
    """The keys that were ever read, each parsed once."""

    def __init__(self) -> None:
        self._read: dict[bytes, Key] = {}
        self._known: dict[tuple[object, ...], Key] = {}
        self._shapes: dict[tuple[int, ...], Shape] = {}
        self.blocks: dict[bytes, Block] = {}
        """By the first key."""
        self.last: dict[str, Block] = {}
        """By the name of the metric."""

    def __len__(self) -> int:
        return len(self._read)

    def find(self, raw: bytes) -> Key:
        """Return a key; raise `ValueError` for what is none."""
        key = self._read.get(raw)
        if key is None:
            metric, sample, labels, help = read_key(raw)
            bound = labels.pop("le") if "le" in labels and sample.endswith("_bucket") else None
            le = None if bound is None else float(bound)
            ordered = tuple(sorted(labels.items()))
            if metric not in self.last:
                Metric(metric, help, "unknown")  # raises for what is no name
            key = self._read[raw] = self._one(metric, sample, ordered, le, help, raw)
        return key

    def block(self, keys: Iterable[Key], raws: Sequence[bytes]) -> Block:
        """Return a block of these keys, which are written like that."""
        block = self.blocks[raws[0]] = Block(tuple(keys), tuple(raws), self._shape(raws))
        self.last[block.keys[0].metric] = block
        return block

    def _shape(self, raws: Iterable[bytes]) -> Shape:
        lengths = tuple(map(len, raws))
        shape = self._shapes.get(lengths)
        if shape is None:
            shape = self._shapes[lengths] = Shape(lengths)
        return shape

    def like(self, other: Block, first: Key) -> tuple[Shape, tuple[bytes, ...]] | None:
        """Return how the block of `first` is written if it is as another one of its metric is.

        None if it cannot be. In a key the labels come before any other text with quotes.
        """
        theirs, ours = _written(other.keys[0].labels), _written(first.labels)
        raws = tuple([raw.replace(theirs, ours, 1) for raw in other.raws])
        if raws[0] != first.raw:
            return None
        return self._shape(raws), raws

    def adopt(self, other: Block, first: Key, raws: tuple[bytes, ...]) -> Block:
        """Return the block of `first` that was found to be written as `like` said."""
        keys = []
        for key, raw in zip(other.keys, raws, strict=True):
            known = self._one(key.metric, key.sample, first.labels, key.le, first.help, raw)
            self._read[raw] = known
            keys.append(known)
        return self.block(keys, raws)

    def of_process(self, key: Key, pid: str) -> Key:
        """Return the key of a number that is shown for each process."""
        labels = tuple(sorted({**dict(key.labels), "pid": pid}.items()))
        return self._one(key.metric, key.sample, labels, key.le, key.help, key.raw)

    def overflow(self, key: Key) -> Key:
        """Return the key of the same number of the label set that stands for too many."""
        labels = tuple([(name, OVERFLOW) for name, _ in key.labels])
        bound = {} if key.le is None else {"le": text_of(key.le)}
        raw = key_of(key.metric, key.sample, {**dict(labels), **bound}, key.help)
        return self._one(key.metric, key.sample, labels, key.le, key.help, raw)

    def _one(
        self, metric: str, sample: str, labels: Labels, le: float | None, help: str, raw: bytes
    ) -> Key:
        identity = (metric, sample, labels, le)
        key = self._known.get(identity)
        if key is None:  # another help text does not make it another number
            key = self._known[identity] = Key(metric, sample, labels, le, help, raw)
        return key


def _written(labels: Labels) -> bytes:
    """Return labels as a key has them, without the braces."""
    return json.dumps(dict(labels)).encode()[1:-1]
