"""Blocks: what `with` and `async with` measure. Each is a decorator of functions as well."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, TypeVar

from ..labels.callables import RAISED
from .wrapping import wrap

__all__ = [
    "NOTHING",
    "Block",
    "ExceptionCounter",
    "InProgress",
    "Measured",
    "Setter",
    "Timer",
]

F = TypeVar("F", bound=Callable[..., Any])


class Measured(Protocol):
    """What a block needs of the instrument that made it."""

    what: str
    clock: Callable[[], float]
    awaits: bool

    def find(self, labels: Mapping[str, object]) -> Any:
        """Return the child of a label set."""

    async def find_async(self, labels: Mapping[str, object]) -> Any:
        """Do what `find` does, and await what label callables return."""

    def refuse(self, amount: object, error: Exception | None) -> None:
        """Tell of something that was not recorded."""


class _Nothing:
    """Takes the place of a child where nothing is to be recorded."""

    def record(self, amount: float) -> None:
        """Do nothing."""

    def set(self, value: float) -> None:
        """Do nothing."""


NOTHING: Any = _Nothing()


class Block(ABC):
    """Measures a block; a function that it decorates is measured at each call.

    The labels are resolved when the block begins. Nothing here raises while serving, and exceptions
    of the block pass.
    """

    __slots__ = ("_child", "_instrument", "_known", "_labels")

    awaits_end = False

    def __init__(self, instrument: Measured, labels: Mapping[str, object], known: Any) -> None:
        self._instrument = instrument
        self._labels = labels
        self._known = known
        """The child, if the label set is known already."""

    def __enter__(self) -> None:
        known = self._known
        self._child = self._instrument.find(self._labels) if known is None else known
        self._begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(kind)

    async def __aenter__(self) -> None:
        known = self._known
        self._child = await self._instrument.find_async(self._labels) if known is None else known
        self._begin()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(kind)

    def __call__(self, function: F, /) -> F:
        """Decorate a function of any kind."""
        return wrap(function, self, self._instrument.what)

    # What `wrap` needs of a probe, and of the calls that it begins.

    def bind(self, function: Callable[..., Any]) -> Block:
        return self

    def begin(self, target: object, args: object, kwargs: object) -> Block:
        return self._again()

    @property
    def awaits_start(self) -> bool:
        return self._known is None and self._instrument.awaits

    def start(self) -> None:
        self.__enter__()

    async def start_async(self) -> None:
        await self.__aenter__()

    def end(self, outcome: object) -> None:
        self._end(sys.exc_info()[0] if outcome is RAISED else None)

    async def end_async(self, outcome: object) -> None:
        self.end(outcome)

    def _again(self) -> Block:
        """Return a block like this one for one call."""
        return type(self)(self._instrument, self._labels, self._known)

    @abstractmethod
    def _begin(self) -> None:
        """The block begins."""

    @abstractmethod
    def _end(self, raised: type[BaseException] | None) -> None:
        """The block ended, maybe with an exception of a class."""

    def _record(self, amount: float) -> bool:
        """Record an amount; return whether that was possible."""
        try:
            self._child.record(amount)
            return True
        except Exception as error:
            self._instrument.refuse(amount, error)
            return False


class Timer(Block):
    """Observes the seconds that a block takes."""

    __slots__ = ("_begun",)

    def _begin(self) -> None:
        self._begun = self._instrument.clock()

    def _end(self, raised: type[BaseException] | None) -> None:
        self.__exit__(None, None, None)

    # These two are those of the base without the calls between.

    def __enter__(self) -> None:
        known, instrument = self._known, self._instrument
        self._child = instrument.find(self._labels) if known is None else known
        self._begun = instrument.clock()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        seconds = self._instrument.clock() - self._begun
        try:
            self._child.record(seconds if seconds > 0.0 else 0.0)  # a clock may go backwards
        except Exception as problem:
            self._instrument.refuse(seconds, problem)


class Setter(Block):
    """Sets a gauge to the seconds that a block took."""

    __slots__ = ("_begun",)

    def _begin(self) -> None:
        self._begun = self._instrument.clock()

    def _end(self, raised: type[BaseException] | None) -> None:
        seconds = max(self._instrument.clock() - self._begun, 0.0)
        try:
            self._child.set(seconds)
        except Exception as error:
            self._instrument.refuse(seconds, error)


class InProgress(Block):
    """Counts a gauge up while a block runs."""

    __slots__ = ()

    def _begin(self) -> None:
        if not self._record(1.0):
            self._child = NOTHING  # what did not go up does not go down

    def _end(self, raised: type[BaseException] | None) -> None:
        self._record(-1.0)


class ExceptionCounter(Block):
    """Counts the exceptions of some classes that leave a block."""

    __slots__ = ("_classes",)

    def __init__(
        self,
        instrument: Measured,
        labels: Mapping[str, object],
        known: Any,
        classes: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    ) -> None:
        super().__init__(instrument, labels, known)
        self._classes = classes

    def _again(self) -> Block:
        return ExceptionCounter(self._instrument, self._labels, self._known, self._classes)

    def _begin(self) -> None:
        pass

    def _end(self, raised: type[BaseException] | None) -> None:
        if raised is not None and issubclass(raised, self._classes):
            self._record(1.0)
