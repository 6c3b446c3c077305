"""The service under load, in its own process: `python -m tests.stress.soak.service FRAMEWORK ...`.

It prints its port. At SIGTERM it stops accepting, finishes its requests, and writes promweb's
counts to a file, because its counters end with it. A middleware around everything, promweb
included, writes down the number of each request that reached the application.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import flask
import quart
from prometheus_client import CollectorRegistry

from promweb import AsyncPrometheusMetrics, PrometheusMetrics
from promweb.testing import native_histogram

__all__ = ["NATIVE", "NUMBER"]

NUMBER = "X-Number"
"""The header with a request's number."""

OPTIONS: Any = {"group_by": "url_rule", "in_progress": True, "native_histograms": True}
"""The arguments of the metrics object."""

NATIVE = "native"
"""The key of the observations in native buckets among what a service counted."""

GRACE = 10.0
"""Seconds that requests have to end when the service stops."""


def flask_app(registry: CollectorRegistry | None) -> flask.Flask:
    app = flask.Flask("soak", static_folder=None)
    app.logger.disabled = True
    reached: set[str] = set()
    if registry is not None:
        PrometheusMetrics(app, registry=registry, **OPTIONS)

    @app.get("/items/<int:number>")
    def items(number: int) -> str:
        return f"item {number}"

    @app.get("/fail")
    def fail() -> str:
        raise ZeroDivisionError

    @app.post("/upload")
    def upload() -> str:
        return str(len(flask.request.get_data()))

    @app.get("/stream")
    def stream() -> Any:
        def body() -> Iterator[str]:
            for number in range(5):
                yield f"{number}\n" * 100

        return body(), 203

    @app.get("/stream-fails")
    def stream_fails() -> Any:
        def body() -> Iterator[str]:
            yield "first\n"
            raise ZeroDivisionError

        return body(), 207

    @app.get("/endless")
    def endless() -> Any:
        def body() -> Iterator[str]:
            while True:
                time.sleep(0.002)
                yield "more\n" * 1000

        return body(), 206

    @app.get("/hold/<name>")
    def hold(name: str) -> str:
        reached.add(name)
        time.sleep(0.1)  # Flask does not notice a client that leaves
        return "held"

    @app.get("/reached/<name>")
    def has_reached(name: str) -> str:
        return "yes" if name in reached else "no"

    return app


def quart_app(registry: CollectorRegistry | None) -> quart.Quart:
    app = quart.Quart("soak", static_folder=None)
    app.logger.disabled = True
    reached: set[str] = set()
    if registry is not None:
        AsyncPrometheusMetrics(app, registry=registry, **OPTIONS)

    @app.get("/items/<int:number>")
    async def items(number: int) -> str:
        return f"item {number}"

    @app.get("/fail")
    async def fail() -> str:
        raise ZeroDivisionError

    @app.post("/upload")
    async def upload() -> str:
        return str(len(await quart.request.get_data()))

    @app.get("/stream")
    async def stream() -> Any:
        async def body() -> AsyncIterator[str]:
            for number in range(5):
                yield f"{number}\n" * 100

        return body(), 203

    @app.get("/stream-fails")
    async def stream_fails() -> Any:
        async def body() -> AsyncIterator[str]:
            yield "first\n"
            raise ZeroDivisionError

        return body(), 207

    @app.get("/endless")
    async def endless() -> Any:
        async def body() -> AsyncIterator[str]:
            while True:
                await asyncio.sleep(0.002)
                yield "more\n" * 1000

        response = await quart.make_response(body(), 206)
        response.timeout = None
        return response

    @app.get("/hold/<name>")
    async def hold(name: str) -> str:
        reached.add(name)
        await asyncio.Event().wait()  # until the client has left
        return "held"

    @app.get("/reached/<name>")
    async def has_reached(name: str) -> str:
        return "yes" if name in reached else "no"

    return app


def serve_flask(app: flask.Flask, note_arrival: Callable[[str], object]) -> None:
    """Serve until SIGTERM, a thread for each connection, and join them."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_: Any) -> None:
            """Print nothing."""

    wrapped = app.wsgi_app

    def noting(environ: dict[str, Any], start_response: Any) -> Any:
        number = environ.get("HTTP_X_NUMBER")
        if number:
            note_arrival(number)
        return wrapped(environ, start_response)

    app.wsgi_app = noting  # type: ignore[method-assign]
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    print(server.server_port, flush=True)
    signal.signal(
        signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start()
    )
    server.serve_forever(0.05)
    server.server_close()
    end = time.monotonic() + GRACE
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(max(0.0, end - time.monotonic()))


def serve_quart(app: quart.Quart, note_arrival: Callable[[str], object]) -> None:
    """Serve with Hypercorn until SIGTERM."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    wrapped = app.asgi_app

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        for name, value in scope.get("headers", ()):
            if name == b"x-number":
                note_arrival(value.decode())
        await wrapped(scope, receive, send)

    app.asgi_app = noting  # type: ignore[method-assign]
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.graceful_timeout = GRACE
    config.errorlog = None

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        print(listener.getsockname()[1], flush=True)
        await serve(app, config, shutdown_trigger=stop.wait)

    asyncio.run(main())
    listener.detach()


def counted(registry: CollectorRegistry) -> dict[str, float]:
    """Return the requests by method and status, and how many are in progress."""
    found: dict[str, float] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            if sample.name == "flask_http_request_total":
                found[f"{sample.labels['method']} {sample.labels['status']}"] = sample.value
            elif sample.name == "flask_http_requests_in_progress":
                found["in progress"] = found.get("in progress", 0.0) + sample.value
    with suppress(LookupError):  # without promweb, or without any request
        name = "flask_http_request_duration_seconds"
        found[NATIVE] = native_histogram(name, registry=registry).count
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("framework", choices=("flask", "quart"))
    parser.add_argument("--bare", action="store_true", help="without promweb")
    parser.add_argument("--arrivals", required=True, help="the file of numbers that arrived")
    parser.add_argument("--counts", required=True, help="the file of what was counted")
    options = parser.parse_args()
    logging.disable()
    registry = CollectorRegistry()
    measured = None if options.bare else registry
    arrivals = os.open(options.arrivals, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note_arrival(number: str) -> None:
        os.write(arrivals, f"{number}\n".encode())  # whole, whatever other threads write

    if options.framework == "flask":
        serve_flask(flask_app(measured), note_arrival)
    else:
        serve_quart(quart_app(measured), note_arrival)
    with open(options.counts, "w") as counts:
        json.dump(counted(registry), counts)


if __name__ == "__main__":
    main()
