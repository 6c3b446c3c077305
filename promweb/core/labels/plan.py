"""Label plans: how a metric gets its label values, inspected once and resolved per recording.

A value is a constant, a callable without arguments, or a callable of one argument (the final
response for a view, the return value for any other function).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from inspect import isawaitable
from typing import Any

from ..families.limits import OVERFLOW, LabelValues
from ..families.problems import Problems
from .callables import RAISED, ArgumentLabel, LabelCall, inspect_callable, is_coroutine_function

__all__ = ["ERROR", "LabelPlan", "plain"]

ERROR = "<error>"
"""The value of a label whose callable raised."""


class LabelPlan:
    """The labels of one instrument.

    `defaults` are added unless `labels` has a label of that name, and `given` are the names of the
    labels whose values each call of an instrument gives. Raises ValueError for a value that cannot
    work, naming metric, label and remedy: a callable of two arguments, a callable of one argument
    if `response` is False (a gauge is set before there is a response), a coroutine function if
    `coroutines` is False (Flask), or an argument's value if no function is decorated.
    """

    __slots__ = (
        "_calls",
        "_start",
        "arguments",
        "awaits",
        "blank",
        "constant",
        "given",
        "metric",
        "names",
        "overflow",
        "problems",
    )

    def __init__(
        self,
        metric: str,
        labels: Mapping[str, object] | None,
        defaults: Mapping[str, object],
        problems: Problems,
        *,
        given: Sequence[str] = (),
        decorates: bool = False,
        response: bool = True,
        coroutines: bool = False,
    ) -> None:
        if labels is not None and not isinstance(labels, Mapping):
            raise TypeError(
                f"metric {metric!r}: labels must be a dictionary of label name to value or "
                f"callable, not {type(labels).__name__}; write labels={{'name': value}}, "
                "or labelnames=['name'] for values that calls give"
            )
        twice = [name for name in given if name in (labels or {})]
        if twice:
            raise ValueError(
                f"metric {metric!r}: the label {twice[0]!r} is in labels and in labelnames; use "
                "labels for values that are known here, labelnames for those that calls give"
            )
        merged = {
            **(labels or {}),
            **{k: v for k, v in defaults.items() if k not in (*(labels or {}), *given)},
        }
        for label in (*merged, *given):
            if not isinstance(label, str) or not label:
                raise ValueError(f"metric {metric!r}: invalid label name {label!r}: must be text")
        self.metric = metric
        self.problems = problems
        self.names = (*merged, *given)
        self.given = tuple(given)
        """The names of the labels whose values calls give; they come last."""
        values = merged.values()
        self.overflow: LabelValues = (
            *(OVERFLOW if callable(value) else plain(value) for value in values),
            *(OVERFLOW for _ in given),
        )
        """The values, with every request-derived one replaced by `<overflow>`."""
        self.blank: LabelValues = (
            *("" if callable(value) else plain(value) for value in values),
            *("" for _ in given),
        )
        """The values, with every request-derived one left empty."""
        self._start = self.overflow
        """The values that are known when a call begins, with placeholders for the others."""
        self._calls: list[LabelCall] = []
        arguments: list[tuple[int, ArgumentLabel]] = []
        for index, (label, value) in enumerate(merged.items()):
            if isinstance(value, ArgumentLabel):
                if not decorates:
                    raise ValueError(
                        f"metric {metric!r}, label {label!r}: {value!r} needs a function that is "
                        "decorated; give it in labels of a decorator"
                    )
                arguments.append((index, value))
            elif callable(value):
                self._calls.append(
                    inspect_callable(
                        index, label, value, metric, response=response, coroutines=coroutines
                    )
                )
        self.arguments = tuple(arguments)
        """The labels that come from arguments of the decorated function, and their positions."""
        self.constant = not (self._calls or arguments or given)
        """Whether every label value is known now."""
        self.awaits = coroutines and bool(self._calls)
        """Whether `resolve_async` may have something to await."""

    @property
    def late(self) -> tuple[str, ...]:
        """The labels that only a decorator can give a value."""
        calls = [call.label for call in self._calls if call.one_argument]
        return (*calls, *(self.names[position] for position, _ in self.arguments))

    def filled(self, arguments: Sequence[str] = (), given: Sequence[str] = ()) -> LabelPlan:
        """Return this plan for one call, with the values of `arguments` and `given`."""
        values = [*self._start[: len(self._start) - len(given)], *given]
        for (position, _), value in zip(self.arguments, arguments, strict=False):
            values[position] = value
        plan = object.__new__(LabelPlan)
        for slot in LabelPlan.__slots__:
            setattr(plan, slot, getattr(self, slot))
        plan._start, plan.given = tuple(values), () if given else self.given
        if arguments:
            plan.arguments = ()
        plan.constant = not (self._calls or plan.given or plan.arguments)
        return plan

    def resolve(self, outcome: object) -> LabelValues:
        """Return the label set for an outcome; a callable that raises gives `<error>`.

        So does a callable that returns an awaitable: nothing here can await it.
        """
        if self.constant:
            return self._start
        values = list(self._start)
        for call in self._calls:
            try:
                if not call.one_argument:
                    value = call.function()
                elif outcome is RAISED:
                    value = call.raised()
                else:
                    value = call.function(outcome)
                values[call.position] = str(value) if type(value) in _PLAIN else _text(value)
            except Exception:
                values[call.position] = self._error(call)
        return tuple(values)

    async def resolve_async(self, outcome: object) -> LabelValues:
        """Like `resolve`, but await the results that can be awaited."""
        return await self.texts_async(self.call(outcome), outcome)

    def call(self, outcome: object) -> list[Any]:
        """Call the plain functions for an outcome; return their results, label by label."""
        values: list[Any] = list(self._start)
        for call in self._calls:
            if not call.is_coroutine:
                try:
                    values[call.position] = call(outcome)
                except Exception:
                    values[call.position] = self._error(call)
        return values

    def texts(self, values: list[Any]) -> LabelValues:
        """Return label values from the results of `call`, where nothing can be awaited."""
        for call in self._calls:
            value = values[call.position]
            if call.is_coroutine or type(value) is not str:
                try:
                    values[call.position] = _text(call.function if call.is_coroutine else value)
                except Exception:
                    values[call.position] = self._error(call)
        return tuple(values)

    async def texts_async(self, values: list[Any], outcome: object) -> LabelValues:
        """Return label values from the results of `call`; call and await coroutine functions."""
        for call in self._calls:
            try:
                value = call(outcome) if call.is_coroutine else values[call.position]
                is_late = type(value) not in _PLAIN and isawaitable(value)
                values[call.position] = plain(await value if is_late else value)
            except Exception:
                values[call.position] = self._error(call)
        return tuple(values)

    def _error(self, call: LabelCall) -> str:
        self.problems.label_error(self.metric, call.label)
        return ERROR


_PLAIN = frozenset((str, int, float, bool, type(None)))
"""Types of values that need no awaiting."""


def plain(value: object) -> str:
    """Return a value as text; for an enum its value."""
    return str(value.value if isinstance(value, Enum) else value)


def _text(value: Any) -> str:
    """Return a value as text; raise TypeError for an awaitable."""
    if not (isawaitable(value) or is_coroutine_function(value)):
        return plain(value)
    for end in ("close", "cancel"):  # of a coroutine, of a future
        getattr(value, end, str)()
    raise TypeError("nothing can await a label here; use a plain function that returns text")
