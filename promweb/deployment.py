"""How a server runs this process, if that is certain; imports no server.

In doubt there is no warning: false warnings teach people to ignore all of them.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

__all__ = [
    "PRELOADED",
    "SEVERAL",
    "has_no_requests",
    "is_one_of_several",
    "network_file_system",
    "problems",
    "warn_once",
]

logger = logging.getLogger("promweb")

SEVERAL = (
    "Several worker processes serve this application, and promweb's metrics cover only one: a "
    "scrape shows the worker that answers it, so counters will seem to jump. Set "
    "PROMETHEUS_MULTIPROC_DIR to a directory of its own, which promweb creates and cleans, before "
    "the server starts, or give the metrics of each worker another port (path=None, and "
    "start_http_server)."
)

PRELOADED = (
    "start_http_server was called in the server's first process, which loads the application and "
    "leaves the requests to its workers: the metrics on port {port} will not count any request. "
    "Set PROMETHEUS_MULTIPROC_DIR to a directory of its own, which promweb creates and cleans, "
    "before the server starts, or call start_http_server in each worker, for example in gunicorn's "
    "post_fork."
)

_NETWORK = (
    "The directory of multiprocess mode, {path}, is on a network file system ({kind}): recording "
    "waits for the network, and locks may not hold. Set PROMETHEUS_MULTIPROC_DIR to a directory "
    "of this machine, for example in /run or /tmp."
)

_PRELOADS = ("gunicorn.arbiter", "setup")
"""The module that loads an application in gunicorn's first process."""

_WORKERS: dict[tuple[str, str], Callable[[Mapping[str, Any]], int]] = {
    _PRELOADS: lambda seen: seen["self"].cfg.workers,
    ("gunicorn.arbiter", "spawn_worker"): lambda seen: seen["self"].cfg.workers,
    ("uvicorn._subprocess", "subprocess_started"): lambda seen: (
        0 if seen["config"].should_reload else seen["config"].workers
    ),
    ("hypercorn.asyncio.run", "asyncio_worker"): lambda seen: seen["config"].workers,
    ("hypercorn.asyncio.run", "uvloop_worker"): lambda seen: seen["config"].workers,
    ("hypercorn.trio.run", "trio_worker"): lambda seen: seen["config"].workers,
    ("granian.server.mp", "wrapped"): lambda seen: seen["worker_id"],  # 2 in the second one
}
"""The functions of servers that load an application, and how to read the number of workers.

Their variables have the number whether it came from the command line, a variable, a file or code.
"""

_NETWORK_KINDS = frozenset(
    (
        *("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4"),
        *("smb3", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs"),
        "fuse.sshfs",
    )
)


_warned: dict[str, object] = {}


def warn_once(message: str) -> None:
    """Log a warning about how the program is served, once in this process and its children."""
    mine = object()
    if _warned.setdefault(message, mine) is mine:  # true in only one of several threads
        with suppress(Exception):  # a logging handler may raise
            logger.warning(message)


def problems(*, directory: str | None, serves: bool) -> Iterator[str]:
    """Yield the problems with how this process is served.

    `directory` is the directory of multiprocess mode, None if it is off; `serves` tells whether the
    application itself answers scrapes.
    """
    if directory is None:
        if serves and max(_workers_of_caller(), _uwsgi_processes()) > 1:
            yield SEVERAL
    elif kind := network_file_system(directory):
        yield _NETWORK.format(path=directory, kind=kind)


def is_one_of_several(environ: Mapping[str, Any]) -> bool:
    """Tell whether a WSGI server says that the application has other processes (PEP 3333).

    This believes only servers that know: adapters from ASGI always say so.
    """
    if environ.get("wsgi.multiprocess") is not True:
        return False
    return (
        str(environ.get("SERVER_SOFTWARE", "")).startswith(("gunicorn", "Werkzeug"))
        or "uwsgi.version" in environ
        or "mod_wsgi.version" in environ
    )


def has_no_requests() -> bool:
    """Tell whether this is a server's first process, whose workers will get all requests."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and uwsgi.masterpid() == os.getpid():
        return True
    return any(place == _PRELOADS for place, _ in _callers())


def _workers_of_caller() -> int:
    """Return the number of workers of the server that loads the application; 0 if unknown."""
    for place, variables in _callers():
        with suppress(Exception):  # other versions of a server may have other variables
            return int(_WORKERS[place](variables))
    return 0


def _callers() -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    """Yield the functions of servers that have called this one, and their variables."""
    for frame, _ in traceback.walk_stack(None):
        place = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if place in _WORKERS:
            yield place, frame.f_locals


def network_file_system(path: str, mounts: str = "/proc/mounts") -> str:
    """Return the type of the network file system that holds a path, "" for a local one."""
    path = os.path.realpath(path)
    longest, found = 0, ""
    with suppress(OSError), open(mounts, errors="replace") as lines:
        for line in lines:
            _, point, kind, *_ = (*line.split(" "), "", "")
            point = point.replace("\\040", " ").rstrip("/") + "/"
            if f"{path}/".startswith(point) and len(point) >= longest:
                longest, found = len(point), kind
    return found if found in _NETWORK_KINDS else ""


def _uwsgi_processes() -> int:
    """Return how many processes uWSGI runs; its module exists only there."""
    return int(getattr(sys.modules.get("uwsgi"), "numproc", 0))
