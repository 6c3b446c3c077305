"""Tables 1 to 4 and 8: what is added to a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from time import perf_counter
from typing import Any

import flask
from prometheus_client import CollectorRegistry, Counter, Histogram

from . import programs
from .floors import FlaskFloor, quart_floor
from .harness import BARE, NULL, Effort, Samples, Table, Variant, compare
from .programs import EXPORTER, OPENTELEMETRY, PLAIN_HOOKS, STARLETTE, flask_variant, quart_variant

__all__ = [
    "BATCH",
    "OURS",
    "event_loop",
    "flask_decorators",
    "flask_defaults",
    "flask_options",
    "installed",
    "new_label_set",
    "quart_defaults",
    "quart_options",
]

OURS = "promweb"
OPTIONS = {
    "in_progress": True,
    "request_size": True,
    "response_size": True,
    "response_start": True,
}
ALL_ON = "promweb, all opt-in families"
FLOOR_ALL_ON = "floor, all opt-in families"
FLOOR = "floor: the least that sees a request"
FLOOR_NOTE = (
    "The floor (benchmarks/floors.py) sees an ordinary request, and is right about nothing else."
)

BATCH = 150
"""Requests of a variant in a round: some ten milliseconds."""


def installed(*makers: Callable[[], Variant]) -> list[Variant]:
    """Return the variants whose packages are there."""
    variants = []
    for make in makers:
        try:
            variants.append(make())
        except ModuleNotFoundError as error:
            print(f"  skipped: {error}")
    return variants


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def ratio(samples: Samples, ours: str, peer: str) -> float | None:
    """Return what `ours` adds to bare in relation to what a peer adds, None without the peer."""
    if peer not in samples:
        return None
    return samples.added(ours).value / samples.added(peer).value


def share(samples: Samples, ours: str) -> float:
    """Return what `ours` adds, in percent of the bare request."""
    return 100 * samples.added(ours).value / samples.median(BARE)


def _flask_pair() -> list[Callable[[], Variant]]:
    return [lambda: flask_variant(BARE), lambda: flask_variant(NULL)]


def flask_defaults(effort: Effort) -> Table:
    table = Table("1. Flask, default metrics")
    variants = installed(
        *_flask_pair(),
        lambda: flask_variant(OURS, programs.flask_promweb),
        lambda: flask_variant(FLOOR, FlaskFloor),
        lambda: flask_variant(EXPORTER, programs.flask_exporter),
        lambda: flask_variant(OPENTELEMETRY, programs.flask_opentelemetry),
    )
    samples = compare(variants, batch=BATCH, seconds=effort.seconds(22))
    for name in table.compared(samples):
        if name == OURS:
            table.goal(f"of {EXPORTER}", ratio(samples, OURS, EXPORTER), 0.15)
            table.goal("of bare", share(samples, OURS), 10, unit=" %")
        elif name == FLOOR:
            table.measured(f"of {EXPORTER}", ratio(samples, FLOOR, EXPORTER))
            table.measured("% of bare", share(samples, FLOOR))
    table.notes.append(FLOOR_NOTE)
    return table


def flask_decorators(effort: Effort) -> Table:
    table = Table("2. Flask, default metrics, and a counter and a histogram of two callable labels")

    def labels() -> dict[str, Callable[..., object]]:
        return {
            "status": lambda response: response.status_code,
            "path": lambda: flask.request.path,
        }

    def decorate(make: Callable[[flask.Flask], Any]) -> Callable[[flask.Flask], None]:
        def prepare(app: flask.Flask) -> None:
            metrics = make(app)

            @app.route("/decorated")
            @metrics.counter("hellos", "Hellos.", labels=labels())
            @metrics.histogram("hello_seconds", "Time of a hello.", labels=labels())
            def decorated() -> str:
                return "hello"

        return prepare

    def decorate_least(app: flask.Flask) -> None:
        floor, takes_response = FlaskFloor(app), ["status"]

        @app.route("/decorated")
        @floor.measure(labels(), takes_response)
        @floor.measure(labels(), takes_response)
        def decorated() -> str:
            return "hello"

    path = "/decorated"
    variants = installed(
        *_flask_pair(),
        lambda: flask_variant(OURS, decorate(programs.flask_promweb), path=path),
        lambda: flask_variant(FLOOR, decorate_least, path=path),
        lambda: flask_variant(EXPORTER, decorate(programs.flask_exporter), path=path),
    )
    samples = compare(variants, batch=BATCH, seconds=effort.seconds(15))
    for name in table.compared(samples):
        if name == OURS:
            table.goal(f"of {EXPORTER}", ratio(samples, OURS, EXPORTER), 0.15)
        elif name == FLOOR:
            table.measured(f"of {EXPORTER}", ratio(samples, FLOOR, EXPORTER))
    table.notes.append(FLOOR_NOTE)
    return table


def quart_defaults(effort: Effort) -> Table:
    table = Table("3. Quart, default metrics")
    with event_loop() as loop:
        variants = installed(
            lambda: quart_variant(BARE, loop),
            lambda: quart_variant(NULL, loop),
            lambda: quart_variant(OURS, loop, programs.quart_promweb),
            lambda: quart_variant(FLOOR, loop, quart_floor),
            lambda: quart_variant(STARLETTE, loop, programs.quart_starlette_exporter),
            lambda: quart_variant(OPENTELEMETRY, loop, programs.quart_opentelemetry),
            lambda: quart_variant(PLAIN_HOOKS, loop, programs.quart_plain_hooks),
        )
        samples = compare(variants, batch=100, seconds=effort.seconds(30))
    for name in table.compared(samples):
        if name == OURS:
            table.goal(f"of {STARLETTE}", ratio(samples, OURS, STARLETTE), 0.12)
            table.goal(f"of {OPENTELEMETRY}", ratio(samples, OURS, OPENTELEMETRY), 0.04)
            table.goal("of bare", share(samples, OURS), 5, unit=" %")
        elif name == FLOOR:
            table.measured(f"of {STARLETTE}", ratio(samples, FLOOR, STARLETTE))
            table.measured("% of bare", share(samples, FLOOR))
    table.notes.append(FLOOR_NOTE)
    return table


def _options(table: Table, variants: list[Variant], batch: int, seconds: float) -> Table:
    samples = compare(variants, batch=batch, seconds=seconds)
    for name in table.compared(samples):
        if name == ALL_ON:
            table.goal("of the defaults", ratio(samples, ALL_ON, OURS), 2)
        elif name == FLOOR_ALL_ON:
            table.measured("of that floor", ratio(samples, FLOOR_ALL_ON, FLOOR))
            table.measured("of promweb's defaults", ratio(samples, FLOOR_ALL_ON, OURS))
    return table


def flask_options(effort: Effort) -> Table:
    variants = installed(
        *_flask_pair(),
        lambda: flask_variant(OURS, programs.flask_promweb),
        lambda: flask_variant(ALL_ON, lambda app: programs.flask_promweb(app, **OPTIONS)),
        lambda: flask_variant(FLOOR, FlaskFloor),
        lambda: flask_variant(FLOOR_ALL_ON, lambda app: FlaskFloor(app, options=True)),
    )
    table = _options(Table("4a. Flask, opt-in families"), variants, BATCH, effort.seconds(9))
    table.notes.append(FLOOR_NOTE)
    return table


def quart_options(effort: Effort) -> Table:
    with event_loop() as loop:
        variants = installed(
            lambda: quart_variant(BARE, loop),
            lambda: quart_variant(NULL, loop),
            lambda: quart_variant(OURS, loop, programs.quart_promweb),
            lambda: quart_variant(ALL_ON, loop, lambda app: programs.quart_promweb(app, **OPTIONS)),
        )
        table = Table("4b. Quart, opt-in families")
        return _options(table, variants, 100, effort.seconds(11))


def new_label_set(effort: Effort) -> Table:
    """Every request has a path, and therefore a label set, that was never there before."""
    table = Table("8. Flask, first request of a new label set")
    client = "prometheus_client: labels() of a histogram and a counter"
    known = "promweb, a label set that was there"
    only = "prometheus_client: labels() of the histogram"

    def variant(
        name: str, prepare: Callable[[Any], object], new: Callable[[int], int] = lambda item: item
    ) -> Variant:
        app = programs.flask_app(prepare)
        app.add_url_rule("/item/<int:item>", "item", lambda item: "hello")
        number = count()
        return Variant(
            name,
            programs.flask_requests(
                app, lambda n: [f"/item/{new(next(number))}" for _ in range(n)]
            ),
        )

    def creation(name: str, with_counter: bool) -> Variant:
        registry = CollectorRegistry()
        histogram = Histogram("a", "A.", ["method", "path", "status"], registry=registry)
        counter = Counter("b", "B.", ["method", "path", "status"], registry=registry)
        number = count()

        def run(n: int) -> float:
            paths = [f"/item/{next(number)}" for _ in range(n)]
            start = perf_counter()
            for path in paths:
                histogram.labels("GET", path, "200")
                if with_counter:
                    counter.labels("GET", path, "200")
            return perf_counter() - start

        return Variant(name, run)

    variants = installed(
        lambda: variant(BARE, lambda app: None),
        lambda: variant(NULL, lambda app: None),
        lambda: variant(OURS, lambda app: programs.flask_promweb(app, max_series=10**6)),
        lambda: variant(known, programs.flask_promweb, lambda item: 1),
        lambda: variant(FLOOR, FlaskFloor),
        lambda: variant(EXPORTER, programs.flask_exporter),
        lambda: creation(client, True),
        lambda: creation(only, False),
    )
    samples = compare(variants, batch=30, seconds=effort.seconds(6))
    created = samples.median(only)
    for name in table.compared(samples, [*samples][:-2]):
        if name == OURS:
            table.goal(f"of {only}", samples.added(OURS).value / created, 0.5)
        elif name == FLOOR:
            table.measured(f"of {only}", samples.added(FLOOR).value / created)
    for name in (only, client):
        table.row(name, f"{samples.median(name) * 1e6:.2f} µs")
    table.notes.append("promweb's is all that it adds to the request, recording included.")
    table.notes.append(FLOOR_NOTE)
    return table
