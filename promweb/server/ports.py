"""Port numbers, and which process listens on a port."""

from __future__ import annotations

import os
from contextlib import suppress
from glob import glob

__all__ = ["holder", "port_number"]


def port_number(port: object) -> int:
    """Return a port as a number. Raises ValueError if there is no such port."""
    try:
        number = int(port)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        number = -1
    if isinstance(port, bool) or not 0 <= number <= 65535:
        raise ValueError(f"port must be a number up to 65535, or 0 for a free port, not {port!r}")
    return number  # type: ignore[no-any-return]


def holder(port: int) -> str:
    """Return which process listens on a TCP port, as far as this user can see."""
    listeners = set(_listeners(port))
    pids = set()
    for path in glob("/proc/[0-9]*/fd/*"):
        with suppress(OSError):  # it was just closed, or belongs to another user
            if os.readlink(path) in listeners:
                pids.add(int(path.split("/")[2]))
    if not pids:
        return "another process"
    if os.getpid() in pids:
        return "this process"
    pid = min(pids)  # most likely the parent of the others
    with suppress(OSError), open(f"/proc/{pid}/comm") as file:
        return f"process {pid} ({file.read().strip()})"
    return f"process {pid}"


def _listeners(port: int) -> list[str]:
    """Return the links in /proc to sockets that listen on a port."""
    found = []
    for table in glob("/proc/net/tcp*"):
        with suppress(OSError), open(table) as lines:
            for line in lines:
                _, address, _, state, *more = line.split()
                if state == "0A" and int(address.rpartition(":")[2], 16) == port:
                    found.append(f"socket:[{more[5]}]")
    return found
