"""Quart: requests become exchanges, websockets connections, and the metrics a route.

The adapter replaces the application's methods on the object, as Quart's documentation does with
`asgi_app`. It registers only coroutine functions: Quart runs plain ones in a thread.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from operator import attrgetter
from typing import Any

import quart
import quart.ctx
import quart.wrappers

from ..core.defaults.naming import naming_of
from ..core.exposition.scrape import Scrape
from ..core.insight.process import ThreadMetrics
from ..core.metrics import MetricsBase
from ..core.mistakes import explain_app
from ..core.options import Options
from ..core.requests.connection import Connection
from ..core.requests.scope import get_scope
from ..core.requests.site import Site
from .exemptions import exempt_on_quart
from .protocols import wsgi_bridge
from .protocols.asgi import (
    ASGIApp,
    ASGIExchange,
    DisconnectErrors,
    header_reader,
    instrument,
    is_cancellation,
    shield,
)
from .protocols.worker_threads import SharedWork, in_pieces, load, pause, run
from .shared import WebMetrics, by_hand, find_exchange

__all__ = ["AsyncPrometheusMetrics"]

DISCONNECT_ERRORS: DisconnectErrors = tuple(
    filter(None, [getattr(quart.wrappers, "ClientDisconnectedError", None)])  # since Quart 0.23
)


class _Exchange(ASGIExchange):
    disconnect_errors = DISCONNECT_ERRORS


class AsyncPrometheusMetrics(WebMetrics):
    __doc__ = MetricsBase.__doc__

    _coroutines = True
    _request_class = quart.Request
    _header_reader = staticmethod(header_reader)
    _shield = staticmethod(shield)

    async def generate_metrics_async(
        self, accept_header: str | None = None, names: Iterable[str] | None = None
    ) -> tuple[str, str]:
        """Like `generate_metrics`, but in a worker thread, so that the event loop stays free.

        For example:

            text, content_type = await metrics.generate_metrics_async()
        """
        names = names if names is None or isinstance(names, str) else list(names)
        render = partial(self.generate_metrics, accept_header, names)
        return await run(render)

    def _server_app(self, endpoint: str) -> Callable[..., Any]:
        app = quart.Quart("promweb", static_folder=None)
        self.register_endpoint(endpoint, app)
        return partial(wsgi_bridge.answer, app)

    def _protected(self, view: Callable[..., Any]) -> Callable[..., Any]:
        decorated = super()._protected(exempt_on_quart(view))
        if inspect.iscoroutinefunction(decorated):
            return decorated

        @wraps(view, updated=())
        @wraps(decorated, assigned=())
        async def prometheus_metrics(**view_args: Any) -> Any:
            """Call the view, in a thread if it is a plain function, and await its result."""
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

    def middleware(self, asgi_app: ASGIApp, app: Any = None) -> ASGIApp:
        """Return an ASGI application that also records the answers of middleware in `asgi_app`.

        Middleware around the measured application may answer requests that the application never
        sees. Use this as the outermost layer, for example `application =
        metrics.middleware(guarded)`. Each request counts once, with the status that was sent; the
        group of requests that middleware answers is `<middleware>`. `app` is the application inside
        `asgi_app`, this object's unless given.

            application = metrics.middleware(guarded)
        """
        if self._disabled:
            return asgi_app
        return instrument(self._site(self._app(app)), asgi_app, _Exchange, has_middleware=True)

    def _attach(self, site: Site) -> None:
        _attach(site)

    def _look_inside(self, site: Site, checked: Options, prefix: str) -> None:
        from .insight.attaching import look_inside  # loaded only on request

        look_inside(site, checked, prefix)

    def thread_pool(self, max_workers: int | None = None) -> ThreadPoolExecutor:
        """Return threads for `loop.set_default_executor` that `threads=True` measures.

        The threads of plain views are measured without it; with it, also what `asyncio.to_thread`
        and `run_in_executor(None, ...)` run. `max_workers` is how many threads there are, as for
        any `ThreadPoolExecutor`: min(32, cores + 4) if None. Raises ValueError unless this object
        was given `threads=True`.

            loop.set_default_executor(metrics.thread_pool(20))
        """
        if not self.threads:
            raise ValueError("thread_pool() needs a metrics object that was given threads=True")
        from .insight.threads import MeasuredThreadPool

        return MeasuredThreadPool(
            ThreadMetrics(naming_of(self._options).prefix, self._options), max_workers
        )

    @staticmethod
    def _protocol(request: Any) -> str:
        protocol: str = request.http_version
        return protocol

    def _metrics_view(self) -> Callable[..., Any]:
        scrapes: SharedWork[Scrape] = SharedWork()

        async def prometheus_metrics(promweb_host: str = "") -> quart.Response:
            request = quart.request
            accept = request.headers.get("Accept")
            encoding = request.headers.get("Accept-Encoding")
            names = tuple(request.args.getlist("name[]"))
            work = partial(self._scrape, accept, encoding, names, pause)
            scrape = await scrapes.run((accept, encoding, names), work)
            body = in_pieces(scrape.body)
            return quart.Response(body, scrape.status, dict(scrape.headers))

        return prometheus_metrics

    def _dashboard_view(self) -> Callable[..., Any]:
        from ..live.files import SCRAPE, find

        find(None)  # the first file imports what reads files
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
    load()
    app = site.app
    wrapped_handle_request = app.handle_request
    wrapped_full_dispatch_request = app.full_dispatch_request
    wrapped_handle_exception = app.handle_exception
    wrapped_handle_user_exception = app.handle_user_exception
    wrapped_full_dispatch_websocket = app.full_dispatch_websocket
    proxies: Any = quart  # whose types differ from version to version
    get_request = _request_reader(proxies.request)
    # Until Quart 0.23 `request` is a property of a context, which takes two calls.
    is_property = hasattr(quart.ctx, "RequestContext")
    read_request = attrgetter("request_websocket" if is_property else "request")
    get_websocket = proxies.websocket._get_current_object

    async def handle_request(request: Any) -> Any:
        """See an exception that leaves the framework, of a teardown function for example."""
        try:
            return await wrapped_handle_request(request)
        except Exception:
            exchange = get_scope()
            if exchange is not None and exchange.site is site:
                exchange.fail()
            raise

    async def full_dispatch_request(context: Any = None) -> Any:
        """See the request, and the response as every `after_request` function left it."""
        exchange = get_scope()
        if exchange is None or exchange.site is not site or exchange.request is not None:
            with by_hand(site, _Exchange):
                return await full_dispatch_request(context)
        exchange.dispatch(get_request() if context is None else read_request(context))
        try:
            if site.awaiting:
                await site.count_in_progress(exchange)
            response = await wrapped_full_dispatch_request(context)
            if exchange.take(response):
                await exchange.resolve_async()
        except Exception:
            raise  # `handle_exception` is next
        except BaseException as error:
            await exchange.interrupt(error)
            raise
        return response

    def handle_user_exception(*args: Any) -> Awaitable[Any]:
        """See an exception before anything answers it."""
        exchange = get_scope()
        if exchange is not None:
            exchange.see_exception()
        handled: Awaitable[Any] = wrapped_handle_user_exception(*args)
        return handled

    async def handle_exception(*args: Any) -> Any:
        """See an unhandled exception: it becomes a response, or leaves the application."""
        exchange: Any = find_exchange(site, get_request)
        if exchange is None:
            return await wrapped_handle_exception(*args)
        exchange.fail()
        try:
            try:
                response = await wrapped_handle_exception(*args)
            except Exception as error:
                await exchange.respond_async(int(exchange.outcome(error)))
                raise
            if exchange.take(response):
                await exchange.resolve_async()
        except Exception:
            raise  # it leaves the framework
        except BaseException as error:
            await exchange.interrupt(error)
            raise
        return response

    async def full_dispatch_websocket(*args: Any) -> Any:
        """See the websocket before its view runs, and a cancellation of the view."""
        connection = get_scope()
        if not isinstance(connection, Connection) or connection.site is not site:
            return await wrapped_full_dispatch_websocket(*args)
        try:
            await connection.dispatch(get_websocket())
            return await wrapped_full_dispatch_websocket(*args)
        except BaseException as error:
            if is_cancellation(error):
                connection.break_off()  # Quart keeps a cancellation to itself
            raise

    has_middleware = getattr(app.asgi_app, "__self__", None) is not app
    app.asgi_app = instrument(site, app.asgi_app, _Exchange, has_middleware=has_middleware)
    app.handle_request = handle_request
    app.full_dispatch_request = full_dispatch_request
    app.handle_user_exception = handle_user_exception
    app.handle_exception = handle_exception
    app.full_dispatch_websocket = full_dispatch_websocket
    if DISCONNECT_ERRORS and hasattr(app.asgi_http_class, "handle_request"):
        _watch_sending(site)  # trio's class has only a call


def _request_reader(proxy: Any) -> Callable[[], Any]:
    """Return a function that reads the current request; it is faster than the proxy."""
    context: Any = getattr(quart.globals, "_cv_request", None)
    if context is None:  # since Quart 0.23
        return proxy._get_current_object  # type: ignore[no-any-return]
    return lambda: context.get().request


def _watch_sending(site: Site) -> None:
    """End an exchange with its request: Quart 0.23 waits for the client to leave after that."""
    connection_class: Any = site.app.asgi_http_class
    wrapped_handle_request = connection_class.handle_request

    class HTTPConnection(connection_class):  # type: ignore[misc]
        async def handle_request(self, *args: Any) -> None:
            """See a response that was cut off; only its missing final message shows that."""
            exchange: Any = get_scope()
            if exchange is None or exchange.site is not site:
                await wrapped_handle_request(self, *args)
                return
            try:
                await wrapped_handle_request(self, *args)
            except BaseException as error:
                if exchange.is_decided:
                    await exchange.end(error)  # before it comes in a group
                raise
            if exchange.is_decided:
                exchange.finish(exchange.outcome())

    site.app.asgi_http_class = HTTPConnection
