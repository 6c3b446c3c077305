"""Quart: requests become exchanges, websockets connections, and the metrics a route.

The application's methods are replaced on the object, as Quart's documentation does with
`asgi_app`. Everything registered is a coroutine function: Quart runs plain ones in a thread.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import quart
import quart.wrappers

from ..core.defaults.websockets import Connection
from ..core.exposition import scrape as exposition
from ..core.metrics import MetricsBase
from ..core.mistakes import explain_app
from ..core.requests.exchange import current
from ..core.requests.site import Site
from .protocols import wsgi_bridge as wsgi
from .protocols.asgi import (
    CLIENT_CLOSED_REQUEST,
    Departures,
    cut,
    end,
    escaped,
    is_departure,
    measured,
    shelter,
)
from .protocols.worker_threads import SharedWork, in_pieces, pause, run
from .shared import WebMetrics, find_exchange

__all__ = ["AsyncPrometheusMetrics"]

GONE: Departures = tuple(
    filter(None, [getattr(quart.wrappers, "ClientDisconnectedError", None)])  # since Quart 0.23
)


class AsyncPrometheusMetrics(WebMetrics):
    __doc__ = MetricsBase.__doc__

    _coroutines = True
    _shelter = staticmethod(shelter)

    async def generate_metrics_async(
        self, accept_header: str | None = None, names: Iterable[str] | None = None
    ) -> tuple[str, str]:
        """Do what `generate_metrics` does in a worker thread, without holding the event loop."""
        names = None if names is None else list(names)
        render = partial(self.generate_metrics, accept_header, names)
        return await run(render)

    def _server_app(self, endpoint: str) -> Callable[..., Any]:
        app = quart.Quart("promweb", static_folder=None)
        self.register_endpoint(endpoint, app)
        return partial(wsgi.answer, app)

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
                + explain_app(app, "Quart", "for Flask use PrometheusMetrics")
            )

    def _current_app(self) -> Any:
        app: Any = quart.current_app
        if not app:
            raise RuntimeError(
                "there is no application: this object was made without one. Pass app=..., or "
                "call this inside `async with app.app_context():`"
            )
        return app._get_current_object()

    def _attach(self, site: Site) -> None:
        _attach(site)

    @staticmethod
    def _protocol(request: Any) -> str:
        protocol: str = request.http_version
        return protocol

    def _metrics_view(self) -> Callable[..., Any]:
        scrapes: SharedWork[exposition.Scrape] = SharedWork()

        async def prometheus_metrics(promweb_host: str = "") -> quart.Response:
            request = quart.request
            accept = request.headers.get("Accept")
            encoding = request.headers.get("Accept-Encoding")
            names = tuple(request.args.getlist("name[]"))
            work = partial(exposition.answer, self.registry, accept, encoding, names, breathe=pause)
            scrape = await scrapes.run((accept, encoding, names), work)
            body = in_pieces(scrape.body)
            return quart.Response(body, scrape.status, dict(scrape.headers))

        return prometheus_metrics

    def _dashboard_view(self) -> Callable[..., Any]:
        from ..live.files import SCRAPE, find

        scrape: Callable[[], Awaitable[quart.Response]] = self._metrics_view()

        async def prometheus_dashboard(promweb_host: str = "") -> quart.Response:
            name = quart.request.args.get("file")
            if name == SCRAPE:
                return await scrape()
            file = find(name)
            return quart.Response(file.body, file.status, file.headers)

        return prometheus_dashboard


def _attach(site: Site) -> None:
    """Turn the lifecycle of a Quart application into exchanges and connections of its site."""
    app = site.app
    wrapped_full_dispatch_request = app.full_dispatch_request
    wrapped_handle_exception = app.handle_exception
    wrapped_handle_user_exception = app.handle_user_exception
    wrapped_full_dispatch_websocket = app.full_dispatch_websocket
    proxies: Any = quart  # whose types differ from version to version
    get_request = proxies.request._get_current_object
    get_websocket = proxies.websocket._get_current_object
    visit, whole_body = current.get, quart.Response.data_body_class

    async def full_dispatch_request(*args: Any) -> Any:
        """See the request, and the response as every `after_request` function left it."""
        exchange: Any = visit()
        if exchange is None or exchange.site is not site or exchange.request is not None:
            return await wrapped_full_dispatch_request(*args)  # a request context made by hand
        exchange.request = args[0].request if args else get_request()
        if site.watches:
            exchange.reach()
        try:
            response = await wrapped_full_dispatch_request(*args)
            if exchange.special or not site.constant:
                await exchange.respond_async(response.status_code, response)
            else:  # what `respond_async` does then, without the coroutine
                exchange.status, exchange.response = response.status_code, response
        except Exception:
            raise  # `handle_exception` is next
        except BaseException as error:
            await end(exchange, error, GONE)
            raise
        exchange.whole = type(response.response) is whole_body
        return response

    def handle_user_exception(*args: Any) -> Awaitable[Any]:
        """See an exception before anybody answers it."""
        exchange = visit()
        if exchange is not None:
            exchange.see_exception()
        handled: Awaitable[Any] = wrapped_handle_user_exception(*args)
        return handled

    async def handle_exception(*args: Any) -> Any:
        """See an exception that nobody handled: it becomes a response, or leaves the app."""
        exchange = find_exchange(site, get_request)
        if exchange is None:
            return await wrapped_handle_exception(*args)
        if is_departure(args[-1], GONE):
            exchange.raised = None
            await exchange.respond_async(CLIENT_CLOSED_REQUEST)
        else:
            exchange.fail()
        try:
            response = await wrapped_handle_exception(*args)
            await exchange.respond_async(response.status_code, response)
        except Exception:
            await exchange.respond_async(500)
            raise
        except BaseException as error:
            await end(exchange, error, GONE)
            raise
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

    app.asgi_app = measured(site, app.asgi_app)
    app.full_dispatch_request = full_dispatch_request
    app.handle_user_exception = handle_user_exception
    app.handle_exception = handle_exception
    app.full_dispatch_websocket = full_dispatch_websocket
    if GONE and hasattr(app.asgi_http_class, "handle_request"):  # its protocol has only a call
        _watch_sending(site)


def _watch_sending(site: Site) -> None:
    """End an exchange with its request: Quart 0.23 waits for the client to leave after that."""
    connection_class: Any = site.app.asgi_http_class
    wrapped_handle_request, visit = connection_class.handle_request, current.get

    class HTTPConnection(connection_class):  # type: ignore[misc]
        async def handle_request(self, *args: Any) -> None:
            """See a response that is cut, which only the missing final message shows."""
            exchange: Any = visit()
            if exchange is None or exchange.site is not site:
                await wrapped_handle_request(self, *args)
                return
            try:
                await wrapped_handle_request(self, *args)
            except BaseException as error:
                await escaped(exchange, error, GONE)  # before it comes in a group
                raise
            if not exchange.finished:
                cut(exchange)

    site.app.asgi_http_class = HTTPConnection
