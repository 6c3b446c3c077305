"""Reads one file of numbers: its keys once, its numbers at every scrape.

The file is read with `pread`, never through a mapping: other processes may truncate it or leave
holes, and touching such a page of a mapping kills the process. The reader takes no lock: the writer
makes an entry visible when it is complete, and writes each number with one aligned store.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from .entries import HEADER, STRIDE
from .keys import Block, Key, Keys

__all__ = ["Corrupt", "FileReader", "Numbers", "picker"]

Numbers = tuple[float, ...]

# A pipe would block, and a link may lead out of the directory.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW

_FIRST_PART = 1 << 20
"""How many bytes of an unknown file are read first: it may claim 2 GB, and have none."""

_LONGEST_LABEL_SET = 1 << 24
"""The most bytes that the entries of one label set may have."""

_LONGEST_TAIL = 1 << 24

_unpack_length = struct.Struct("=i").unpack_from


class Corrupt(Exception):
    """A file cannot be read; the first argument is the reason, one word."""


class _Incomplete(ValueError):
    """An entry ends beyond the bytes that were read."""


class FileReader:
    """One file. Raises FileNotFoundError if it is gone, and Corrupt if it cannot be read."""

    def __init__(self, path: str, keys: Keys) -> None:
        self.path = path
        self.inode: int | None = None
        """The inode at the first read; a file that replaces this one is another."""
        self._known = keys
        self.blocks: list[Block] = []
        self.bases: list[int] = []
        """Where each block starts, in doubles."""
        self.count = 0
        """How many numbers there are."""
        self.used = HEADER
        """How many bytes were read, the header included."""
        self._data = b""

    def update(self) -> None:
        """Read the new keys, and the numbers of all keys as they are now."""
        with self._open() as (descriptor, size):
            header = os.pread(descriptor, HEADER, 0)
            if len(header) < HEADER:
                raise Corrupt("empty" if size == 0 else "truncated")
            (used,) = _unpack_length(header)
            if used > size:
                raise Corrupt("truncated")
            if used == 0 and not self.blocks:  # its writer has just started
                return
            if used < self.used or used % 8:
                raise Corrupt("garbage")
            if used == self.used:
                self._data = _read(descriptor, used)
                return
            try:
                self._read_keys(descriptor, used)
            except (ValueError, RecursionError):
                raise Corrupt("garbage") from None

    @property
    def doubles(self) -> memoryview[float]:
        """The bytes of the last `update`, as doubles: numbers, and parts of keys between them."""
        return memoryview(self._data).cast("d")

    def release(self) -> None:
        """Drop the numbers; the next `update` reads them again."""
        self._data = b""

    def entries(self) -> Iterator[tuple[Key, int]]:
        """Yield each key and the position of its number, in doubles."""
        for block, base in zip(self.blocks, self.bases, strict=True):
            yield from zip(block.keys, [base + word for word in block.shape.words], strict=True)

    def tail(self) -> bytes:
        """Return the bytes after the entries."""
        with self._open() as (descriptor, _):
            return os.pread(descriptor, _LONGEST_TAIL, self.used)

    def _read_keys(self, descriptor: int, used: int) -> None:
        """Read up to `used`, in growing parts, so that nonsense is noticed early."""
        end = self.used
        while self.used < used:
            end = min(used, max(4 * end, _FIRST_PART))
            before = self.used
            self._data = _read(descriptor, end)
            self._read_blocks(end, is_last=end == used)
            if self.used == before and end - before > _LONGEST_LABEL_SET:
                raise ValueError("a label set is too long")

    def _read_blocks(self, end: int, is_last: bool) -> None:
        find, data, read_key = self._known.blocks.get, self._data, self._read_key
        while self.used < end:
            position = self.used
            try:
                raw, _ = read_key(position, end)
                block = find(raw)
                if (
                    block is None
                    or position + block.shape.size > end
                    or block.shape.read_keys(data, position) != block.raws
                ):
                    block = self._guess(raw, position, end)
                    block = block or self._read_block(position, end, is_last)
            except _Incomplete:
                if is_last:
                    raise
                return
            self.blocks.append(block)
            self.bases.append(position >> 3)
            self.count += len(block.keys)
            self.used = position + block.shape.size

    def _guess(self, raw: bytes, position: int, end: int) -> Block | None:
        """Return the block of a new label set, if it is written like the last of its metric."""
        first = self._known.find(raw)
        other = self._known.last.get(first.metric)
        guess = None if other is None else self._known.guess(other, first)
        if other is None or guess is None:
            return None
        shape, raws = guess
        if position + shape.size > end or shape.read_keys(self._data, position) != raws:
            return None
        return self._known.confirm(other, first, raws)

    def _read_block(self, position: int, end: int, is_last: bool) -> Block:
        """Return the block of all entries after a position that have the same label set."""
        keys: list[Key] = []
        raws: list[bytes] = []
        while position < end:
            raw, position = self._read_key(position, end)
            key = self._known.find(raw)
            if keys and (key.labels != keys[0].labels or key.metric != keys[0].metric):
                break
            keys.append(key)
            raws.append(raw)
        else:
            if not is_last:  # the label set may go on in the next part
                raise _Incomplete
        return self._known.block(keys, raws)

    def _read_key(self, position: int, end: int) -> tuple[bytes, int]:
        """Return the key at a position, and the position of the next entry."""
        if position + 4 > end:
            raise _Incomplete
        (length,) = _unpack_length(self._data, position)
        if length <= 0:
            raise ValueError("a key has no length")
        following = position + 4 + length + 8 - (length + 4) % 8 + STRIDE
        if following > end:
            raise _Incomplete
        return self._data[position + 4 : position + 4 + length], following

    @contextmanager
    def _open(self) -> Iterator[tuple[int, int]]:
        """Open the file; yield the descriptor and the file's size."""
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
            if self.inode is None:
                self.inode = status.st_ino
            if self.inode != status.st_ino:
                raise FileNotFoundError(self.path)
            try:
                yield descriptor, status.st_size
            except OSError:
                raise Corrupt("unreadable") from None
        finally:
            os.close(descriptor)


def _read(descriptor: int, size: int) -> bytes:
    data = os.pread(descriptor, size, 0)
    if len(data) < size:
        raise Corrupt("truncated")
    return data


def picker(positions: Sequence[int]) -> Callable[[Any], Numbers]:
    """Return a function that fetches the items at these positions, in this order."""
    if len(positions) > 1:
        return itemgetter(*positions)
    return lambda items: tuple([items[position] for position in positions])
