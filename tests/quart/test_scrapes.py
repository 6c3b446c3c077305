"""Scrapes on Quart: off the event loop, shared, and cancelled."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from promweb import AsyncPrometheusMetrics
from tests.support.asgi import Browser
from tests.support.hanging import SlowCollector, cancel_the_rest, get
from tests.support.legs import Leg
from tests.support.recorded import samples
from tests.support.running import python
from tests.support.waiting import DEADLINE


@pytest.mark.asyncio
async def test_generate_metrics_async(leg: Leg, slow: SlowCollector) -> None:
    app = leg.make_app()
    metrics: AsyncPrometheusMetrics = leg.make_metrics(app)
    metrics.counter("jobs", "Jobs.")
    metrics.counter("others", "Others.")
    slow.release.set()
    for accept in (None, "text/plain", "application/openmetrics-text; version=1.0.0"):
        text, content_type = await metrics.generate_metrics_async(accept)
        assert "jobs_total 0.0" in text
        slow.calls -= 1
        assert (text, content_type) == metrics.generate_metrics(accept)
    assert set(slow.threads[::2]).isdisjoint({threading.get_ident()})
    text, _ = await metrics.generate_metrics_async(names=(name for name in ["jobs_total"]))
    assert [line for line in text.splitlines() if line[0] != "#"] == ["jobs_total 0.0"]


@pytest.mark.asyncio
async def test_slow_collector_does_not_hold_the_loop(
    leg: Leg, slow: SlowCollector, app: Any
) -> None:
    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")
    scrape = Browser(app, "/metrics").start()
    await slow.wait()
    assert (await get(app)).body == b"ok"
    assert scrape.sent == []
    slow.release.set()
    await scrape.over()
    assert b"slow 1.0" in scrape.body
    assert slow.threads != [threading.get_ident()]


@pytest.mark.asyncio
async def test_scrapes_at_the_same_time_share_one_rendering(
    leg: Leg, slow: SlowCollector, app: Any
) -> None:
    first = Browser(app, "/metrics").start()
    await slow.wait()
    others = [Browser(app, "/metrics").start() for _ in range(20)]
    await anyio.wait_all_tasks_blocked()
    slow.release.set()
    for scrape in (first, *others):
        await scrape.over()
        assert (scrape.status, scrape.body) == (200, first.body)
    assert slow.calls == 1
    assert b"slow" in (await get(app, "/metrics")).body


@pytest.mark.asyncio
async def test_scrapes_that_ask_for_something_else_get_it(
    leg: Leg, slow: SlowCollector, app: Any
) -> None:
    asked: list[dict[str, Any]] = [
        {},
        {"headers": {"accept": "application/openmetrics-text; version=1.0.0"}},
        {"headers": {"accept-encoding": "gzip"}},
        {"query_string": b"name[]=slow"},
        {"query_string": b"name[]=slow&name[]=flask_exporter_info"},
    ]
    scrapes = [Browser(app, "/metrics", **scope).start() for scope in asked]
    await slow.wait()
    slow.release.set()
    for scrape in scrapes:
        await scrape.over()
    plain, openmetrics, zipped, one, two = (scrape.body for scrape in scrapes)
    assert plain.count(b"# HELP") > 2
    assert openmetrics.endswith(b"# EOF\n")
    assert zipped.startswith(b"\x1f\x8b")
    assert [line.split()[0] for line in one.splitlines() if line[0] != ord("#")] == [b"slow"]
    assert two.count(b"# HELP") == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("how", ["vanish", "cancel"])
async def test_cancelled_scrape_does_not_disturb_the_others(
    leg: Leg, slow: SlowCollector, app: Any, how: str, first: bool
) -> None:
    scrapes = [Browser(app, "/metrics").start()]
    await slow.wait()
    scrapes += [Browser(app, "/metrics").start() for _ in range(5)]
    await anyio.wait_all_tasks_blocked()
    gone = scrapes.pop(0 if first else 3)
    asyncio.get_running_loop().call_later(0.01, slow.release.set)
    await getattr(gone, how)()
    slow.release.set()
    for scrape in scrapes:
        await scrape.over()
        assert scrape.status == 200
        assert b"\nslow " in scrape.body
    assert slow.calls <= 2
    await cancel_the_rest()
    assert (await get(app, "/metrics")).status == 200
    assert samples_of_requests(leg) == {}


def samples_of_requests(leg: Leg) -> dict[str, Any]:
    return {name: value for name, value in samples(leg.registry).items() if name != "slow"}


@pytest.mark.asyncio
async def test_all_scrapes_cancelled_leave_nothing(leg: Leg, slow: SlowCollector, app: Any) -> None:
    loop = asyncio.get_running_loop()
    scrapes = [Browser(app, "/metrics").start()]
    await slow.wait()
    scrapes += [Browser(app, "/metrics").start() for _ in range(5)]
    await anyio.wait_all_tasks_blocked()
    loop.call_later(0.01, slow.release.set)
    for scrape in reversed(scrapes):
        await scrape.vanish()
    assert slow.calls == 1
    await anyio.wait_all_tasks_blocked()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert b"slow" in (await get(app, "/metrics")).body


@pytest.mark.asyncio
async def test_scrapes_that_time_out_do_not_pile_up(
    leg: Leg, slow: SlowCollector, app: Any
) -> None:
    """Prometheus gives up after its scrape timeout and asks again."""
    for _ in range(10):
        scrape = Browser(app, "/metrics").start()
        await slow.wait()
        await anyio.wait_all_tasks_blocked()
        scrape.put("http.disconnect")
        await anyio.wait_all_tasks_blocked()
    assert slow.calls == 1
    last = Browser(app, "/metrics").start()
    await anyio.wait_all_tasks_blocked()
    slow.release.set()
    await last.over()
    assert b"slow" in last.body


def test_scrape_whose_event_loop_ends(leg: Leg, slow: SlowCollector, app: Any) -> None:
    """Its thread ends as well, once the collector lets it."""

    async def main() -> None:
        Browser(app, "/metrics").start()
        await slow.wait()

    asyncio.run(main())
    [thread] = [thread for thread in threading.enumerate() if thread.ident in slow.threads]
    slow.release.set()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert asyncio.run(get(app, "/metrics")).status == 200


def test_process_ends_after_a_scrape_that_outlived_its_event_loop() -> None:
    """The collector is done between the last moment of the loop and its closing."""
    program = """
import asyncio, threading, quart
from prometheus_client import CollectorRegistry
from promweb import AsyncPrometheusMetrics

reached, release, done = threading.Event(), threading.Event(), threading.Event()

class Slow:
    def describe(self):
        return []
    def collect(self):
        reached.set()
        release.wait()
        done.set()
        return []

async def main():
    scrape = asyncio.create_task(app.test_client().get("/metrics"))
    await asyncio.to_thread(reached.wait)
    scrape.cancel()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.wait([scrape])

app, registry = quart.Quart("shop"), CollectorRegistry()
registry.register(Slow())
AsyncPrometheusMetrics(app, registry=registry)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
release.set()
done.wait()
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join(0.2)  # it may report to the event loop, which does not run
loop.close()
"""
    # A thread that waits for ever would keep the process from ending.
    result = python(program)
    assert result.returncode == 0


@pytest.mark.asyncio
async def test_collector_that_fails_fails_every_scrape_that_waits(
    leg: Leg, slow: SlowCollector, app: Any
) -> None:
    slow.collect = functools.partial(failing, slow)  # type: ignore[method-assign]
    scrapes = [Browser(app, "/metrics").start() for _ in range(3)]
    await slow.wait()
    await anyio.wait_all_tasks_blocked()
    slow.release.set()
    for scrape in scrapes:
        await scrape.over()
        assert scrape.status == 500
        assert b"ZeroDivisionError" in scrape.body
    assert slow.calls == 1


def failing(slow: SlowCollector) -> Iterator[Any]:
    yield from SlowCollector.collect(slow)
    raise ZeroDivisionError


def test_one_app_on_two_event_loops(leg: Leg, app: Any) -> None:
    """Scrapes share a rendering only within their event loop."""
    together = threading.Barrier(2, timeout=DEADLINE)

    def collect(self: object) -> Iterator[Any]:
        together.wait()  # both loops are collecting
        return iter(())

    collector: Any = type("Both", (), {"describe": lambda self: [], "collect": collect})()
    leg.registry.register(collector)
    statuses: list[int | None] = []

    def serve() -> None:
        async def scrape() -> None:
            statuses.append((await get(app, "/metrics")).status)

        asyncio.run(scrape())

    threads = [threading.Thread(target=serve) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert statuses == [200, 200]
