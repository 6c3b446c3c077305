"""On real servers the route that blocks the event loop gets the blame, an innocent one never."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import quart
from websockets.sync.client import connect

from promweb.adapters.insight.watchdog import watchdog
from tests.support import servers
from tests.support.legs import LEGS, Leg
from tests.support.running import python
from tests.support.samples import samples
from tests.support.servers import Server
from tests.support.waiting import becomes, eventually

BLOCK = "flask_http_request_loop_block_seconds"
LONG = 0.2
ON_ASYNCIO = {"hypercorn": servers.hypercorn, "uvicorn": servers.uvicorn}
ON_UVLOOP = {
    "hypercorn on uvloop": servers.hypercorn_on_uvloop,
    "uvicorn on uvloop": servers.uvicorn_on_uvloop,
}
PLACES = ["view", "hook", "error", "stream", "c", "socket"]


def hold() -> None:
    """Block as a view does that waits without `await`."""
    time.sleep(LONG)


_DATA = bytes(5_000_000)


def compute() -> None:
    """Be in C calls, each of which keeps the interpreter, for some time."""
    end = time.perf_counter() + LONG
    while time.perf_counter() < end:
        max(_DATA)


def make_app(leg: Leg) -> Any:
    app = leg.make_app()
    leg.make_metrics(app, event_loop=True, group_by="url_rule")

    @app.route("/view")
    async def view() -> str:
        hold()
        return "done"

    @app.route("/hook")
    async def hook() -> str:
        return "done"

    @app.before_request
    async def before() -> None:
        if quart.request.path == "/hook":
            hold()

    @app.route("/error")
    async def error() -> str:
        raise ZeroDivisionError

    @app.errorhandler(ZeroDivisionError)
    async def handler(error: Exception) -> tuple[str, int]:
        hold()
        return "done", 500

    @app.route("/stream")
    async def stream() -> Any:
        async def body() -> AsyncIterator[str]:
            yield "half"
            await asyncio.sleep(0.01)
            hold()
            yield "done"

        return body()

    @app.route("/c")
    async def c() -> str:
        compute()
        return "done"

    @app.websocket("/socket")
    async def socket() -> None:
        hold()
        await quart.websocket.send("done")

    @app.route("/plain")
    def plain() -> str:
        hold()
        return "done"

    @app.route("/thread")
    async def thread() -> str:
        await asyncio.to_thread(hold)
        return "done"

    @app.route("/quick")
    async def quick() -> str:
        await asyncio.sleep(0.02)
        return "done"

    @app.route("/idle")
    async def idle() -> str:
        for _ in range(20):
            await asyncio.sleep(0.02)
        return "done"

    return app


@pytest.fixture(params=[*ON_ASYNCIO, *ON_UVLOOP])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[Leg, Server]]:
    leg = LEGS["quart-async"]()
    with (ON_ASYNCIO | ON_UVLOOP)[request.param](make_app(leg)) as server:
        yield leg, server
    watchdog.join()


def longest(leg: Leg) -> dict[str, float]:
    return {labels["url_rule"]: value for labels, value in samples(leg.registry, f"{BLOCK}_sum")}


@pytest.mark.parametrize("place", [*PLACES, "plain", "thread"])
def test_the_right_route_has_it(served: tuple[Leg, Server], place: str) -> None:
    leg, server = served

    def ask(path: str) -> None:
        if path == "/socket":
            with connect(server.url.replace("http", "ws") + path) as socket:
                assert socket.recv() == "done"
        else:
            assert httpx.get(server.url + path, timeout=60).text.endswith("done")

    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(ask, "/idle") for _ in range(3)]
        pool.submit(ask, f"/{place}").result()
        for other in others:
            other.result()
    becomes(lambda: set(longest(leg)), {"/idle", f"/{place}"})
    blocks = longest(leg)
    print(place, blocks)
    if place in PLACES:
        assert blocks[f"/{place}"] >= LONG
    else:
        assert blocks[f"/{place}"] < LONG / 2
    assert blocks["/idle"] / 3 < LONG / 2


class Idle:
    """How long an event loop of asyncio waits for something to do, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.since = time.perf_counter()

    def watch(self) -> None:
        """Begin, in the event loop. asyncio has no public place for this."""
        selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        select, self.seconds, self.since = selector.select, 0.0, time.perf_counter()

        def timed_select(*args: Any) -> Any:
            began = time.perf_counter()
            try:
                return select(*args)
            finally:
                self.seconds += time.perf_counter() - began

        selector.select = timed_select

    @property
    def busy(self) -> float:
        """How long the loop was not idle."""
        return time.perf_counter() - self.since - self.seconds


DRIVER = """
    import sys
    from concurrent.futures import ThreadPoolExecutor
    from urllib.request import urlopen

    def ask(number):
        path = "/quick" if number % 20 else "/view"
        with urlopen(sys.argv[1] + path, timeout=60) as response:
            assert response.read() == b"done"

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(ask, range(200)))
    """
"""Two hundred requests, of which one in twenty blocks; a process of its own has its own lock."""


@pytest.mark.parametrize("served", ON_ASYNCIO, indirect=True)  # uvloop's waiting is not seen
def test_the_sum_over_the_routes_is_how_busy_the_loop_was(served: tuple[Leg, Server]) -> None:
    leg, server = served
    idle, watched, busy = Idle(), threading.Event(), []

    def begin() -> None:
        idle.watch()
        watched.set()

    def end() -> None:
        busy.append(idle.busy)

    server.call_soon(begin)
    assert watched.wait(60)
    python(DRIVER, server.url, check=True)
    becomes(lambda: leg.value(f"{BLOCK}_count", url_rule="/view"), 10)
    server.call_soon(end)
    eventually(lambda: busy)
    steps = sum(
        value for _, value in samples(leg.registry, "flask_http_request_loop_seconds_total")
    )
    print(f"routes {steps:.2f} s, the event loop {busy[0]:.2f} s")
    # The rest is the server's own time, which belongs to no request.
    assert 10 * LONG <= steps <= busy[0]
