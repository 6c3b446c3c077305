"""Times the steps of a request's coroutine, and tells which request the running step belongs to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from time import perf_counter
from types import coroutine
from typing import Any

from ...core.requests.scope import get_scope
from ...core.requests.site import Site
from ...core.requests.steps import Block, Lane, Stepping, Steps

__all__ = ["time_requests", "timed"]

PERIOD = 10.0
"""Seconds after which the steps of a stream or a websocket are recorded, and again after that."""


@coroutine
def timed(
    scope: Stepping, function: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]
) -> Generator[Any, Any, Any]:
    """Run a coroutine function as `await` does, and time each of its steps for a scope.

    A step within a step, such as the first one of an eager task, belongs to the outer one.
    """
    steps: Any = scope.steps
    lane: Lane = steps.lane
    inner = function(*args)
    step = send = inner.send
    argument: Any = None
    due = 0.0
    while True:
        outer = lane.scope
        if outer is None:
            lane.began = perf_counter()
            lane.scope = scope
        try:
            awaited = step(argument)
        except StopIteration as end:
            return end.value
        finally:
            argument = None  # an exception would refer to this frame, and the frame to it
            if outer is None:
                lane.scope = None
                seconds = perf_counter() - lane.began
                steps.total += seconds
                if seconds > steps.longest:
                    if seconds < lane.log_from:
                        steps.longest = seconds
                    else:
                        steps.block = max(steps.block, seconds)
                        lane.ended = lane.began + seconds
                        lane.blocks.append(Block(lane.began, seconds, scope))
        if outer is None and lane.began > due:
            if due:
                scope.record_steps()
            due = lane.began + PERIOD
        try:
            argument = yield awaited
            step = send
        except GeneratorExit:
            inner.close()
            raise
        except BaseException as error:
            argument, step = error, inner.throw


def time_requests(site: Site, lane: Callable[[], Lane], *, has_sender_task: bool) -> None:
    """Time the coroutines in which Quart answers the requests and websockets of an application.

    `lane` returns that of the running event loop. `has_sender_task` tells whether the framework
    may send a response in a task of its own.
    """
    if has_sender_task:
        _time_answering_and_sending(site, lane)
    else:
        _time_connections(site, lane)
    _time_websockets(site, lane)


def _time_connections(site: Site, lane: Callable[[], Lane]) -> None:
    connection_class: Any = site.app.asgi_http_class
    wrapped_handle_request = connection_class.handle_request

    class HTTPConnection(connection_class):  # type: ignore[misc]
        async def handle_request(*args: Any) -> None:
            """Answer a request, and send the response."""
            exchange = get_scope()
            if exchange is None or exchange.site is not site:
                await wrapped_handle_request(*args)
                return
            exchange.steps = Steps(lane())
            await timed(exchange, wrapped_handle_request, args)

    site.app.asgi_http_class = HTTPConnection


def _time_answering_and_sending(site: Site, lane: Callable[[], Lane]) -> None:
    """Time both coroutines that the connection awaits. It has nothing to do for itself.

    They need not be tasks, so no coroutine has to be around the generator of each.
    """
    connection_class: Any = site.app.asgi_http_class
    wrapped_handle_request = site.app.handle_request
    wrapped_send_response = connection_class._send_response

    def handle_request(*args: Any) -> Awaitable[Any]:
        """Answer a request."""
        exchange = get_scope()
        if exchange is None or exchange.site is not site:
            answering: Awaitable[Any] = wrapped_handle_request(*args)
            return answering
        exchange.steps = Steps(lane())
        return timed(exchange, wrapped_handle_request, args)

    class HTTPConnection(connection_class):  # type: ignore[misc]
        def _send_response(*args: Any) -> Awaitable[None]:
            """Send the response."""
            exchange = get_scope()
            if exchange is None or exchange.site is not site or exchange.steps is None:
                sending: Awaitable[None] = wrapped_send_response(*args)
                return sending
            return timed(exchange, wrapped_send_response, args)

    site.app.handle_request = handle_request
    site.app.asgi_http_class = HTTPConnection


def _time_websockets(site: Site, lane: Callable[[], Lane]) -> None:
    connection_class: Any = site.app.asgi_websocket_class
    wrapped_handle_websocket = connection_class.handle_websocket

    class WebsocketConnection(connection_class):  # type: ignore[misc]
        async def handle_websocket(*args: Any) -> None:
            """Serve a websocket, and record its steps when all of them are over."""
            connection = get_scope()
            if connection is None or connection.site is not site:
                await wrapped_handle_websocket(*args)
                return
            connection.steps = Steps(lane())
            try:
                await timed(connection, wrapped_handle_websocket, args)
            finally:
                connection.record_steps()

    site.app.asgi_websocket_class = WebsocketConnection
