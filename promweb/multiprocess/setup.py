"""Turns multiprocess mode on: prepares the directory, and prometheus_client."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress

from ..core import forking
from ..core.families.problems import logger
from ..core.families.storage import DIRECTORY_VARIABLE, shared_directory
from .compaction import Compactor
from .file_storage import FileStorage
from .files import client_library, file_names, locks
from .processes import run_of

__all__ = ["enable", "mark_process_dead", "storage_of"]

_PATIENCE = 5.0
"""Seconds to wait for other workers that start at the same time."""

_REMEMBERED = 100
"""How many runs are remembered."""

_storages: dict[str, FileStorage] = {}


def enable(directory: str | os.PathLike[str] | None = None) -> str:
    """Share metrics between all worker processes of a program; return the directory.

    Call it before metrics are created, in the process that starts the workers or in each of them.
    It sets `PROMETHEUS_MULTIPROC_DIR`. Without `directory` it uses the directory that the variable
    names, or one for this program in the system's temporary directory. It creates the directory
    and removes the files of former runs. Raises OSError if it cannot write there.
    """
    if directory is not None:
        path = os.path.abspath(directory)
    else:
        path = os.path.abspath(shared_directory() or _temporary_directory())
    storage_of(path)
    os.environ[DIRECTORY_VARIABLE] = path
    return path


def storage_of(directory: str) -> FileStorage:
    """Return this process's storage in a directory; the first call prepares the directory."""
    path = os.path.abspath(directory)
    with forking.definitions:
        storage = _storages.get(path)
        if storage is None:
            _prepare(path)
            if not os.environ.get(DIRECTORY_VARIABLE):
                os.environ[DIRECTORY_VARIABLE] = path
            storage = _storages[path] = FileStorage(path)
            late = client_library.share_new_metrics()
            if late:
                logger.warning(
                    "These metrics of prometheus_client were created before multiprocess mode was "
                    "enabled, and scrapes will not show them: %s. Set %s before the program "
                    "starts, or call promweb.multiprocess.enable() before they are created.",
                    ", ".join(late),
                    DIRECTORY_VARIABLE,
                )
            storage.directory.compact()
        return storage


def mark_process_dead(pid: int, path: str | None = None) -> None:
    """Compact the files of a process at once, in a hook such as gunicorn's `child_exit`.

    Its live gauges are removed even if it is still about to end; its other numbers are compacted
    once it has ended. Without `path` the directory is the one that the variable names; without
    that, it does nothing. Never raises.
    """
    directory = path or shared_directory()
    if directory is None:
        return
    storage = _storages.get(os.path.abspath(directory))
    try:
        compactor = Compactor(directory, {} if storage is None else storage.limits)
        compactor.remove_live_gauges(str(pid))
        compactor.compact()
    except OSError as error:
        logger.warning(
            "promweb cannot compact the files of dead processes in %s: %s", directory, error
        )


def _prepare(path: str) -> None:
    """Create the directory; empty it if its files are of former runs."""
    try:
        os.makedirs(path, exist_ok=True)
        with locks.exclusive(os.path.join(path, file_names.LOCK), _PATIENCE) as taken:
            if taken:
                _begin(path, run_of(os.getpid()))
    except OSError as error:
        raise OSError(
            f"the workers cannot share metrics in {path!r}: {error}; set {DIRECTORY_VARIABLE} "
            "to a directory that every worker can write to"
        ) from error


def _begin(path: str, run: str) -> None:
    """Remove the files of former runs. All workers of a server are one run, restarted ones too."""
    record = os.path.join(path, file_names.RUNS)
    runs: list[str] = []
    with suppress(FileNotFoundError), open(record) as lines:
        runs = lines.read().split()
    if run in runs:
        return
    if Compactor(path, {}).clean(run):
        runs = []
    with open(record + file_names.UNFINISHED, "w") as lines:
        lines.write("\n".join([*runs[-_REMEMBERED:], run]))
    os.replace(record + file_names.UNFINISHED, record)


def _temporary_directory() -> str:
    """Return a directory of this user that all workers of this run share."""
    prefix = f"promweb-{os.getuid()}-"
    parent = tempfile.gettempdir()
    with os.scandir(parent) as entries:
        for entry in entries:
            group = entry.name.rpartition("-")[2]
            if entry.name.startswith(prefix) and group.isdigit() and _is_over(int(group)):
                shutil.rmtree(entry.path, ignore_errors=True)
    path = os.path.join(parent, prefix + run_of(os.getpid()))
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o77:
        raise OSError(f"somebody else made {path!r}; call enable() with a directory of your own")
    return path


def _is_over(group: int) -> bool:
    """Tell whether a process group has no process left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
