"""Metrics of each living worker by its pid: memory, processor time, open files, garbage collection.

Each worker has its own file for this, locked while it lives. It writes its garbage collections
there, which no other process can see; the worker that answers a scrape reads the rest in `/proc`.
This costs a request nothing, and a scrape omits workers that have ended.
"""

from __future__ import annotations

import gc
import mmap
import os
import platform
import secrets
import struct
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, Metric

from ..core.families.problems import logger
from .files import file_names, locks
from .lifecycle.processes import identify
from .merging import restricted

__all__ = ["SWITCH", "WorkerMetrics", "is_switched_on"]

SWITCH = "PROMWEB_PROCESS_METRICS"
"""The environment variable that turns all of this on, as `process_metrics=True` does."""

_ON = ("1", "true", "yes", "on")

_SUFFIX = ".worker"
"""A suffix that files of numbers do not have, so that prometheus_client does not read these."""

_PREFIXES = ("process_", "python_")

_GENERATIONS = 3
_GARBAGE = {
    "objects_collected": ("collected", "Objects that garbage collections freed."),
    "objects_uncollectable": ("uncollectable", "Objects that garbage collections could not free."),
    "collections": ("collections", "Garbage collections of this generation."),
}
"""prometheus_client's names for the numbers of `gc.get_stats`, their keys and help texts."""

_NUMBERS = struct.Struct(f"={_GENERATIONS * len(_GARBAGE)}d")
_LONGEST = 4096


def is_switched_on() -> bool:
    """Tell whether the environment turns on metrics of each worker."""
    return os.environ.get(SWITCH, "").strip().lower() in _ON


class WorkerMetrics:
    """Metrics of the processes that share a directory. No method raises."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._enabled = is_switched_on()
        self._garbage: Any = None
        """The numbers in the file of this process."""
        self._unannounced = [True]
        """The thread that removes this item announces the process."""
        self._is_due = False
        """Whether this process writes its numbers and appears in scrapes."""
        self._forget: Callable[[], object] = _nothing

    def enable(self) -> None:
        """Show processes from now on; this one appears once it writes numbers."""
        self._enabled = True
        if self._is_due:
            self.announce()

    def start_afresh(self) -> None:
        """Forget the file: in a forked child, or after something removed it."""
        self._forget()
        self._garbage, self._unannounced, self._forget = None, [True], _nothing
        self._is_due = False

    def announce(self) -> None:
        """Show this process in scrapes from now on, if scrapes show processes."""
        self._is_due = True
        if not self._enabled:
            return
        try:
            self._unannounced.pop()
        except IndexError:
            return
        try:
            self._living()  # removes the files of dead workers
            self._garbage = garbage = _map(_create(self._directory))
        except OSError as error:
            logger.warning(
                "Scrapes will not show memory, processor time and garbage collections of process "
                "%d, because promweb cannot write to %s: %s",
                os.getpid(),
                self._directory,
                error,
            )
            return

        def collected(phase: str, info: dict[str, int]) -> None:
            # Collections of the youngest generation are too frequent to write each time.
            if phase == "stop" and info["generation"] > 0:
                _write(garbage)

        _write(garbage)
        gc.callbacks.append(collected)
        self._forget = weakref.finalize(self, _remove_callback, collected)

    def add_to(self, families: Iterable[Metric], names: Sequence[str] | None) -> Iterator[Metric]:
        """Yield the families, then those of the workers, restricted to these names."""
        there = set()
        for family in families:
            there.add(family.name)
            yield family
        if not self._enabled or (names and not any(n.startswith(_PREFIXES) for n in names)):
            return
        for metric in self._collect():
            wanted = restricted(metric, frozenset(names)) if names else metric
            if wanted is not None and metric.name not in there:  # the program may have its own
                yield wanted

    def _collect(self) -> Iterator[Metric]:
        """Yield the families that prometheus_client has for one process, with the label `pid`."""
        self.announce()
        if self._garbage is not None:
            _write(self._garbage)
        living = self._living()
        current = [""]
        process = ProcessCollector(pid=lambda: current[0], registry=None)
        metrics: dict[str, Metric] = {}
        for current[0] in living:
            # The process may have ended, or belong to another user; its numbers are omitted.
            with suppress(Exception):
                for metric in process.collect():
                    into = metrics.setdefault(
                        metric.name, Metric(metric.name, metric.documentation, metric.type)
                    )
                    for name, labels, value, *_ in metric.samples:
                        into.add_sample(name, {**labels, "pid": current[0]}, value)
        yield from metrics.values()
        if platform.python_implementation() == "CPython":
            yield from _garbage_metrics(living)
        # All workers run the same Python.
        yield from PlatformCollector(registry=None).collect()

    def _living(self) -> dict[str, tuple[float, ...]]:
        """Return the numbers of garbage collections by pid; remove the files of dead workers."""
        living: dict[str, tuple[float, ...]] = {}
        with suppress(OSError):
            for name in os.listdir(self._directory):
                if name.endswith(_SUFFIX):
                    with suppress(OSError, ValueError, struct.error):
                        path = os.path.join(self._directory, name)
                        who, numbers = _read(path)
                        pid = who.rpartition(" ")[2].partition(":")[0]
                        # Another container may have the same pids.
                        is_it = who == _identity(pid)
                        if locks.is_locked(path):
                            if is_it:
                                living[pid] = numbers
                        elif not is_it:
                            os.unlink(path)
        return dict(sorted(living.items(), key=lambda item: int(item[0])))


def _create(directory: str) -> str:
    """Make the file of this process and lock it before it gets its name; return its path."""
    path = os.path.join(directory, f"{os.getpid()}-{secrets.token_hex(8)}{_SUFFIX}")
    unfinished = path + file_names.UNFINISHED
    descriptor = locks.open_locked(unfinished)
    try:
        os.pwrite(descriptor, bytes(_NUMBERS.size) + _identity(os.getpid()).encode(), 0)
        os.rename(unfinished, path)
    except BaseException:
        locks.close(descriptor)
        with suppress(OSError):
            os.unlink(unfinished)
        raise
    return path


def _map(path: str) -> Any:
    """Map the numbers of a file.

    The mapping has a descriptor of its own; otherwise a forked child would share the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        mapping = mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)
    return memoryview(mapping)[: _NUMBERS.size].cast("d")


def _read(path: str) -> tuple[str, tuple[float, ...]]:
    """Return the writer and the numbers. Raises OSError, ValueError or struct.error."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        content = os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)
    return content[_NUMBERS.size :].decode(), _NUMBERS.unpack_from(content)


def _write(garbage: Any) -> None:
    """Write the numbers of garbage collections, without a lock: a collection may begin anywhere."""
    index = 0
    for generation in gc.get_stats()[:_GENERATIONS]:
        for key, _ in _GARBAGE.values():
            garbage[index] = generation[key]
            index += 1


def _nothing() -> None:
    """Do nothing: there is no callback to remove."""


def _remove_callback(callback: Any) -> None:
    with suppress(ValueError):
        gc.callbacks.remove(callback)


def _identity(pid: int | str) -> str:
    """Return an identity of a process that no process in another container has."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = "-"
    return f"{namespace} {identify(pid)}"


def _garbage_metrics(living: dict[str, tuple[float, ...]]) -> Iterator[Metric]:
    if not living:
        return
    for position, (name, (_, documentation)) in enumerate(_GARBAGE.items()):
        metric = CounterMetricFamily(
            f"python_gc_{name}", documentation, labels=("generation", "pid")
        )
        for pid, numbers in living.items():
            for generation in range(_GENERATIONS):
                value = numbers[generation * len(_GARBAGE) + position]
                metric.add_metric((str(generation), pid), value)
        yield metric
