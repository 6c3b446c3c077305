"""Measures single calls of decorated functions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any, Protocol

from ..families.children import Child, NumberChild
from ..families.family import Family
from ..families.kinds import CounterFamily, GaugeFamily
from ..families.limits import LabelValues
from ..labels.callables import RAISED
from ..labels.exemplars import ExemplarLabels, ExemplarReader
from ..labels.plan import ERROR, LabelPlan
from ..requests.scope import Scope, get_scope
from .arguments import ArgumentReader, argument_reader

__all__ = ["Call", "Calls", "Exclusion"]


class Call(Protocol):
    """The measurement of one call; `outcome` is the call's result, or `RAISED`."""

    @property
    def awaits_start(self) -> bool:
        """Whether a coroutine function calls `start_async` in place of `start`."""

    @property
    def awaits_end(self) -> bool:
        """Whether a coroutine function calls `end_async` in place of `end`."""

    def start(self) -> None:
        """Note that the work starts."""

    async def start_async(self) -> None:
        """Note that the work starts, and await labels."""

    def end(self, outcome: object) -> None:
        """Note that the work ended."""

    async def end_async(self, outcome: object) -> None:
        """Note that the work ended, and await labels."""


class Calls:
    """A family, the labels that one decorator gives it, and the exclusions.

    `excludes` is called with the current request, and `excluded_statuses` are statuses of its
    response; both exclude calls. `exemplar` returns the exemplar of a call that ends; `shield`
    protects labels that are awaited for a cancelled call. Nothing here raises while serving.
    """

    def __init__(
        self,
        what: str,
        family: Family[Any],
        plan: LabelPlan,
        clock: Callable[[], float],
        excludes: Callable[[Any], bool] | None = None,
        excluded_statuses: Collection[int] = (),
        shield: Callable[[], AbstractContextManager[Any]] = nullcontext,
        exemplar: ExemplarReader | None = None,
    ) -> None:
        self.what = what
        self.family = family
        self.plan = plan
        self.clock = clock
        self.excludes = excludes
        self.excluded_statuses = excluded_statuses
        self.shield = shield
        self.exemplar = exemplar
        self.counts = isinstance(family, CounterFamily)
        self.starts = isinstance(family, GaugeFamily)
        self._call = _InProgress if self.starts else _Timing
        self._readers: tuple[ArgumentReader, ...] = ()

    def bind(self, function: Callable[..., Any]) -> Calls:
        """Return a copy for one function, whose arguments may be labels."""
        labels = [label for _, label in self.plan.arguments]
        if not labels:
            return self
        bound = copy(self)
        bound._readers = tuple(argument_reader(function, label, self.what) for label in labels)
        return bound

    def with_plan(self, plan: LabelPlan) -> Calls:
        """Return a copy with other label values."""
        changed = copy(self)
        changed.plan = plan
        return changed

    def begin(
        self, target: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Call | None:
        """Begin a call of `target`, the innermost function; return None to leave it unmeasured."""
        scope = get_scope()
        try:
            if scope is not None:
                if not scope.unfinished and not scope.is_answered_by(target):
                    scope = None  # code that outlives its request belongs to no request
                elif scope.excluded or (self.excludes is not None and self._leaves_out(scope)):
                    return None
            plan = self.plan if not self._readers else self._plan_of(args, kwargs)
            call = self._call  # Python 3.11 is slow to call an attribute that is not a method
            return call(self, plan, scope, target)
        except Exception:
            self.failed()
            return None

    def _plan_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> LabelPlan:
        plan, texts = self.plan, []
        for read, (position, _) in zip(self._readers, plan.arguments, strict=True):
            try:
                texts.append(read(args, kwargs))
            except Exception:
                plan.problems.label_error(plan.metric, plan.names[position])
                texts.append(ERROR)
        return plan.filled(arguments=texts)

    def _leaves_out(self, scope: Scope) -> bool:
        if self.excludes is None or scope.request is None:
            return False
        return self.excludes(scope.request)

    def failed(self) -> None:
        """Log an exception that must not reach the program."""
        self.plan.problems.failed(f"measure a call for {self.family}")


class _Timing:
    """One call that is counted or timed; a view's waits in the exchange for the final response."""

    __slots__ = (
        "_amount",
        "_begun",
        "_calls",
        "_deferred",
        "_exemplar",
        "_scope",
        "plan",
        "values",
    )

    awaits_start = False

    def __init__(self, calls: Calls, plan: LabelPlan, scope: Scope | None, target: object) -> None:
        self._calls = calls
        self._scope = scope
        self._exemplar: ExemplarLabels | None = None
        self._amount: float | None = 1.0
        """The amount to record; None for the seconds of a call that has not ended."""
        if not calls.counts:
            self._amount = None
            clock = calls.clock
            self._begun = clock()  # a generator may never start
        self.plan = plan
        self.values: LabelValues | None = None
        self._deferred = scope is not None and scope.defer(self, target)

    @property
    def awaits_end(self) -> bool:
        return self.plan.awaits and not self._deferred and self.values is None

    def start(self) -> None:
        if self._amount is None:
            clock = self._calls.clock
            self._begun = clock()

    async def start_async(self) -> None:
        self.start()

    def end(self, outcome: object) -> None:
        self._stop()
        if not self._deferred:
            if self.values is None:
                self.values = self.plan.resolve(outcome)
            self.flush()

    async def end_async(self, outcome: object) -> None:
        self._stop()
        try:
            with self._calls.shield() if outcome is RAISED else nullcontext():
                self.values = await self.plan.resolve_async(outcome)
        finally:  # even if it was cancelled while a label was awaited
            self.flush()

    def flush(self) -> None:
        """Record; a call that still runs (an abandoned stream) ends now."""
        calls, scope = self._calls, self._scope
        if scope is not None and (
            scope.excluded  # the call may have excluded itself
            or scope.status in calls.excluded_statuses
        ):
            return
        if self.values is None:
            self.values = self.plan.resolve(RAISED)
        if self._amount is None:
            self._stop()
        amount: Any = self._amount
        try:
            child: Child = calls.family.child(self.values, calls.plan.overflow)
            child.record(amount)
            if self._exemplar is not None:
                child.exemplify(self._exemplar, amount)
        except Exception:
            calls.failed()

    def _stop(self) -> None:
        calls = self._calls
        if self._amount is None:
            clock = calls.clock
            seconds = clock() - self._begun
            self._amount = seconds if seconds > 0.0 else 0.0  # a clock may go backwards
        if calls.exemplar is not None:
            self._exemplar = calls.exemplar()


class _InProgress:
    """One call that is in progress: counts up when it starts, down when it ends."""

    __slots__ = ("_calls", "_child", "_plan", "_scope", "_target", "_values", "awaits_start")

    awaits_end = False

    def __init__(self, calls: Calls, plan: LabelPlan, scope: Scope | None, target: object) -> None:
        self._calls = calls
        self._scope = scope
        self._target = target
        self._child: NumberChild | None = None
        # Now, because a generator starts when the request context is gone.
        self._plan = plan
        self._values = plan.call(None)
        self.awaits_start = plan.awaits

    def start(self) -> None:
        self._enter(self._plan.texts(self._values))

    async def start_async(self) -> None:
        self._enter(await self._plan.texts_async(self._values, None))

    def _enter(self, values: LabelValues) -> None:
        try:
            child: NumberChild = self._calls.family.child(values, self._plan.overflow)
            child.inc()
        except Exception:
            self._calls.failed()
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
                scope.hold(child)  # until the body is sent
        except Exception:
            self._calls.failed()

    async def end_async(self, outcome: object) -> None:
        self.end(outcome)


class Exclusion:
    """`do_not_track` and `exclude_all_metrics`: measure nothing, exclude the scope."""

    __slots__ = ("exclude",)

    starts = False

    def __init__(self, exclude: Callable[[Scope], None]) -> None:
        self.exclude = exclude

    def bind(self, function: object) -> Exclusion:
        return self

    def begin(self, target: object, args: object, kwargs: object) -> None:
        scope = get_scope()
        if scope is not None and scope.unfinished:
            self.exclude(scope)
