"""Questions about a library on Flask. Each docstring is the row of the table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import flask

from .measuring import NO_DECORATOR, SLOW, Measured, Numbers, Peer, span, yes

__all__ = ["QUESTIONS"]

MANY = 50


def routes(peer: Peer) -> str:
    """Two routes are two series"""
    return yes(len(visited(peer, "/items/1", "/tea").of(peer.requests)) == 2)


def items(peer: Peer) -> str:
    """Series of two items of one route"""
    return str(len(visited(peer, "/items/1", "/items/2").of(peer.requests)))


def invented_paths(peer: Peer) -> str:
    """Series of 50 paths that do not exist"""
    numbers = visited(peer, *(f"/no/{number}" for number in range(MANY)))
    return str(len(numbers.of(peer.requests)))


def invented_methods(peer: Peer) -> str:
    """Series of 50 methods that HTTP does not have"""
    service = Service(peer)
    for number in range(MANY):
        service.client.open("/items/1", method=f"GET{number}")
    return str(len(service.numbers().of(peer.requests)))


def streams(peer: Peer) -> str:
    """A stream is timed to its end"""
    return yes(visited(peer, "/stream").sum(peer.seconds) >= SLOW)


def broken_streams(peer: Peer) -> str:
    """A stream that breaks can be told from one that ends"""
    service = Service(peer)
    service.get("/stream")
    ended = service.numbers().counts()
    service.get("/stream?broken")
    return yes(service.numbers().counts() != ended)


def exceptions(peer: Peer) -> str:
    """An exception in a view counts once, with the status 500"""
    return yes(visited(peer, "/broken").of_status(peer, "500") == 1)


def early_answers(peer: Peer) -> str:
    """A request that an earlier `before_request` function answers is timed"""
    return yes(visited(peer, "/closed").sum(peer.requests) == 1)


def late_changes(peer: Peer) -> str:
    """The status is the one that the client gets, if a later `after_request` function sets it"""
    return yes(visited(peer, "/tea").of_status(peer, "418") == 1)


def in_progress(peer: Peer) -> str:
    """Requests in progress after an exception and a broken stream"""
    return visited(peer, "/broken", "/stream?broken").gauge(peer.in_progress)


def own_metrics(peer: Peer) -> str:
    """A decorator counts the status that an error handler gives"""
    service = Service(peer)
    if service.metrics is None:
        return NO_DECORATOR

    @service.app.get("/own")
    @service.metrics.counter("own", "Own.", labels={"status": lambda r: r.status_code})
    def own() -> str:
        raise LookupError

    service.get("/own")
    return yes(service.numbers().sum("own_total", status="404") == 1)


def own_labels(peer: Peer) -> str:
    """Series of a decorator with 2,000 values of a header in a label"""
    service = Service(peer)
    if service.metrics is None:
        return NO_DECORATOR

    @service.app.get("/own")
    @service.metrics.counter("own", "Own.", labels={"x": lambda: flask.request.headers["X"]})
    def own() -> str:
        return "own"

    for number in range(2000):
        service.client.get("/own", headers={"X": str(number)})
    return f"{len(service.numbers().of('own_total')):,}"


def failing_labels(peer: Peer) -> str:
    """Status of the answer when a label callable raises"""
    service = Service(peer)
    if service.metrics is None:
        return NO_DECORATOR

    @service.app.get("/own")
    @service.metrics.counter("own", "Own.", labels={"zero": lambda: 1 // 0})
    def own() -> str:
        return "own"

    return str(service.client.get("/own").status_code)


def jobs(peer: Peer) -> str:
    """A decorated function can be called outside of a request"""
    service = Service(peer)
    if service.metrics is None:
        return NO_DECORATOR

    @service.metrics.counter("jobs", "Jobs.")
    def job() -> str:
        return "done"

    with suppress(RuntimeError):
        job()
    return yes(service.numbers().sum("jobs_total") == 1)


def workers(peer: Peer) -> str:
    """Requests that a scrape shows, of 2 that two processes answered"""
    return f"{visited(peer, '/items/1').sum(peer.requests):g}"  # of the second process


def exemplars(peer: Peer) -> str:
    """An OpenMetrics scrape has the trace of a request as exemplar"""
    service = Service(peer)
    with span():
        service.get("/items/1")
    return yes("# {" in service.open_metrics())


QUESTIONS = [
    routes,
    items,
    invented_paths,
    invented_methods,
    streams,
    broken_streams,
    exceptions,
    early_answers,
    late_changes,
    in_progress,
    own_metrics,
    own_labels,
    failing_labels,
    jobs,
    workers,
    exemplars,
]


class Service(Measured):
    """A Flask application that a library measures."""

    def __init__(self, peer: Peer) -> None:
        self.app = application()
        super().__init__(peer, self.app)
        self.client = self.app.test_client()

    def get(self, path: str) -> None:
        with suppress(ValueError):
            self.client.get(path).get_data()


def visited(peer: Peer, *paths: str) -> Numbers:
    """Return the numbers after a request for each path."""
    service = Service(peer)
    for path in paths:
        service.get(path)
    return service.numbers()


def application() -> flask.Flask:
    app = flask.Flask("service")
    app.before_request(lambda: ("later", 503) if flask.request.path == "/closed" else None)
    app.register_error_handler(LookupError, lambda error: ("no such thing", 404))

    @app.after_request
    def teapot(response: flask.Response) -> flask.Response:
        if flask.request.path == "/tea":
            response.status_code = 418
        return response

    @app.get("/items/<int:number>")
    def item(number: int) -> str:
        return f"item {number}"

    @app.get("/tea")
    def tea() -> str:
        return "tea"

    @app.get("/broken")
    def broken() -> str:
        raise ValueError

    @app.get("/stream")
    def stream() -> Iterator[str]:
        is_broken = "broken" in flask.request.args

        def body() -> Iterator[str]:
            yield "one half"
            if is_broken:
                raise ValueError
            time.sleep(SLOW)
            yield "the other"

        return body()

    return app
