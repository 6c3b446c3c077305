"""Code that type checkers must refuse; both report a comment here that nothing needs."""

# pyright: reportUnnecessaryTypeIgnoreComment=true
from __future__ import annotations

import flask
import quart

from promweb import (
    AsyncPrometheusMetrics,
    ConnexionPrometheusMetrics,
    PrometheusMetrics,
    RequestInfo,
    RESTfulPrometheusMetrics,
)
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
PrometheusMetrics.for_app_factory(bukets=(1, 2))  # type: ignore[call-arg]
PrometheusMetrics.for_app_factory(max_series="many")  # type: ignore[arg-type]
RESTfulPrometheusMetrics(None, bukets=(1, 2))  # type: ignore[call-arg]
ConnexionPrometheusMetrics(None, bukets=(1, 2))  # type: ignore[call-arg]
PrometheusMetrics(None, in_progress="method")  # type: ignore[arg-type]
PrometheusMetrics(None, excluded_statuses=["404"])  # type: ignore[list-item]
metrics.histogram("sizes", "Sizes.", bukets=(1, 2))  # type: ignore[call-arg]
metrics.counter("calls", "Calls.", buckets=(1, 2))  # type: ignore[call-arg]
metrics.counter("calls", "Calls.", labelnames=[1])  # type: ignore[list-item]

# Instruments.
calls = metrics.counter("calls", "Calls.", labelnames=["kind"])
calls.inc("3")  # type: ignore[arg-type]
calls.inc(3, "gift")  # type: ignore[arg-type]
calls.dec()  # type: ignore[attr-defined]
calls.observe(3)  # type: ignore[attr-defined]
metrics.gauge("busy", "Busy.").set()  # type: ignore[call-arg]
metrics.histogram("rows", "Rows.").inc()  # type: ignore[attr-defined]
calls.count_exceptions("ValueError")  # type: ignore[arg-type]


@metrics.on_request  # type: ignore[type-var]
def note(status: int) -> None: ...


def keep(info: RequestInfo) -> None:
    info.status = 200  # type: ignore[misc]


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
