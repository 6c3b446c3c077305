"""Code of other people: contexts made by hand, tasks left behind, wrapped views."""

from __future__ import annotations

import asyncio
from enum import Enum
from functools import wraps
from importlib import import_module
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from werkzeug.test import EnvironBuilder

from tests.support.asgi import Browser, Socket
from tests.support.legs import Leg
from tests.support.waiting import DEADLINE

TOTAL = "flask_http_request_total"
CONNECTIONS = "flask_websocket_connection_duration_seconds_count"
EXCEPTIONS = "flask_http_request_exceptions_total"

QUART = pytest.mark.parametrize("leg", ["quart-sync", "quart-async"], indirect=True)
FLASK = pytest.mark.parametrize("leg", ["flask-sync", "flask-async"], indirect=True)


def status_of(response: Any) -> int:
    status: int = response.status_code
    return status


# --- exclusion ----------------------------------------------------------------------------------


@pytest.mark.parametrize("excluded", ["path", "all"])
@QUART
def test_a_task_that_an_excluded_request_left_behind_is_measured(leg: Leg, excluded: str) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, excluded_paths="/probe" if excluded == "path" else None)
    go = asyncio.Event()

    @metrics.counter("polls", "Polls.")
    async def poll() -> None:
        pass

    async def later() -> None:
        await go.wait()
        await poll()

    async def probe() -> str:
        tasks.append(asyncio.create_task(later()))
        return "ok"

    tasks: list[asyncio.Task[None]] = []
    mark = metrics.exclude_all_metrics() if excluded == "all" else lambda view: view
    app.add_url_rule("/probe", "probe", mark(probe))

    async def main() -> None:
        await app.test_client().get("/probe")
        go.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert leg.value("polls_total") == 1


@pytest.mark.parametrize("mark", ["do_not_track", "exclude_all_metrics"])
def test_a_mark_covers_requests_that_never_reach_the_view(leg: Leg, mark: str) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    denied: list[bool] = []
    app.before_request(lambda: ("denied", 401) if denied else None)
    decorator = getattr(metrics, mark)()
    app.add_url_rule("/health", "health", decorator(leg.view(lambda: "ok")))
    leg.get(app, "/health")
    leg.request(app, "/health", "OPTIONS")
    denied.append(True)
    assert leg.get(app, "/health").status == 401
    assert leg.label_sets(TOTAL) == []
    assert leg.value("flask_http_requests_in_progress", method="GET") in (None, 0)


def test_a_mark_on_one_method_of_a_view_class_covers_that_method(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)

    class Page(import_module(f"{leg.web.__name__}.views").MethodView):  # type: ignore[misc]
        @metrics.do_not_track()
        def get(self) -> str:
            return "ok"

        def post(self) -> str:
            return "ok"

    app.add_url_rule("/page", view_func=Page.as_view("page"))
    app.before_request(lambda: ("denied", 401))
    for method in ("GET", "HEAD", "POST"):
        leg.request(app, "/page", method)
    assert leg.label_sets(TOTAL) == [{"method": "POST", "status": "401"}]


# --- labels -------------------------------------------------------------------------------------


def test_an_error_handler_answers(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    for error in (404, ZeroDivisionError):
        name = f"handled_{getattr(error, '__name__', error)}".lower()
        count = metrics.counter(name, "d", labels={"status": status_of})

        def handle(error: Any) -> Any:
            return "sorry", 418

        async def handle_async(error: Any) -> Any:
            return "sorry", 418

        app.register_error_handler(error, count(handle_async if leg.async_views else handle))
    app.add_url_rule("/fails", "fails", leg.view(lambda: 1 / 0))
    assert leg.get(app, "/no").status == leg.get(app, "/fails").status == 418
    assert leg.value("handled_404_total", status="418") == 1
    assert leg.value("handled_zerodivisionerror_total", status="418") == 1


@pytest.mark.parametrize("in_a_request", [True, False])
@FLASK
def test_a_context_made_by_hand_on_flask(leg: Leg, in_a_request: bool) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    count = metrics.counter("users", "Users.", labels={"status": status_of})
    app.add_url_rule("/user", "user", count(leg.view(lambda: ("user", 202))))

    def by_hand() -> str:
        with app.test_request_context("/user"):
            return str(app.full_dispatch_request().status_code)

    app.add_url_rule("/batch", "batch", by_hand)
    assert (leg.get(app, "/batch").text if in_a_request else by_hand()) == "202"
    assert leg.value("users_total", status="202") == 1
    counted = [{"method": "GET", "status": "200"}] if in_a_request else []
    assert leg.label_sets(TOTAL) == counted


@QUART
def test_a_context_made_by_hand_on_quart(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    count = metrics.counter("users", "Users.", labels={"status": status_of})
    app.add_url_rule("/user", "user", count(leg.view(lambda: ("user", 202))))

    async def by_hand() -> int:
        async with app.test_request_context("/user") as context:
            response = await app.full_dispatch_request(context)
            status: int = response.status_code
            return status

    assert asyncio.run(by_hand()) == 202
    assert leg.value("users_total", status="202") == 1
    assert leg.label_sets(TOTAL) == []


def test_a_function_that_groups_is_asked_for_requests_without_a_route(leg: Leg) -> None:
    def handler(request: Any) -> str:
        return request.url_rule.rule if request.url_rule else "none"

    app = leg.make_app()
    leg.make_metrics(app, group_by=handler)
    leg.get(app, "/no")
    name = "flask_http_request_duration_seconds_count"
    assert [found["handler"] for found in leg.label_sets(name)] == ["none"]


def test_default_labels_are_on_requests_in_progress(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    app, seen = leg.make_app(), []
    leg.make_metrics(
        app,
        in_progress=True,
        default_labels={"tier": "web", "host": lambda: leg.web.request.host, "late": status_of},
    )

    def view() -> str:
        seen.extend(leg.label_sets("flask_http_requests_in_progress"))
        return "ok"

    app.add_url_rule("/", "view", leg.view(view))
    leg.get(app, "/")
    assert seen == [{"method": "GET", "tier": "web", "host": "localhost"}]
    (record,) = [record for record in caplog.records if record.name == "promweb"]
    assert "omits the default labels late" in record.getMessage()


@QUART
def test_default_labels_of_requests_in_progress_are_awaited(leg: Leg) -> None:
    app, seen = leg.make_app(), []

    async def host() -> str:
        await asyncio.sleep(0)
        return str(leg.web.request.host)

    labels = {"host": host, "later": lambda: host()}
    leg.make_metrics(app, in_progress=True, default_labels=labels)
    leg.make_metrics(app, in_progress=True, defaults_prefix="plain", path=None)

    def view() -> str:
        seen.append(leg.value("flask_http_requests_in_progress", **values))
        seen.append(leg.value("plain_http_requests_in_progress", method="GET"))
        return "ok"

    values = {"method": "GET", "host": "localhost", "later": "localhost"}
    app.add_url_rule("/", "view", leg.view(view))
    assert leg.get(app, "/").status == 200
    assert seen == [1.0, 1.0]
    assert leg.value("flask_http_requests_in_progress", **values) == 0
    assert leg.label_sets("flask_http_requests_in_progress") == [values]  # counted nowhere else
    assert leg.value(TOTAL, **values, status="200") == 1


@QUART
def test_a_client_that_leaves_while_a_label_of_requests_in_progress_is_awaited(leg: Leg) -> None:
    app = leg.make_app()

    async def late() -> str:
        if not reached.is_set():
            reached.set()
            await asyncio.Event().wait()
        return "late"

    leg.make_metrics(app, in_progress=True, default_labels={"late": late})
    app.add_url_rule("/", "view", leg.view(lambda: "never"))

    async def main() -> None:
        browser = Browser(app).start()
        await reached.wait()
        await browser.vanish()

    reached = asyncio.Event()
    asyncio.run(main())
    assert leg.value(TOTAL, method="GET", status="499", late="late") == 1
    assert leg.label_sets("flask_http_requests_in_progress") == []


# --- views and objects --------------------------------------------------------------------------


def test_a_wrapped_view_is_not_a_new_view(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    metrics.register_default(metrics.counter("hits", "Hits."))
    app.add_url_rule("/", "home", leg.view(lambda: "home"))
    leg.get(app, "/")
    view = app.view_functions["home"]

    @wraps(view)
    def wrapped() -> Any:
        return view()

    @wraps(view)
    async def wrapped_async() -> Any:
        return await view()

    app.view_functions["home"] = wrapped_async if leg.async_views else wrapped
    for _ in range(3):
        leg.get(app, "/")
    assert leg.value("hits_total") == 4


def test_a_gauge_on_a_view_is_up_until_the_body_is_sent(leg: Leg) -> None:
    app, seen = leg.make_app(), []
    metrics = leg.make_metrics(app, in_progress=True)

    def body() -> Any:
        for chunk in (b"a", b"b"):
            seen.append(leg.value("streams"))
            yield chunk

    view = leg.view(lambda: leg.web.Response(body()))
    app.add_url_rule("/", "view", metrics.gauge("streams", "Streams.")(view))
    assert leg.get(app, "/").data == b"ab"
    assert seen == [1, 1]
    assert leg.value("streams") == 0


def test_a_gauge_goes_down_when_a_view_raises_or_helps(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    gauge = metrics.gauge("busy", "Busy.")
    app.add_url_rule("/", "view", gauge(leg.view(lambda: 1 / 0)))
    helper = gauge(lambda: leg.value("busy"))
    assert leg.get(app, "/").status == 500
    assert helper() == 1
    assert leg.value("busy") == 0


def test_what_a_second_object_asks_for_is_measured(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, websockets=False)
    leg.make_metrics(app, path=None, in_progress=True, response_size=True)
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    leg.get(app, "/")
    assert leg.value("flask_http_requests_in_progress", method="GET") == 0
    size = "flask_http_response_size_bytes_sum"
    assert leg.value(size, method="GET", path="/", status="200") == 2
    assert leg.value(TOTAL, method="GET", status="200") == 1


def test_a_family_that_is_just_full_has_not_overflowed(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, max_series=4)
    methods = ["GET", "POST", "PUT"]
    app.add_url_rule("/", "view", leg.view(lambda: 1 / 0), methods=methods)
    for method in methods:
        leg.request(app, "/", method)
    assert len(leg.label_sets(EXCEPTIONS)) == 3
    assert leg.value("promweb_series_folded_total", metric=EXCEPTIONS) is None


# --- one framework ------------------------------------------------------------------------------


@FLASK
def test_a_socket_that_was_taken_over_is_no_failure(leg: Leg) -> None:
    """Flask-Sock ends a websocket like this under Gunicorn."""

    class Taken(leg.web.Response):  # type: ignore[misc,name-defined]
        def __call__(self, *_: Any) -> Any:
            raise StopIteration

    app = leg.make_app()
    leg.make_metrics(app)
    app.add_url_rule("/", "view", leg.view(Taken))
    with pytest.raises(StopIteration):
        leg.get(app, "/")
    assert leg.value(TOTAL, method="GET", status="200") == 1
    assert leg.label_sets(EXCEPTIONS) == []


UPGRADE = {"HTTP_UPGRADE": "websocket"}


def raises(error: BaseException) -> Any:
    """Return middleware that raises in the application's place."""

    def middleware(*_: Any) -> Any:
        raise error

    return middleware


def yields_and_raises(error: BaseException) -> Any:
    """Return middleware that is a generator, and raises when it is read."""

    def middleware(*_: Any) -> Any:
        yield from ()
        raise error

    return middleware


@pytest.mark.parametrize(
    ("middleware", "environ", "status", "failed"),
    [
        (raises(StopIteration()), UPGRADE, 101, False),
        (raises(StopIteration()), {}, 500, True),
        (raises(ConnectionError()), {**UPGRADE, "werkzeug.socket": None}, 101, False),
        (yields_and_raises(ConnectionError()), {**UPGRADE, "werkzeug.socket": None}, 101, False),
        (raises(ConnectionError()), UPGRADE, 500, True),
        (raises(ConnectionError()), {"werkzeug.socket": None}, 500, True),
        (raises(ConnectionError("lost")), {**UPGRADE, "werkzeug.socket": None}, 500, True),
        (raises(BrokenPipeError()), {**UPGRADE, "werkzeug.socket": None}, 500, True),
        (yields_and_raises(ValueError()), {**UPGRADE, "werkzeug.socket": None}, 500, True),
    ],
)
@FLASK
def test_middleware_that_took_over_the_socket_is_no_failure(
    leg: Leg, middleware: Any, environ: Any, status: int, failed: bool
) -> None:
    """Engine.IO ends a websocket with StopIteration or, under Werkzeug, a bare ConnectionError."""
    app = leg.make_app()
    app.wsgi_app = middleware
    leg.make_metrics(app, in_progress=True)
    with pytest.raises((StopIteration, ConnectionError, ValueError)):
        list(app(EnvironBuilder(path="/").get_environ() | environ, lambda *_: None))
    where = {"method": "GET", "path": "<middleware>", "status": str(status)}
    assert leg.value("flask_http_request_duration_seconds_count", **where) == 1
    assert len(leg.label_sets(TOTAL)) == 1
    assert len(leg.label_sets(EXCEPTIONS)) == failed


@QUART
def test_a_cancellation_inside_is_a_failure(leg: Leg) -> None:
    """The client is still there and gets a 500."""
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)

    @app.get("/")
    async def view() -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    async def main() -> None:
        browser = Browser(app).start()
        with anyio.fail_after(DEADLINE):  # Quart 0.23 tells the client nothing and waits for it
            while not leg.value(TOTAL, method="GET", status="500"):
                await anyio.lowlevel.checkpoint()
        browser.task.cancel()
        await asyncio.wait({browser.task})

    asyncio.run(main())
    assert leg.value(TOTAL, method="GET", status="500") == 1
    assert leg.value(EXCEPTIONS, method="GET", status="500") == 1
    assert leg.value("flask_http_requests_in_progress", method="GET") == 0


async def websocket(app: Any, *messages: dict[str, Any], told_while_closing: int = 0) -> None:
    """Serve one websocket whose client sends these messages."""
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    for message in ({"type": "websocket.connect"}, *messages):
        inbox.put_nowait(message)

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.close" and told_while_closing:
            inbox.put_nowait({"type": "websocket.disconnect", "code": told_while_closing})
            for _ in range(5):
                await asyncio.sleep(0)  # as Granian does: the application reads it meanwhile

    scope = Browser(app, "/ws").scope | {"type": "websocket", "scheme": "ws", "subprotocols": []}
    await app(scope, inbox.get, send)


@pytest.mark.parametrize(("accepts", "code"), [(True, "1011"), (False, "500")])
@QUART
def test_a_cancellation_inside_a_websocket(leg: Leg, accepts: bool, code: str) -> None:
    """Quart keeps it to itself, and the client gets no code of the application's."""
    app = leg.make_app()
    leg.make_metrics(app)

    @app.websocket("/")
    async def view() -> None:
        if accepts:
            await leg.web.websocket.accept()
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    async def main() -> None:
        socket = Socket(app).start()
        while not leg.label_sets(CONNECTIONS):
            await anyio.lowlevel.checkpoint()
        socket.put("websocket.disconnect", code=1000)  # Quart 0.23 waits for that
        await asyncio.wait({socket.task})

    asyncio.run(main())
    assert leg.label_sets(CONNECTIONS) == [{"path": "/", "close_code": code}]


@pytest.mark.parametrize(
    ("code", "label"), [(1001, "1001"), (1015, "1015"), (1004, "<other>"), (4711, "<other>")]
)
@QUART
def test_close_codes_that_clients_invent_are_one(leg: Leg, code: int, label: str) -> None:
    app = leg.make_app()
    leg.make_metrics(app, default_labels={"tier": "web"})

    @app.websocket("/ws")
    async def view() -> None:
        await leg.web.websocket.accept()
        await leg.web.websocket.receive()

    asyncio.run(websocket(app, {"type": "websocket.disconnect", "code": code}))
    name = "flask_websocket_connection_duration_seconds_count"
    assert leg.label_sets(name) == [{"path": "/ws", "close_code": label, "tier": "web"}]


@QUART
def test_the_close_code_of_the_application_counts_where_the_client_is_told_at_once(
    leg: Leg,
) -> None:
    app = leg.make_app()
    leg.make_metrics(app)

    @app.websocket("/ws")
    async def view() -> None:
        await leg.web.websocket.accept()
        await leg.web.websocket.close(4000)

    asyncio.run(websocket(app, told_while_closing=1005))
    name = "flask_websocket_connection_duration_seconds_count"
    assert leg.value(name, path="/ws", close_code="4000") == 1


class Kind(Enum):
    TEA = "tea"


def test_an_enum_is_a_label_by_its_value(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, default_labels={"shop": Kind.TEA, "kind": lambda: Kind.TEA})
    metrics.counter("jobs", "Jobs.", labels={"of": lambda result: result})(lambda: Kind.TEA)()
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    leg.get(app, "/")
    assert leg.value(TOTAL, method="GET", status="200", shop="tea", kind="tea") == 1
    assert leg.value("jobs_total", of="tea", shop="tea", kind="tea") == 1


def test_a_label_callable_of_any_number_of_arguments_is_refused(leg: Leg) -> None:
    with pytest.raises(ValueError, match="any number of arguments"):
        leg.make_metrics(None).counter("jobs", "Jobs.", labels={"op": lambda *args: 1})
