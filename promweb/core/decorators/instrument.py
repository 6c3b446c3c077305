"""The base of all instruments: they decorate functions, and they have label sets."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from types import FunctionType
from typing import Any, TypeVar, cast

from ..families.kinds import GaugeFamily
from .blocks import NOTHING
from .direct import Direct
from .remembered import remember
from .wrapping import wrap

__all__ = ["Instrument", "check_decorates"]

F = TypeVar("F", bound=Callable[..., Any])
Self = TypeVar("Self", bound="Instrument")


class Instrument:
    """Decorates functions, and records without decorating; the base of the four kinds.

    Its label set has `labels`, and the names in `labelnames`. Wrong calls record nothing, are
    logged once and counted; in tests with the fixture `metrics_registry` they raise.
    """

    __slots__ = ("__weakref__", "_direct", "_known", "_only")

    def __init__(self, calls: Any) -> None:  # a `Calls`, which no user makes
        self._direct = Direct(calls)
        self._known = self._direct.known
        self._only: Any = None
        """The child of an instrument without labels from calls, once it is known."""

    def __call__(self, function: F, /) -> F:
        """Decorate a function, a method or a view class; return one of the same kind.

        Raises ValueError if `labelnames` have no values yet.

            @metrics.counter("orders", "Orders taken")
            def take_order(): ...
        """
        check_decorates(self)
        calls = self._direct.calls
        decorated = wrap(function, calls, calls.what)
        remember(decorated, calls.what)
        return decorated

    def labels(self: Self, /, *values: object, **labels: object) -> Self:
        """Return the instrument of one label set; a program may keep it.

        Give values by name, or in the order of `labelnames`. Label callables run each time that the
        instrument records.

            gifts = orders.labels(kind="gift")
            gifts.inc()
        """
        direct = self._direct
        if values and not labels and len(values) == len(direct.calls.plan.given):
            labels = dict(zip(direct.calls.plan.given, values, strict=True))
        elif values:
            direct.refuse_positions(len(values), labels)
            return self._lost()
        try:
            bound = direct.bound.get(direct.key(labels))
        except TypeError:  # a value that cannot be hashed
            bound = None
        if bound is None:
            plan = direct.fill(labels)
            if plan is None:
                return self._lost()
            bound = type(self)(direct.calls.with_plan(plan))
            if plan.constant:
                direct.find(labels)  # the series begins at 0
                if self._lookup(labels) is not None:
                    direct.bound[direct.key(labels)] = bound
        return cast(Self, bound)

    def __repr__(self) -> str:
        return f"<{self._direct.what}>"

    def _misplace(self: Self, value: object, why: str = "labels are given by name") -> Self:
        """Report a value by position that a method cannot take; return what records nothing."""
        self._direct.refuse_value(value, why)
        return self._lost()

    def _misplace_in(self: Self, method: str, value: object, **why: str) -> Self:
        """Do the same for a method that returns a decorator.

        Raises TypeError for a function, because somebody decorates with the method itself.
        """
        if isinstance(value, FunctionType):
            raise TypeError(
                f"{self._direct.what}: {method} got the function {value.__name__!r}, but returns "
                f"a decorator; write parentheses after it, as in {method}()"
            )
        return self._misplace(value, **why)

    def _lost(self: Self) -> Self:
        """Return an instrument that records nothing, for wrong labels that are logged."""
        lost = type(self)(self._direct.calls)
        lost._known[()] = NOTHING
        return lost

    def _record(self, amount: Any, labels: dict[str, object], least: float = -inf) -> None:
        """Record an amount of at least `least` in a label set; report a wrong one."""
        child = self._only
        if labels or child is None:
            child = self._find(labels, amount)
        try:
            if amount >= least:  # False for NaN
                child.record(amount if type(amount) is float else float(amount))
                return
            problem = None
        except Exception as error:
            problem = error
        if child is not NOTHING:  # otherwise its labels were wrong, and that is logged
            self._direct.refuse(amount, problem)

    def _lookup(self, labels: dict[str, object]) -> Any:
        """Return the child of a known label set, or None."""
        try:
            child = self._known.get(self._direct.key(labels))
        except TypeError:  # a value that cannot be hashed
            return None
        if not labels:
            self._only = child
        return child

    def _find(self, labels: dict[str, object], amount: object) -> Any:
        """Return the child of a label set for an amount; make it if it is new."""
        known = self._lookup(labels)
        return self._direct.find(labels, amount) if known is None else known


def check_decorates(instrument: Instrument) -> None:
    """Raise ValueError if an instrument cannot decorate anything."""
    calls = instrument._direct.calls
    if calls.plan.given:
        label = calls.plan.given[0]
        raise ValueError(
            f"{calls.what}: nothing gives the label {label!r} a value where a function is "
            "decorated. Give it a value in labels in place of labelnames, or decorate with "
            f".labels({label}=...)"
        )
    if isinstance(calls.family, GaugeFamily) and calls.family.is_only_set:
        raise ValueError(
            f"{calls.what}: multiprocess_mode={calls.family.mode!r} is for gauges that are set; "
            "one that counts up and down can be livesum, sum, liveall, all, min or max"
        )
