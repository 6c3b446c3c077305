"""Connexion 3: the status that the client saw counts, even if Connexion made the response."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import flask
import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry

import promweb
from promweb import ConnexionPrometheusMetrics, PrometheusMetrics
from tests.support.connexion3 import (
    ConnexionResponse,
    MiddlewarePosition,
    Problem,
    Resolver,
    connexion,
)
from tests.support.legs import Clock
from tests.support.waiting import DEADLINE


@pytest.fixture
def server_error() -> Iterator[None]:
    """Ignore what is never awaited: Connexion 3.3 raises a TypeError here on Starlette 1.

    Only this fixture collects garbage: a collection in code without builtins, as namedtuples have,
    cannot warn of the coroutine and raises a KeyError for ``__import__`` instead.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine 'ServerErrorMiddleware.error_response'")
        gc.disable()
        try:
            yield
            gc.collect()
        finally:
            gc.enable()


def _operation(name: str, *, method: str = "get", **more: Any) -> dict[str, Any]:
    return {method: {"operationId": name, "responses": {"200": {"description": "ok"}}, **more}}


def _key_info(key: str, required_scopes: object = None) -> dict[str, str] | None:
    return {"sub": "somebody"} if key == "secret" else None


def _path_parameter(name: str, kind: str) -> dict[str, Any]:
    return {"in": "path", "name": name, "required": True, "schema": {"type": kind}}


SPECIFICATION: dict[str, Any] = {
    "openapi": "3.0.0",
    "info": {"title": "shop", "version": "1"},
    "servers": [{"url": "/v1"}],
    "components": {
        "securitySchemes": {
            "key": {
                "type": "apiKey",
                "in": "header",
                "name": "X-Key",
                "x-apikeyInfoFunc": f"{__name__}._key_info",
            }
        }
    },
    "paths": {
        "/items/{item_id}": _operation("item", parameters=[_path_parameter("item_id", "integer")]),
        "/list": _operation(
            "items",
            parameters=[{"in": "query", "name": "limit", "schema": {"type": "integer"}}],
        ),
        "/secret": _operation("secret", security=[{"key": []}]),
        "/upload": _operation(
            "upload",
            method="post",
            requestBody={"content": {"text/plain": {"schema": {"type": "string"}}}},
        ),
    },
}


def _nothing(**_: Any) -> str:
    return "ok"


class Shop:
    """A connexion application whose views a test may replace, its metrics, and a registry."""

    def __init__(self, **options: Any) -> None:
        self.registry = CollectorRegistry()
        self.clock = Clock()
        self.app = connexion.FlaskApp("shop")
        cls = type("Metrics", (ConnexionPrometheusMetrics,), {"clock": staticmethod(self.clock)})
        self.metrics = cls(self.app, registry=self.registry, **options)

    def serve(self, **views: Callable[..., Any]) -> Any:
        """Add the API and return a client."""
        views = {
            "item": _nothing,
            "items": _nothing,
            "secret": _nothing,
            "upload": _nothing,
        } | views
        self.app.add_api(SPECIFICATION, resolver=Resolver(views.__getitem__))
        return self.app.test_client(raise_server_exceptions=False)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def requests(self) -> dict[tuple[str, str, str], float]:
        """Return method, path and status of every request, with their number."""
        return {
            (sample.labels["method"], sample.labels["path"], sample.labels["status"]): sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "flask_http_request_duration_seconds_count"
        }

    def exceptions(self) -> dict[str, float]:
        """Return the number of exceptions by status."""
        return {
            sample.labels["status"]: sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "flask_http_request_exceptions_total"
        }


def _abort(**_: Any) -> Any:
    flask.abort(404, "no such item")


def _problem(**_: Any) -> Any:
    raise Problem(status=409, title="conflict")


def _crash(**_: Any) -> Any:
    raise ValueError("no")


@pytest.mark.parametrize(
    ("view", "status", "exceptions"),
    [
        (lambda item_id: f"item {item_id}", 200, {}),
        (lambda item_id: ("made", 201), 201, {}),
        (_abort, 404, {}),
        (_problem, 409, {}),
        (lambda item_id: flask.abort(500), 500, {}),
        (_crash, 500, {"500": 1}),
    ],
    ids=["ok", "tuple", "abort", "problem", "abort-500", "crash"],
)
def test_the_status_is_the_clients(
    view: Callable[..., Any], status: int, exceptions: dict[str, float]
) -> None:
    shop = Shop()
    client = shop.serve(item=view)
    assert client.get("/v1/items/7").status_code == status
    assert shop.requests() == {("GET", "/v1/items/7", str(status)): 1}
    assert shop.exceptions() == exceptions
    assert shop.value("flask_http_request_total", method="GET", status=str(status)) == 1


@pytest.mark.parametrize("path", ["/own", "/v1/items/7"])
def test_routes_of_flask_itself_count_alike(path: str) -> None:
    shop = Shop()
    shop.app.add_url_rule("/own", view_func=_abort)
    client = shop.serve(item=_abort)
    assert client.get(path).status_code == 404
    assert shop.requests() == {("GET", path, "404"): 1}


@pytest.mark.parametrize(
    ("registered", "raised", "exceptions"),
    [
        (LookupError, KeyError("no"), {}),
        (Exception, KeyError("no"), {}),
        (LookupError, ValueError("no"), {"500": 1}),
    ],
)
def test_an_exception_with_a_handler_is_an_answer(
    registered: type[Exception], raised: Exception, exceptions: dict[str, float]
) -> None:
    def view(item_id: int) -> Any:
        raise raised

    shop = Shop()
    shop.app.add_error_handler(
        registered, lambda request, error: ConnexionResponse(status_code=500, body="handled")
    )
    assert shop.serve(item=view).get("/v1/items/7").status_code == 500
    assert shop.requests() == {("GET", "/v1/items/7", "500"): 1}
    assert shop.exceptions() == exceptions


@pytest.mark.usefixtures("server_error")
def test_a_handler_that_fails_is_an_exception() -> None:
    def handler(request: object, error: Exception) -> Any:
        raise RuntimeError("worse")

    shop = Shop()
    shop.app.add_error_handler(404, handler)
    assert shop.serve(item=_abort).get("/v1/items/7").status_code == 500
    assert shop.requests() == {("GET", "/v1/items/7", "500"): 1}
    assert shop.exceptions() == {"500": 1}


@pytest.mark.parametrize(
    ("method", "path", "status", "group"),
    [
        ("GET", "/v1/list?limit=many", 400, "/v1/list"),
        ("GET", "/v1/secret", 401, "/v1/secret"),
        ("POST", "/v1/list", 405, "<unmatched>"),
        ("OPTIONS", "/v1/list", 405, "<unmatched>"),
        ("GET", "/v1/none", 404, "<unmatched>"),
        ("GET", "/none", 404, "<unmatched>"),
        ("GET", "/v1/items/seven", 404, "<unmatched>"),
        ("GET", "/v1/openapi.json", 200, "<unmatched>"),
    ],
)
def test_requests_that_never_reach_a_view_count(
    method: str, path: str, status: int, group: str
) -> None:
    shop = Shop()
    assert shop.serve().request(method, path).status_code == status
    assert shop.requests() == {(method, group, str(status)): 1}
    assert shop.exceptions() == {}


def test_what_connexion_serves_is_unmatched_in_spite_of_a_catch_all_route() -> None:
    shop = Shop()
    shop.app.add_url_rule("/<path:anything>", view_func=lambda anything: anything)
    client = shop.serve()
    assert client.get("/v1/openapi.json").status_code == 200
    assert client.get("/page").text == "page"
    assert shop.requests() == {
        ("GET", "<unmatched>", "200"): 1,
        ("GET", "/page", "200"): 1,
    }


def _tenant(request: flask.Request) -> str:
    return f"{request.headers['X-Tenant']} {request.path}"


@pytest.mark.parametrize(
    ("group_by", "label", "group"),
    [
        ("path", "path", "/v1/secret"),
        ("endpoint", "endpoint", "/v1.secret"),
        ("url_rule", "url_rule", "/v1/secret"),
        ("method", None, None),
        (_tenant, "_tenant", "acme /v1/secret"),
    ],
)
def test_rejected_and_accepted_requests_share_a_group(
    group_by: Any, label: str | None, group: str | None
) -> None:
    if label is None:
        with pytest.raises(ValueError, match="already"):
            Shop(group_by=group_by)
        return
    shop = Shop(group_by=group_by)
    client = shop.serve()
    for key in ("secret", "wrong"):
        client.get("/v1/secret", headers={"X-Key": key, "X-Tenant": "acme"})
    for status in ("200", "401"):
        assert (
            shop.value(
                "flask_http_request_duration_seconds_count",
                method="GET",
                status=status,
                **{label: group},
            )
            == 1
        )


LABELS = {
    "who": lambda: flask.request.headers.get("X-Who"),
    "type": lambda response: response.content_type,
    "code": lambda response: response.status_code,
}


@pytest.mark.parametrize(
    ("path", "status", "content_type"),
    [
        ("/v1/items/1", "200", "text/html; charset=utf-8"),
        ("/v1/items/2", "404", "application/problem+json"),
        ("/v1/items/3", "500", "application/problem+json"),
        ("/v1/secret", "401", "application/problem+json"),
        ("/none", "404", "application/problem+json"),
    ],
)
def test_labels_see_the_request_and_the_clients_response(
    path: str, status: str, content_type: str
) -> None:
    def item(item_id: int) -> Any:
        return {1: lambda: flask.Response("one"), 2: _abort, 3: _crash}[item_id]()

    shop = Shop(default_labels=LABELS)
    client = shop.serve(item=item)
    assert client.get(path, headers={"X-Who": "me"}).status_code == int(status)
    assert (
        shop.value(
            "flask_http_request_total",
            method="GET",
            status=status,
            who="me",
            type=content_type,
            code=status,
        )
        == 1
    )


@pytest.mark.parametrize(("view", "status"), [(_nothing, "200"), (_abort, "404"), (_crash, "500")])
def test_decorated_views_get_the_clients_status(view: Callable[..., Any], status: str) -> None:
    shop = Shop()
    labels = {
        "status": lambda response: response.status_code,
        "item": lambda: flask.request.view_args["item_id"],
    }
    view = shop.metrics.counter("calls", "Calls", labels=labels)(view)
    view = shop.metrics.gauge("busy", "Calls in progress")(view)
    shop.serve(item=view).get("/v1/items/7")
    assert shop.value("calls_total", status=status, item="7") == 1
    assert shop.value("busy") == 0


def test_session_of_a_request_that_was_rejected() -> None:
    shop = Shop(default_labels={"user": lambda: flask.session.get("user", "nobody")})
    shop.app.app.secret_key = "s"
    assert shop.serve().get("/v1/secret").status_code == 401
    assert shop.value("flask_http_request_total", method="GET", status="401", user="nobody") == 1


def test_teardown_functions_do_not_run_for_a_request_that_was_rejected() -> None:
    shop = Shop(default_labels={"path": lambda: flask.request.path}, group_by="endpoint")
    torn: list[object] = []
    shop.app.app.teardown_request(torn.append)
    client = shop.serve()
    client.get("/v1/secret")
    assert torn == []
    client.get("/v1/list")
    assert torn == [None]


def test_a_session_that_cannot_be_opened_is_the_labels_problem(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(flask.sessions.SecureCookieSessionInterface):
        def open_session(self, app: flask.Flask, request: flask.Request) -> Any:
            raise OSError("no store")

    shop = Shop(default_labels={"path": lambda: flask.request.path}, group_by="endpoint")
    shop.app.app.session_interface = Broken()
    assert shop.serve().get("/v1/secret").status_code == 401
    assert shop.value("flask_http_request_total", method="GET", status="401", path="/v1/secret")
    assert "could not open a request context" in caplog.text


def test_do_not_track_and_the_metrics_route() -> None:
    shop = Shop()
    client = shop.serve(item=shop.metrics.do_not_track()(lambda item_id: "quiet"))
    client.get("/v1/items/7")
    client.get("/v1/list")
    scrape = client.get("/metrics")
    assert 'flask_http_request_total{method="GET",status="200"} 1.0' in scrape.text
    assert shop.requests() == {("GET", "/v1/list", "200"): 1}


def test_streams_are_timed_to_their_last_byte() -> None:
    shop = Shop(response_size=True, response_start=True)

    def stream(item_id: int) -> flask.Response:
        def body() -> Iterator[bytes]:
            yield b"one"
            shop.clock.advance(3)
            yield b"three"

        return flask.Response(body())

    assert shop.serve(item=stream).get("/v1/items/7").text == "onethree"
    labels = {"method": "GET", "path": "/v1/items/7", "status": "200"}
    assert shop.value("flask_http_request_duration_seconds_sum", **labels) == 3
    assert shop.value("flask_http_response_size_bytes_sum", **labels) == 8
    assert shop.exceptions() == {}


def test_a_stream_that_raises_half_way_is_an_exception() -> None:
    shop = Shop()
    sent = threading.Event()

    def stream(item_id: int) -> flask.Response:
        def body() -> Iterator[bytes]:
            yield b"one"
            assert sent.wait(DEADLINE)
            raise ValueError("half-way")

        return flask.Response(body())

    async def run() -> None:
        async with _asgi() as (receive, send, messages):

            async def send_and_tell(message: Any) -> None:
                await send(message)
                if message.get("body"):
                    sent.set()

            with pytest.raises(RuntimeError, match="already started"):
                await shop.app(_scope("/v1/items/7"), receive, send_and_tell)
            assert messages[0]["status"] == 200

    shop.serve(item=stream)
    asyncio.run(run())
    assert shop.requests() == {("GET", "/v1/items/7", "200"): 1}
    assert shop.exceptions() == {"200": 1}


def _scope(path: str, method: str = "GET", headers: Any = ()) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": list(headers),
        "client": None,
        "server": None,
    }


@asynccontextmanager
async def _asgi(*received: Any) -> AsyncIterator[Any]:
    """Yield an ASGI server's `receive` and `send`, and the list of what was sent."""
    waiting = [*received]
    messages: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0) if waiting else {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        messages.append(message)

    yield receive, send, messages


@pytest.mark.usefixtures("server_error")
@pytest.mark.parametrize(
    ("fails_at", "status"), [("http.response.start", "499"), ("http.response.body", "200")]
)
def test_a_client_that_cannot_be_sent_to_has_gone(fails_at: str, status: str) -> None:
    async def run() -> None:
        async with _asgi() as (receive, _, _messages):

            async def send(message: Any) -> None:
                if message["type"] == fails_at:
                    raise OSError("gone")

            with pytest.raises((OSError, RuntimeError, TypeError)):
                await shop.app(_scope("/v1/items/7"), receive, send)

    shop = Shop()
    shop.serve()
    asyncio.run(run())
    assert shop.requests() == {("GET", "/v1/items/7", status): 1}
    assert shop.exceptions() == {}


def test_a_client_that_disconnects_before_the_response_is_499() -> None:
    def upload() -> str:
        return flask.request.get_data(as_text=True)

    async def run() -> None:
        gone = {"type": "http.disconnect"}
        async with _asgi(gone) as (receive, send, _):
            headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
            await shop.app(_scope("/v1/upload", "POST", headers), receive, send)

    shop = Shop(in_progress=True)
    shop.serve(upload=upload)
    asyncio.run(run())
    assert shop.requests() == {("POST", "/v1/upload", "499"): 1}
    assert shop.exceptions() == {}
    assert shop.value("flask_http_requests_in_progress", method="POST") == 0


def test_a_request_that_is_cancelled_before_the_response_has_failed() -> None:
    started = threading.Event()
    release = threading.Event()

    def item(item_id: int) -> str:
        started.set()
        assert release.wait(DEADLINE)
        raise ValueError("late")  # a2wsgi would wait for ever to send a response

    async def run() -> None:
        async with _asgi() as (receive, send, _):
            task = asyncio.create_task(shop.app(_scope("/v1/items/7"), receive, send))
            assert await asyncio.to_thread(started.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            release.set()

    shop = Shop(in_progress=True)
    shop.serve(item=item)
    asyncio.run(run())
    assert shop.requests() == {("GET", "/v1/items/7", "500"): 1}
    assert shop.exceptions() == {"500": 1}
    assert shop.value("flask_http_requests_in_progress", method="GET") == 0


def _middleware(serve: Callable[..., Any]) -> type:
    """Return a middleware class from a coroutine function of the inner application and a call."""

    class Middleware:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await serve(self.app, scope, receive, send)

    return Middleware


@pytest.mark.parametrize("group_by", ["path", _tenant])
def test_a_middleware_that_answers_nothing_has_failed(group_by: Any) -> None:
    async def silent(app: Any, scope: Any, receive: Any, send: Any) -> None:
        return

    async def run() -> None:
        async with _asgi() as (receive, send, _):
            await shop.app(_scope("/v1/list"), receive, send)

    shop = Shop(group_by=group_by)
    shop.app.add_middleware(_middleware(silent), MiddlewarePosition.BEFORE_ROUTING)
    shop.serve()
    asyncio.run(run())
    label = getattr(group_by, "__name__", group_by)
    group = "<error>" if group_by is _tenant else "<unmatched>"  # it asks for a header
    labels = {"method": "GET", "status": "500", label: group}
    assert shop.value("flask_http_request_duration_seconds_count", **labels) == 1


def test_a_middleware_may_answer_exceptions() -> None:
    async def answer(app: Any, scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except ValueError:
            await send({"type": "http.response.start", "status": 409, "headers": []})
            await send({"type": "http.response.body", "body": b"handled"})

    shop = Shop()
    shop.app.add_middleware(_middleware(answer), MiddlewarePosition.BEFORE_CONTEXT)
    assert shop.serve(item=_crash).get("/v1/items/7").text == "handled"
    assert shop.requests() == {("GET", "/v1/items/7", "409"): 1}
    assert shop.exceptions() == {}


def test_a_middleware_may_change_the_status() -> None:
    async def change(app: Any, scope: Any, receive: Any, send: Any) -> None:
        async def send_changed(message: Any) -> None:
            if "status" in message:
                message = {**message, "status": 503}
            await send(message)

        await app(scope, receive, send_changed)

    shop = Shop(default_labels=LABELS)
    shop.app.add_middleware(_middleware(change), MiddlewarePosition.BEFORE_CONTEXT)
    shop.serve().get("/v1/items/7")
    labels = {"who": "None", "type": "application/json", "code": "503"}
    assert shop.value("flask_http_request_total", method="GET", status="503", **labels) == 1


def test_the_duration_ends_with_the_body() -> None:
    async def clean_up(app: Any, scope: Any, receive: Any, send: Any) -> None:
        shop.clock.advance(2)
        await app(scope, receive, send)
        shop.clock.advance(3)

    shop = Shop()
    shop.app.add_middleware(_middleware(clean_up), MiddlewarePosition.BEFORE_ROUTING)
    shop.serve().get("/v1/items/7")
    labels = {"method": "GET", "path": "/v1/items/7", "status": "200"}
    assert shop.value("flask_http_request_duration_seconds_sum", **labels) == 2


def test_what_is_raised_after_the_client_has_gone_is_no_exception() -> None:
    async def read(app: Any, scope: Any, receive: Any, send: Any) -> None:
        if (await receive())["type"] == "http.disconnect":
            raise ConnectionError

    async def run() -> None:
        async with _asgi({"type": "http.disconnect"}) as (receive, send, _):
            await shop.app(_scope("/v1/list"), receive, send)

    shop = Shop()
    shop.app.add_middleware(_middleware(read), MiddlewarePosition.BEFORE_EXCEPTION)
    shop.serve()
    del shop.app.middleware.middlewares[0]  # what would answer with 500
    with pytest.raises(ConnectionError):
        asyncio.run(run())
    assert shop.requests() == {("GET", "<unmatched>", "499"): 1}
    assert shop.exceptions() == {}


def test_what_is_no_exception_is_a_failure_and_goes_on() -> None:
    def leave(item_id: int) -> Any:
        raise KeyboardInterrupt

    async def run() -> None:
        async with _asgi() as (receive, send, _):
            await shop.app(_scope("/v1/items/7"), receive, send)

    shop = Shop()
    shop.serve(item=leave)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run())
    assert shop.requests() == {("GET", "/v1/items/7", "500"): 1}
    assert shop.exceptions() == {"500": 1}


def test_sizes_are_those_announced_or_counted() -> None:
    shop = Shop(request_size=True, response_size=True)
    client = shop.serve(upload=lambda: flask.request.environ["wsgi.input"].read().decode())
    headers = {"Content-Type": "text/plain"}
    client.post("/v1/upload", content=b"12345", headers=headers)
    client.post("/v1/upload", content=iter([b"12", b"345"]), headers=headers)
    client.head("/v1/openapi.json")
    labels = {"method": "POST", "path": "/v1/upload", "status": "200"}
    assert shop.value("flask_http_request_size_bytes_sum", **labels) == 10
    assert shop.value("flask_http_response_size_bytes_count", **labels) == 2
    labels = {"method": "HEAD", "path": "<unmatched>", "status": "200"}
    assert shop.value("flask_http_response_size_bytes_sum", **labels) == 0


@pytest.mark.parametrize("view", [_nothing, lambda **_: {"a": 1}, lambda **_: ("made", 201)])
@pytest.mark.parametrize(
    ("forced", "sent"),
    [
        ("text/csv", "text/csv; charset=utf-8"),
        ("text/csv; charset=latin-1", "text/csv; charset=latin-1"),
        ("image/png", "image/png"),
    ],
)
def test_content_type_is_forced(view: Callable[..., Any], forced: str, sent: str) -> None:
    shop = Shop()
    view = shop.metrics.counter("calls", "Calls")(
        ConnexionPrometheusMetrics.content_type(forced)(view)
    )
    response = shop.serve(item=view).get("/v1/items/7")
    assert response.headers["content-type"] == sent
    assert shop.value("calls_total") == 1


def test_content_type_keeps_the_kind_of_function_and_works_outside_of_requests() -> None:
    async def coroutine() -> str:
        return "called"

    decorated = ConnexionPrometheusMetrics.content_type("text/csv")(coroutine)
    assert inspect.iscoroutinefunction(decorated)
    assert asyncio.run(decorated()) == "called"


def test_register_default_covers_operations() -> None:
    shop = Shop()
    labels = {"status": lambda response: response.status_code}
    shop.metrics.register_default(
        shop.metrics.counter("every", "Every call", labels=labels), app=shop.app
    )
    client = shop.serve(item=_abort)
    client.get("/v1/items/7")
    client.get("/v1/list")
    client.get("/metrics")
    assert shop.value("every_total", status="404") == 1
    assert shop.value("every_total", status="200") == 1


def test_flask_alone_records_what_goes_straight_to_it() -> None:
    shop = Shop()
    shop.app.add_url_rule("/own", view_func=lambda: "own")
    client = shop.serve()
    assert client.get("/own").status_code == 200
    assert shop.app.app.test_client().get("/own").status_code == 200
    assert shop.requests() == {("GET", "/own", "200"): 2}


def test_flask_may_answer_errors_itself() -> None:
    shop = Shop()
    shop.app.app.register_error_handler(LookupError, lambda error: ("none", 404))
    assert shop.serve(item=lambda item_id: {}[item_id]).get("/v1/items/7").status_code == 404
    assert shop.requests() == {("GET", "/v1/items/7", "404"): 1}
    assert shop.exceptions() == {}


def test_flask_may_render_its_own_error_page() -> None:
    shop = Shop()
    shop.app.app.config["PROPAGATE_EXCEPTIONS"] = False
    shop.app.app.register_error_handler(500, lambda error: ("sorry", 500))
    assert shop.serve(item=_crash).get("/v1/items/7").text == "sorry"
    assert shop.requests() == {("GET", "/v1/items/7", "500"): 1}
    assert shop.exceptions() == {"500": 1}


def test_several_objects_share_an_application_and_none_attaches_twice() -> None:
    shop = Shop()
    other = CollectorRegistry()
    shop.metrics.init_app(shop.app)
    second = ConnexionPrometheusMetrics(
        shop.app, registry=other, path="/other", group_by="endpoint"
    )
    client = shop.serve()
    client.get("/v1/list")
    assert second.app is shop.metrics.app is shop.app.app
    assert shop.requests() == {("GET", "/v1/list", "200"): 1}
    assert (
        other.get_sample_value("flask_http_request_total", {"method": "GET", "status": "200"}) == 1
    )


def test_an_app_factory() -> None:
    registry = CollectorRegistry()
    metrics = ConnexionPrometheusMetrics.for_app_factory(registry=registry)
    assert metrics.default_mimetype == "application/json"
    for _ in range(2):
        app = connexion.FlaskApp("shop")
        metrics.init_app(app)
        app.add_url_rule("/own", view_func=_abort)
        assert app.test_client().get("/own").status_code == 404
    assert (
        registry.get_sample_value("flask_http_request_total", {"method": "GET", "status": "404"})
        == 2
    )


def test_methods_take_either_application() -> None:
    registry = CollectorRegistry()
    app = connexion.FlaskApp("shop")
    metrics = ConnexionPrometheusMetrics(None, registry=registry)
    metrics.export_defaults(app=app)
    metrics.register_endpoint("/one", app)
    metrics.register_endpoint("/two", app.app)
    client = app.test_client()
    assert client.get("/one").status_code == client.get("/two").status_code == 200
    assert client.get("/none").status_code == 404
    assert (
        registry.get_sample_value("flask_http_request_total", {"method": "GET", "status": "404"})
        == 1
    )


def test_wrong_applications_are_errors_that_say_what_to_pass() -> None:
    app = connexion.FlaskApp("shop")
    for metrics_class in (PrometheusMetrics, ConnexionPrometheusMetrics.for_app_factory().init_app):
        with pytest.raises(TypeError, match=r"ConnexionPrometheusMetrics\(connexion_app\)"):
            metrics_class(app.app)
    for wrong in (object(), connexion.AsyncApp("shop")):
        with pytest.raises(TypeError, match=r"measures a connexion\.FlaskApp"):
            ConnexionPrometheusMetrics(wrong, registry=CollectorRegistry())


def test_an_application_that_runs_already_is_an_error_and_stays_unattached() -> None:
    app = connexion.FlaskApp("shop")
    app.test_client().get("/none")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="after an application has started"):
            ConnexionPrometheusMetrics(app, registry=CollectorRegistry())


def test_it_needs_connexion_only_when_there_is_an_application(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("connexion", "connexion.middleware"):
        monkeypatch.setitem(sys.modules, name, None)
    metrics = promweb.ConnexionPrometheusMetrics(None, registry=CollectorRegistry())
    with pytest.raises(TypeError, match=r"pip install 'connexion\[flask\]>=3'"):
        metrics.init_app(object())


def test_connexion_2_is_measured_as_any_flask_application(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has no middleware; `make compatibility` has the package itself."""
    app, registry = connexion.FlaskApp("shop"), CollectorRegistry()
    monkeypatch.setitem(sys.modules, "connexion.middleware", None)
    ConnexionPrometheusMetrics(app, registry=registry)
    app.app.add_url_rule("/", "view", lambda: ("view", 203))
    assert app.app.test_client().get("/").status_code == 203
    labels = {"method": "GET", "status": "203"}
    assert registry.get_sample_value("flask_http_request_total", labels) == 1


def test_start_http_server() -> None:
    shop = Shop()
    shop.serve().get("/v1/list")
    server = shop.metrics.start_http_server(0, host="127.0.0.1")
    try:
        assert "flask_http_request_total" in httpx.get(server.url).text
    finally:
        server.close()


@contextmanager
def _served(app: Any) -> Iterator[str]:
    """Run a real server on a free port and yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    ready = threading.Event()
    server.startup = _then(server.startup, ready.set)  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(DEADLINE)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def _then(coroutine_function: Any, call: Callable[[], None]) -> Any:
    async def both(*args: Any, **kwargs: Any) -> None:
        await coroutine_function(*args, **kwargs)
        call()

    return both


def test_a_real_server() -> None:
    shop = Shop(default_labels={"who": lambda: flask.request.headers.get("X-Who", "nobody")})

    def item(item_id: int) -> Any:
        if item_id == 1:
            return flask.Response(iter([b"a", b"b"]))
        return {2: _abort, 3: _crash}[item_id]()

    shop.serve(item=item)
    with _served(shop.app) as url, httpx.Client(base_url=url, headers={"X-Who": "me"}) as client:
        statuses = [
            client.get(path).status_code
            for path in ("/v1/items/1", "/v1/items/2", "/v1/items/3", "/v1/secret", "/v1/none")
        ]
        scrape = client.get("/metrics").text
    assert statuses == [200, 404, 500, 401, 404]
    counts = {line for line in scrape.splitlines() if line.startswith("flask_http_request_total{")}
    assert counts == {
        f'flask_http_request_total{{method="GET",status="{status}",who="me"}} {count}.0'
        for status, count in {"200": 1, "404": 2, "500": 1, "401": 1}.items()
    }
    assert shop.exceptions() == {"500": 1}
