"""Reading one file of numbers: its keys once, its numbers again and again.

A file is mapped, and each number is fetched in one aligned load. Nothing is locked: the writer
makes an entry visible when it is whole.
"""

from __future__ import annotations

import json
import mmap
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from ..core.families import OVERFLOW
from ..core.rendering import text_of
from .client import key_of, read_key
from .writing import HEADER, STRIDE

__all__ = ["Block", "Corrupt", "FileReader", "Key", "Keys", "Labels", "Numbers", "Shape", "picker"]

Labels = tuple[tuple[str, str], ...]
Numbers = tuple[float, ...]


class Corrupt(Exception):
    """A file cannot be read; the first argument says why, in a word."""


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
        self.part = (sample, le)
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


class FileReader:
    """One file. Raises `FileNotFoundError` if it is gone and `Corrupt` if it cannot be read."""

    def __init__(self, path: str, keys: Keys) -> None:
        self.path = path
        self._known = keys
        self.blocks: list[Block] = []
        self.bases: list[int] = []
        """Where each block starts, in doubles."""
        self.count = 0
        """How many numbers there are."""
        self.used = HEADER
        """How many bytes the entries that were read take."""
        self._map()

    def update(self, size: int) -> None:
        """Read the keys that are new; `size` is the file's."""
        if size < len(self._mapping):
            # Looking at what was cut off would kill the process.
            raise Corrupt("truncated")
        used = self._ints[0]
        if used == self.used:
            return
        if used > len(self._mapping):
            inode = self.inode
            self._map()
            if inode != self.inode:
                raise FileNotFoundError(self.path)
        if used > len(self._mapping):
            raise Corrupt("truncated")
        if used < self.used:
            if used == 0:  # it is just being made
                return
            raise Corrupt("garbage")
        try:
            self._read_blocks(used)
        except (ValueError, RecursionError):
            raise Corrupt("garbage") from None

    def entries(self) -> Iterator[tuple[Key, int]]:
        """Yield each key and where its number is, in doubles."""
        for block, base in zip(self.blocks, self.bases, strict=True):
            yield from zip(block.keys, [base + word for word in block.shape.words], strict=True)

    def tail(self) -> bytes:
        """Return what follows the entries."""
        return self._mapping[self.used :]

    def _read_blocks(self, used: int) -> None:
        find, mapping, position = self._known.blocks.get, self._mapping, self.used
        while position < used:
            raw, _ = self._read_key(position, used)
            block = find(raw)
            if (
                block is None
                or position + block.shape.size > used
                or block.shape.read_keys(mapping, position) != block.raws
            ):
                block = self._guess(raw, position, used) or self._read_block(position, used)
            self.blocks.append(block)
            self.bases.append(position >> 3)
            self.count += len(block.keys)
            position += block.shape.size
            self.used = position

    def _guess(self, raw: bytes, position: int, used: int) -> Block | None:
        """Return the block of a new label set if it is like the last one of its metric."""
        first = self._known.find(raw)
        other = self._known.last.get(first.metric)
        guess = None if other is None else self._known.like(other, first)
        if other is None or guess is None:
            return None
        shape, raws = guess
        if position + shape.size > used or shape.read_keys(self._mapping, position) != raws:
            return None
        return self._known.adopt(other, first, raws)

    def _read_block(self, position: int, used: int) -> Block:
        """Return the entries from a position on that belong to one label set."""
        keys: list[Key] = []
        raws: list[bytes] = []
        while position < used:
            raw, position = self._read_key(position, used)
            key = self._known.find(raw)
            if keys and (key.labels != keys[0].labels or key.metric != keys[0].metric):
                break
            keys.append(key)
            raws.append(raw)
        return self._known.block(keys, raws)

    def _read_key(self, position: int, used: int) -> tuple[bytes, int]:
        """Return the key at a position, and the position of the next entry."""
        length = self._ints[position >> 2]
        end = position + 4 + length
        following = end + 8 - (length + 4) % 8 + STRIDE
        if length <= 0 or following > used:
            raise ValueError("an entry ends beyond what is used")
        return self._mapping[position + 4 : end], following

    def _map(self) -> None:
        try:
            # Something else than a file might block.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError:
            raise Corrupt("unreadable") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Corrupt("foreign")
            size = status.st_size // 8 * 8
            if size == 0:
                raise Corrupt("empty")
            self._mapping = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            raise Corrupt("unreadable") from None
        finally:
            os.close(descriptor)
        self.inode = status.st_ino
        view = memoryview(self._mapping)
        self._ints, self.doubles = view.cast("i"), view.cast("d")


def picker(positions: Sequence[int]) -> Callable[[Any], Numbers]:
    """Return a function that fetches the items at some positions, in their order."""
    if len(positions) > 1:
        return itemgetter(*positions)
    return lambda items: tuple([items[position] for position in positions])
