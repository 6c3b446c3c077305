"""Work in worker threads beside an event loop; tasks that ask for the same work share it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

__all__ = ["SharedWork", "pause"]

T = TypeVar("T")

_MOST_THREADS = 4
"""Threads per event loop: each of them slows the loop down."""

_limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("promweb_scrapes")


def pause() -> None:
    """Let the event loop's thread run, which would otherwise wait 5 ms for the interpreter."""
    time.sleep(5e-5)


class SharedWork(Generic[T]):
    """Runs work in a thread, once for all tasks that ask for it at the same time.

    The thread of a cancelled task goes on, and tasks that ask meanwhile get its result.
    """

    def __init__(self) -> None:
        self._running: dict[object, _Running[T]] = {}

    async def run(self, key: object, work: Callable[[], T]) -> T:
        """Return the result of `work`."""
        token = anyio.lowlevel.current_token()
        key = (key, token)  # an event belongs to its event loop
        while True:
            running = self._running.get(key)
            if running is None:
                running = self._running[key] = _Running[T]()
                try:
                    await anyio.to_thread.run_sync(
                        self._work, key, running, work, _call_soon(token), limiter=_threads()
                    )
                finally:
                    if not running.is_started:  # cancelled while it waited for a thread
                        self._forget(key, running)
                        running.done.set()
            else:
                await running.done.wait()
            if running.result is not None:
                return running.result

    def _work(
        self,
        key: object,
        running: _Running[T],
        work: Callable[[], T],
        call_soon: Callable[[Callable[[], None]], object],
    ) -> None:
        running.is_started = True
        try:
            running.result = work()
        finally:
            self._forget(key, running)
            with suppress(RuntimeError):  # the event loop is gone
                call_soon(running.done.set)

    def _forget(self, key: object, running: _Running[T]) -> None:
        if self._running.get(key) is running:
            del self._running[key]


def _threads() -> anyio.CapacityLimiter:
    """Return the limiter of the running event loop's threads."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_MOST_THREADS)
        _limiter.set(limiter)
    return limiter


def _call_soon(token: Any) -> Callable[[Callable[[], None]], object]:
    """Return a function that schedules a callback in an event loop and does not wait for it.

    `anyio.from_thread` waits for it: if the loop stopped meanwhile, the thread would never end.
    """
    loop = getattr(token, "native_token", token)
    if hasattr(loop, "call_soon_threadsafe"):  # asyncio
        return partial(loop.call_soon_threadsafe)
    return partial(loop.run_sync_soon)  # Trio


class _Running(Generic[T]):
    """One piece of shared work."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.is_started = False
        self.result: T | None = None
