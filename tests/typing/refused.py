"""What type checkers refuse; both report a comment here that nothing needs."""

from __future__ import annotations

import flask
import quart

from promweb import AsyncPrometheusMetrics, PrometheusMetrics
from promweb.labels import from_header
from promweb.testing import assert_metric_delta, snapshot

metrics = PrometheusMetrics(flask.Flask(__name__))
async_metrics = AsyncPrometheusMetrics(quart.Quart(__name__))

# Arguments.
PrometheusMetrics()  # type: ignore[call-arg]
PrometheusMetrics(None, prefix="shop")  # type: ignore[call-arg]
PrometheusMetrics(None, group_by=lambda: "shop")  # type: ignore[arg-type, misc]
PrometheusMetrics(None, naming="opentelemetry")  # type: ignore[arg-type]
PrometheusMetrics(None, max_series="many")  # type: ignore[arg-type]
PrometheusMetrics(None, default_labels=["service"])  # type: ignore[arg-type]
metrics.counter("calls")  # type: ignore[call-arg]
metrics.counter("calls", "Calls.", labels=["status"])  # type: ignore[arg-type]
metrics.counter("calls", "Calls.", labels={1: "one"})  # type: ignore[dict-item]
metrics.start_http_server("9100")  # type: ignore[arg-type]
metrics.start_http_server(9100, ssl=("cert.pem", "key.pem"))  # type: ignore[arg-type]

from_header("X-Client", ["app"])  # type: ignore[call-arg]

# A decorator without its parentheses, and one on what is not called.
metrics.do_not_track(lambda: "")  # type: ignore[call-arg]
metrics.counter("calls", "Calls.")("index")  # type: ignore[type-var]


@metrics.counter("views", "Views.")
def index(name: str) -> str:
    return name


@async_metrics.counter("views", "Views.")
async def async_index(name: str) -> str:
    return name


# Decorated functions are called as before.
index()  # type: ignore[call-arg]
index(name=1)  # type: ignore[arg-type]
number: int = index("me")  # type: ignore[assignment]


async def use() -> None:
    await async_index(1)  # type: ignore[arg-type]
    text: str = async_index("me")  # type: ignore[assignment]
    del text
    await metrics.generate_metrics_async()  # type: ignore[attr-defined]
    metrics.generate_metrics().upper()  # type: ignore[attr-defined]


# Tests.
assert_metric_delta(name="calls_total")  # type: ignore[call-arg]
assert_metric_delta("calls_total", 1)  # type: ignore[call-arg]
assert_metric_delta("calls_total", registry=metrics)  # type: ignore[arg-type]
snapshot(metrics)  # type: ignore[arg-type]
