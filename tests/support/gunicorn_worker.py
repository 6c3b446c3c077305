"""A configuration file of gunicorn, as users of prometheus_flask_exporter have it."""

from __future__ import annotations

import os
from typing import Any

from promweb.multiprocess import GunicornPrometheusMetrics


def when_ready(server: Any) -> None:
    if os.environ["METRICS"].endswith(":GunicornPrometheusMetrics"):
        port = int(os.environ["METRICS_PORT"])
        GunicornPrometheusMetrics.start_http_server_when_ready(port, "127.0.0.1")


def child_exit(server: Any, worker: Any) -> None:
    GunicornPrometheusMetrics.mark_process_dead_on_child_exit(worker.pid)
