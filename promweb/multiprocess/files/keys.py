"""Keys identify numbers. Each is parsed once; the keys of one label set form a block."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence

from prometheus_client.metrics_core import Metric

from ...core.families.limits import OVERFLOW
from ...core.families.numbers import text_of
from .client_library import key_of, read_key
from .entries import STRIDE

__all__ = ["Block", "Key", "Keys", "Labels", "Part", "Shape"]

Labels = tuple[tuple[str, str], ...]

Part = tuple[str, float | None]
"""Identifies a number within its label set: the sample's name, and the bound of a bucket."""


class Key:
    """Identifies a number: metric, sample, labels. Each exists once, so `is` is `==`."""

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
        """Its bytes, as first read."""
        self.part: Part = (sample, le)
        """Which number of its label set it is."""


class Block:
    """Adjacent entries of one label set. Most files of a service have the same blocks.

    Comparing all its keys at once tells whether a file has a known block at some position.
    """

    __slots__ = ("keys", "raws", "shape")

    def __init__(self, keys: tuple[Key, ...], raws: tuple[bytes, ...], shape: Shape) -> None:
        self.keys = keys
        self.raws = raws
        self.shape = shape


class Shape:
    """The positions of keys and numbers in a block, computed from the lengths of the keys."""

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
        """Positions of the numbers, in doubles from the start of the block."""
        self.read_keys = struct.Struct("=" + "".join(format)).unpack_from


class Keys:
    """All keys that were read so far, each parsed once."""

    def __init__(self) -> None:
        self._read: dict[bytes, Key] = {}
        self._known: dict[tuple[object, ...], Key] = {}
        self._shapes: dict[tuple[int, ...], Shape] = {}
        self.blocks: dict[bytes, Block] = {}
        """Blocks by their first key."""
        self.last: dict[str, Block] = {}
        """Keys by the name of the metric."""

    def __len__(self) -> int:
        return len(self._read)

    def find(self, raw: bytes) -> Key:
        """Return the key with these bytes. Raises ValueError if they are not a key."""
        key = self._read.get(raw)
        if key is None:
            metric, sample, labels, help = read_key(raw)
            bound = labels.pop("le") if "le" in labels and sample.endswith("_bucket") else None
            le = None if bound is None else float(bound)
            ordered = tuple(sorted(labels.items()))
            if metric not in self.last:
                Metric(metric, help, "unknown")  # raises if this is not a name
            key = self._read[raw] = self._one(metric, sample, ordered, le, help, raw)
        return key

    def block(self, keys: Iterable[Key], raws: Sequence[bytes]) -> Block:
        """Make the block of these keys; `raws` has their bytes."""
        block = self.blocks[raws[0]] = Block(tuple(keys), tuple(raws), self._shape(raws))
        self.last[block.keys[0].metric] = block
        return block

    def _shape(self, raws: Iterable[bytes]) -> Shape:
        lengths = tuple(map(len, raws))
        shape = self._shapes.get(lengths)
        if shape is None:
            shape = self._shapes[lengths] = Shape(lengths)
        return shape

    def guess(self, other: Block, first: Key) -> tuple[Shape, tuple[bytes, ...]] | None:
        """Guess the bytes of the block that `first` begins: those of `other` with its labels.

        Returns None if the first key does not fit. In a key the labels come before any other text
        in quotes.
        """
        theirs, ours = _json_labels(other.keys[0].labels), _json_labels(first.labels)
        raws = tuple([raw.replace(theirs, ours, 1) for raw in other.raws])
        if raws[0] != first.raw:
            return None
        return self._shape(raws), raws

    def confirm(self, other: Block, first: Key, raws: tuple[bytes, ...]) -> Block:
        """Make the block of `first`, once a file has the bytes that `guess` returned."""
        keys = []
        for key, raw in zip(other.keys, raws, strict=True):
            known = self._one(key.metric, key.sample, first.labels, key.le, first.help, raw)
            self._read[raw] = known
            keys.append(known)
        return self.block(keys, raws)

    def of_process(self, key: Key, pid: str) -> Key:
        """Return the key with the label `pid`, for a number that each process shows itself."""
        labels = tuple(sorted({**dict(key.labels), "pid": pid}.items()))
        return self._one(key.metric, key.sample, labels, key.le, key.help, key.raw)

    def overflow(self, key: Key) -> Key:
        """Return the key of the same number in the overflow label set."""
        labels = tuple([(name, OVERFLOW) for name, _ in key.labels])
        bound = {} if key.le is None else {"le": text_of(key.le)}
        raw = key_of(key.metric, key.sample, {**dict(labels), **bound}, key.help)
        return self._one(key.metric, key.sample, labels, key.le, key.help, raw)

    def beside(self, key: Key, suffix: str) -> Key:
        """Return the key of another number of the same label set."""
        sample = key.metric + suffix
        raw = key_of(key.metric, sample, dict(key.labels), key.help)
        return self._one(key.metric, sample, key.labels, None, key.help, raw)

    def _one(
        self, metric: str, sample: str, labels: Labels, le: float | None, help: str, raw: bytes
    ) -> Key:
        identity = (metric, sample, labels, le)
        key = self._known.get(identity)
        if key is None:  # a number with another help text is the same number
            key = self._known[identity] = Key(metric, sample, labels, le, help, raw)
        return key


def _json_labels(labels: Labels) -> bytes:
    """Return labels in the notation of keys, without the braces."""
    return json.dumps(dict(labels)).encode()[1:-1]
