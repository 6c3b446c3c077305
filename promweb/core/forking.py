"""What modules do in a forked child process, once, whoever tells of the fork."""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["in_child", "look"]

_functions: list[Callable[[], object]] = []
_pid = os.getpid()


def in_child(function: Callable[[], object]) -> None:
    """Call a function in every process that is forked from this one, after those given before."""
    _functions.append(function)


def look() -> None:
    """Call the functions if this is a child that Python was not told of."""
    if os.getpid() != _pid:
        _forked()


def _forked() -> None:
    global _pid
    _pid = os.getpid()
    for function in _functions:
        function()


os.register_at_fork(after_in_child=_forked)
