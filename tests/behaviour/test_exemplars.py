"""Exemplars: OpenTelemetry's current span, or what a callable says, in OpenMetrics only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.support.legs import Leg
from tests.support.running import python

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SPAN = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
LABELS = {"trace_id": f"{0xABC:032x}", "span_id": f"{0xDEF:016x}"}


def exemplars(metrics: Any) -> dict[str, tuple[dict[str, str], float]]:
    """Return the exemplars of a scrape by the sample that has them, `le` included."""
    text, _ = metrics.generate_metrics(OPENMETRICS)
    return {
        sample.name + sample.labels.get("le", ""): (sample.exemplar.labels, sample.exemplar.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.exemplar is not None
    }


def set_up(monkeypatch: pytest.MonkeyPatch, sampler: Sampler) -> None:
    """Set up OpenTelemetry; its public API allows that only once."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(sampler=sampler))


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, ALWAYS_ON)


def in_span(leg: Leg, app: Any, span: trace.SpanContext) -> None:
    """Give every request a span, as instrumentation around the application does."""
    if leg.name.startswith("flask"):
        wsgi_app = app.wsgi_app

        def traced(*args: Any) -> Any:
            with trace.use_span(trace.NonRecordingSpan(span)):
                return wsgi_app(*args)

        app.wsgi_app = traced
    else:
        asgi_app = app.asgi_app

        async def traced_async(*args: Any) -> None:
            with trace.use_span(trace.NonRecordingSpan(span)):
                await asgi_app(*args)

        app.asgi_app = traced_async


def test_the_current_span_where_tracing_is_set_up(leg: Leg, tracing: None) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)

    def view() -> str:
        leg.clock.advance(0.3)
        return "ok"

    decorated = leg.view(view)
    decorated = metrics.counter("c", "d", labels={"s": lambda r: r.status_code})(decorated)
    decorated = metrics.histogram("h", "d", labels={"s": lambda r: r.status_code})(decorated)
    app.add_url_rule("/", "view", decorated)
    app.add_url_rule("/fail", "fail", leg.view(lambda: 1 / 0))
    in_span(leg, app, SPAN)
    leg.get(app, "/")
    leg.get(app, "/fail")
    found = exemplars(metrics)
    assert {name for name in found if "created" not in name} == {
        "c_total",
        "h_bucket0.5",
        "flask_http_request_duration_seconds_bucket0.5",
        "flask_http_request_duration_seconds_bucket0.005",
        "flask_http_request_total",
        "flask_http_request_exceptions_total",
    }
    assert all(labels == LABELS for labels, _ in found.values())
    assert found["h_bucket0.5"][1] == pytest.approx(0.3)
    assert found["flask_http_request_duration_seconds_bucket0.5"][1] == pytest.approx(0.3)
    assert found["c_total"][1] == found["flask_http_request_total"][1] == 1.0
    text, _ = metrics.generate_metrics()
    assert "trace_id" not in text


def test_a_coroutine_label_keeps_the_exemplar(leg: Leg, tracing: None) -> None:
    if leg.name.startswith("flask"):
        pytest.skip("Flask has no coroutine labels")
    app = leg.make_app()

    async def tenant() -> str:
        return "a"

    metrics = leg.make_metrics(app, default_labels={"tenant": tenant})
    app.add_url_rule(
        "/", "view", metrics.counter("c", "d", labels={"t": tenant})(leg.view(lambda: "ok"))
    )
    in_span(leg, app, SPAN)
    leg.get(app, "/")
    assert exemplars(metrics).keys() >= {"c_total", "flask_http_request_total"}


@pytest.mark.parametrize("sampled", [True, False])
def test_only_sampled_spans(leg: Leg, sampled: bool) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, exemplar=True)
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    flags = trace.TraceFlags(int(sampled))
    in_span(leg, app, trace.SpanContext(1, 2, is_remote=False, trace_flags=flags))
    leg.get(app, "/")
    assert bool(exemplars(metrics)) is sampled


def test_none_without_a_span(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, exemplar=True)
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    leg.get(app, "/")
    assert exemplars(metrics) == {}


@pytest.mark.parametrize("exemplar", [None, False])
def test_off(leg: Leg, exemplar: bool | None, request: pytest.FixtureRequest) -> None:
    """None means off without a tracer provider; False means off even with one."""
    if exemplar is False:
        request.getfixturevalue("tracing")
    app = leg.make_app()
    metrics = leg.make_metrics(app, exemplar=exemplar)
    app.add_url_rule("/", "view", metrics.counter("c", "d")(leg.view(lambda: "ok")))
    in_span(leg, app, SPAN)
    leg.get(app, "/")
    assert exemplars(metrics) == {}


def test_what_a_callable_says(leg: Leg) -> None:
    app = leg.make_app()
    request = leg.web.request
    metrics = leg.make_metrics(
        app, exemplar=lambda: {"request": request.headers["X-Request"]} if request else None
    )
    app.add_url_rule("/", "view", metrics.counter("c", "d")(leg.view(lambda: "ok")))
    job = metrics.counter("jobs", "d")(lambda: None)
    leg.get(app, "/", headers={"X-Request": "r1"})
    job()
    found = exemplars(metrics)
    assert found["c_total"] == ({"request": "r1"}, 1.0)
    assert found["flask_http_request_total"] == ({"request": "r1"}, 1.0)
    assert "jobs_total" not in found


@pytest.mark.parametrize(
    "exemplar",
    [
        lambda: {"name": "x" * 125},
        lambda: {"no-name": "x"},
        lambda: ["trace"],
        lambda: 1 / 0,
    ],
)
def test_a_callable_that_fails(
    leg: Leg, exemplar: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, exemplar=exemplar)
    app.add_url_rule("/", "view", metrics.counter("c", "d")(leg.view(lambda: "ok")))
    for _ in range(2):
        assert leg.get(app, "/").text == "ok"
    assert exemplars(metrics) == {}
    assert leg.value("c_total") == leg.value("flask_http_request_total", method="GET", status="200")
    assert [record.getMessage() for record in caplog.records if record.name == "promweb"] == [
        "promweb could not read an exemplar; the request was not affected."
    ]


def test_the_newest_stays(leg: Leg) -> None:
    app = leg.make_app()
    numbers = iter("123")
    metrics = leg.make_metrics(app, exemplar=lambda: {"n": next(numbers)})
    app.add_url_rule("/<path>", "view", leg.view(lambda path: path))
    for path in ("/a", "/b", "/a"):
        leg.get(app, path)
    found = exemplars(metrics)
    assert found["flask_http_request_total"] == ({"n": "3"}, 1.0)


@pytest.mark.parametrize(
    ("exemplar", "error", "message"),
    [
        ("trace", TypeError, "must be True, False, None or a function"),
        (lambda request: {}, ValueError, "without arguments"),
    ],
)
def test_wrong_arguments(leg: Leg, exemplar: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        leg.make_metrics(None, exemplar=exemplar)


def test_a_coroutine_function_is_refused(leg: Leg) -> None:
    async def read() -> dict[str, str]:
        return {}

    with pytest.raises(ValueError, match="plain function"):
        leg.make_metrics(None, exemplar=read)


def test_a_provider_that_samples_nothing(leg: Leg, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, ALWAYS_OFF)
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    leg.get(app, "/")
    assert exemplars(metrics) == {}


def test_without_opentelemetry() -> None:
    program = """
import sys
sys.modules["opentelemetry.trace"] = None
from flask import Flask
from promweb import PrometheusMetrics
PrometheusMetrics(Flask("a"))
try:
    PrometheusMetrics(Flask("b"), path="/other", exemplar=True)
except ImportError as error:
    print(error)
"""
    done = python(program)
    assert (done.stdout, done.stderr) == (
        "exemplar=True needs OpenTelemetry. Install it with: pip install opentelemetry-api\n",
        "",
    )
