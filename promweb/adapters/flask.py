"""Flask: requests become exchanges, and the metrics become a route.

The application's methods are replaced on the object, as Flask's documentation does with
`wsgi_app`. Each passes on whatever arguments it gets, because Flask 3.2 changes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import flask
from werkzeug.exceptions import HTTPException

from ..core.exposition import scrape as exposition
from ..core.metrics import MetricsBase
from ..core.mistakes import explain_app
from ..core.requests.exchange import Exchange, current
from ..core.requests.site import Site
from .shared import WebMetrics, announced_size, find_exchange, sends_body

__all__ = ["PrometheusMetrics"]

CONNEXION = "promweb_connexion"
"""The extension that a Flask application has when the Connexion application around it is known."""

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]


class PrometheusMetrics(WebMetrics):
    __doc__ = MetricsBase.__doc__

    _coroutines = False

    def _server_app(self, endpoint: str) -> WSGIApp:
        app = flask.Flask("promweb", static_folder=None)
        self.register_endpoint(endpoint, app)
        return app

    def _check_app(self, app: Any) -> None:
        if not isinstance(app, flask.Flask):
            raise TypeError(
                "PrometheusMetrics measures a Flask application, not "
                + explain_app(app, "Flask", "for Quart use AsyncPrometheusMetrics")
            )
        converter = app.url_map.converters["int"]
        if CONNEXION not in app.extensions and converter.__module__.startswith("connexion."):
            raise TypeError(
                "this is the Flask application inside of a connexion.FlaskApp, which keeps most "
                "requests from it; write ConnexionPrometheusMetrics(connexion_app)"
            )

    def _current_app(self) -> Any:
        if not flask.current_app:
            raise RuntimeError(
                "there is no application: this object was made without one. Pass app=..., or "
                "call this inside `with app.app_context():`"
            )
        return flask.current_app._get_current_object()  # type: ignore[attr-defined]

    def _attach(self, site: Site) -> None:
        _attach(site)

    @staticmethod
    def _protocol(request: Any) -> str:
        protocol: str = request.environ.get("SERVER_PROTOCOL", "")
        return protocol

    def _metrics_view(self) -> Callable[..., Any]:
        def prometheus_metrics(promweb_host: str = "") -> flask.Response:
            request = flask.request
            self._see_environ(request.environ)
            scrape = exposition.answer(
                self.registry,
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
    """Return the values of a query parameter; `request.args` raises for what is not UTF-8."""
    query = request.query_string.decode("utf-8", "replace")
    return parse_qs(query, keep_blank_values=True).get(name, [])


def _attach(site: Site) -> None:
    """Turn the lifecycle of a Flask application into exchanges of its site.

    Closures: looking things up on an object would cost a microsecond a request.
    """
    app = site.app
    wrapped_wsgi_app: WSGIApp = app.wsgi_app
    wrapped_full_dispatch_request = app.full_dispatch_request
    wrapped_handle_exception = app.handle_exception
    wrapped_handle_user_exception = app.handle_user_exception
    visit: Callable[[], Any] = current.get
    clock, set_visit, reset_visit, new = site.clock, current.set, current.reset, Exchange.__new__
    get_request = flask.request._get_current_object  # type: ignore[attr-defined]
    get_context = _context_reader()

    def wsgi_app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Begin an exchange; end it here unless the body is still to be produced."""
        exchange = new(Exchange)  # what `Exchange(site)` does, without the call
        exchange.site, exchange.start = site, clock()
        if site.measures_sizes:
            _measure_request(exchange, environ)  # a session may read the body before the dispatch
        token = set_visit(exchange)
        try:
            body = wrapped_wsgi_app(environ, start_response)
        except BaseException:
            exchange.crash()
            raise
        finally:
            reset_visit(token)
        response = exchange.response
        if response is None or type(response.response) is list:  # and so not streamed
            if site.measures_sizes and response is not None:
                exchange.response_bytes = _size(environ, exchange.status, response.response)
            if exchange.special or exchange.finished or response is None:
                exchange.finish()
            else:  # what `finish` does then, without the call
                exchange.finished = True
                try:
                    site.record(exchange, clock() - exchange.start)
                finally:
                    if site.watches:
                        exchange.leave()
            return body
        try:
            return _stream(exchange, environ, body)
        except Exception:
            site.problems.failed("follow the body of a response")
            exchange.finish()
            return body

    def full_dispatch_request(*args: Any) -> Any:
        """See the request, and the response as every `after_request` function left it."""
        exchange = visit()
        if exchange is None or exchange.site is not site or exchange.request is not None:
            return wrapped_full_dispatch_request(*args)  # a request context made by hand
        exchange.request = (args[0] if args else get_context()).request
        if site.watches:
            exchange.reach()
        try:
            response = wrapped_full_dispatch_request(*args)
        except Exception:
            raise  # `handle_exception` is next
        except BaseException:
            exchange.respond(500)  # the request context is about to go
            raise
        try:
            status = response.status_code
        except AttributeError:  # an `after_request` function answers with another WSGI application
            return _seen(exchange, response)
        if exchange.special or not site.constant:
            exchange.respond(status, response)
        else:  # what `respond` does then, without the call
            exchange.status, exchange.response = status, response
        return response

    def handle_user_exception(*args: Any) -> Any:
        """See an exception before anybody answers it."""
        exchange = visit()
        if exchange is not None:
            exchange.see_exception()
        return wrapped_handle_user_exception(*args)

    def handle_exception(*args: Any) -> Any:
        """See an exception that nobody handled: it becomes a response, or leaves the app."""
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
            exchange.respond(response.status_code, response)
        except AttributeError:  # as above
            return _seen(exchange, response)
        return response

    def see_exception(sender: object, exception: BaseException, **_: Any) -> None:
        """See an exception that an extension answered itself, as Flask-RESTful does.

        It sends the signal for `abort()` too, which is an answer and no failure.
        """
        exchange = find_exchange(site, get_request)
        if exchange is not None and not isinstance(exception, HTTPException):
            exchange.fail()

    app.wsgi_app = wsgi_app
    app.full_dispatch_request = full_dispatch_request
    app.handle_user_exception = handle_user_exception
    app.handle_exception = handle_exception
    flask.got_request_exception.connect(see_exception, app)
    site.receivers.append(see_exception)  # the signal would keep it, and so the app, for ever


def _context_reader() -> Callable[[], Any]:
    """Return what reads the request context, without the calls of the proxy."""
    try:
        return flask.globals._cv_request.get
    except AttributeError:  # Flask 3.2 passes the context
        context: Any = flask.globals.request_ctx
        return context._get_current_object  # type: ignore[no-any-return]


def _seen(exchange: Exchange, application: WSGIApp) -> WSGIApp:
    """Have the exchange see with which status a WSGI application answers."""

    def see(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, *args: Any) -> Any:
            with suppress(ValueError):
                exchange.respond(int(status[:3]))
            return start_response(status, *args)

        return application(environ, start)

    return see


def _stream(exchange: Exchange, environ: Environ, body: Iterable[bytes]) -> Iterable[bytes]:
    """Have the exchange end when the body does."""
    file_wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(file_wrapper, type) and isinstance(body, file_wrapper):
        # The server sends this file by itself, and only if it gets its own object back.
        try:
            body.close = _closing(exchange, getattr(body, "close", None))  # type: ignore[attr-defined]
        except AttributeError:
            exchange.finish()
        else:
            exchange.response_bytes = exchange.response.content_length or 0
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


def _size(environ: Environ, status: int, body: Sequence[Any]) -> int:
    """Return the size of a body that is not streamed, in bytes; 0 where the server drops it."""
    if not sends_body(environ["REQUEST_METHOD"], status):
        return 0
    size = 0
    try:
        for part in body:
            size += len(part if type(part) is bytes else _encoded(part))
    except Exception:
        pass  # the server complains of such a part
    return size


def _encoded(part: Any) -> Any:
    return part.encode() if isinstance(part, str) else part


def _measure_request(exchange: Exchange, environ: Environ) -> None:
    """Take the announced size of the request's body, or count what is read of it."""
    announced = environ.get("CONTENT_LENGTH")
    if announced:
        size = announced_size(announced)
        if size is not None:
            exchange.request_bytes = size
            return
    elif "wsgi.input" not in environ or (
        environ["REQUEST_METHOD"] in ("GET", "HEAD")
        and environ["SERVER_PROTOCOL"] in ("HTTP/1.1", "HTTP/1.0")
        and "HTTP_TRANSFER_ENCODING" not in environ
    ):
        return  # no body, because a header would announce it (RFC 9112, section 6)
    environ["wsgi.input"] = exchange.input = _Input(environ["wsgi.input"])


class _Input:
    """A request's body that is counted as it is read."""

    def __init__(self, stream: Any) -> None:
        self.size = 0
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """Count `read1`, `readinto` and `readinto1` where the server has them."""
        attribute = getattr(self._stream, name)
        if not name.startswith("read") or not callable(attribute):
            return attribute

        def read_and_count(*args: Any) -> Any:
            result = attribute(*args)
            self.size += result if isinstance(result, int) else len(result or b"")
            return result

        return read_and_count

    def _count(self, data: bytes) -> bytes:
        self.size += len(data)
        return data

    def read(self, *args: Any) -> bytes:
        return self._count(self._stream.read(*args))

    def readline(self, *args: Any) -> bytes:
        return self._count(self._stream.readline(*args))

    def readlines(self, *args: Any) -> list[bytes]:
        return list(map(self._count, self._stream.readlines(*args)))

    def __iter__(self) -> Iterator[bytes]:
        return map(self._count, self._stream)
