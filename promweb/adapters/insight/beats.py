"""A timer that each event loop runs ten times a second, and that tells how late it was."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from time import perf_counter
from typing import Any

__all__ = ["AsyncioBeat", "Beat", "TrioBeat", "beat_of", "running_loop"]


class Beat:
    """A timer of an event loop. `late` is called with when it was due, and the lag in seconds."""

    is_over = False
    """Whether it was stopped, or its event loop is gone."""

    def __init__(self, interval: float, late: Callable[[float, float], None]) -> None:
        self.interval = interval
        self.due = perf_counter() + interval
        """When it beats next, by `perf_counter`: uvloop's own time has whole milliseconds."""
        self._late = late

    def beat(self) -> None:
        """Be there; the next beat is due after the interval."""
        now = perf_counter()
        due, self.due = self.due, now + self.interval
        self._late(due, max(now - due, 0.0))

    def stop(self) -> None:
        self.is_over = True


class AsyncioBeat(Beat):
    """A beat of asyncio, and of what has its interface, such as uvloop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        interval: float,
        late: Callable[[float, float], None],
    ) -> None:
        super().__init__(interval, late)
        self._loop = loop
        self._context = Context()  # the current one has the request that is first
        self._schedule()

    def _schedule(self) -> None:
        self._handle = self._loop.call_later(self.interval, self._run, context=self._context)

    def _run(self) -> None:
        self.beat()
        self._schedule()

    def stop(self) -> None:
        super().stop()
        with suppress(RuntimeError):  # the loop is closed
            self._handle.cancel()


class TrioBeat(Beat):
    """A beat of trio, as a task that ends with the event loop."""

    def __init__(self, interval: float, late: Callable[[float, float], None]) -> None:
        super().__init__(interval, late)
        trio: Any = sys.modules["trio"]
        self._scope = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._run, trio.sleep, context=Context())

    async def _run(self, sleep: Callable[[float], Any]) -> None:
        try:
            with self._scope:
                while True:
                    await sleep(self.interval)
                    self.beat()
        finally:
            self.is_over = True

    def stop(self) -> None:
        super().stop()
        self._scope.cancel()


def running_loop() -> object:
    """Return what stands for the running event loop. Raises RuntimeError if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        trio: Any = sys.modules.get("trio")
        if trio is None:
            raise
        token: object = trio.lowlevel.current_trio_token()
        return token


def beat_of(loop: object, interval: float, late: Callable[[float, float], None]) -> Beat:
    """Start a beat of the running event loop."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        return AsyncioBeat(loop, interval, late)
    return TrioBeat(interval, late)
