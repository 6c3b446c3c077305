"""Flask: requests become exchanges, and the metrics become a route.

The application's methods are replaced on the object, as Flask's documentation does with
`wsgi_app`. Each passes on whatever arguments it gets, because Flask 3.2 changes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flask
from werkzeug.exceptions import HTTPException

from ..core import exposition
from ..core.exchange import Exchange, current
from ..core.metrics import MetricsBase
from ..core.site import Site
from ..server import MetricsServer, serve

__all__ = ["PrometheusMetrics"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]


class PrometheusMetrics(MetricsBase):
    __doc__ = MetricsBase.__doc__

    _coroutines = False

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
        app = flask.Flask("promweb", static_folder=None)
        self.register_endpoint(endpoint, app)
        return serve(app, port, host, endpoint, ssl)

    def _check_app(self, app: Any) -> None:
        if not isinstance(app, flask.Flask):
            raise TypeError(
                f"PrometheusMetrics measures a Flask application, not {type(app).__name__}; "
                "for Quart use AsyncPrometheusMetrics"
            )

    def _current_app(self) -> Any:
        if not flask.current_app:
            raise RuntimeError(
                "there is no application: this object was made without one. Pass app=..., or "
                "call this inside `with app.app_context():`"
            )
        return flask.current_app._get_current_object()  # type: ignore[attr-defined]

    def _attach(self, site: Site) -> None:
        _Attachment(site)

    def _metrics_view(self) -> Callable[..., Any]:
        def prometheus_metrics() -> flask.Response:
            request = flask.request
            scrape = exposition.answer(
                self.registry,
                request.headers.get("Accept"),
                request.headers.get("Accept-Encoding"),
                request.args.getlist("name[]"),
            )
            return flask.Response(scrape.body, scrape.status, scrape.headers)

        return prometheus_metrics


class _Attachment:
    """Turns the lifecycle of one Flask application into exchanges of its site."""

    def __init__(self, site: Site) -> None:
        app = site.app
        self._site = site
        self._wsgi_app: WSGIApp = app.wsgi_app
        self._full_dispatch_request = app.full_dispatch_request
        self._handle_exception = app.handle_exception
        app.wsgi_app = self.wsgi_app
        app.full_dispatch_request = self.full_dispatch_request
        app.handle_exception = self.handle_exception
        # Flask holds receivers weakly; the application's methods above keep this one.
        flask.got_request_exception.connect(self.got_request_exception, app)

    def wsgi_app(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Begin an exchange; end it here unless the body is still to be produced."""
        exchange = Exchange(self._site, environ["REQUEST_METHOD"])
        if self._site.measures_sizes:
            _measure_request(exchange, environ)
        token = current.set(exchange)
        try:
            body = self._wsgi_app(environ, start_response)
        except BaseException:
            exchange.finish(500, failed=True)
            raise
        finally:
            current.reset(token)
        response = exchange.response
        if response is None or response.is_sequence:
            if self._site.measures_sizes and _has_body(environ, response):
                exchange.response_bytes = response.calculate_content_length() or 0
            exchange.finish()
            return body
        return _stream(exchange, environ, body)

    def full_dispatch_request(self, *args: Any) -> Any:
        """See the request, and the response as every `after_request` function left it."""
        exchange = self._exchange()
        if exchange is None:
            return self._full_dispatch_request(*args)
        exchange.request = request = flask.request._get_current_object()  # type: ignore[attr-defined]
        if self._site.decorators and request.url_rule is not None:
            self._site.decorate(request.url_rule.endpoint)
        try:
            response = self._full_dispatch_request(*args)
        except Exception:
            raise  # `handle_exception` is next
        except BaseException:
            exchange.respond(500)  # the request context is about to go
            raise
        exchange.respond(response.status_code, response)
        return response

    def handle_exception(self, *args: Any) -> Any:
        """See an exception that nobody handled: it becomes a response, or leaves the app."""
        exchange = self._exchange()
        if exchange is None:
            return self._handle_exception(*args)
        exchange.failed = True
        try:
            response = self._handle_exception(*args)
        except BaseException:
            exchange.respond(500)
            raise
        exchange.respond(response.status_code, response)
        return response

    def got_request_exception(self, sender: object, exception: BaseException, **_: Any) -> None:
        """See an exception that an extension answered itself, as Flask-RESTful does.

        It sends the signal for `abort()` too, which is an answer and no failure.
        """
        exchange = self._exchange()
        if exchange is not None and not isinstance(exception, HTTPException):
            exchange.failed = True

    def _exchange(self) -> Exchange | None:
        """Return the current exchange; None in a request context that was made by hand."""
        exchange = current.get()
        return exchange if isinstance(exchange, Exchange) and exchange.site is self._site else None


def _stream(exchange: Exchange, environ: Environ, body: Iterable[bytes]) -> Iterable[bytes]:
    """Have the exchange end when the body does."""
    file_wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(file_wrapper, type) and isinstance(body, file_wrapper):
        # The server sends this file by itself, and only if it gets its own object back.
        try:
            body.close = _closing(exchange, getattr(body, "close", None))  # type: ignore[attr-defined]
        except AttributeError:
            exchange.finish()
        return body
    return _Body(exchange, body, exchange.response.content_length)


def _closing(exchange: Exchange, close: Callable[[], object] | None) -> Callable[[], None]:
    def close_and_finish() -> None:
        try:
            if close is not None:
                close()
        finally:
            exchange.finish()

    return close_and_finish


class _Body:
    """A streamed body: the exchange ends at its last byte, where it raises, or when it is closed.

    `length` tells the last byte where the response announced it: whoever has that many need
    neither ask for more nor close (Flask's test client does neither).
    """

    __slots__ = ("_body", "_exchange", "_left", "_next")

    def __init__(self, exchange: Exchange, body: Iterable[bytes], length: int | None) -> None:
        self._exchange = exchange
        self._body = body
        self._next = iter(body).__next__
        self._left = float("inf") if length is None else length

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        exchange = self._exchange
        try:
            chunk = self._next()
        except StopIteration:
            exchange.finish()
            raise
        except BaseException:
            exchange.finish(failed=True)
            raise
        exchange.sent(len(chunk))
        self._left -= len(chunk)
        if self._left <= 0:
            exchange.finish()
        return chunk

    def close(self) -> None:
        _closing(self._exchange, getattr(self._body, "close", None))()

    def __del__(self) -> None:
        self._exchange.finish()


def _has_body(environ: Environ, response: flask.Response | None) -> bool:
    return (
        response is not None
        and environ["REQUEST_METHOD"] != "HEAD"
        and response.status_code >= 200
        and response.status_code not in (204, 304)
    )


def _measure_request(exchange: Exchange, environ: Environ) -> None:
    """Take the announced size of the request's body, or count what is read of it."""
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isdecimal():
        exchange.request_bytes = int(length)
    elif "wsgi.input" in environ:
        environ["wsgi.input"] = _Input(exchange, environ["wsgi.input"])


class _Input:
    """A request's body that is counted as it is read."""

    def __init__(self, exchange: Exchange, stream: Any) -> None:
        self._exchange = exchange
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _count(self, data: bytes) -> bytes:
        self._exchange.request_bytes += len(data)
        return data

    def read(self, *args: Any) -> bytes:
        return self._count(self._stream.read(*args))

    def readline(self, *args: Any) -> bytes:
        return self._count(self._stream.readline(*args))

    def readlines(self, *args: Any) -> list[bytes]:
        return list(map(self._count, self._stream.readlines(*args)))

    def __iter__(self) -> Iterator[bytes]:
        return map(self._count, self._stream)
