"""The application of the tests of queue time: `app`, on Flask or, with ASGI=1, on Quart."""

from __future__ import annotations

import os
import time
from typing import Any

TAKES = 0.3
"""Seconds that a request takes."""


def make_app() -> Any:
    """Return an application whose requests block whatever serves them."""
    if os.environ.get("ASGI"):
        from quart import Quart

        from promweb import AsyncPrometheusMetrics

        app: Any = Quart(__name__)
        AsyncPrometheusMetrics(app, queue_time=True)

        @app.get("/")
        async def work() -> str:
            block()
            return "done"

    else:
        from flask import Flask

        from promweb import PrometheusMetrics

        app = Flask(__name__)
        PrometheusMetrics(app, queue_time=True)

        @app.get("/")
        def work() -> str:
            block()
            return "done"

    return app


def block() -> None:
    time.sleep(TAKES)


app = make_app()
