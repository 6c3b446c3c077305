"""How tests wait, and for how long: the limits of all tests are here.

A limit only ends a test that would hang for ever, so it allows for a machine that is busy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE = 120.0
"""Seconds after which a test gives up on something that should have happened."""

PROGRAM = 600.0
"""Seconds that a program which a test runs may take to end."""

T = TypeVar("T")


def happens(condition: Callable[[], object]) -> bool:
    """Wait until a condition holds; tell whether it did before the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)  # between two questions
    return True


def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; fail if it never does."""
    assert happens(condition), "it did not happen in time"


def becomes(read: Callable[[], T], wanted: T) -> None:
    """Wait until `read()` returns what is wanted; show the difference if it never does."""
    happens(lambda: read() == wanted)
    assert read() == wanted
