"""Scrapes on Quart leave the event loop to others, while they are rendered and while sent."""

from __future__ import annotations

import gzip
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
import quart
from prometheus_client.core import GaugeMetricFamily

from promweb.adapters.protocols import worker_threads
from tests.support import workers
from tests.support.asgi import Browser
from tests.support.legs import LEGS, Leg, TrioLeg
from tests.support.servers import hypercorn, uvicorn
from tests.support.waiting import DEADLINE

LONG = 3_000_000
"""Bytes that are sent in several pieces."""
PIECE = 1 << 18
"""The most bytes that are sent at a time."""


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def leg(backend: str) -> Leg:
    return LEGS["quart-async"]() if backend == "asyncio" else TrioLeg("t", quart, async_views=True)


@pytest.fixture
def run(backend: str) -> Callable[[Callable[[], Coroutine[Any, Any, None]]], None]:
    """Return a function that runs a coroutine function in an event loop."""
    return lambda main: anyio.run(main, backend=backend)


class Collector:
    """Calls a function when it is asked for its metric, which takes some bytes."""

    def __init__(self, leg: Leg, function: Callable[[], object], length: int = 0) -> None:
        self._function, self._length = function, length
        leg.registry.register(self)  # type: ignore[arg-type]

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        self._function()
        yield GaugeMetricFamily("long", "x" * self._length, value=1)


def test_a_long_body_is_sent_in_pieces(leg: Leg, run: Any) -> None:
    """TLS would encrypt all of it at once, and nothing else would happen meanwhile."""
    app = leg.make_app()
    leg.make_metrics(app)
    Collector(leg, lambda: None, LONG)
    turns = 0

    async def main() -> None:
        async def count() -> None:
            nonlocal turns
            while True:
                await anyio.lowlevel.checkpoint()
                turns += 1

        seen: list[int] = []
        browser = Browser(app, "/metrics")
        send = browser._send

        async def note(message: Any) -> None:
            seen.append(turns)
            await send(message)

        browser._send = note  # type: ignore[method-assign]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            await browser.run()
            tasks.cancel_scope.cancel()
        await browser.over()
        pieces = [message["body"] for message in browser.sent[1:] if message["body"]]
        assert len(pieces) > LONG // PIECE
        assert max(map(len, pieces)) == PIECE
        of_pieces = seen[1 : len(pieces) + 1]
        # Trio runs tasks in any order, once in each round.
        assert all(before < after for before, after in zip(of_pieces, of_pieces[2:], strict=False))
        length = dict(browser.sent[0]["headers"])[b"content-length"]
        assert int(length) == len(browser.body)
        assert browser.body.endswith(b"\nlong 1.0\n")

    run(main)


@pytest.mark.parametrize("length", [0, LONG])
def test_other_requests_for_long_bodies(leg: Leg, run: Any, length: int) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    Collector(leg, lambda: None, length)

    async def main() -> None:
        plain, head = Browser(app, "/metrics"), Browser(app, "/metrics", "HEAD")
        zipped = Browser(app, "/metrics", headers={"accept-encoding": "gzip"})
        for browser in (plain, head, zipped):
            await browser.run()
            await browser.over()
        assert gzip.decompress(zipped.body) == plain.body
        lengths = [dict(each.sent[0]["headers"])[b"content-length"] for each in (plain, head)]
        assert lengths[0] == lengths[1] == str(len(plain.body)).encode()

    run(main)


@pytest.mark.parametrize("serve", [uvicorn, hypercorn])
def test_long_bodies_over_real_servers(serve: Any) -> None:
    leg = LEGS["quart-async"]()
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    Collector(leg, lambda: None, LONG)
    with serve(app) as server:
        url = f"{server.url}/metrics"
        got, head = httpx.get(url), httpx.head(url, headers={"accept-encoding": "identity"})
    assert got.text == metrics.generate_metrics()[0]
    assert (head.content, head.headers["content-length"]) == (b"", str(len(got.content)))


# --- turns --------------------------------------------------------------------------------------

SHORT = 0.0005
"""Seconds, at most, that a scrape has the interpreter while the event loop waits for it."""


@pytest.mark.parametrize("how", ["scrape", "generate"])
def test_collectors_of_others_take_short_turns(leg: Leg, run: Any, how: str) -> None:
    """They may compute for seconds, and would have the event loop wait 5 ms again and again."""
    app = leg.make_app()
    metrics: Any = leg.make_metrics(app)
    seen: list[float] = []
    Collector(leg, lambda: seen.append(sys.getswitchinterval()))

    async def main() -> None:
        if how == "scrape":
            await Browser(app, "/metrics").run()
        else:
            await metrics.generate_metrics_async()

    usual = sys.getswitchinterval()
    run(main)
    assert len(seen) == 1
    assert seen[0] < SHORT < usual == sys.getswitchinterval()


def test_turns_are_as_long_as_before_when_the_last_scrape_is_over(leg: Leg, run: Any) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    inside, go_on = threading.Semaphore(0), threading.Semaphore(0)
    Collector(leg, lambda: (inside.release(), go_on.acquire(timeout=DEADLINE)))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for encoding in ("identity", "gzip"):  # which are not rendered as one
                browser = Browser(app, "/metrics", headers={"accept-encoding": encoding})
                tasks.start_soon(browser.run)
            for _ in range(2):
                await anyio.to_thread.run_sync(inside.acquire)
            assert sys.getswitchinterval() < SHORT
            go_on.release()
            await anyio.lowlevel.checkpoint()
            assert sys.getswitchinterval() < SHORT
            go_on.release()

    usual = sys.getswitchinterval()
    run(main)
    assert sys.getswitchinterval() == usual


def test_turns_are_as_long_as_before_when_a_scrape_fails(leg: Leg, run: Any) -> None:
    app = leg.make_app()
    metrics: Any = leg.make_metrics(app)

    def fail() -> None:
        raise ZeroDivisionError

    Collector(leg, fail)

    async def main() -> None:
        browser = Browser(app, "/metrics")
        await browser.run()
        assert browser.status == 500
        with pytest.raises(ZeroDivisionError):
            await metrics.generate_metrics_async()

    usual = sys.getswitchinterval()
    run(main)
    assert sys.getswitchinterval() == usual


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_a_child_that_is_forked_meanwhile_has_usual_turns() -> None:
    usual = sys.getswitchinterval()

    def check() -> None:
        assert sys.getswitchinterval() == usual
        with worker_threads.short_turns():
            assert sys.getswitchinterval() < SHORT
        assert sys.getswitchinterval() == usual

    with worker_threads.short_turns():
        workers.run(check)
        assert sys.getswitchinterval() < SHORT
    check()
