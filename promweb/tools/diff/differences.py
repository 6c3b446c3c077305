"""The differences that a comparison finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = ["SHOWN", "Difference", "Differences", "Level", "Usage", "listed"]

SHOWN = 5
"""How many label values or series a message names."""


class Level(Enum):
    """The meaning of a difference, the worst first."""

    BREAKS = "breaks"
    """Queries that worked no longer work."""
    UNREAD = "unread"
    """promweb could not compare it."""
    MAYBE = "maybe"
    """Different traffic explains it; or it breaks queries."""
    UNCHECKED = "unchecked"
    """promweb could not check a query, because there are no such series."""
    KNOWN = "known"
    """README documents it, and no query that was right breaks."""
    NOTE = "note"
    """Nothing breaks: no query sees it, or a query has a name that neither side has."""
    ADDS = "adds"
    """It is new."""


@dataclass(frozen=True)
class Difference:
    """One difference, in words for people. They may quote untrusted text."""

    level: Level
    check: str
    """A name for programs; it never changes."""
    family: str
    """The name of the family, or of the file that uses it."""
    what: str
    known: str = ""
    """The documentation's sentence about it."""
    users: tuple[str, ...] = ()
    """The panels and rules that use it."""


@dataclass(frozen=True)
class Usage:
    """How many queries of how many files find all their series on both sides.

    `assumed` of them have a label that no series has, and Prometheus is assumed to add it.
    """

    files: int
    queries: int
    found: int
    assumed: int

    def __str__(self) -> str:
        files = f"{self.files} file{'' if self.files == 1 else 's'}"
        assumed = f"; {self.assumed} of these if Prometheus adds the labels that are noted"
        return (
            f"Queries that find their series on both sides: {self.found} of {self.queries} in "
            f"{files}{assumed if self.assumed else ''}."
        )


Differences = Iterator[Difference]


def listed(items: Iterable[str], between: str = ", ") -> str:
    """Return the first few items, and how many more there are."""
    found: Sequence[str] = sorted(items)
    more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return between.join(found[:SHOWN]) + more
