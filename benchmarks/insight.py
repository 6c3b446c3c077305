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
from time import perf_counter, process_time
from typing import Any

import flask

from promweb.adapters.insight.lanes import BEAT
from promweb.core.insight.loop import BUCKETS

from . import programs
from .harness import BARE, NULL, Effort, Samples, Table, Variant, compare
from .programs import Prepare, flask_requests, quart_variant
from .requests import event_loop

__all__ = ["insight"]

NOTE = "bare is promweb with its default metrics alone"
HEADER = "HTTP_X_REQUEST_START"
YARDSTICK = "yardstick"
MOST = 1.5
"""The most that an option may cost, as a multiple of its yardstick."""
MOST_BEATS = 2.7
"""The same for the beat, which has a watchdog beside it."""


def insight(effort: Effort) -> Iterator[Table]:
    for awaits in (0, 3, 50):
        yield _steps(effort, awaits)
    yield _queue_time(effort)
    yield _beat(effort)


def _steps(effort: Effort, awaits: int) -> Table:
    table = Table(f"Quart, event_loop=True, a request with {awaits} awaits", notes=[NOTE])

    def prepare(by_hand: bool = False, **arguments: Any) -> Prepare:
        def add(app: Any) -> None:
            metrics = programs.quart_promweb(app, **arguments)
            if by_hand:
                time_steps(app, metrics)

            @app.route("/awaits")
            async def view() -> str:
                for _ in range(awaits):
                    await asyncio.sleep(0)
                return "hello"

        return add

    name = "event_loop=True"
    with event_loop() as loop:
        variants = [
            quart_variant(BARE, loop, prepare(), path="/awaits"),
            quart_variant(NULL, loop, prepare(), path="/awaits"),
            quart_variant(YARDSTICK, loop, prepare(by_hand=True), path="/awaits"),
            quart_variant(name, loop, prepare(event_loop=True), path="/awaits"),
        ]
        samples = compare(variants, batch=100, seconds=effort.seconds(15))
    for row in table.compared(samples):
        if row == name:
            _judge(table, samples, name)
    return table


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


def _judge(table: Table, samples: Samples, name: str) -> None:
    """Judge what an option adds by the yardstick, and say what share of bare that is."""
    table.goal("of the yardstick's", samples.ratio(name, YARDSTICK), MOST)
    table.row("", "", "", f"{samples.percent_of_bare(name):.3g} % of bare")


def _queue_time(effort: Effort) -> Table:
    table = Table("Flask, queue_time=True, a request with the header", notes=[NOTE])

    def stamped(name: str, prepare: Prepare) -> Any:
        app = programs.flask_app(prepare)
        run = flask_requests(_with_header(app), lambda n: ["/hello"] * n)
        return Variant(name, run)

    def by_hand(app: Any) -> None:
        metrics = programs.flask_promweb(app)
        queue = metrics.histogram("queue_seconds", "Time that requests waited").labels()

        @app.before_request
        def observe() -> None:
            started = float(flask.request.headers["X-Request-Start"].removeprefix("t="))
            queue.observe(max(time.time() - started, 0.0))

    name = "queue_time=True"
    variants = [
        stamped(BARE, programs.flask_promweb),
        stamped(NULL, programs.flask_promweb),
        stamped(YARDSTICK, by_hand),
        stamped(name, lambda app: programs.flask_promweb(app, queue_time=True)),
    ]
    samples = compare(variants, batch=100, seconds=effort.seconds(12))
    for row in table.compared(samples):
        if row == name:
            _judge(table, samples, name)
    return table


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
        "event_loop=True": idle(lambda app: programs.quart_promweb(app, event_loop=True)) - off,
    }
    table.row("promweb", f"{off * 1e3:.2f} ms")
    for name, share in added.items():
        table.row(name, f"{(off + share) * 1e3:.2f} ms", f"{100 * share:.3g} % of a core")
    yardstick, measured = added.values()
    table.goal("of the yardstick's", measured / yardstick, MOST_BEATS)
    return table
