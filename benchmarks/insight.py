"""Measures the cost of event_loop and queue_time beside the default metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from time import perf_counter, process_time
from typing import Any

from . import programs
from .harness import BARE, NULL, Effort, Samples, Table, compare
from .programs import Prepare, flask_requests, flask_variant, quart_variant
from .requests import event_loop

__all__ = ["insight"]

NOTE = "bare is promweb with its default metrics alone"
HEADER = "HTTP_X_REQUEST_START"


def insight(effort: Effort) -> Iterator[Table]:
    for awaits, bound in ((0, 3.5), (3, 5.5), (50, 15)):
        yield _steps(effort, awaits, bound)
    yield _queue_time(effort)
    yield _beat(effort)


def _steps(effort: Effort, awaits: int, bound: float) -> Table:
    table = Table(f"Quart, event_loop=True, a request with {awaits} awaits", notes=[NOTE])

    def prepare(**arguments: Any) -> Prepare:
        def add(app: Any) -> None:
            programs.quart_promweb(app, **arguments)

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
            quart_variant(name, loop, prepare(event_loop=True), path="/awaits"),
        ]
        samples = compare(variants, batch=100, seconds=effort.seconds(15))
    for row in table.compared(samples):
        if row == name:
            _judge(table, samples, name, bound)
    return table


def _judge(table: Table, samples: Samples, name: str, bound: float) -> None:
    """Judge what an option adds, and say what share of bare that is, for machines of any speed."""
    table.goal("added", samples.added(name).value * 1e6, bound, unit=" µs")
    table.row("", "", "", f"{samples.percent_of_bare(name):.3g} % of bare")


def _queue_time(effort: Effort) -> Table:
    table = Table("Flask, queue_time=True, a request with the header", notes=[NOTE])

    def stamped(name: str, prepare: Prepare) -> Any:
        app = programs.flask_app(prepare)
        run = flask_requests(_with_header(app), lambda n: ["/hello"] * n)
        return flask_variant(BARE, prepare)._replace(name=name, run=run)

    name = "queue_time=True"
    variants = [
        stamped(BARE, programs.flask_promweb),
        stamped(NULL, programs.flask_promweb),
        stamped(name, lambda app: programs.flask_promweb(app, queue_time=True)),
    ]
    samples = compare(variants, batch=100, seconds=effort.seconds(12))
    for row in table.compared(samples):
        if row == name:
            _judge(table, samples, name, 2)
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

    off = idle(programs.quart_promweb)
    on = idle(lambda app: programs.quart_promweb(app, event_loop=True))
    table.row("promweb", f"{off * 1e3:.2f} ms")
    table.row("event_loop=True", f"{on * 1e3:.2f} ms")
    # 0.2 % for the beat and 0.1 % for the watchdog.
    table.goal("of a core", 100 * (on - off), 0.3, unit=" %")
    return table
