"""The storage that writes numbers to files of this process, and reads those of all processes."""

from __future__ import annotations

import os
import stat
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from threading import Lock, RLock, Thread
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.metrics_core import Metric

from ..core import forking
from ..core.families.children import GaugeChild, ObservedChild
from ..core.families.kinds import CounterFamily, GaugeFamily
from ..core.families.limits import LabelValues
from ..core.families.native import NativeChild
from ..core.families.problems import logger
from ..core.families.storage import StoredFamily
from .directory_reader import DirectoryReader, Shown
from .files import client_files, file_names, locks, max_series
from .files.client_library import key_of
from .files.file_names import NATIVE, Group, new_name
from .files.writing import OwnFile
from .lifecycle.runs import Run, begin, this_run
from .native.siblings import name_beside
from .registries import Registries, is_of_all_processes
from .stored_children import Places, StoredLevel, StoredNumber, StoredObservations
from .stored_gauges import stored_gauge
from .stored_native import StoredNative
from .worker_metrics import WorkerMetrics, is_switched_on

__all__ = ["FileStorage", "RegistryStorage"]

_RECORDINGS = 100
"""A process checks that its files still exist after this many recordings."""

_CANNOT_WRITE = "promweb cannot write to %s: %s. Scrapes will not show new series of this process."


class FileStorage:
    """The files of this process in one directory, for all registries.

    If a file cannot be written, numbers stay in memory; that is logged once.
    """

    def __init__(self, path: str, run: Run | None = None) -> None:
        self.path = path
        self._run = run or this_run()
        self._mode = stat.S_IMODE(os.stat(path).st_mode)
        self.workers = WorkerMetrics(path)
        self.registries = Registries()
        self._undeclared: dict[max_series.Metric, int] = {}
        """`max_series` of metrics that the directory does not know yet."""
        self._families: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        """The token in the names of the files of a family's registry."""
        self._start()
        self._is_forked = False
        self._skipped = CounterFamily(
            "promweb_multiprocess_files_skipped_total",
            "Files that were left out of a scrape because they could not be read.",
            ("reason",),
        )
        self._skipped.keep_in(RegistryStorage(self, file_names.EVERY))
        self.directory = DirectoryReader(path, lambda reason: self._skipped.child((reason,)).inc())
        _storages.add(self)

    def _start(self) -> None:
        self._lock = RLock()
        self._looking = Lock()
        self._files: dict[tuple[str, str], OwnFile] = {}
        """Files by kind and registry."""
        self._has_failed = Lock()
        """Taken, for good, by the thread that logs that files cannot be written."""
        self._directory: int | None = None
        """A descriptor that locks the directory while this process has files in it.

        Then the system's cleaning of temporary directories leaves the directory alone.
        """
        self.due = _RECORDINGS
        """How many recordings are left until the next call of `look`."""

    def accept(self, family: StoredFamily, registry: str) -> None:
        """Keep a family's numbers; `registry` is the token in the names of its registry's files."""
        self._families[family] = registry
        self._undeclared[registry, family.name] = family.max_series

    def collect(
        self,
        names: Sequence[str] | None,
        pause: Callable[[], None],
        shown: Shown | None = None,
    ) -> Iterator[Metric]:
        """Yield the families of a registry, or of all; `names` selects samples."""
        self.look()
        return self.directory.collect(names, pause, shown)

    def of_registry(
        self, registry: CollectorRegistry, name: str, *, shows_all: bool = False
    ) -> RegistryStorage:
        """Return the storage of a registry; its `name` is the same in every worker.

        `shows_all` makes it show the numbers of all registries. Raises ValueError if another
        registry of this process has the name.
        """
        is_alone = not (shows_all or is_of_all_processes(registry))
        with forking.definitions:
            token = self.registries.token(registry, name, is_alone=is_alone)
        return RegistryStorage(self, token, None if shows_all else weakref.ref(registry))

    def places(
        self,
        family: StoredFamily,
        values: LabelValues,
        parts: Iterable[tuple[str, str | None]],
        kind: str = "",
        registry: str = file_names.DEFAULT,
    ) -> Places:
        """Return the places of a label set's numbers; `parts` has name suffixes and buckets.

        `kind` is that of the file, unless it follows from the family.
        """
        if not kind:
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
                # A signal handler that records meanwhile gets another file.
                part = kind, registry
                file = self._files.pop(part, None) or self._new_file(*part)
                try:
                    return file.add(keys)
                finally:
                    self._files[part] = file
        except OSError as error:
            if not os.path.isdir(self.path):
                self.due = 0  # the next recording makes the file again
            else:
                self._cannot_write(error)
            # Like in a file, the last number has room for its time behind it.
            return array("d", bytes(8 * len(keys) + 8)), [*range(len(keys))]

    def _declare(self) -> None:
        """Record the bounds of metrics in the directory, before their first label set."""
        undeclared = self._undeclared.copy()
        if undeclared:
            max_series.declare(self.path, undeclared)
            for metric in undeclared:
                self._undeclared.pop(metric, None)

    def _cannot_write(self, error: OSError) -> None:
        """Log that files cannot be written, once in each process."""
        if self._has_failed.acquire(blocking=False):
            logger.error(_CANNOT_WRITE, self.path, error)

    def _new_file(self, kind: str, registry: str) -> OwnFile:
        self.workers.announce()
        if self._is_forked:  # the first request of a new worker
            self._is_forked = False
            Thread(target=self.directory.compact, daemon=True).start()
        if self._directory is None:
            self._directory = locks.share(self.path)
        if kind == NATIVE:
            beside = os.path.basename(self._histograms(registry).path)
            return OwnFile(self.path, name_beside(beside))
        group = Group(kind, self._run.token, registry)
        return OwnFile(self.path, new_name(group, os.getpid()))

    def _histograms(self, registry: str) -> OwnFile:
        """Return the file of histograms that belongs to a file of native buckets."""
        part = "histogram", registry
        file = self._files.get(part)
        if file is None:  # a signal handler interrupted the code that makes it
            file = self._files[part] = self._new_file(*part)
        return file

    def look(self) -> None:
        """Check that the files of this process still exist, and otherwise make them again.

        The new files get the numbers, so known series continue.
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
                "Something removed promweb's files in %s while this process writes there. promweb "
                "makes them again; the numbers of workers that had ended are lost.",
                self.path,
            )
            self._remake(files)
        except OSError as error:
            self._cannot_write(error)
        finally:
            self._looking.release()

    def _remake(self, files: Iterable[OwnFile]) -> None:
        os.makedirs(self.path, mode=self._mode, exist_ok=True)
        begin(self.path, self._run)
        # Its own iterator fails if another thread defines a family meanwhile.
        families = [family for known in self._families.keyrefs() if (family := known()) is not None]
        with self._lock:  # a thread that declares some now must not miss them
            for family in families:
                self.accept(family, self._families[family])
        self._directory = locks.share(self.path)
        client_files.remake_missing(self.path)  # includes those that had no directory before
        self.workers.start_afresh()
        with self._lock:
            self._files = {}
        for family in families:
            with family.lock:
                for child in family.children.values():
                    child.move()
        for file in files:
            file.close()

    def leave_to_parent(self) -> None:
        """Start over in a forked child, which makes files when it first records something."""
        self._start()
        self._is_forked = True
        self.directory.forget()
        self.workers.start_afresh()


class RegistryStorage:
    """The numbers of one registry's families. Implements `core.families.storage.Storage`.

    Without a registry it shows the whole directory.
    """

    def __init__(
        self,
        storage: FileStorage,
        token: str,
        registry: weakref.ref[CollectorRegistry] | None = None,
    ) -> None:
        self._storage = storage
        self._token = token
        self._registry = registry
        self._shows_processes = is_switched_on()
        self.due = 0

    @property
    def path(self) -> str:
        return self._storage.path

    def accept(self, family: StoredFamily) -> None:
        self._storage.accept(family, self._token)

    def make_child(self, family: StoredFamily, values: LabelValues) -> Any:
        """Return a child that keeps its numbers in files."""
        if issubclass(family.child_class, NativeChild):
            return StoredNative(family, self, values)
        if issubclass(family.child_class, ObservedChild):
            return StoredObservations(family, self, values)
        if issubclass(family.child_class, GaugeChild):
            return StoredLevel(family, self, values)
        return StoredNumber(family, self, values)

    def make_gauge(self, *args: Any, **kwargs: Any) -> Gauge:
        return stored_gauge(self, *args, **kwargs)

    def show_processes(self) -> None:
        self._shows_processes = True
        self._storage.workers.enable()

    def collect(self, names: Sequence[str] | None, pause: Callable[[], None]) -> Iterator[Metric]:
        families = self._storage.collect(names, pause, self._shown())
        if self._shows_processes:
            return self._storage.workers.add_to(families, names)
        return families

    def _shown(self) -> Shown | None:
        registry = None if self._registry is None else self._registry()
        if registry is None or is_of_all_processes(registry):
            return None
        return Shown(self._token, partial(self._storage.registries.has, registry))

    def places(
        self,
        family: StoredFamily,
        values: LabelValues,
        parts: Iterable[tuple[str, str | None]],
        kind: str = "",
    ) -> Places:
        """Do what `FileStorage.places` does, in the files of this registry."""
        places = self._storage.places(family, values, parts, kind, self._token)
        self.due = min(self.due, self._storage.due)  # it is 0 if the files are gone
        return places

    def look(self) -> None:
        """Check that the files of this process still exist."""
        self._storage.look()
        self.due = _RECORDINGS


_storages: weakref.WeakSet[FileStorage] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for storage in _storages:
        storage.leave_to_parent()


forking.in_child(_leave_to_parent)
