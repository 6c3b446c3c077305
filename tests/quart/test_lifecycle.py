"""Every way in which a request to Quart can end, and its record."""

from __future__ import annotations

import asyncio
import gc
import inspect
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import quart
from quart.wrappers.response import FileBody, IterableBody

from tests.support.asgi import Browser
from tests.support.hanging import (
    LABELS,
    WAITS_FOR_DISCONNECT,
    Hang,
    all_labels,
    cancel_the_rest,
    get,
    late_path,
    late_status,
    until_nothing_is_in_progress,
)
from tests.support.legs import Leg
from tests.support.recorded import Done, check, expected, in_progress, labels, samples
from tests.support.views import VIEW
from tests.support.waiting import DEADLINE


class ServerExit(BaseException):
    """A server ends the program with this."""


# --- clients that vanish -----------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "where", ["before_request", "view", "error", "after_request", "teardown_request"]
)
async def test_client_gone_before_the_response(leg: Leg, app: Any, where: str) -> None:
    hang = Hang(leg)

    @app.get("/")
    async def view() -> str:
        if where == "view":
            await hang.stay()
        if where == "error":
            raise ZeroDivisionError
        return "ok"

    if where == "error":
        app.register_error_handler(ZeroDivisionError, hang.stay)
    elif where != "view":
        getattr(app, where)(hang.stay)
    browser = Browser(app).start()
    await hang.wait()
    assert in_progress(leg) == 1
    await browser.vanish()
    if where == "teardown_request" and WAITS_FOR_DISCONNECT:  # it collects what teardowns raise
        with pytest.raises(BaseException, match="unhandled errors in a TaskGroup"):
            await browser.task
    assert browser.sent == []
    check(leg, Done("GET", "/", 499, VIEW))


@pytest.mark.asyncio
async def test_client_gone_while_its_body_is_awaited(leg: Leg, app: Any) -> None:
    reached = asyncio.Event()

    @app.post("/")
    async def view() -> str:
        reached.set()
        await quart.request.get_data()
        return "ok"

    browser = Browser(app, method="POST", body=None)
    browser.put("http.request", body=b"half", more_body=True)
    browser.start()
    await asyncio.wait_for(reached.wait(), DEADLINE)
    await browser.vanish()
    done = Done("POST", "/", 499)
    assert samples(leg.registry) == {
        **expected(done),
        "flask_http_requests_in_progress": {labels(method="POST"): 0.0},
    }


@pytest.mark.asyncio
async def test_client_gone_at_once(leg: Leg, app: Any) -> None:
    app.get("/")(Hang(leg).stay)
    browser = Browser(app, body=None)
    browser.put("http.disconnect")
    await browser.start().over()
    check(leg, Done("GET", "/", 499, VIEW))


@pytest.mark.asyncio
async def test_unmatched_request_whose_client_vanishes(leg: Leg, app: Any) -> None:
    hang = Hang(leg)
    app.register_error_handler(404, hang.stay)
    browser = Browser(app, "/none").start()
    await hang.wait()
    await browser.vanish()
    check(leg, Done("GET", "<unmatched>", 499, VIEW))


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["counter", "histogram", "summary"])
async def test_labels_of_a_vanished_client_see_499(leg: Leg, kind: str) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    hang = Hang(leg)
    app.get("/")(getattr(metrics, kind)("views", "Views.", labels=LABELS)(hang.stay))
    browser = Browser(app).start()
    await hang.wait()
    await browser.vanish()
    found = samples(leg.registry)
    if kind == "counter":
        assert found.pop("views_total") == {labels(**all_labels(499)): 1.0}
    else:
        assert found.pop("views_count") == {labels(**all_labels(499)): 1.0}
        assert found.pop("views_sum") == {labels(**all_labels(499)): VIEW}
    assert found == expected(Done("GET", "/", 499, VIEW))


@pytest.mark.asyncio
async def test_default_labels_of_a_vanished_client_see_499(leg: Leg) -> None:
    app = leg.make_app()
    default_labels = {"host": lambda: quart.request.host, "code": late_status}
    leg.make_metrics(app, default_labels=default_labels)
    hang = Hang(leg)
    app.get("/")(hang.stay)
    browser = Browser(app).start()
    await hang.wait()
    await browser.vanish()
    done = Done("GET", "/", 499, VIEW, labels=(("host", "localhost"), ("code", "499")))
    assert samples(leg.registry) == expected(done)


@pytest.mark.asyncio
async def test_label_that_hangs_holds_no_vanished_client(
    leg: Leg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promweb.adapters.protocols.asgi.LABEL_GRACE", 0.01)
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    hang = Hang(leg)

    async def never() -> None:
        await asyncio.Event().wait()

    counted = metrics.counter("views", "Views.", labels={"never": never})
    app.get("/")(counted(hang.stay))
    browser = Browser(app).start()
    await hang.wait()
    await browser.vanish()
    found = samples(leg.registry)
    assert sum(found.pop("views_total").values()) == 1.0
    found.pop("promweb_label_errors_total", None)
    assert found == expected(Done("GET", "/", 499, VIEW))


@pytest.mark.parametrize("ending", ["answers", "has a page", "leaves"])
@pytest.mark.asyncio
async def test_client_gone_while_a_label_is_awaited(leg: Leg, ending: str) -> None:
    """The view is done, or its exception was dealt with, but nothing was sent."""
    app = leg.make_app(testing=ending == "leaves")
    hang = Hang(leg)
    calls: list[int] = []

    async def tenant(response: Any) -> str:
        calls.append(response.status_code)
        if len(calls) == 1:
            await hang.stay()
        return "t1"

    def work() -> str:
        if ending != "answers":
            raise ZeroDivisionError
        return "ok"

    leg.make_metrics(app, default_labels={"tenant": tenant})
    app.add_url_rule("/", view_func=leg.view(work), endpoint="view")
    browser = Browser(app).start()
    await hang.wait()
    await browser.vanish()
    assert browser.sent == []
    assert leg.value("flask_http_request_total", method="GET", status="499", tenant="t1") == 1.0
    assert calls == [200 if ending == "answers" else 500, 499]


@pytest.mark.asyncio
async def test_excluded_request_whose_client_vanishes(leg: Leg, app: Any) -> None:
    metrics = leg.make_metrics(None)
    hang = Hang(leg)
    counted = metrics.counter("views", "Views.")(hang.stay)
    app.get("/")(metrics.exclude_all_metrics()(counted))
    browser = Browser(app).start()
    await hang.wait()
    assert not in_progress(leg)
    await browser.vanish()
    assert samples(leg.registry) == {"views_total": {labels(): 0.0}}


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [200, 206, 500])
@pytest.mark.parametrize("chunks", [0, 1, 3])
async def test_client_gone_during_the_body(leg: Leg, app: Any, chunks: int, status: int) -> None:
    hang = Hang(leg)
    closed: list[float] = []

    async def body() -> AsyncIterator[bytes]:
        try:
            for _ in range(chunks):
                yield b"chunk"
            await hang.stay()
        finally:
            closed.append(leg.clock.now)

    app.add_url_rule(
        "/", view_func=leg.view(lambda: quart.Response(body(), status)), endpoint="view"
    )
    browser = Browser(app).start()
    await hang.wait()
    assert in_progress(leg) == 1
    await browser.vanish()
    assert (browser.status, browser.body) == (status, b"chunk" * chunks)
    assert len(closed) == 1
    check(leg, Done("GET", "/", status, VIEW))


@pytest.mark.asyncio
async def test_client_gone_before_an_error_page_was_sent_whole(leg: Leg, app: Any) -> None:
    """The exception happened all the same."""
    hang = Hang(leg)

    async def page() -> AsyncIterator[bytes]:
        yield b"sorry"
        await hang.stay()

    app.add_url_rule("/", view_func=leg.view(lambda: 1 / 0), endpoint="view")
    app.register_error_handler(500, lambda error: (page(), 500))
    browser = Browser(app).start()
    await hang.wait()
    await browser.vanish()
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [OSError, ServerExit])
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("message", ["http.response.start", "http.response.body"])
async def test_send_to_a_client_that_is_gone(
    leg: Leg, app: Any, message: str, streams: bool, error: type[BaseException]
) -> None:
    """ASGI lets servers raise then; the application did not fail."""

    async def send(sent: Any) -> None:
        if sent["type"] == message:
            raise error

    async def chunks() -> AsyncIterator[bytes]:
        yield b"ok"

    @app.get("/")
    async def view() -> Any:
        return chunks() if streams else "ok", 202

    browser = Browser(lambda scope, receive, _: app(scope, receive, send))
    with suppress(ServerExit):
        await browser.run()
    check(leg, Done("GET", "/", 499 if message == "http.response.start" else 202))


@pytest.mark.asyncio
@pytest.mark.parametrize("of", ["app", "response"])
@pytest.mark.parametrize("chunks", [0, 2])
async def test_response_timeout_cuts_the_body(leg: Leg, app: Any, chunks: int, of: str) -> None:
    hang = Hang(leg)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(chunks):
            yield b"chunk"
        await hang.stay()

    @app.get("/")
    async def view() -> Any:
        response = quart.Response(body(), 203)
        if of == "response":
            response.timeout = 0.01
        return response

    if of == "app":
        app.config["RESPONSE_TIMEOUT"] = 0.01
    browser = Browser(app).start()
    await hang.wait()
    await until_nothing_is_in_progress(leg)
    leg.clock.advance(100)
    await browser.vanish()
    assert browser.body == b"chunk" * chunks
    assert browser.sent[-1].get("more_body") is not False
    check(leg, Done("GET", "/", 203, VIEW))


@pytest.mark.asyncio
async def test_response_timeout_cuts_a_body_that_the_client_does_not_take(
    leg: Leg, app: Any
) -> None:
    @app.get("/")
    async def view() -> Any:
        leg.clock.advance(VIEW)
        return "ok", 203

    app.config["RESPONSE_TIMEOUT"] = 0.01
    browser = Browser(app)
    browser.stalled = "http.response.body"
    browser.start()
    await browser.next("http.response.start")
    await until_nothing_is_in_progress(leg)
    leg.clock.advance(100)
    await browser.vanish()
    check(leg, Done("GET", "/", 203, VIEW))


# --- cancellation at shutdown, exceptions that end the process ---------------------------------


@pytest.mark.asyncio
async def test_handler_cancelled_at_shutdown(leg: Leg, app: Any) -> None:
    hang = Hang(leg)
    app.get("/")(hang.stay)
    browser = Browser(app).start()
    await hang.wait()
    await browser.cancel()
    assert browser.task.cancelled()
    await cancel_the_rest()
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


@pytest.mark.asyncio
@pytest.mark.parametrize("by", ["server", "middleware"])
@pytest.mark.parametrize("label", LABELS)
async def test_labels_of_a_handler_cancelled_at_shutdown(leg: Leg, label: str, by: str) -> None:
    """The server cancels the task that Quart's own handler task belongs to.

    A middleware of anyio cancels whatever that task awaits from then on.
    """
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    hang, scope = Hang(leg), anyio.CancelScope()
    app.get("/")(metrics.counter("views", "Views.", labels={label: LABELS[label]})(hang.stay))

    async def limited(*args: Any) -> None:
        with scope:
            await app(*args)

    browser = Browser(limited).start()
    await hang.wait()
    if by == "middleware":
        scope.cancel()
        await browser.over()
    else:
        await browser.cancel()
    assert leg.value("flask_http_request_total", method="GET", status="500") == 1.0
    await cancel_the_rest()
    found = samples(leg.registry)
    assert found.pop("views_total") == {labels(**{label: all_labels(500)[label]}): 1.0}
    assert found == expected(Done("GET", "/", 500, VIEW, failed=True))


@pytest.mark.asyncio
async def test_labels_of_a_cancelled_handler_are_computed_once(leg: Leg) -> None:
    app, hang, calls = leg.make_app(), Hang(leg), []

    async def tenant(response: Any) -> str:
        calls.append(response.status_code)
        return "t1"

    leg.make_metrics(app, default_labels={"tenant": tenant})
    app.get("/")(hang.stay)
    browser = Browser(app).start()
    await hang.wait()
    await browser.cancel()
    await cancel_the_rest()
    assert calls == [500]
    done = Done("GET", "/", 500, VIEW, failed=True, labels=(("tenant", "t1"),))
    assert samples(leg.registry) == expected(done)


@pytest.mark.asyncio
async def test_labels_of_a_request_that_never_reached_the_application(leg: Leg) -> None:
    app, hang = leg.make_app(), Hang(leg)
    app.asgi_app = hang.stay
    leg.make_metrics(app, default_labels={"late": late_path})
    browser = Browser(app).start()
    await hang.wait()
    await browser.cancel()
    assert leg.value("flask_http_request_total", method="GET", status="500", late="") == 1.0


@pytest.mark.asyncio
async def test_body_cancelled_at_shutdown(leg: Leg, app: Any) -> None:
    hang = Hang(leg)

    async def body() -> AsyncIterator[bytes]:
        yield b"chunk"
        await hang.stay()

    app.add_url_rule("/", view_func=leg.view(lambda: (body(), 201)), endpoint="view")
    browser = Browser(app).start()
    await hang.wait()
    await browser.cancel()
    await cancel_the_rest()
    check(leg, Done("GET", "/", 201, VIEW))


@pytest.mark.asyncio
async def test_request_cut_by_a_middleware(leg: Leg, app: Any) -> None:
    """Quart leaves its handler task to itself then; the request has ended all the same."""
    hang = Hang(leg)
    app.get("/")(hang.stay)

    async def impatient(scope: Any, receive: Any, send: Any) -> None:
        serving = asyncio.create_task(app(scope, receive, send))
        await hang.wait()
        serving.cancel()
        await asyncio.wait({serving})
        await send({"type": "http.response.start", "status": 504, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert (await get(impatient)).status == 504
    check(leg, Done("GET", "/", 500, VIEW, failed=True))
    await cancel_the_rest()
    check(leg, Done("GET", "/", 500, VIEW, failed=True))


def test_every_request_counts_when_the_loop_ends(leg: Leg, app: Any) -> None:
    async def main() -> None:
        arrived: list[int] = []
        hang = Hang(leg)

        @app.get("/<int:number>")
        async def view(number: int) -> None:
            arrived.append(number)
            if len(arrived) == 20:
                await hang.stay()
            await asyncio.Event().wait()

        browsers = [Browser(app, f"/{number}").start() for number in range(20)]
        await hang.wait()
        assert in_progress(leg) == 20
        assert not any(browser.task.done() for browser in browsers)

    asyncio.run(main())
    assert in_progress(leg) == 0
    counts = samples(leg.registry)["flask_http_request_duration_seconds_count"]
    assert counts == {labels(method="GET", path=f"/{n}", status="500"): 1.0 for n in range(20)}
    assert leg.value("flask_http_request_exceptions_total", method="GET", status="500") == 20


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_exception_that_ends_the_process(leg: Leg, app: Any, error: type[BaseException]) -> None:
    @app.get("/")
    async def view() -> None:
        leg.clock.advance(VIEW)
        raise error

    with pytest.raises(error):
        asyncio.run(get(app))
    check(leg, Done("GET", "/", 500, VIEW, failed=True))
    # Its garbage must not be collected while CPython 3.11 builds a syntax tree.
    gc.collect()


# --- asynchronous hooks and error handlers -----------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("label", LABELS)
async def test_labels_of_an_exception_that_leaves(leg: Leg, label: str) -> None:
    app = leg.make_app()
    app.config["PROPAGATE_EXCEPTIONS"] = True
    metrics = leg.make_metrics(app)

    @app.get("/")
    @metrics.counter("views", "Views.", labels={label: LABELS[label]})
    async def view() -> None:
        raise ZeroDivisionError

    with suppress(Exception):  # the oldest Quart keeps it
        await get(app)
    found = samples(leg.registry)
    assert found.pop("views_total") == {labels(**{label: all_labels(500)[label]}): 1.0}
    assert found == expected(Done("GET", "/", 500, failed=True))


@pytest.mark.asyncio
@pytest.mark.parametrize("propagate", [True, False])
@pytest.mark.parametrize("hook", ["before_request", "after_request", "teardown_request"])
async def test_exception_in_an_async_hook(leg: Leg, app: Any, hook: str, propagate: bool) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = propagate
    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")

    async def fail(*args: object) -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    getattr(app, hook)(fail)
    with suppress(ZeroDivisionError):
        assert (await get(app)).status == 500
    check(leg, Done("GET", "/", 500, failed=True))


@pytest.mark.asyncio
@pytest.mark.parametrize("hook", ["before_request", "after_request"])
async def test_async_hook_decides_the_status(leg: Leg, app: Any, hook: str) -> None:
    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")

    async def answer(*args: object) -> Any:
        await asyncio.sleep(0)
        return await quart.make_response("no", 401)

    getattr(app, hook)(answer)
    assert (await get(app)).status == 401
    check(leg, Done("GET", "/", 401))


@pytest.mark.asyncio
@pytest.mark.parametrize("handled", [ZeroDivisionError, Exception, 500])
async def test_async_error_handler(leg: Leg, app: Any, handled: Any) -> None:
    app.add_url_rule("/", view_func=leg.view(lambda: 1 / 0), endpoint="view")

    @app.errorhandler(handled)
    async def answer(error: Exception) -> Any:
        await asyncio.sleep(0)
        leg.clock.advance(VIEW)
        return "handled", 503

    assert (await get(app)).status == 503
    check(leg, Done("GET", "/", 503, VIEW, failed=handled == 500))


@pytest.mark.asyncio
async def test_after_this_request_decides_the_status(leg: Leg, app: Any) -> None:
    @app.get("/")
    async def view() -> str:
        @quart.after_this_request
        async def change(response: Any) -> Any:
            response.status_code = 418
            return response

        return "ok"

    assert (await get(app)).status == 418
    check(leg, Done("GET", "/", 418))


# --- bodies ------------------------------------------------------------------------------------


async def chunks(leg: Leg, number: int) -> AsyncIterator[bytes]:
    """Yield chunks, each of which takes `VIEW` seconds."""
    for _ in range(number):
        await asyncio.sleep(0)
        leg.clock.advance(VIEW)
        yield b"chunk"


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [0, 1, 3])
async def test_streamed_async_generator(leg: Leg, app: Any, number: int) -> None:
    app.add_url_rule("/", view_func=leg.view(lambda: (chunks(leg, number), 202)), endpoint="view")
    assert (await get(app)).body == b"chunk" * number
    check(leg, Done("GET", "/", 202, number * VIEW))


@pytest.mark.asyncio
@pytest.mark.parametrize("metrics_on_it", [True, False])
async def test_view_that_is_an_async_generator(leg: Leg, metrics_on_it: bool) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)

    async def view() -> AsyncIterator[bytes]:
        async for chunk in chunks(leg, 3):
            assert quart.has_request_context() is False
            yield chunk

    if metrics_on_it:
        view = metrics.gauge("open", "Open.")(metrics.summary("views", "Views.", LABELS)(view))
    app.get("/")(view)
    assert (await get(app)).body == b"chunkchunkchunk"
    found = samples(leg.registry)
    if metrics_on_it:
        assert found.pop("open") == {labels(): 0.0}
        assert found.pop("views_count") == {labels(**all_labels(200)): 1.0}
        assert found.pop("views_sum") == {labels(**all_labels(200)): 3 * VIEW}
    assert found == expected(Done("GET", "/", 200, 3 * VIEW), in_progress=True)


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("propagate", [True, False])
async def test_async_generator_that_raises_half_way(
    leg: Leg, app: Any, propagate: bool, number: int
) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = propagate

    async def body() -> AsyncIterator[bytes]:
        async for chunk in chunks(leg, number):
            yield chunk
        raise ZeroDivisionError

    app.add_url_rule("/", view_func=leg.view(lambda: (body(), 206)), endpoint="view")
    browser = Browser(app).start()
    with suppress(ZeroDivisionError):
        await browser.over()
    assert (browser.status, browser.body) == (206, b"chunk" * number)
    check(leg, Done("GET", "/", 206, number * VIEW, failed=True))


@pytest.mark.asyncio
async def test_decorated_async_generator_whose_client_vanishes(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    hang = Hang(leg)

    @app.get("/")
    @metrics.gauge("open", "Open.")
    @metrics.summary("views", "Views.", labels=LABELS)
    async def view() -> AsyncIterator[bytes]:
        yield b"chunk"
        await hang.stay()

    browser = Browser(app).start()
    await hang.wait()
    assert leg.value("open") == 1.0
    await browser.vanish()
    found = samples(leg.registry)
    assert found.pop("open") == {labels(): 0.0}
    assert found.pop("views_count") == {labels(**all_labels(200)): 1.0}
    assert found.pop("views_sum") == {labels(**all_labels(200)): VIEW}
    assert found == expected(Done("GET", "/", 200, VIEW), in_progress=True)


@pytest.mark.asyncio
async def test_async_generator_that_was_dropped_unread(leg: Leg) -> None:
    """The view made a stream and answered with something else."""
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)

    @metrics.gauge("open", "Open.")
    @metrics.counter("streams", "Streams.")
    async def stream() -> AsyncIterator[bytes]:
        yield b"never"

    @app.get("/")
    async def view() -> str:
        stream()
        return "ok"

    assert (await get(app)).body == b"ok"
    found = samples(leg.registry)
    assert found.pop("open") == {labels(): 0.0}
    assert found.pop("streams_total") == {labels(): 0.0}
    assert found == expected(Done("GET", "/", 200), in_progress=True)


class Iterable:
    """An iterable that is not a generator."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"co", b"ntent"])


class AsyncIterable:
    """An asynchronous iterable that is not a generator."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"co"
        yield b"ntent"


BODIES: dict[str, Callable[[Path], Any]] = {
    "str": lambda path: "content",
    "list": lambda path: quart.Response([b"co", b"ntent"]),
    "iterator": lambda path: quart.Response(iter([b"co", b"ntent"])),
    "iterable": lambda path: quart.Response(Iterable()),
    "async iterable": lambda path: quart.Response(AsyncIterable()),
    "file body": lambda path: quart.Response(FileBody(path, buffer_size=2)),
    "iterable body": lambda path: quart.Response(IterableBody([b"content"])),
    "path": lambda path: quart.send_file(path),
    "directory": lambda path: quart.send_from_directory(path.parent, path.name),
    "bytes": lambda path: quart.send_file(io.BytesIO(b"content"), mimetype="text/plain"),
    "werkzeug": lambda path: quart.abort(__import__("werkzeug").Response("content", 200)),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", BODIES)
async def test_bodies_of_every_kind(leg: Leg, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file.txt"
    file.write_bytes(b"content")
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True, response_size=True)

    @app.get("/")
    async def view() -> Any:
        leg.clock.advance(VIEW)
        answer = BODIES[kind](file)
        return await answer if inspect.isawaitable(answer) else answer

    assert (await get(app)).body == b"content"
    found = samples(leg.registry)
    sizes = {labels(method="GET", path="/", status="200"): 7.0}
    assert found.pop("flask_http_response_size_bytes_sum") == sizes
    assert found.pop("flask_http_response_size_bytes_count") == dict.fromkeys(sizes, 1.0)
    assert found == expected(Done("GET", "/", 200, VIEW), in_progress=True)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("header", "value", "status", "body"),
    [
        ("range", "bytes=1-3", 206, b"ont"),
        ("range", "bytes=99-", 416, None),
        ("if-none-match", "*", 304, None),
    ],
)
async def test_conditional_file(
    leg: Leg, app: Any, tmp_path: Path, header: str, value: str, status: int, body: Any
) -> None:
    (tmp_path / "file.txt").write_bytes(b"content")

    @app.get("/")
    async def view() -> Any:
        response = await quart.send_file(tmp_path / "file.txt", conditional=True)
        if header == "if-none-match":
            await response.make_conditional(quart.request)
        return response

    browser = await get(app, headers={header: value})
    assert browser.status == status
    assert body is None or browser.body == body
    check(leg, Done("GET", "/", status))


@pytest.mark.asyncio
async def test_file_whose_client_vanishes(leg: Leg, app: Any, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_bytes(b"content")
    hang = Hang(leg)

    class SlowFile(FileBody):
        async def __anext__(self) -> bytes:
            if await self.file.tell():  # type: ignore[union-attr]
                await hang.stay()
            return await super().__anext__()

    body = SlowFile(tmp_path / "file.txt", buffer_size=2)
    app.add_url_rule("/", view_func=leg.view(lambda: quart.Response(body)), endpoint="view")
    browser = Browser(app).start()
    await hang.wait()
    await browser.vanish()
    assert browser.body == b"co"
    check(leg, Done("GET", "/", 200, VIEW))


@pytest.mark.asyncio
async def test_stream_with_context(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)

    async def part() -> bytes:
        leg.clock.advance(VIEW)
        return quart.request.path.encode()

    part = metrics.counter("parts", "Parts.", labels={"path": lambda: quart.request.path})(part)

    @app.get("/stream")
    async def view() -> Any:
        @quart.stream_with_context
        async def body() -> AsyncIterator[bytes]:
            yield await part()
            yield await part()

        return body(), 203

    assert (await get(app, "/stream")).body == b"/stream/stream"
    found = samples(leg.registry)
    assert found.pop("parts_total") == {labels(path="/stream"): 2.0}
    assert found == expected(Done("GET", "/stream", 203, 2 * VIEW), in_progress=True)


@pytest.mark.asyncio
async def test_server_push(leg: Leg, app: Any) -> None:
    @app.get("/")
    async def view() -> str:
        await quart.make_push_promise("/style.css")
        return "ok"

    browser = await get(app, extensions={"http.response.push": {}}, http_version="2")
    assert [message["type"] for message in browser.sent][:2] == [
        "http.response.push",
        "http.response.start",
    ]
    assert browser.sent[0]["path"] == "/style.css"
    check(leg, Done("GET", "/", 200))


@pytest.mark.asyncio
async def test_sizes_of_streams_are_counted(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, request_size=True, response_size=True, response_start=True)
    hang = Hang(leg)

    async def body() -> AsyncIterator[bytes]:
        async for chunk in chunks(leg, 2):
            yield chunk
        await hang.stay()

    @app.post("/")
    async def view() -> Any:
        await quart.request.get_data()
        return body()

    browser = Browser(app, method="POST", body=None)
    browser.put("http.request", body=b"abc", more_body=True)
    browser.put("http.request", body=b"defg", more_body=False)
    browser.start()
    await hang.wait()
    await browser.vanish()
    found = samples(leg.registry)
    one = labels(method="POST", path="/", status="200")
    assert found["flask_http_request_size_bytes_sum"] == {one: 7.0}
    assert found["flask_http_response_size_bytes_sum"] == {one: 10.0}
    assert found["flask_http_response_start_seconds_sum"] == {one: VIEW}
    assert found["flask_http_request_duration_seconds_sum"] == {one: 3 * VIEW}


# --- background tasks --------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("plain", [True, False])
async def test_background_task_is_not_part_of_the_request(leg: Leg, plain: bool) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    release, async_release, finished = threading.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def job() -> str:
        leg.clock.advance(100)
        return "done"

    async def async_job() -> str:
        await async_release.wait()
        return job()

    def plain_job() -> str:
        assert release.wait(DEADLINE)
        return job()

    function: Any = plain_job if plain else async_job
    for decorate in (
        metrics.gauge("jobs_open", "Open."),
        metrics.counter("jobs", "Jobs.", labels={"result": lambda result: result}),
        metrics.summary("job_seconds", "Seconds.", labels={"app": lambda: quart.current_app.name}),
    ):
        function = decorate(function)

    async def task() -> None:
        await app.ensure_async(function)()
        loop.call_soon_threadsafe(finished.set)

    @app.get("/")
    async def view() -> str:
        app.add_background_task(task)
        leg.clock.advance(VIEW)
        return "ok"

    await get(app)
    one = Done("GET", "/", 200, VIEW)
    found = samples(leg.registry)
    assert {name: found[name] for name in expected(one, in_progress=True)} == expected(
        one, in_progress=True
    )
    release.set()
    async_release.set()
    await asyncio.wait_for(finished.wait(), DEADLINE)
    found = samples(leg.registry)
    assert found.pop("jobs_open") == {labels(): 0.0}
    assert found.pop("jobs_total") == {labels(result="done"): 1.0}
    assert found.pop("job_seconds_count") == {labels(app="shop"): 1.0}
    assert found.pop("job_seconds_sum") == {labels(app="shop"): 100.0}
    assert found == expected(one, in_progress=True)


@pytest.mark.asyncio
async def test_background_task_outlives_a_vanished_client(leg: Leg, app: Any) -> None:
    hang, release, finished = Hang(leg), asyncio.Event(), asyncio.Event()
    metrics = leg.make_metrics(None)

    @metrics.counter("jobs", "Jobs.", labels={"result": lambda result: result})
    async def job() -> str:
        await release.wait()
        return "done"

    async def task() -> None:
        await job()
        finished.set()

    @app.get("/")
    async def view() -> None:
        app.add_background_task(task)
        await hang.stay()

    browser = Browser(app).start()
    await hang.wait()
    await browser.vanish()
    check(leg, Done("GET", "/", 499, VIEW))
    release.set()
    await asyncio.wait_for(finished.wait(), DEADLINE)
    found = samples(leg.registry)
    assert found.pop("jobs_total") == {labels(result="done"): 1.0}
    assert found == expected(Done("GET", "/", 499, VIEW), in_progress=True)
