"""Scrapes beside an event loop: in a thread, once for all who ask, with room to breathe."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

__all__ = ["SharedWork", "breathe"]

T = TypeVar("T")

_MOST_THREADS = 4
"""How many pieces of work an event loop has under way at a time: each slows the loop down."""

_limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("promweb_scrapes")


def breathe() -> None:
    """Let the event loop have the interpreter, for which it would else wait 5 milliseconds."""
    time.sleep(5e-5)


class SharedWork(Generic[T]):
    """Runs work in a thread, once for all tasks that ask for the same at the same time.

    A task that is cancelled leaves its thread behind; whoever asks meanwhile waits for that one.
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
    """Return what bounds the threads of the running event loop."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_MOST_THREADS)
        _limiter.set(limiter)
    return limiter


def _call_soon(token: Any) -> Callable[[Callable[[], None]], object]:
    """Return what calls a function in an event loop, from a thread that does not wait for it.

    anyio's own way waits, and a loop that stops meanwhile would leave the thread waiting for ever.
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
