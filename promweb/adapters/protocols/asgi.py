"""ASGI: what servers and clients do to an application's requests and websockets.

Knows no framework. An application that is cancelled, that returns without having sent anything,
or whose client is gone has ended an exchange all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

import anyio

from ...core.defaults.websockets import Connection
from ...core.requests.exchange import Exchange, current
from ...core.requests.site import Site
from ..shared import announced_size, sends_body

__all__ = [
    "CLIENT_CLOSED_REQUEST",
    "ASGIApp",
    "Departures",
    "Receive",
    "Send",
    "cut",
    "end",
    "escaped",
    "is_departure",
    "measured",
    "shelter",
]

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Any, Receive, Send], Awaitable[None]]
Departures = tuple[type[Exception], ...]
"""What a framework raises where it finds the client gone."""

CLIENT_CLOSED_REQUEST = 499
"""The status of a request that was cancelled before a response (nginx's number for it)."""

LABEL_GRACE = 1.0
"""Seconds that coroutine labels of a cancelled request get."""


def shelter() -> AbstractContextManager[Any]:
    """Protect from cancellation, for a while, what is awaited for something that was cancelled."""
    return anyio.move_on_after(LABEL_GRACE, shield=True)


def measured(site: Site, app: ASGIApp) -> ASGIApp:
    """Return an application whose requests are exchanges of `site`, and its websockets connections.

    An exchange ends with the last byte, or when the application is done: Quart returns normally,
    having sent nothing, when the client disconnects, and swallows a response timeout. Only the
    missing final message shows it.
    """
    clock, visit, set_visit = site.clock, current.get, current.set
    new = Exchange.__new__

    async def measured_app(scope: Any, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] != "http":
            serve = _serve_websocket if scope["type"] == "websocket" else _serve_other
            await serve(site, app, scope, receive, send)
            return
        exchange = new(Exchange)  # what `Exchange(site)` does, without the call
        exchange.site, exchange.start = site, clock()
        seen: Exchange | None = exchange
        if site.measures_sizes:
            receive = _measure_request(exchange, scope, receive)

        def send_and_see(message: Message) -> Awaitable[None]:
            """See a message; a coroutine only where one is needed, because each costs something."""
            if seen is None:
                return send(message)
            if not seen.whole:
                return _send_and_see(seen, send, message)
            kind = message["type"]
            if kind == "http.response.body":
                seen.progress = 2
                if message.get("more_body"):
                    if site.measures_body:
                        _count(seen, message)
                elif message.get("body"):
                    return _send_and_see(seen, send, message)
                elif seen.special or seen.finished:  # the last byte was sent before
                    seen.finish()
                else:  # what `finish` does then, without the call
                    seen.finished = True
                    try:
                        site.record(seen, clock() - seen.start)
                    finally:
                        if site.watches:
                            seen.leave()
            elif kind == "http.response.start":
                seen.progress = 1
                if message["status"] != seen.status:
                    return _send_and_see(seen, send, message)
            return send(message)

        before = visit()
        set_visit(exchange)
        try:
            await app(scope, receive, send_and_see)
            if not exchange.finished:
                cut(exchange)
        except BaseException as error:
            await escaped(exchange, error)
            raise
        finally:
            # The request keeps `send`. With the exchange in it that would be a cycle, which costs
            # more to collect than everything else about a request.
            seen = None
            set_visit(before)  # a token could belong to another context by now

    return measured_app


async def _send_and_see(exchange: Exchange, send: Send, message: Message) -> None:
    try:
        await send(message)
    except BaseException:  # that is the client, not the application
        cut(exchange)
        raise
    kind = message["type"]
    if kind == "http.response.body":
        if exchange.site.measures_body:
            _count(exchange, message)
        if not message.get("more_body"):
            exchange.finish()
    elif kind == "http.response.start":
        exchange.progress = 2
        if message["status"] == 500 != exchange.status:
            exchange.spoil()


def _count(exchange: Exchange, message: Message) -> None:
    """Count the bytes of a body, except those that a server drops."""
    request = exchange.request
    if request is not None and sends_body(request.method, exchange.status):
        exchange.sent(len(message.get("body", b"")))


async def escaped(exchange: Exchange, error: BaseException, departures: Departures = ()) -> None:
    """End an exchange for an exception that nobody turned into a response."""
    if not is_departure(error, departures):
        if exchange.whole and exchange.progress:  # it is sending that failed
            cut(exchange)
        elif exchange.progress == 2:
            exchange.finish(failed=True)
        else:
            exchange.crash()
    else:
        closed = isinstance(error, GeneratorExit)  # the event loop is gone: nothing can be awaited
        if exchange.request is not None and not exchange.status and not closed:
            # Quart leaves its handler task to itself, so its labels are resolved for it.
            labels = exchange.respond_async(CLIENT_CLOSED_REQUEST)
            with shelter():
                await exchange.in_context(asyncio.ensure_future, labels)
        cut(exchange)


def cut(exchange: Exchange) -> None:
    """End an exchange that gets no last message."""
    if exchange.progress == 2:
        exchange.finish()
    else:
        exchange.abandon(CLIENT_CLOSED_REQUEST)


async def _serve_other(site: Site, app: ASGIApp, scope: Any, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


async def _serve_websocket(
    site: Site, app: ASGIApp, scope: Any, receive: Receive, send: Send
) -> None:
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
        if is_departure(error):
            connection.finish(1006 if is_accepted else CLIENT_CLOSED_REQUEST)
        else:
            # What a server then sends: 1011, or 500 before the handshake is over.
            connection.finish(1011 if is_accepted else 500)
        raise
    finally:
        current.set(before)


async def end(exchange: Exchange, error: BaseException, departures: Departures) -> None:
    """End a request that gets no response, while its context is there."""
    if isinstance(error, GeneratorExit):  # the event loop is gone: nothing can be awaited
        exchange.finish(CLIENT_CLOSED_REQUEST)
    elif exchange.finished:
        return
    elif is_departure(error, departures):
        exchange.status = 0  # a label of the response may have been awaited
        with shelter():
            await exchange.respond_async(CLIENT_CLOSED_REQUEST)
        exchange.finish(CLIENT_CLOSED_REQUEST)
    else:
        exchange.finish(500, failed=True)  # the event loop may not come back


def is_departure(error: BaseException, departures: Departures = ()) -> bool:
    """Tell a cancellation or one of `departures`, also in groups of nothing else."""
    if isinstance(error, GeneratorExit):
        return True  # a coroutine is closed, maybe outside of any event loop
    errors = getattr(error, "exceptions", None)
    if errors and isinstance(errors, tuple):  # others may have such an attribute, too
        return all(is_departure(one, departures) for one in errors)
    return isinstance(error, (anyio.get_cancelled_exc_class(), *departures))


def _measure_request(exchange: Exchange, scope: Any, receive: Receive) -> Receive:
    """Take the announced size of the request's body, or count what is received of it."""
    # Requests of HTTP/1 have no body unless a header announces it (RFC 9112, section 6). Test
    # clients send some without, but not with these methods.
    announces = scope["http_version"] in ("1.1", "1.0") and scope["method"] in ("GET", "HEAD")
    for name, value in scope["headers"]:
        if name == b"content-length":
            size = announced_size(value)
            if size is not None:
                exchange.request_bytes = size
                return receive
            announces = False
        elif name == b"transfer-encoding":
            announces = False
    if announces:
        return receive

    async def receive_and_count() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            exchange.request_bytes += len(message.get("body", b""))
        return message

    return receive_and_count
