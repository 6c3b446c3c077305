"""Runs: a run is a server's process and everything that it starts, until that process is over.

Each file of promweb has the token of its run in its name. A process whose run is new in a directory
removes the dead files of runs that are over. So a service that restarts begins at zero, while a
command that somebody starts in the same environment removes nothing of a service that runs.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from typing import NamedTuple

from ..files import file_names, locks
from ..files.writing import replace_file
from . import processes
from .compaction import Compactor

__all__ = ["Run", "begin", "is_in_use", "this_run"]

_PATIENCE = 5.0
"""Seconds to wait for other workers that start at the same time."""

_LONGEST_RECORD = 1 << 20

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


class Run(NamedTuple):
    """A server's process, in a way that no other process ever has."""

    boot: str
    namespace: str
    """That of pids."""
    pid: int
    start: int | None
    """In clock ticks since boot; None if that cannot be told."""

    @property
    def token(self) -> str:
        """What the names of the run's files have."""
        return hashlib.sha256(repr(tuple(self)).encode()).hexdigest()[: file_names.TOKEN]

    @property
    def is_over(self) -> bool | None:
        """Whether the process has ended; None if that cannot be told from here."""
        boot, namespace = processes.place()
        if boot != self.boot:
            return True
        if namespace != self.namespace:
            return None
        return not processes.is_running(self.pid, self.start)


def this_run() -> Run:
    """Return the run of this process."""
    server = os.getppid() if processes.is_worker() else os.getpid()
    return Run(*processes.place(), server, processes.started(server))


def begin(directory: str, run: Run) -> None:
    """Record a run in a directory, and remove what runs left that are over. Raises OSError."""
    with locks.exclusive(os.path.join(directory, file_names.LOCK), _PATIENCE) as taken:
        runs = _recorded(directory)
        if not taken or run in runs:
            return
        compactor = Compactor(directory)
        in_use = compactor.living_runs()
        going_on = [known for known in runs if known.token in in_use or known.is_over is False]
        tokens = {known.token for known in going_on}
        if going_on:
            tokens.add(file_names.NO_RUN)  # they may be of one of these
        else:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, file_names.LIMITS))
        compactor.remove_dead_except(tokens)
        record = "".join(json.dumps(known) + "\n" for known in (*going_on, run))
        replace_file(os.path.join(directory, file_names.RUNS), record.encode())


def is_in_use(directory: str) -> bool:
    """Tell whether a run that is recorded in a directory goes on, as far as that can be told."""
    return any(run.is_over is False for run in _recorded(directory))


def _recorded(directory: str) -> list[Run]:
    runs: list[Run] = []
    with suppress(OSError):
        descriptor = os.open(os.path.join(directory, file_names.RUNS), _FLAGS)
        with open(descriptor, "rb") as file:
            for line in file.read(_LONGEST_RECORD).splitlines():
                with suppress(ValueError, TypeError):
                    runs.append(Run(*json.loads(line)))
    return runs
