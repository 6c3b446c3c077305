"""Label plans: which values a metric's labels get, inspected once and resolved per recording.

A value is a constant, a callable without arguments, or a callable of one argument (the final
response for a view, the return value for any other function).
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import Enum
from inspect import isawaitable
from typing import Any

from ..families.limits import OVERFLOW, LabelValues
from ..families.problems import Problems

__all__ = [
    "ERROR",
    "EXCEPTION",
    "RAISED",
    "LabelPlan",
    "OutcomeLabel",
    "is_coroutine_function",
    "takes_argument",
]

ERROR = "<error>"
"""The value of a label whose callable raised."""

EXCEPTION = "<exception>"
"""What a callable of one argument yields when the function, which is no view, raised."""

RAISED = object()
"""The outcome of a call that raised: there is no return value to show to a label callable."""


class OutcomeLabel(ABC):
    """A label callable of one argument that has a value for a function that raised as well."""

    @abstractmethod
    def __call__(self, outcome: object) -> str:
        """Return the value for a final response or a return value."""

    @abstractmethod
    def raised(self, error: type[BaseException]) -> str:
        """Return the value for a function, no view, that raised an exception of a class."""


class _Call:
    """One callable label value, inspected."""

    __slots__ = ("function", "is_coroutine", "label", "one_argument", "position")

    def __init__(self, position: int, label: str, function: Any, one_argument: bool) -> None:
        self.position = position
        self.label = label
        self.function = function
        self.one_argument = one_argument
        self.is_coroutine = is_coroutine_function(function)

    def __call__(self, outcome: object) -> Any:
        """Return what the callable does for an outcome; maybe something to await."""
        if not self.one_argument:
            return self.function()
        if outcome is not RAISED:
            return self.function(outcome)
        error = sys.exc_info()[0]
        if error is None or not isinstance(self.function, OutcomeLabel):
            return EXCEPTION
        return self.function.raised(error)


class LabelPlan:
    """The labels of one instrument.

    `defaults` are added where `labels` has no label of the name. Raises ValueError for a value
    that cannot work, naming metric, label and remedy: a callable of two arguments, one of one
    argument where `response` is False (a gauge is set before there is a response), or a
    coroutine function where `coroutines` is False (Flask).
    """

    __slots__ = ("_calls", "awaits", "blank", "constant", "metric", "names", "overflow", "problems")

    def __init__(
        self,
        metric: str,
        labels: Mapping[str, object] | None,
        defaults: Mapping[str, object],
        problems: Problems,
        *,
        response: bool = True,
        coroutines: bool = False,
    ) -> None:
        if labels is not None and not isinstance(labels, Mapping):
            raise TypeError(
                f"metric {metric!r}: labels must be a dictionary of label name to value or "
                f"callable, not {type(labels).__name__}; write labels={{'name': value}}"
            )
        merged = {
            **(labels or {}),
            **{k: v for k, v in defaults.items() if k not in (labels or {})},
        }
        for label in merged:
            if not isinstance(label, str) or not label:
                raise ValueError(f"metric {metric!r}: invalid label name {label!r}: must be text")
        self.metric = metric
        self.problems = problems
        self.names = tuple(merged)
        self.overflow: LabelValues = tuple(
            OVERFLOW if callable(value) else _plain(value) for value in merged.values()
        )
        """The values with everything that comes from a request replaced by `<overflow>`."""
        self.blank: LabelValues = tuple(
            "" if callable(value) else _plain(value) for value in merged.values()
        )
        """The values with everything that comes from a request left empty."""
        self._calls = [
            _inspect(index, label, value, metric, response=response, coroutines=coroutines)
            for index, (label, value) in enumerate(merged.items())
            if callable(value)
        ]
        self.constant = not self._calls
        """Whether every label value is known now."""
        self.awaits = coroutines and not self.constant
        """Whether `resolve_async` may have something to await."""

    def resolve(self, outcome: object) -> LabelValues:
        """Return the label set for an outcome; a callable that raises yields `<error>`.

        So does one that returns something to await: there is nothing here to await it.
        """
        return self.overflow if self.constant else self.texts(self.call(outcome))

    async def resolve_async(self, outcome: object) -> LabelValues:
        """Do what `resolve` does, and await what a callable returns if it can be awaited."""
        return await self.texts_async(self.call(outcome), outcome)

    def call(self, outcome: object) -> list[Any]:
        """Call the plain functions for an outcome; return what they return, label by label."""
        values: list[Any] = list(self.overflow)
        for call in self._calls:
            if not call.is_coroutine:
                try:
                    values[call.position] = call(outcome)
                except Exception:
                    values[call.position] = self._error(call)
        return values

    def texts(self, values: list[Any]) -> LabelValues:
        """Return label values from what `call` returned, where nothing can be awaited."""
        for call in self._calls:
            value = values[call.position]
            if call.is_coroutine or type(value) is not str:
                try:
                    values[call.position] = _text(call.function if call.is_coroutine else value)
                except Exception:
                    values[call.position] = self._error(call)
        return tuple(values)

    async def texts_async(self, values: list[Any], outcome: object) -> LabelValues:
        """Return label values from what `call` returned; call and await the coroutine functions."""
        for call in self._calls:
            try:
                value = call(outcome) if call.is_coroutine else values[call.position]
                values[call.position] = _plain(await value if isawaitable(value) else value)
            except Exception:
                values[call.position] = self._error(call)
        return tuple(values)

    def _error(self, call: _Call) -> str:
        self.problems.label_error(self.metric, call.label)
        return ERROR


def _inspect(
    position: int, label: str, function: Any, metric: str, *, response: bool, coroutines: bool
) -> _Call:
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
    return _Call(position, label, function, one_argument)


def _plain(value: object) -> str:
    """Return a value as text; of an enum its value."""
    return str(value.value if isinstance(value, Enum) else value)


def _text(value: Any) -> str:
    """Return a value as text; raise for what only an event loop could turn into text."""
    if not (isawaitable(value) or is_coroutine_function(value)):
        return _plain(value)
    for end in ("close", "cancel"):  # of a coroutine, of a future
        getattr(value, end, str)()
    raise TypeError("nothing can await a label here; use a plain function that returns text")


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
