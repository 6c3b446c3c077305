"""Labels that read an argument of the decorated function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..labels.callables import ArgumentLabel

__all__ = ["ArgumentReader", "argument_reader"]

ArgumentReader = Callable[[tuple[Any, ...], Mapping[str, Any]], str]
"""Returns a label value for the arguments of a call."""


def argument_reader(
    function: Callable[..., Any], label: ArgumentLabel, what: str
) -> ArgumentReader:
    """Return a function that reads a label's value from the arguments of a call.

    It inspects the signature here, not at each call. Raises ValueError, naming `what`, for a
    function without such a parameter.
    """
    name = label.name
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise ValueError(
            f"{what}: {label!r} cannot read the parameters of {function!r}; wrap it in a function"
        ) from None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    found = next((p for p in (*positional, *named) if p.name == name), None)
    if found is None and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = ", ".join(p.name for p in parameters) or "none"
        raise ValueError(
            f"{what}: {label!r} needs a parameter {name!r}, and {function!r} has {known}"
        )
    position = positional.index(found) if found in positional else None
    takes_keyword = found is None or found in named
    has_default = found is not None and found.default is not found.empty
    default = found.default if found is not None else None

    def read(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        if takes_keyword and name in kwargs:
            return label.text(kwargs[name])
        if position is not None and position < len(args):
            return label.text(args[position])
        return label.text(default) if has_default else label.missing()

    return read
