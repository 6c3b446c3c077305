"""Runs a program with and without promweb, and compares answers and numbers."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import flask
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.exceptions import HTTPException

from promweb import AsyncPrometheusMetrics, PrometheusMetrics

from .clients import send
from .programs import Answer, Extension, Order, Visit

__all__ = ["Run", "bare", "measured"]

Numbers = dict[str, Counter[tuple[str, ...]]]

FAMILIES = {
    "requests": ("flask_http_request_total", ("method", "status")),
    "durations": (
        "flask_http_request_duration_seconds_count",
        ("method", "url_rule", "status"),
    ),
    "exceptions": ("flask_http_request_exceptions_total", ("method", "status")),
    "in progress": ("flask_http_requests_in_progress", ("method",)),
    "websockets": (
        "flask_websocket_connection_duration_seconds_count",
        ("url_rule", "close_code"),
    ),
    "own counter": ("visits_total", ("status",)),
}
"""The families that are compared, with their labels."""


@dataclass(frozen=True)
class Run:
    """One run of a program: its visits, its answers, its scrape."""

    visits: list[Visit]
    answers: list[Answer]
    expected: Numbers
    scraped: Numbers


@cache
def bare(extension: Extension) -> Run:
    """Run a program without promweb."""
    app = _application(extension)
    visits = extension.program(app, lambda view: view)
    answers = send(extension, app, visits)
    return Run(visits, [_constant(extension, answer) for answer in answers], {}, {})


@cache
def measured(extension: Extension, order: Order) -> Run:
    """Run a program with promweb, attached before or after the extension."""
    app = _application(extension)
    is_flask = isinstance(app, flask.Flask)
    metrics: Any = (PrometheusMetrics if is_flask else AsyncPrometheusMetrics).for_app_factory(
        group_by="url_rule", in_progress=True, registry=CollectorRegistry()
    )
    count = metrics.counter("visits", "Visits.", labels={"status": lambda r: r.status_code})
    if order == "before":
        metrics.init_app(app)
    visits = extension.program(app, count)
    if order == "after":
        metrics.init_app(app)
    scrape = Visit("/metrics", headers={"X-Forwarded-Proto": "https"})
    if is_flask:
        answers = send(extension, app, visits)
        [scraped] = send(extension, app, [scrape])
    else:  # within one lifespan
        *answers, scraped = send(extension, app, [*visits, scrape])
    return Run(
        visits,
        [_constant(extension, answer) for answer in answers],
        _expected(app, visits, answers, order),
        _read(scraped),
    )


def _application(extension: Extension) -> Any:
    logging.getLogger(extension.name).disabled = True  # the exceptions are meant
    app = extension.app_class(extension.name)
    app.logger.disabled = True
    app.secret_key = "secret"
    return app


_ALWAYS_DIFFERENT = frozenset({"date", "server"})


def _constant(extension: Extension, answer: Answer) -> Answer:
    """Return an answer without what differs between any two runs."""

    def hide(text: str) -> str:
        return re.sub(extension.hides, "...", text) if extension.hides else text

    ignored = _ALWAYS_DIFFERENT | extension.ignored_headers
    headers = sorted(
        (name.lower(), hide(value)) for name, value in answer.headers if name.lower() not in ignored
    )
    return Answer(answer.status, tuple(headers), hide(answer.body))


def _expected(app: Any, visits: list[Visit], answers: list[Answer], order: Order) -> Numbers:
    """Return the numbers that a scrape should show, counted from outside."""
    numbers: Numbers = {name: Counter() for name in FAMILIES}
    for visit, answer in zip(visits, answers, strict=True):
        is_websocket = bool(visit.talk) and not isinstance(app, flask.Flask)
        if visit.outside and (is_websocket or order == "before"):
            continue
        status = str(answer.status)
        group = "<middleware>" if visit.outside else _rule(app, visit)
        if is_websocket:
            numbers["websockets"][group, "1000"] += 1
            continue
        numbers["in progress"][visit.method,] = 0
        numbers["requests"][visit.method, status] += 1
        numbers["durations"][visit.method, group, status] += 1
        if visit.raises:
            numbers["exceptions"][visit.method, status] += 1
        if visit.counted:
            numbers["own counter"][status,] += 1
    return numbers


def _rule(app: Any, visit: Visit) -> str:
    """Return the rule that matches a request, as the URL map alone tells it."""
    path = visit.path.partition("?")[0]
    urls = app.url_map.bind("localhost")
    try:
        rule, _ = urls.match(path, visit.method, return_rule=True, websocket=bool(visit.talk))
    except HTTPException:
        return "<unmatched>"
    return str(rule.rule)


def _read(scrape: Answer) -> Numbers:
    """Return the numbers of a scrape."""
    assert scrape.status == 200, scrape
    numbers: Numbers = {name: Counter() for name in FAMILIES}
    samples = [
        sample
        for family in text_string_to_metric_families(scrape.body)
        for sample in family.samples
    ]
    for name, (sample_name, labels) in FAMILIES.items():
        for sample in samples:
            if sample.name == sample_name:
                numbers[name][tuple(sample.labels[label] for label in labels)] += int(sample.value)
    return numbers
