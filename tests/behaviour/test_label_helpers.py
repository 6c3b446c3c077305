"""`promweb.labels`: label values from the request that cannot become too many."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from promweb.labels import exception_type, from_cookie, from_header, from_view_arg
from tests.support.asgi import Socket
from tests.support.legs import Leg

READERS = (from_header, from_cookie, from_view_arg)


class OutOfStock(Exception):
    pass


def send(leg: Leg, app: Any, where: str, value: str | None) -> None:
    """Send a request that has `value` in a header, a cookie or the path."""
    headers = {}
    if value is not None and where != "view_arg":
        headers = {"X-Client": value} if where == "header" else {"Cookie": f"client={value}"}
    path = f"/shop/{value}" if where == "view_arg" and value else "/"
    if leg.name.startswith("flask"):
        app.test_client(use_cookies=False).get(path, headers=headers)  # else it has its own
    else:
        leg.get(app, path, headers=headers)


def reader(where: str, **kwargs: Any) -> Callable[[], str]:
    make: dict[str, Callable[[], Callable[[], str]]] = {
        "header": lambda: from_header("x-client", **kwargs),
        "cookie": lambda: from_cookie("client", **kwargs),
        "view_arg": lambda: from_view_arg("client", **kwargs),
    }
    return make[where]()


def add_routes(leg: Leg, app: Any, decorate: Callable[[Any], Any]) -> None:
    def view(client: str = "") -> str:
        leg.clock.advance(1)
        return "ok"

    decorated = decorate(leg.view(view))
    app.add_url_rule("/", "view", decorated)
    app.add_url_rule("/shop/<client>", "shop", decorated)


@pytest.mark.parametrize("where", ["header", "cookie", "view_arg"])
@pytest.mark.parametrize(
    ("kwargs", "given", "expected"),
    [
        ({"allowed": ["app", "web"]}, "app", "app"),
        ({"allowed": ["app", "web"]}, "other", "<other>"),
        ({"allowed": ["app", "web"], "default": "web"}, "other", "web"),
        ({"allowed": ["app", "web"]}, None, "<other>"),
        ({"allowed": {1, 2}}, "2", "2"),
        ({}, "anything", "anything"),
        ({}, None, "<other>"),
        ({"default": ""}, None, ""),
    ],
)
def test_a_value_of_the_request(
    leg: Leg, where: str, kwargs: dict[str, Any], given: str | None, expected: str
) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    count = metrics.counter("c", "d", labels={"client": reader(where, **kwargs)})
    add_routes(leg, app, count)
    send(leg, app, where, given)
    assert leg.value("c_total", client=expected) == 1
    assert leg.value("promweb_label_errors_total", metric="c", label="client") is None


@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram", "summary"])
def test_every_decorator(leg: Leg, kind: str) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    labels = {"client": from_header("X-Client", allowed=["app"])}
    add_routes(leg, app, getattr(metrics, kind)("m", "d", labels=labels))
    send(leg, app, "header", "app")
    sample, expected = {
        "counter": ("m_total", 1),
        "gauge": ("m", 0),
        "histogram": ("m_sum", 1),
        "summary": ("m_sum", 1),
    }[kind]
    assert leg.value(sample, client="app") == expected


def test_default_labels(leg: Leg) -> None:
    app = leg.make_app()
    labels = {
        "client": from_header("X-Client", allowed=["app"]),
        "cookie": from_cookie("client", allowed=["app"]),
        "shop": from_view_arg("client"),
        "error": exception_type(),
    }
    metrics = leg.make_metrics(app, default_labels=labels)
    add_routes(leg, app, metrics.counter("c", "d"))
    leg.get(app, "/shop/north", headers={"X-Client": "app"})
    leg.get(app, "/no/such/page")
    found = {"client": "app", "cookie": "<other>", "shop": "north", "error": ""}
    assert leg.value("c_total", **found) == 1
    assert leg.value("flask_http_request_total", method="GET", status="200", **found) == 1
    missed = {"client": "<other>", "cookie": "<other>", "shop": "<other>", "error": "NotFound"}
    assert leg.value("flask_http_request_total", method="GET", status="404", **missed) == 1


def test_outside_of_a_request(leg: Leg) -> None:
    metrics = leg.make_metrics(leg.make_app())
    labels = {"client": from_header("X-Client", default="job"), "error": exception_type()}

    @metrics.counter("c", "d", labels=labels)
    def job() -> None:
        pass

    job()
    assert leg.value("c_total", client="job", error="") == 1


def test_a_view_arg_that_is_converted(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    count = metrics.counter("c", "d", labels={"n": from_view_arg("n", allowed=[1, 2])})
    app.add_url_rule("/<int:n>", "view", count(leg.view(lambda n: "ok")))
    for path in ("/1", "/02", "/3"):
        leg.get(app, path)
    assert leg.value("c_total", n="1") == leg.value("c_total", n="2") == 1
    assert leg.value("c_total", n="<other>") == 1


def test_allowed_may_be_any_iterable(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    allowed = (name for name in ("app", "web"))
    labels = {"client": from_header("X-Client", allowed=allowed)}
    add_routes(leg, app, metrics.counter("c", "d", labels=labels))
    for value in ("web", "app", "web"):
        send(leg, app, "header", value)
    assert leg.value("c_total", client="web") == 2


def test_without_allowed_the_family_is_the_bound(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, max_series=3)
    add_routes(leg, app, metrics.counter("c", "d", labels={"client": from_header("X-Client")}))
    for number in range(9):
        send(leg, app, "header", str(number))
    assert len(leg.label_sets("c_total")) == 3
    assert leg.value("c_total", client="<overflow>") == 7


def test_websockets(leg: Leg) -> None:
    if leg.name != "quart-async":
        pytest.skip("Flask has no websockets")
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    labels = {"room": from_view_arg("room"), "error": exception_type()}

    @app.websocket("/chat/<room>")
    @metrics.counter("c", "d", labels=labels)
    async def chat(room: str) -> None:
        await leg.web.websocket.send(room)
        if room == "b":
            raise OutOfStock

    async def connect(room: str) -> None:
        socket = Socket(app, f"/chat/{room}").start()
        await socket.accepted()
        assert await socket.heard() == room
        with suppress(Exception):  # what becomes of it differs
            await socket.over()

    for room in "ab":
        asyncio.run(connect(room))
    assert leg.value("c_total", room="a", error="") == 1
    assert leg.value("c_total", room="b", error="OutOfStock") == 1


# --- exception_type ------------------------------------------------------------------------------


def counted(leg: Leg, view: Callable[..., Any], **kwargs: Any) -> Any:
    app = leg.make_app(**kwargs)
    metrics = leg.make_metrics(app)
    labels = {"error": exception_type(), "status": lambda response: response.status_code}
    decorated = metrics.counter("c", "d", labels=labels)(leg.view(view))
    decorated = metrics.histogram("h", "d", labels={"error": exception_type()})(decorated)
    app.add_url_rule("/", "view", decorated)
    return app


def fail() -> str:
    raise OutOfStock


def test_an_exception_that_nobody_answers(leg: Leg) -> None:
    app = counted(leg, fail)
    leg.get(app, "/")
    assert leg.value("c_total", error="OutOfStock", status="500") == 1
    assert leg.value("h_count", error="OutOfStock") == 1


def test_an_exception_that_propagates(leg: Leg) -> None:
    app = counted(leg, fail, testing=True)
    with suppress(OutOfStock):  # Flask's test client lets it through
        leg.get(app, "/")
    assert leg.value("c_total", error="OutOfStock", status="500") == 1


def test_an_exception_that_an_error_handler_answers(leg: Leg) -> None:
    app = counted(leg, fail)
    app.register_error_handler(OutOfStock, leg.view(lambda error: ("sold", 409)))
    leg.get(app, "/")
    assert leg.value("c_total", error="OutOfStock", status="409") == 1


def test_abort(leg: Leg) -> None:
    app = counted(leg, lambda: leg.web.abort(418))
    leg.get(app, "/")
    assert leg.value("c_total", error="ImATeapot", status="418") == 1


def test_no_exception(leg: Leg) -> None:
    app = counted(leg, lambda: "ok")
    leg.get(app, "/")
    assert leg.value("c_total", error="", status="200") == 1


def test_an_exception_of_an_error_handler(leg: Leg) -> None:
    def handle(error: Exception) -> str:
        raise KeyError("x")

    app = counted(leg, fail)
    app.register_error_handler(OutOfStock, leg.view(handle))
    leg.get(app, "/")
    assert leg.value("c_total", error="KeyError", status="500") == 1


def test_functions_that_are_no_views(leg: Leg) -> None:
    """One of an error handler returns, although the request raised."""
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    count = metrics.counter("c", "d", labels={"error": exception_type()})

    @count
    def helper(error: type[Exception] | None) -> str:
        if error is not None:
            raise error
        return "ok"

    def view() -> str:
        try:
            helper(KeyError)
        except KeyError:
            helper(None)
        raise OutOfStock

    app.add_url_rule("/", "view", leg.view(view))
    app.register_error_handler(OutOfStock, leg.view(lambda error: helper(None)))
    leg.get(app, "/")
    assert leg.value("c_total", error="KeyError") == 1
    assert leg.value("c_total", error="") == 2


def test_a_function_that_runs_after_the_response(leg: Leg) -> None:
    """The request raised, and this function did not."""
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    helper = metrics.counter("c", "d", labels={"error": exception_type()})(lambda: "ok")
    app.add_url_rule("/", "view", leg.view(fail))
    app.register_error_handler(OutOfStock, leg.view(lambda error: ("sold", 409)))
    app.teardown_request(leg.view(lambda error: helper()))
    leg.get(app, "/")
    assert leg.label_sets("c_total") == [{"error": ""}]


@pytest.mark.parametrize("error", [None, OutOfStock])
def test_every_kind_of_function(leg: Leg, error: type[Exception] | None) -> None:
    metrics = leg.make_metrics(leg.make_app())
    count = metrics.counter("c", "d", labels={"error": exception_type()})

    def work() -> None:
        if error is not None:
            raise error

    @count
    async def coroutine() -> None:
        work()

    @count
    def generator() -> Any:
        yield 1
        work()

    @count
    async def async_generator() -> Any:
        yield 1
        work()

    async def read() -> None:
        async for _ in async_generator():
            pass

    for call in (
        lambda: asyncio.run(coroutine()),
        lambda: list(generator()),
        lambda: asyncio.run(read()),
    ):
        with suppress(OutOfStock):
            call()
    assert leg.value("c_total", error="OutOfStock" if error else "") == 3
    assert len(leg.label_sets("c_total")) == 1


def test_a_gauge_cannot_have_it(leg: Leg) -> None:
    metrics = leg.make_metrics(None)
    with pytest.raises(ValueError, match=re.escape("which exception_type() needs")) as caught:
        metrics.gauge("busy", "d", labels={"error": exception_type()})
    assert "metric 'busy', label 'error'" in str(caught.value)


# --- wrong arguments -----------------------------------------------------------------------------


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": 3}, TypeError, "(3): the name must be text"),
        ({"name": ""}, TypeError, "(''): the name must be text"),
        ({"name": "x", "default": None}, TypeError, "('x'): default=None must be text"),
        ({"name": "x", "allowed": "app"}, TypeError, "allowed='app' must be a list or a set"),
        ({"name": "x", "allowed": re.compile("a")}, TypeError, "must be a list or a set of values"),
        ({"name": "x", "allowed": []}, ValueError, "allowed is empty"),
    ],
)
def test_wrong_arguments(
    read: Callable[..., object], arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught:
        read(**arguments)
    assert str(caught.value).startswith(f"{read.__name__}(")
