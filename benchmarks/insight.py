"""Measures the cost of event_loop and queue_time beside the default metrics.

Microseconds depend on the machine, so each table has a yardstick: the least code that records the
same numbers. A bound is a ratio to it, in the same run.
"""

from __future__ import annotations

import asyncio
import sys
import time
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter, process_time
from typing import Any

import flask

from promweb.adapters.insight.lanes import BEAT
from promweb.core.insight.loop import BUCKETS

from . import programs
from .harness import BARE, NULL, Comparison, Effort, Samples, Table, Variant, timed
from .programs import Prepare, flask_requests, quart_variant
from .requests import BATCH, event_loop

__all__ = ["QUEUE_TIME", "STEPS", "insight"]

NOTE = "bare is promweb with its default metrics alone"
HEADER = "HTTP_X_REQUEST_START"
YARDSTICK = "yardstick"
EVENT_LOOP = "event_loop=True"
QUEUE = "queue_time=True"
MOST = 1.5
"""The most that an option may cost, as a multiple of its yardstick."""
MOST_BEATS = 2.7
"""The same for the beat, which has a watchdog beside it."""


def insight(effort: Effort) -> Iterator[Table]:
    for comparison in (*STEPS, QUEUE_TIME):
        yield timed(comparison, effort, batch=BATCH)
    yield _beat(effort)


@contextmanager
def _steps(awaits: int) -> Iterator[list[Variant]]:
    ways = {
        BARE: _without_steps,
        NULL: _without_steps,
        YARDSTICK: _by_hand,
        EVENT_LOOP: partial(_without_steps, event_loop=True),
    }
    with event_loop() as loop:
        yield [
            quart_variant(name, loop, partial(add, awaits), path="/awaits")
            for name, add in ways.items()
        ]


def _without_steps(awaits: int, app: Any, **arguments: Any) -> Any:
    """Add default metrics, and a view that awaits something so many times."""

    @app.route("/awaits")
    async def view() -> str:
        for _ in range(awaits):
            await asyncio.sleep(0)
        return "hello"

    return programs.quart_promweb(app, **arguments)


def _by_hand(awaits: int, app: Any) -> None:
    time_steps(app, _without_steps(awaits, app))


def time_steps(app: Any, metrics: Any) -> None:
    """Record the longest step and the sum of all steps of each request, and do nothing else.

    It knows no streams that go on, no websockets and no watchdog, and it blames the group "hello".
    """
    block = metrics.histogram("block_seconds", "Longest step", buckets=BUCKETS).labels()
    total = metrics.counter("steps_seconds", "All steps").labels()
    laps: list[float] = []

    class Connection(app.asgi_http_class):  # type: ignore[misc]
        async def handle_request(self, request: Any, send: Any) -> None:
            laps[:] = 0.0, 0.0
            await stepped(super().handle_request(request, send), laps)
            block.observe(laps[0])
            total.inc(laps[1])

        async def _send_response(self, send: Any, response: Any) -> None:
            sending = super()._send_response(send, response)
            if sys.version_info < (3, 12):  # asyncio.wait_for makes a task
                await stepped(sending, laps)
            else:
                await sending

    app.asgi_http_class = Connection


@types.coroutine
def stepped(inner: Coroutine[Any, Any, None], laps: list[float]) -> Generator[Any, Any, None]:
    """Await a coroutine, and add up how long each step takes."""
    step: Any = inner.send
    argument: Any = None
    while True:
        began = perf_counter()
        try:
            awaited = step(argument)
        except StopIteration:
            return
        finally:
            seconds = perf_counter() - began
            laps[1] += seconds
            if seconds > laps[0]:
                laps[0] = seconds
        try:
            argument = yield awaited
            step = inner.send
        except BaseException as error:
            argument, step = error, inner.throw


@contextmanager
def _queue_time() -> Iterator[list[Variant]]:
    def by_hand(app: Any) -> None:
        metrics = programs.flask_promweb(app)
        queue = metrics.histogram("queue_seconds", "Time that requests waited").labels()

        @app.before_request
        def observe() -> None:
            started = float(flask.request.headers["X-Request-Start"].removeprefix("t="))
            queue.observe(max(time.time() - started, 0.0))

    ways: dict[str, Prepare] = {
        BARE: programs.flask_promweb,
        NULL: programs.flask_promweb,
        YARDSTICK: by_hand,
        QUEUE: partial(programs.flask_promweb, queue_time=True),
    }
    yield [
        Variant(
            name, flask_requests(_with_header(programs.flask_app(add)), lambda n: ["/hello"] * n)
        )
        for name, add in ways.items()
    ]


def _judge(table: Table, samples: Samples, name: str) -> None:
    """Judge what an option adds by the yardstick, and say what share of bare that is."""
    if name in (EVENT_LOOP, QUEUE):
        table.goal("of the yardstick's", samples.ratio(name, YARDSTICK), MOST)
        table.row("", "", "", f"{samples.percent_of_bare(name):.3g} % of bare")


STEPS = [
    Comparison(
        f"Quart, event_loop=True, a request with {awaits} awaits",
        partial(_steps, awaits),
        _judge,
        [NOTE],
    )
    for awaits in (0, 3, 50)
]
QUEUE_TIME = Comparison(
    "Flask, queue_time=True, a request with the header", _queue_time, _judge, [NOTE]
)


def _with_header(app: Any) -> Callable[..., Any]:
    stamp = f"t={time.time():.3f}"

    def stamped_app(environ: dict[str, Any], start_response: Any) -> Any:
        environ[HEADER] = stamp
        return app(environ, start_response)

    return stamped_app


def _beat(effort: Effort) -> Table:
    columns = ("variant", "CPU a second", "", "measured", "bound", "")
    table = Table("An idle event loop with event_loop=True: its beat and the watchdog", columns)
    seconds = effort.seconds(20)

    def idle(prepare: Prepare) -> float:
        app = programs.quart_app(prepare)

        async def main() -> float:
            await app.startup()
            await asyncio.sleep(seconds / 10)
            began, used = perf_counter(), process_time()
            await asyncio.sleep(seconds)
            share = (process_time() - used) / (perf_counter() - began)
            await app.shutdown()
            return share

        return asyncio.run(main())

    def by_hand(app: Any) -> None:
        programs.quart_promweb(app)

        async def beat() -> None:
            while True:  # noqa: ASYNC110
                await asyncio.sleep(BEAT)

        @app.before_serving
        async def start() -> None:
            app.beat = asyncio.create_task(beat())

        @app.after_serving
        async def stop() -> None:
            app.beat.cancel()

    off = idle(programs.quart_promweb)
    added = {
        YARDSTICK: idle(by_hand) - off,
        EVENT_LOOP: idle(lambda app: programs.quart_promweb(app, event_loop=True)) - off,
    }
    table.row("promweb", f"{off * 1e3:.2f} ms")
    for name, share in added.items():
        table.row(name, f"{(off + share) * 1e3:.2f} ms", f"{100 * share:.3g} % of a core")
    yardstick, measured = added.values()
    table.goal("of the yardstick's", measured / yardstick, MOST_BEATS)
    return table
