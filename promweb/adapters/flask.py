"""Flask: requests become exchanges, and the metrics become a route.

The adapter replaces the application's methods on the object, as Flask's documentation does with
`wsgi_app`. Each passes all its arguments on, because Flask 3.2 changes them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import flask
from werkzeug.exceptions import HTTPException

from ..core.labels.callables import exception_class
from ..core.metrics import MetricsBase
from ..core.mistakes import explain_app
from ..core.options import Options
from ..core.requests.exchange import Exchange
from ..core.requests.scope import get_scope
from ..core.requests.site import Site
from .exemptions import exempt_on_flask
from .protocols.wsgi import Environ, StartResponse, WSGIApp, header_reader, instrument
from .shared import WebMetrics, by_hand, find_exchange

__all__ = ["PrometheusMetrics"]

CONNEXION = "promweb_connexion"
"""The extension of a Flask application that is measured through its Connexion application."""


class PrometheusMetrics(WebMetrics):
    __doc__ = MetricsBase.__doc__

    _coroutines = False
    _request_class = flask.Request
    _header_reader = staticmethod(header_reader)

    def _server_app(self, endpoint: str) -> WSGIApp:
        app = flask.Flask("promweb", static_folder=None)
        self.register_endpoint(endpoint, app)
        return app

    def _protected(self, view: Callable[..., Any]) -> Callable[..., Any]:
        return super()._protected(exempt_on_flask(view))

    def _check_app(self, app: Any) -> None:
        if not isinstance(app, flask.Flask):
            raise TypeError(
                "PrometheusMetrics measures a Flask application, not "
                + explain_app(app, "Flask", "for Quart use AsyncPrometheusMetrics")
            )
        module = app.url_map.converters["int"].__module__
        if CONNEXION not in app.extensions and module.startswith("connexion.frameworks."):
            raise TypeError(
                "this is the Flask application inside of a connexion.FlaskApp, and does not see "
                "all requests; write ConnexionPrometheusMetrics(connexion_app)"
            )

    def _current_app(self) -> Any:
        if not flask.current_app:
            raise RuntimeError(
                "there is no application: this object was made without one. Pass app=..., or "
                "call this inside `with app.app_context():`"
            )
        return flask.current_app._get_current_object()  # type: ignore[attr-defined]

    def middleware(self, wsgi_app: WSGIApp, app: Any = None) -> WSGIApp:
        """Return a WSGI application that also records the answers of middleware in `wsgi_app`.

        Middleware around the measured application may answer requests that the application never
        sees. Use this as the outermost layer, for example `application =
        metrics.middleware(guarded)`. Each request counts once, with the status that was sent; the
        group of requests that middleware answers is `<middleware>`. `app` is the application inside
        `wsgi_app`, this object's unless given.

            application = metrics.middleware(guarded)
        """
        if self._disabled:
            return wsgi_app
        return instrument(self._site(self._app(app)), wsgi_app, has_middleware=True)

    def _attach(self, site: Site) -> None:
        _attach(site)

    def _look_inside(self, site: Site, checked: Options, prefix: str) -> None:
        arguments = " and ".join(f"{name}=True" for name in checked.looks_inside)
        self._catalog.problems.warn(
            f"{arguments} measures what a Quart application has, and nothing on Flask, which has "
            "no event loop. The argument may stay for when the service moves to Quart."
        )

    @staticmethod
    def _protocol(request: Any) -> str:
        protocol: str = request.environ.get("SERVER_PROTOCOL", "")
        return protocol

    def _metrics_view(self) -> Callable[..., Any]:
        def prometheus_metrics(promweb_host: str = "") -> flask.Response:
            request = flask.request
            self._see_environ(request.environ)
            scrape = self._scrape(
                request.headers.get("Accept"),
                request.headers.get("Accept-Encoding"),
                _query_values(request, "name[]"),
            )
            return flask.Response(scrape.body, scrape.status, scrape.headers)

        return prometheus_metrics

    def _dashboard_view(self) -> Callable[..., Any]:
        from ..live.files import SCRAPE, find

        scrape: Callable[[], flask.Response] = self._metrics_view()

        def prometheus_dashboard(promweb_host: str = "") -> flask.Response:
            names = _query_values(flask.request, "file")
            if names[:1] == [SCRAPE]:
                return scrape()
            file = find(names[0] if names else None)
            return flask.Response(file.body, file.status, file.headers)

        return prometheus_dashboard


def _query_values(request: flask.Request, name: str) -> list[str]:
    """Return the values of a query parameter; `request.args` raises if it is not UTF-8."""
    query = request.query_string.decode("utf-8", "replace")
    return parse_qs(query, keep_blank_values=True).get(name, [])


def _attach(site: Site) -> None:
    """Turn the lifecycle of a Flask application into exchanges of its site."""
    app = site.app
    wrapped_full_dispatch_request = app.full_dispatch_request
    wrapped_handle_exception = app.handle_exception
    wrapped_handle_user_exception = app.handle_user_exception
    get_request = flask.request._get_current_object  # type: ignore[attr-defined]
    get_context = _context_reader()

    def full_dispatch_request(context: Any = None) -> Any:
        """See the request, and the response as every `after_request` function left it.

        Flask 3.2 passes the context.
        """
        exchange = get_scope()
        if exchange is None or exchange.site is not site or exchange.request is not None:
            with by_hand(site, Exchange):
                return full_dispatch_request(context)
        exchange.dispatch((get_context() if context is None else context).request)
        try:
            if context is None:
                response = wrapped_full_dispatch_request()
            else:
                response = wrapped_full_dispatch_request(context)
        except Exception:
            raise  # `handle_exception` is next
        except BaseException:
            exchange.respond(500)  # the request context is about to go
            raise
        try:
            if exchange.take(response):
                exchange.resolve()
        except AttributeError:
            return _seen(exchange, response)
        return response

    def handle_user_exception(*args: Any) -> Any:
        """See an exception before anything answers it."""
        exchange = get_scope()
        if exchange is not None:
            exchange.see_exception()
        return wrapped_handle_user_exception(*args)

    def handle_exception(*args: Any) -> Any:
        """See an unhandled exception: it becomes a response, or leaves the application."""
        exchange = find_exchange(site, get_request)
        if exchange is None:
            return wrapped_handle_exception(*args)
        exchange.fail()
        try:
            response = wrapped_handle_exception(*args)
        except BaseException:
            exchange.respond(500)
            raise
        try:
            if exchange.take(response):
                exchange.resolve()
        except AttributeError:
            return _seen(exchange, response)
        return response

    def see_exception(sender: object, exception: BaseException, **_: Any) -> None:
        """See an exception that an extension answers itself, as Flask-RESTful does.

        Its answer decides: a 500 is a failure, the status that the program chose is not. It sends
        the signal for `abort()` too.
        """
        exchange = find_exchange(site, get_request)
        if exchange is not None:
            exchange.raised = exception_class(exception)
            exchange.signalled = not isinstance(exception, (HTTPException, *_problems()))

    has_middleware = getattr(app.wsgi_app, "__self__", None) is not app
    app.wsgi_app = instrument(site, app.wsgi_app, has_middleware=has_middleware)
    app.full_dispatch_request = full_dispatch_request
    app.handle_user_exception = handle_user_exception
    app.handle_exception = handle_exception
    flask.got_request_exception.connect(see_exception, app)
    site.receivers.append(see_exception)  # held here: in the signal it would keep the app alive


def _problems() -> tuple[type[BaseException], ...]:
    """Return the exception with which programs of Connexion 2 choose a status, if it is loaded."""
    exceptions = sys.modules.get("connexion.exceptions")
    return () if exceptions is None else (exceptions.ProblemException,)


def _context_reader() -> Callable[[], Any]:
    """Return a function that reads the request context; it is faster than the proxy."""
    try:
        return flask.globals._cv_request.get
    except AttributeError:  # Flask 3.2 passes the context
        context: Any = flask.globals.request_ctx
        return context._get_current_object  # type: ignore[no-any-return]


def _seen(exchange: Exchange, application: WSGIApp) -> WSGIApp:
    """Return a WSGI application that notes the status of another one.

    An `after_request` function may answer with any WSGI application.
    """

    def see(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, *args: Any) -> Any:
            with suppress(ValueError):
                exchange.respond(int(status[:3]))
            return start_response(status, *args)

        return application(environ, start)

    return see
