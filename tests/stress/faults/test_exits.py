"""Exceptions that do not derive from `Exception`: they pass, and the request is recorded once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import anyio.lowlevel
import pytest

from tests.support.asgi import Browser
from tests.support.hanging import ungrouped
from tests.support.legs import Leg
from tests.support.recorded import Done, expected, samples

from .seams import ERRORS
from .stepping import run


class Quit(BaseException):
    """A program's own."""


EXITS = [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, Quit]


def serve(leg: Leg, app: Any) -> None:
    """Send a request, and let through what leaves."""
    if leg.name.startswith("flask"):
        leg.get(app, "/")
        return

    async def leave(browser: Browser) -> None:
        """Leave when the request is recorded: Quart 0.23 waits for that if it has no answer."""
        while not leg.label_sets("flask_http_request_total"):
            await anyio.lowlevel.checkpoint()
        browser.put("http.disconnect")

    async def visit() -> None:
        browser = Browser(app)
        leaving = asyncio.create_task(leave(browser))
        try:
            await browser.run()
        except BaseException as error:
            left.append(error)
        leaving.cancel()
        if browser.error is not None:
            left.append(browser.error)

    left: list[BaseException] = []
    run(visit)
    for error in left:
        raise ungrouped(error)


@pytest.mark.parametrize("exit", EXITS)
def test_exit_in_a_view(leg: Leg, exit: type[BaseException]) -> None:
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)

    def view() -> None:
        raise exit

    app.add_url_rule("/", view_func=leg.view(view))
    if leg.name.startswith("quart") and exit in (asyncio.CancelledError, GeneratorExit):
        with suppress(asyncio.CancelledError, GeneratorExit):  # Quart's versions differ
            serve(leg, app)
        cancelled = Done("GET", "/", 500, failed=True)
        assert samples(leg.registry) == expected(cancelled, in_progress=True)
        return
    with pytest.raises(exit):
        serve(leg, app)
    assert samples(leg.registry) == expected(Done("GET", "/", 500, failed=True), in_progress=True)


@pytest.mark.parametrize("exit", [KeyboardInterrupt, SystemExit, Quit])
@pytest.mark.parametrize("where", ["label", "default", "job"])
def test_exit_in_a_label(leg: Leg, exit: type[BaseException], where: str) -> None:
    """An exit during the computation of a label still ends the program."""

    def label() -> str:
        raise exit

    app = leg.make_app()
    options = {"default_labels": {"label": label}} if where == "default" else {}
    metrics = leg.make_metrics(app, in_progress=True, **options)
    view = leg.view(lambda: "ok")
    if where == "label":
        view = metrics.counter("views", "Views.", {"label": label})(view)
    elif where == "job":
        job = metrics.counter("jobs", "Jobs.", {"label": label})(lambda: "ok")
        view = leg.view(lambda: job())
    app.add_url_rule("/", "view", view)
    with pytest.raises(exit):
        serve(leg, app)
    found = samples(leg.registry)
    assert set(found.get("flask_http_requests_in_progress", {}).values()) <= {0.0}
    if where == "label":
        assert sum(found["flask_http_request_total"].values()) == 1.0


def test_exceptions_of_every_class(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)
    app.logger.disabled = True
    app.config["TRAP_HTTP_EXCEPTIONS"] = False
    failing: list[Exception] = []

    def view() -> None:
        raise failing[0].with_traceback(None)

    app.add_url_rule("/", view_func=leg.view(view))
    raised = 0
    for error in ERRORS:
        failing[:] = [error]
        if isinstance(error, (StopIteration, StopAsyncIteration)) and leg.name != "flask-sync":
            continue  # nothing can be raised through a coroutine or a future
        raised += 1
        assert leg.get(app, "/").status == 500
    done = [Done("GET", "/", 500, failed=True)] * raised
    assert samples(leg.registry) == expected(*done, in_progress=True)
