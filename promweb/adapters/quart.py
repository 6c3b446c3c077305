"""Quart: requests become exchanges, websockets connections, and the metrics a route.

The application's methods are replaced on the object, as Quart's documentation does with
`asgi_app`. Everything registered is a coroutine function: Quart runs plain ones in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import quart

from ..core import exposition
from ..core.exchange import Exchange, current
from ..core.metrics import MetricsBase
from ..core.site import Site
from ..core.websockets import Connection
from ..server import MetricsServer, serve

__all__ = ["AsyncPrometheusMetrics"]

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CLIENT_CLOSED_REQUEST = 499
"""The status of a request that was cancelled before a response (nginx's number for it)."""

LABEL_GRACE = 1.0
"""Seconds that coroutine labels of a cancelled request get."""


class AsyncPrometheusMetrics(MetricsBase):
    __doc__ = MetricsBase.__doc__

    _coroutines = True

    async def generate_metrics_async(
        self, accept_header: str | None = None, names: Iterable[str] | None = None
    ) -> tuple[str, str]:
        """Do what `generate_metrics` does in a worker thread, without holding the event loop."""
        names = None if names is None else list(names)
        render = partial(self.generate_metrics, accept_header, names)
        return await anyio.to_thread.run_sync(render)

    def start_http_server(
        self,
        port: int,
        host: str = "0.0.0.0",
        endpoint: str = "/metrics",
        ssl: dict[str, str] | None = None,
    ) -> MetricsServer:
        """Serve the metrics from a thread and a port of their own, and nothing else there.

        `port` 0 takes a free one; the object returned has `port`, `url` and `close()`. `ssl` is a
        dictionary of two paths, `cert` and `key`. `metrics_decorator` applies here as well.
        """
        app = quart.Quart("promweb", static_folder=None)
        self.register_endpoint(endpoint, app)
        return serve(partial(_wsgi, app), port, host, endpoint, ssl)

    def _check_app(self, app: Any) -> None:
        if not isinstance(app, quart.Quart):
            raise TypeError(
                "AsyncPrometheusMetrics measures a Quart application, not "
                f"{type(app).__name__}; for Flask use PrometheusMetrics"
            )

    def _current_app(self) -> Any:
        if not quart.current_app:
            raise RuntimeError(
                "there is no application: this object was made without one. Pass app=..., or "
                "call this inside `async with app.app_context():`"
            )
        return quart.current_app._get_current_object()  # type: ignore[attr-defined]

    def _attach(self, site: Site) -> None:
        _Attachment(site)

    def _metrics_view(self) -> Callable[..., Any]:
        scrapes = _SharedWork()

        async def prometheus_metrics() -> quart.Response:
            request = quart.request
            accept = request.headers.get("Accept")
            encoding = request.headers.get("Accept-Encoding")
            names = tuple(request.args.getlist("name[]"))
            work = partial(exposition.answer, self.registry, accept, encoding, names)
            scrape = await scrapes.run((accept, encoding, names), work)
            return quart.Response(scrape.body, scrape.status, dict(scrape.headers))

        return prometheus_metrics


class _Attachment:
    """Turns the lifecycle of one Quart application into exchanges and connections of its site."""

    def __init__(self, site: Site) -> None:
        app = site.app
        self._site = site
        self._asgi_app = app.asgi_app
        self._full_dispatch_request = app.full_dispatch_request
        self._handle_exception = app.handle_exception
        self._full_dispatch_websocket = app.full_dispatch_websocket
        app.asgi_app = self.asgi_app
        app.full_dispatch_request = self.full_dispatch_request
        app.handle_exception = self.handle_exception
        app.full_dispatch_websocket = self.full_dispatch_websocket

    async def asgi_app(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._asgi_app(scope, receive, send)

    async def _http(self, scope: Any, receive: Receive, send: Send) -> None:
        """Begin an exchange; end it with the last byte, or when the application is done.

        Quart returns normally, having sent nothing, when the client disconnects, and swallows a
        response timeout: only the missing final message shows it.
        """
        exchange = Exchange(self._site, scope["method"])
        counts_body = scope["method"] != "HEAD"
        if self._site.measures_sizes:
            receive = _measure_request(exchange, scope, receive)

        async def send_and_see(message: Message) -> None:
            try:
                await send(message)
            except BaseException:
                exchange.finish(CLIENT_CLOSED_REQUEST)  # that is the client, not the application
                raise
            if message["type"] == "http.response.body":
                if counts_body:
                    exchange.sent(len(message.get("body", b"")))
                if not message.get("more_body", False):
                    exchange.finish()

        before = current.get()
        current.set(exchange)
        try:
            await self._asgi_app(scope, receive, send_and_see)
        except BaseException as error:
            if _is_cancellation(error):
                exchange.finish(CLIENT_CLOSED_REQUEST)
            else:
                exchange.finish(500, failed=True)
            raise
        finally:
            exchange.finish(CLIENT_CLOSED_REQUEST)
            current.set(before)  # a token could belong to another context by now

    async def full_dispatch_request(self, *args: Any) -> Any:
        """See the request, and the response as every `after_request` function left it."""
        exchange = self._exchange()
        if exchange is None:
            return await self._full_dispatch_request(*args)
        exchange.request = request = quart.request._get_current_object()  # type: ignore[attr-defined]
        if self._site.decorators and request.url_rule is not None:
            self._site.decorate(request.url_rule.endpoint)
        try:
            response = await self._full_dispatch_request(*args)
        except Exception:
            raise  # `handle_exception` is next
        except BaseException as error:
            await _respond_at_the_end(exchange, error)
            raise
        await exchange.respond_async(response.status_code, response)
        return response

    async def handle_exception(self, *args: Any) -> Any:
        """See an exception that nobody handled: it becomes a response, or leaves the app."""
        exchange = self._exchange()
        if exchange is None:
            return await self._handle_exception(*args)
        exchange.failed = True
        try:
            response = await self._handle_exception(*args)
        except BaseException:
            await exchange.respond_async(500)
            raise
        await exchange.respond_async(response.status_code, response)
        return response

    async def _websocket(self, scope: Any, receive: Receive, send: Send) -> None:
        """Begin a connection; end it with the close code of whoever closes first."""
        connection = Connection(self._site)
        is_accepted = False

        async def receive_and_see() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive":
                connection.message("received")
            elif message["type"] == "websocket.disconnect":
                connection.finish(message.get("code") or 1005)  # RFC 6455: no code was given
            return message

        async def send_and_see(message: Message) -> None:
            nonlocal is_accepted
            await send(message)
            kind = message["type"]
            if kind == "websocket.send":
                connection.message("sent")
            elif kind == "websocket.accept":
                is_accepted = True
                connection.accepted()
            elif kind == "websocket.close":
                # A server answers 403 to a handshake that is closed before it is accepted.
                connection.finish(message.get("code") or 1000 if is_accepted else 403)
            elif kind == "websocket.http.response.start":
                connection.finish(message["status"])

        before = current.get()
        current.set(connection)
        try:
            await self._asgi_app(scope, receive_and_see, send_and_see)
        except BaseException as error:
            if not _is_cancellation(error):
                # What a server then sends: 1011, or 500 before the handshake is over.
                connection.finish(1011 if is_accepted else 500)
            raise
        finally:
            connection.finish(1006 if is_accepted else CLIENT_CLOSED_REQUEST)
            current.set(before)

    async def full_dispatch_websocket(self, *args: Any) -> Any:
        """See the websocket before its view runs."""
        connection = current.get()
        if isinstance(connection, Connection) and connection.site is self._site:
            websocket = quart.websocket._get_current_object()  # type: ignore[attr-defined]
            await connection.match(websocket)
            if self._site.decorators and websocket.url_rule is not None:
                self._site.decorate(websocket.url_rule.endpoint)
        return await self._full_dispatch_websocket(*args)

    def _exchange(self) -> Exchange | None:
        """Return the current exchange; None in a request context that was made by hand."""
        exchange = current.get()
        return exchange if isinstance(exchange, Exchange) and exchange.site is self._site else None


class _SharedWork:
    """Runs work in a thread, once for all tasks that ask for the same at the same time."""

    def __init__(self) -> None:
        self._running: dict[object, _Running] = {}

    async def run(self, key: object, work: Callable[[], exposition.Scrape]) -> exposition.Scrape:
        key = (key, anyio.lowlevel.current_token())  # an event belongs to its event loop
        while True:
            running = self._running.get(key)
            if running is None:
                running = self._running[key] = _Running()
                try:
                    running.result = await anyio.to_thread.run_sync(work)
                    return running.result
                finally:  # a cancelled task leaves the work to whoever waits for it
                    del self._running[key]
                    running.done.set()
            await running.done.wait()
            if running.result is not None:
                return running.result


class _Running:
    """One piece of shared work."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.result: exposition.Scrape | None = None


async def _respond_at_the_end(exchange: Exchange, error: BaseException) -> None:
    """Respond for a request that ends without a response, while its context is there."""
    if not _is_cancellation(error):
        exchange.finish(500, failed=True)  # the event loop may not come back
        return
    with anyio.move_on_after(LABEL_GRACE, shield=True):
        await exchange.respond_async(CLIENT_CLOSED_REQUEST)


def _is_cancellation(error: BaseException) -> bool:
    return isinstance(error, anyio.get_cancelled_exc_class())


def _measure_request(exchange: Exchange, scope: Any, receive: Receive) -> Receive:
    """Take the announced size of the request's body, or count what is received of it."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            exchange.request_bytes = int(value)
            return receive

    async def receive_and_count() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            exchange.request_bytes += len(message.get("body", b""))
        return message

    return receive_and_count


def _wsgi(app: quart.Quart, environ: Message, start_response: Any) -> list[bytes]:
    """Answer a WSGI request with a Quart application, in an event loop of its own."""
    headers = {
        key[5:].replace("_", "-"): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    headers["Remote-Addr"] = environ["REMOTE_ADDR"]

    async def answer() -> tuple[Any, bytes]:
        path = environ["PATH_INFO"]
        if environ.get("QUERY_STRING"):
            path = f"{path}?{environ['QUERY_STRING']}"
        method, scheme = environ["REQUEST_METHOD"], environ["wsgi.url_scheme"]
        async with app.test_request_context(path, method=method, headers=headers, scheme=scheme):
            response: Any = await app.full_dispatch_request()
            return response, await response.get_data()

    response, body = asyncio.run(answer())
    start_response(response.status, list(response.headers.items()))
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]
