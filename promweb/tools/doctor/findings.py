"""What a check finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

__all__ = ["Finding", "Findings", "Level", "error", "ok", "warning"]


class Level(Enum):
    """How bad it is; in this order."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing that a check found, in words for people. They may quote what strangers wrote."""

    check: str
    """A name for programs; it stays."""
    level: Level
    what: str
    why: str = ""
    """Why that matters."""
    remedy: str = ""


Findings = Iterator[Finding]


def ok(check: str, what: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(check, Level.OK, what)


def warning(check: str, what: str, why: str, remedy: str) -> Finding:
    """Return what may be wrong, or will be."""
    return Finding(check, Level.WARNING, what, why, remedy)


def error(check: str, what: str, why: str, remedy: str) -> Finding:
    """Return what is wrong."""
    return Finding(check, Level.ERROR, what, why, remedy)
