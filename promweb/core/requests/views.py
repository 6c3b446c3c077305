"""Finds the function inside of a decorated callable, which counts as "the view"."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

__all__ = ["Exclude", "asks_for_exclusion", "exclusion", "innermost", "mark", "targets"]

Exclude = Callable[[Any], None]

_EXCLUSION = "promweb_exclusion"
"""The attribute of a decorated function with the function that excludes a scope from metrics."""

asks_for_exclusion: list[bool] = []
"""Not empty once a function of this process was marked."""


def innermost(function: object) -> object:
    """Return the innermost callable of a decorated function: it identifies a view."""
    return list(_chain(function))[-1]


def targets(view: object) -> Iterator[object]:
    """Yield everything that counts as "the view" when `view` is registered for an endpoint."""
    for function in _chain(view):
        yield function
        for cls in getattr(getattr(function, "view_class", None), "__mro__", ()):
            for member in vars(cls).values():
                if callable(member) or isinstance(member, (staticmethod, classmethod)):
                    yield from _chain(member)


def mark(function: object, exclude: Exclude) -> None:
    """Exclude requests whose view is this function from metrics, even if it does not run."""
    setattr(function, _EXCLUSION, exclude)
    asks_for_exclusion[:] = [True]


def exclusion(view: object, method: str) -> Exclude | None:
    """Return the function that excludes requests of a method to a view from metrics, or None."""
    for function in _chain(view):
        found: Exclude | None = getattr(function, _EXCLUSION, None)
        view_class = getattr(function, "view_class", None)
        for name in ("dispatch_request", "get" if method == "HEAD" else method.lower()):
            found = found or getattr(getattr(view_class, name, None), _EXCLUSION, None)
        if found is not None:
            return found
    return None


def _chain(function: object) -> Iterator[object]:
    """Yield a callable and the ones that it wraps, through methods, partials and `__wrapped__`."""
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
