"""API extensions leave out the metrics and the live page: of its document, of its rate limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import apiflask
import flask
import flask_limiter
import pytest
import quart
import quart_rate_limiter
import quart_schema
from prometheus_client import CollectorRegistry

from promweb import AsyncPrometheusMetrics, PrometheusMetrics
from promweb.security import basic_auth

from .clients import send
from .programs import ORDERS, Answer, Extension, Order, Visit

PASSWORD = {"Authorization": "Basic bWU6cmlnaHQ="}

in_both_orders: Any = pytest.mark.parametrize("order", ORDERS)
protected_and_not: Any = pytest.mark.parametrize(
    "decorator", [None, basic_auth("me", "right")], ids=["open", "protected"]
)


def visit(app: Any, *paths: str) -> list[Answer]:
    extension = Extension("extension", lambda app, count: [], type(app))
    return send(extension, app, [Visit(path, headers=PASSWORD) for path in paths])


def attach(order: Order, app: Any, extend: Callable[[Any], object], decorator: Any = None) -> None:
    """Attach promweb before an extension or after it, with a live page."""
    kind: Any = PrometheusMetrics if isinstance(app, flask.Flask) else AsyncPrometheusMetrics

    def measure() -> None:
        metrics = kind(app, registry=CollectorRegistry(), metrics_decorator=decorator)
        metrics.register_dashboard("/live")

    steps = [measure, lambda: extend(app)]
    for step in steps if order == "before" else reversed(steps):
        step()


def assert_documents_neither(app: Any) -> None:
    document, scrape, live = visit(app, "/openapi.json", "/metrics", "/live")
    assert (scrape.status, live.status) == (200, 200)
    assert '"/mine"' in document.body
    assert '"/metrics"' not in document.body
    assert '"/live"' not in document.body


@protected_and_not
def test_apiflask_documents_neither(decorator: Any) -> None:
    app = apiflask.APIFlask("service")
    attach("after", app, lambda app: app.get("/mine")(lambda: "mine"), decorator)
    assert_documents_neither(app)


@protected_and_not
@in_both_orders
def test_quart_schema_documents_neither(order: Order, decorator: Any) -> None:
    app = quart.Quart("service")
    app.add_url_rule("/mine", "mine", lambda: "mine")
    attach(order, app, quart_schema.QuartSchema, decorator)
    assert_documents_neither(app)


@protected_and_not
@in_both_orders
def test_quart_rate_limiter_does_not_limit_them(order: Order, decorator: Any) -> None:
    app = quart.Quart("service")
    app.add_url_rule("/mine", "mine", lambda: "mine")
    limits = [quart_rate_limiter.RateLimit(1, timedelta(days=1))]
    attach(
        order,
        app,
        lambda app: quart_rate_limiter.RateLimiter(app, default_limits=limits),
        decorator,
    )
    paths = ["/mine", "/mine", "/metrics", "/metrics", "/live", "/live"]
    assert [answer.status for answer in visit(app, *paths)] == [200, 429, 200, 200, 200, 200]


@in_both_orders
def test_flask_limiter_is_told_with_the_decorator(order: Order) -> None:
    app = flask.Flask("service")
    app.add_url_rule("/mine", "mine", lambda: "mine")
    limiter = flask_limiter.Limiter(
        lambda: "someone", default_limits=["1 per day"], storage_uri="memory://"
    )
    attach(order, app, limiter.init_app, limiter.exempt)
    paths = ["/mine", "/mine", "/metrics", "/metrics", "/live", "/live"]
    assert [answer.status for answer in visit(app, *paths)] == [200, 429, 200, 200, 200, 200]
