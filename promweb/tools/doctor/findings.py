"""The findings of a check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

__all__ = ["Finding", "Findings", "Level", "error", "ok", "warning"]


class Level(Enum):
    """How bad a finding is, in this order."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One finding, in words for people. They may quote untrusted text."""

    check: str
    """A name for programs; it never changes."""
    level: Level
    what: str
    why: str = ""
    """Why it matters."""
    remedy: str = ""


Findings = Iterator[Finding]


def ok(check: str, what: str) -> Finding:
    """Return a finding that reports no problem."""
    return Finding(check, Level.OK, what)


def warning(check: str, what: str, why: str, remedy: str) -> Finding:
    """Return a finding about something that is or may become wrong."""
    return Finding(check, Level.WARNING, what, why, remedy)


def error(check: str, what: str, why: str, remedy: str) -> Finding:
    """Return a finding about something that does not work."""
    return Finding(check, Level.ERROR, what, why, remedy)
