"""Threads that plain views share, and background tasks: who waits, how many, for how long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
import quart

from promweb.testing import assert_loop_free
from tests.support import waiting
from tests.support.asgi import Browser
from tests.support.legs import LEGS, Leg, TrioLeg
from tests.support.samples import names, samples
from tests.support.waiting import DEADLINE, eventually

WAIT = "flask_thread_wait_seconds"
BUSY = "flask_threads_busy"
WAITING = "flask_threads_waiting"
TASK = "flask_background_task_duration_seconds_count"
TASKS = "flask_background_tasks_in_progress"


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


class Gate:
    """A plain view that stays in its thread until the gate opens."""

    def __init__(self, app: Any) -> None:
        self.open = threading.Event()
        self.inside = threading.Semaphore(0)
        app.add_url_rule("/gate", "gate", self.view)

    def view(self) -> str:
        self.inside.release()
        assert self.open.wait(DEADLINE)
        return "tea"


@pytest.fixture
def made(leg: Leg) -> Iterator[tuple[Any, Any, Gate]]:
    app = leg.make_app()
    metrics = leg.make_metrics(app, threads=True)
    gate = Gate(app)
    yield app, metrics, gate
    gate.open.set()


def state(leg: Leg) -> tuple[float | None, float | None, float | None]:
    """Return how many threads are busy, how many calls wait, and how many have waited."""
    return leg.value(BUSY), leg.value(WAITING), leg.value(f"{WAIT}_count")


async def becomes(leg: Leg, wanted: tuple[int, int, int]) -> None:
    """Wait, with the event loop free, until the numbers are these."""
    await anyio.to_thread.run_sync(waiting.becomes, partial(state, leg), wanted)


def test_plain_views_that_wait_for_a_thread(leg: Leg, made: Any) -> None:
    if isinstance(leg, TrioLeg):
        pytest.skip("trio limits threads by itself")
    app, _, gate = made

    async def main() -> None:
        from concurrent.futures import ThreadPoolExecutor

        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        browsers = [Browser(app, "/gate").start() for _ in range(5)]
        await becomes(leg, (2, 3, 2))
        gate.open.set()
        for browser in browsers:
            await browser.over()
            assert browser.status == 200
        await becomes(leg, (0, 0, 5))

    asyncio.run(main())
    assert (leg.value(f"{WAIT}_sum") or 0) > 0


def test_plain_views_are_counted_while_they_run(
    leg: Leg, made: Any, run: Callable[..., None]
) -> None:
    app, _, gate = made

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(Browser(app, "/gate").run)
            await becomes(leg, (2, 0, 2))
            gate.open.set()

    run(main)
    assert state(leg) == (0, 0, 2)


def test_a_call_that_is_given_up_waits_no_more(leg: Leg, made: Any) -> None:
    if isinstance(leg, TrioLeg):
        pytest.skip("trio limits threads by itself")
    app, _, gate = made

    async def main() -> None:
        from concurrent.futures import ThreadPoolExecutor

        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        first = Browser(app, "/gate").start()
        await becomes(leg, (1, 0, 1))
        second = Browser(app, "/gate").start()
        await becomes(leg, (1, 1, 1))
        await second.vanish()
        await becomes(leg, (1, 0, 1))
        gate.open.set()
        await first.over()
        await becomes(leg, (0, 0, 1))

    asyncio.run(main())


def test_what_a_function_returns_and_raises(leg: Leg, made: Any, run: Callable[..., None]) -> None:
    app = made[0]

    def broken() -> None:
        raise ZeroDivisionError

    def letters() -> Iterator[str]:
        yield from "ab"

    async def main() -> None:
        async with app.app_context():
            assert await app.sync_to_async(max)(1, 2) == 2
            with pytest.raises(ZeroDivisionError):
                await app.sync_to_async(broken)()
            found = await app.ensure_async(letters)()
            assert [letter async for letter in found] == ["a", "b"]

    run(main)
    assert state(leg) == (0, 0, 3)


def test_two_objects_count_each_call_once(leg: Leg, made: Any, run: Callable[..., None]) -> None:
    app = made[0]
    leg.make_metrics(app, path=None, threads=True)
    leg.make_metrics(app, path=None, threads=True, naming="otel")

    async def main() -> None:
        async with app.app_context():
            await app.sync_to_async(max)(1, 2)

    run(main)
    assert state(leg) == (0, 0, 1)
    assert leg.value("thread_wait_seconds_count") == 1


def test_a_pool_that_is_measured(made: Any) -> None:
    _, metrics, gate = made
    pool = metrics.thread_pool(1)
    first = pool.submit(gate.view)
    second = pool.submit(max, 1, 2)
    third = pool.submit(max, 1, 2)

    def value(name: str) -> float | None:
        return metrics.registry.get_sample_value(name)  # type: ignore[no-any-return]

    eventually(lambda: (value(BUSY), value(WAITING)) == (1, 2))
    third.cancel()
    assert value(WAITING) == 1
    gate.open.set()
    assert (first.result(DEADLINE), second.result(DEADLINE)) == ("tea", 2)
    with suppress(CancelledError):
        third.result(DEADLINE)
    pool.shutdown()
    assert (value(BUSY), value(WAITING), value(f"{WAIT}_count")) == (0, 0, 2)
    with pytest.raises(RuntimeError):
        pool.submit(max, 1, 2)
    assert value(WAITING) == 0


def test_a_measured_pool_counts_a_plain_view_once() -> None:
    leg = LEGS["quart-async"]()
    app = leg.make_app()
    metrics = leg.make_metrics(app, threads=True)
    app.add_url_rule("/tea", "tea", lambda: "tea")

    @app.route("/more")
    async def more() -> str:
        return await asyncio.to_thread(lambda: "tea")

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(metrics.thread_pool(2))
        for path in ("/tea", "/more"):
            browser = Browser(app, path).start()
            await browser.over()
            assert browser.body == b"tea"

    asyncio.run(main())
    assert state(leg) == (0, 0, 2)


def test_a_pool_needs_the_argument() -> None:
    leg = LEGS["quart-async"]()
    with pytest.raises(ValueError, match="was given threads=True"):
        leg.make_metrics(None).thread_pool()


# --- background tasks ---------------------------------------------------------------------------


def test_background_tasks(leg: Leg, run: Callable[..., None]) -> None:
    app = leg.make_app()
    leg.make_metrics(app, background_tasks=True)
    leg.make_metrics(app, path=None, background_tasks=True)
    hold, reached, seen = anyio.Event(), anyio.Event(), []

    async def index(what: str) -> None:
        seen.append((what, leg.value(TASKS, task=name(index))))
        reached.set()
        await hold.wait()

    async def fail() -> None:
        raise ZeroDivisionError

    def plain(what: str) -> None:
        seen.append((what, threading.current_thread() is not threading.main_thread()))

    def name(function: Any) -> str:
        return f"test_background_tasks.<locals>.{function.__name__}"

    @app.route("/")
    async def start() -> str:
        app.add_background_task(index, "secret")
        app.add_background_task(partial(plain, what="plain"))
        app.add_background_task(fail)
        return "tea"

    async def main() -> None:
        async with app.test_app() as running:
            client = running.test_client()
            assert (await client.get("/")).status_code == 200
            await reached.wait()
            assert leg.value(TASKS, task=name(index)) == 1
            hold.set()

    run(main)
    assert sorted(seen) == [("plain", True), ("secret", 1)]
    assert sorted(samples(leg.registry, TASK), key=str) == [
        ({"task": name(fail), "outcome": "error"}, 1),
        ({"task": name(index), "outcome": "ok"}, 1),
        ({"task": name(plain), "outcome": "ok"}, 1),
    ]
    assert [value for _, value in samples(leg.registry, TASKS)] == [0, 0, 0]


def test_a_background_task_that_is_cancelled() -> None:
    leg = LEGS["quart-async"]()
    app = leg.make_app()
    leg.make_metrics(app, background_tasks=True, naming="otel")
    app.config["BACKGROUND_TASK_SHUTDOWN_TIMEOUT"] = 0

    class Forever:
        async def __call__(self) -> None:
            await asyncio.Event().wait()

    async def main() -> None:
        await app.startup()
        app.add_background_task(Forever().__call__)
        await asyncio.sleep(0)
        await app.shutdown()

    asyncio.run(main())
    found = samples(leg.registry, TASK.removeprefix("flask_"))
    assert [(labels["outcome"], value) for labels, value in found] == [("cancelled", 1)]
    assert found[0][0]["task"].endswith("Forever.__call__")


def test_nothing_is_there_unless_it_is_asked_for(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    assert {"sync_to_async", "add_background_task", "startup"} & vars(app).keys() == set()
    assert not any("thread" in name or "task" in name for name in names(leg.registry))


# --- for tests of others ------------------------------------------------------------------------


def fail(_: object) -> None:
    raise KeyError


def hold_loop() -> None:
    import time

    time.sleep(0.4)


def test_a_test_fails_with_the_place(run: Callable[..., None]) -> None:
    async def main() -> None:
        async def work() -> None:
            async with assert_loop_free(0.1):
                await anyio.sleep(0.05)
                hold_loop()
                await anyio.sleep(0.05)

        with pytest.raises(AssertionError) as failure:
            await work()
        first, second = str(failure.value).splitlines()
        assert first == "The event loop was blocked for more than 0.1 s:"
        line = hold_loop.__code__.co_firstlineno + 3
        assert second.startswith("  for 0.")
        assert second.endswith(f" s at tests/quart/test_threads.py:{line}")

    run(main)


def test_what_blocks_until_the_end_is_found(run: Callable[..., None]) -> None:
    async def main() -> None:
        with pytest.raises(AssertionError, match=r"more than 0\.1 s"), assert_loop_free(0.1):
            hold_loop()

    run(main)


def test_a_free_loop_passes(run: Callable[..., None]) -> None:
    async def main() -> None:
        async with assert_loop_free(20):
            await anyio.sleep(0.01)
        with pytest.raises(KeyError), assert_loop_free(0.1):
            fail(hold_loop())

    run(main)


def test_there_has_to_be_a_loop_and_a_time() -> None:
    with pytest.raises(RuntimeError, match="use it in a coroutine"), assert_loop_free():
        pass
    with pytest.raises(ValueError, match="most=0: must be"):
        assert_loop_free(0)
