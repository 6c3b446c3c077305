"""The application of worker processes in the tests of servers: `app`, on Flask."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from flask import Flask

module, _, name = os.environ.get("METRICS", "promweb:PrometheusMetrics").partition(":")
app = Flask(__name__)
metrics: Any = getattr(import_module(module), name)(
    app,
    in_progress=True,
    max_series=int(os.environ.get("MAX_SERIES", "1000")),
    native_histograms="NATIVE" in os.environ,
)


@app.after_request
def tell_worker(response: Any) -> Any:
    response.headers["X-Worker"] = str(os.getpid())
    return response


@app.get("/")
@metrics.counter("works", "Has no labels, so that it is there before any process is forked.")
def work() -> str:
    return "done"


@app.get("/item/<name>")
def item(name: str) -> str:
    return name


@app.get("/hold")
def hold() -> Any:
    """Begin to answer, and stay."""

    def body() -> Iterator[str]:
        yield "begun"
        time.sleep(60)

    return body()


if name.startswith("UWsgi"):
    metrics.start_http_server(int(os.environ["METRICS_PORT"]), host="127.0.0.1")

if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]), processes=4, threaded=False)
