"""What users write, checked by mypy: decorators keep types, arguments are what they should be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import flask
import quart
from prometheus_client import CollectorRegistry, Gauge
from typing_extensions import assert_type

from promweb import NO_PREFIX, AsyncPrometheusMetrics, PrometheusMetrics, __version__

app = flask.Flask(__name__)
metrics = PrometheusMetrics(
    app,
    path="/metrics",
    group_by="url_rule",
    buckets=(0.1, 1),
    default_labels={"service": "shop", "tenant": lambda: flask.request.headers["x-tenant"]},
    excluded_paths=["/health"],
    defaults_prefix=NO_PREFIX,
    registry=CollectorRegistry(),
    max_series=500,
    in_progress=True,
)
later = PrometheusMetrics.for_app_factory(group_by="endpoint")
assert_type(later, PrometheusMetrics)
assert_type(__version__, str)


@app.get("/")
@metrics.counter("calls", "Calls.", labels={"status": lambda response: response.status_code})
@metrics.histogram("seconds", "Seconds.", buckets=(0.1, 1))
@metrics.do_not_track()
def index(name: str = "you") -> str:
    return name


assert_type(index(name="me"), str)


@metrics.gauge("items", "Items in progress.")
def items(count: int) -> Iterator[int]:
    yield from range(count)


assert_type(items(3), Iterator[int])
assert_type(metrics.info("app_info", "About.", version="1.0"), Gauge)
assert_type(metrics.generate_metrics(None, ["app_info"]), tuple[str, str])

quart_app = quart.Quart(__name__)
async_metrics = AsyncPrometheusMetrics(quart_app)


@quart_app.get("/")
@async_metrics.summary("work", "Work.")
async def work(times: int = 1) -> str:
    return "x" * times


@async_metrics.exclude_all_metrics()
async def stream() -> AsyncIterator[bytes]:
    yield b"x"


async def use() -> None:
    assert_type(await work(times=2), str)
    assert_type(await async_metrics.generate_metrics_async(), tuple[str, str])
    async for chunk in stream():
        assert_type(chunk, bytes)
