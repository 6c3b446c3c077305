"""ASGI: what servers and clients do to an application's requests and websockets.

Knows no framework. An exchange also ends if the application is cancelled, if it returns without
sending anything, or if the client leaves.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import anyio

from ...core.labels.callables import exceptions_of
from ...core.requests.connection import Connection
from ...core.requests.exchange import (
    ANSWERED,
    CLIENT_CLOSED_REQUEST,
    FAILED,
    GONE,
    Exchange,
    Outcome,
    Sizes,
)
from ...core.requests.scope import BEGUN, get_scope, is_begun, set_scope
from ...core.requests.site import Site
from ...core.requests.unseen import UnseenRequest
from .sizes import announced_size, sends_body

__all__ = [
    "ASGIApp",
    "ASGIExchange",
    "DisconnectErrors",
    "Message",
    "Receive",
    "Send",
    "header_reader",
    "instrument",
    "is_cancellation",
    "shield",
]

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Any, Receive, Send], Awaitable[None]]
DisconnectErrors = tuple[type[Exception], ...]
"""The exceptions that a framework raises when it finds that the client left."""

LABEL_GRACE = 1.0
"""How many seconds the labels of a cancelled request may take."""


def shield() -> AbstractContextManager[Any]:
    """Protect the labels of something cancelled from cancellation, for a while."""
    return anyio.move_on_after(LABEL_GRACE, shield=True)


class ASGIExchange(Exchange):
    """One HTTP request over ASGI."""

    disconnect_errors: ClassVar[DisconnectErrors] = ()
    left = False
    """Whether the client left: the server said so, or did not take a message."""
    scope: Message
    """The server's ASGI scope of the request."""

    @property
    def is_decided(self) -> bool:
        """Whether no middleware can change the status any more."""
        return self.unseen is None or bool(self.sent)

    def fail(self) -> None:
        if self.outcome(sys.exc_info()[1]) is FAILED:
            super().fail()
        else:
            self.raised = None

    def see_head(self, message: Message) -> None:
        """Note the head of the response; the server drops it if the client left."""
        if not self.left:
            self.sent = message["status"]

    def count_body(self, message: Message) -> None:
        """Count the bytes of a part of the body; the server drops what HTTP has no room for."""
        if sends_body(self.scope["method"], self.sent):
            self.send(len(message.get("body", b"")))

    def outcome(self, error: BaseException | None = None) -> Outcome:
        """Return the outcome of a request without a last byte."""
        if self.left or isinstance(error, self.disconnect_errors):
            return GONE
        cut = error is None or is_cancellation(error, self.disconnect_errors)
        return GONE if cut and self.sent else FAILED

    async def interrupt(self, error: BaseException) -> None:
        """Resolve the labels of a request without a response, while its context exists."""
        if not self.unfinished:
            return
        self.see_exception()
        if is_cancellation(error, self.disconnect_errors) and not isinstance(error, GeneratorExit):
            self.status = 0  # a label of the response may have been awaited
            with shield():
                await self.respond_async(int(self.outcome(error)))
        else:
            self.finish(self.outcome(error))  # the event loop is gone, or may not come back

    async def end(self, error: BaseException) -> None:
        """End with an exception that did not become a response."""
        if self.request is not None and not self.status and not isinstance(error, GeneratorExit):
            # Quart leaves its handler task to itself, so its labels are resolved for it.
            labels = self.respond_async(int(self.outcome(error)))
            with shield():
                await self.in_context(asyncio.ensure_future, labels)
        self.finish(self.outcome(error))


def instrument(
    site: Site,
    app: ASGIApp,
    new_exchange: Callable[[Site], ASGIExchange],
    *,
    has_middleware: bool,
) -> ASGIApp:
    """Return an application whose requests are exchanges of `site`, and its websockets connections.

    `has_middleware` tells whether anything in `app` may answer in place of the framework.

    An exchange ends with the last byte, or when the application is done: Quart returns normally,
    having sent nothing, when the client disconnects, and swallows a response timeout. Only the
    missing final message shows it.
    """

    async def instrumented_app(scope: Any, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        kind = scope["type"]
        if kind not in ("http", "websocket") or (BEGUN in scope and is_begun(site, scope)):
            await app(scope, receive, send)
            return
        if kind == "websocket":
            await _serve_websocket(site, app, scope, receive, send)
            return
        exchange = new_exchange(site)
        exchange.scope = scope
        if has_middleware:
            scope[BEGUN] = exchange
            version = scope["http_version"]
            exchange.unseen = UnseenRequest(
                scope["method"],
                scope["path"],
                scope.get("scheme", "http"),
                version,
                {"SERVER_PROTOCOL": f"HTTP/{version}"},
            )
        seen: ASGIExchange | None = exchange
        if site.needs_sizes:
            exchange.sizes = Sizes()
            receive = _count_request(exchange.sizes, scope, receive)

        async def receive_and_see() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and seen is not None:
                seen.left = True
            return message

        async def send_and_see(message: Message) -> None:
            try:
                await send(message)
            except BaseException as error:
                if seen is not None and not is_cancellation(error):
                    seen.left = True  # that is the client, not the application
                raise
            if seen is not None:
                kind = message["type"]
                if kind == "http.response.body":
                    if site.needs_sizes:
                        seen.count_body(message)
                    if not message.get("more_body"):
                        seen.finish(ANSWERED if seen.sent else seen.outcome())
                elif kind == "http.response.start":
                    seen.see_head(message)

        before = get_scope()
        set_scope(exchange)
        try:
            await app(scope, receive_and_see, send_and_see)
            if exchange.unfinished:
                exchange.finish(exchange.outcome())
        except BaseException as error:
            await exchange.end(error)
            raise
        finally:
            # The request keeps `send`. With the exchange in it that would be a cycle, which costs
            # more to collect than everything else about a request.
            seen = None
            set_scope(before)  # a token could belong to another context by now

    return instrumented_app


def header_reader(names: Sequence[str]) -> Callable[[Any], str]:
    """Return a function of a request: the first of these headers that it has, or ""."""
    ranks = {name.lower().encode(): rank for rank, name in enumerate(names)}

    def header(request: Any) -> str:
        found = [(ranks[name], value) for name, value in request.scope["headers"] if name in ranks]
        return min(found)[1].decode("latin-1") if found else ""

    return header


async def _serve_websocket(
    site: Site, app: ASGIApp, scope: Any, receive: Receive, send: Send
) -> None:
    """Begin a connection; end it with the close code of the side that closes first."""
    connection = Connection(site)

    async def receive_and_see() -> Message:
        message = await receive()
        if message["type"] == "websocket.receive":
            connection.message("received")
        elif message["type"] == "websocket.disconnect":
            connection.closed_by_client(message.get("code") or 1005)  # RFC 6455: no code was given
        return message

    async def send_and_see(message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.close" and connection.is_accepted:
            connection.closing(message.get("code") or 1000)  # a client may get it at once
        try:
            await send(message)
        except BaseException as error:
            if not is_cancellation(error):  # that is the client, not the application
                connection.finish(1006 if connection.is_accepted else CLIENT_CLOSED_REQUEST)
            raise
        if kind == "websocket.send":
            connection.message("sent")
        elif kind == "websocket.accept":
            connection.accepted()
        elif kind == "websocket.close":
            # A server answers 403 to a handshake that is closed before it is accepted.
            code = message.get("code") or 1000
            connection.finish(code if connection.is_accepted else 403)
        elif kind == "websocket.http.response.start":
            connection.finish(message["status"])

    before = get_scope()
    set_scope(connection)
    try:
        await app(scope, receive_and_see, send_and_see)
        connection.finish(1006 if connection.is_accepted else 500)  # servers answer nothing so
    except BaseException:
        connection.break_off()
        raise
    finally:
        set_scope(before)


def is_cancellation(error: BaseException, disconnect_errors: DisconnectErrors = ()) -> bool:
    """Return whether an exception is a cancellation or a disconnect error, or a group of these."""
    if isinstance(error, GeneratorExit):
        return True  # a coroutine is closed, maybe outside of any event loop
    errors = exceptions_of(error)
    if errors:
        return all(is_cancellation(one, disconnect_errors) for one in errors)
    trio: Any = sys.modules.get("trio")  # not from the event loop: a thread has none
    cancelled = (
        (asyncio.CancelledError,) if trio is None else (asyncio.CancelledError, trio.Cancelled)
    )
    return isinstance(error, (*cancelled, *disconnect_errors))


def _count_request(sizes: Sizes, scope: Any, receive: Receive) -> Receive:
    """Take the announced size of the request's body, or count its received bytes."""
    # Requests of HTTP/1 have no body unless a header announces it (RFC 9112, section 6). Test
    # clients send some without, but not with these methods.
    announces = scope["http_version"] in ("1.1", "1.0") and scope["method"] in ("GET", "HEAD")
    for name, value in scope["headers"]:
        if name == b"content-length":
            size = announced_size(value)
            if size is not None:
                sizes.request = size
                return receive
            announces = False
        elif name == b"transfer-encoding":
            announces = False
    if announces:
        return receive

    async def receive_and_count() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            sizes.request += len(message.get("body", b""))
        return message

    return receive_and_count
