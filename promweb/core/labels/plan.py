"""Label plans: which values a metric's labels get, inspected once and resolved per recording.

A value is a constant, a callable without arguments, or a callable of one argument (the final
response for a view, the return value for any other function).
"""

from __future__ import annotations

import inspect
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..families.limits import OVERFLOW, LabelValues
from ..families.problems import Problems

__all__ = [
    "ERROR",
    "EXCEPTION",
    "RAISED",
    "LabelPlan",
    "OutcomeLabel",
    "check_label_name",
    "is_coroutine_function",
    "takes_argument",
]

ERROR = "<error>"
"""The value of a label whose callable raised."""

EXCEPTION = "<exception>"
"""What a callable of one argument yields when the function, which is no view, raised."""

_LABEL_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")

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


class _Call(NamedTuple):
    """One callable label value, inspected."""

    position: int
    label: str
    function: Callable[..., Any]
    one_argument: bool
    coroutine: bool


class LabelPlan:
    """The labels of one instrument.

    `defaults` are added where `labels` has no label of the name. Raises `ValueError` for a value
    that cannot work, naming metric, label and remedy: a callable of two arguments, one of one
    argument where `response` is False (a gauge is set before there is a response), or a
    coroutine function where `coroutines` is False (Flask).
    """

    __slots__ = (
        "_calls",
        "_steps",
        "constant",
        "fold",
        "has_coroutines",
        "metric",
        "names",
        "problems",
    )

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
        self.fold: LabelValues = tuple(
            OVERFLOW if callable(value) else str(value) for value in merged.values()
        )
        self._calls: list[_Call] = []
        for index, (label, value) in enumerate(merged.items()):
            if not callable(value):
                continue
            where = f"metric {metric!r}, label {label!r}"
            one_argument = takes_argument(value, where)
            call = _Call(index, label, value, one_argument, is_coroutine_function(value))
            if isinstance(value, OutcomeLabel) and not response:
                raise ValueError(
                    f"{where}: a gauge is set before there is an outcome, which {value!r} needs; "
                    "use a counter, a histogram or a summary"
                )
            if call.one_argument and not response:
                raise ValueError(
                    f"{where}: a gauge is set before there is a response, so its label callables "
                    "take no argument; use `lambda: ...`, or a counter or histogram"
                )
            if call.coroutine and not coroutines:
                raise ValueError(
                    f"{where}: a coroutine function cannot be awaited on Flask; "
                    "use a plain function, or AsyncPrometheusMetrics on Quart"
                )
            self._calls.append(call)
        self._steps = tuple(
            (call.position, call.function, call.one_argument, call) for call in self._calls
        )
        self.constant = not self._calls
        """Whether every label value is known now."""
        self.has_coroutines = any(call.coroutine for call in self._calls)

    def resolve(self, outcome: object) -> LabelValues:
        """Return the label set for an outcome; a callable that raises yields `<error>`."""
        if self.constant:
            return self.fold
        values = list(self.fold)
        if outcome is RAISED or self.has_coroutines:
            for call in self._calls:
                values[call.position] = self._value(call, outcome)
            return tuple(values)
        for position, function, one_argument, call in self._steps:
            try:
                values[position] = str(function(outcome) if one_argument else function())
            except Exception:
                values[position] = self._error(call)
        return tuple(values)

    async def resolve_async(self, outcome: object) -> LabelValues:
        """Do what `resolve` does, and await the values of coroutine functions."""
        values = list(self.fold)
        for call in self._calls:
            if call.coroutine and not (call.one_argument and outcome is RAISED):
                try:
                    value = call.function(outcome) if call.one_argument else call.function()
                    values[call.position] = str(await value)
                except Exception:
                    values[call.position] = self._error(call)
            else:
                values[call.position] = self._value(call, outcome)
        return tuple(values)

    def _value(self, call: _Call, outcome: object) -> str:
        if call.one_argument and outcome is RAISED:
            error = sys.exc_info()[0]
            if error is None or not isinstance(call.function, OutcomeLabel):
                return EXCEPTION
            return call.function.raised(error)
        try:
            if call.coroutine:
                raise RuntimeError("a coroutine function labels a function that cannot await it")
            return str(call.function(outcome) if call.one_argument else call.function())
        except Exception:
            return self._error(call)

    def _error(self, call: _Call) -> str:
        self.problems.label_error(self.metric, call.label)
        return ERROR


def takes_argument(function: Callable[..., object], where: str) -> bool:
    """Tell whether a callable takes one positional argument (True) or none (False).

    Raises `ValueError` for any other signature.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise ValueError(
            f"{where}: cannot tell how many arguments {function!r} takes; "
            "wrap it, as in `lambda response: ...` or `lambda: ...`"
        ) from None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(required) > 1 or keywords:
        raise ValueError(
            f"{where}: {function!r} must be callable without arguments or with one "
            f"(the response), but it requires {[p.name for p in required + keywords]}"
        )
    return bool(positional)


def check_label_name(name: object, where: str) -> str:
    """Return a valid label name, or raise `ValueError` (the rule of the Prometheus data model)."""
    if not isinstance(name, str) or not _LABEL_NAME.fullmatch(name):
        raise ValueError(
            f"{where}: invalid label name {name!r}; a label name starts with a letter or an "
            "underscore and contains only letters, digits and underscores"
        )
    return name


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Tell coroutine functions, also behind partials, bound methods and callable objects."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )
