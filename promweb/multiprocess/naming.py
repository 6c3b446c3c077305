"""What the files of a directory are called.

    counter_123.db                          prometheus_client's, of the process 123
    gauge_livesum_123.db
    counter_123.db_promweb-5f1c0a77.db      promweb's, of a living or dead process
    gauge_livesum_123.db_promweb-5f1c0a77.db
    counter_folded.db_promweb.db            what dead processes left, in one file of each kind

prometheus_client's reader takes the type from before the first underscore, the mode of a gauge
from before the second and the pid from what follows, without its last three characters.
"""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple

__all__ = [
    "FOLDED",
    "LOCK",
    "RUNS",
    "SUFFIX",
    "UNFINISHED",
    "FileName",
    "folded_name",
    "new_name",
    "parse",
]

SUFFIX = ".db"

FOLDED = "folded"
"""What a file of dead processes has in place of a pid."""

UNFINISHED = ".new"
"""What follows the name of a file that is being made."""

LOCK = "promweb.lock"
"""The file that is locked by whoever folds."""

RUNS = "promweb.runs"
"""The file that says who used the directory since it was empty."""

_OWN = "_promweb"

_NAME = re.compile(
    r"(?P<kind>counter|histogram|summary|gauge_(live)?(all|sum|min|max|mostrecent))"
    r"_(?P<owner>.+?)\.db"
    r"(?P<own>_promweb(-[0-9a-f]+)?\.db)?"
)


class FileName(NamedTuple):
    """A file of numbers, as its name tells."""

    name: str
    kind: str
    """`counter`, `histogram`, `summary`, or `gauge_` and the mode."""
    owner: str
    """The pid, unless somebody chose another identifier."""
    is_own: bool
    """Whether promweb wrote it."""

    @property
    def is_folded(self) -> bool:
        return self.is_own and self.owner == FOLDED


def parse(name: str) -> FileName | None:
    """Return what a file's name says; None if it is no file of numbers."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return FileName(name, match["kind"], match["owner"], match["own"] is not None)


def new_name(kind: str, pid: int) -> str:
    """Return a name for a new file of a process."""
    return f"{kind}_{pid}.db{_OWN}-{secrets.token_hex(8)}{SUFFIX}"


def folded_name(kind: str) -> str:
    """Return the name of the file of what dead processes left."""
    return f"{kind}_{FOLDED}.db{_OWN}{SUFFIX}"
