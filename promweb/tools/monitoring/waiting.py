"""The row of the dashboard and the alerts about waiting: for a worker, the event loop, a thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...core.insight import loop, process, queue_time
from .grafana_layout import Row
from .panels import RATE, legend, limit, timeseries
from .queries import Queries, among

__all__ = ["waiting", "waiting_alerts"]

_RANGE = "[$__range] @ end()"


def waiting(queries: Queries) -> Row:
    group = queries.service.group
    needs = "The application must be given {}=True{}.".format
    on_quart = needs("event_loop", " (Quart)")
    blocking = among(
        queries.quantile(0.99, loop.BLOCK, RATE, group),
        group,
        queries.quantile(0.99, loop.BLOCK, _RANGE, group),
    )
    share = among(
        queries.rate(loop.SECONDS, RATE, group), group, queries.rate(loop.SECONDS, _RANGE, group)
    )
    panels = [
        (
            "event_loop",
            timeseries(
                f"Longest step by {group}, p99",
                "How long one step of a request's code held the event loop, while all others "
                f"waited. The ten longest of the time range. {on_quart}",
                "s",
                {legend(group): blocking},
                limits=limit(0.1),
            ),
        ),
        (
            "event_loop",
            timeseries(
                f"Share of the event loop by {group}",
                "Seconds per second in which requests held the event loop; each process has one "
                f"second per second. {on_quart}",
                "short",
                {legend(group): share},
                stacked=True,
            ),
        ),
        (
            "event_loop",
            timeseries(
                "Lag of the event loop",
                f"How much later than asked for the event loop runs a timer. {on_quart}",
                "s",
                queries.whole_quantiles(process.LAG, RATE),
                limits=limit(0.25),
            ),
        ),
        (
            "queue_time",
            timeseries(
                "Queue time",
                "How long requests waited before the application was called, as a proxy's header "
                f"says. {needs('queue_time', '')}",
                "s",
                queries.whole_quantiles(queue_time.NAME, RATE),
            ),
        ),
        (
            "threads",
            timeseries(
                "Wait for a thread",
                f"How long plain views waited for a thread. {needs('threads', ' (Quart)')}",
                "s",
                queries.whole_quantiles(process.THREAD_WAIT, RATE),
            ),
        ),
        (
            "threads",
            timeseries(
                "Threads",
                "Calls that run in a thread, and those that wait for one. "
                f"{needs('threads', ' (Quart)')}",
                "short",
                {
                    "busy": queries.whole(process.THREADS_BUSY),
                    "waiting": queries.whole(process.THREADS_WAITING),
                },
            ),
        ),
        (
            "background_tasks",
            timeseries(
                "Background tasks in progress",
                f"By the name of their function. {needs('background_tasks', ' (Quart)')}",
                "short",
                {"{{task}}": queries.whole(process.TASKS_IN_PROGRESS, "task")},
                stacked=True,
                width=12,
            ),
        ),
        (
            "background_tasks",
            timeseries(
                "Background tasks",
                f"Tasks per second that ended, by how. {needs('background_tasks', ' (Quart)')}",
                "cps",
                {
                    "{{task}} {{outcome}}": queries.whole_rate(
                        f"{process.TASK_DURATION}_count", RATE, "task", "outcome"
                    )
                },
                width=12,
            ),
        ),
    ]
    shown = [panel for argument, panel in panels if argument in queries.service.measured]
    return Row("Waiting and the event loop", shown, collapsed=True)


def waiting_alerts(queries: Queries, over: str) -> Iterator[dict[str, Any]]:
    """Yield what is particular to each alert; `over` is the range of their rates."""
    measured = queries.service.measured
    if "event_loop" in measured:
        yield from _event_loop_alerts(queries, over)
    if "queue_time" in measured:
        yield _queue_alert(queries, over)
    if "threads" in measured:
        yield _threads_alert(queries, over)
    if "background_tasks" in measured:
        yield _tasks_alert(queries)


def _event_loop_alerts(queries: Queries, over: str) -> Iterator[dict[str, Any]]:
    group = queries.service.group
    lag = queries.whole_quantile(0.99, process.LAG, over, "job", "instance")
    yield {
        "name": "EventLoopLags",
        "expr": f"{lag} > 0.25",
        "summary": "The event loop of {{ $labels.instance }} of {{ $labels.job }} is late",
        "description": "One timer in a hundred runs {{ $value | humanizeDuration }} late or more, "
        "and so does every request.",
        "runbook": "The log of promweb has the lines that blocked. If it has none, the processor "
        "is full: see whether other programs use it, and how busy the loop is.",
    }
    yield {
        "name": "RouteBlocks",
        "expr": f"{queries.quantile(0.99, loop.BLOCK, over, 'job', group)} > 0.1",
        "summary": f"{{{{ $labels.{group} }}}} of {{{{ $labels.job }}}} blocks the event loop",
        "description": "One request in a hundred holds the event loop for "
        "{{ $value | humanizeDuration }} or more without a break, and all others wait.",
        "runbook": "The log of promweb has the line. Await what it waits for, or move it to a "
        "thread with asyncio.to_thread or quart.utils.run_sync.",
    }


def _queue_alert(queries: Queries, over: str) -> dict[str, Any]:
    waited = queries.whole_quantile(0.95, queue_time.NAME, over, "job")
    return {
        "name": "RequestsQueue",
        "expr": f"{waited} > 0.25",
        "summary": "Requests of {{ $labels.job }} wait before it takes them",
        "description": "One request in twenty waits {{ $value | humanizeDuration }} or more for a "
        "worker, which its duration does not show.",
        "runbook": "Add workers, threads or instances; or see which requests hold them.",
    }


def _threads_alert(queries: Queries, over: str) -> dict[str, Any]:
    threads = queries.whole_quantile(0.95, process.THREAD_WAIT, over, "job", "instance")
    return {
        "name": "ThreadsWait",
        "expr": f"{threads} > 0.1",
        "summary": "Plain views of {{ $labels.instance }} of {{ $labels.job }} wait for a thread",
        "description": "One call in twenty waits {{ $value | humanizeDuration }} or more for one "
        "of the threads that plain views share.",
        "runbook": "Make the views coroutine functions, or set a default executor with more "
        "threads; there are min(32, cores + 4).",
    }


def _tasks_alert(queries: Queries) -> dict[str, Any]:
    def ended(where: str = "") -> str:
        ends = f"{process.TASK_DURATION}_count"
        return queries.whole_rate(ends, "[1h]", "job", "task", where=where)

    failed = ended('outcome="error"')
    return {
        "name": "BackgroundTasksFail",
        # A mail or two may fail at any time. A service that stops cancels its tasks.
        "expr": f"{failed}\n/\n{ended()} > 0.1\nand\n{failed} * 3600 > 2",
        "summary": "The background task {{ $labels.task }} of {{ $labels.job }} fails",
        "description": "Within the last hour, an exception ended "
        "{{ $value | humanizePercentage }} of its runs.",
        "runbook": "The log of Quart has the tracebacks.",
    }
