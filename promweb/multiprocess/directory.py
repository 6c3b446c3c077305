"""What the files of a directory say: found, read and merged for each scrape.

Files that cannot be read are left out; everything else is served.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack

from prometheus_client.metrics_core import Metric

from ..core.families.problems import logger
from . import locks, naming
from .folding import File, Folder, absorbed, listing
from .keys import Keys
from .merging import MergedFamily, restricted
from .plans import Plan
from .reading import Corrupt, FileReader

__all__ = ["Directory"]

_FORGOTTEN = 10_000
"""How many keys that nobody has any more are kept at most."""

_ATTEMPTS = 5
"""How often a scrape is begun anew because somebody folds, before it keeps them from it."""

_PATIENCE = 1.0
"""Seconds that it waits for the one who is folding then."""

Families = list[tuple[MergedFamily, list[float]]]


class Directory:
    """A directory of files of numbers, and what was read of them before.

    `on_skip` is called with a reason for each file that is left out; `limits` has `max_series` of
    the metrics that promweb made.
    """

    def __init__(
        self, path: str, on_skip: Callable[[str], None], limits: Mapping[str, int]
    ) -> None:
        self.path = path
        self._on_skip = on_skip
        self._limits = limits
        self._logged: set[object] = set()
        self.forget()

    def forget(self) -> None:
        """Know nothing of the files; in a forked child, another thread may have had the lock."""
        self._lock = threading.Lock()
        self._folding = threading.Lock()
        self._folder = Folder(self.path, self._limits)
        self._clear()

    def fold(self) -> None:
        """Fold what dead processes left, unless another thread does; never raise."""
        if not self._folding.acquire(blocking=False):
            return
        try:
            self._folder.fold(unfinished=self._is_unfinished)
        except OSError as error:
            self._warn(
                "fold",
                f"promweb cannot fold what dead processes left in {self.path}: {error}. "
                "Nothing is lost, but the files pile up.",
            )
        finally:
            self._folding.release()

    def collect(self, names: Sequence[str] | None, breathe: Callable[[], None]) -> Iterator[Metric]:
        """Yield the merged families, restricted to the sample names in `names`."""
        self.fold()
        with self._lock:
            families = self._read(breathe)
        wanted = frozenset(names) if names else None
        for family, numbers in families:
            metric: Metric | None = family.metric(numbers)
            if metric is not None and wanted is not None:
                metric = restricted(metric, wanted)
            if metric is not None:
                yield metric

    def _clear(self) -> None:
        self._is_unfinished = False
        self._keys = Keys()
        self._files: dict[str, FileReader] = {}
        self._plans: dict[str, tuple[object, Plan]] = {}

    def _read(self, breathe: Callable[[], None]) -> Families:
        """Return the families and their numbers, of a moment in which nobody folded."""
        with ExitStack() as stack:
            try:
                for attempt in range(_ATTEMPTS + 1):
                    if attempt == _ATTEMPTS:
                        path = os.path.join(self.path, naming.LOCK)
                        stack.enter_context(locks.exclusive(path, _PATIENCE))
                    before = self._folded()
                    families = self._merge(before.values(), breathe)
                    if before.keys() == self._folded().keys():
                        break
            except OSError as error:
                self._skip((self.path, 0), "unreadable", str(error))
                return []
        if len(self._keys) > _FORGOTTEN + 2 * sum(f.count for f in self._files.values()):
            self._clear()
        return families

    def _folded(self) -> dict[tuple[str, int], FileReader | None]:
        """Return the folded files. Who keeps their readers keeps others from having their inodes:
        with those, a directory that was folded twice would look as it did before."""
        files, _ = listing(self.path)
        return {file.identity: self._reader(file) for file in files if file.name.is_folded}

    def _merge(
        self,
        folded: Iterable[FileReader | None],
        breathe: Callable[[], None],
    ) -> Families:
        # Before the files are listed: one whose name is cleared meanwhile is gone.
        done = frozenset[tuple[str, int]]().union(*[absorbed(file) for file in folded if file])
        files, foreign = listing(self.path)
        for identity in foreign:
            self._skip(identity, "foreign")
        self._is_unfinished = bool(done)
        kinds: dict[str, list[tuple[FileReader, str]]] = {}
        for file in files:
            reader = None if file.identity in done else self._reader(file)
            if reader is not None and reader.blocks:
                kinds.setdefault(file.name.kind, []).append((reader, file.name.owner))
            breathe()
        for name in self._files.keys() - {file.name.name for file in files}:
            del self._files[name]
        for kind in self._plans.keys() - kinds.keys():
            del self._plans[kind]
        families: dict[str, tuple[MergedFamily, list[float]]] = {}
        for kind, readers in kinds.items():
            plan = self._plan(kind, readers)
            breathe()
            numbers = plan.numbers()
            for family in plan.families:
                if families.setdefault(family.name, (family, numbers))[0] is not family:
                    self._warn(
                        (kind, family.name),
                        f"promweb leaves out the {kind} {family.name!r} of {self.path}, because "
                        "there is another metric of this name. Give each application a directory.",
                    )
            breathe()
        return list(families.values())

    def _reader(self, file: File) -> FileReader | None:
        """Return a file's reader, None if it is gone or cannot be read."""
        name = file.name.name
        reader = self._files.get(name)
        try:
            if reader is None or reader.inode != file.inode:
                reader = self._files[name] = FileReader(os.path.join(self.path, name), self._keys)
            reader.update(file.size)
        except FileNotFoundError:
            self._files.pop(name, None)
            return None
        except Corrupt as error:
            self._files.pop(name, None)
            self._skip(file.identity, str(error))
            return None
        return reader

    def _plan(self, kind: str, files: list[tuple[FileReader, str]]) -> Plan:
        """Return the plan for these files, the last one if no key is new."""
        shape = [(reader, len(reader.blocks)) for reader, _ in files]
        known = self._plans.get(kind)
        if known is not None and known[0] == shape:
            return known[1]
        plan = Plan(kind, files, self._keys)
        self._plans[kind] = (shape, plan)
        return plan

    def _skip(self, identity: tuple[str, int], reason: str, detail: str = "") -> None:
        """Count a file that is left out, and say so once."""
        self._on_skip(reason)
        self._warn(
            identity,
            f"promweb leaves out {os.path.join(self.path, identity[0])}, because it is {reason}. "
            f"{detail and f'{detail}. '}This is logged once; "
            "promweb_multiprocess_files_skipped_total counts every time.",
        )

    def _warn(self, key: object, message: str) -> None:
        if key not in self._logged and len(self._logged) < 1000:
            self._logged.add(key)
            logger.warning(message)
