"""Questions about the view that answers scrapes. Each docstring is the row of the table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import flask
import prometheus_client
import quart
from werkzeug.datastructures import Headers
from werkzeug.test import Client

from tests.support.asgi import Browser

from . import peers
from .measuring import Peer, yes

__all__ = ["ENDPOINTS", "QUESTIONS"]

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def open_metrics(peer: Peer) -> str:
    """OpenMetrics if the scraper asks for it"""
    _, headers, _ = scraped(peer, Accept=OPEN_METRICS)
    return yes(headers["Content-Type"].startswith("application/openmetrics-text"))


def compression(peer: Peer) -> str:
    """Compressed if the scraper accepts gzip"""
    _, headers, _ = scraped(peer, **{"Accept-Encoding": "gzip"})
    return yes(headers.get("Content-Encoding") == "gzip")


def names(peer: Peer) -> str:
    """Only the metrics that `name[]` names"""
    _, _, body = scraped(peer, query="name[]=python_info")
    lines = body.decode().splitlines()
    return yes({line.partition("{")[0] for line in lines if line[0] != "#"} == {"python_info"})


def malformed(peer: Peer) -> str:
    """Status for a malformed `Accept` header"""
    try:
        status, _, _ = scraped(peer, Accept="text/plain;version=abc")
    except Exception as error:
        return f"raises {type(error).__name__}"
    return str(status)


def strangers(peer: Peer) -> str:
    """Status for POST"""
    status, _, _ = scraped(peer, method="POST")
    return str(status)


QUESTIONS = [open_metrics, compression, names, malformed, strangers]


def _flask(attach: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def make(_: Any) -> Any:
        app = flask.Flask("service")
        attach(app)
        return app

    return make


def _quart(attach: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def make(_: Any) -> Any:
        app = quart.Quart("service")
        attach(app)
        return app

    return make


def _aioprometheus(app: quart.Quart) -> None:
    from aioprometheus.asgi.quart import metrics

    app.add_url_rule("/metrics", view_func=metrics)


ENDPOINTS = [
    Peer("promweb", _flask(peers.flask_promweb), requests=""),
    Peer("promweb (Quart)", _quart(peers.quart_promweb), requests=""),
    Peer("prometheus_flask_exporter", _flask(peers.flask_exporter), requests=""),
    Peer("aioprometheus", _quart(_aioprometheus), requests=""),
    Peer("make_wsgi_app()", lambda _: prometheus_client.make_wsgi_app(), requests=""),
    Peer("make_asgi_app()", lambda _: prometheus_client.make_asgi_app(), requests=""),
]


def scraped(
    peer: Peer, query: str = "", method: str = "GET", **headers: str
) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of the answer to a scrape."""
    app = peer.attach(None)
    if isinstance(app, flask.Flask) or peer.name == "make_wsgi_app()":
        reply = Client(app).open("/metrics", method=method, query_string=query, headers=headers)
        return reply.status_code, reply.headers, reply.data

    async def scrape() -> Browser:
        lower = {name.lower(): value for name, value in headers.items()}
        raw = query.encode()
        browser = Browser(app, "/metrics", method, query_string=raw, headers=lower).start()
        await browser.over()
        return browser

    browser = asyncio.run(scrape())
    start = browser.sent[0]
    found = Headers([(name.decode(), value.decode()) for name, value in start["headers"]])
    return start["status"], found, browser.body
