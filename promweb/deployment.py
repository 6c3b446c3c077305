"""How this process is served, as far as that is certain; imports no server.

Where there is doubt there is no warning: false warnings teach people to ignore all of them.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any

__all__ = [
    "SEVERAL",
    "is_one_of_several",
    "network_file_system",
    "problems",
    "workers_asked_for",
]

SEVERAL = (
    "Several worker processes serve this application, and promweb's metrics are those of one: a "
    "scrape shows the worker that answers it, so counters will seem to jump. Set "
    "PROMETHEUS_MULTIPROC_DIR to an empty directory before the server starts, or give each "
    "worker's metrics a port of their own (path=None, and start_http_server)."
)

_NETWORK = (
    "The directory of multiprocess mode, {path}, is on a network file system ({kind}): recording "
    "waits for the network, and locks may not hold. Set PROMETHEUS_MULTIPROC_DIR to a directory "
    "of this machine, for example in /run or /tmp."
)

_OPTIONS = {
    "gunicorn": ("-w", "--workers"),
    "hypercorn": ("-w", "--workers"),
    "uvicorn": ("--workers",),
    "granian": ("--workers",),
}
"""The option of each server's command line for the number of workers."""

_NETWORK_KINDS = frozenset(
    (
        *("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4"),
        *("smb3", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs"),
        "fuse.sshfs",
    )
)


def problems(*, directory: str | None, serves: bool) -> Iterator[str]:
    """Yield what is wrong with how this process is served.

    `directory` is that of multiprocess mode, None if it is off; `serves` tells whether the
    application itself answers scrapes.
    """
    if directory is None:
        if serves and (workers_asked_for(sys.argv, os.environ) or _uwsgi_processes()) > 1:
            yield SEVERAL
    elif kind := network_file_system(directory):
        yield _NETWORK.format(path=directory, kind=kind)


def is_one_of_several(environ: Mapping[str, Any]) -> bool:
    """Tell whether a WSGI server says that the application has other processes (PEP 3333).

    Only servers that know it are believed: adapters from ASGI always say so.
    """
    if environ.get("wsgi.multiprocess") is not True:
        return False
    return (
        str(environ.get("SERVER_SOFTWARE", "")).startswith(("gunicorn", "Werkzeug"))
        or "uwsgi.version" in environ
        or "mod_wsgi.version" in environ
    )


def workers_asked_for(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Return how many workers a server's command line asks for, 0 if it does not say.

    `WEB_CONCURRENCY` is the default of uvicorn, and of gunicorn where no configuration file can
    say something else.
    """
    path = argv[0] if argv else ""
    program = os.path.basename(os.path.dirname(path) if path.endswith("__main__.py") else path)
    options = _OPTIONS.get(program, ())
    arguments = list(argv[1:])
    if program == "uvicorn" and "--reload" in arguments:
        return 0
    if program == "gunicorn":
        with suppress(ValueError):
            arguments = shlex.split(environ.get("GUNICORN_CMD_ARGS", "")) + arguments
    found = 0
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        for option in options:
            value = following if argument == option else ""
            if argument.startswith(f"{option}=") or (argument[:2] == option != argument):
                value = argument[len(option) :].removeprefix("=")
            if value.isdecimal():
                found = int(value)
    if found or program not in ("gunicorn", "uvicorn"):
        return found
    default = environ.get("WEB_CONCURRENCY", "")
    has_file = any(argument.startswith(("-c", "--config")) for argument in arguments)
    if program == "gunicorn" and (has_file or os.path.exists("gunicorn.conf.py")):
        return 0
    return int(default) if default.isdecimal() else 0


def network_file_system(path: str, mounts: str = "/proc/mounts") -> str:
    """Return the kind of network file system that a path is on, "" for a local one."""
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
