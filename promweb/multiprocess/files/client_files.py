"""prometheus_client's own files, made like promweb's: unique names, locked, space reserved.

prometheus_client does not reserve space, and a write to such a page kills the process if the disk
is full. It names files by the pid alone, so a process continues the file of an earlier one with the
same pid. So its metrics get files of this class once promweb knows the directory.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

from prometheus_client import REGISTRY, values
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.mmap_dict import MmapedDict

from ...core.families.problems import logger
from ...core.families.storage import shared_directory
from . import file_names, locks
from .client_library import HAS_TIMESTAMPS
from .entries import entry
from .listing import listing
from .writing import create, reserve

__all__ = ["ClientFile", "is_shared", "remake_missing", "share_new_metrics", "use_own_files"]

_ZERO: Any = (0.0, 0.0) if HAS_TIMESTAMPS else 0.0

_run = file_names.NO_RUN

_failed: set[str] = set()
"""Directories for which a failed write was logged."""

_files: weakref.WeakSet[ClientFile] = weakref.WeakSet()


class ClientFile(MmapedDict):
    """A file of prometheus_client; numbers that find no space on the disk stay in memory."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        self._f: Any = None
        self._m: Any = None
        self._positions: dict[str, int] = {}
        self._in_memory: dict[str, Any] = {}
        directory, self._given_name = os.path.split(filename)
        self.directory = os.path.abspath(directory)
        self._make()
        _files.add(self)

    def _make(self) -> None:
        self._pid = os.getpid()
        try:
            name = file_names.client_name(self._given_name, _run)
            path, self._lock = create(self.directory, name)
            super().__init__(path)  # type: ignore[no-untyped-call]
        except OSError as error:
            self._fail(error)

    def read_value(self, key: str) -> Any:
        """Return a number and, if the installed version has it, its timestamp."""
        if key in self._in_memory or not self._has_room(key):
            return self._in_memory.setdefault(key, _ZERO)
        return super().read_value(key)  # type: ignore[no-untyped-call]

    def write_value(self, key: str, *number: float) -> None:
        """Write a number and, if the installed version has it, its timestamp."""
        if key in self._in_memory or not self._has_room(key):
            self._in_memory[key] = number if HAS_TIMESTAMPS else number[0]
        else:
            super().write_value(key, *number)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the file and release its lock, unless this is a forked child, which has none."""
        if self._f is not None and self._pid == os.getpid():
            locks.close(self._lock)
        super().close()  # type: ignore[no-untyped-call]

    def remake_if_missing(self) -> None:
        """Make the file again with the numbers of this process, if something removed it."""
        if self._pid != os.getpid() or (self._f is not None and os.path.lexists(self._f.name)):
            return
        known = {key: self.read_value(key) for key in (*self._positions, *self._in_memory)}
        self.close()
        self._positions, self._in_memory = {}, {}
        self._make()
        for key, number in known.items():
            self.write_value(key, *(number if HAS_TIMESTAMPS else (number,)))

    def _has_room(self, key: str) -> bool:
        if key in self._positions:
            return True
        if self._f is None:
            return False
        needed, size = self._used + len(entry(key.encode())), self._capacity
        while size < needed:
            size *= 2
        try:
            if size > self._capacity:
                reserve(self._lock, self._capacity, size)
        except OSError as error:
            self._fail(error)
            return False
        return True

    def _fail(self, error: OSError) -> None:
        if self.directory not in _failed:
            _failed.add(self.directory)
            logger.error(
                "prometheus_client cannot write to %s: %s. Scrapes will not show new series of "
                "this process.",
                self.directory,
                error,
            )


def remake_missing(directory: str) -> None:
    """Make this process's files of prometheus_client again, if something removed them."""
    for file in list(_files):
        if file.directory == directory:
            file.remake_if_missing()


def take_over(directory: str, run: str, is_mine: Callable[[str], bool]) -> None:
    """Lock and rename the files that prometheus_client made before promweb knew the directory.

    `is_mine` tells by its name whether this process writes a file with its pid. Otherwise a later
    process with the same pid would continue its numbers.
    """
    for file in listing(directory)[0]:
        name = file.name.name
        if file.name.is_own or file.name.owner != str(os.getpid()) or not is_mine(name):
            continue
        path = os.path.join(directory, name)
        descriptor = locks.lock_existing(path)
        os.rename(path, os.path.join(directory, file_names.client_name(name, run)))
        reserve(descriptor, 0, file.size)


class SharedValue:
    """A value of prometheus_client's new metrics: in a file while the variable is set.

    prometheus_client decides this once, at import, but tests set and unset the variable.
    """

    _multiprocess = True

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        directory = shared_directory()
        if directory is None:
            return values.MutexValue(*args, **kwargs)  # type: ignore[no-untyped-call]
        directory = os.path.abspath(directory)
        value_class = _value_classes.get(directory)
        if value_class is None:
            # Each value stays in the directory that it had first.
            made = values.MultiProcessValue()  # type: ignore[no-untyped-call]
            value_class = _value_classes.setdefault(directory, made)
        return value_class(*args, **kwargs)


_value_classes: dict[str, Any] = {}
"""prometheus_client's class of values in files, by directory."""


def is_shared() -> bool:
    """Tell whether prometheus_client's new metrics keep their numbers in files."""
    return bool(getattr(values.ValueClass, "_multiprocess", False))


def use_own_files(directory: str, run: str) -> None:
    """Give prometheus_client's metrics promweb's kind of files from now on.

    This is for a prometheus_client that uses files already; otherwise it changes nothing.
    """
    global _run
    _run = run
    values.MmapedDict = ClientFile  # type: ignore[attr-defined]
    if is_shared() and values.ValueClass is not SharedValue:
        _value_classes[directory] = values.ValueClass
        values.ValueClass = SharedValue


def share_new_metrics(directory: str, run: str) -> list[str]:
    """Make new metrics of prometheus_client keep their numbers in files.

    Returns the names of metrics in its global registry that were created earlier, without files;
    scrapes will not show their numbers.
    """
    was_shared = is_shared()
    use_own_files(directory, run)
    if was_shared:
        return []
    values.ValueClass = SharedValue
    collectors = getattr(REGISTRY, "_collector_to_names", {})
    return [metric._name for metric in collectors if isinstance(metric, MetricWrapperBase)]
