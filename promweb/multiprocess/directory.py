"""What the files of a directory say: found, read and merged for each scrape.

Files that cannot be read are set aside; everything else is served.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client.metrics_core import Metric

from ..core.problems import logger
from . import naming
from .folding import absorbed
from .merging import MergedFamily, Plan, restricted
from .naming import FileName
from .reading import Corrupt, FileReader, Keys

__all__ = ["Directory"]

_FORGOTTEN = 10_000
"""How many keys that nobody has any more are kept at most."""


class _Found(NamedTuple):
    """A file that was found in the directory."""

    name: FileName
    inode: int
    size: int


class Directory:
    """A directory of files of numbers, and what was read of them before."""

    def __init__(self, path: str, on_skip: Callable[[str], None]) -> None:
        self.path = path
        self._on_skip = on_skip
        self._logged: set[tuple[str, int]] = set()
        self.forget()

    def forget(self) -> None:
        """Know nothing of the files; in a forked child, another thread may have had the lock."""
        self._lock = threading.Lock()
        self._clear()

    def collect(self, names: Sequence[str] | None, breathe: Callable[[], None]) -> Iterator[Metric]:
        """Yield the merged families, restricted to the sample names in `names`."""
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
        self._keys = Keys()
        self._files: dict[str, FileReader] = {}
        self._plans: dict[str, tuple[object, Plan]] = {}

    def _read(self, breathe: Callable[[], None]) -> list[tuple[MergedFamily, list[float]]]:
        """Return the families and their numbers, of a moment in which nothing was folded."""
        while True:
            before = self._folded()
            kinds = self._update(before, breathe)
            result: dict[str, tuple[MergedFamily, list[float]]] = {}
            for kind, files in kinds.items():
                plan = self._plan(kind, files)
                numbers = plan.numbers()
                breathe()
                for family in plan.families:
                    result.setdefault(family.name, (family, numbers))
            if {name: inode for name, (inode, _) in self._folded().items()} == {
                name: inode for name, (inode, _) in before.items()
            }:
                self._tidy()
                return list(result.values())

    def _folded(self) -> dict[str, tuple[int, frozenset[tuple[str, int]]]]:
        """Return the folded files: inode, and the names and inodes of what is in it already."""
        found = {}
        for file in self._list():
            if file.name.is_folded:
                reader = self._reader(file)
                if reader is not None:
                    found[file.name.name] = (file.inode, absorbed(reader))
        return found

    def _update(
        self,
        folded: dict[str, tuple[int, frozenset[tuple[str, int]]]],
        breathe: Callable[[], None],
    ) -> dict[str, list[tuple[FileReader, str]]]:
        """Return readers that are up to date, and whose process each file is, by kind."""
        skipped = frozenset().union(*(names for _, names in folded.values()))
        kinds: dict[str, list[tuple[FileReader, str]]] = {}
        there = set()
        for file in self._list():
            name = file.name.name
            there.add(name)
            if (name, file.inode) in skipped:
                continue
            reader = self._reader(file)
            if reader is not None and reader.keys:
                kinds.setdefault(file.name.kind, []).append((reader, file.name.owner))
            breathe()
        for name in self._files.keys() - there:
            del self._files[name]
        return kinds

    def _list(self) -> list[_Found]:
        """Return the files there are, in an order that stays."""
        found = []
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if not entry.name.endswith(naming.SUFFIX):
                        continue
                    name = naming.parse(entry.name)
                    try:
                        status = entry.stat()
                    except FileNotFoundError:
                        continue
                    if name is None:
                        self._skip(entry.name, status.st_ino, "foreign")
                    else:
                        found.append(_Found(name, status.st_ino, status.st_size))
        except OSError as error:
            self._skip(self.path, 0, "unreadable", str(error))
        return sorted(found)

    def _reader(self, file: _Found) -> FileReader | None:
        """Return a file's reader, None if it is gone or cannot be read."""
        name = file.name.name
        reader = self._files.get(name)
        try:
            if reader is None or reader.inode != file.inode:
                reader = self._files[name] = FileReader(os.path.join(self.path, name), self._keys)
            reader.update(file.size)
        except FileNotFoundError:
            return None
        except Corrupt as error:
            self._files.pop(name, None)
            self._skip(name, file.inode, str(error))
            return None
        return reader

    def _plan(self, kind: str, files: list[tuple[FileReader, str]]) -> Plan:
        """Return the plan for these files, the last one if no key is new."""
        shape = [(reader, len(reader.keys)) for reader, _ in files]
        known = self._plans.get(kind)
        if known is not None and known[0] == shape:
            return known[1]
        plan = Plan(kind, files, self._keys)
        self._plans[kind] = (shape, plan)
        return plan

    def _tidy(self) -> None:
        """Forget everything if most keys that are known are nobody's any more."""
        if len(self._keys) > _FORGOTTEN + 2 * sum(len(f.keys) for f in self._files.values()):
            self._clear()

    def _skip(self, name: str, inode: int, reason: str, detail: str = "") -> None:
        """Count a file that was set aside, and say so once."""
        self._on_skip(reason)
        if (name, inode) not in self._logged and len(self._logged) < 1000:
            self._logged.add((name, inode))
            logger.warning(
                "promweb leaves out %s of %s, because it is %s. %s"
                "This is logged once; promweb_multiprocess_files_skipped_total counts.",
                name,
                self.path,
                reason,
                detail,
            )
