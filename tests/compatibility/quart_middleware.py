"""ASGI middleware around Quart."""

from __future__ import annotations

from typing import Any

import asgi_correlation_id
import hypercorn.middleware
import quart_compress
import socketio
import starlette.middleware.gzip
from quart import Quart

from .flask_answers import GZIP_TIME
from .flask_apis import Count
from .programs import HEAR, Extensions, Visit
from .quart_apis import add_views, visits

EXTENSIONS = Extensions(Quart)


@EXTENSIONS.add("Hypercorn")
def hypercorn_middleware(app: Any, count: Count) -> list[Visit]:
    """`ProxyFixMiddleware`, and `HTTPToHTTPSRedirectMiddleware`, which redirects"""
    redirecting = hypercorn.middleware.HTTPToHTTPSRedirectMiddleware(app.asgi_app, "example.com")
    app.asgi_app = hypercorn.middleware.ProxyFixMiddleware(redirecting)
    add_views(app, count)
    secure = visits(**{"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"})
    return [
        *(visit for visit in secure if not visit.talk),
        Visit("/items/1", 307, outside=True),
        Visit("/items/1", 307, "POST", outside=True),
    ]


@EXTENSIONS.add("starlette", hides=GZIP_TIME)
def gzip(app: Any, count: Count) -> list[Visit]:
    """`GZipMiddleware`: compressed and plain answers, streams, streams that break, websockets"""
    app.asgi_app = starlette.middleware.gzip.GZipMiddleware(app.asgi_app)
    add_views(app, count)
    return [*visits(**{"Accept-Encoding": "gzip"}), *visits()]


@EXTENSIONS.add("asgi-correlation-id")
def correlation_id(app: Any, count: Count) -> list[Visit]:
    """Identifiers that the client gives, on answers of all kinds"""
    app.asgi_app = asgi_correlation_id.CorrelationIdMiddleware(app.asgi_app)
    add_views(app, count)
    return visits(**{"X-Request-ID": "6b1d1f50f2ab4f0f8b6a3f6f7a3f9e2b"})


@EXTENSIONS.add("python-socketio", hides=r'(?<="sid":")[^"]*')
def socket_io(app: Any, count: Count) -> list[Visit]:
    """Events over long polling and a websocket, other views"""
    server = socketio.AsyncServer(async_mode="asgi", ping_interval=3600)

    @server.on("echo")
    async def echo(sid: str, text: str) -> None:
        await server.emit("echo", text, to=sid)

    app.asgi_app = socketio.ASGIApp(server, app.asgi_app)
    add_views(app, count)
    path = "/socket.io/?EIO=4&transport="
    return [
        Visit(path + "polling", outside=True),
        Visit(path + "websocket", talk=[HEAR, "40", HEAR, '42["echo","x"]', HEAR], outside=True),
        Visit(path + "no", 400, outside=True),
        *visits(),
    ]


@EXTENSIONS.add("quart-compress", hides=GZIP_TIME)
def compress(app: Any, count: Count) -> list[Visit]:
    """Compressed and plain answers, streams, streams that break, exceptions, websockets"""
    quart_compress.Compress(app)
    add_views(app, count)
    accept = {"Accept-Encoding": "gzip"}
    return [
        *(visit for visit in visits(**accept) if visit.path != "/cut"),
        Visit("/cut", 500, headers=accept, raises=True),  # the whole body is read first
        *visits(),
    ]
