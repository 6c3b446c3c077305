"""The applications that are measured, and the ways to measure them: promweb's and its peers'.

A peer that is not installed is left out. `make bench` installs them in an environment of their own.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable
from importlib import import_module
from time import perf_counter, process_time
from typing import Any

import flask
import quart
from prometheus_client import CollectorRegistry, Counter, Histogram

from promweb import AsyncPrometheusMetrics, PrometheusMetrics

from .harness import Variant

__all__ = [
    "EXPORTER",
    "OPENTELEMETRY",
    "PLAIN_HOOKS",
    "STARLETTE",
    "flask_app",
    "flask_exporter",
    "flask_exporter_of_workers",
    "flask_opentelemetry",
    "flask_promweb",
    "flask_requests",
    "flask_variant",
    "get",
    "quart_app",
    "quart_opentelemetry",
    "quart_plain_hooks",
    "quart_promweb",
    "quart_starlette_exporter",
    "quart_variant",
    "scrape",
]

EXPORTER = "prometheus_flask_exporter"
STARLETTE = "starlette_exporter"
OPENTELEMETRY = "OpenTelemetry"
PLAIN_HOOKS = "plain def hooks"

Prepare = Callable[[Any], object]
"""Adds to an application what is measured; raises `ImportError` if that is not installed."""


def _nothing(app: Any) -> None:
    """Measure nothing."""


def flask_app(prepare: Prepare = _nothing) -> flask.Flask:
    """Return an application with a view that does nothing, and measure it."""
    app = flask.Flask("shop")

    @app.route("/hello")
    def hello() -> str:
        return "hello"

    prepare(app)
    return app


def quart_app(prepare: Prepare = _nothing) -> quart.Quart:
    """Return the same application on Quart."""
    app = quart.Quart("shop")

    @app.route("/hello")
    async def hello() -> str:
        return "hello"

    prepare(app)
    return app


def flask_promweb(app: flask.Flask, **options: Any) -> PrometheusMetrics:
    return PrometheusMetrics(app, registry=CollectorRegistry(), **options)


def quart_promweb(app: quart.Quart, **options: Any) -> AsyncPrometheusMetrics:
    return AsyncPrometheusMetrics(app, registry=CollectorRegistry(), **options)


def flask_exporter(app: flask.Flask) -> Any:
    exporter = import_module("prometheus_flask_exporter")
    return exporter.PrometheusMetrics(app, registry=CollectorRegistry())


def flask_exporter_of_workers(app: flask.Flask) -> Any:
    """Use the exporter's class for several workers, which needs `PROMETHEUS_MULTIPROC_DIR`."""
    exporter = import_module("prometheus_flask_exporter.multiprocess")
    return exporter.MultiprocessInternalPrometheusMetrics(app)


def flask_opentelemetry(app: flask.Flask) -> None:
    instrumentation = import_module("opentelemetry.instrumentation.flask")
    instrumentation.FlaskInstrumentor().instrument_app(app, **_opentelemetry_providers())


def quart_opentelemetry(app: Any) -> None:
    instrumentation = import_module("opentelemetry.instrumentation.asgi")
    app.asgi_app = instrumentation.OpenTelemetryMiddleware(
        app.asgi_app, **_opentelemetry_providers()
    )


def quart_starlette_exporter(app: Any) -> None:
    """Count every path as it is: there are no Starlette routes to group by."""
    exporter = import_module("starlette_exporter")
    app.asgi_app = exporter.PrometheusMiddleware(
        app.asgi_app, group_paths=False, filter_unhandled_paths=False
    )


def quart_plain_hooks(app: quart.Quart) -> None:
    """Do what a tutorial does: two plain functions, which Quart runs in a worker thread."""
    registry = CollectorRegistry()
    names = ["method", "path", "status"]
    duration = Histogram("duration_seconds", "Duration.", names, registry=registry)
    total = Counter("requests", "Requests.", ["method", "status"], registry=registry)

    @app.before_request
    def begin() -> None:
        quart.g.start = perf_counter()

    @app.after_request
    def end(response: quart.Response) -> quart.Response:
        request, status = quart.request, str(response.status_code)
        duration.labels(request.method, request.path, status).observe(
            perf_counter() - quart.g.start
        )
        total.labels(request.method, status).inc()
        return response


_providers: dict[str, Any] = {}


def _opentelemetry_providers() -> dict[str, Any]:
    """Return providers that record and export in batches, to nowhere."""
    if not _providers:
        metrics = import_module("opentelemetry.sdk.metrics")
        metrics_export = import_module("opentelemetry.sdk.metrics.export")
        trace = import_module("opentelemetry.sdk.trace")
        trace_export = import_module("opentelemetry.sdk.trace.export")

        class Nowhere(trace_export.SpanExporter):  # type: ignore[misc,name-defined]
            def export(self, spans: Any) -> Any:
                return trace_export.SpanExportResult.SUCCESS

            def shutdown(self) -> None:
                """Nothing to close."""

        reader = metrics_export.InMemoryMetricReader()
        tracer_provider = trace.TracerProvider()
        tracer_provider.add_span_processor(trace_export.BatchSpanProcessor(Nowhere()))
        _providers["meter_provider"] = metrics.MeterProvider(metric_readers=[reader])
        _providers["tracer_provider"] = tracer_provider
    return _providers


_ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "localhost",
    "HTTP_USER_AGENT": "benchmark",
    "HTTP_ACCEPT": "*/*",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.input": io.BytesIO(),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


def _start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
    return None


def flask_requests(app: Any, paths: Callable[[int], list[str]]) -> Callable[[int], float]:
    """Return a function that has `app` answer requests of the next `n` paths, and times that."""

    def run(n: int) -> float:
        environs = [
            {**_ENVIRON, "PATH_INFO": path, "REQUEST_URI": path, "RAW_URI": path}
            for path in paths(n)
        ]
        start = process_time()
        for environ in environs:
            body = app(environ, _start_response)
            for _ in body:
                pass
            close = getattr(body, "close", None)
            if close is not None:
                close()
        return process_time() - start

    return run


def flask_variant(name: str, prepare: Prepare = _nothing, *, path: str = "/hello") -> Variant:
    """Return requests to an application; raises what `prepare` raises."""
    app = flask_app(prepare)
    _answer(app, path)
    return Variant(name, flask_requests(app, lambda n: [path] * n))


def scrape(app: flask.Flask, accept: str = "") -> bytes:
    """Scrape the endpoint of an application, without compression."""
    return _answer(app, "/metrics", HTTP_ACCEPT=accept)


def _answer(app: Any, path: str, **environ: str) -> bytes:
    seen: list[str] = []
    body = app({**_ENVIRON, **environ, "PATH_INFO": path}, lambda status, *_: seen.append(status))
    answer = b"".join(body)
    body.close()
    assert seen == ["200 OK"], f"{path} answers {seen}"
    return answer


def _scope(path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"user-agent", b"benchmark"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "extensions": {},
        "state": {},
    }


async def get(app: Any, path: str, *headers: tuple[bytes, bytes]) -> list[dict[str, Any]]:
    """Send one request to an ASGI application, and return its answer."""
    return await _request(app, _scope(path, *headers))


async def _request(app: Any, scope: dict[str, Any]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    requests: list[dict[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]
    answered = asyncio.get_running_loop().create_future()

    async def receive() -> dict[str, Any]:
        if requests:
            return requests.pop()
        await answered
        return {"type": "http.disconnect"}  # for which Quart 0.23 waits

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set_result(None)

    await app(scope, receive, send)
    return sent


def quart_variant(
    name: str,
    loop: asyncio.AbstractEventLoop,
    prepare: Prepare = _nothing,
    *,
    path: str = "/hello",
) -> Variant:
    """Return requests to an application in an event loop; raises what `prepare` raises."""
    app = quart_app(prepare)

    async def requests(n: int) -> float:
        scopes = [_scope(path) for _ in range(n)]
        start = process_time()
        for scope in scopes:
            await _request(app, scope)
        return process_time() - start

    def run(n: int) -> float:
        return loop.run_until_complete(requests(n))

    sent = loop.run_until_complete(get(app, path))
    assert sent[0]["status"] == 200, f"{name} answers {sent[0]['status']}"
    return Variant(name, run)
