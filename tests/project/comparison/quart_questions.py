"""Questions about a library on Quart. Each docstring is the row of the table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import quart

from tests.support.asgi import Browser, Socket

from .measuring import NO_DECORATOR, SLOW, Measured, Numbers, Peer, span, yes

__all__ = ["QUESTIONS"]

MANY = 50


def routes(peer: Peer) -> str:
    """Two routes are two series"""
    return yes(len(visited(peer, "/items/1", "/tea").of(peer.requests)) == 2)


def items(peer: Peer) -> str:
    """Series of two items of one route"""
    return str(len(visited(peer, "/items/1", "/items/2").of(peer.requests)))


def invented_paths(peer: Peer) -> str:
    """Series of 50 paths that do not exist"""
    numbers = visited(peer, *(f"/no/{number}" for number in range(MANY)))
    return str(len(numbers.of(peer.requests)))


def invented_methods(peer: Peer) -> str:
    """Series of 50 methods that HTTP does not have"""
    service = Service(peer)

    async def visit() -> None:
        for number in range(MANY):
            await service.get("/items/1", method=f"GET{number}")

    asyncio.run(visit())
    return str(len(service.numbers().of(peer.requests)))


def durations(peer: Peer) -> str:
    """Durations are measured"""
    return yes(visited(peer, "/items/1").sum(peer.seconds) > 0)


def streams(peer: Peer) -> str:
    """A stream is timed to its end"""
    return yes(visited(peer, "/stream").sum(peer.seconds) >= SLOW)


def broken_streams(peer: Peer) -> str:
    """A stream that breaks can be told from one that ends"""
    service = Service(peer)
    asyncio.run(service.get("/stream"))
    ended = service.numbers().counts()
    asyncio.run(service.get("/stream", query_string=b"broken"))
    return yes(service.numbers().counts() != ended)


def exceptions(peer: Peer) -> str:
    """An exception in a view counts once, with the status 500"""
    return yes(visited(peer, "/broken").of_status(peer, "500") == 1)


def early_leavers(peer: Peer) -> str:
    """Status of a request whose client leaves before there is a response"""
    service = Service(peer)
    asyncio.run(service.leave("/slow"))
    found = service.numbers().of(peer.requests)
    return ", ".join(status_of(labels) for labels, _ in found) or "is not counted"


def late_leavers(peer: Peer) -> str:
    """Status of a request whose client leaves during a stream"""
    service = Service(peer)
    asyncio.run(service.leave("/endless"))
    found = service.numbers().of(peer.requests)
    return ", ".join(status_of(labels) for labels, _ in found) or "is not counted"


def in_progress(peer: Peer) -> str:
    """Requests in progress after an exception, a broken stream, and clients that left"""
    service = Service(peer)

    async def visit() -> None:
        await service.get("/broken")
        await service.get("/stream", query_string=b"broken")
        await service.leave("/slow")
        await service.leave("/endless")

    asyncio.run(visit())
    return service.numbers().gauge(peer.in_progress)


def websockets(peer: Peer) -> str:
    """Websockets are timed, by route"""
    service = Service(peer)
    asyncio.run(service.talk())
    found = service.numbers().of(peer.websockets)
    return yes(any("/chat" in labels.values() for labels, _ in found))


def messages(peer: Peer) -> str:
    """Messages of websockets are counted"""
    service = Service(peer)
    asyncio.run(service.talk())
    return yes(service.numbers().sum("flask_websocket_messages_total") == 2)


def own_metrics(peer: Peer) -> str:
    """A decorator of a coroutine function counts the status that an error handler gives"""
    service = Service(peer)
    if service.metrics is None:
        return NO_DECORATOR

    @service.app.get("/own")
    @service.metrics.counter("own", "Own.", labels={"status": lambda r: r.status_code})
    async def own() -> str:
        raise LookupError

    asyncio.run(service.get("/own"))
    return yes(service.numbers().sum("own_total", status="404") == 1)


def workers(peer: Peer) -> str:
    """Requests that a scrape shows, of 2 that two processes answered"""
    return f"{visited(peer, '/items/1').sum(peer.requests):g}"  # of the second process


def exemplars(peer: Peer) -> str:
    """An OpenMetrics scrape has the trace of a request as exemplar"""
    service = Service(peer)
    with span():
        asyncio.run(service.get("/items/1"))
    return yes("# {" in service.open_metrics())


QUESTIONS = [
    routes,
    items,
    invented_paths,
    invented_methods,
    durations,
    streams,
    broken_streams,
    exceptions,
    early_leavers,
    late_leavers,
    in_progress,
    websockets,
    messages,
    own_metrics,
    workers,
    exemplars,
]


class Service(Measured):
    """A Quart application that a library measures."""

    def __init__(self, peer: Peer) -> None:
        self.app = application()
        super().__init__(peer, self.app)

    async def get(self, path: str, **scope: Any) -> None:
        browser = Browser(self.app, path, **scope).start()
        with suppress(ValueError):
            await browser.over()

    async def leave(self, path: str) -> None:
        """Ask for something, and go away after the first chunk of it, or before."""
        browser = Browser(self.app, path).start()
        if path == "/endless":
            await browser.next("http.response.start")
            await browser.chunk()
        else:
            await self.app.begun.wait()
        await browser.vanish()

    async def talk(self) -> None:
        socket = Socket(self.app, "/chat").start()
        socket.say("hello")
        await socket.accepted()
        await socket.heard()
        await socket.close(code=1000)


def visited(peer: Peer, *paths: str) -> Numbers:
    """Return the numbers after a request for each path."""
    service = Service(peer)

    async def visit() -> None:
        for path in paths:
            await service.get(path)

    asyncio.run(visit())
    return service.numbers()


def status_of(labels: dict[str, str]) -> str:
    return next(
        (value for value in labels.values() if value.isdigit() and len(value) == 3), "no status"
    )


class Application(quart.Quart):
    begun: asyncio.Event


def application() -> Application:
    app = Application("service")
    app.begun = asyncio.Event()

    @app.errorhandler(LookupError)
    async def missing(error: LookupError) -> tuple[str, int]:
        return "no such thing", 404

    @app.get("/items/<int:number>")
    async def item(number: int) -> str:
        return f"item {number}"

    @app.get("/tea")
    async def tea() -> str:
        return "tea"

    @app.get("/broken")
    async def broken() -> str:
        raise ValueError

    @app.get("/slow")
    async def slow() -> str:
        app.begun.set()
        await asyncio.sleep(60)
        return "slow"

    @app.get("/stream")
    async def stream() -> AsyncIterator[str]:
        is_broken = "broken" in quart.request.args

        async def body() -> AsyncIterator[str]:
            yield "one half"
            if is_broken:
                raise ValueError
            await asyncio.sleep(SLOW)
            yield "the other"

        return body()

    @app.get("/endless")
    async def endless() -> AsyncIterator[str]:
        async def body() -> AsyncIterator[str]:
            while True:
                yield "more"
                await asyncio.sleep(0.01)

        return body()

    @app.websocket("/chat")
    async def chat() -> None:
        while True:
            await quart.websocket.send(await quart.websocket.receive())

    return app
