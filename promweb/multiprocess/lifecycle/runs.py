"""Runs: a run is a server's process and everything that it starts, until that process is over.

The name of each promweb file has the token of its run. A process whose run is new in a directory
removes the dead files of finished runs. So a service that restarts begins at zero, while a command
started in the same environment removes nothing of a running service.
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
"""How many seconds to wait for other workers that start at the same time."""

_LONGEST_RECORD = 1 << 20

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


class Run(NamedTuple):
    """Identifies a server's process, unlike any other process at any time."""

    boot: str
    namespace: str
    """The namespace of pids."""
    pid: int
    start: int | None
    """Clock ticks between boot and its start; None if unknown."""

    @property
    def token(self) -> str:
        """The part of a file's name that identifies the run."""
        return hashlib.sha256(repr(tuple(self)).encode()).hexdigest()[: file_names.TOKEN]

    @property
    def is_over(self) -> bool | None:
        """Whether the process has ended; None if that is not visible from here."""
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
    """Record a run in a directory, and remove the files of finished runs. Raises OSError."""
    with locks.exclusive(os.path.join(directory, file_names.LOCK), _PATIENCE) as taken:
        runs = _recorded(directory)
        if not taken or run in runs:
            return
        compactor = Compactor(directory)
        in_use = compactor.living_runs()
        going_on = [known for known in runs if known.token in in_use or known.is_over is False]
        tokens = {known.token for known in going_on}
        if going_on:
            tokens.add(file_names.NO_RUN)  # these files may belong to one of these runs
        else:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, file_names.LIMITS))
        compactor.remove_dead_except(tokens)
        record = "".join(json.dumps(known) + "\n" for known in (*going_on, run))
        replace_file(os.path.join(directory, file_names.RUNS), record.encode())


def is_in_use(directory: str) -> bool:
    """Tell whether a recorded run goes on, as far as this process can see."""
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
