"""What each living worker is, beside what it counts: memory, processor time, files, garbage.

A worker has a file of its own here, locked as long as it lives. It has its collections of garbage
in there, which nobody else can see; whoever answers a scrape reads everything else in `/proc`. A
worker has nothing to do for a request, and nothing is left of it when it has ended.
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
from . import locks, naming
from .merging import restricted
from .processes import identify

__all__ = ["SWITCH", "Workers"]

SWITCH = "PROMWEB_PROCESS_METRICS"
"""The environment variable that turns all of this off."""

_OFF = ("0", "false", "no", "off")

_SUFFIX = ".worker"
"""Not that of files of numbers, so that prometheus_client does not read these."""

_PREFIXES = ("process_", "python_")

_GENERATIONS = 3
_GARBAGE = {
    "objects_collected": ("collected", "Objects that garbage collections freed."),
    "objects_uncollectable": ("uncollectable", "Objects that garbage collections could not free."),
    "collections": ("collections", "Garbage collections of this generation."),
}
"""The names that prometheus_client has for the numbers of `gc.get_stats`, and what they are."""

_NUMBERS = struct.Struct(f"={_GENERATIONS * len(_GARBAGE)}d")
_LONGEST = 4096


class Workers:
    """The processes that share a directory. Nothing here raises."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._enabled = os.environ.get(SWITCH, "").strip().lower() not in _OFF
        self._garbage: Any = None
        """The numbers in the file of this process."""
        self._announced = False
        self._forget: Callable[[], object] = _nothing

    def leave_to_parent(self) -> None:
        """Be unknown again in a forked child."""
        self._forget()
        self._garbage, self._announced, self._forget = None, False, _nothing

    def announce(self) -> None:
        """Have this process be seen by scrapes."""
        if self._announced or not self._enabled:
            return
        self._announced = True
        try:
            self._living()  # removes what dead ones left
            self._garbage = garbage = _map(_create(self._directory))
        except OSError as error:
            logger.warning(
                "Scrapes will not show memory, processor time and garbage collections of the "
                "process %d, because nothing can be written to %s: %s",
                os.getpid(),
                self._directory,
                error,
            )
            return

        def collected(phase: str, info: dict[str, int]) -> None:
            # The youngest generation's are too many to write each down.
            if phase == "stop" and info["generation"] > 0:
                _write(garbage)

        _write(garbage)
        gc.callbacks.append(collected)
        self._forget = weakref.finalize(self, _remove_callback, collected)

    def add_to(self, families: Iterable[Metric], names: Sequence[str] | None) -> Iterator[Metric]:
        """Yield the families, and those of the workers, restricted to sample names in `names`."""
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
            # It may have ended, or be nobody's business: what cannot be read is missing.
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
        """Return the numbers of garbage collections by pid; remove what dead workers left."""
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
    """Make the file of this process, locked before it has its name; return its path."""
    path = os.path.join(directory, f"{os.getpid()}-{secrets.token_hex(8)}{_SUFFIX}")
    unfinished = path + naming.UNFINISHED
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
    """Return the numbers of a file, to be written.

    The mapping has a descriptor of its own, or a forked child would share the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        mapping = mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)
    return memoryview(mapping)[: _NUMBERS.size].cast("d")


def _read(path: str) -> tuple[str, tuple[float, ...]]:
    """Return who wrote a file, and the numbers; raise `OSError`, `ValueError`, `struct.error`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        content = os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)
    return content[_NUMBERS.size :].decode(), _NUMBERS.unpack_from(content)


def _write(garbage: Any) -> None:
    """Write down what was collected. No lock: a collection may begin anywhere."""
    index = 0
    for generation in gc.get_stats()[:_GENERATIONS]:
        for key, _ in _GARBAGE.values():
            garbage[index] = generation[key]
            index += 1


def _nothing() -> None:
    """There is no callback to remove."""


def _remove_callback(callback: Any) -> None:
    with suppress(ValueError):
        gc.callbacks.remove(callback)


def _identity(pid: int | str) -> str:
    """Return what a process is, also where others have the same pid, or had it before."""
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
