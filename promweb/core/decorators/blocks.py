"""Blocks, which `with` and `async with` measure. Each decorates functions as well."""

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
    """The part of an instrument that its blocks need."""

    what: str
    clock: Callable[[], float]
    awaits: bool

    def find(self, labels: Mapping[str, object]) -> Any:
        """Return the child of a label set."""

    async def find_async(self, labels: Mapping[str, object]) -> Any:
        """Like `find`, but await the results of label callables."""

    def refuse(self, amount: object, error: Exception | None) -> None:
        """Report an amount that was not recorded."""


class _Nothing:
    """Replaces a child where nothing is to be recorded."""

    def record(self, amount: float) -> None:
        """Do nothing."""

    def set(self, value: float) -> None:
        """Do nothing."""


NOTHING: Any = _Nothing()


class Block(ABC):
    """Measures a block; a function that it decorates is measured at each call.

    It resolves the labels when the block begins. Nothing here raises while serving, and exceptions
    of the block pass through.
    """

    __slots__ = ("_child", "_instrument", "_known", "_labels")

    starts = True
    awaits_end = False

    def __init__(self, instrument: Measured, labels: Mapping[str, object], known: Any) -> None:
        self._instrument = instrument
        self._labels = labels
        self._known = known
        """The child, if the label set is known already."""
        self._child: Any = NOTHING

    @abstractmethod
    def __enter__(self) -> None:
        """Find the child, and begin."""

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Record; `kind` is the class of the exception that leaves the block, or None."""

    async def __aenter__(self) -> None:
        known = self._known
        if known is None:
            self._known = await self._instrument.find_async(self._labels)
        self.__enter__()
        self._known = known

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F, /) -> F:
        """Decorate a function of any kind."""
        return wrap(function, self, self._instrument.what)

    # The interface of a probe for `wrap`, and of the calls that it begins.

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
        self.__exit__(sys.exc_info()[0] if outcome is RAISED else None, None, None)

    async def end_async(self, outcome: object) -> None:
        self.end(outcome)

    def _again(self) -> Block:
        """Return a block like this one for one call."""
        return type(self)(self._instrument, self._labels, self._known)

    def _record(self, amount: float) -> bool:
        """Record an amount; return whether that succeeded."""
        try:
            self._child.record(amount)
            return True
        except Exception as error:
            self._instrument.refuse(amount, error)
            return False


class Timer(Block):
    """Observes the seconds that a block takes."""

    __slots__ = ("_begun",)

    def __enter__(self) -> None:
        self._child = self._known or self._instrument.find(self._labels)
        clock = self._instrument.clock  # Python 3.11 is slow to call what is not a method
        self._begun = clock()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        clock = self._instrument.clock
        seconds = clock() - self._begun
        try:
            self._child.record(seconds if seconds > 0.0 else 0.0)  # a clock may go backwards
        except Exception as problem:
            self._instrument.refuse(seconds, problem)


class Setter(Block):
    """Sets a gauge to the seconds that a block took."""

    __slots__ = ("_begun",)

    def __enter__(self) -> None:
        self._child = self._known or self._instrument.find(self._labels)
        self._begun = self._instrument.clock()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        seconds = max(self._instrument.clock() - self._begun, 0.0)
        try:
            self._child.set(seconds)
        except Exception as error:
            self._instrument.refuse(seconds, error)


class InProgress(Block):
    """Counts a gauge up while a block runs."""

    __slots__ = ()

    def __enter__(self) -> None:
        self._child = self._known or self._instrument.find(self._labels)
        if not self._record(1.0):
            self._child = NOTHING  # it did not go up, so it must not go down

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
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

    def __enter__(self) -> None:
        self._child = self._known or self._instrument.find(self._labels)

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if kind is not None and issubclass(kind, self._classes):
            self._record(1.0)
