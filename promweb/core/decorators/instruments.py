"""Instruments: what `counter`, `gauge`, `histogram` and `summary` measure about one call."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from ..families.children import Child, NumberChild
from ..families.family import Family
from ..families.kinds import CounterFamily, GaugeFamily
from ..families.limits import LabelValues
from ..labels.exemplars import ExemplarLabels, ExemplarReader
from ..labels.plan import RAISED, LabelPlan
from ..requests.scope import Scope, current

__all__ = ["Call", "Exclusion", "Instrument"]


class Call(Protocol):
    """What a wrapped function does around its work; `outcome` is its result, or `RAISED`."""

    @property
    def awaits_start(self) -> bool:
        """Whether a coroutine function calls `start_async` in place of `start`."""

    @property
    def awaits_end(self) -> bool:
        """Whether a coroutine function calls `end_async` in place of `end`."""

    def start(self) -> None:
        """The work starts."""

    async def start_async(self) -> None:
        """The work starts where labels can be awaited."""

    def end(self, outcome: object) -> None:
        """The work ended."""

    async def end_async(self, outcome: object) -> None:
        """The work ended where labels can be awaited."""


class Instrument:
    """A family, the labels that one decorator gives it, and when to leave a call out.

    `excludes` is called with the path of the current request; `exemplar` returns the exemplar of a
    call that ends; `shield` protects labels that are awaited for a call that was cancelled.
    Nothing here raises while serving.
    """

    __slots__ = ("_call", "clock", "counts", "excludes", "exemplar", "family", "plan", "shield")

    def __init__(
        self,
        family: Family[Any],
        plan: LabelPlan,
        clock: Callable[[], float],
        excludes: Callable[[str], bool] | None,
        shield: Callable[[], AbstractContextManager[Any]] = nullcontext,
        exemplar: ExemplarReader | None = None,
    ) -> None:
        self.family = family
        self.plan = plan
        self.clock = clock
        self.excludes = excludes
        self.shield = shield
        self.exemplar = exemplar
        self.counts = isinstance(family, CounterFamily)
        self._call = _InProgress if isinstance(family, GaugeFamily) else _Timing

    def begin(self, target: object) -> Call | None:
        """Begin a call of `target`, the innermost function; None if it is not to be measured."""
        scope = current.get()
        try:
            if scope is not None and scope.finished and not scope.is_answered_by(target):
                scope = None  # what a request left behind belongs to no request
            if scope is not None and self._leaves_out(scope):
                return None
            return self._call(self, scope, target)
        except Exception:
            self.failed()
            return None

    def _leaves_out(self, scope: Scope) -> bool:
        if scope.excluded:
            return True
        if self.excludes is None or scope.request is None:
            return False
        return self.excludes(scope.request.path)

    def child(self, values: LabelValues) -> Any:
        return self.family.child(values, self.plan.overflow)

    def failed(self) -> None:
        """Log an exception that was kept away from the program."""
        self.plan.problems.failed(f"measure a call for {self.family}")


class _Timing:
    """One call that is counted or timed; a view's waits in the exchange for the final response."""

    __slots__ = (
        "_begun",
        "_deferred",
        "_exemplar",
        "_instrument",
        "_scope",
        "_seconds",
        "awaits_end",
        "plan",
        "values",
    )

    awaits_start = False

    def __init__(self, instrument: Instrument, scope: Scope | None, target: object) -> None:
        self._instrument = instrument
        self._scope = scope
        self._exemplar: ExemplarLabels | None = None
        self._seconds: float | None = None
        self.plan = instrument.plan
        self.values: LabelValues | None = None
        self._begun = instrument.clock()
        self._deferred = scope is not None and scope.defer(self, target)
        self.awaits_end = self.plan.awaits and not self._deferred and self.values is None

    def start(self) -> None:
        self._begun = self._instrument.clock()

    async def start_async(self) -> None:
        self.start()

    def end(self, outcome: object) -> None:
        self._stop()
        if not self._deferred:
            if self.values is None:
                self.values = self.plan.resolve(outcome)
            self._record()

    async def end_async(self, outcome: object) -> None:
        self._stop()
        try:
            with self._instrument.shield() if outcome is RAISED else nullcontext():
                self.values = await self.plan.resolve_async(outcome)
        finally:  # cancelled while a label was awaited: the call happened all the same
            self.flush()

    def flush(self) -> None:
        """Record; a call that still runs (a stream that was dropped) ends now."""
        if self.values is None:
            self.values = self.plan.resolve(RAISED)
        self._record()

    def _stop(self) -> None:
        instrument = self._instrument
        self._seconds = instrument.clock() - self._begun
        if instrument.exemplar is not None:
            self._exemplar = instrument.exemplar()

    def _record(self) -> None:
        instrument, scope = self._instrument, self._scope
        if scope is not None and scope.excluded:  # what a call does may exclude the call itself
            return
        try:
            seconds = self._seconds
            if seconds is None:
                seconds = instrument.clock() - self._begun
            amount = 1.0 if instrument.counts else max(seconds, 0.0)
            child: Child = instrument.child(self.values or ())
            child.record(amount)
            if self._exemplar is not None:
                child.exemplify(self._exemplar, amount)
        except Exception:
            instrument.failed()


class _InProgress:
    """One call that is in progress: up when it starts, down when it ends."""

    __slots__ = ("_child", "_instrument", "_scope", "_target", "_values", "awaits_start")

    awaits_end = False

    def __init__(self, instrument: Instrument, scope: Scope | None, target: object) -> None:
        self._instrument = instrument
        self._scope = scope
        self._target = target
        self._child: NumberChild | None = None
        # Called now: a generator starts when the request context is gone.
        self._values = instrument.plan.call(None)
        self.awaits_start = instrument.plan.awaits

    def start(self) -> None:
        self._enter(self._instrument.plan.texts(self._values))

    async def start_async(self) -> None:
        self._enter(await self._instrument.plan.texts_async(self._values, None))

    def _enter(self, values: LabelValues) -> None:
        try:
            child: NumberChild = self._instrument.child(values)
            child.inc()
        except Exception:
            self._instrument.failed()
        else:
            self._child = child

    def end(self, outcome: object) -> None:
        child, scope = self._child, self._scope
        if child is None:
            return
        try:
            if outcome is RAISED or scope is None or not scope.is_answered_by(self._target):
                child.dec()
            else:
                scope.hold(child)  # until the body is sent, whoever streams it
        except Exception:
            self._instrument.failed()

    async def end_async(self, outcome: object) -> None:
        self.end(outcome)


class Exclusion:
    """`do_not_track` and `exclude_all_metrics`: nothing is measured, the scope is left out."""

    __slots__ = ("exclude",)

    def __init__(self, exclude: Callable[[Scope], None]) -> None:
        self.exclude = exclude

    def begin(self, target: object) -> None:
        scope = current.get()
        if scope is not None and not scope.finished:
            self.exclude(scope)
