"""The names of the files in a directory.

    counter_123.db                          of prometheus_client, by the process 123
    gauge_livesum_123.db
    counter_123.db_promweb-5f1c0a77.db      of promweb, by a living or dead process
    gauge_livesum_123.db_promweb-5f1c0a77.db
    counter_compacted.db_promweb.db         the numbers of dead processes, one file of each kind

prometheus_client's reader takes the type from before the first underscore, the mode of a gauge
from before the second, and the pid from what follows, without its last three characters.
"""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple

__all__ = [
    "COMPACTED",
    "LOCK",
    "RUNS",
    "SUFFIX",
    "UNFINISHED",
    "FileName",
    "compacted_name",
    "new_name",
    "parse",
]

SUFFIX = ".db"

COMPACTED = "compacted"
"""What the name of a compacted file has in place of a pid."""

UNFINISHED = ".new"
"""Follows the name of a file that is not complete yet."""

LOCK = "promweb.lock"
"""The lock file. A process holds its lock while it compacts."""

RUNS = "promweb.runs"
"""The file that lists the runs that used the directory since it was empty."""

_OWN = "_promweb"

_NAME = re.compile(
    r"(?P<kind>counter|histogram|summary|gauge_(live)?(all|sum|min|max|mostrecent))"
    r"_(?P<owner>.+?)\.db"
    r"(?P<own>_promweb(-[0-9a-f]+)?\.db)?"
)


class FileName(NamedTuple):
    """The name of a file of numbers, taken apart."""

    name: str
    kind: str
    """`counter`, `histogram`, `summary`, or `gauge_` and the mode."""
    owner: str
    """The pid, or another identifier that the program chose."""
    is_own: bool
    """Whether promweb wrote it."""

    @property
    def is_compacted(self) -> bool:
        return self.is_own and self.owner == COMPACTED


def parse(name: str) -> FileName | None:
    """Take a name apart; return None if it is not that of a file of numbers."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return FileName(name, match["kind"], match["owner"], match["own"] is not None)


def new_name(kind: str, pid: int) -> str:
    """Return a name for a new file of a process."""
    return f"{kind}_{pid}.db{_OWN}-{secrets.token_hex(8)}{SUFFIX}"


def compacted_name(kind: str) -> str:
    """Return the name of the compacted file of a kind."""
    return f"{kind}_{COMPACTED}.db{_OWN}{SUFFIX}"
