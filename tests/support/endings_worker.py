"""The applications of servers in the tests of ends: `app`, on Quart, and `trio_app`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import quart
from quart_trio import QuartTrio

from promweb import AsyncPrometheusMetrics


def make_app(kind: Any) -> Any:
    app = kind(__name__)
    AsyncPrometheusMetrics(app, in_progress=True)
    wait_at_the_end(app)

    @app.get("/stay")
    @app.get("/stay-on")
    async def stay() -> None:
        await anyio.sleep_forever()

    @app.get("/stream")
    async def stream() -> Any:
        async def body() -> AsyncIterator[str]:
            yield "first"
            await anyio.sleep_forever()

        return body(), 206

    @app.get("/cancelled")
    async def cancelled() -> None:
        await a_cancelled_task()

    @app.get("/cut")
    async def cut() -> Any:
        async def body() -> AsyncIterator[str]:
            yield "first"
            await a_cancelled_task()

        return body(), 207

    @app.websocket("/socket/stay")
    async def socket_stay() -> None:
        await quart.websocket.send("first")
        await anyio.sleep_forever()

    @app.websocket("/socket/cancelled")
    async def socket_cancelled() -> None:
        await quart.websocket.send("first")
        await a_cancelled_task()

    @app.websocket("/socket/refused")
    async def socket_refused() -> None:
        await a_cancelled_task()

    return app


def wait_at_the_end(app: Any) -> None:
    """Have a server that ends wait for the requests that it cancelled.

    Since Python 3.12 uvicorn would otherwise end its process before Quart has ended them.
    """
    inside: list[None] = []
    application = app.asgi_app

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        inside.append(None)
        try:
            await application(scope, receive, send)
        finally:
            inside.pop()

    async def wait() -> None:
        with anyio.move_on_after(5):
            while inside:
                await anyio.lowlevel.checkpoint()

    app.asgi_app = noting
    app.after_serving(wait)


async def a_cancelled_task() -> None:
    """Await a task that somebody cancelled."""
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


app = make_app(quart.Quart)
trio_app = make_app(QuartTrio)
