"""Has an application's event loop, threads and background tasks measured."""

from __future__ import annotations

import sys
from typing import Any

from ...core.insight.process import LagMetrics, TaskMetrics, ThreadMetrics
from ...core.options import Options
from ...core.requests.site import Site
from .tasks import measure_tasks
from .threads import measure_threads
from .timing import time_requests
from .watching import LoopWatch

__all__ = ["look_inside"]

LOG_FROM = 0.1
"""The log names blocks of at least this many seconds, unless the program has another limit."""

_KEY = "promweb_insight"


class _Insight:
    """The measurements of one application, which all its metrics objects share."""

    watch: LoopWatch | None = None
    threads: list[ThreadMetrics] | None = None
    tasks: list[TaskMetrics] | None = None


def look_inside(site: Site, options: Options, prefix: str) -> None:
    """Measure what some options ask for; share what another object has asked for."""
    app: Any = site.app
    insight: _Insight = app.extensions.setdefault(_KEY, _Insight())
    if options.event_loop:
        log_from = LOG_FROM if options.event_loop is True else options.event_loop
        if insight.watch is None:
            insight.watch = LoopWatch(log_from)
            _serve(app, insight.watch)
            # asyncio.wait_for makes a task before Python 3.12.
            time_requests(site, insight.watch.lane, has_sender_task=sys.version_info < (3, 12))
        insight.watch.add(LagMetrics(prefix, options), log_from)
    if options.threads:
        if insight.threads is None:
            insight.threads = []
            measure_threads(app, insight.threads)
        _add(insight.threads, ThreadMetrics(prefix, options))
    if options.background_tasks:
        if insight.tasks is None:
            insight.tasks = []
            measure_tasks(app, insight.tasks)
        _add(insight.tasks, TaskMetrics(prefix, options))


def _add(known: list[Any], metrics: Any) -> None:
    """Add metrics unless others have the same families."""
    if all(one.identity is not metrics.identity for one in known):
        known.append(metrics)


def _serve(app: Any, watch: LoopWatch) -> None:
    """Begin to watch the event loop when an application starts to serve; end it with that."""
    wrapped_startup, wrapped_shutdown = app.startup, app.shutdown

    async def startup() -> None:
        await wrapped_startup()
        watch.lane()

    async def shutdown() -> None:
        try:
            await wrapped_shutdown()
        finally:
            watch.leave()

    app.startup, app.shutdown = startup, shutdown
