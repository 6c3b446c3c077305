"""The storage that keeps numbers in the files of this process, and reads those of all processes."""

from __future__ import annotations

import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import RLock, Thread
from typing import Any

from prometheus_client.metrics_core import Metric

from ..core import forking
from ..core.families.children import ObservedChild
from ..core.families.kinds import CounterFamily, GaugeFamily
from ..core.families.limits import LabelValues
from ..core.families.problems import logger
from ..core.families.storage import StoredFamily
from .directory_reader import DirectoryReader
from .files.client_library import key_of
from .files.writing import OwnFile
from .stored_children import Places, StoredNumber, StoredObservations
from .worker_metrics import WorkerMetrics

__all__ = ["FileStorage"]


class FileStorage:
    """The files of this process in one directory. Implements `core.families.storage.Storage`.

    No method raises. If a file cannot be written, numbers stay in memory, which is logged once.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.workers = WorkerMetrics(path)
        self.limits: dict[str, int] = {}
        """`max_series` of every metric that is kept here."""
        self._start()
        self._is_forked = False
        self._skipped = CounterFamily(
            "promweb_multiprocess_files_skipped_total",
            "Files that were left out of a scrape because they could not be read.",
            ("reason",),
        )
        self._skipped.keep_in(self)
        self.directory = DirectoryReader(
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

    def show_processes(self) -> None:
        self.workers.enable()

    def collect(self, names: Sequence[str] | None, pause: Callable[[], None]) -> Iterator[Metric]:
        return self.workers.add_to(self.directory.collect(names, pause), names)

    def places(
        self, family: StoredFamily, values: LabelValues, parts: Iterable[tuple[str, str | None]]
    ) -> Places:
        """Return the places of a label set's numbers; `parts` has name suffixes and buckets."""
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
                # A signal handler that records in the middle of this gets another file.
                file = self._files.pop(kind, None) or self._new_file(kind)
                try:
                    return file.add(keys)
                finally:
                    self._files[kind] = file
        except OSError as error:
            if not self._failed:
                self._failed = True
                logger.error(
                    "promweb cannot write to %s: %s. Scrapes will not show new series of this "
                    "process.",
                    self.path,
                    error,
                )
            return array("d", bytes(8 * len(keys))), [*range(len(keys))]

    def _new_file(self, kind: str) -> OwnFile:
        self.workers.announce()
        if self._is_forked:  # the first request of a new worker
            self._is_forked = False
            Thread(target=self.directory.compact, daemon=True).start()
        return OwnFile(self.path, kind)

    def leave_to_parent(self) -> None:
        """Start afresh in a forked child, which makes files when it first records something."""
        self._start()
        self._is_forked = True
        self.directory.forget()
        self.workers.leave_to_parent()


_storages: weakref.WeakSet[FileStorage] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for storage in _storages:
        storage.leave_to_parent()


forking.in_child(_leave_to_parent)
