"""Grouped by rule, with labels on everything and paths that are left out."""

from __future__ import annotations

from typing import Any

from flask import Flask, abort, request
from prometheus_client import CollectorRegistry


def make_app(library: Any, registry: CollectorRegistry) -> Flask:
    app = Flask(__name__)
    metrics = library.PrometheusMetrics(
        app,
        path="/internal/metrics",
        defaults_prefix="shop",
        group_by="url_rule",
        buckets=(0.1, 1, 10),
        default_labels={
            "region": "north",
            "tenant": lambda: request.headers.get("X-Tenant", "nobody"),
            "family": lambda r: f"{r.status_code // 100}xx",
        },
        excluded_paths=["/health", "/private/.*"],
        registry=registry,
    )

    @app.route("/users/<int:user>")
    @metrics.counter(
        "user_views", "Views of users", labels={"user": lambda: request.view_args["user"]}
    )
    def user(user):
        return f"user {user}" if user < 100 else abort(404)

    @app.route("/users/<int:user>/photo", methods=["GET", "PUT"])
    @metrics.histogram("photo_seconds", "Photos", labels={"kind": "jpeg"}, buckets=(1, 2))
    def photo(user):
        return b"photo", 200, {"Content-Type": "image/jpeg"}

    @app.route("/health")
    @metrics.counter("health_checks", "Health checks", labels={"kind": "simple"})
    def health():
        return "ok"

    @app.route("/healthy-food")
    def food():
        return "apple"

    @app.route("/private/<page>")
    @metrics.summary("private_pages", "Private pages")
    def private(page):
        return page

    @app.route("/folder/")
    def folder():
        return "folder"

    @app.route("/fail")
    def fail():
        raise ZeroDivisionError

    return app


METRICS = "/internal/metrics"

REQUESTS = [
    ("GET", "/users/1"),
    ("GET", "/users/2", {"headers": {"X-Tenant": "acme"}}),
    ("GET", "/users/200"),
    ("GET", "/users/1/photo"),
    ("PUT", "/users/1/photo", {"data": b"new"}),
    ("DELETE", "/users/1/photo"),
    ("GET", "/health"),
    ("GET", "/healthy-food"),
    ("GET", "/private/diary"),
    ("GET", "/fail", {"headers": {"X-Tenant": "acme"}}),
    ("GET", "/nowhere"),
    ("GET", "/folder"),
    ("GET", "/internal/metrics"),
]
