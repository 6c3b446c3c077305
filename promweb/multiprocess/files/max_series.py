"""Records how many label sets each metric may have: a process that compacts may not load the app.

The file has a line for each metric of each registry and is only appended to, so no process waits
for another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress

from . import file_names

__all__ = ["Metric", "declare", "declared"]

_LONGEST = 1 << 24


Metric = tuple[str, str]
"""The token in the names of a registry's files, and the name of one of its metrics."""


def declare(directory: str, limits: Mapping[Metric, int]) -> None:
    """Record the limits of metrics. Raises OSError."""
    known = declared(directory)
    new = [(*key, limit) for key, limit in limits.items() if known.get(key, 0) < limit]
    if not new:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(os.path.join(directory, file_names.LIMITS), flags, 0o644)
    try:
        # The first line break ends an unfinished line of a process that was killed.
        os.write(descriptor, "".join(["\n", *(json.dumps(item) + "\n" for item in new)]).encode())
    finally:
        os.close(descriptor)


def declared(directory: str) -> dict[Metric, int]:
    """Return the limits of metrics; the largest if processes differ."""
    limits: dict[Metric, int] = {}
    with suppress(OSError):
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(os.path.join(directory, file_names.LIMITS), flags)
        with open(descriptor, "rb") as file:
            for line in file.read(_LONGEST).splitlines():
                with suppress(ValueError, TypeError):
                    registry, name, limit = json.loads(line)
                    key = registry, name
                    limits[key] = max(int(limit), limits.get(key, 0))
    return limits
