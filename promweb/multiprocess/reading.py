"""Reading one file of numbers: its keys once, its numbers again and again.

A file is mapped, and each number is fetched in one aligned load. Nothing is locked: the writer
makes an entry visible when it is whole.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from ..core.families import OVERFLOW
from ..core.rendering import text_of
from .client import key_of, read_key
from .writing import HEADER, STRIDE

__all__ = ["Corrupt", "FileReader", "Key", "Keys", "Labels", "Numbers", "picker"]

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


class Keys:
    """The keys that were ever read, each parsed once."""

    def __init__(self) -> None:
        self._read: dict[bytes, Key] = {}
        self._known: dict[tuple[object, ...], Key] = {}
        self.find = self._read.get

    def __len__(self) -> int:
        return len(self._read)

    def parse(self, raw: bytes) -> Key:
        """Return the key; raise `ValueError` for what is none."""
        metric, sample, labels, help = read_key(raw)
        bound = labels.pop("le") if "le" in labels and sample.endswith("_bucket") else None
        le = None if bound is None else float(bound)
        ordered = tuple(sorted(labels.items()))
        key = self._read[raw] = self._one(metric, sample, ordered, le, help, raw)
        return key

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


class FileReader:
    """One file. Raises `FileNotFoundError` if it is gone and `Corrupt` if it cannot be read."""

    def __init__(self, path: str, keys: Keys) -> None:
        self.path = path
        self._known = keys
        self.keys: list[Key] = []
        self.positions: list[int] = []
        """Where the number of each key is, among the doubles."""
        self._parsed = HEADER
        self._map()

    @property
    def used(self) -> int:
        """How many bytes the entries that were read take."""
        return self._parsed

    def update(self, size: int) -> None:
        """Read the keys that are new; `size` is the file's."""
        if size < len(self._mapping):
            # Looking at what was cut off would kill the process.
            raise Corrupt("truncated")
        used = self._ints[0]
        if used == self._parsed:
            return
        if used > len(self._mapping):
            inode = self.inode
            self._map()
            if inode != self.inode:
                raise FileNotFoundError(self.path)
        if used > len(self._mapping):
            raise Corrupt("truncated")
        if used < self._parsed:
            if used == 0:  # it is just being made
                return
            raise Corrupt("garbage")
        try:
            self._parse(used)
        except (ValueError, IndexError, RecursionError):
            raise Corrupt("garbage") from None

    def tail(self) -> bytes:
        """Return what follows the entries."""
        return self._mapping[self._parsed :]

    def _parse(self, used: int) -> None:
        ints, mapping, pos = self._ints, self._mapping, self._parsed
        find, parse = self._known.find, self._known.parse
        add_key, add_position = self.keys.append, self.positions.append
        last = used - STRIDE
        while pos < used:
            length = ints[pos >> 2]
            end = pos + 4 + length
            start = end + 8 - (length + 4) % 8
            if length <= 0 or start > last:
                raise ValueError("an entry ends beyond what is used")
            raw = mapping[pos + 4 : end]
            add_key(find(raw) or parse(raw))
            add_position(start >> 3)
            pos = start + STRIDE
            self._parsed = pos

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
