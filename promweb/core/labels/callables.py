"""Label callables: their kinds, and how many arguments each takes."""

from __future__ import annotations

import builtins
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

__all__ = [
    "EXCEPTION",
    "RAISED",
    "ArgumentLabel",
    "LabelCall",
    "OutcomeLabel",
    "exception_class",
    "exceptions_of",
    "inspect_callable",
    "is_coroutine_function",
    "takes_argument",
]

EXCEPTION = "<exception>"
"""The value of a callable of one argument if the function, which is not a view, raised."""

RAISED = object()
"""The outcome of a call that raised: there is no return value for a label callable."""


def exception_class(error: BaseException | None) -> type[BaseException] | None:
    """Return the class of an exception; of a group with only one exception, the class of that one.

    asyncio, trio and Quart raise a group even if a single task or function failed.
    """
    errors = exceptions_of(error)
    if len(errors) == 1:
        return exception_class(errors[0])
    return None if error is None else type(error)


def exceptions_of(error: BaseException | None) -> tuple[BaseException, ...]:
    """Return the exceptions of a group; none if `error` is not a group."""
    # Python 3.10 has groups only where this package is loaded: anyio and trio load it there.
    module: Any = sys.modules.get("exceptiongroup", builtins)
    group = getattr(module, "BaseExceptionGroup", ())
    return error.exceptions if isinstance(error, group) else ()


class OutcomeLabel(ABC):
    """A label callable of one argument that has a value even if the function raised."""

    @abstractmethod
    def __call__(self, outcome: object) -> str:
        """Return the value for a final response or a return value."""

    @abstractmethod
    def raised(self, error: type[BaseException]) -> str:
        """Return the value for a function, not a view, that raised an exception of this class."""


class ArgumentLabel(ABC):
    """The value of a label that comes from an argument of the decorated function."""

    name: str
    """The name of the function's parameter."""

    def __call__(self) -> str:
        """Raise: only a decorator knows the arguments of a call."""
        raise TypeError(f"from_argument({self.name!r}) is for decorated functions")

    @abstractmethod
    def text(self, value: object) -> str:
        """Return the label value for an argument."""

    @abstractmethod
    def missing(self) -> str:
        """Return the label value for a call without the argument."""


class LabelCall:
    """One inspected label callable."""

    __slots__ = ("function", "is_coroutine", "label", "one_argument", "position")

    def __init__(self, position: int, label: str, function: Any, one_argument: bool) -> None:
        self.position = position
        self.label = label
        self.function = function
        self.one_argument = one_argument
        self.is_coroutine = is_coroutine_function(function)

    def __call__(self, outcome: object) -> Any:
        """Call the callable for an outcome; the result may have to be awaited."""
        if not self.one_argument:
            return self.function()
        return self.raised() if outcome is RAISED else self.function(outcome)

    def raised(self) -> str:
        """Return the value for a function that raised the exception that is being handled."""
        error = exception_class(sys.exc_info()[1])
        if error is None or not isinstance(self.function, OutcomeLabel):
            return EXCEPTION
        return self.function.raised(error)


def inspect_callable(
    position: int, label: str, function: Any, metric: str, *, response: bool, coroutines: bool
) -> LabelCall:
    """Return a callable label value, or raise ValueError for one that cannot work."""
    where = f"metric {metric!r}, label {label!r}"
    one_argument = takes_argument(function, where)
    if isinstance(function, OutcomeLabel) and not response:
        raise ValueError(
            f"{where}: a gauge is set before there is an outcome, which {function!r} needs; "
            "use a counter, a histogram or a summary"
        )
    if one_argument and not response:
        raise ValueError(
            f"{where}: a gauge is set before there is a response, so its label callables "
            "take no argument; use `lambda: ...`, or a counter or histogram"
        )
    if not coroutines and is_coroutine_function(function):
        raise ValueError(
            f"{where}: a coroutine function cannot be awaited on Flask; "
            "use a plain function, or AsyncPrometheusMetrics on Quart"
        )
    return LabelCall(position, label, function, one_argument)


def takes_argument(function: Callable[..., object], where: str) -> bool:
    """Return whether a callable takes one positional argument (True) or none (False).

    Raises ValueError for any other signature.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise ValueError(
            f"{where}: cannot tell how many arguments {function!r} takes; "
            "wrap it, as in `lambda response: ...` or `lambda: ...`"
        ) from None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise ValueError(
            f"{where}: {function!r} takes any number of arguments, so it is not clear whether it "
            "wants the response; wrap it, as in `lambda response: ...` or `lambda: ...`"
        )
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(required) > 1 or keywords:
        raise ValueError(
            f"{where}: {function!r} must be callable without arguments or with one "
            f"(the response), but it requires {[p.name for p in required + keywords]}"
        )
    return bool(positional)


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Tell coroutine functions, also behind partials, bound methods and callable objects."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )
