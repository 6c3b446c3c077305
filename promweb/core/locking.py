"""The lock for what is rarely changed: definitions and attachments. Numbers have their own.

Use it as `with locking.definitions:`, looked up each time: a forked child gets a new one, because
a thread that does not exist there may have held it.
"""

from __future__ import annotations

import threading

from . import forking

__all__ = ["definitions"]

definitions = threading.RLock()


def _renew() -> None:
    global definitions
    definitions = threading.RLock()


forking.in_child(_renew)
