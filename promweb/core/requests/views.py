"""What a decorated callable finally calls, and what therefore counts as "the view"."""

from __future__ import annotations

import types
from collections.abc import Iterator
from functools import partial

__all__ = ["innermost", "targets"]


def innermost(function: object) -> object:
    """Return what a decorated function finally calls: the thing that identifies a view."""
    return list(_chain(function))[-1]


def targets(view: object) -> Iterator[object]:
    """Yield everything that counts as "the view" when `view` is registered for an endpoint."""
    for function in _chain(view):
        yield function
        for cls in getattr(getattr(function, "view_class", None), "__mro__", ()):
            for member in vars(cls).values():
                if callable(member) or isinstance(member, (staticmethod, classmethod)):
                    yield from _chain(member)


def _chain(function: object) -> Iterator[object]:
    """Yield a callable and what it wraps, through methods, partials and `__wrapped__`."""
    seen = set()
    while id(function) not in seen:
        seen.add(id(function))
        yield function
        if isinstance(function, (types.MethodType, staticmethod, classmethod)):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif isinstance(function, partial):
            function = function.func
