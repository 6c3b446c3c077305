"""A process's own files: made whole, locked as long as it lives, written through a mapping.

A number is written through an aligned view of doubles, in one store, so that nobody can see half
of it. A file that is full grows and is mapped anew; who has a place in an older mapping keeps it,
because all mappings of a file show the same.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from . import locks, naming
from .client import HAS_TIMESTAMPS

__all__ = ["HEADER", "STRIDE", "OwnFile", "entry"]

HEADER = 8
"""Bytes before the first entry: how many are used, and padding."""

STRIDE = 16 if HAS_TIMESTAMPS else 8
"""Bytes of a number, with its timestamp if it has one."""

_FIRST_SIZE = 1 << 16


def entry(key: bytes, value: float = 0.0, timestamp: float = 0.0) -> bytes:
    """Return a number as it is stored: length of the key, key, padding to 8 bytes, number."""
    padded = key + b" " * (8 - (len(key) + 4) % 8)
    numbers = (value, timestamp)[: STRIDE // 8]
    return struct.pack(f"=i{len(padded)}s{len(numbers)}d", len(key), padded, *numbers)


class OwnFile:
    """A file that this process writes. Raises `OSError` where it cannot.

    Who holds the lock of a file is alive. The lock belongs to a descriptor of its own: a mapping
    duplicates its descriptor, and the lock would then live on in every forked child that has a
    mapping left somewhere.
    """

    def __init__(self, directory: str, kind: str) -> None:
        self.path, self._lock = _create(directory, naming.new_name(kind, os.getpid()))
        self._used = HEADER
        try:
            self._map(_FIRST_SIZE)
        except BaseException:
            locks.close(self._lock)
            raise

    def add(self, keys: Iterable[bytes]) -> tuple[Any, list[int]]:
        """Add numbers, all at once; return a view of doubles and where they are in there."""
        end = self._used
        places = []
        entries = []
        for key in keys:
            entries.append(entry(key))
            end += len(entries[-1])
            places.append((end - STRIDE) // 8)
        size = self._size
        while end > size:
            size *= 2
        if size != self._size:
            _reserve(self._lock, self._size, size)
            self._map(size)
        self._mapping[self._used : end] = b"".join(entries)
        # Only now: who reads up to here must find whole entries.
        self._ints[0] = self._used = end
        return self._doubles, places

    def _map(self, size: int) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._mapping = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self._size = size
        view = memoryview(self._mapping)
        self._ints, self._doubles = view.cast("i"), view.cast("d")


def _create(directory: str, name: str) -> tuple[str, int]:
    """Make a file that is locked before it has its name; return its path and the descriptor."""
    path = os.path.join(directory, name)
    unfinished = path + naming.UNFINISHED
    descriptor = locks.open_locked(unfinished)
    try:
        _reserve(descriptor, 0, _FIRST_SIZE)
        os.pwrite(descriptor, struct.pack("=ii", HEADER, 0), 0)
        os.rename(unfinished, path)
    except BaseException:
        locks.close(descriptor)
        with suppress(OSError):
            os.unlink(unfinished)
        raise
    return path, descriptor


def _reserve(descriptor: int, start: int, end: int) -> None:
    """Have the disk keep room: writing to a mapping that has none kills the process."""
    try:
        os.posix_fallocate(descriptor, start, end - start)
        return
    except AttributeError:
        pass  # macOS
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # the file system's to say
            raise
    if os.pwrite(descriptor, bytes(end - start), start) < end - start:
        raise OSError(errno.ENOSPC, "no room")
