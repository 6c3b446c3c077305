"""Reads one file of numbers: its keys once, its numbers at every scrape.

The file is mapped, and each number is one aligned load. The reader takes no lock: the writer makes
an entry visible when it is complete.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from .entries import HEADER, STRIDE
from .keys import Block, Key, Keys

__all__ = ["Corrupt", "FileReader", "Numbers", "picker"]

Numbers = tuple[float, ...]

# A pipe would block, and a link may lead out of the directory.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


class Corrupt(Exception):
    """A file cannot be read; the first argument is the reason, one word."""


class FileReader:
    """One file. Raises FileNotFoundError if it is gone, and Corrupt if it cannot be read."""

    def __init__(self, path: str, keys: Keys) -> None:
        self.path = path
        self._known = keys
        self.blocks: list[Block] = []
        self.bases: list[int] = []
        """Where each block starts, in doubles."""
        self.count = 0
        """How many numbers there are."""
        self.used = HEADER
        """How many bytes were read, the header included."""
        self._map()

    def update(self, size: int) -> None:
        """Read the new keys; `size` is the current size of the file."""
        if size < len(self._mapping):
            # Reading a page that was cut off would kill the process.
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
            if used == 0:  # its writer is just starting
                return
            raise Corrupt("garbage")
        try:
            self._read_blocks(used)
        except (ValueError, RecursionError):
            raise Corrupt("garbage") from None

    def entries(self) -> Iterator[tuple[Key, int]]:
        """Yield each key and the position of its number, in doubles."""
        for block, base in zip(self.blocks, self.bases, strict=True):
            yield from zip(block.keys, [base + word for word in block.shape.words], strict=True)

    def tail(self) -> bytes:
        """Return the bytes after the entries."""
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
        """Return the block of a new label set if it is written like the last one of its metric."""
        first = self._known.find(raw)
        other = self._known.last.get(first.metric)
        guess = None if other is None else self._known.guess(other, first)
        if other is None or guess is None:
            return None
        shape, raws = guess
        if position + shape.size > used or shape.read_keys(self._mapping, position) != raws:
            return None
        return self._known.confirm(other, first, raws)

    def _read_block(self, position: int, used: int) -> Block:
        """Return the block of all entries from a position on that have the same label set."""
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
            descriptor = os.open(self.path, _FLAGS)
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
    """Return a function that fetches the items at these positions, in this order."""
    if len(positions) > 1:
        return itemgetter(*positions)
    return lambda items: tuple([items[position] for position in positions])
