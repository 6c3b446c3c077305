"""Instruments: what `counter`, `gauge`, `histogram` and `summary` measure about one call."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from ..families.children import NumberChild
from ..families.family import Family
from ..families.kinds import CounterFamily, GaugeFamily
from ..families.limits import LabelValues
from ..labels.exemplars import ExemplarLabels, ExemplarReader
from ..labels.plan import RAISED, LabelPlan
from ..requests.exchange import Visit, current

__all__ = ["Call", "Instrument", "Mark"]

_new = object.__new__


class Call(Protocol):
    """What a wrapped function does around its work; `outcome` is its result, or `RAISED`."""

    @property
    def awaits(self) -> bool:
        """Whether there is something to await where that is possible."""

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

    `excludes` is asked with the path of the current request; `exemplar` for the exemplar of a call
    that ends; `shelter` protects the coroutine
    labels of a call that was cancelled from the cancellation. Nothing here raises while serving.
    """

    __slots__ = (
        "clock",
        "excludes",
        "exemplar",
        "family",
        "is_counter",
        "is_gauge",
        "plan",
        "shelter",
        "timer",
    )

    def __init__(
        self,
        family: Family[Any],
        plan: LabelPlan,
        clock: Callable[[], float],
        excludes: Callable[[str], bool] | None,
        shelter: Callable[[], AbstractContextManager[Any]] = nullcontext,
        exemplar: ExemplarReader | None = None,
    ) -> None:
        self.exemplar = exemplar
        self.family = family
        self.plan = plan
        self.clock = clock
        self.excludes = excludes
        self.shelter = shelter
        self.is_gauge = isinstance(family, GaugeFamily)
        self.is_counter = isinstance(family, CounterFamily)
        self.timer = None if self.is_gauge or plan.has_coroutines else self

    def begin(self, target: object, later: bool = False) -> Call | None:
        """Begin a call of `target`, the innermost function; None when it is not to be measured.

        The call starts now, unless it does so `later`, by itself.
        """
        visit = current.get()
        try:
            if visit is not None and (
                visit.excluded or (self.excludes is not None and self._excludes(visit))
            ):
                return None
            if self.is_gauge:
                occupation = _Occupation(self)
                if not later:
                    occupation.start()
                return occupation
            timing = _Timing()
            timing.instrument, timing.plan = self, self.plan
            if visit is not None:
                timing.deferred = visit.defer(timing, target)
            timing.begun = self.clock()
            return timing
        except Exception:
            self.plan.problems.failed(f"measure a call for {self.family}")
            return None

    def ended(self, target: object, seconds: float, outcome: object) -> None:
        """Measure a call of `target` that took `seconds`, as `begin` and `end` do, at once."""
        visit = current.get()
        try:
            if visit is not None and (
                visit.excluded or (self.excludes is not None and self._excludes(visit))
            ):
                return
            timing: _Timing = _new(_Timing)  # without the call of an `__init__`
            timing.instrument, timing.plan, timing.seconds = self, self.plan, seconds
            if self.exemplar is not None:
                timing.exemplar = self.exemplar()
            if visit is None or not visit.defer(timing, target):
                timing.flush(outcome)
        except Exception:
            self.plan.problems.failed(f"measure a call for {self.family}")

    def _excludes(self, visit: Visit) -> bool:
        assert self.excludes is not None
        return visit.request is not None and self.excludes(visit.request.path)

    def child(self, values: LabelValues) -> Any:
        return self.family.child(values, self.plan.fold)


class _Timing:
    """One call that is counted or timed; a view's waits in the exchange for the final response."""

    instrument: Instrument
    plan: LabelPlan
    begun: float
    # Class attributes are defaults: a call sets only what is its own.
    deferred = False
    values: LabelValues | None = None
    exemplar: ExemplarLabels | None = None
    seconds: float | None = None

    @property
    def awaits(self) -> bool:
        return self.plan.has_coroutines

    def start(self) -> None:
        self.begun = self.instrument.clock()

    async def start_async(self) -> None:
        self.start()

    def end(self, outcome: object) -> None:
        instrument = self.instrument
        self.seconds = instrument.clock() - self.begun
        if instrument.exemplar is not None:
            self.exemplar = instrument.exemplar()
        if not self.deferred and not _is_excluded():
            self.flush(outcome)

    async def end_async(self, outcome: object) -> None:
        if self.deferred or self.values is not None or not self.awaits:
            self.end(outcome)
            return
        instrument = self.instrument
        self.seconds = instrument.clock() - self.begun
        if instrument.exemplar is not None:
            self.exemplar = instrument.exemplar()
        if _is_excluded():
            return
        try:
            with instrument.shelter() if outcome is RAISED else nullcontext():
                self.values = await self.plan.resolve_async(outcome)
        finally:  # cancelled while a label was awaited: the call happened all the same
            self.flush()

    def flush(self, outcome: object = RAISED) -> None:
        instrument, seconds, values = self.instrument, self.seconds, self.values
        try:
            if seconds is None:
                seconds = instrument.clock() - self.begun
            if values is None:
                values = self.plan.resolve(outcome)
            child = instrument.family.children.get(values)
            if child is None:
                child = instrument.child(values)
            child.record(1.0 if instrument.is_counter else seconds)  # a negative one is zero
            if self.exemplar is not None:
                child.exemplify(self.exemplar, 1.0 if instrument.is_counter else max(seconds, 0.0))
        except Exception:
            self.plan.problems.failed(f"record {instrument.family}")


def _is_excluded() -> bool:
    """Tell whether the request said so by now: what a call does may exclude the call itself."""
    exchange = current.get()
    return exchange is not None and exchange.excluded


class _Occupation:
    """One call that is in progress: up when it starts, down when it ends."""

    __slots__ = ("_child", "_instrument", "awaits")

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._child: NumberChild | None = None
        plan = instrument.plan
        self.awaits = plan.has_coroutines
        if not self.awaits:
            self._child = instrument.child(plan.resolve(None))

    def start(self) -> None:
        instrument = self._instrument
        try:
            if self._child is None:  # its label is to be awaited, and nothing does: <error>
                self._child = instrument.child(instrument.plan.resolve(None))
            self._child.inc()
        except Exception:
            self._fail()

    async def start_async(self) -> None:
        instrument = self._instrument
        if self._child is None:
            try:
                self._child = instrument.child(await instrument.plan.resolve_async(None))
            except Exception:
                self._fail()
                return
        self.start()

    def _fail(self) -> None:
        """Leave the call alone, and its end too."""
        self._child = None
        self._instrument.plan.problems.failed(f"measure a call for {self._instrument.family}")

    def end(self, outcome: object) -> None:
        try:
            if self._child is not None:
                self._child.dec()
        except Exception:
            self._fail()

    async def end_async(self, outcome: object) -> None:
        self.end(outcome)


class Mark:
    """`do_not_track` and `exclude_all_metrics`: no measurement, but a word to the exchange."""

    __slots__ = ("_say",)

    timer = None

    def __init__(self, say: Callable[[Visit], None]) -> None:
        self._say = say

    def begin(self, target: object, later: bool = False) -> None:
        exchange = current.get()
        if exchange is not None:
            self._say(exchange)
