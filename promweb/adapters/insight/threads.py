"""The threads in which Quart runs plain functions: how many are busy, how many calls wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import wraps
from time import perf_counter
from typing import Any, TypeVar

from ...core.insight.process import ThreadMetrics

__all__ = ["MeasuredThreadPool", "measure_threads"]

T = TypeVar("T")

_is_counted: ContextVar[bool] = ContextVar("promweb_is_counted", default=False)
"""Whether the call that is about to be submitted is measured already."""


class _Call:
    """One call that wants a thread: it waits, then it runs, or it is given up."""

    __slots__ = ("_is_waiting", "_metrics", "_since")

    def __init__(self, metrics: Sequence[ThreadMetrics]) -> None:
        self._metrics = tuple(metrics)
        self._is_waiting = [True]
        self._since = perf_counter()
        for one in self._metrics:
            one.waiting.inc()

    def run(self, function: Callable[..., T], args: Any, kwargs: Any) -> T:
        """Run the call in its thread."""
        self.end_waiting()
        waited = perf_counter() - self._since
        for one in self._metrics:
            one.wait.record(waited)
            one.busy.inc()
        try:
            return function(*args, **kwargs)
        finally:
            for one in self._metrics:
                one.busy.dec()

    def end_waiting(self) -> None:
        """Stop waiting; thread and caller may both call this, and the first call counts."""
        if self._is_waiting:
            try:
                self._is_waiting.pop()
            except IndexError:
                return
            for one in self._metrics:
                one.waiting.dec()


def measure_threads(app: Any, metrics: Sequence[ThreadMetrics]) -> None:
    """Measure what an application runs in threads, through the method that is meant for that."""
    wrapped_sync_to_async = app.sync_to_async

    def sync_to_async(function: Callable[..., T]) -> Callable[..., Awaitable[T]]:
        @wraps(function)
        async def run(*args: Any, **kwargs: Any) -> T:
            call = _Call(metrics)

            def measured() -> T:
                _is_counted.set(False)  # for what the function itself submits
                return call.run(function, args, kwargs)

            token = _is_counted.set(True)
            try:
                result: T = await wrapped_sync_to_async(measured)()
                return result
            finally:
                call.end_waiting()  # cancelled before a thread was free
                _is_counted.reset(token)

        return run

    app.sync_to_async = sync_to_async


class MeasuredThreadPool(ThreadPoolExecutor):
    """Threads whose calls are measured, but for those that are measured already."""

    def __init__(self, metrics: ThreadMetrics, max_workers: int | None) -> None:
        super().__init__(max_workers, thread_name_prefix="promweb-pool")
        self._metrics = (metrics,)

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have a thread call a function."""
        if _is_counted.get():
            return super().submit(function, *args, **kwargs)
        call = _Call(self._metrics)
        try:
            future = super().submit(call.run, function, args, kwargs)
        except BaseException:
            call.end_waiting()  # it is shut down
            raise
        future.add_done_callback(lambda _: call.end_waiting())
        return future
