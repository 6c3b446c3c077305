"""Quart: requests become exchanges, websockets connections, and the metrics a route.

The application's methods are replaced on the object, as Quart's documentation does with
`asgi_app`. Everything registered is a coroutine function: Quart runs plain ones in a thread.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import quart

from ..core import exposition
from ..core.exchange import Exchange, current
from ..core.metrics import MetricsBase
from ..core.site import Site
from ..core.websockets import Connection
from .shared import WebMetrics, announced_size, find_exchange

__all__ = ["AsyncPrometheusMetrics"]

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Any, Receive, Send], Awaitable[None]]

CLIENT_CLOSED_REQUEST = 499
"""The status of a request that was cancelled before a response (nginx's number for it)."""

LABEL_GRACE = 1.0
"""Seconds that coroutine labels of a cancelled request get."""


def _shelter() -> AbstractContextManager[Any]:
    """Protect from cancellation, for a while, what is awaited for something that was cancelled."""
    return anyio.move_on_after(LABEL_GRACE, shield=True)


class AsyncPrometheusMetrics(WebMetrics):
    __doc__ = MetricsBase.__doc__

    _coroutines = True
    _shelter = staticmethod(_shelter)

    async def generate_metrics_async(
        self, accept_header: str | None = None, names: Iterable[str] | None = None
    ) -> tuple[str, str]:
        """Do what `generate_metrics` does in a worker thread, without holding the event loop."""
        names = None if names is None else list(names)
        render = partial(self.generate_metrics, accept_header, names)
        return await anyio.to_thread.run_sync(render)

    def _server_app(self, endpoint: str) -> Callable[..., Any]:
        app = quart.Quart("promweb", static_folder=None)
        self.register_endpoint(endpoint, app)
        return partial(_wsgi, app)

    def _protected(self, view: Callable[..., Any]) -> Callable[..., Any]:
        decorated = super()._protected(view)
        if inspect.iscoroutinefunction(decorated):
            return decorated

        async def prometheus_metrics(**view_args: Any) -> Any:
            """Call a plain function, which Quart does in a thread, and await what it returns."""
            result: Any = await quart.current_app.ensure_async(decorated)(**view_args)
            return await result if inspect.isawaitable(result) else result

        return prometheus_metrics

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
        _attach(site)

    def _metrics_view(self) -> Callable[..., Any]:
        scrapes = _SharedWork()

        async def prometheus_metrics(promweb_host: str = "") -> quart.Response:
            request = quart.request
            accept = request.headers.get("Accept")
            encoding = request.headers.get("Accept-Encoding")
            names = tuple(request.args.getlist("name[]"))
            work = partial(
                exposition.answer, self.registry, accept, encoding, names, breathe=_breathe
            )
            scrape = await scrapes.run((accept, encoding, names), work)
            return quart.Response(scrape.body, scrape.status, dict(scrape.headers))

        return prometheus_metrics


def _attach(site: Site) -> None:
    """Turn the lifecycle of a Quart application into exchanges and connections of its site."""
    app = site.app
    wrapped_asgi_app = app.asgi_app
    wrapped_full_dispatch_request = app.full_dispatch_request
    wrapped_handle_exception = app.handle_exception
    wrapped_full_dispatch_websocket = app.full_dispatch_websocket
    get_request = quart.request._get_current_object  # type: ignore[attr-defined]
    get_websocket = quart.websocket._get_current_object  # type: ignore[attr-defined]

    async def asgi_app(scope: Any, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        kind = scope["type"]
        if kind == "http":
            await _exchange(site, wrapped_asgi_app, scope, receive, send)
        elif kind == "websocket":
            await _connect(site, wrapped_asgi_app, scope, receive, send)
        else:
            await wrapped_asgi_app(scope, receive, send)

    async def full_dispatch_request(*args: Any) -> Any:
        """See the request, and the response as every `after_request` function left it."""
        exchange: Any = current.get()
        if exchange is None or exchange.site is not site or exchange.request is not None:
            return await wrapped_full_dispatch_request(*args)  # a request context made by hand
        exchange.request = get_request()
        if site.watches:
            exchange.reach()
        try:
            response = await wrapped_full_dispatch_request(*args)
            await exchange.respond_async(response.status_code, response)
        except Exception:
            raise  # `handle_exception` is next
        except BaseException as error:
            await _end(exchange, error)
            raise
        return response

    async def handle_exception(*args: Any) -> Any:
        """See an exception that nobody handled: it becomes a response, or leaves the app."""
        exchange = find_exchange(site, get_request)
        if exchange is None:
            return await wrapped_handle_exception(*args)
        exchange.fail()
        try:
            response = await wrapped_handle_exception(*args)
        except BaseException:
            await exchange.respond_async(500)
            raise
        await exchange.respond_async(response.status_code, response)
        return response

    async def full_dispatch_websocket(*args: Any) -> Any:
        """See the websocket before its view runs."""
        connection = current.get()
        if isinstance(connection, Connection) and connection.site is site:
            websocket = get_websocket()
            await connection.match(websocket)
            if site.decorators and websocket.url_rule is not None:
                site.decorate(websocket.url_rule.endpoint)
        return await wrapped_full_dispatch_websocket(*args)

    app.asgi_app = asgi_app
    app.full_dispatch_request = full_dispatch_request
    app.handle_exception = handle_exception
    app.full_dispatch_websocket = full_dispatch_websocket


async def _exchange(site: Site, app: ASGIApp, scope: Any, receive: Receive, send: Send) -> None:
    """Begin an exchange; end it with the last byte, or when the application is done.

    Quart returns normally, having sent nothing, when the client disconnects, and swallows a
    response timeout: only the missing final message shows it.
    """
    exchange = Exchange(site)
    counts_body = scope["method"] != "HEAD"
    is_started = False
    if site.measures_sizes:
        receive = _measure_request(exchange, scope, receive)

    async def send_and_see(message: Message) -> None:
        nonlocal is_started
        try:
            await send(message)
        except BaseException:  # that is the client, not the application
            end_for_client()
            raise
        if message["type"] == "http.response.body":
            if counts_body:
                exchange.sent(len(message.get("body", b"")))
            if not message.get("more_body", False):
                exchange.finish()
        elif message["type"] == "http.response.start":
            is_started = True
            if message["status"] == 500 != exchange.status:
                exchange.spoil()

    def end_for_client() -> None:
        if is_started:
            exchange.finish()
        else:
            exchange.abandon(CLIENT_CLOSED_REQUEST)

    before = current.get()
    current.set(exchange)
    try:
        await app(scope, receive, send_and_see)
        end_for_client()
    except BaseException as error:
        if not _is_cancellation(error):
            if is_started:
                exchange.finish(failed=True)
            else:
                exchange.crash()
        else:
            if exchange.request is not None and not exchange.status:
                # Quart leaves its handler task to itself, so its labels are resolved for it.
                labels = exchange.respond_async(CLIENT_CLOSED_REQUEST)
                with _shelter():
                    await exchange.in_context(asyncio.ensure_future, labels)
            end_for_client()
        raise
    finally:
        current.set(before)  # a token could belong to another context by now


async def _connect(site: Site, app: ASGIApp, scope: Any, receive: Receive, send: Send) -> None:
    """Begin a connection; end it with the close code of whoever closes first."""
    connection = Connection(site)
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
        try:
            await send(message)
        except BaseException:  # that is the client, not the application
            connection.finish(1006 if is_accepted else CLIENT_CLOSED_REQUEST)
            raise
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
        await app(scope, receive_and_see, send_and_see)
        connection.finish(1006 if is_accepted else 500)  # a server answers so to nothing
    except BaseException as error:
        if _is_cancellation(error):
            connection.finish(1006 if is_accepted else CLIENT_CLOSED_REQUEST)
        else:
            # What a server then sends: 1011, or 500 before the handshake is over.
            connection.finish(1011 if is_accepted else 500)
        raise
    finally:
        current.set(before)


def _breathe() -> None:
    """Let the event loop have the interpreter, for which it would else wait 5 milliseconds."""
    time.sleep(5e-5)


class _SharedWork:
    """Runs work in a thread, once for all tasks that ask for the same at the same time.

    A task that is cancelled leaves its thread behind; whoever asks meanwhile waits for that one.
    """

    def __init__(self) -> None:
        self._running: dict[object, _Running] = {}

    async def run(self, key: object, work: Callable[[], exposition.Scrape]) -> exposition.Scrape:
        """Return the result of `work`."""
        key = (key, anyio.lowlevel.current_token())  # an event belongs to its event loop
        while True:
            running = self._running.get(key)
            if running is None:
                running = self._running[key] = _Running()
                try:
                    await anyio.to_thread.run_sync(self._work, key, running, work)
                finally:
                    if not running.is_started:  # cancelled while it waited for a thread
                        self._forget(key, running)
                        running.done.set()
            else:
                await running.done.wait()
            if running.result is not None:
                return running.result

    def _work(self, key: object, running: _Running, work: Callable[[], exposition.Scrape]) -> None:
        running.is_started = True
        try:
            running.result = work()
        finally:
            self._forget(key, running)
            with suppress(RuntimeError):  # the event loop is gone
                anyio.from_thread.run_sync(running.done.set)

    def _forget(self, key: object, running: _Running) -> None:
        if self._running.get(key) is running:
            del self._running[key]


class _Running:
    """One piece of shared work."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.is_started = False
        self.result: exposition.Scrape | None = None


async def _end(exchange: Exchange, error: BaseException) -> None:
    """End a request that gets no response, while its context is there."""
    if isinstance(error, GeneratorExit):  # the event loop is gone: nothing can be awaited
        exchange.finish(CLIENT_CLOSED_REQUEST)
    elif exchange.finished:
        return
    elif _is_cancellation(error):
        exchange.status = 0  # a label of the response may have been awaited
        with _shelter():
            await exchange.respond_async(CLIENT_CLOSED_REQUEST)
        exchange.finish(CLIENT_CLOSED_REQUEST)
    else:
        exchange.finish(500, failed=True)  # the event loop may not come back


def _is_cancellation(error: BaseException) -> bool:
    """Tell a cancellation, also in the exception groups that Trio's nurseries make."""
    errors = getattr(error, "exceptions", None)
    if errors:
        return all(map(_is_cancellation, errors))
    return isinstance(error, anyio.get_cancelled_exc_class())


def _measure_request(exchange: Exchange, scope: Any, receive: Receive) -> Receive:
    """Take the announced size of the request's body, or count what is received of it."""
    for name, value in scope["headers"]:
        size = announced_size(value) if name == b"content-length" else None
        if size is not None:
            exchange.request_bytes = size
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
            data = response.get_data()  # not awaitable for Werkzeug's own error responses
            return response, await data if inspect.isawaitable(data) else data

    response, body = asyncio.run(answer())
    start_response(response.status, list(response.headers.items()))
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]
