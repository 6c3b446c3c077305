"""The libraries: how each is attached to an application, and what it calls things.

The peers are imported where they are attached, because the test suite has not all of them.
"""

from __future__ import annotations

import os
from typing import Any

from promweb import AsyncPrometheusMetrics, PrometheusMetrics

from .measuring import SHARED, Peer, merged

__all__ = ["FLASK", "QUART", "flask_exporter", "flask_promweb", "quart_promweb"]


def flask_promweb(app: Any) -> Any:
    return PrometheusMetrics(app, group_by="url_rule", in_progress=True, exemplar=True)


def flask_exporter(app: Any) -> Any:
    from prometheus_flask_exporter import PrometheusMetrics as Exporter
    from prometheus_flask_exporter.multiprocess import MultiprocessInternalPrometheusMetrics

    several = SHARED in os.environ
    made = MultiprocessInternalPrometheusMetrics if several else Exporter
    return made(app, group_by="url_rule")


def _opentelemetry_meters() -> Any:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider

    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http"  # the stable conventions
    return MeterProvider(metric_readers=[PrometheusMetricReader()])


def _flask_opentelemetry(app: Any) -> None:
    from opentelemetry.instrumentation.flask import FlaskInstrumentor

    FlaskInstrumentor().instrument_app(app, meter_provider=_opentelemetry_meters())


def quart_promweb(app: Any) -> Any:
    return AsyncPrometheusMetrics(app, group_by="url_rule", in_progress=True, exemplar=True)


def _quart_starlette(app: Any) -> None:
    from starlette_exporter import PrometheusMiddleware

    def exemplar() -> dict[str, str]:
        from opentelemetry.trace import format_trace_id, get_current_span

        return {"trace_id": format_trace_id(get_current_span().get_span_context().trace_id)}

    app.asgi_app = PrometheusMiddleware(
        app.asgi_app, group_paths=False, filter_unhandled_paths=False, exemplars=exemplar
    )


def _quart_opentelemetry(app: Any) -> None:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    app.asgi_app = OpenTelemetryMiddleware(app.asgi_app, meter_provider=_opentelemetry_meters())


def _quart_aioprometheus(app: Any) -> None:
    from aioprometheus import MetricsMiddleware

    app.asgi_app = MetricsMiddleware(app.asgi_app)


def _aioprometheus_text(metrics: Any) -> str:
    from aioprometheus import REGISTRY, render

    content, _ = render(REGISTRY, ["text/plain"])
    return str(content, "utf-8")


_OPENTELEMETRY: dict[str, Any] = {
    "requests": "http_server_request_duration_seconds_count",
    "seconds": "http_server_request_duration_seconds_sum",
    "in_progress": "http_server_active_requests",
}
_PROMWEB: dict[str, Any] = {
    "requests": "flask_http_request_duration_seconds_count",
    "seconds": "flask_http_request_duration_seconds_sum",
    "in_progress": "flask_http_requests_in_progress",
    "scrape": lambda metrics: metrics.generate_metrics()[0],
}

FLASK = [
    Peer("promweb", flask_promweb, **_PROMWEB),
    Peer(
        "prometheus_flask_exporter",
        flask_exporter,
        requests="flask_http_request_duration_seconds_count",
        seconds="flask_http_request_duration_seconds_sum",
        scrape=lambda metrics: metrics.generate_metrics()[0],
    ),
    Peer("opentelemetry-instrumentation-flask", _flask_opentelemetry, **_OPENTELEMETRY),
]

QUART = [
    Peer(
        "promweb",
        quart_promweb,
        websockets="flask_websocket_connection_duration_seconds_count",
        **_PROMWEB,
    ),
    Peer(
        "starlette_exporter",
        _quart_starlette,
        requests="starlette_request_duration_seconds_count",
        seconds="starlette_request_duration_seconds_sum",
        in_progress="starlette_requests_in_progress",
        scrape=merged,
    ),
    Peer("opentelemetry-instrumentation-asgi", _quart_opentelemetry, **_OPENTELEMETRY),
    Peer(
        "aioprometheus",
        _quart_aioprometheus,
        requests="status_codes_counter_total",
        scrape=_aioprometheus_text,
    ),
]
