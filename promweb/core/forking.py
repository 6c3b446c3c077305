"""Runs functions in forked child processes, and holds the lock for definitions.

Python announces a fork, and the adapter for uWSGI announces the forks that Python does not see.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

__all__ = ["definitions", "in_child", "look"]

definitions = threading.RLock()
"""Guards rare changes: definitions and attachments. Each family has a lock of its own.

Write `with forking.definitions:`, which looks the lock up each time. A forked child gets a new
lock, because a thread that does not exist there may have held the old one.
"""

_functions: list[Callable[[], object]] = []
_pid = os.getpid()


def in_child(function: Callable[[], object]) -> None:
    """Call a function in every process forked from this one, after the functions given before."""
    _functions.append(function)


def look() -> None:
    """Call the functions if this process is a child whose fork Python did not announce."""
    if os.getpid() != _pid:
        _forked()


def _forked() -> None:
    global _pid
    _pid = os.getpid()
    for function in _functions:
        function()


def _renew_definitions() -> None:
    global definitions
    definitions = threading.RLock()


in_child(_renew_definitions)
os.register_at_fork(after_in_child=_forked)
