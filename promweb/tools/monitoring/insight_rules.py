"""The alerts about waiting: for a worker, for the event loop, for a thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...core.insight import loop, process, queue_time
from .queries import Queries

__all__ = ["waiting_alerts"]


def waiting_alerts(queries: Queries, over: str) -> Iterator[dict[str, Any]]:
    """Yield what is particular to each alert; `over` is the range of their rates."""
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
    waited = queries.whole_quantile(0.95, queue_time.NAME, over, "job")
    yield {
        "name": "RequestsQueue",
        "expr": f"{waited} > 0.25",
        "summary": "Requests of {{ $labels.job }} wait before it takes them",
        "description": "One request in twenty waits {{ $value | humanizeDuration }} or more for a "
        "worker, which its duration does not show.",
        "runbook": "Add workers, threads or instances; or see which requests hold them.",
    }
    threads = queries.whole_quantile(0.95, process.THREAD_WAIT, over, "job", "instance")
    yield {
        "name": "ThreadsWait",
        "expr": f"{threads} > 0.1",
        "summary": "Plain views of {{ $labels.instance }} of {{ $labels.job }} wait for a thread",
        "description": "One call in twenty waits {{ $value | humanizeDuration }} or more for one "
        "of the threads that plain views share.",
        "runbook": "Make the views coroutine functions, or set a default executor with more "
        "threads; there are min(32, cores + 4).",
    }
