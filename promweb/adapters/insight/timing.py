"""Times the steps of a request's coroutine, and tells which request the running step belongs to."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from time import perf_counter
from types import coroutine
from typing import Any

from ...core.requests.connection import Connection
from ...core.requests.exchange import Exchange
from ...core.requests.scope import get_scope
from ...core.requests.site import Site
from ...core.requests.steps import Block, Lane, Steps

__all__ = ["time_requests", "timed"]


@coroutine
def timed(inner: Coroutine[Any, Any, Any], steps: Steps) -> Generator[Any, Any, Any]:
    """Run a coroutine as `await` does, and time each of its steps.

    A step within a step, such as the first one of an eager task, belongs to the outer one.
    """
    # Each step pays for what is looked up in the loop.
    lane, send = steps.lane, inner.send
    step: Callable[[Any], Any] = send
    argument: Any = None
    longest, due = 0.0, steps.due
    while True:
        is_outermost = lane.steps is None
        if is_outermost:
            lane.began = began = perf_counter()
            lane.steps = steps
        try:
            awaited = step(argument)
        except StopIteration as end:
            return end.value
        finally:
            argument = None  # an exception would refer to this frame, and the frame to it
            if is_outermost:
                lane.steps = None
                ended = perf_counter()
                seconds = ended - began
                steps.total += seconds
                if seconds > longest:
                    longest = seconds
                    if seconds > steps.longest:
                        steps.longest = seconds
                    if seconds >= lane.log_from:
                        lane.blocks.append(Block(began, seconds, steps.scope))
                if ended > due:
                    steps.scope.record_steps()
                    longest, due = 0.0, steps.due
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
    http_class: Any = site.app.asgi_http_class
    websocket_class: Any = site.app.asgi_websocket_class
    wrapped_handle_request = http_class.handle_request
    wrapped_send_response = http_class._send_response
    wrapped_handle_websocket = websocket_class.handle_websocket

    class HTTPConnection(http_class):  # type: ignore[misc]
        async def handle_request(self, *args: Any) -> None:
            """Answer a request."""
            exchange = get_scope()
            if not isinstance(exchange, Exchange) or exchange.site is not site:
                await wrapped_handle_request(self, *args)
                return
            steps = exchange.steps = Steps(exchange, lane())
            try:
                await timed(wrapped_handle_request(self, *args), steps)
            finally:
                if not exchange.unfinished:  # a cycle costs more to collect than all of this
                    exchange.steps = None

        if has_sender_task:

            async def _send_response(self, *args: Any) -> None:
                """Send the response; `asyncio.wait_for` does so in another task."""
                exchange = get_scope()
                if exchange is None or exchange.site is not site or exchange.steps is None:
                    await wrapped_send_response(self, *args)
                else:
                    await timed(wrapped_send_response(self, *args), exchange.steps)

    class WebsocketConnection(websocket_class):  # type: ignore[misc]
        async def handle_websocket(self, *args: Any) -> None:
            """Serve a websocket, and record its steps when all of them are over."""
            connection = get_scope()
            if not isinstance(connection, Connection) or connection.site is not site:
                await wrapped_handle_websocket(self, *args)
                return
            connection.steps = Steps(connection, lane())
            try:
                await timed(wrapped_handle_websocket(self, *args), connection.steps)
            finally:
                connection.record_steps()
                connection.steps = None

    site.app.asgi_http_class = HTTPConnection
    site.app.asgi_websocket_class = WebsocketConnection
