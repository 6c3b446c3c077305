"""Wrappers that measure a callable and keep its kind."""

from __future__ import annotations

import inspect
import types
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from functools import partial, update_wrapper, wraps
from typing import Any, Protocol, TypeVar, cast

from ..labels.callables import RAISED
from ..requests.views import innermost, mark
from .calls import Call

__all__ = ["Probe", "wrap"]

F = TypeVar("F")


class Probe(Protocol):
    """Begins a measurement for each call; None leaves the call unmeasured."""

    starts: bool
    """Whether the call of a plain function has to be started. If not, its time begins with `begin`,
    and `start` is for code that runs later."""

    def bind(self, function: Callable[..., Any]) -> Probe:
        """Return the probe for one function; raise ValueError if it cannot measure that."""

    def begin(
        self, target: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Call | None:
        """Begin a call of `target`, the innermost function; `Call.start` starts it later."""


def wrap(function: F, probe: Probe, what: str) -> F:
    """Return `function` measured by `probe`: same kind, signature and metadata.

    A view class is changed in place (its `dispatch_request`) and returned. Raises TypeError,
    naming `what`, for an object that cannot be decorated.
    """
    if isinstance(function, (staticmethod, classmethod)):
        return cast(F, type(function)(wrap(function.__func__, probe, what)))
    if inspect.isclass(function):
        dispatch = getattr(function, "dispatch_request", None)
        if dispatch is None:
            raise TypeError(
                f"{what} decorates functions and view classes; {function.__qualname__} is neither. "
                "Decorate its methods instead."
            )
        function.dispatch_request = wrap(dispatch, probe, what)  # type: ignore[attr-defined]
        return function
    if not callable(function):
        raise TypeError(f"{what} decorates functions, not {type(function).__name__} objects.")
    wrapped = _wrap(function, probe)
    exclude = getattr(probe, "exclude", None)
    if exclude is not None:
        mark(wrapped, exclude)  # for requests that never reach the function
    return cast(F, wrapped)


def _wrap(function: Callable[..., Any], probe: Probe) -> Any:
    target = innermost(function)
    probe = probe.bind(function)
    if _is_kind(inspect.isasyncgenfunction, function):
        return _GeneratorFunction(function, probe, target, _relay_async)
    if _is_kind(inspect.isgeneratorfunction, function):
        return _GeneratorFunction(function, probe, target, _relay)
    if _is_kind(inspect.iscoroutinefunction, function):
        return _wrap_coroutine_function(function, probe, target)
    return _wrap_function(function, probe, target)


def _is_kind(is_kind: Callable[[object], bool], function: Callable[..., Any]) -> bool:
    """Test a function, or the `__call__` of an object."""
    return is_kind(function) or is_kind(getattr(function, "__call__", None))  # noqa: B004


def _wrap_function(function: Callable[..., Any], probe: Probe, target: object) -> Any:
    begin, starts = probe.begin, probe.starts

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = begin(target, args, kwargs)
        if call is None:
            return function(*args, **kwargs)
        if starts:
            call.start()
        outcome = RAISED
        try:
            outcome = function(*args, **kwargs)
            return outcome
        finally:
            call.end(outcome)

    return wrapper


def _wrap_coroutine_function(function: Callable[..., Any], probe: Probe, target: object) -> Any:
    begin = probe.begin

    @wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = begin(target, args, kwargs)
        if call is None:
            return await function(*args, **kwargs)
        if call.awaits_start:
            await call.start_async()
        else:
            call.start()
        outcome, may_await = RAISED, call.awaits_end
        try:
            outcome = await function(*args, **kwargs)
            return outcome
        except GeneratorExit:  # the coroutine was closed: nothing can be awaited any more
            may_await = False
            raise
        finally:
            if may_await:
                await call.end_async(outcome)
            else:
                call.end(outcome)

    return wrapper


class _GeneratorFunction(partial):  # type: ignore[type-arg]
    """A measured generator function, of either kind.

    Its code runs when it is called, while the request context exists, not at the first item, when
    the context of a streamed view is gone. `inspect` does not take such a function for a generator
    function, but it does so for a partial of one.
    """

    _parts: tuple[Callable[..., Any], Probe, object, Callable[[Call, Any], Any]]

    def __new__(
        cls,
        function: Callable[..., Any],
        probe: Probe,
        target: object,
        relay: Callable[[Call, Any], Any],
    ) -> _GeneratorFunction:
        self = super().__new__(cls, function)
        update_wrapper(self, function)  # copies the attributes of `function`; ours come after
        self._parts = function, probe, target, relay
        return self

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        function, probe, target, relay = self._parts
        call = probe.begin(target, args, kwargs)
        generator = function(*args, **kwargs)
        return generator if call is None else relay(call, generator)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)


def _relay(call: Call, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    outcome = RAISED
    call.start()
    try:
        outcome = yield from generator
        return outcome
    except GeneratorExit:  # the reader stopped early
        outcome = None
        raise
    finally:
        call.end(outcome)


async def _relay_async(call: Call, generator: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    """Do what `yield from` does; async generators lack it."""
    outcome: object = RAISED
    if call.awaits_start:
        await call.start_async()
    else:
        call.start()
    try:
        item = await anext(generator)
        while True:
            try:
                sent = yield item
            except GeneratorExit:  # the reader stopped early
                outcome = None
                await generator.aclose()
                raise
            except BaseException as error:
                item = await generator.athrow(error)
            else:
                item = await generator.asend(sent)
    except StopAsyncIteration:
        outcome = None
    finally:
        if call.awaits_end:
            await call.end_async(outcome)
        else:
            call.end(outcome)
