"""Middleware: the status that was sent counts, even if middleware answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import pytest
from werkzeug.test import create_environ

from tests.support import hanging
from tests.support.asgi import Browser
from tests.support.legs import Leg

TOTAL = "flask_http_request_total"
COUNT = "flask_http_request_duration_seconds_count"
EXCEPTIONS = "flask_http_request_exceptions_total"


def is_quart(leg: Leg) -> bool:
    return leg.name.startswith("quart")


def wrap(leg: Leg, app: Any, wsgi: Any, asgi: Any) -> None:
    """Put middleware around an application; each gets the next callable."""
    if is_quart(leg):
        app.asgi_app = asgi(app.asgi_app)
    else:
        app.wsgi_app = wsgi(app.wsgi_app)


def rewriting(leg: Leg, app: Any) -> None:
    """Middleware that turns every 404 into a 410."""

    def wsgi(inner: Any) -> Any:
        def middleware(environ: Any, start_response: Any) -> Any:
            def start(status: str, headers: Any, *args: Any) -> Any:
                return start_response("410 GONE" if status[:3] == "404" else status, headers, *args)

            return inner(environ, start)

        return middleware

    def asgi(inner: Any) -> Any:
        async def middleware(scope: Any, receive: Any, send: Any) -> None:
            async def send_rewritten(message: Any) -> None:
                if message.get("status") == 404:
                    message = {**message, "status": 410}
                await send(message)

            await inner(scope, receive, send_rewritten)

        return middleware

    wrap(leg, app, wsgi, asgi)


def answering(leg: Leg, app: Any, status: int = 401) -> None:
    """Middleware that answers requests for /private by itself."""

    def wsgi(inner: Any) -> Any:
        def middleware(environ: Any, start_response: Any) -> Iterable[bytes]:
            if environ["PATH_INFO"] != "/private":
                return inner(environ, start_response)  # type: ignore[no-any-return]
            start_response(f"{status} NO", [("Content-Length", "2")])
            return [b"no"]

        return middleware

    def asgi(inner: Any) -> Any:
        async def middleware(scope: Any, receive: Any, send: Any) -> None:
            if scope.get("path") != "/private":
                await inner(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b"no", "more_body": False})

        return middleware

    wrap(leg, app, wsgi, asgi)


def test_the_status_that_middleware_sends_counts(leg: Leg) -> None:
    app = leg.make_app()
    rewriting(leg, app)
    leg.make_metrics(app)
    assert leg.get(app, "/no").status == 410
    assert leg.label_sets(TOTAL) == [{"method": "GET", "status": "410"}]
    assert leg.label_sets(EXCEPTIONS) == []


def test_label_callables_see_the_response_of_the_application(leg: Leg) -> None:
    app = leg.make_app()
    rewriting(leg, app)
    leg.make_metrics(app, default_labels={"own": lambda response: response.status_code})
    leg.get(app, "/no")
    assert leg.label_sets(TOTAL) == [{"method": "GET", "status": "410", "own": "404"}]


def test_what_middleware_answers_has_a_group_of_its_own(leg: Leg) -> None:
    app = leg.make_app()
    answering(leg, app)
    leg.make_metrics(
        app,
        in_progress=True,
        request_size=True,
        response_size=True,
        default_labels={"tier": "web", "size": lambda response: response.content_length},
    )
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    for path in ("/private", "/", "/private"):
        leg.get(app, path)
    found = {"method": "GET", "path": "<middleware>", "status": "401", "tier": "web", "size": ""}
    assert leg.value(COUNT, **found) == 2
    assert leg.value("flask_http_response_size_bytes_sum", **found) == 4
    assert leg.value("flask_http_requests_in_progress", method="GET", tier="web") == 0


@pytest.mark.parametrize("naming", ["promweb", "otel"])
def test_a_function_that_groups_is_not_asked_for_it(leg: Leg, naming: Any) -> None:
    def tenant(request: Any) -> str:
        return str(request.headers["X-Tenant"])

    app = leg.make_app()
    answering(leg, app)
    options = {"group_by": tenant} if naming == "promweb" else {"naming": "otel"}
    leg.make_metrics(app, **options)
    leg.get(app, "/private")
    name, label, group = (
        (COUNT, "tenant", "<middleware>")
        if naming == "promweb"
        else ("http_server_request_duration_seconds_count", "http_route", "")
    )
    assert [found[label] for found in leg.label_sets(name)] == [group]


def test_excluded_paths_are_excluded_there_too(leg: Leg) -> None:
    app = leg.make_app()
    answering(leg, app)
    leg.make_metrics(app, excluded_paths="/private")
    leg.get(app, "/private")
    assert leg.label_sets(TOTAL) == []


def test_middleware_that_answers_an_exception(leg: Leg) -> None:
    """The exception left the framework, whatever was sent."""
    if is_quart(leg) and hanging.QUART < (0, 22):
        pytest.skip("this Quart lets no exception out")
    app = leg.make_app()
    app.config["PROPAGATE_EXCEPTIONS"] = True

    def wsgi(inner: Any) -> Any:
        def middleware(environ: Any, start_response: Any) -> Iterable[bytes]:
            try:
                return inner(environ, start_response)  # type: ignore[no-any-return]
            except ZeroDivisionError:
                start_response("503 LATER", [])
                return [b"later"]

        return middleware

    def asgi(inner: Any) -> Any:
        async def middleware(scope: Any, receive: Any, send: Any) -> None:
            try:
                await inner(scope, receive, send)
            except Exception:  # Quart 0.23 raises a group
                await send({"type": "http.response.start", "status": 503, "headers": []})
                await send({"type": "http.response.body", "body": b"later", "more_body": False})

        return middleware

    wrap(leg, app, wsgi, asgi)
    leg.make_metrics(app)
    app.add_url_rule("/", "view", leg.view(lambda: 1 / 0))
    assert leg.get(app, "/").status == 503
    assert leg.value(COUNT, method="GET", path="/", status="503") == 1
    assert leg.label_sets(TOTAL) == [{"method": "GET", "status": "503"}]
    assert leg.value(EXCEPTIONS, method="GET", status="503") == 1


def test_an_outermost_layer_counts_each_request_once(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    rewriting(leg, app)
    answering(leg, app, 403)
    if is_quart(leg):
        app.asgi_app = metrics.middleware(app.asgi_app)
    else:
        app.wsgi_app = metrics.middleware(app.wsgi_app)
    assert [leg.get(app, path).status for path in ("/", "/no", "/private")] == [200, 410, 403]
    assert {found["status"]: found["path"] for found in leg.label_sets(COUNT)} == {
        "200": "/",
        "410": "<unmatched>",
        "403": "<middleware>",
    }
    for status in ("200", "410", "403"):
        assert leg.value(TOTAL, method="GET", status=status) == 1


def test_an_application_without_middleware_has_no_witness(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    seen = []
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    app.extensions["promweb"].record = lambda exchange, seconds: seen.append(exchange.unseen)
    leg.get(app, "/")
    assert seen == [None]


# --- one framework ------------------------------------------------------------------------------


FLASK = pytest.mark.parametrize("leg", ["flask-sync"], indirect=True)
QUART = pytest.mark.parametrize("leg", ["quart-async"], indirect=True)


@FLASK
@pytest.mark.parametrize("answers", [True, False])
def test_wsgi_middleware_that_is_a_generator(leg: Leg, answers: bool) -> None:
    """Nothing has run when its call returns."""
    app = leg.make_app()
    inner = app.wsgi_app

    def middleware(environ: Any, start_response: Any) -> Iterable[bytes]:
        if answers:
            start_response("429 SLOWLY", [])
            yield b"slowly"
        else:
            yield from inner(environ, start_response)

    app.wsgi_app = middleware
    leg.make_metrics(app, in_progress=True)
    app.add_url_rule("/", "view", lambda: ("tea", 418))
    reply = leg.get(app, "/")
    status, group = ("429", "<middleware>") if answers else ("418", "/")
    assert reply.status == int(status)
    assert leg.value(COUNT, method="GET", path=group, status=status) == 1


@FLASK
def test_wsgi_middleware_that_starts_twice_and_then_raises(leg: Leg) -> None:
    """A second start with exc_info replaces the first; a head that was only stored is a 500."""
    app = leg.make_app()

    def twice(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError as error:
            start_response("502 BAD", [], (type(error), error, None))
        if environ["PATH_INFO"] == "/raises":
            raise RuntimeError
        return [b"bad"]

    app.wsgi_app = twice
    leg.make_metrics(app)
    started: list[str] = []

    def start_response(status: str, *_: Any) -> None:
        started.append(status)

    list(app(create_environ("/"), start_response))
    with pytest.raises(RuntimeError):
        app(create_environ("/raises"), start_response)
    assert started == ["200 OK", "502 BAD"] * 2
    assert leg.value(TOTAL, method="GET", status="502") == 1
    assert leg.value(TOTAL, method="GET", status="500") == 1
    assert leg.value(EXCEPTIONS, method="GET", status="500") == 1


@pytest.mark.parametrize("outermost", [True, False])
@QUART
def test_asgi_middleware_that_copies_what_the_server_gave(leg: Leg, outermost: bool) -> None:
    """Hypercorn's ProxyFixMiddleware makes a deep copy."""

    def copying(inner: Any) -> Any:
        async def middleware(scope: Any, receive: Any, send: Any) -> None:
            await inner(deepcopy(scope), receive, send)

        return middleware

    app = leg.make_app()
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    if outermost:
        served = leg.make_metrics(app).middleware(copying(app))
    else:
        app.asgi_app = copying(app.asgi_app)
        leg.make_metrics(app)
        served = app

    async def main() -> Browser:
        browser = Browser(served)
        await browser.run()
        return browser

    browser = asyncio.run(main())
    assert (browser.error, browser.status) == (None, 200)
    assert leg.value(COUNT, method="GET", path="/", status="200") == 1
    assert len(leg.label_sets(COUNT)) == 1


@QUART
def test_asgi_middleware_with_a_timeout(leg: Leg) -> None:
    app = leg.make_app()
    inner = app.asgi_app

    async def impatient(scope: Any, receive: Any, send: Any) -> None:
        serving = asyncio.ensure_future(inner(scope, receive, send))
        await begun.wait()
        serving.cancel()
        await asyncio.wait({serving})
        await send({"type": "http.response.start", "status": 504, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    app.asgi_app = impatient
    leg.make_metrics(app, in_progress=True)
    begun = asyncio.Event()

    @app.get("/")
    async def view() -> None:
        begun.set()
        await asyncio.Event().wait()

    assert leg.get(app, "/").status == 504
    assert leg.value(COUNT, method="GET", path="/", status="504") == 1
    assert leg.value("flask_http_requests_in_progress", method="GET") == 0
