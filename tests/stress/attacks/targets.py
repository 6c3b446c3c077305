"""A service under attack, on Flask and on Quart, and the counts that it should have."""

from __future__ import annotations

import asyncio
import io
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import flask
import quart
from prometheus_client import CollectorRegistry
from werkzeug.exceptions import BadHost

from promweb import AsyncPrometheusMetrics, PrometheusMetrics

from .arsenal import Shot

__all__ = [
    "LONGEST",
    "OVERFLOW",
    "Answer",
    "Books",
    "Target",
    "flask_target",
    "quart_target",
    "send_asgi",
    "send_wsgi",
]

OVERFLOW = "<overflow>"
_NO_HEADER = re.compile(rb"[\r\n\0]")  # what no server lets into a header
LONGEST = 256  # bytes; docs/labels.md says so
KNOWN_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}


REFUSED = 0
"""The status of what did not become a request."""


class Answer(NamedTuple):
    """The answer that a client got."""

    status: int
    headers: dict[str, str]
    body: bytes


class Books:
    """The counts that the service should have, kept by its own views and by the client."""

    def __init__(self, *, details: bool) -> None:
        self.details = details
        self.requests: Counter[tuple[str, str]] = Counter()
        """By method and status."""
        self.paths: Counter[str] = Counter()
        """Of requests that a route matched."""
        self.orders: Counter[tuple[str, ...]] = Counter()
        """By the label values of the counter `orders_total`."""

    def answered(self, shot: Shot, status: int) -> None:
        if status == REFUSED:
            return
        method = shot.method.upper()  # as the frameworks show it
        method = method if method in KNOWN_METHODS else "<other>"
        self.requests[method, str(status)] += 1

    def matched(self, request: Any) -> None:
        if self.details and request.url_rule is not None:
            self.paths[as_label(request.path)] += 1

    def ordered(self, labels: dict[str, Callable[[], str]]) -> None:
        if self.details:
            self.orders[tuple(as_label(label()) for label in labels.values())] += 1


def as_label(value: str) -> str:
    """Return the label value to expect: UTF-8, and not too much of it."""
    encoded = value.encode("utf-8", "replace")
    return OVERFLOW if len(encoded) > LONGEST else encoded.decode()


class Target(NamedTuple):
    """A service, its registry and its books."""

    app: Any
    registry: CollectorRegistry
    books: Books


def flask_target(*, details: bool = False, **options: Any) -> Target:
    """Return the service on Flask."""
    request = flask.request
    registry, books = CollectorRegistry(), Books(details=details)
    app = flask.Flask("target", static_folder=None)
    app.logger.disabled = True
    metrics = PrometheusMetrics(app, registry=registry, **options)
    labels = _labels(request)

    @app.before_request
    def matched() -> None:
        books.matched(request)

    @app.route("/items/<path:name>", methods=["GET", "POST"])
    @metrics.counter("orders", "Orders.", labels=labels)
    def items(name: str) -> str:
        books.ordered(labels)
        return "ok"

    @app.route("/fail")
    def fail() -> str:
        raise ZeroDivisionError

    @app.route("/stream")
    def stream() -> Any:
        return iter(["a", "b"])

    return Target(app, registry, books)


def quart_target(*, details: bool = False, **options: Any) -> Target:
    """Return the service on Quart."""
    request = quart.request
    registry, books = CollectorRegistry(), Books(details=details)
    app = quart.Quart("target", static_folder=None)
    app.logger.disabled = True
    metrics = AsyncPrometheusMetrics(app, registry=registry, **options)
    labels = _labels(request)

    @app.before_request
    async def matched() -> None:
        books.matched(request)

    @app.route("/items/<path:name>", methods=["GET", "POST"])
    @metrics.counter("orders", "Orders.", labels=labels)
    async def items(name: str) -> str:
        books.ordered(labels)
        return "ok"

    @app.route("/fail")
    async def fail() -> str:
        raise ZeroDivisionError

    @app.route("/stream")
    async def stream() -> Any:

        async def letters() -> Any:
            for letter in "ab":
                yield letter

        return letters()

    return Target(app, registry, books)


def _labels(request: Any) -> dict[str, Callable[[], str]]:
    """Return labels of what a client sent; the last one lets surrogates through."""
    return {
        "who": lambda: str(request.args.get("who", "")),
        "client": lambda: str(request.headers.get("X-Client", "")),
        "raw": lambda: unquote_to_bytes(request.query_string).decode("utf-8", "surrogateescape"),
    }


def send_wsgi(app: Callable[..., Iterable[bytes]], shot: Shot) -> Answer:
    """Send a request as a WSGI server does."""
    got: list[Any] = []
    environ: dict[str, Any] = {
        "REQUEST_METHOD": shot.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": shot.path.decode("latin-1"),
        "QUERY_STRING": shot.query.decode("latin-1"),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }
    for name, value in shot.headers:
        environ["HTTP_" + name.upper().replace("-", "_")] = value.decode("latin-1")

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        got[:] = [int(status[:3]), dict(headers)]

    with closing(app(environ, start_response)) as body:  # type: ignore[type-var]
        data = b"".join(body)
    return Answer(*got, data)


async def send_asgi(app: Callable[..., Awaitable[None]], shot: Shot) -> Answer:
    """Send a request as an ASGI server does."""
    status, headers, data = 0, {}, []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": shot.method,
        "scheme": "http",
        "path": shot.path.decode("utf-8", "replace"),
        "raw_path": shot.path,
        "query_string": shot.query,
        "root_path": "",
        "headers": [(name.encode(), _NO_HEADER.sub(b"", value)) for name, value in shot.headers],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "extensions": {},
    }
    messages = [{"type": "http.request", "body": b"", "more_body": False}]
    answered = asyncio.Event()

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            headers.update((k.decode().title(), v.decode()) for k, v in message["headers"])
        else:
            data.append(message.get("body", b""))
            if not message.get("more_body"):
                answered.set()

    try:
        await app(scope, receive, send)
    except BadHost:
        # Quart raises before it has a request, and the server answers. Flask answers itself.
        return Answer(REFUSED, {}, b"")
    return Answer(status, headers, b"".join(data))
