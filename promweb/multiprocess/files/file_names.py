"""The names of the files in a directory.

    counter_123.db                                       by prometheus_client, of the process 123
    gauge_livesum_123.db
    counter_123.db_promweb-<run>-<registry>-<random>.db  by promweb, of a living or dead process
    counter_compacted.db_promweb-<run>-<registry>.db     the numbers of dead processes
    native_123.db_promweb-<run>-<registry>-<random>.native  native buckets, beside a histogram's

prometheus_client's reader takes the type from the part before the first underscore, the mode of a
gauge from before the second, and the pid from the rest, without its last three characters.
"""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple

__all__ = [
    "CLIENT",
    "COMPACTED",
    "DEFAULT",
    "EVERY",
    "LIMITS",
    "LOCK",
    "NATIVE",
    "NATIVE_SUFFIX",
    "NO_RUN",
    "RUNS",
    "SUFFIX",
    "TOKEN",
    "UNFINISHED",
    "FileName",
    "Group",
    "client_name",
    "compacted_name",
    "new_name",
    "parse",
]

SUFFIX = ".db"

NATIVE = "native"
"""The kind of the files that have the native buckets of histograms."""

NATIVE_SUFFIX = ".native"
"""The suffix of their names. prometheus_client would read any `.db`, and cannot read these."""

COMPACTED = "compacted"
"""Replaces the pid in the name of a compacted file."""

UNFINISHED = ".new"
"""Follows the name of a file that is not complete yet."""

LOCK = "promweb.lock"
"""The lock file. A process holds its lock while it compacts."""

RUNS = "promweb.runs"
"""The file that records the runs that use the directory."""

LIMITS = "promweb.limits"
"""The file that says how many label sets each metric may have."""

TOKEN = 12
"""How many hexadecimal digits identify a run or a registry."""

NO_RUN = "0" * TOKEN
"""The run of files that prometheus_client made."""

CLIENT = "client"
"""The registry of prometheus_client's metrics: their files do not tell which it is."""

DEFAULT = "default"
"""prometheus_client's default registry."""

EVERY = "every"
"""The registry of metrics that each registry shows."""

_NAME = re.compile(
    r"(?P<kind>counter|histogram|native|summary|gauge_(live)?(all|sum|min|max|mostrecent))"
    r"_(?P<owner>.+?)\.db"
    r"(?P<own>_promweb-(?P<run>[0-9a-f]{12})-(?P<registry>[0-9a-z]+)(-[0-9a-f]{16})?"
    r"(?P<suffix>\.db|\.native))?"
)


class Group(NamedTuple):
    """Files whose numbers can share one compacted file."""

    kind: str
    """`counter`, `histogram`, `native`, `summary`, or `gauge_` and the mode."""
    run: str
    registry: str


class FileName(NamedTuple):
    """The parts of the name of a file of numbers."""

    name: str
    group: Group
    owner: str
    """The pid, or another identifier that the program chose."""
    is_own: bool
    """Whether promweb made it."""

    @property
    def kind(self) -> str:
        return self.group.kind

    @property
    def run(self) -> str:
        return self.group.run

    @property
    def registry(self) -> str:
        return self.group.registry

    @property
    def is_compacted(self) -> bool:
        return self.is_own and self.owner == COMPACTED


def parse(name: str) -> FileName | None:
    """Split a name into its parts; return None if it is not the name of a file of numbers."""
    match = _NAME.fullmatch(name)
    if match is None or (match["kind"] == NATIVE) is not (match["suffix"] == NATIVE_SUFFIX):
        return None
    group = Group(match["kind"], match["run"] or NO_RUN, match["registry"] or CLIENT)
    return FileName(name, group, match["owner"], match["own"] is not None)


def new_name(group: Group, pid: int) -> str:
    """Return a name for a new file of a process."""
    return f"{_name(group, str(pid))}-{secrets.token_hex(8)}{SUFFIX}"


def client_name(name: str, run: str) -> str:
    """Return a unique name for a file that prometheus_client calls `name`."""
    return f"{name}_promweb-{run}-{CLIENT}-{secrets.token_hex(8)}{SUFFIX}"


def compacted_name(group: Group) -> str:
    """Return the name of the compacted file of a group."""
    return f"{_name(group, COMPACTED)}{NATIVE_SUFFIX if group.kind == NATIVE else SUFFIX}"


def _name(group: Group, owner: str) -> str:
    return f"{group.kind}_{owner}.db_promweb-{group.run}-{group.registry}"
