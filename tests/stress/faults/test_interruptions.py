"""Requests and websockets to Quart that are interrupted at every single step of their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio.lowlevel
import pytest
import quart

from tests.support.asgi import Browser, Socket
from tests.support.legs import LEGS, Leg
from tests.support.needs import module
from tests.support.recorded import Samples, labels, samples

from .stepping import Main, drop, run

MOST_STEPS = 200
"""More than any request here takes."""


class Quit(BaseException):
    """Neither an `Exception` nor a cancellation."""


async def late(response: Any = None) -> str:
    await anyio.lowlevel.checkpoint()
    return "late"


async def late_of(response: Any) -> str:
    await anyio.lowlevel.checkpoint()
    return str(response.status_code)


class Shop:
    """An application that awaits wherever it can."""

    def __init__(self, app: Any = None, *, default_labels: Any, ends: str) -> None:
        self.leg = LEGS["quart-async"]()
        self.app = app = app or self.leg.make_app()
        self.reached = self.begun = self.jobs = 0
        self.ends = ends
        self._count_what_reaches()
        metrics = self.leg.make_metrics(app, in_progress=True, default_labels=default_labels)

        async def hook(*args: Any) -> Any:
            await anyio.lowlevel.checkpoint()
            return args[0] if args and isinstance(args[0], quart.Response) else None

        async def page(error: Any) -> Any:
            await anyio.lowlevel.checkpoint()
            return "sorry", 503

        app.before_request(hook)
        app.after_request(hook)
        app.teardown_request(hook)
        app.register_error_handler(KeyError, page)
        app.register_error_handler(500, page)

        @metrics.gauge("working", "Working.", {"late": late_path})
        @metrics.counter("jobs", "Jobs.", {"late": late_path, "result": late_result})
        async def job() -> str:
            self.jobs += 1
            await anyio.lowlevel.checkpoint()
            return "done"

        @app.get("/")
        @metrics.gauge("busy", "Busy.", {"late": late_path, **dict.fromkeys(default_labels, "-")})
        @metrics.counter("views", "Views.", {"late": late_path, "status": late_of})
        async def view() -> Any:
            self.begun += 1
            await job()
            await anyio.lowlevel.checkpoint()
            if self.ends == "streams":
                return self._stream(), 202
            if self.ends != "returns":
                raise KeyError if self.ends == "handled" else ZeroDivisionError
            return "ok"

        @app.websocket("/talk")
        @metrics.gauge("talks", "Talks.", dict.fromkeys(default_labels, "-"))
        async def talk() -> None:
            text = ""
            while text != "bye":
                text = await quart.websocket.receive()
                await quart.websocket.send(text)

    async def _stream(self) -> AsyncIterator[bytes]:
        for _ in range(2):
            await anyio.lowlevel.checkpoint()
            yield b"part"

    def _count_what_reaches(self) -> None:
        """Count what reaches the application's dispatch, and so is promweb's to count."""
        for name in ("full_dispatch_request", "full_dispatch_websocket"):
            setattr(self.app, name, self._counting(getattr(self.app, name)))

    def _counting(self, dispatch: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any) -> Any:
            self.reached += 1
            return dispatch(*args)

        return count

    async def request(self) -> None:
        await Browser(self.app).run()

    async def talk(self) -> None:
        socket = Socket(self.app, "/talk")
        for text in ("hello", "bye"):
            socket.say(text)
        await socket.run()


async def late_result(result: str) -> str:
    await anyio.lowlevel.checkpoint()
    return result


async def late_path() -> str:
    await anyio.lowlevel.checkpoint()
    return "/"


def total(found: Samples, name: str) -> float:
    return sum(found.get(name, {}).values())


def check(shop: Shop) -> None:
    """Assert that everything that reached the application was counted once, and has left."""
    found = samples(shop.leg.registry)
    assert total(found, "flask_http_request_total") == shop.reached
    assert total(found, "views_total") == shop.begun
    assert set(found.get("flask_http_requests_in_progress", {}).values()) <= {0.0}
    assert set(found.get("busy", {}).values()) <= {0.0}
    assert total(found, "jobs_total") == shop.jobs
    assert set(found.get("working", {}).values()) <= {0.0}


INTERRUPTIONS: dict[str, Callable[[Main, int], bool]] = {
    "cancelled": run,
    "quit": lambda main, at: run(main, at, Quit),
    "closed": drop,
    "closed, the server's first": lambda main, at: drop(main, at, first=True),
}


@pytest.mark.parametrize("how", INTERRUPTIONS)
@pytest.mark.parametrize("ends", ["returns", "handled", "raises", "streams"])
@pytest.mark.parametrize("default_labels", [{}, {"late": late}], ids=["", "late"])
def test_request_interrupted_at_every_step(how: str, ends: str, default_labels: Any) -> None:
    shop = Shop(default_labels=default_labels, ends=ends)
    steps = 0
    while INTERRUPTIONS[how](shop.request, steps + 1):
        steps += 1
        check(shop)
    assert 10 < steps < MOST_STEPS
    assert shop.reached > steps / 2
    if how == "cancelled":
        statuses = {dict(key)["status"] for key in samples(shop.leg.registry)["views_total"]}
        assert "500" in statuses


@pytest.mark.parametrize("ends", ["returns", "handled", "raises", "streams"])
@pytest.mark.parametrize("default_labels", [{}, {"late": late}], ids=["", "late"])
def test_request_cancelled_at_every_step_on_trio(ends: str, default_labels: Any) -> None:
    quart_trio, trio = module("quart_trio"), module("trio")

    class Cancelling(trio.abc.Instrument):  # type: ignore[name-defined,misc]
        """Cancels a scope before one step of a task."""

        def __init__(self, at: int) -> None:
            self.left = at
            self.scope = trio.CancelScope()

        def before_task_step(self, task: Any) -> None:
            self.left -= self.scope.cancel_called or task.parent_nursery is not None
            if self.left == 0:
                self.scope.cancel()

        async def main(self) -> None:
            with self.scope:
                await shop.request()

    shop = Shop(quart_trio.QuartTrio("shop"), default_labels=default_labels, ends=ends)
    steps, left = 0, 0
    while left == 0:
        steps += 1
        cancelling = Cancelling(steps)
        trio.run(cancelling.main, instruments=[cancelling])
        left = max(cancelling.left, 0)
        check(shop)
    assert 10 < steps < MOST_STEPS
    assert shop.reached > steps / 2
    statuses = {dict(key)["status"] for key in samples(shop.leg.registry)["views_total"]}
    assert "500" in statuses


@pytest.mark.parametrize("how", INTERRUPTIONS)
def test_websocket_interrupted_at_every_step(how: str) -> None:
    shop = Shop(default_labels={}, ends="returns")
    name = "flask_websocket_connection"
    steps = 0
    while INTERRUPTIONS[how](shop.talk, steps + 1):
        steps += 1
        found = samples(shop.leg.registry)
        assert total(found, f"{name}_duration_seconds_count") == shop.reached
        assert set(found.get(f"{name}s_in_progress", {}).values()) <= {0.0}
        assert found["talks"] == {labels(): 0.0}
    assert 5 < steps < MOST_STEPS
    assert shop.reached > steps / 2


def test_websocket_whose_group_is_cancelled() -> None:
    """The client goes away while a coroutine function computes the group."""
    leg: Leg = LEGS["quart-async"]()
    app = leg.make_app()

    async def shelf(websocket: Any) -> str:
        await anyio.lowlevel.checkpoint()
        reached.set()
        await asyncio.Event().wait()
        return "never"

    leg.make_metrics(app, group_by=shelf)

    @app.websocket("/")
    async def talk() -> None:
        """Is never called."""

    async def main() -> None:
        socket = Socket(app).start()
        await reached.wait()
        await socket.close(code=1001)

    reached = asyncio.Event()
    asyncio.run(main())
    found = samples(leg.registry)["flask_websocket_connection_duration_seconds_count"]
    assert found == {labels(shelf="<error>", close_code="1001"): 1.0}
