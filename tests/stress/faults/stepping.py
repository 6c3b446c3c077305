"""Event loops whose tasks are interrupted at a chosen step."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any

from tests.support.hanging import cancel_the_rest

Main = Callable[[], Coroutine[Any, Any, None]]


IDLE = 20
"""Passes of the event loop without a step, after which all tasks wait for something outside."""


class Steps:
    """Numbers the steps that tasks take, and calls `interrupt` before one of them.

    Unless `interrupt` returns None, its exception is thrown into the task in place of the step.
    """

    def __init__(
        self, at: int = 0, interrupt: Callable[[], BaseException | None] = lambda: None
    ) -> None:
        self.taken = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.coroutines: list[Coroutine[Any, Any, Any]] = []
        self._at, self._interrupt = at, interrupt

    def next(self) -> BaseException | None:
        self.taken += 1
        return self._interrupt() if self.taken == self._at else None

    def make_task(self, loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """Make a task, for `set_task_factory`."""
        self.coroutines.append(coroutine)
        self.tasks.append(asyncio.Task(Stepped(coroutine, self), loop=loop, **options))
        return self.tasks[-1]


class Stepped(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are numbered."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], steps: Steps) -> None:
        self._coroutine, self._steps = coroutine, steps

    def send(self, value: Any) -> Any:
        error = self._steps.next()
        return self._coroutine.send(value) if error is None else self._coroutine.throw(error)

    def throw(self, *args: Any) -> Any:
        self._steps.next()
        return self._coroutine.throw(*args)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)


def run(main: Main, at: int = 0, error: type[BaseException] = asyncio.CancelledError) -> bool:
    """Run what `main` starts, with an exception in place of one step of all of its tasks.

    Tell whether there was such a step. Raises only exceptions that leave the event loop.
    """
    steps = Steps(at, error)

    async def rest(task: asyncio.Task[None]) -> None:
        """Wait for a task, and cancel it if the interruption has left it waiting for its client.

        Quart 0.23 waits for a client that it tells nothing; a server that shuts down cancels it.
        """
        passes = 0
        while at and not task.done():
            taken = steps.taken
            await asyncio.sleep(0)
            passes = passes + 1 if at <= taken == steps.taken else 0
            if passes == IDLE:
                passes = 0
                task.cancel()
        await asyncio.wait({task})
        await cancel_the_rest()

    loop = asyncio.new_event_loop()
    try:
        loop.set_task_factory(steps.make_task)
        task = loop.create_task(main())
        try:
            loop.run_until_complete(asyncio.Task(rest(task), loop=loop))
        finally:
            loop.run_until_complete(asyncio.Task(cancel_the_rest(), loop=loop))
            loop.run_until_complete(asyncio.Task(loop.shutdown_asyncgens(), loop=loop))
    finally:
        loop.close()
        for one in steps.tasks:
            if one.done() and not one.cancelled():
                one.exception()  # and so it is not logged when the task is collected
    return steps.taken >= at


def drop(main: Main, at: int, *, first: bool = False) -> bool:
    """Run `main`, and after a step close all coroutines, whose event loop is gone.

    The last to start is the first to be closed, or else the `first` one.
    Tell whether there was such a step.
    """
    loop = asyncio.new_event_loop()
    steps = Steps(at, loop.stop)  # type: ignore[arg-type]
    loop.set_task_factory(steps.make_task)
    loop.create_task(main()).add_done_callback(lambda task: loop.stop())
    loop.run_forever()
    for task in steps.tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        if task.done() and not task.cancelled():
            task.exception()
    loop.close()
    for coroutine in steps.coroutines if first else reversed(steps.coroutines):
        while inspect.getcoroutinestate(coroutine) != inspect.CORO_CLOSED:
            # Quart awaits and resets context variables here, and neither is possible.
            with suppress(RuntimeError, LookupError, ValueError):
                coroutine.close()
    return steps.taken >= at
