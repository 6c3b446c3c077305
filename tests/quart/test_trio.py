"""The same on trio: `QuartTrio` applications and decorated functions."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
import quart
import trio
import trio.lowlevel
import trio.testing

from tests.support.asgi import Browser, Peer, Socket
from tests.support.hanging import (
    LABELS,
    LEAVES,
    RAISES_GONE,
    Gone,
    Hang,
    SlowCollector,
    all_labels,
    late_status,
)
from tests.support.legs import Leg, TrioLeg
from tests.support.recorded import Done, check, expected, in_progress, labels, samples
from tests.support.views import VIEW
from tests.support.waiting import DEADLINE

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup


@pytest.fixture
def leg() -> Leg:
    return TrioLeg("quart-trio", quart, async_views=True)


def on_trio(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in an event loop of trio."""

    @functools.wraps(test)
    def run(**kwargs: Any) -> None:
        trio.run(functools.partial(test, **kwargs))

    return run


async def get(app: Any, path: str = "/", **scope: Any) -> Browser:
    """Send a request and wait for its end."""
    browser = Browser(app, path, **scope)
    await browser.run()
    if browser.error is not None:
        raise browser.error
    return browser


async def vanish(hang: Hang, peer: Peer, *, shutdown: bool = False) -> None:
    """Let a client leave, or the server shut down, once a request hangs."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        await hang.wait()
        if shutdown:
            nursery.cancel_scope.cancel()
        else:
            peer.put(f"{peer.scope['type']}.disconnect")
    if peer.error is not None:
        raise peer.error


# --- requests ----------------------------------------------------------------------------------


@on_trio
async def test_answers_and_unmatched_requests(leg: Leg, app: Any) -> None:
    @app.get("/")
    async def view() -> Any:
        assert in_progress(leg) == 1
        leg.clock.advance(VIEW)
        await trio.lowlevel.checkpoint()
        return "ok", 202

    assert (await get(app)).body == b"ok"
    assert (await get(app, "/none")).status == 404
    check(leg, Done("GET", "/", 202, VIEW), Done("GET", "<unmatched>", 404))


@on_trio
async def test_streamed_body(leg: Leg, app: Any) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            leg.clock.advance(VIEW)
            yield b"chunk"

    app.add_url_rule("/", view_func=leg.view(lambda: quart.current_app.response_class(body(), 203)))
    assert (await get(app)).body == b"chunk" * 3
    check(leg, Done("GET", "/", 203, 3 * VIEW))


@pytest.mark.parametrize("number", [0, 2])
@on_trio
async def test_body_that_raises_half_way(leg: Leg, app: Any, number: int) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(number):
            yield b"chunk"
        raise ZeroDivisionError

    app.add_url_rule("/", view_func=leg.view(lambda: (body(), 206)), endpoint="view")
    browser = Browser(app)
    await browser.run()
    assert isinstance(browser.error, ExceptionGroup)
    assert (browser.status, browser.body) == (206, b"chunk" * number)
    check(leg, Done("GET", "/", 206, failed=True))


def grouped() -> None:
    raise ExceptionGroup("two", [ZeroDivisionError(), KeyError()])


def single() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("fail", [single, grouped])
@pytest.mark.parametrize("propagate", [True, False])
@on_trio
async def test_unhandled_exception(leg: Leg, app: Any, propagate: bool, fail: Any) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = propagate
    app.add_url_rule("/", view_func=leg.view(fail), endpoint="view")
    with suppress(ExceptionGroup):
        assert (await get(app)).status == 500
    check(leg, Done("GET", "/", 500, failed=True))


@on_trio
async def test_error_handler_answers_an_exception_of_a_nursery(leg: Leg, app: Any) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    @app.get("/")
    async def view() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)

    app.register_error_handler(ZeroDivisionError, lambda error: ("handled", 409))
    assert (await get(app)).body == b"handled"
    check(leg, Done("GET", "/", 409))


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@on_trio
async def test_exception_that_ends_the_process(leg: Leg, app: Any, error: Any) -> None:
    @app.get("/")
    async def view() -> None:
        leg.clock.advance(VIEW)
        raise error

    with pytest.raises(BaseExceptionGroup) as raised:
        await get(app)
    assert raised.value.split(error)[1] is None
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


def gone(shutdown: bool) -> Done:
    """Return a request that the client left, or that the server cut when it shut down."""
    return Done("GET", "/", 500 if shutdown else 499, VIEW, failed=shutdown)


@pytest.mark.parametrize("shutdown", [True, False])
@pytest.mark.parametrize("where", ["before_request", "view", "after_request", "teardown_request"])
@on_trio
async def test_gone_before_the_response(leg: Leg, app: Any, where: str, shutdown: bool) -> None:
    hang = Hang(leg)
    if where == "view":
        app.get("/")(hang.stay)
    else:
        app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")
        getattr(app, where)(hang.stay)
    browser = Browser(app)
    await vanish(hang, browser, shutdown=shutdown)
    assert browser.sent == []
    check(leg, gone(shutdown))


@pytest.mark.parametrize("shutdown", [True, False])
@on_trio
async def test_labels_of_a_cancelled_request(leg: Leg, shutdown: bool) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, default_labels={"late": late_status}, group_by=tenant)
    hang = Hang(leg)
    app.get("/")(metrics.counter("views", "Views.", labels=LABELS)(hang.stay))
    await vanish(hang, Browser(app, headers={"x-tenant": "t1"}), shutdown=shutdown)
    found = samples(leg.registry)
    status = gone(shutdown).status
    assert found.pop("views_total") == {labels(**all_labels(status), late=str(status)): 1.0}
    done = gone(shutdown)._replace(group="t1", labels=(("late", str(status)),))
    assert found == expected(done, by="tenant")


async def tenant(request: Any) -> str:
    await trio.lowlevel.checkpoint()
    name: str = request.headers["x-tenant"]
    return name


@pytest.mark.parametrize("shutdown", [True, False])
@on_trio
async def test_nursery_of_a_view_is_cancelled(leg: Leg, app: Any, shutdown: bool) -> None:
    """Several cancelled tasks may come out as one group."""
    hang = Hang(leg)

    @app.get("/")
    async def view() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)
            await hang.stay()

    await vanish(hang, Browser(app), shutdown=shutdown)
    check(leg, gone(shutdown))


@RAISES_GONE
@on_trio
async def test_gone_as_some_tasks_of_a_nursery_find(leg: Leg, app: Any) -> None:
    hang = Hang(leg)

    async def find() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise Gone

    @app.get("/")
    async def view() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find)
            nursery.start_soon(hang.stay)

    with suppress(ExceptionGroup):
        await vanish(hang, Browser(app))
    check(leg, Done("GET", "/", 499, VIEW))


@pytest.mark.parametrize("shutdown", [True, False])
@pytest.mark.parametrize("chunks", [0, 2])
@on_trio
async def test_gone_during_the_body(leg: Leg, app: Any, chunks: int, shutdown: bool) -> None:
    hang = Hang(leg)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(chunks):
            yield b"chunk"
        await hang.stay()

    app.add_url_rule("/", view_func=leg.view(lambda: (body(), 206)), endpoint="view")
    browser = Browser(app)
    await vanish(hang, browser, shutdown=shutdown)
    assert browser.body == b"chunk" * chunks
    check(leg, Done("GET", "/", 206, VIEW))


@on_trio
async def test_response_timeout_cuts_the_body(leg: Leg, app: Any) -> None:
    hang = Hang(leg)

    async def body() -> AsyncIterator[bytes]:
        yield b"chunk"
        await hang.stay()

    app.config["RESPONSE_TIMEOUT"] = 0.01
    app.add_url_rule("/", view_func=leg.view(lambda: (body(), 203)), endpoint="view")
    assert (await get(app)).body == b"chunk"
    check(leg, Done("GET", "/", 203, VIEW))


@on_trio
async def test_plain_view_in_a_thread(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    loop_thread = threading.get_ident()
    seen: list[Any] = []

    @app.get("/<item>")
    @metrics.gauge("open", "Open.")
    @metrics.summary("views", "Views.", labels=LABELS)
    def view(item: str) -> Any:
        leg.clock.advance(VIEW)
        seen.extend([threading.get_ident() == loop_thread, in_progress(leg), leg.value("open")])
        return item, 202

    assert (await get(app, "/a")).body == b"a"
    assert seen == [False, 1.0, 1.0]
    found = samples(leg.registry)
    assert found.pop("open") == {labels(): 0.0}
    assert found.pop("views_count") == {labels(**all_labels(202, "/a")): 1.0}
    assert found.pop("views_sum") == {labels(**all_labels(202, "/a")): VIEW}
    assert found == expected(Done("GET", "/a", 202, VIEW), in_progress=True)


@on_trio
async def test_plain_view_whose_client_vanishes(leg: Leg, app: Any) -> None:
    """Trio waits for the thread; the server drops what it answers."""
    metrics = leg.make_metrics(None)
    reached, release = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    @app.get("/")
    @metrics.gauge("open", "Open.")
    @metrics.counter("views", "Views.")
    def view() -> str:
        token.run_sync_soon(reached.set)
        assert release.wait(DEADLINE)
        return "ok"

    browser = Browser(app)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(browser.run)
        await reached.wait()
        browser.put("http.disconnect")
        await trio.testing.wait_all_tasks_blocked()
        release.set()
    found = samples(leg.registry)
    assert found.pop("open") == {labels(): 0.0}
    assert found.pop("views_total") == {labels(): 1.0}
    assert found == expected(Done("GET", "/", 499), in_progress=True)


@on_trio
async def test_background_task_is_not_part_of_the_request(leg: Leg, app: Any) -> None:
    metrics = leg.make_metrics(None)
    release = trio.Event()

    @metrics.counter("jobs", "Jobs.", labels={"result": lambda result: result})
    async def job() -> str:
        await release.wait()
        leg.clock.advance(100)
        return "done"

    @app.get("/")
    async def view() -> str:
        app.add_background_task(job)
        leg.clock.advance(VIEW)
        return "ok"

    one = expected(Done("GET", "/", 200, VIEW), in_progress=True)
    async with trio.open_nursery() as nursery:
        app.nursery = nursery
        await get(app)
        assert samples(leg.registry) == one
        release.set()
    found = samples(leg.registry)
    assert found.pop("jobs_total") == {labels(result="done"): 1.0}
    assert found == one


# --- decorators --------------------------------------------------------------------------------


@on_trio
async def test_every_decorator_at_once_with_cancelled_calls(leg: Leg) -> None:
    metrics = leg.make_metrics(None)
    started: list[int] = []
    all_started, gate = trio.Event(), trio.Event()
    outcomes: dict[int, str] = {}

    async def job(number: int, *, name: str = "job") -> str:
        """Work."""
        started.append(number)
        if len(started) == 50:
            all_started.set()
        await gate.wait()
        if number % 5 == 1:
            raise ZeroDivisionError
        return f"{name} {number % 2}"

    async def late(result: str) -> str:
        await trio.lowlevel.checkpoint()
        return result

    decorated: Any = job
    for decorate in (
        metrics.counter("jobs", "Jobs.", labels={"result": late}),
        metrics.gauge("open", "Open.", labels={"kind": "k"}),
        metrics.histogram("seconds", "Seconds.", labels={"result": lambda result: result}),
        metrics.summary("also_seconds", "Seconds."),
        metrics.do_not_track(),
        metrics.exclude_all_metrics(),
    ):
        decorated = decorate(decorated)
    assert inspect.iscoroutinefunction(decorated)
    assert inspect.signature(decorated) == inspect.signature(job)

    async def call(number: int, scope: trio.CancelScope) -> None:
        outcomes[number] = "cancelled"
        with scope:
            try:
                outcomes[number] = await decorated(number)
            except ZeroDivisionError:
                outcomes[number] = "failed"

    scopes = [trio.CancelScope() for _ in range(50)]
    async with trio.open_nursery() as nursery:
        for number, scope in enumerate(scopes):
            nursery.start_soon(call, number, scope)
        await all_started.wait()
        assert leg.value("open", kind="k") == 50.0
        for scope in scopes[::5]:
            scope.cancel()
        gate.set()
    kinds = [outcomes[number] for number in range(50)]
    assert (
        kinds
        == [
            *("cancelled", "failed", "job 0", "job 1", "job 0"),
            *("cancelled", "failed", "job 1", "job 0", "job 1"),
        ]
        * 5
    )
    found = samples(leg.registry)
    counts = {"<exception>": 20.0, "job 0": 15.0, "job 1": 15.0}
    assert found["jobs_total"] == {labels(result=r): n for r, n in counts.items()}
    assert found["open"] == {labels(kind="k"): 0.0}
    assert found["seconds_count"] == {labels(result=r): n for r, n in counts.items()}
    assert found["also_seconds_count"] == {labels(): 50.0}


@on_trio
async def test_coroutine_label_of_a_cancelled_call(leg: Leg) -> None:
    """Its value does not depend on how the call ended, as on asyncio."""
    metrics = leg.make_metrics(None)
    hang = Hang(leg)

    async def kind() -> str:
        await trio.lowlevel.checkpoint()
        return "k"

    job = metrics.summary("jobs", "Jobs.", labels={"kind": kind})(hang.stay)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job)
        await hang.wait()
        nursery.cancel_scope.cancel()
    assert samples(leg.registry) == {
        "jobs_count": {labels(kind="k"): 1.0},
        "jobs_sum": {labels(kind="k"): VIEW},
    }


@pytest.mark.parametrize("how", ["closed", "cancelled", "exhausted"])
@on_trio
async def test_decorated_async_generator(leg: Leg, how: str) -> None:
    metrics = leg.make_metrics(None)
    hang = Hang(leg)

    @metrics.gauge("open", "Open.")
    @metrics.summary("streams", "Streams.")
    async def stream() -> AsyncIterator[int]:
        yield 1
        leg.clock.advance(VIEW)
        yield 2
        if how == "cancelled":
            await hang.stay()

    async def read() -> None:
        reading = stream()
        assert [await anext(reading), await anext(reading)] == [1, 2]
        assert leg.value("open") == 1.0
        if how == "closed":
            await reading.aclose()
        else:
            assert [item async for item in reading] == []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        if how == "cancelled":
            await hang.wait()
            nursery.cancel_scope.cancel()
    assert samples(leg.registry) == {
        "open": {labels(): 0.0},
        "streams_count": {labels(): 1.0},
        "streams_sum": {labels(): (2 if how == "cancelled" else 1) * VIEW},
    }


# --- websockets --------------------------------------------------------------------------------


def connections(*ends: tuple[str, str], received: float, sent: float) -> Any:
    """Return the samples of these connections, by group and close code, and of their messages."""
    found: dict[str, Any] = {}
    groups = {group for group, _ in ends}
    found["flask_websocket_connections_in_progress"] = {labels(path=g): 0.0 for g in groups}
    counts = {labels(path=group, close_code=code): 1.0 for group, code in ends}
    found["flask_websocket_connection_duration_seconds_count"] = counts
    messages = {"received": received, "sent": sent}
    found["flask_websocket_messages_total"] = {
        labels(path="/", direction=direction): n for direction, n in messages.items() if n
    }
    return {name: values for name, values in found.items() if values}


def recorded(leg: Leg) -> Any:
    found = samples(leg.registry)
    found.pop("flask_websocket_connection_duration_seconds_sum", None)
    return found


@pytest.mark.parametrize("code", [1000, 4001, None])
@on_trio
async def test_client_closes(leg: Leg, code: int | None) -> None:
    app = leg.make_app()
    leg.make_metrics(app)

    @app.websocket("/")
    async def echo() -> None:
        while True:
            await quart.websocket.send(await quart.websocket.receive())

    socket = Socket(app)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(socket.run)
        socket.say("one")
        socket.say("two")
        await socket.accepted()
        assert [await socket.heard(), await socket.heard()] == ["one", "two"]
        assert leg.value("flask_websocket_connections_in_progress", path="/") == 1.0
        await socket.close(**({} if code is None else {"code": code}))
    assert recorded(leg) == connections(
        ("/", "<other>" if code == 4001 else str(code or 1005)), received=2.0, sent=2.0
    )


@on_trio
async def test_server_closes(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)

    @app.websocket("/")
    async def view() -> None:
        await quart.websocket.send("bye")
        await quart.websocket.close(4002)

    await Socket(app).run()
    assert recorded(leg) == connections(("/", "4002"), received=0.0, sent=1.0)


@on_trio
async def test_rejected_handshake(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)

    @app.websocket("/")
    async def view() -> None:
        quart.abort(401)

    plain, extended = Socket(app), Socket(app, extensions={"websocket.http.response": {}})
    await plain.run()
    await extended.run()
    found = recorded(leg)
    assert found["flask_websocket_connection_duration_seconds_count"] == {
        labels(path="/", close_code="403"): 1.0,
        labels(path="/", close_code="401"): 1.0,
    }
    assert "flask_websocket_messages_total" not in found


@pytest.mark.parametrize("accept", [True, False])
@on_trio
async def test_websocket_handler_is_cancelled(leg: Leg, accept: bool) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    hang = Hang(leg)

    @app.websocket("/")
    async def view() -> None:
        if accept:
            await quart.websocket.accept()
        await hang.stay()

    await vanish(hang, Socket(app), shutdown=True)
    found = recorded(leg)
    code = "1011" if accept else "500"
    assert found.pop("flask_websocket_connection_duration_seconds_count") == {
        labels(path="/", close_code=code): 1.0
    }
    assert set(found.get("flask_websocket_connections_in_progress", {}).values()) <= {0.0}


@LEAVES
@on_trio
async def test_websocket_handler_that_fails(leg: Leg) -> None:
    app = leg.make_app()
    app.config["PROPAGATE_EXCEPTIONS"] = True
    leg.make_metrics(app)

    @app.websocket("/")
    async def view() -> None:
        await quart.websocket.accept()
        raise ZeroDivisionError

    socket = Socket(app)
    await socket.run()
    assert isinstance(socket.error, ExceptionGroup)
    assert recorded(leg) == connections(("/", "1011"), received=0.0, sent=0.0)


# --- scrapes -----------------------------------------------------------------------------------


@on_trio
async def test_generate_metrics_async(leg: Leg, slow: SlowCollector) -> None:
    metrics = leg.make_metrics(None)
    slow.release.set()
    text, content_type = await metrics.generate_metrics_async(names=["slow"])
    assert text.splitlines()[-1] == "slow 1.0"
    assert content_type == metrics.generate_metrics()[1]
    assert slow.threads[0] != threading.get_ident()


@on_trio
async def test_slow_collector_does_not_hold_the_loop(
    leg: Leg, slow: SlowCollector, app: Any
) -> None:
    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")
    scrape = Browser(app, "/metrics")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scrape.run)
        await slow.wait()
        assert (await get(app)).body == b"ok"
        assert scrape.sent == []
        slow.release.set()
    assert b"slow 1.0" in scrape.body
    check_requests = samples(leg.registry)
    check_requests.pop("slow")
    assert check_requests == expected(Done("GET", "/", 200), in_progress=True)


@on_trio
async def test_scrapes_at_the_same_time_share_one_rendering(
    leg: Leg, slow: SlowCollector, app: Any
) -> None:
    scrapes = [Browser(app, "/metrics") for _ in range(20)]
    async with trio.open_nursery() as nursery:
        for scrape in scrapes:
            nursery.start_soon(scrape.run)
        await slow.wait()
        await trio.testing.wait_all_tasks_blocked()
        slow.release.set()
    assert slow.calls == 1
    assert {scrape.body for scrape in scrapes} == {scrapes[0].body}
    assert b"slow 1.0" in scrapes[0].body


@pytest.mark.parametrize("first", [True, False])
@on_trio
async def test_cancelled_scrape_does_not_disturb_the_others(
    leg: Leg, slow: SlowCollector, app: Any, first: bool
) -> None:
    scrapes = [Browser(app, "/metrics") for _ in range(5)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scrapes[0].run)
        await slow.wait()
        for scrape in scrapes[1:]:
            nursery.start_soon(scrape.run)
        await trio.testing.wait_all_tasks_blocked()
        gone = scrapes.pop(0 if first else 3)
        gone.put("http.disconnect")
        await trio.testing.wait_all_tasks_blocked()
        slow.release.set()
    for scrape in scrapes:
        assert scrape.status == 200
        assert b"\nslow " in scrape.body
    assert slow.calls == 1
    assert b"slow 2.0" in (await get(app, "/metrics")).body


@on_trio
async def test_scrapes_that_time_out_do_not_pile_up(
    leg: Leg, slow: SlowCollector, app: Any
) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            scrape = Browser(app, "/metrics")
            nursery.start_soon(scrape.run)
            await slow.wait()
            await trio.testing.wait_all_tasks_blocked()
            scrape.put("http.disconnect")
            await trio.testing.wait_all_tasks_blocked()
        assert slow.calls == 1
        slow.release.set()
    assert (await get(app, "/metrics")).status == 200
