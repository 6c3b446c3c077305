"""Instruments: what `counter`, `gauge`, `histogram` and `summary` measure about one call."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from .children import NumberChild
from .exchange import Visit, current
from .families import CounterFamily, Family, GaugeFamily, LabelValues
from .labels import RAISED, LabelPlan

__all__ = ["Call", "Instrument", "Mark"]


class Call(Protocol):
    """What a wrapped function does around its work; `outcome` is its result, or `RAISED`."""

    def start(self) -> None:
        """The work starts."""

    async def start_async(self) -> None:
        """The work starts where coroutine functions can be awaited."""

    def end(self, outcome: object) -> None:
        """The work ended."""

    async def end_async(self, outcome: object) -> None:
        """The work ended where coroutine functions can be awaited."""


class Instrument:
    """A family, the labels that one decorator gives it, and when to leave a call out.

    `excludes` is asked with the path of the current request; `shelter` protects the coroutine
    labels of a call that was cancelled from the cancellation. Nothing here raises while serving.
    """

    __slots__ = ("_is_counter", "clock", "excludes", "family", "is_gauge", "plan", "shelter")

    def __init__(
        self,
        family: Family[Any],
        plan: LabelPlan,
        clock: Callable[[], float],
        excludes: Callable[[str], bool] | None,
        shelter: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.family = family
        self.plan = plan
        self.clock = clock
        self.excludes = excludes
        self.shelter = shelter
        self.is_gauge = isinstance(family, GaugeFamily)
        self._is_counter = isinstance(family, CounterFamily)

    def begin(self, target: object) -> Call | None:
        """Begin a call of `target`, the innermost function; None when it is not to be measured."""
        exchange = current.get()
        if exchange is not None and (
            exchange.excluded
            or (
                self.excludes is not None
                and exchange.request is not None
                and self.excludes(exchange.request.path)
            )
        ):
            return None
        try:
            if self.is_gauge:
                return _Occupation(self)
            return _Timing(self, exchange, target)
        except Exception:
            self.plan.problems.failed(f"measure a call for {self.family}")
            return None

    def child(self, values: LabelValues) -> Any:
        return self.family.child(values, self.plan.fold)

    def record(self, values: LabelValues, seconds: float) -> None:
        """Count or observe one call."""
        try:
            child = self.family.children.get(values) or self.child(values)
            if self._is_counter:
                child.inc()
            else:
                child.observe(seconds)
        except Exception:
            self.plan.problems.failed(f"record {self.family}")


class _Timing:
    """One call that is counted or timed; a view's waits in the exchange for the final response."""

    __slots__ = ("_deferred", "_instrument", "_seconds", "_start", "_values", "plan")

    def __init__(self, instrument: Instrument, exchange: Visit | None, target: object) -> None:
        self._instrument = instrument
        self._seconds: float | None = None
        self.plan = instrument.plan
        self._values: LabelValues | None = None
        self._start = instrument.clock()
        self._deferred = exchange is not None and exchange.is_view(target) and exchange.defer(self)

    def start(self) -> None:
        self._start = self._instrument.clock()

    async def start_async(self) -> None:
        self.start()

    def end(self, outcome: object) -> None:
        self._seconds = self._elapsed()
        if not self._deferred and not _is_excluded():
            if self._values is None:
                self._values = self.plan.resolve(outcome)
            self.flush()

    async def end_async(self, outcome: object) -> None:
        if self._deferred or self._values is not None or not self.plan.has_coroutines:
            self.end(outcome)
            return
        self._seconds = self._elapsed()
        if _is_excluded():
            return
        try:
            with self._instrument.shelter() if outcome is RAISED else nullcontext():
                self._values = await self.plan.resolve_async(outcome)
        finally:  # cancelled while a label was awaited: the call happened all the same
            self.flush()

    def settle(self, values: LabelValues) -> None:
        self._values = values

    def flush(self) -> None:
        seconds, values = self._seconds, self._values
        if seconds is None:
            seconds = self._elapsed()
        if values is None:
            values = self.plan.resolve(RAISED)
        self._instrument.record(values, seconds)

    def _elapsed(self) -> float:
        return self._instrument.clock() - self._start  # negative ones become zero


def _is_excluded() -> bool:
    """Tell whether the request said so by now: what a call does may exclude the call itself."""
    exchange = current.get()
    return exchange is not None and exchange.excluded


class _Occupation:
    """One call that is in progress: up when it starts, down when it ends."""

    __slots__ = ("_child", "_instrument")

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._child: NumberChild | None = None
        plan = instrument.plan
        if not plan.has_coroutines:
            self._child = instrument.child(plan.resolve(None))

    def start(self) -> None:
        if self._child is None:  # a coroutine label, and nothing to await it: its value is <error>
            self._child = self._instrument.child(self._instrument.plan.resolve(None))
        self._child.inc()

    async def start_async(self) -> None:
        if self._child is None:
            instrument = self._instrument
            self._child = instrument.child(await instrument.plan.resolve_async(None))
        self.start()

    def end(self, outcome: object) -> None:
        if self._child is not None:
            self._child.dec()

    async def end_async(self, outcome: object) -> None:
        self.end(outcome)


class Mark:
    """`do_not_track` and `exclude_all_metrics`: no measurement, but a word to the exchange."""

    __slots__ = ("_say",)

    def __init__(self, say: Callable[[Visit], None]) -> None:
        self._say = say

    def begin(self, target: object) -> None:
        exchange = current.get()
        if exchange is not None:
            self._say(exchange)
