"""The time that libraries add to a request."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flask

from . import programs
from .harness import BARE, NULL, Comparison, Effort, Samples, Table, Variant, compare
from .programs import EXPORTER, OPENTELEMETRY, PLAIN_HOOKS, STARLETTE, flask_variant, quart_variant

__all__ = [
    "BATCH",
    "DECORATED",
    "FLASK_DECORATORS",
    "FLASK_DEFAULTS",
    "OURS",
    "QUART_DEFAULTS",
    "decorate",
    "event_loop",
    "installed",
    "options",
    "others",
]

OURS = "promweb"
DECORATED = "/decorated"

BATCH = 100
"""Requests of a variant in a round: some ten milliseconds."""


def installed(*makers: Callable[[], Variant]) -> list[Variant]:
    """Return the variants whose packages are there."""
    variants = []
    for make in makers:
        try:
            variants.append(make())
        except ModuleNotFoundError as error:
            print(f"  skipped: {error}", file=sys.stderr)
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


@contextmanager
def _flask_defaults() -> Iterator[list[Variant]]:
    yield installed(
        lambda: flask_variant(BARE),
        lambda: flask_variant(NULL),
        lambda: flask_variant(OURS, programs.flask_promweb),
        lambda: flask_variant(EXPORTER, programs.flask_exporter),
    )


@contextmanager
def _flask_decorators() -> Iterator[list[Variant]]:
    yield installed(
        lambda: flask_variant(BARE),
        lambda: flask_variant(NULL),
        lambda: flask_variant(OURS, decorate(programs.flask_promweb), path=DECORATED),
        lambda: flask_variant(EXPORTER, decorate(programs.flask_exporter), path=DECORATED),
    )


@contextmanager
def _quart_defaults() -> Iterator[list[Variant]]:
    with event_loop() as loop:
        yield installed(
            lambda: quart_variant(BARE, loop),
            lambda: quart_variant(NULL, loop),
            lambda: quart_variant(OURS, loop, programs.quart_promweb),
            lambda: quart_variant(STARLETTE, loop, programs.quart_starlette_exporter),
        )


def _judge(peer: str, most: float, percent: float | None) -> Callable[..., None]:
    """Return what judges promweb's row: by what a peer adds, and as a percentage of bare."""

    def judge(table: Table, samples: Samples, name: str) -> None:
        if name == OURS:
            table.goal(f"of {peer}", samples.ratio(OURS, peer), most)
            if percent is not None:
                table.goal("of bare", samples.percent_of_bare(OURS), percent, unit=" %")

    return judge


FLASK_DEFAULTS = Comparison("Flask, default metrics", _flask_defaults, _judge(EXPORTER, 0.20, 12))
FLASK_DECORATORS = Comparison(
    "Flask, default metrics, and a counter and a histogram of two callable labels",
    _flask_decorators,
    _judge(EXPORTER, 0.20, None),
)
QUART_DEFAULTS = Comparison("Quart, default metrics", _quart_defaults, _judge(STARLETTE, 0.28, 10))


def decorate(make: Callable[[flask.Flask], Any]) -> Callable[[flask.Flask], None]:
    """Return what adds metrics to an application, and a view with two decorators."""

    def prepare(app: flask.Flask) -> None:
        metrics = make(app)

        def labels() -> dict[str, Callable[..., object]]:
            return {
                "status": lambda response: response.status_code,
                "path": lambda: flask.request.path,
            }

        @app.route(DECORATED)
        @metrics.counter("hellos", "Hellos.", labels=labels())
        @metrics.histogram("hello_seconds", "Time of a hello.", labels=labels())
        def decorated() -> str:
            return "hello"

    return prepare


def others(effort: Effort) -> Iterator[Table]:
    """Compare promweb with what costs several times as much, which would take the others' time."""
    columns = ("variant", "median", "added to bare")
    variants = installed(
        lambda: flask_variant(BARE),
        lambda: flask_variant(NULL),
        lambda: flask_variant(OURS, programs.flask_promweb),
        lambda: flask_variant(OPENTELEMETRY, programs.flask_opentelemetry),
    )
    table = Table("Flask, default metrics", columns)
    list(table.compared(compare(variants, batch=BATCH, seconds=effort.seconds(12))))
    yield table
    with event_loop() as loop:
        variants = installed(
            lambda: quart_variant(BARE, loop),
            lambda: quart_variant(NULL, loop),
            lambda: quart_variant(OURS, loop, programs.quart_promweb),
            lambda: quart_variant(OPENTELEMETRY, loop, programs.quart_opentelemetry),
            lambda: quart_variant(PLAIN_HOOKS, loop, programs.quart_plain_hooks),
        )
        samples = compare(variants, batch=BATCH, seconds=effort.seconds(20))
    table = Table("Quart, default metrics", columns)
    list(table.compared(samples))
    yield table


def options(effort: Effort) -> Table:
    """Compare ways to configure promweb."""
    table = Table("Flask, other ways to use promweb", ("variant", "median", "added to bare"))

    def tenant(request: Any) -> str:
        return "acme"

    def two(app: flask.Flask) -> None:
        programs.flask_promweb(app)
        programs.flask_promweb(app, path="/other")

    def promweb(**arguments: Any) -> Callable[[flask.Flask], Any]:
        return lambda app: programs.flask_promweb(app, **arguments)

    families = ("in_progress", "request_size", "response_size", "response_start")
    ways: dict[str, Callable[[flask.Flask], Any]] = {
        OURS: promweb(),
        "all opt-in families": promweb(**dict.fromkeys(families, True)),
        "this path excluded": promweb(excluded_paths="/hello"),
        "another path excluded": promweb(excluded_paths="/other"),
        "two objects": two,
        "group_by a function": promweb(group_by=tenant),
        "group_by endpoint": promweb(group_by="endpoint"),
        "a summary": promweb(default_latency_as_histogram=False),
        "a default label that is called": promweb(default_labels={"a": lambda: "b"}),
        "no default metrics": promweb(export_defaults=False),
    }
    variants = [flask_variant(BARE), flask_variant(NULL)]
    variants += [flask_variant(name, prepare) for name, prepare in ways.items()]
    list(table.compared(compare(variants, batch=BATCH, seconds=effort.seconds(12))))
    return table
