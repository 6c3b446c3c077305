"""The storage that keeps numbers in the files of this process, and reads those of all processes."""

from __future__ import annotations

import os
import stat
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Lock, RLock, Thread
from typing import Any

from prometheus_client.metrics_core import Metric

from ..core import forking
from ..core.families.children import GaugeChild, ObservedChild
from ..core.families.kinds import CounterFamily, GaugeFamily
from ..core.families.limits import LabelValues
from ..core.families.problems import logger
from ..core.families.storage import StoredFamily
from .directory_reader import DirectoryReader
from .files import client_files, locks, max_series
from .files.client_library import key_of
from .files.file_names import Group
from .files.writing import OwnFile
from .runs import Run, begin, this_run
from .stored_children import Places, StoredLevel, StoredNumber, StoredObservations
from .worker_metrics import WorkerMetrics

__all__ = ["FileStorage"]

_RECORDINGS = 100
"""After so many recordings a process looks whether its files are still there."""

_CANNOT_WRITE = "promweb cannot write to %s: %s. Scrapes will not show new series of this process."


class FileStorage:
    """The files of this process in one directory. Implements `core.families.storage.Storage`.

    No method raises. If a file cannot be written, numbers stay in memory, which is logged once.
    """

    def __init__(self, path: str, run: Run | None = None) -> None:
        self.path = path
        self._run = run or this_run()
        self._mode = stat.S_IMODE(os.stat(path).st_mode)
        self.workers = WorkerMetrics(path)
        self._undeclared: dict[str, int] = {}
        """`max_series` of metrics of which the directory does not tell yet."""
        self._families: weakref.WeakSet[Any] = weakref.WeakSet()
        self._start()
        self._is_forked = False
        self._skipped = CounterFamily(
            "promweb_multiprocess_files_skipped_total",
            "Files that were left out of a scrape because they could not be read.",
            ("reason",),
        )
        self._skipped.keep_in(self)
        self.directory = DirectoryReader(path, lambda reason: self._skipped.child((reason,)).inc())
        _storages.add(self)

    def _start(self) -> None:
        self._lock = RLock()
        self._looking = Lock()
        self._files: dict[str, OwnFile] = {}
        self._has_failed = False
        self._directory: int | None = None
        """The descriptor by which this process holds the directory while it has files there.

        The system's own clearing of temporary directories leaves such directories alone.
        """
        self.due = _RECORDINGS
        """How many recordings are left until the next `look`."""

    def accept(self, family: StoredFamily) -> None:
        self._families.add(family)
        self._undeclared[family.name] = family.max_series

    def make_child(self, family: StoredFamily, values: LabelValues) -> Any:
        if issubclass(family.child_class, ObservedChild):
            return StoredObservations(family, self, values)
        if issubclass(family.child_class, GaugeChild):
            return StoredLevel(family, self, values)
        return StoredNumber(family, self, values)

    def show_processes(self) -> None:
        self.workers.enable()

    def collect(self, names: Sequence[str] | None, pause: Callable[[], None]) -> Iterator[Metric]:
        self.look()
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
                self._declare()
                # A signal handler that records in the middle of this gets another file.
                file = self._files.pop(kind, None) or self._new_file(kind)
                try:
                    return file.add(keys)
                finally:
                    self._files[kind] = file
        except OSError as error:
            if not os.path.isdir(self.path):
                self.due = 0  # the next recording makes it again
            elif not self._has_failed:
                self._has_failed = True
                logger.error(_CANNOT_WRITE, self.path, error)
            # The last number has room for its time behind it, as in a file.
            return array("d", bytes(8 * len(keys) + 8)), [*range(len(keys))]

    def _declare(self) -> None:
        """Write down how many label sets metrics may have, before the first of them."""
        undeclared = self._undeclared.copy()
        if undeclared:
            max_series.declare(self.path, undeclared)
            for name in undeclared:
                self._undeclared.pop(name, None)

    def _new_file(self, kind: str) -> OwnFile:
        self.workers.announce()
        if self._is_forked:  # the first request of a new worker
            self._is_forked = False
            Thread(target=self.directory.compact, daemon=True).start()
        if self._directory is None:
            self._directory = locks.share(self.path)
        return OwnFile(self.path, Group(kind, self._run.token, "default"))

    def look(self) -> None:
        """See whether the files of this process are still there; else make them again.

        Numbers are taken along, so known series go on counting.
        """
        if not self._looking.acquire(blocking=False):
            return
        try:
            self.due = _RECORDINGS
            client_files.remake_missing(self.path)
            files = list(self._files.values())
            if os.path.isdir(self.path) and all(file.is_there for file in files):
                return
            logger.warning(
                "Files of promweb in %s were removed while this process writes to them. It makes "
                "them again; the numbers of workers that had ended are lost.",
                self.path,
            )
            self._remake(files)
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                logger.error(_CANNOT_WRITE, self.path, error)
        finally:
            self._looking.release()

    def _remake(self, files: Iterable[OwnFile]) -> None:
        os.makedirs(self.path, mode=self._mode, exist_ok=True)
        begin(self.path, self._run)
        for family in list(self._families):
            self._undeclared[family.name] = family.max_series
        self._directory = locks.share(self.path)
        client_files.remake_missing(self.path)  # those that had no directory before
        self.workers.start_afresh()
        with self._lock:
            self._files = {}
        for family in list(self._families):
            with family.lock:
                for child in family.children.values():
                    child.move()
        for file in files:
            file.close()

    def leave_to_parent(self) -> None:
        """Start afresh in a forked child, which makes files when it first records something."""
        self._start()
        self._is_forked = True
        self.directory.forget()
        self.workers.start_afresh()


_storages: weakref.WeakSet[FileStorage] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for storage in _storages:
        storage.leave_to_parent()


forking.in_child(_leave_to_parent)
