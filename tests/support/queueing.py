"""The application of the tests of queue time: `app`, on Flask or, with ASGI=1, on Quart.

Its requests write a file `begun` in the directory MARKS, and wait there for a file `go`. They
answer with the Unix time at which the server called the application.
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
        from quart import Quart, request

        from promweb import AsyncPrometheusMetrics

        app: Any = Quart(__name__)
        AsyncPrometheusMetrics(app, queue_time=True)
        asgi_app = app.asgi_app

        def call(scope: Any, *args: Any) -> Any:
            scope["called"] = time.time()
            return asgi_app(scope, *args)

        app.asgi_app = call

        @app.get("/")
        async def work() -> str:
            block()
            return str(request.scope["called"])  # type: ignore[typeddict-item]

    else:
        from flask import Flask, request

        from promweb import PrometheusMetrics

        app = Flask(__name__)
        PrometheusMetrics(app, queue_time=True)
        wsgi_app = app.wsgi_app

        def call(environ: Any, *args: Any) -> Any:
            environ["called"] = time.time()
            return wsgi_app(environ, *args)

        app.wsgi_app = call

        @app.get("/")
        def work() -> str:
            block()
            return str(request.environ["called"])

    return app


def block() -> None:
    marks = Path(os.environ["MARKS"])
    (marks / "begun").touch()
    while not (marks / "go").exists():
        time.sleep(0.01)
    time.sleep(TAKES)


app = make_app()
