"""Locks on files: a process that holds one is alive.

The system releases a lock when the last copy of its descriptor is closed, also when the process
was killed. A forked child has copies of its parent's descriptors and closes them at once. Testing a
lock takes it shared, so that several testers do not mistake each other for the owner.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ...core import forking

__all__ = [
    "close",
    "exclusive",
    "is_locked",
    "is_shared",
    "is_unsupported",
    "lock_existing",
    "open_locked",
    "share",
]

# Do not follow a link that another user put into the directory.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_PAUSE = 0.005

_held: set[int] = set()
_lock = threading.RLock()
"""Held while a descriptor is opened or closed, and during a fork, so that they cannot overlap."""


def open_locked(path: str) -> int:
    """Make a file and lock it until this process ends; return a descriptor. Raises OSError."""
    with _lock:
        descriptor = os.open(path, _FLAGS | os.O_EXCL, 0o644)
        _held.add(descriptor)
    return _keep(descriptor, fcntl.LOCK_EX)


def lock_existing(path: str) -> int:
    """Lock a file until this process ends; return a descriptor. Raises OSError."""
    with _lock:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        _held.add(descriptor)
    return _keep(descriptor, fcntl.LOCK_EX)


def share(path: str) -> int | None:
    """Lock a directory, shared, until this process ends; return a descriptor.

    Returns None if that is not possible.
    """
    with _lock:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None
        _held.add(descriptor)
    with suppress(OSError):
        return _keep(descriptor, fcntl.LOCK_SH)
    return None


def is_shared(path: str) -> bool:
    """Tell whether a living process has a shared lock on a directory. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return not _take(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def close(descriptor: int) -> None:
    """Release a lock."""
    with _lock:
        _held.discard(descriptor)
        os.close(descriptor)


@contextmanager
def exclusive(path: str, wait: float = 0.0) -> Iterator[bool]:
    """Take a lock; yield False if another process or thread keeps it for `wait` seconds.

    Yields False at once if the file system has no locks. Raises OSError.
    """
    with _lock:
        descriptor = os.open(path, _FLAGS, 0o644)
        _held.add(descriptor)
    try:
        yield _wait_for(descriptor, wait)
    finally:
        close(descriptor)


def is_locked(path: str) -> bool:
    """Tell whether a living process holds the lock of a file. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return not _take(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def is_unsupported(error: OSError) -> bool:
    """Tell whether an error means that the file system has no locks."""
    return error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def _keep(descriptor: int, operation: int) -> int:
    """Wait for a lock and keep it; go on without it if the file system has no locks."""
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if not is_unsupported(error):
            close(descriptor)
            raise
    return descriptor


def _wait_for(descriptor: int, seconds: float) -> bool:
    """Take a lock exclusively; return False if that takes longer, or if there are no locks."""
    end = time.monotonic() + seconds
    try:
        while not _take(descriptor, fcntl.LOCK_EX):
            if time.monotonic() >= end:
                return False
            time.sleep(_PAUSE)
    except OSError as error:
        if is_unsupported(error):
            return False
        raise
    return True


def _take(descriptor: int, operation: int) -> bool:
    """Try to take a lock, exclusive (`LOCK_EX`) or shared (`LOCK_SH`). Raises OSError."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _close_all() -> None:
    global _lock
    _lock = threading.RLock()
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


os.register_at_fork(before=lambda: _lock.acquire(), after_in_parent=lambda: _lock.release())
forking.in_child(_close_all)
