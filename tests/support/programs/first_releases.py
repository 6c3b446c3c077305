"""The program that the exporter's first releases documented."""

# ruff: noqa: UP031

from __future__ import annotations

from typing import Any

from flask import Flask, request
from prometheus_client import CollectorRegistry


def make_app(library: Any, registry: CollectorRegistry) -> Flask:
    app = Flask(__name__)
    metrics = library.PrometheusMetrics(app, registry=registry)

    # static information as metric
    metrics.info("app_info", "Application info", version="1.0.3")

    @app.route("/")
    def main():
        return "main"

    @app.route("/skip")
    @metrics.do_not_track()
    def skip():
        return "skipped"

    # fmt: off
    @app.route('/<item_type>')
    @metrics.do_not_track()
    @metrics.counter('invocation_by_type', 'Number of invocations by type',
                     labels={'item_type': lambda: request.view_args['type']})
    def by_type(item_type):
        return item_type

    @app.route('/long-running')
    @metrics.gauge('in_progress', 'Long running requests in progress')
    def long_running():
        return 'done'

    @app.route('/status/<int:status>')
    @metrics.do_not_track()
    @metrics.summary('requests_by_status', 'Request latencies by status',
                     labels={'status': lambda r: r.status_code})
    @metrics.histogram('requests_by_status_and_path', 'Request latencies by status and path',
                       labels={'status': lambda r: r.status_code, 'path': lambda: request.path})
    def echo_status(status):
        return 'Status: %s' % status, status
    # fmt: on

    return app


REQUESTS = [
    ("GET", "/"),
    ("GET", "/"),
    ("HEAD", "/"),
    ("OPTIONS", "/"),
    ("POST", "/"),
    ("GET", "/skip"),
    ("GET", "/book"),
    ("GET", "/pen"),
    ("GET", "/long-running"),
    ("GET", "/status/200"),
    ("GET", "/status/204"),
    ("GET", "/status/404"),
    ("GET", "/no/such/page"),
    ("GET", "/static/none.css"),
    ("GET", "/metrics"),
]
