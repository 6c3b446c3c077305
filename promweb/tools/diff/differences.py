"""What a comparison finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = ["SHOWN", "Difference", "Differences", "Level", "listed"]

SHOWN = 5
"""Label values and series that are named at most."""


class Level(Enum):
    """What a difference means, the worst first."""

    BREAKS = "breaks"
    """Queries that worked no longer do."""
    UNREAD = "unread"
    """It could not be compared."""
    MAYBE = "maybe"
    """Other traffic explains it; or it breaks queries."""
    KNOWN = "known"
    """It breaks nothing that was right, and a document says so."""
    NOTE = "note"
    """No query sees it."""
    ADDS = "adds"
    """It is new."""


@dataclass(frozen=True)
class Difference:
    """One difference, in words for people. They may quote what strangers wrote."""

    level: Level
    check: str
    """A name for programs; it stays."""
    family: str
    """The name of the family, or of the file that uses it."""
    what: str
    known: str = ""
    """What the document says of it."""
    users: tuple[str, ...] = ()
    """The panels and rules that go by it."""


Differences = Iterator[Difference]


def listed(items: Iterable[str], between: str = ", ") -> str:
    """Return the first few, and how many more there are."""
    found: Sequence[str] = sorted(items)
    more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return between.join(found[:SHOWN]) + more
