"""Turns multiprocess mode on: prepares the directory, and prometheus_client."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress

from ..core import forking
from ..core.families.catalog import Catalog
from ..core.families.problems import logger
from ..core.families.storage import DIRECTORY_VARIABLE, shared_directory
from .file_storage import FileStorage
from .files import client_files, file_names, locks
from .lifecycle.compaction import Compactor
from .lifecycle.processes import Living
from .lifecycle.runs import Run, begin, is_in_use, this_run

__all__ = ["enable", "mark_process_dead", "storage_of"]

_storages: dict[str, FileStorage] = {}

_unusable: set[str] = set()
"""Directories that could not be used: a process keeps its first decision."""


def enable(directory: str | os.PathLike[str] | None = None) -> str:
    """Share metrics between all worker processes of a program; return the directory.

    Call it before metrics are created, in the process that starts the workers or in each of them.
    It sets `PROMETHEUS_MULTIPROC_DIR`. Without `directory` it uses the directory that the variable
    names, or one for this program in the system's temporary directory. It creates the directory
    and removes the files of earlier runs. Raises OSError if it cannot write there. If metrics were
    created before, it logs their names: they have no numbers in the directory.

        promweb.multiprocess.enable("/dev/shm/shop")
    """
    if directory is not None:
        path = os.path.abspath(directory)
    else:
        path = os.path.abspath(shared_directory() or _temporary_directory())
    _, late = _open(path)
    os.environ[DIRECTORY_VARIABLE] = path
    late = [*Catalog.outside(path), *late]
    if late:
        logger.warning(
            "promweb.multiprocess.enable() was called too late. These metrics were created before, "
            "and have no numbers in the directory: %s. Call it before the first metric is created.",
            ", ".join(dict.fromkeys(late)),
        )
    return path


def storage_of(directory: str) -> FileStorage | None:
    """Return this process's storage in a directory; the first call prepares the directory.

    Returns None if the directory cannot be used, and logs that once.
    """
    path = os.path.abspath(directory)
    with forking.definitions:
        if path in _unusable:
            return None
        try:
            storage, late = _open(path)
        except OSError as error:
            _unusable.add(path)
            client_files.use_own_files(path, file_names.NO_RUN)
            logger.error(
                "%s. The service starts anyway; each worker shows only its own numbers.",
                error,
            )
            return None
        if late:
            logger.warning(
                "These metrics of prometheus_client were created before multiprocess mode was "
                "enabled, and scrapes will not show them: %s. Set %s before the program starts, or "
                "call promweb.multiprocess.enable() before they are created.",
                ", ".join(late),
                DIRECTORY_VARIABLE,
            )
        return storage


def _open(path: str) -> tuple[FileStorage, list[str]]:
    """Return this process's storage in a directory, and metrics that were created too early.

    Those are metrics of prometheus_client, and only the first call returns them. Raises OSError if
    the directory cannot be used.
    """
    late: list[str] = []
    with forking.definitions:
        storage = _storages.get(path)
        if storage is None:
            run = this_run()
            _prepare(path, run)
            if not os.environ.get(DIRECTORY_VARIABLE):
                os.environ[DIRECTORY_VARIABLE] = path
            storage = _storages[path] = FileStorage(path, run)
            client_files.take_over(path, run.token, Living(path).is_mine)
            late = client_files.share_new_metrics(path, run.token)
            storage.directory.compact()
        return storage, late


def mark_process_dead(pid: int, path: str | None = None) -> None:
    """Compact the files of a process at once; call it in a hook such as gunicorn's `child_exit`.

    This removes its live gauges even if it is still ending; its other numbers are compacted once
    it has ended. Without `path` it uses the directory that `PROMETHEUS_MULTIPROC_DIR` names, and
    does nothing if that is not set. Never raises.

        def child_exit(server, worker):
            promweb.multiprocess.mark_process_dead(worker.pid)
    """
    directory = path or shared_directory()
    if directory is None:
        return
    try:
        compactor = Compactor(directory)
        compactor.remove_live_gauges(str(pid))
        compactor.compact()
    except OSError as error:
        logger.warning(
            "promweb cannot compact the files of dead processes in %s: %s", directory, error
        )


def _prepare(path: str, run: Run) -> None:
    """Create the directory; remove the files of finished runs."""
    try:
        os.makedirs(path, exist_ok=True)
        begin(path, run)
    except OSError as error:
        raise OSError(
            f"the workers cannot share metrics in {path!r}: {error}; set {DIRECTORY_VARIABLE} "
            "to a directory that every worker can write to"
        ) from error


def _temporary_directory() -> str:
    """Return a directory of this user that all workers of this run share."""
    prefix = f"promweb-{os.getuid()}-"
    path = os.path.join(tempfile.gettempdir(), prefix + this_run().token)
    with os.scandir(os.path.dirname(path)) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.path != path and _is_left(entry.path):
                shutil.rmtree(entry.path, ignore_errors=True)
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o77:
        raise OSError(
            f"{path!r} belongs to another user; call enable() with a directory of your own"
        )
    return path


def _is_left(path: str) -> bool:
    """Tell whether no process uses a temporary directory any more.

    Processes of other pid namespaces may use the same directory of temporary files, so locks
    decide; a server of this namespace may have no worker just now.
    """
    try:
        return not locks.is_shared(path) and not is_in_use(path)
    except OSError:
        return False
