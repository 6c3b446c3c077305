"""Work in worker threads beside an event loop; tasks that ask for the same work share it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from ...core import forking

__all__ = ["SharedWork", "in_pieces", "load", "pause", "run", "short_turns"]

T = TypeVar("T")

_MOST_THREADS = 4
"""Threads per event loop: each one slows the loop down."""
_TURN = 2e-4
"""Seconds that a worker thread has the interpreter while the event loop waits for it."""
_PIECE = 1 << 18
"""Bytes to send at a time: TLS encrypts them in about a millisecond."""

_limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("promweb_scrapes")


def load() -> None:
    """Import what anyio would import at the first scrape, which blocks the event loop for 0.1 s.

    A program that runs trio has imported it.
    """
    for name in ("asyncio", "trio"):
        if name in sys.modules:
            with suppress(ImportError):  # anyio loads it when it needs it
                import_module(f"anyio._backends._{name}")


def pause() -> None:
    """Let the event loop's thread run, which would otherwise wait 5 ms for the interpreter."""
    time.sleep(5e-5)


class _Turns:
    """How long a thread has the interpreter while another one waits: Python's 5 ms, or `_TURN`.

    It is a setting of the whole process. Nothing else interrupts collectors of other libraries,
    which may compute for seconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usual = sys.getswitchinterval()
        self._short = 0

    @contextmanager
    def short(self) -> Iterator[None]:
        """Keep turns short while any thread is inside."""
        with self._lock:
            if not self._short:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(self._usual, _TURN))
            self._short += 1
        try:
            yield
        finally:
            with self._lock:
                self._short -= 1
                if not self._short:
                    sys.setswitchinterval(self._usual)

    def start_anew(self) -> None:
        """Forget the threads of the parent, in a forked child."""
        self._lock = threading.Lock()
        if self._short:
            self._short = 0
            sys.setswitchinterval(self._usual)


_turns = _Turns()
short_turns = _turns.short
forking.in_child(_turns.start_anew)


async def run(work: Callable[[], T]) -> T:
    """Run `work` in a thread, without holding the event loop, and return its result."""
    return await anyio.to_thread.run_sync(_with_short_turns, work)


def _with_short_turns(work: Callable[[], T]) -> T:
    with short_turns():
        return work()


def in_pieces(body: bytes) -> bytes | AsyncIterator[bytes]:
    """Return a body as it is, or in pieces between which the event loop does something else."""
    return body if len(body) <= _PIECE else _pieces(body)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(body), _PIECE):
        yield body[begin : begin + _PIECE]
        await anyio.lowlevel.checkpoint()


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
            running.result = _with_short_turns(work)
        finally:
            self._forget(key, running)
            with suppress(RuntimeError):  # the event loop is gone
                call_soon(running.done.set)

    def _forget(self, key: object, running: _Running[T]) -> None:
        with forking.definitions:  # the event loop's thread and the worker's may be here
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
