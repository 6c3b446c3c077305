"""WSGI: what servers and clients do to an application's requests. Knows no framework.

An exchange ends at the last byte of a streamed body, where the body raises, or at `close()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ...core.requests.exchange import FAILED, Exchange, Sizes
from ...core.requests.scope import BEGUN, get_scope, is_begun, reset_scope, set_scope
from ...core.requests.site import Site
from ...core.requests.unseen import UnseenRequest
from .sizes import announced_size, sends_body

__all__ = ["Environ", "StartResponse", "WSGIApp", "header_reader", "instrument"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]


SWITCHING_PROTOCOLS = 101
"""The status with which a websocket begins (RFC 6455, section 4.2.2)."""


class WSGIExchange(Exchange):
    """One HTTP request over WSGI."""

    announced: int | None = None
    """The announced length of a streamed body, if there was a header. A reader with that many bytes

    may neither read on nor close the body, like Flask's test client.
    """


def instrument(site: Site, app: WSGIApp, *, has_middleware: bool) -> WSGIApp:
    """Return an application whose requests are exchanges of `site`.

    `has_middleware` tells whether anything in `app` may answer in place of the framework, or change
    its answer.
    """
    if has_middleware:
        app = _witnessed(app)

    def instrumented_app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Begin an exchange; end it here unless the body is still to be produced."""
        if BEGUN in environ and is_begun(site, environ):
            return app(environ, start_response)
        exchange = WSGIExchange(site)
        if has_middleware:
            environ[BEGUN] = exchange
        if site.needs_sizes:
            exchange.sizes = Sizes()
            _count_request(exchange.sizes, environ)  # a session may read the body early
        token = set_scope(exchange)
        try:
            body = app(environ, start_response)
        except BaseException as error:
            _leave(exchange, environ, error, 0)  # a stored head that was not sent becomes a 500
            raise
        finally:
            reset_scope(token)
        response = exchange.response
        if has_middleware:
            if type(body) is not list:
                return _MiddlewareBody(exchange, body)
            parts: Any = body
        elif response is not None:
            parts = response.response
            if type(parts) is not list:
                return _follow(exchange, environ, body)
        if site.needs_sizes and (has_middleware or response is not None):
            exchange.send(_size(environ, exchange.sent or exchange.status, parts))
        exchange.finish()
        return body

    return instrumented_app


def _leave(exchange: Exchange, environ: Mapping[str, Any], error: BaseException, sent: int) -> None:
    """End an exchange whose application raises; `sent` is the status of one that fails.

    Applications raise, too, when they took over the socket for a websocket and are done with it:
    StopIteration under Gunicorn, and Engine.IO a bare ConnectionError under Werkzeug. The status is
    that of the response, or else 101, which the client got.
    """
    upgrades = "HTTP_UPGRADE" in environ
    if isinstance(error, StopIteration):
        is_taken_over = upgrades or exchange.status != 0
    else:
        is_bare = type(error) is ConnectionError and not error.args
        is_taken_over = is_bare and upgrades and "werkzeug.socket" in environ
    if is_taken_over:
        exchange.sent = exchange.sent or exchange.status or SWITCHING_PROTOCOLS
        exchange.finish()
    else:
        exchange.sent = sent
        exchange.finish(FAILED)


def header_reader(names: Sequence[str]) -> Callable[[Any], str]:
    """Return a function of a request: the first of these headers that it has, or ""."""
    variables = ["HTTP_" + name.upper().replace("-", "_") for name in names]

    def header(request: Any) -> str:
        environ: Environ = request.environ
        for variable in variables:
            value: str | None = environ.get(variable)
            if value is not None:
                return value
        return ""

    return header


def _witnessed(app: WSGIApp) -> WSGIApp:
    """Return an application that notes the status that goes out, even if middleware answers."""

    def witnessed_app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        exchange: Any = environ.get(BEGUN)
        if exchange is None or not exchange.unfinished:  # an outer layer is the witness
            return app(environ, start_response)
        exchange.unseen = UnseenRequest(
            environ["REQUEST_METHOD"],
            environ.get("PATH_INFO", ""),
            environ["wsgi.url_scheme"],
            environ.get("SERVER_PROTOCOL", "").removeprefix("HTTP/"),
            environ,
        )

        def start(status: str, headers: Any, *args: Any) -> Any:
            write = start_response(status, headers, *args)
            with suppress(ValueError):
                exchange.sent = int(status[:3])
            for name, value in headers:
                if name.lower() == "content-length":
                    exchange.announced = announced_size(value)
            return write

        return app(environ, start)

    return witnessed_app


def _follow(exchange: WSGIExchange, environ: Environ, body: Iterable[bytes]) -> Iterable[bytes]:
    """End the exchange when the body ends."""
    try:
        return _followed(exchange, environ, body)
    except Exception:
        exchange.site.problems.failed("follow the body of a response")
        exchange.finish()
        return body


def _followed(exchange: WSGIExchange, environ: Environ, body: Iterable[bytes]) -> Iterable[bytes]:
    exchange.announced = exchange.response.content_length
    file_wrapper = environ.get("wsgi.file_wrapper")
    if not (isinstance(file_wrapper, type) and isinstance(body, file_wrapper)):
        return _Body(exchange, body)
    # The server sends this file by itself, and only if it gets its own object back.
    try:
        body.close = _closing(exchange, getattr(body, "close", None))  # type: ignore[attr-defined]
    except AttributeError:
        exchange.finish()
    else:
        exchange.send(exchange.announced or 0)
    return body


def _closing(exchange: Exchange, close: Callable[[], object] | None) -> Callable[[], None]:
    def close_and_finish() -> None:
        try:
            if close is not None:
                close()
        finally:
            exchange.finish()

    return close_and_finish


class _Body:
    """A streamed body: it ends at its last byte, where it raises, or when it is closed."""

    __slots__ = ("_body", "_exchange", "_next", "_sent")

    def __init__(self, exchange: WSGIExchange, body: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._body = body
        self._next = iter(body).__next__
        self._sent = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        exchange = self._exchange
        try:
            chunk = self._next()
        except StopIteration:
            exchange.finish()
            raise
        except BaseException as error:
            environ = {} if exchange.unseen is None else exchange.unseen.environ
            _leave(exchange, environ, error, exchange.sent or exchange.status)
            raise
        exchange.send(len(chunk))
        self._sent += len(chunk)
        if exchange.announced is not None and self._sent >= exchange.announced:
            exchange.finish()
        return chunk

    def close(self) -> None:
        _closing(self._exchange, getattr(self._body, "close", None))()

    def __del__(self) -> None:
        self._exchange.finish()


class _MiddlewareBody(_Body):
    """A body from middleware; a generator may call the application when it is read."""

    __slots__ = ()

    def __next__(self) -> bytes:
        before = get_scope()
        set_scope(self._exchange)
        try:
            return super().__next__()
        finally:
            set_scope(before)


def _size(environ: Environ, status: int, body: Sequence[Any]) -> int:
    """Return the size of a body that is not streamed, in bytes; 0 if the server drops it."""
    if not sends_body(environ["REQUEST_METHOD"], status):
        return 0
    size = 0
    try:
        for part in body:
            size += len(part.encode() if isinstance(part, str) else part)
    except Exception:
        pass  # the server complains about such a part
    return size


def _count_request(sizes: Sizes, environ: Environ) -> None:
    """Take the announced size of the request's body, or count the bytes that are read."""
    announced = environ.get("CONTENT_LENGTH")
    if announced:
        size = announced_size(announced)
        if size is not None:
            sizes.request = size
            return
    elif "wsgi.input" not in environ or (
        environ["REQUEST_METHOD"] in ("GET", "HEAD")
        and environ["SERVER_PROTOCOL"] in ("HTTP/1.1", "HTTP/1.0")
        and "HTTP_TRANSFER_ENCODING" not in environ
    ):
        return  # no body, because a header would announce it (RFC 9112, section 6)
    environ["wsgi.input"] = _Input(environ["wsgi.input"], sizes)


class _Input:
    """A request's body that is counted as it is read."""

    def __init__(self, stream: Any, sizes: Sizes) -> None:
        self._stream = stream
        self._sizes = sizes

    def __getattr__(self, name: str) -> Any:
        """Count `read1`, `readinto` and `readinto1` where the server has them."""
        attribute = getattr(self._stream, name)
        if not name.startswith("read") or not callable(attribute):
            return attribute

        def read_and_count(*args: Any) -> Any:
            result = attribute(*args)
            self._sizes.request += result if isinstance(result, int) else len(result or b"")
            return result

        return read_and_count

    def _count(self, data: bytes) -> bytes:
        self._sizes.request += len(data)
        return data

    def read(self, *args: Any) -> bytes:
        return self._count(self._stream.read(*args))

    def readline(self, *args: Any) -> bytes:
        return self._count(self._stream.readline(*args))

    def readlines(self, *args: Any) -> list[bytes]:
        return list(map(self._count, self._stream.readlines(*args)))

    def __iter__(self) -> Iterator[bytes]:
        return map(self._count, self._stream)
