"""An application with and without promweb, whose answers are compared."""

from __future__ import annotations

import builtins
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.support.legs import Leg, Reply

ERRORS: list[Exception] = [
    cls.__new__(cls)
    for cls in vars(builtins).values()
    if isinstance(cls, type) and issubclass(cls, Exception) and not hasattr(cls, "exceptions")
]
"""One exception of each class that Python has, but groups."""


class Fault(Exception):
    """A seam raises this unless a test chooses another exception."""


def fail(*args: object, **kwargs: object) -> Any:
    raise Fault


def route(leg: Leg, app: Any, decorate: Callable[[Any], Any] = lambda view: view) -> Any:
    """Give an application its views, each decorated."""

    def ok() -> Any:
        leg.clock.advance(0.25)
        return leg.web.Response("ok", 202, {"X-View": "ok"})

    def broken() -> Any:
        raise ZeroDivisionError

    def stream() -> Any:
        return leg.web.Response(iter([b"one", b"two"]), 203)

    for view in (ok, broken, stream):
        kind = leg.view(view)
        app.add_url_rule(
            f"/{view.__name__}", view.__name__, decorate(kind), methods=["GET", "POST"]
        )
    return app


REQUESTS = [
    ("GET", "/ok"),
    ("HEAD", "/ok"),
    ("POST", "/broken"),
    ("GET", "/stream"),
    ("GET", "/no"),
]


def answers(leg: Leg, app: Any) -> list[Any]:
    """Send each request twice and return what a client sees."""
    return [shown(leg.request(app, path, method)) for _ in range(2) for method, path in REQUESTS]


def shown(reply: Reply) -> tuple[int, bytes, list[tuple[str, str]]]:
    return reply.status, reply.data, sorted(reply.headers.items())


def bare(leg: Leg) -> list[Any]:
    """Return what a client sees of the application without promweb."""
    app = leg.make_app()
    app.logger.disabled = True
    return answers(leg, route(leg, app))


COUNTS = {
    ("GET", "202"): 2.0,
    ("HEAD", "202"): 2.0,
    ("POST", "500"): 2.0,
    ("GET", "203"): 2.0,
    ("GET", "404"): 2.0,
}
"""The counts that `answers` should make, by method and status."""


def counts(leg: Leg, name: str = "flask_http_request_total") -> dict[tuple[str, str], float]:
    """Return a family, summed over all labels but method and status."""
    found: dict[tuple[str, str], float] = {}
    for metric in leg.registry.collect():
        for sample in metric.samples:
            if sample.name == name:
                key = sample.labels.get("method", ""), sample.labels.get("status", "")
                found[key] = found.get(key, 0.0) + sample.value
    return found


def check(leg: Leg, app: Any) -> None:
    """Assert that every answer is that of the bare application, and counted once."""
    app.logger.disabled = True
    assert answers(leg, app) == bare(leg)
    assert counts(leg) == COUNTS
    assert counts(leg, "flask_http_request_exceptions_total") == {("POST", "500"): 2.0}
    assert set(counts(leg, "flask_http_requests_in_progress").values()) <= {0.0}


class Log(logging.Handler):
    """The messages that promweb has logged, even where pytest's own handler fails."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def log() -> Any:
    """Collect what promweb logs."""
    handler, logger = Log(), logging.getLogger("promweb")
    logger.addHandler(handler)
    yield handler
    with suppress(ValueError):
        logger.removeHandler(handler)
