"""Children that keep their numbers in the files of this process."""

from __future__ import annotations

import weakref
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import RLock, Thread
from typing import Any

from prometheus_client.metrics_core import Metric

from ..core import forking
from ..core.families.children import NumberChild, ObservedChild
from ..core.families.kinds import CounterFamily, GaugeFamily, HistogramFamily
from ..core.families.limits import LabelValues
from ..core.families.numbers import text_of
from ..core.families.problems import logger
from ..core.families.storage import StoredFamily
from .client import key_of
from .directory import Directory
from .workers import Workers
from .writing import OwnFile

__all__ = ["FileStorage"]

Places = tuple[Any, list[int]]
"""Where numbers are: something with doubles, and the indexes in there."""


class FileStorage:
    """The files of this process in one directory. See `core.storage.Storage`.

    Nothing here raises: where a file cannot be written, numbers are counted in memory, and a
    message says so once.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.workers = Workers(path)
        self.limits: dict[str, int] = {}
        """`max_series` of every metric that was kept here."""
        self._start()
        self._is_forked = False
        self._skipped = CounterFamily(
            "promweb_multiprocess_files_skipped_total",
            "Files that were left out of a scrape because they could not be read.",
            ("reason",),
        )
        self._skipped.keep_in(self)
        self.directory = Directory(
            path, lambda reason: self._skipped.child((reason,)).inc(), self.limits
        )
        _storages.add(self)

    def _start(self) -> None:
        self._lock = RLock()
        self._files: dict[str, OwnFile] = {}
        self._failed = False

    def accept(self, family: StoredFamily) -> None:
        self.limits[family.name] = family.max_series

    def make_child(self, family: StoredFamily, values: LabelValues) -> Any:
        if issubclass(family.child_class, ObservedChild):
            return StoredObservations(family, self, values)
        return StoredNumber(family, self, values)

    def collect(self, names: Sequence[str] | None, pause: Callable[[], None]) -> Iterator[Metric]:
        return self.workers.add_to(self.directory.collect(names, pause), names)

    def places(
        self, family: StoredFamily, values: LabelValues, parts: Iterable[tuple[str, str | None]]
    ) -> Places:
        """Return places for numbers of a label set; `parts` has name suffixes and buckets."""
        kind = f"gauge_{family.mode}" if isinstance(family, GaugeFamily) else family.type
        labels = dict(zip(family.labelnames, values, strict=True))
        keys = [
            key_of(
                family.name,
                family.name + suffix,
                labels if le is None else {**labels, "le": le},
                family.documentation,
            )
            for suffix, le in parts
        ]
        try:
            with self._lock:
                # A signal handler that records in the middle of this has another file.
                file = self._files.pop(kind, None) or self._new_file(kind)
                try:
                    return file.add(keys)
                finally:
                    self._files[kind] = file
        except OSError as error:
            if not self._failed:
                self._failed = True
                logger.error(
                    "promweb cannot write to %s: %s. What this process counts in new series is "
                    "not seen by scrapes.",
                    self.path,
                    error,
                )
            return array("d", bytes(8 * len(keys))), [*range(len(keys))]

    def _new_file(self, kind: str) -> OwnFile:
        self.workers.announce()
        if self._is_forked:  # a new worker has its first request
            self._is_forked = False
            Thread(target=self.directory.fold, daemon=True).start()
        return OwnFile(self.path, kind)

    def leave_to_parent(self) -> None:
        """Have nothing in a forked child; files are made when something is recorded."""
        self._start()
        self._is_forked = True
        self.directory.forget()
        self.workers.leave_to_parent()


class StoredNumber(NumberChild):
    """A counter's or a gauge's value, in a file."""

    __slots__ = ("_index", "_storage", "_values", "_view")

    def __init__(self, owner: StoredFamily, storage: FileStorage, values: LabelValues) -> None:
        self._storage = storage
        self._values = values
        super().__init__(owner)
        self._find_place()

    def clear(self) -> None:
        super().clear()
        self._view: Any = None

    def exemplify(self, labels: Mapping[str, str], amount: float) -> None:
        """Files have no place for exemplars."""

    @property
    def value(self) -> float:
        """What this process counted."""
        return 0.0 if self._view is None else self._view[self._index]

    def record(self, amount: float) -> None:
        with self.owner.lock:
            if self._view is None:
                self._find_place()
            self._view[self._index] += amount

    def _find_place(self) -> None:
        family: Any = self.owner
        self._view, (self._index,) = self._storage.places(family, self._values, family.shape)


class StoredObservations(ObservedChild):
    """A histogram's or a summary's observations, in a file. None is pending: a process may be
    killed at any time, and what it has answered is to be counted."""

    __slots__ = ("_places", "_storage", "_totals", "_values", "_view")

    def __init__(self, owner: StoredFamily, storage: FileStorage, values: LabelValues) -> None:
        self._storage = storage
        self._values = values
        super().__init__(owner)
        self._find_places()

    def clear(self) -> None:
        super().clear()
        self._view: Any = None

    def record(self, amount: float) -> None:
        amount = max(float(amount), 0.0)
        with self.owner.lock:
            if self._view is None:
                self._find_places()
            view, places = self._view, self._places
            view[places[bisect_left(self.owner.bounds, amount)]] += 1.0
            view[places[-1]] += amount
            for total in self._totals:
                total.inc()

    def exemplify(self, labels: Mapping[str, str], amount: float) -> None:
        """Files have no place for exemplars."""

    @property
    def total(self) -> int:
        return sum(self.snapshot()[0])

    def snapshot(self) -> tuple[list[int], float]:
        with self.owner.lock:
            if self._view is None:
                return [0] * len(self.owner.bounds), 0.0
            *buckets, total = [self._view[place] for place in self._places]
            return [int(count) for count in buckets], total

    def _find_places(self) -> None:
        family: Any = self.owner
        parts: list[tuple[str, str | None]] = [("_count", None)]
        if isinstance(family, HistogramFamily):
            parts = [("_bucket", text_of(bound)) for bound in family.bounds]
        parts.append(("_sum", None))
        self._totals = [total.total(self._values) for total in family.totals]
        self._view, self._places = self._storage.places(family, self._values, parts)


_storages: weakref.WeakSet[FileStorage] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for storage in _storages:
        storage.leave_to_parent()


forking.in_child(_leave_to_parent)
