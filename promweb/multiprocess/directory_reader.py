"""Reads a directory for a scrape: finds its files, reads and merges them.

It omits files that cannot be read and shows everything else.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import NamedTuple

from prometheus_client.metrics_core import Metric

from ..core.families.problems import logger
from .files import file_names, locks
from .files.file_names import NATIVE
from .files.keys import Keys
from .files.listing import File, listing
from .files.reading import Corrupt, FileReader
from .lifecycle.compaction import Compactor, compacted_files
from .merging import MergedFamily, restricted
from .native.merging import Natives
from .native.siblings import orphans
from .plans import Plan

__all__ = ["DirectoryReader", "Shown"]

_MOST_UNUSED_KEYS = 10_000
"""How many keys are cached at most that no file has any more."""

_ATTEMPTS = 5
"""How often a scrape reads again after a compaction, before it takes the lock itself."""

_PATIENCE = 5.0
"""Seconds that a scrape waits for the lock of the directory; Prometheus waits ten for a scrape."""

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW

Families = list[tuple[MergedFamily, list[float], Natives | None]]


class Shown(NamedTuple):
    """Which metrics the endpoint of one registry shows."""

    registry: str
    """The part of its files' names that identifies the registry."""
    has: Callable[[str], bool]
    """Tells whether a metric of prometheus_client belongs to it."""

    @property
    def parts(self) -> tuple[str, ...]:
        return self.registry, file_names.CLIENT, file_names.EVERY

    def part(self, registry: str) -> str | None:
        """Return which files to read together with those of a registry; None to skip them."""
        return registry if registry in self.parts else None


class DirectoryReader:
    """Reads one directory, and caches between scrapes the parts that cannot change.

    It calls `on_skip` with the reason for each file that it omits.
    """

    def __init__(self, path: str, on_skip: Callable[[str], None]) -> None:
        self.path = path
        self._on_skip = on_skip
        self._logged: set[object] = set()
        self.forget()

    def forget(self) -> None:
        """Start afresh in a forked child, where another thread may have held the lock."""
        self._lock = threading.Lock()
        self._compacting = threading.Lock()
        self._compactor = Compactor(self.path)
        self._clear()

    def compact(self, wait: float = 0.0) -> None:
        """Compact the files of dead processes. Never raises.

        Does nothing if another thread or process is doing so for more than `wait` seconds.
        """
        end = time.monotonic() + wait
        if not self._compacting.acquire(timeout=wait):
            return
        try:
            left = max(0.0, end - time.monotonic())
            self._compactor.compact(unfinished=self._is_unfinished, wait=left)
        except OSError as error:
            self._warn(
                "compact",
                f"promweb cannot compact the files of dead processes in {self.path}: {error}. "
                "Nothing is lost, but the files pile up.",
            )
        finally:
            self._compacting.release()

    def collect(
        self,
        names: Sequence[str] | None,
        pause: Callable[[], None],
        shown: Shown | None = None,
    ) -> Iterator[Metric]:
        """Yield the merged families of a registry, restricted to samples and families in `names`.

        `shown` selects the registry; without it all registries are shown.
        """
        self.compact(_PATIENCE)  # otherwise there would be more label sets than the bound allows
        with self._lock:
            families = self._read(shown, pause)
        wanted = frozenset(names) if names else None
        for family, numbers, natives in families:
            metric: Metric | None = family.metric(numbers, natives)
            if metric is not None and wanted is not None:
                metric = restricted(metric, wanted)
            if metric is not None:
                yield metric

    def _clear(self) -> None:
        self._is_unfinished = False
        self._keys = Keys()
        self._files: dict[str, FileReader] = {}
        self._plans: dict[tuple[str, str], tuple[object, Plan]] = {}

    def _read(self, shown: Shown | None, pause: Callable[[], None]) -> Families:
        """Return the families and their numbers, read while no compaction was committed."""
        with ExitStack() as stack:
            try:
                for attempt in range(_ATTEMPTS + 1):
                    if attempt == _ATTEMPTS:
                        path = os.path.join(self.path, file_names.LOCK)
                        stack.enter_context(locks.exclusive(path, _PATIENCE))
                    before = self._hold(stack)
                    families = self._merge(before, shown, pause)
                    if {file.identity for file in before} == self._compacted():
                        break
            except OSError as error:
                self._skip((self.path, 0), "unreadable", str(error))
                return []
        if len(self._keys) > _MOST_UNUSED_KEYS + 2 * sum(f.count for f in self._files.values()):
            self._clear()
        return families

    def _hold(self, stack: ExitStack) -> list[File]:
        """Return the compacted files, and keep them open as long as `stack`.

        Meanwhile no new file can get the inode of one of them, so a directory that was compacted
        twice cannot look unchanged.
        """
        held = []
        for file in listing(self.path)[0]:
            if file.name.is_compacted:
                with suppress(OSError):
                    descriptor = os.open(os.path.join(self.path, file.name.name), _FLAGS)
                    stack.callback(os.close, descriptor)
                    held.append(file._replace(inode=os.fstat(descriptor).st_ino))
        return held

    def _compacted(self) -> set[tuple[str, int]]:
        return {file.identity for file in listing(self.path)[0] if file.name.is_compacted}

    def _merge(
        self, compacted: Iterable[File], shown: Shown | None, pause: Callable[[], None]
    ) -> Families:
        # Before listing the files: a file whose name is cleared later is gone by then.
        done = frozenset[tuple[str, int]]().union(
            *[compacted_files(reader) for reader in map(self._reader, compacted) if reader]
        )
        files, foreign = listing(self.path)
        for identity in foreign:
            self._skip(identity, "foreign")
        self._is_unfinished = bool(done)
        done |= orphans(files)
        parts: dict[tuple[str, str], list[tuple[FileReader, str]]] = {}
        for file in files:
            part = "" if shown is None else shown.part(file.name.registry)
            reader = None if part is None or file.identity in done else self._reader(file)
            if reader is not None and reader.blocks:
                parts.setdefault((file.name.kind, part or ""), []).append((reader, file.name.owner))
            pause()
        for name in self._files.keys() - {file.name.name for file in files}:
            del self._files[name]
        looked_at = ("",) if shown is None else shown.parts
        for known in self._plans.keys() - parts.keys():
            if known[1] in looked_at:
                del self._plans[known]
        families: dict[str, tuple[MergedFamily, list[float]]] = {}
        natives: dict[str, Natives] = {}
        for (kind, part), readers in parts.items():
            plan = self._plan((kind, part), readers)
            pause()
            numbers = plan.numbers()
            for reader, _ in readers:
                reader.release()
            if kind == NATIVE:
                for one in plan.families:
                    natives[one.name] = Natives(one.name, one.slots, numbers)
                continue
            for family in plan.families:
                if part == file_names.CLIENT and shown is not None and not shown.has(family.name):
                    continue
                if families.setdefault(family.name, (family, numbers))[0] is not family:
                    self._warn(
                        (kind, family.name),
                        f"promweb omits the {kind} {family.name!r} of {self.path}, because "
                        "there is another metric of this name. Give each application a directory.",
                    )
            pause()
        return [(*found, natives.get(name)) for name, found in families.items()]

    def _reader(self, file: File) -> FileReader | None:
        """Return a file's reader; None if the file is gone or cannot be read."""
        name = file.name.name
        reader = self._files.get(name)
        try:
            if reader is None or reader.inode != file.inode:
                reader = self._files[name] = FileReader(os.path.join(self.path, name), self._keys)
            reader.update()
        except FileNotFoundError:
            self._files.pop(name, None)
            return None
        except Corrupt as error:
            self._files.pop(name, None)
            self._skip(file.identity, str(error))
            return None
        return reader

    def _plan(self, part: tuple[str, str], files: list[tuple[FileReader, str]]) -> Plan:
        """Return the plan for these files: the previous one, if no key is new."""
        shape = [(reader, len(reader.blocks)) for reader, _ in files]
        known = self._plans.get(part)
        if known is not None and known[0] == shape:
            return known[1]
        plan = Plan(part[0], files, self._keys)
        self._plans[part] = (shape, plan)
        return plan

    def _skip(self, identity: tuple[str, int], reason: str, detail: str = "") -> None:
        """Count an omitted file, and log it once."""
        self._on_skip(reason)
        self._warn(
            identity,
            f"promweb omits {os.path.join(self.path, identity[0])} from scrapes, because it is "
            f"{reason}. {detail and f'{detail}. '}This is logged once; "
            "promweb_multiprocess_files_skipped_total counts every time.",
        )

    def _warn(self, key: object, message: str) -> None:
        if key not in self._logged and len(self._logged) < 1000:
            self._logged.add(key)
            logger.warning(message)
