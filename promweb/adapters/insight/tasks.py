"""Background tasks of Quart: how many run, how long they take, how they end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial, update_wrapper
from time import perf_counter
from typing import Any

from ...core.insight.process import TaskMetrics

__all__ = ["measure_tasks"]


def measure_tasks(app: Any, metrics: Sequence[TaskMetrics]) -> None:
    """Measure what `add_background_task` of an application is given."""
    wrapped_add = app.add_background_task

    def add_background_task(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return wrapped_add(_measured(app, function, metrics), *args, **kwargs)

    app.add_background_task = add_background_task


def _measured(
    app: Any, function: Callable[..., Any], metrics: Sequence[TaskMetrics]
) -> Callable[..., Awaitable[Any]]:
    name = _name(function)

    async def run(*args: Any, **kwargs: Any) -> Any:
        """Run a task, a plain function in a thread as the framework does."""
        began, outcome = perf_counter(), "ok"
        for one in metrics:
            one.count(name, 1)
        try:
            return await app.ensure_async(function)(*args, **kwargs)
        except Exception:
            outcome = "error"
            raise
        except BaseException:
            outcome = "cancelled"
            raise
        finally:
            seconds = perf_counter() - began
            for one in metrics:
                one.count(name, -1)
                one.ended(name, outcome, seconds)

    return update_wrapper(run, function)


def _name(function: Any) -> str:
    """Return the name of a task's function, which the program bounds, unlike its arguments."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__qualname__", type(function).__qualname__)
