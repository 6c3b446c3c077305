"""Records how many label sets each metric may have: a process that compacts may not load the app.

The file has a line for each metric and is only appended to, so no process waits for another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress

from . import file_names

__all__ = ["declare", "declared"]

_LONGEST = 1 << 24


def declare(directory: str, limits: Mapping[str, int]) -> None:
    """Record the limits of metrics by name. Raises OSError."""
    known = declared(directory)
    new = [item for item in limits.items() if known.get(item[0], 0) < item[1]]
    if not new:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(os.path.join(directory, file_names.LIMITS), flags, 0o644)
    try:
        # The first line break ends an unfinished line of a process that was killed.
        os.write(descriptor, "".join(["\n", *(json.dumps(item) + "\n" for item in new)]).encode())
    finally:
        os.close(descriptor)


def declared(directory: str) -> dict[str, int]:
    """Return the limits of metrics by name; where processes differ, the largest."""
    limits: dict[str, int] = {}
    with suppress(OSError):
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(os.path.join(directory, file_names.LIMITS), flags)
        with open(descriptor, "rb") as file:
            for line in file.read(_LONGEST).splitlines():
                with suppress(ValueError, TypeError):
                    name, limit = json.loads(line)
                    limits[name] = max(int(limit), limits.get(name, 0))
    return limits
