"""Clients that stay after the response, and Quart's exception when it finds them gone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import anyio
import pytest
import quart

from promweb.labels import exception_type
from tests.support.asgi import Browser
from tests.support.hanging import GONE, RAISES_GONE, Gone, Hang, until_nothing_is_in_progress
from tests.support.legs import Leg
from tests.support.recorded import Done, check, in_progress
from tests.support.views import VIEW
from tests.support.waiting import DEADLINE

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


async def last_chunk(browser: Browser) -> None:
    with anyio.fail_after(DEADLINE):
        while not browser.sent or browser.sent[-1].get("more_body") is not False:
            await anyio.lowlevel.checkpoint()


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["whole", "stream", "error", "unmatched"])
async def test_request_ends_at_the_last_byte_though_the_client_stays(
    leg: Leg, app: Any, kind: str
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"chunk"
        leg.clock.advance(VIEW)

    @app.get("/")
    async def view() -> Any:
        if kind == "error":
            raise ZeroDivisionError
        return body() if kind == "stream" else "chunk"

    browser = Browser(app, "/none" if kind == "unmatched" else "/")
    browser.lingers = True
    browser.start()
    await last_chunk(browser)
    await until_nothing_is_in_progress(leg)
    done = {
        "whole": Done("GET", "/", 200),
        "stream": Done("GET", "/", 200, VIEW),
        "error": Done("GET", "/", 500, failed=True),
        "unmatched": Done("GET", "<unmatched>", 404),
    }[kind]
    check(leg, done)
    leg.clock.advance(100)
    await browser.vanish()
    check(leg, done)


@pytest.mark.asyncio
async def test_requests_after_one_whose_client_stays(leg: Leg, app: Any) -> None:
    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")
    browsers = [Browser(app) for _ in range(3)]
    for browser in browsers:
        browser.lingers = True
        browser.start()
        await last_chunk(browser)
    check(leg, *[Done("GET", "/", 200)] * 3)
    for browser in browsers:
        await browser.vanish()
    check(leg, *[Done("GET", "/", 200)] * 3)


@pytest.mark.asyncio
async def test_application_that_was_taken_before_it_was_measured(leg: Leg) -> None:
    app = leg.make_app()
    asgi_app = app.asgi_app
    leg.make_metrics(app, in_progress=True)
    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")
    browser = Browser(asgi_app).start()
    await browser.over()
    assert browser.body == b"ok"
    check(leg)


@pytest.mark.asyncio
async def test_connection_class_of_ones_own(leg: Leg) -> None:
    class Connection:
        def __init__(self, app: Any, scope: object) -> None:
            self.app = app

        async def __call__(self, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    app = leg.make_app()
    app.asgi_http_class = Connection
    leg.make_metrics(app, in_progress=True)
    browser = Browser(app).start()
    await browser.over()
    assert browser.status == 204
    check(leg)  # it did not reach the application's dispatch


class WithNumber(Exception):
    exceptions = 1


class WithCancellation(Exception):
    exceptions = (asyncio.CancelledError(),)


class WithProperty(Exception):
    @property
    def exceptions(self) -> Any:
        raise RuntimeError("nobody may ask for these")


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("odd", [WithNumber, WithCancellation, WithProperty])
@pytest.mark.asyncio
async def test_exception_that_is_no_group_though_it_has_exceptions(
    leg: Leg, app: Any, odd: type[Exception], sent: bool
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"chunk"
        raise odd

    @app.get("/")
    async def view() -> Any:
        if sent:
            return body()
        raise odd

    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.register_error_handler(500, lambda error: (type(error.original_exception).__name__, 500))
    browser = Browser(app).start()
    with suppress(odd):
        await browser.over()
    assert browser.body == (b"chunk" if sent else odd.__name__.encode())
    check(leg, Done("GET", "/", 200 if sent else 500, failed=True))


@pytest.mark.asyncio
async def test_body_that_is_read_while_the_client_leaves(leg: Leg, app: Any) -> None:
    reached = anyio.Event()

    @app.post("/")
    async def view() -> str:
        async for _ in quart.request.body:
            leg.clock.advance(VIEW)
            reached.set()
        return "ok"

    app.config["PROPAGATE_EXCEPTIONS"] = False
    browser = Browser(app, method="POST", body=None)
    browser.put("http.request", body=b"half", more_body=True)
    browser.start()
    with anyio.fail_after(DEADLINE):
        await reached.wait()
    await browser.vanish()
    assert leg.value("flask_http_requests_in_progress", method="POST") == 0
    assert leg.value("flask_http_request_total", method="POST", status="499") == 1
    assert leg.label_sets("flask_http_request_exceptions_total") == []


@pytest.mark.asyncio
async def test_push_to_a_client_that_is_gone(leg: Leg, app: Any) -> None:
    @app.get("/")
    async def view() -> str:
        await quart.make_push_promise("/style.css")
        return "ok"

    app.config["PROPAGATE_EXCEPTIONS"] = True
    browser = Browser(app, extensions={"http.response.push": {}}, http_version="2")
    browser.gone = "http.response.push"
    with suppress(*GONE):
        await browser.start().over()
    check(leg, Done("GET", "/", 499))


def nested(error: Exception, depth: int) -> Exception:
    """Return an exception in that many groups."""
    for _ in range(depth):
        error = ExceptionGroup("a group", [error])
    return error


@RAISES_GONE
@pytest.mark.asyncio
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("propagate", [True, False])
async def test_client_that_a_view_finds_gone(
    leg: Leg, app: Any, propagate: bool, depth: int
) -> None:
    """It does not count as an exception, whichever way it leaves the application."""
    hang = Hang(leg)

    @app.get("/")
    async def view() -> str:
        try:
            await hang.stay()
        finally:
            raise nested(Gone(), depth)

    app.config["PROPAGATE_EXCEPTIONS"] = propagate
    browser = Browser(app).start()
    await hang.wait()
    with suppress(Gone):
        await browser.vanish()
    assert browser.sent == []
    check(leg, Done("GET", "/", 499, VIEW))


@RAISES_GONE
@pytest.mark.asyncio
async def test_departure_is_no_exception_for_labels(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True, default_labels={"error": exception_type()})
    hang = Hang(leg)

    @app.get("/")
    async def view() -> str:
        try:
            await hang.stay()
        finally:
            raise Gone

    browser = Browser(app).start()
    await hang.wait()
    with suppress(Gone):
        await browser.vanish()
    check(leg, Done("GET", "/", 499, VIEW, labels=(("error", ""),)))


@RAISES_GONE
@pytest.mark.asyncio
async def test_view_that_goes_on_without_its_client(leg: Leg, app: Any) -> None:
    hang = Hang(leg)

    @app.get("/")
    async def view() -> str:
        with suppress(anyio.get_cancelled_exc_class()):
            await hang.stay()
        return "ok"

    browser = Browser(app).start()
    await hang.wait()
    with suppress(Gone):
        await browser.vanish()
    assert browser.sent == []
    check(leg, Done("GET", "/", 499, VIEW))


@RAISES_GONE
@pytest.mark.asyncio
@pytest.mark.parametrize("with_departure", [True, False])
@pytest.mark.parametrize("sent", [True, False])
async def test_exception_in_a_group(leg: Leg, app: Any, sent: bool, with_departure: bool) -> None:
    def fail() -> None:
        errors = [ZeroDivisionError(), *([Gone()] if with_departure else [])]
        raise ExceptionGroup("a group", errors)

    async def body() -> AsyncIterator[bytes]:
        yield b"chunk"
        fail()

    @app.get("/")
    async def view() -> Any:
        if not sent:
            fail()
        return body(), 202

    browser = Browser(app).start()
    with suppress(ZeroDivisionError, Gone):
        await browser.over()
    check(leg, Done("GET", "/", 202 if sent else 500, failed=True))


@RAISES_GONE
@pytest.mark.asyncio
@pytest.mark.parametrize("testing", [True, False])
async def test_departure_in_a_teardown_of_a_vanished_client(
    leg: Leg, app: Any, testing: bool
) -> None:
    """Its response was there, and the client does not get it."""
    hang = Hang(leg)
    app.testing = testing

    @app.teardown_request
    async def read_the_rest(error: object) -> None:
        try:
            await hang.stay()
        finally:
            raise Gone

    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")
    browser = Browser(app).start()
    await hang.wait()
    assert in_progress(leg) == 1
    with suppress(Gone):
        await browser.vanish()
    assert browser.sent == []
    check(leg, Done("GET", "/", 499, VIEW))
