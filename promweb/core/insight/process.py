"""The families of a process: the lag of its event loop, its threads, its background tasks."""

from __future__ import annotations

from typing import Any, TypeVar

from ..families.catalog import Catalog
from ..families.family import Family
from ..families.kinds import GaugeFamily, HistogramFamily
from ..options import Options
from . import loop

__all__ = [
    "LAG",
    "TASKS_IN_PROGRESS",
    "TASK_DURATION",
    "THREADS_BUSY",
    "THREADS_WAITING",
    "THREAD_WAIT",
    "LagMetrics",
    "TaskMetrics",
    "ThreadMetrics",
]

LAG = "event_loop_lag_seconds"
THREAD_WAIT = "thread_wait_seconds"
THREADS_BUSY = "threads_busy"
THREADS_WAITING = "threads_waiting"
TASK_DURATION = "background_task_duration_seconds"
TASKS_IN_PROGRESS = "background_tasks_in_progress"

TASK_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300)
"""Upper bounds for the duration of background tasks, in seconds."""

FamilyT = TypeVar("FamilyT", bound=Family[Any])


def _add(options: Options, family: FamilyT) -> FamilyT:
    return Catalog.of(options.registry).add(options.registry, family)


class LagMetrics:
    """How late the event loop is."""

    def __init__(self, prefix: str, options: Options) -> None:
        family = HistogramFamily(
            prefix + LAG,
            "How much later than asked for the event loop ran a timer, in seconds",
            buckets=(0.001, *loop.BUCKETS),
        )
        self.record = _add(options, family).child(()).record
        """Records how late a beat was, in seconds."""


class ThreadMetrics:
    """The worker threads that plain functions share."""

    def __init__(self, prefix: str, options: Options) -> None:
        buckets: dict[str, Any] = {} if options.buckets is None else {"buckets": options.buckets}
        wait = HistogramFamily(
            prefix + THREAD_WAIT, "Time that calls waited for a thread in seconds", **buckets
        )
        busy = GaugeFamily(prefix + THREADS_BUSY, "Number of threads that run a call")
        waiting = GaugeFamily(prefix + THREADS_WAITING, "Number of calls that wait for a thread")
        self.wait = self.identity = _add(options, wait).child(())
        """Tells these families from others."""
        self.busy = _add(options, busy).child(())
        self.waiting = _add(options, waiting).child(())


class TaskMetrics:
    """Background tasks, by the name of their function."""

    def __init__(self, prefix: str, options: Options) -> None:
        self._duration = _add(
            options,
            HistogramFamily(
                prefix + TASK_DURATION,
                "Duration of background tasks in seconds",
                ("task", "outcome"),
                buckets=TASK_BUCKETS,
                max_series=options.max_series,
            ),
        )
        self.identity = self._duration
        self._in_progress = _add(
            options,
            GaugeFamily(
                prefix + TASKS_IN_PROGRESS,
                "Number of background tasks in progress",
                ("task",),
                max_series=options.max_series,
            ),
        )

    def count(self, task: str, by: int) -> None:
        """Count a task as in progress, 1, or as over, -1."""
        self._in_progress.child((task,)).inc(by)

    def ended(self, task: str, outcome: str, seconds: float) -> None:
        """Record a task that has ended: `ok`, `error` or `cancelled`."""
        self._duration.child((task, outcome)).record(seconds)
