"""Turning multiprocess mode on: the directory, what is left there, and prometheus_client."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress

from ..core import forking
from ..core.families.problems import logger
from ..core.families.storage import DIRECTORY_VARIABLE, shared_directory
from . import client, locks, naming
from .folding import Folder
from .processes import run_of
from .storage import FileStorage

__all__ = ["enable", "mark_process_dead", "storage_of"]

_PATIENCE = 5.0
"""Seconds to wait for another process that starts at the same time."""

_REMEMBERED = 100
"""How many runs are remembered."""

_storages: dict[str, FileStorage] = {}


def enable(directory: str | os.PathLike[str] | None = None) -> str:
    """Have all worker processes of a program share their metrics; return the directory.

    Call it before metrics are made, in the process that starts the workers or in each of them. It
    sets `PROMETHEUS_MULTIPROC_DIR`; without `directory`, that is what the variable says or a
    directory of this program among the temporary ones. The directory is made; what a former run
    left there is removed. Raises `OSError` if nothing can be written there.
    """
    if directory is not None:
        path = os.path.abspath(directory)
    else:
        path = os.path.abspath(shared_directory() or _temporary_directory())
    storage_of(path)
    os.environ[DIRECTORY_VARIABLE] = path
    return path


def storage_of(directory: str) -> FileStorage:
    """Return this process's storage in a directory, which is made ready the first time."""
    path = os.path.abspath(directory)
    with forking.definitions:
        storage = _storages.get(path)
        if storage is None:
            _prepare(path)
            if not os.environ.get(DIRECTORY_VARIABLE):
                os.environ[DIRECTORY_VARIABLE] = path
            storage = _storages[path] = FileStorage(path)
            late = client.share_new_metrics()
            if late:
                logger.warning(
                    "Metrics of prometheus_client were made before multiprocess mode was enabled "
                    "and will not be seen: %s. Set %s before the program starts, or call "
                    "promweb.multiprocess.enable() before they are made.",
                    ", ".join(late),
                    DIRECTORY_VARIABLE,
                )
            storage.directory.fold()
        return storage


def mark_process_dead(pid: int, path: str | None = None) -> None:
    """Fold at once what a process left, for hooks such as gunicorn's `child_exit`.

    The live gauges of `pid` are removed even if it is about to end only. What else it counted is
    folded when it has ended. Without `path` it is the directory that the variable names; without
    that, nothing is done. Never raises.
    """
    directory = path or shared_directory()
    if directory is None:
        return
    storage = _storages.get(os.path.abspath(directory))
    try:
        folder = Folder(directory, {} if storage is None else storage.limits)
        folder.remove_live_gauges(str(pid))
        folder.fold()
    except OSError as error:
        logger.warning("promweb cannot fold what dead processes left in %s: %s", directory, error)


def _prepare(path: str) -> None:
    """Make the directory, and start empty if this is another run than those who left something."""
    try:
        os.makedirs(path, exist_ok=True)
        with locks.exclusive(os.path.join(path, naming.LOCK), _PATIENCE) as taken:
            if taken:
                _begin(path, run_of(os.getpid()))
    except OSError as error:
        raise OSError(
            f"the workers cannot share metrics in {path!r}: {error}; have {DIRECTORY_VARIABLE} "
            "name a directory that every worker can write to"
        ) from error


def _begin(path: str, run: str) -> None:
    """Remove what former runs left. Workers of one server are one run, restarted ones too."""
    record = os.path.join(path, naming.RUNS)
    runs: list[str] = []
    with suppress(FileNotFoundError), open(record) as lines:
        runs = lines.read().split()
    if run in runs:
        return
    if Folder(path, {}).clean(run):
        runs = []
    with open(record + naming.UNFINISHED, "w") as lines:
        lines.write("\n".join([*runs[-_REMEMBERED:], run]))
    os.replace(record + naming.UNFINISHED, record)


def _temporary_directory() -> str:
    """Return a directory that only this user and all workers of this run have."""
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
    """Tell whether no process of a process group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
