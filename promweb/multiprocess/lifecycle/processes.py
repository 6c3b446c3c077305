"""Tells which files belong to living processes.

promweb's files are locked by the process that writes them. prometheus_client does not lock, but it
maps its files, which `/proc` shows on Linux. A pid alone proves little: the system reuses pids, and
some programs use other identifiers. Without `/proc` there is only the pid.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress

from ..files import locks
from ..files.file_names import FileName

__all__ = ["Living", "identify", "is_running", "is_worker", "place", "started"]

_PROC = "/proc"

_WRITTEN = re.compile(r"^\S+ rw-s .*?([^/\n]*/[^/\n]+\.db)$", re.MULTILINE)
"""A line of `/proc/*/maps`: a file mapped to be written, with the directory it is in."""

_MARGIN = 2.0
"""How many seconds the clock may jump between the start of a process and its first file."""


class Living:
    """Tells the files of living processes from those of dead ones. In doubt, a process lives."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._name = os.path.basename(os.path.realpath(directory))
        self._writers: dict[tuple[str, int], str] = {}
        """The process that last had a file mapped, by file."""
        self._mapped: dict[str, str] | None = None
        """The pid that writes each file, once all processes were searched."""

    def has(self, name: FileName, inode: int, changed: float) -> bool:
        """Tell whether a living process writes a file; `changed` is its modification time."""
        if name.is_own:
            try:
                # A daemon that closes all descriptors loses its locks, but not its mappings.
                is_locked = locks.is_locked(os.path.join(self._directory, name.name))
                return is_locked or bool(self._is_mapped_by(name.owner, name.name))
            except OSError as error:
                if not locks.is_unsupported(error):
                    return True
        writer = self._writers.get((name.name, inode))
        if writer is not None and identify(writer.partition(":")[0]) == writer:
            return True
        pid: str | None = name.owner
        if not self._is_mapped_by(name.owner, name.name):
            pid = self._find_writer(name.name)
        if pid is None:
            return self._may_write(name.owner, name.name, changed)
        self._writers[name.name, inode] = identify(pid)
        return True

    def is_mine(self, name: str) -> bool:
        """Tell whether this process writes a file that has its pid. In doubt, return True."""
        return self._is_mapped_by(str(os.getpid()), name) is not False

    def look_again(self, there: Iterable[tuple[str, int]]) -> None:
        """Forget everything that may have changed; `there` has names and inodes of all files."""
        self._mapped = None
        for file in self._writers.keys() - set(there):
            del self._writers[file]

    def _find_writer(self, name: str) -> str | None:
        """Return the pid of a process that has a file mapped; each process is asked once."""
        if self._mapped is None:
            self._mapped = {}
            for pid in _pids():
                self._mapped.update(dict.fromkeys(_writes(pid) or (), pid))
        return self._mapped.get(self._within(name))

    def _is_mapped_by(self, pid: str, name: str) -> bool | None:
        files = _writes(pid)
        return None if files is None else self._within(name) in files

    def _within(self, name: str) -> str:
        return f"{self._name}/{name}"

    def _may_write(self, owner: str, name: str, changed: float) -> bool:
        """Tell whether a file may belong to the process of its pid, without `/proc/*/maps`."""
        if not owner.isdigit():
            return not os.path.exists(_PROC)
        try:
            os.kill(int(owner), 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            pass
        if self._is_mapped_by(owner, name) is False:
            return False
        ticks = started(owner)
        if ticks is None:
            return True
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return time.time() - age <= changed + _MARGIN  # otherwise the pid was reused


def identify(pid: int | str) -> str:
    """Return an identity of a process that no later process with the same pid has."""
    return f"{pid}:{started(pid)}"


def place() -> tuple[str, str]:
    """Return the boot and the pid namespace, which identify this system since it started."""
    boot = namespace = "-"
    with suppress(OSError), open(f"{_PROC}/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    with suppress(OSError):
        namespace = os.readlink(f"{_PROC}/self/ns/pid")
    return boot, namespace


def is_worker() -> bool:
    """Tell whether the parent is the server's process, rather than a shell or a supervisor.

    A server and its workers run the same program in one process group. Supervisors give each
    service a group of its own; a shell is another program.
    """
    parent = os.getppid()
    try:
        if parent == 0 or os.getpgid(parent) != os.getpgid(0):
            return False
        return os.readlink(f"{_PROC}/{parent}/exe") == os.readlink(f"{_PROC}/self/exe")
    except PermissionError:
        return True  # the server runs as root, and its workers do not
    except OSError:
        return not os.path.exists(_PROC)


def is_running(pid: int, start: int | None) -> bool:
    """Tell whether the process that started at that time still runs."""
    if os.path.exists(f"{_PROC}/self"):
        return started(pid) == start
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def started(pid: int | str) -> int | None:
    """Return when a process started, in clock ticks since boot; None if there is none."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def _writes(pid: str) -> frozenset[str] | None:
    """Return the files that a process has mapped to write; None if that is unknown."""
    try:
        with open(f"{_PROC}/{pid}/maps", errors="replace") as maps:
            return frozenset(_WRITTEN.findall(maps.read()))
    except OSError as error:
        is_secret = isinstance(error, PermissionError) or not os.path.exists(_PROC)
        return None if is_secret else frozenset()


def _pids() -> list[str]:
    with suppress(OSError):
        return [name for name in os.listdir(_PROC) if name.isdigit()]
    return []


def _stat(pid: int | str) -> list[str] | None:
    """Return state, parent, process group and so on; None if there is no such process."""
    try:
        with open(f"{_PROC}/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].decode().split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields  # a zombie has ended
