"""The application of the tests of queue time: `app`, on Flask or, with ASGI=1, on Quart.

Its requests write a file `begun` in the directory MARKS, and wait there for a file `go`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

TAKES = 0.1
"""Seconds that a request takes after it may go."""


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
    marks = Path(os.environ["MARKS"])
    (marks / "begun").touch()
    while not (marks / "go").exists():
        time.sleep(0.01)
    time.sleep(TAKES)


app = make_app()
