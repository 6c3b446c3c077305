"""Compaction: the files of dead workers become one file of each kind; their live gauges vanish.

A compacted file ends with the names of the files whose numbers it has. Replacing it is the commit:
from then on those files no longer count, wherever the process is killed. Readers omit the files
that it names, and the next compaction removes them. Only the process that holds the lock of the
directory changes anything. Only a scrape waits for the lock, and not for long.

    write the new compacted file  ->  rename it  ->  remove the files it names  ->  clear the names
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter

from ..files import file_names, locks
from ..files.client_library import HAS_TIMESTAMPS
from ..files.entries import HEADER, entry, header
from ..files.file_names import NATIVE, Group
from ..files.keys import Key, Keys, Labels
from ..files.listing import File, listing
from ..files.max_series import Metric, declared
from ..files.reading import Corrupt, FileReader
from ..files.writing import replace_file
from ..native.merging import bounded
from ..native.siblings import orphans
from .processes import Living

__all__ = ["UNKNOWN_MAX_SERIES", "Compactor", "compacted_files"]

UNKNOWN_MAX_SERIES = 10_000
"""How many label sets of dead workers to keep of a metric that promweb did not make."""

_COMPACTED_KINDS = frozenset(
    [
        "counter",
        "histogram",
        "native",
        "summary",
        "gauge_sum",
        "gauge_min",
        "gauge_max",
        "gauge_mostrecent",
    ]
)

_LENGTH = struct.Struct("=q")
"""The number of bytes of the list of names, which follows the entries."""

_ABANDONED = 60.0
"""An unfinished file is abandoned after this many seconds."""


def compacted_files(reader: FileReader) -> frozenset[tuple[str, int]]:
    """Return names and inodes of the files whose numbers are in a compacted file."""
    try:
        tail = reader.tail()
        (length,) = _LENGTH.unpack_from(tail)
        return frozenset((name, inode) for name, inode in json.loads(tail[8 : 8 + length] or "[]"))
    except (Corrupt, FileNotFoundError, struct.error, ValueError, TypeError):
        return frozenset()


class Compactor:
    """Compacts the files of dead processes in one directory. Its methods raise only OSError."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._living = Living(directory)
        self._unreadable: set[tuple[str, int]] = set()
        """Dead files that cannot be read. They stay, and are tried only once."""

    def compact(self, *, unfinished: bool = False, wait: float = 0.0) -> None:
        """Compact the files of dead processes, unless another process does so for `wait` seconds.

        `unfinished` means that a compacted file still names files.
        """
        if not unfinished and not self._dead(listing(self._directory)[0]):
            return
        with locks.exclusive(os.path.join(self._directory, file_names.LOCK), wait) as taken:
            if not taken:
                return
            self._remove_unfinished()
            for file in self._compacted():
                self._finish(file)
            # Another process may have compacted some of them before this one got the lock.
            files, _ = listing(self._directory)
            dead = self._dead(files)
            lost = orphans(files)
            self._remove(file for files in dead.values() for file in files if file.identity in lost)
            self._remove(f for f in files if f.name.is_compacted and f.identity in lost)
            compacted = {file.name.group: file for file in self._compacted()}
            # Native buckets go first: they are lost once their file of histograms is gone.
            for group, files in sorted(dead.items(), key=lambda item: item[0].kind != NATIVE):
                files = [file for file in files if file.identity not in lost]
                if group.kind in _COMPACTED_KINDS:
                    self._merge(group, compacted.get(group), files)
                else:
                    self._remove(files)

    def living_runs(self) -> set[str]:
        """Return the runs that have a living process."""
        files, _ = listing(self._directory)
        self._living.look_again(file.identity for file in files)
        return {f.name.run for f in files if not f.name.is_compacted and self._lives(f)}

    def remove_dead_except(self, runs: Collection[str]) -> None:
        """Remove the dead files of all other runs. The caller has the lock."""
        files, _ = listing(self._directory)
        self._remove(
            file
            for file in files
            if file.name.run not in runs and (file.name.is_compacted or not self._lives(file))
        )

    def remove_live_gauges(self, owner: str) -> None:
        """Remove the live gauges of a process that has ended, or of this one, which is ending.

        promweb's files of other processes stay: their locks tell whether they are dead, and a pid
        may be that of another process elsewhere.
        """
        own = owner == str(os.getpid())
        self._remove(
            file
            for file in listing(self._directory)[0]
            if file.name.owner == owner
            and file.name.kind.startswith("gauge_live")
            and (own or not file.name.is_own)
        )

    def _dead(self, files: Sequence[File]) -> dict[Group, list[File]]:
        """Return the files of dead processes, grouped by the compacted file they go into."""
        self._living.look_again(file.identity for file in files)
        dead: dict[Group, list[File]] = {}
        for file in files:
            if file.name.is_compacted or file.identity in self._unreadable or self._lives(file):
                continue
            dead.setdefault(file.name.group, []).append(file)
        return dead

    def _compacted(self) -> list[File]:
        return [file for file in listing(self._directory)[0] if file.name.is_compacted]

    def _lives(self, file: File) -> bool:
        return self._living.has(file.name, file.inode, file.changed)

    def _is_new(self, file: File) -> bool:
        """Tell whether a living process has a file of the name and inode of a compacted one.

        promweb's names are used once, so this happens only to prometheus_client's files.
        """
        return not file.name.is_own and self._lives(file)

    def _merge(self, group: Group, compacted: File | None, dead: Sequence[File]) -> None:
        """Replace a compacted file by one that includes the numbers of the dead files."""
        keys = Keys()
        sums = _Sums(group, keys, declared(self._directory))
        if compacted is not None:
            reader = self._read(compacted, keys)
            if reader is None:  # damaged from outside: keep it for inspection, and start over
                os.rename(self._path(compacted), self._path(compacted) + ".broken")
            else:
                sums.add(reader, bounded=False)
        done = []
        for file in dead:
            reader = self._read(file, keys)
            if reader is not None:
                sums.add(reader)
                done.append(file)
        if not done:
            return
        path = os.path.join(self._directory, file_names.compacted_name(group))
        content, used = sums.content([file.identity for file in done])
        replace_file(path, content)
        self._remove(done)
        _clear_names(path, used)

    def _finish(self, compacted: File) -> None:
        """Finish a compaction whose process was killed."""
        reader = self._read(compacted, Keys())
        done = frozenset() if reader is None else compacted_files(reader)
        if reader is not None and done:
            files, _ = listing(self._directory)
            self._living.look_again(file.identity for file in files)
            self._remove(f for f in files if f.identity in done and not self._is_new(f))
            _clear_names(reader.path, reader.used)

    def _read(self, file: File, keys: Keys) -> FileReader | None:
        """Read the file of a dead process; return None if it cannot be read."""
        try:
            reader = FileReader(self._path(file), keys)
            reader.update()
        except (FileNotFoundError, Corrupt):
            self._unreadable.add(file.identity)
            return None
        return reader

    def _remove(self, files: Iterable[File]) -> None:
        for file in files:
            with suppress(FileNotFoundError):
                os.unlink(self._path(file))

    def _remove_unfinished(self) -> None:
        """Remove unfinished files of processes that were killed while they made them.

        Only the process that holds the lock makes a compacted file.
        """
        with os.scandir(self._directory) as entries:
            for found in entries:
                if found.name.endswith(file_names.UNFINISHED):
                    with suppress(FileNotFoundError):
                        age = time.time() - found.stat(follow_symlinks=False).st_mtime
                        if age > _ABANDONED or f"_{file_names.COMPACTED}." in found.name:
                            os.unlink(found.path)

    def _path(self, file: File) -> str:
        return os.path.join(self._directory, file.name.name)


class _Sums:
    """The numbers of dead processes, with a bounded number of label sets for each metric."""

    def __init__(self, group: Group, keys: Keys, limits: Mapping[Metric, int]) -> None:
        self._mode = group.kind.rpartition("_")[2]
        self._registry = group.registry
        self._keys = keys
        self._limits = limits
        self._label_sets: dict[str, set[Labels]] = {}
        self._numbers: dict[Key, tuple[float, float]] = {}

    def add(self, reader: FileReader, *, bounded: bool = True) -> None:
        """Add a file's numbers; unless `bounded`, no label set overflows."""
        numbers, doubles = self._numbers, reader.doubles
        for key, position in reader.entries():
            label_sets = self._label_sets.setdefault(key.metric, set())
            if bounded and key.labels not in label_sets:
                limit = self._limits.get((self._registry, key.metric), UNKNOWN_MAX_SERIES)
                if len(label_sets) >= limit - 1:
                    key = self._keys.overflow(key)
            label_sets.add(key.labels)
            number = (doubles[position], doubles[position + 1] if HAS_TIMESTAMPS else 0.0)
            known = numbers.get(key)
            numbers[key] = number if known is None else self._combine(known, number)

    def content(self, names: Sequence[tuple[str, int]]) -> tuple[bytes, int]:
        """Return a file of these numbers and names, and how many of its bytes are used."""
        all_numbers = self._numbers
        if self._mode == NATIVE:
            all_numbers = bounded(all_numbers, self._keys)
        entries = b"".join(entry(key.raw, *numbers) for key, numbers in all_numbers.items())
        used = HEADER + len(entries)
        tail = json.dumps(names).encode()
        tail += b" " * (-len(tail) % 8)
        return b"".join((header(used), entries, _LENGTH.pack(len(tail)), tail)), used

    def _combine(self, one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
        if self._mode in ("min", "max"):
            choose = min if self._mode == "min" else max
            return choose(one[0], other[0]), 0.0
        if self._mode == "mostrecent":
            return max(one, other, key=itemgetter(1))
        return one[0] + other[0], 0.0


def _clear_names(path: str, used: int) -> None:
    """Clear the names in a compacted file: a new process may use one of them again."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.pwrite(descriptor, _LENGTH.pack(0), used)
        os.ftruncate(descriptor, used + _LENGTH.size)
    finally:
        os.close(descriptor)
