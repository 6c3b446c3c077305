"""Remembers which decorators functions have, to find those that no route has."""

from __future__ import annotations

import sys
import types
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, ref

from .. import forking
from ..requests.views import innermost

__all__ = ["Decoration", "remember", "remembered"]


class Decoration(NamedTuple):
    """A decorator that a function has."""

    what: str
    decorated: ref[Any]
    is_above: bool
    """Whether the program wrote `@decorator` above the function."""


_decorations: WeakKeyDictionary[Any, list[Decoration]] = WeakKeyDictionary()
"""The decorators of each function that exists; in a factory the decorated one is gone at once."""


def remember(decorated: object, what: str) -> None:
    """Remember a decorator of a function; only the decorator itself may call this."""
    # A view class is decorated in place, and methods are not views.
    if not isinstance(decorated, (types.FunctionType, partial)):
        return
    function = decorated.__wrapped__  # type: ignore[union-attr]
    inner = innermost(function)
    is_above = _is_defined_at(sys._getframe(2), inner)
    decoration = Decoration(what, ref(decorated), is_above)
    with forking.definitions:
        # The decorators between the two may be gone when the routes are looked at.
        for known in (function,) if function is inner else (function, inner):
            if isinstance(known, (types.FunctionType, partial)):
                useful = [one for one in _decorations.get(known, ()) if _is_useful(one)]
                _decorations[known] = [*useful, decoration]


def remembered(function: object) -> list[Decoration]:
    """Return the decorators around a function."""
    if not isinstance(function, (types.FunctionType, partial)):
        return []
    with forking.definitions:
        return list(_decorations.get(function, ()))


def _is_useful(decoration: Decoration) -> bool:
    """Whether it may show a mistake. A program may decorate one function again and again."""
    return decoration.is_above or decoration.decorated() is not None


def _is_defined_at(frame: types.FrameType, function: object) -> bool:
    """Whether the frame is just defining the function, so that it calls what is above it."""
    code = getattr(function, "__code__", None)
    if code is None or all(constant is not code for constant in frame.f_code.co_consts):
        return False
    last = max(line for *_, line in code.co_lines() if line is not None)
    return bool(code.co_firstlineno <= frame.f_lineno <= last)
