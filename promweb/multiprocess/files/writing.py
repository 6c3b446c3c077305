"""A process's own files: complete before they have a name, locked while the process lives.

Numbers are written through a mapping, as an aligned view of doubles: each is one store, so no
reader sees half of it. A file that is full grows and is mapped again. Children keep their place in
an older mapping, because all mappings of a file show the same bytes.
"""

from __future__ import annotations

import errno
import mmap
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from . import file_names, locks
from .entries import HEADER, STRIDE, entry, header

__all__ = ["OwnFile", "create", "replace_file", "reserve"]

_FIRST_SIZE = 1 << 16


class OwnFile:
    """A file that this process writes. Its methods raise OSError if that fails.

    The lock belongs to a descriptor of its own. A mapping duplicates its descriptor, so a lock on
    that would live on in every forked child that still has a mapping.
    """

    def __init__(self, directory: str, name: str) -> None:
        self.path, self._lock = create(directory, name)
        self._inode = os.fstat(self._lock).st_ino
        self._used = HEADER
        try:
            self._map(_FIRST_SIZE)
        except BaseException:
            locks.close(self._lock)
            raise

    def add(self, keys: Iterable[bytes]) -> tuple[Any, list[int]]:
        """Add numbers, all at once; return a view of doubles and their indexes in it."""
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
            reserve(self._lock, self._size, size)
            self._map(size)
        self._mapping[self._used : end] = b"".join(entries)
        # Last: readers that read up to here must find complete entries.
        self._ints[0] = self._used = end
        return self._doubles, places

    @property
    def is_there(self) -> bool:
        """Whether the file still has its name, or something removed it."""
        try:
            return os.stat(self.path, follow_symlinks=False).st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Release the lock. The mapping stays as long as anything has a view of it."""
        locks.close(self._lock)

    def _map(self, size: int) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._mapping = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self._size = size
        view = memoryview(self._mapping)
        self._ints, self._doubles = view.cast("i"), view.cast("d")


def create(directory: str, name: str) -> tuple[str, int]:
    """Make a file and lock it before it gets its name; return its path and the descriptor."""
    path = os.path.join(directory, name)
    unfinished = path + file_names.UNFINISHED
    descriptor = locks.open_locked(unfinished)
    try:
        reserve(descriptor, 0, _FIRST_SIZE)
        os.pwrite(descriptor, header(HEADER), 0)
        os.rename(unfinished, path)
    except BaseException:
        locks.close(descriptor)
        with suppress(OSError):
            os.unlink(unfinished)
        raise
    return path, descriptor


def replace_file(path: str, content: bytes) -> None:
    """Replace a file by a complete one, atomically. Raises OSError."""
    unfinished = f"{path}.{secrets.token_hex(8)}{file_names.UNFINISHED}"
    # Do not follow a link that another user put there.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(unfinished, flags, 0o644)
    try:
        with open(descriptor, "wb") as output:
            output.write(content)
        os.replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)
        raise


def reserve(descriptor: int, start: int, end: int) -> None:
    """Reserve space on the disk: writing to a mapped page without it kills the process."""
    try:
        os.posix_fallocate(descriptor, start, end - start)
        return
    except AttributeError:
        pass  # macOS
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # not supported here
            raise
    if os.pwrite(descriptor, bytes(end - start), start) < end - start:
        raise OSError(errno.ENOSPC, "no room")
