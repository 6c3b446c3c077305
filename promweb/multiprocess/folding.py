"""Dead workers: what they counted goes into one file of each kind, their live gauges vanish.

A folded file ends with the names of the files that are in it. Replacing it is the moment from
which those no longer count, wherever the folding process is killed: readers leave out what it
names, and the next folding removes that. Only who holds the lock of the directory changes
anything; nobody waits for it.

    write the new folded file  ->  put it in place  ->  remove what it names  ->  clear the names
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import NamedTuple

from . import locks, naming
from .client import HAS_TIMESTAMPS
from .keys import Key, Keys, Labels
from .naming import FileName
from .processes import Living, run_of
from .reading import Corrupt, FileReader
from .writing import HEADER, entry

__all__ = ["UNKNOWN_MAX_SERIES", "File", "Folder", "absorbed", "listing"]

UNKNOWN_MAX_SERIES = 10_000
"""The most label sets of dead workers that are kept of a metric that promweb did not make."""

_FOLDED_KINDS = frozenset(
    ["counter", "histogram", "summary", "gauge_sum", "gauge_min", "gauge_max", "gauge_mostrecent"]
)

_LENGTH = struct.Struct("=q")
"""How long the list of names is that follows the entries."""

_FORSAKEN = 60.0
"""Seconds after which nobody finishes an unfinished file any more."""


class File(NamedTuple):
    """A file of numbers that is in a directory."""

    name: FileName
    inode: int
    size: int
    changed: float
    """When it was modified, as Unix time."""

    @property
    def identity(self) -> tuple[str, int]:
        return self.name.name, self.inode


def listing(directory: str) -> tuple[list[File], list[tuple[str, int]]]:
    """Return the files of numbers in a directory in the order of their names, and the name and
    inode of what else looks like one. Raises `OSError`."""
    files: list[File] = []
    foreign: list[tuple[str, int]] = []
    with os.scandir(directory) as entries:
        for found in entries:
            if not found.name.endswith(naming.SUFFIX):
                continue
            with suppress(FileNotFoundError):
                status = found.stat(follow_symlinks=False)
                name = naming.parse(found.name)
                if name is None:
                    foreign.append((found.name, status.st_ino))
                else:
                    files.append(File(name, status.st_ino, status.st_size, status.st_mtime))
    return sorted(files), foreign


def absorbed(reader: FileReader) -> frozenset[tuple[str, int]]:
    """Return names and inodes of the files whose numbers are in a folded file."""
    tail = reader.tail()
    try:
        (length,) = _LENGTH.unpack_from(tail)
        return frozenset((name, inode) for name, inode in json.loads(tail[8 : 8 + length] or "[]"))
    except (struct.error, ValueError, TypeError):
        return frozenset()


class Folder:
    """Folds the dead files of one directory.

    `limits` has `max_series` of the metrics that promweb made. Nothing here raises but `OSError`.
    """

    def __init__(self, directory: str, limits: Mapping[str, int]) -> None:
        self._directory = directory
        self._limits = limits
        self._living = Living(directory)
        self._unreadable: set[tuple[str, int]] = set()
        """Dead files that cannot be read stay where they are; trying once is enough."""

    def fold(self, *, unfinished: bool = False) -> None:
        """Fold what dead processes left, unless somebody else does so.

        `unfinished` says that a folded file names something.
        """
        if not unfinished and not self._dead(listing(self._directory)[0]):
            return
        with locks.exclusive(os.path.join(self._directory, naming.LOCK)) as taken:
            if not taken:
                return
            self._remove_unfinished()
            for file in self._folded():
                self._finish(file)
            # What was found before may have been folded since.
            dead = self._dead(listing(self._directory)[0])
            folded = {file.name.kind: file for file in self._folded()}
            for kind, files in dead.items():
                if kind in _FOLDED_KINDS:
                    self._merge(kind, folded.get(kind), files)
                else:
                    self._remove(files)

    def clean(self, run: str) -> bool:
        """Remove what dead processes left; nothing if one lives that does not belong to `run`.

        Returns whether there was none. Who calls it has the lock.
        """
        files, _ = listing(self._directory)
        self._living.look_again(file.identity for file in files)
        living = [file for file in files if not file.name.is_folded and self._lives(file)]
        if any(run_of(file.name.owner) != run for file in living):
            return False
        self._remove(file for file in files if file not in living)
        return True

    def remove_live_gauges(self, owner: str) -> None:
        """Remove the live gauges of a process that has ended, or of this one, which is about to.

        Another one that has a lock lives, wherever its pid is the one that is meant.
        """
        own = owner == str(os.getpid())
        self._remove(
            file
            for file in listing(self._directory)[0]
            if file.name.owner == owner
            and file.name.kind.startswith("gauge_live")
            and (own or not file.name.is_own)
        )

    def _dead(self, files: Sequence[File]) -> dict[str, list[File]]:
        """Return the files of dead processes by kind."""
        self._living.look_again(file.identity for file in files)
        dead: dict[str, list[File]] = {}
        for file in files:
            if file.name.is_folded or file.identity in self._unreadable or self._lives(file):
                continue
            dead.setdefault(file.name.kind, []).append(file)
        return dead

    def _folded(self) -> list[File]:
        return [file for file in listing(self._directory)[0] if file.name.is_folded]

    def _lives(self, file: File) -> bool:
        return self._living.has(file.name, file.inode, file.changed)

    def _is_new(self, file: File) -> bool:
        """Tell whether a living process has the name, and even the inode, of one that was folded.

        promweb's names do not come again: whoever seems to live, such a file is folded.
        """
        return not file.name.is_own and self._lives(file)

    def _merge(self, kind: str, folded: File | None, dead: Sequence[File]) -> None:
        """Put a folded file in place that has the numbers of the dead ones, too."""
        keys = Keys()
        sums = _Sums(kind, keys, self._limits)
        if folded is not None:
            reader = self._read(folded, keys)
            if reader is None:  # broken by somebody; the next one starts anew
                os.rename(self._path(folded), self._path(folded) + ".broken")
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
        path = os.path.join(self._directory, naming.folded_name(kind))
        unfinished = path + naming.UNFINISHED
        content, used = sums.content([file.identity for file in done])
        with open(unfinished, "wb") as output:
            output.write(content)
        os.replace(unfinished, path)
        self._remove(done)
        _clear_names(path, used)

    def _finish(self, folded: File) -> None:
        """Do what is left of a folding that somebody was killed in."""
        reader = self._read(folded, Keys())
        names = frozenset() if reader is None else absorbed(reader)
        if reader is not None and names:
            files, _ = listing(self._directory)
            self._living.look_again(file.identity for file in files)
            self._remove(f for f in files if f.identity in names and not self._is_new(f))
            _clear_names(reader.path, reader.used)

    def _read(self, file: File, keys: Keys) -> FileReader | None:
        """Return the reader of a file that nobody writes, None if it cannot be read."""
        try:
            reader = FileReader(self._path(file), keys)
            reader.update(file.size)
        except (FileNotFoundError, Corrupt):
            self._unreadable.add(file.identity)
            return None
        return reader

    def _remove(self, files: Iterable[File]) -> None:
        for file in files:
            with suppress(FileNotFoundError):
                os.unlink(self._path(file))

    def _remove_unfinished(self) -> None:
        """Remove what processes left that were killed while they made a file."""
        with os.scandir(self._directory) as entries:
            for found in entries:
                if found.name.endswith(naming.UNFINISHED):
                    with suppress(FileNotFoundError):
                        if time.time() - found.stat().st_mtime > _FORSAKEN:
                            os.unlink(found.path)

    def _path(self, file: File) -> str:
        return os.path.join(self._directory, file.name.name)


class _Sums:
    """The numbers of dead processes, each metric with a bounded number of label sets."""

    def __init__(self, kind: str, keys: Keys, limits: Mapping[str, int]) -> None:
        self._mode = kind.rpartition("_")[2]
        self._keys = keys
        self._limits = limits
        self._label_sets: dict[str, set[Labels]] = {}
        self._numbers: dict[Key, tuple[float, float]] = {}

    def add(self, reader: FileReader, *, bounded: bool = True) -> None:
        """Add a file's numbers; unless `bounded`, each label set stays what it is."""
        numbers, doubles = self._numbers, reader.doubles
        for key, position in reader.entries():
            label_sets = self._label_sets.setdefault(key.metric, set())
            if bounded and key.labels not in label_sets:
                limit = self._limits.get(key.metric, UNKNOWN_MAX_SERIES)
                if len(label_sets) >= limit - 1:
                    key = self._keys.overflow(key)
            label_sets.add(key.labels)
            number = (doubles[position], doubles[position + 1] if HAS_TIMESTAMPS else 0.0)
            known = numbers.get(key)
            numbers[key] = number if known is None else self._combine(known, number)

    def content(self, names: Sequence[tuple[str, int]]) -> tuple[bytes, int]:
        """Return a file of these numbers that names what is in it, and how much of it is used."""
        entries = b"".join(entry(key.raw, *numbers) for key, numbers in self._numbers.items())
        used = HEADER + len(entries)
        tail = json.dumps(names).encode()
        tail += b" " * (-len(tail) % 8)
        return b"".join((struct.pack("=ii", used, 0), entries, _LENGTH.pack(len(tail)), tail)), used

    def _combine(self, one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
        if self._mode in ("min", "max"):
            choose = min if self._mode == "min" else max
            return choose(one[0], other[0]), 0.0
        if self._mode == "mostrecent":
            return max(one, other, key=itemgetter(1))
        return one[0] + other[0], 0.0


def _clear_names(path: str, used: int) -> None:
    """Have a folded file name nothing: another process may take a name that is free now."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, _LENGTH.pack(0), used)
    finally:
        os.close(descriptor)
