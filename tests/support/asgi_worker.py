"""The application of worker processes in the tests of servers: `app`, on Quart."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from quart import Quart

from promweb import AsyncPrometheusMetrics

app = Quart(__name__)
metrics = AsyncPrometheusMetrics(app, in_progress=True)


@app.after_request
async def tell_worker(response: Any) -> Any:
    response.headers["X-Worker"] = str(os.getpid())
    return response


@app.get("/")
@metrics.counter("works", "Has no labels, so that it is there before any process is forked.")
async def work() -> str:
    return "done"


@app.get("/item/<name>")
async def item(name: str) -> str:
    return name


@app.get("/hold")
async def hold() -> Any:
    """Begin to answer, and stay."""

    async def body() -> AsyncIterator[str]:
        yield "begun"
        await asyncio.sleep(60)

    return body()
