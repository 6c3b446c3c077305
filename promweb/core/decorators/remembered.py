"""Remembers decorated functions, to find those that no route has."""

from __future__ import annotations

import types
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from .. import forking

__all__ = ["remember", "remembered"]

_decorated: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def remember(decorated: object, what: str) -> None:
    """Remember, as long as it exists, which decorator a function has."""
    # A view class is decorated in place, and methods are not views.
    if isinstance(decorated, (types.FunctionType, partial)):
        with forking.definitions:
            _decorated[decorated] = what


def remembered() -> list[tuple[Any, str]]:
    """Return the decorated functions that exist, each with its decorator."""
    with forking.definitions:
        return list(_decorated.items())
