"""Tests of the steps of requests, the lag and the log line, on asyncio and trio."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import quart

from promweb.adapters.insight import attaching, timing
from promweb.adapters.insight.timing import timed
from promweb.adapters.insight.watchdog import watchdog
from promweb.core.requests.steps import Lane, Steps
from tests.support.asgi import Browser, Socket
from tests.support.legs import LEGS, Leg, TrioLeg
from tests.support.samples import names, samples
from tests.support.waiting import eventually

BLOCK = "flask_http_request_loop_block_seconds"
SECONDS = "flask_http_request_loop_seconds_total"
LAG = "flask_event_loop_lag_seconds"
LONG = 0.25
"""Seconds of a block that is logged."""
INNOCENT = 0.1
"""Seconds that no innocent request holds the loop, on a machine that is busy."""


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


@pytest.fixture(autouse=True)
def _over() -> Iterator[None]:
    """Wait for the thread of the watchdog, which ends when no event loop runs."""
    yield
    watchdog.join()


def hold(seconds: float) -> None:
    """Block the event loop."""
    time.sleep(seconds)


def make_app(leg: Leg, **arguments: Any) -> Any:
    """Return an application that blocks wherever one can, and has a view that does not."""
    app = leg.make_app()
    leg.make_metrics(app, **{"event_loop": True, "group_by": "url_rule", **arguments})

    @app.route("/view")
    async def view() -> str:
        hold(LONG)
        return "tea"

    @app.route("/late")
    async def late() -> str:
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        hold(LONG)
        await anyio.lowlevel.checkpoint()
        return "tea"

    @app.route("/hook")
    async def hook() -> str:
        return "tea"

    @app.before_request
    async def before() -> None:
        if quart.request.path == "/hook":
            hold(LONG)

    @app.route("/error")
    async def error() -> str:
        raise ZeroDivisionError

    @app.errorhandler(ZeroDivisionError)
    async def handler(error: Exception) -> tuple[str, int]:
        hold(LONG)
        return "sorry", 500

    @app.route("/stream")
    async def stream() -> Any:
        async def body() -> AsyncIterator[str]:
            yield "one"
            await anyio.lowlevel.checkpoint()
            hold(LONG)
            yield "two"

        return body()

    @app.websocket("/socket")
    async def socket() -> None:
        await quart.websocket.send("hello")
        hold(LONG)

    @app.route("/plain")
    def plain() -> str:
        hold(LONG)
        return "tea"

    @app.route("/thread")
    async def thread() -> str:
        await anyio.to_thread.run_sync(time.sleep, LONG)
        return "tea"

    @app.route("/idle")
    async def idle() -> str:
        for _ in range(10):
            await anyio.sleep(0.02)
        return "tea"

    return app


def longest(leg: Leg) -> dict[str, float]:
    """Return the sum of the longest steps of each route."""
    return {labels["url_rule"]: value for labels, value in samples(leg.registry, f"{BLOCK}_sum")}


def total(leg: Leg) -> dict[str, float]:
    return {labels["url_rule"]: value for labels, value in samples(leg.registry, SECONDS)}


@pytest.mark.parametrize(
    "path", ["/view", "/late", "/hook", "/error", "/stream", "/socket", "/plain", "/thread"]
)
def test_the_route_that_blocks_has_it_and_no_other(
    leg: Leg, run: Callable[..., None], path: str
) -> None:
    app = make_app(leg)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            others = [Browser(app, "/idle") for _ in range(3)]
            for other in others:
                group.start_soon(other.run)
            await anyio.sleep(0.05)
            if path == "/socket":
                socket = Socket(app, path)
                group.start_soon(socket.run)
                await socket.accepted()
                assert await socket.heard() == "hello"
            else:
                group.start_soon(Browser(app, path).run)

    run(main)
    blocks = longest(leg)
    assert set(blocks) == {"/idle", path}
    assert leg.value(f"{BLOCK}_count", url_rule=path) == 1
    assert leg.value(f"{BLOCK}_count", url_rule="/idle") == 3
    assert blocks["/idle"] < 3 * INNOCENT
    if path in ("/plain", "/thread"):
        assert blocks[path] < INNOCENT
    else:
        assert LONG <= blocks[path] <= total(leg)[path]


def test_the_sum_is_that_of_all_steps(leg: Leg, run: Callable[..., None]) -> None:
    app = make_app(leg)

    @app.route("/often")
    async def often() -> str:
        for _ in range(5):
            hold(0.02)
            await anyio.lowlevel.checkpoint()
        return "tea"

    async def main() -> None:
        await Browser(app, "/often").run()

    run(main)
    assert total(leg)["/often"] >= 0.1
    assert 0.02 <= longest(leg)["/often"] < total(leg)["/often"] - 0.05


def test_a_request_that_is_cancelled_has_its_steps(leg: Leg, run: Callable[..., None]) -> None:
    app = make_app(leg)
    reached, over = anyio.Event(), []

    @app.route("/hang")
    async def hang() -> str:
        hold(0.05)
        reached.set()
        try:
            await anyio.sleep_forever()
        finally:
            over.append(True)
        return "never"

    async def main() -> None:
        browser = Browser(app, "/hang")
        async with anyio.create_task_group() as group:
            group.start_soon(browser.run)
            await reached.wait()
            await browser.vanish()

    run(main)
    assert over == [True]
    assert leg.value(f"{BLOCK}_count", url_rule="/hang") == 1
    assert longest(leg)["/hang"] >= 0.05


def test_labels_are_those_of_the_default_metrics(leg: Leg, run: Callable[..., None]) -> None:
    labels = {
        "service": "shop",
        "kind": lambda: "black",
        "size": lambda response: str(response.status_code),
    }
    app = make_app(leg, default_labels=labels, excluded_paths="/view")
    metrics = leg.make_metrics(None)
    app.add_url_rule("/quiet", "quiet", metrics.do_not_track()(app.view_functions["idle"]))

    async def main() -> None:
        for path in ("/idle", "/view", "/quiet", "/nowhere"):
            await Browser(app, path).run()
        socket = Socket(app, "/socket")
        async with anyio.create_task_group() as group:
            group.start_soon(socket.run)
            await socket.accepted()

    run(main)
    assert [labels for labels, _ in samples(leg.registry, SECONDS)] == [
        {"url_rule": "/idle", "service": "shop", "kind": "black", "size": "200"},
        {"url_rule": "<unmatched>", "service": "shop", "kind": "black", "size": "404"},
        {"url_rule": "/socket", "service": "shop", "kind": "black", "size": ""},
    ]


def test_the_conventions_have_the_same_families(leg: Leg, run: Callable[..., None]) -> None:
    app = make_app(leg, naming="otel", group_by="path")

    async def main() -> None:
        await Browser(app, "/view").run()

    run(main)
    found = samples(leg.registry, f"{BLOCK}_sum".removeprefix("flask_"))
    assert [labels for labels, _ in found] == [{"http_route": "/view"}]
    assert leg.value(LAG.removeprefix("flask_") + "_count") is not None


def test_label_sets_are_bounded(leg: Leg, run: Callable[..., None]) -> None:
    app = make_app(leg, group_by="path", max_series=3)

    @app.route("/item/<number>")
    async def item(number: str) -> str:
        return number

    async def main() -> None:
        for number in range(9):
            await Browser(app, f"/item/{number}").run()

    run(main)
    assert len(samples(leg.registry, SECONDS)) == 3
    assert leg.value(f"{BLOCK}_count", path="<overflow>") == 7


def test_what_goes_on_is_recorded_now_and_then(
    leg: Leg, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "PERIOD", 0.0)
    app = make_app(leg)
    seen: list[float | None] = []

    @app.route("/feed")
    async def feed() -> Any:
        async def body() -> AsyncIterator[str]:
            for _ in range(4):
                hold(0.02)
                yield "more"
                await anyio.lowlevel.checkpoint()
                seen.append(total(leg).get("/feed"))

        return body()

    @app.websocket("/chat")
    async def chat() -> None:
        for _ in range(4):
            hold(0.02)
            await quart.websocket.send("more")
            await anyio.lowlevel.checkpoint()
            seen.append(total(leg).get("/chat"))

    async def main() -> None:
        await Browser(app, "/feed").run()
        socket = Socket(app, "/chat")
        async with anyio.create_task_group() as group:
            group.start_soon(socket.run)
            await socket.accepted()

    run(main)
    assert len(seen) == 8
    for name, ones in (("/feed", seen[:4]), ("/chat", seen[4:])):
        numbers = [one or 0.0 for one in ones]
        assert numbers == sorted(numbers)
        assert 0.02 <= numbers[-1] <= total(leg)[name]
        assert (leg.value(f"{BLOCK}_count", url_rule=name) or 0) > 1


@pytest.mark.parametrize(
    "excluded",
    [{"excluded_paths": "/feed"}, {"excluded_statuses": 200}, {"excluded_methods": "GET"}],
)
def test_what_goes_on_and_is_excluded_is_not_recorded(
    excluded: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timing, "PERIOD", 0.0)
    leg = LEGS["quart-async"]()
    app = make_app(leg, **excluded)

    @app.route("/feed")
    async def feed() -> Any:
        async def body() -> AsyncIterator[str]:
            for _ in range(3):
                yield "more"
                await anyio.lowlevel.checkpoint()

        return body()

    async def main() -> None:
        await Browser(app, "/feed").run()

    asyncio.run(main())
    assert (total(leg), caplog.messages) == ({}, [])


def test_two_objects_share_the_steps(leg: Leg, run: Callable[..., None]) -> None:
    app = make_app(leg, event_loop=False)
    leg.make_metrics(app, path=None, group_by="url_rule", event_loop=True)
    leg.make_metrics(app, path=None, naming="otel", event_loop=0.2)

    async def main() -> None:
        await Browser(app, "/view").run()
        socket = Socket(app, "/socket")
        async with anyio.create_task_group() as group:
            group.start_soon(socket.run)
            await socket.accepted()

    run(main)
    for path in ("/view", "/socket"):
        mine = leg.value(SECONDS, url_rule=path)
        theirs = leg.value(SECONDS.removeprefix("flask_"), http_route=path)
        assert mine == pytest.approx(theirs, abs=0.05)
        assert (mine or 0) >= LONG


@pytest.mark.parametrize("version", [(3, 11), (3, 12)])
def test_requests_are_timed_in_the_way_of_either_python(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int]
) -> None:
    monkeypatch.setattr(attaching, "sys", SimpleNamespace(version_info=version))
    leg = LEGS["quart-async"]()
    app = make_app(leg)

    async def unmeasured(*args: Any) -> None:
        await quart.Quart.asgi_app(app, *args)

    async def main() -> None:
        for asked in (app, unmeasured):
            browser = Browser(asked, "/view")
            await browser.run()
            assert browser.body == b"tea"

    asyncio.run(main())
    assert longest(leg)["/view"] >= LONG
    assert leg.value(f"{BLOCK}_count", url_rule="/view") == 1


def test_a_blueprint_has_its_own_requests(leg: Leg, run: Callable[..., None]) -> None:
    app, shop = leg.make_app(), quart.Blueprint("shop", "shop")

    @shop.route("/tea")
    async def tea() -> str:
        return "tea"

    leg.make_metrics(shop, event_loop=True, group_by="url_rule")
    app.register_blueprint(shop)

    async def main() -> None:
        for path in ("/tea", "/nowhere"):
            await Browser(app, path).run()

    run(main)
    assert list(total(leg)) == ["/tea"]


def test_nothing_is_there_unless_it_is_asked_for(leg: Leg) -> None:
    app = make_app(leg, event_loop=False)
    classes = app.asgi_http_class, app.asgi_websocket_class
    assert all(cls.__module__.startswith(("quart", "promweb.adapters.quart")) for cls in classes)
    assert not any("loop" in name for name in names(leg.registry))


# --- the lag ------------------------------------------------------------------------------------


def test_the_lag_of_a_blocked_loop(leg: Leg, run: Callable[..., None]) -> None:
    app = make_app(leg)

    async def main() -> None:
        async with app.test_app():
            await anyio.sleep(0.25)
            await Browser(app, "/view").run()
            await anyio.sleep(0.15)

    run(main)
    assert (leg.value(f"{LAG}_count") or 0) >= 2
    assert (leg.value(f"{LAG}_sum") or 0) > LONG - 0.1  # a beat of 0.1 s may have been due late


def test_the_beat_ends_with_serving(leg: Leg, run: Callable[..., None]) -> None:
    app = make_app(leg)
    other = make_app(leg)

    async def main() -> None:
        async with other.test_app():
            async with app.test_app():
                pass
            before = leg.value(f"{LAG}_count") or 0
            await anyio.sleep(0.3)
            assert (leg.value(f"{LAG}_count") or 0) > before  # the other one is served
        watchdog.join()
        ended = leg.value(f"{LAG}_count")
        await anyio.sleep(0.3)
        assert leg.value(f"{LAG}_count") == ended

    run(main)
    assert "promweb-loop" not in [thread.name for thread in threading.enumerate()]


def test_each_event_loop_of_a_thread_has_a_beat(leg: Leg, run: Callable[..., None]) -> None:
    app = make_app(leg)

    async def main() -> None:
        await Browser(app, "/idle").run()  # without a lifespan
        before = leg.value(f"{LAG}_count") or 0
        await anyio.sleep(0.3)
        assert (leg.value(f"{LAG}_count") or 0) > before

    run(main)
    run(main)


# --- the log line -------------------------------------------------------------------------------


@pytest.fixture
def log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[str]]:
    """Return a function that returns what the watchdog has logged; it begins with nothing."""
    caplog.set_level(logging.WARNING, "promweb")
    monkeypatch.setattr(watchdog._report, "_logged", {})
    return lambda: [m for m in caplog.messages if "blocked the event loop" in m]


def test_the_log_names_the_line_and_the_rule(
    leg: Leg, run: Callable[..., None], log: Callable[[], list[str]]
) -> None:
    app = make_app(leg)

    @app.route("/orders/<name>")
    async def order(name: str) -> str:
        deeper()
        return name

    async def main() -> None:
        for name in ("secret-one", "secret-two"):
            await Browser(app, f"/orders/{name}").run()
            await anyio.lowlevel.checkpoint()

    run(main)
    eventually(log)
    watchdog.join()
    # On a busy machine the watchdog may be late for one of the two.
    (line,) = [one for one in log() if "did not see" not in one]
    assert line.startswith("Code blocked the event loop for ")
    number = deeper.__code__.co_firstlineno + 1
    assert f" s at tests/quart/test_insight.py:{number} in /orders/<name>." in line
    assert "secret" not in line


def deeper() -> None:
    time.sleep(4 * LONG)  # the watchdog may be late on a machine that is busy


def test_a_block_outside_of_requests(
    leg: Leg, run: Callable[..., None], log: Callable[[], list[str]]
) -> None:
    app = make_app(leg)

    async def main() -> None:
        async with app.test_app():
            await anyio.sleep(0.15)
            deeper()
            await anyio.sleep(0.05)

    run(main)
    watchdog.join()
    (line,) = log()
    assert ", outside of requests." in line
    assert f"tests/quart/test_insight.py:{deeper.__code__.co_firstlineno + 1}" in line


def test_short_blocks_are_not_logged(
    leg: Leg, run: Callable[..., None], log: Callable[[], list[str]]
) -> None:
    app = make_app(leg, event_loop=20)

    async def main() -> None:
        await Browser(app, "/view").run()

    run(main)
    watchdog.join()
    assert log() == []
    assert longest(leg)["/view"] >= LONG


# --- the generator ------------------------------------------------------------------------------


def start(driven: Any) -> None:
    driven.send(None)


class Ask:
    """Something to await that a test answers by hand."""

    def __await__(self) -> Iterator[str]:
        return (yield "asked")  # type: ignore[misc]


class Recorded:
    site = request = None

    def __init__(self, lane: Lane) -> None:
        self.steps: Any = Steps(lane)
        self.times = 0

    def record_steps(self) -> None:
        self.times += 1


def test_a_coroutine_is_driven_as_await_does() -> None:
    lane, seen = Lane(), []
    scope = Recorded(lane)

    async def inner(begin: int) -> str:
        assert lane.scope is scope
        seen.append(begin)
        seen.append(await Ask())
        with pytest.raises(KeyError):
            await Ask()
        return "done"

    driven: Any = timed(scope, inner, (1,))
    assert driven.send(None) == "asked"
    assert lane.scope is None
    assert driven.send("answer") == "asked"
    with pytest.raises(StopIteration) as end:
        driven.throw(KeyError("thrown"))
    assert (end.value.value, seen) == ("done", [1, "answer"])
    longest, total = scope.steps.read()
    assert total >= longest > 0


@pytest.mark.parametrize("how", ["raises", "closed", "closed early"])
def test_a_coroutine_that_does_not_return(how: str) -> None:
    lane, seen = Lane(), []
    scope = Recorded(lane)

    async def inner() -> None:
        try:
            await Ask()
            raise ZeroDivisionError
        finally:
            seen.append("over")

    async def outer() -> None:
        await timed(scope, inner, ())

    driven = outer()
    if how != "closed early":
        driven.send(None)
    if how == "raises":
        with pytest.raises(ZeroDivisionError):
            driven.send(None)
    driven.close()
    assert seen == ([] if how == "closed early" else ["over"])
    assert lane.scope is None


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="asyncio.wait_for makes no task")
def test_a_response_whose_task_is_cancelled_before_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def wait_for(sending: Any, **_: Any) -> None:
        task = asyncio.ensure_future(sending)
        task.cancel()
        await task

    monkeypatch.setattr("quart.asgi.asyncio.wait_for", wait_for)
    app = make_app(LEGS["quart-async"]())

    async def main() -> None:
        browser = Browser(app, "/idle")
        await browser.run()
        assert (browser.sent, browser.error) == ([], None)

    asyncio.run(main())
    gc.collect()  # would warn of a coroutine that was never awaited


def test_a_step_within_a_step_is_the_outer_one() -> None:
    lane = Lane()
    outer, inner = Recorded(lane), Recorded(lane)

    async def nested() -> None:
        assert lane.scope is outer

    async def main() -> None:
        with pytest.raises(StopIteration):
            start(timed(inner, nested, ()))

    with pytest.raises(StopIteration):
        start(timed(outer, main, ()))
    assert (inner.steps.total, outer.steps.total > 0) == (0.0, True)


def test_a_block_that_is_shorter_than_another_one_of_its_request_is_noted() -> None:
    lane = Lane(log_from=0.01)
    scope = Recorded(lane)

    async def inner() -> None:
        hold(0.03)
        await Ask()
        hold(0.015)
        await Ask()

    driven: Any = timed(scope, inner, ())
    for _ in range(2):
        driven.send(None)
    with pytest.raises(StopIteration):
        driven.send(None)
    assert [block.scope for block in lane.blocks] == [scope, scope]
    longest = max(block.seconds for block in lane.blocks)
    assert scope.steps.read() == (longest, scope.steps.total)


def test_context_variables_and_eager_tasks() -> None:
    factory = getattr(asyncio, "eager_task_factory", None)
    leg = LEGS["quart-async"]()
    app = make_app(leg)

    async def main() -> None:
        if factory is not None:
            asyncio.get_running_loop().set_task_factory(factory)
        browsers = [Browser(app, path).start() for path in ("/view", "/idle")]
        for browser in browsers:
            await browser.over()

    asyncio.run(main())
    assert longest(leg)["/view"] >= LONG
    assert longest(leg)["/idle"] < INNOCENT
