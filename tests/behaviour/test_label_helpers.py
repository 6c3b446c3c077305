"""`promweb.labels`: label values from the request that cannot become too many."""

from __future__ import annotations

import asyncio
import enum
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from typing import Any

import pytest

from promweb.labels import (
    exception_type,
    from_argument,
    from_cookie,
    from_header,
    from_response_header,
    from_view_arg,
)
from tests.support.asgi import Socket
from tests.support.legs import Leg

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

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
        with suppress(Exception):  # its further fate differs
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


def test_the_only_exception_of_a_group(leg: Leg) -> None:
    """Task groups of asyncio and trio raise a group for a single task."""

    def fail_in_a_task() -> str:
        raise ExceptionGroup("tasks", [OutOfStock()])

    app = counted(leg, fail_in_a_task)
    leg.get(app, "/")
    assert leg.value("c_total", error="OutOfStock", status="500") == 1
    job = leg.make_metrics(app).counter("jobs", "d", labels={"error": exception_type()})
    with suppress(ExceptionGroup):
        job(fail_in_a_task)()
    assert leg.value("jobs_total", error="OutOfStock") == 1


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


# --- arguments of the decorated function ---------------------------------------------------------


def plain(sql: str, /, table: str = "orders", *, limit: Any = 10) -> str:
    return sql


async def coroutine(sql: str, table: str = "orders", *, limit: Any = 10) -> str:
    return sql


def generator(sql: str, table: str = "orders", *, limit: Any = 10) -> Any:
    yield sql


async def async_generator(sql: str, table: str = "orders", *, limit: Any = 10) -> Any:
    yield sql


class Database:
    def query(self, sql: str, table: str = "orders", *, limit: Any = 10) -> str:
        return sql

    @classmethod
    def of_class(cls, sql: str, table: str = "orders", *, limit: Any = 10) -> str:
        return sql

    @staticmethod
    def of_none(sql: str, table: str = "orders", *, limit: Any = 10) -> str:
        return sql

    def __call__(self, sql: str, table: str = "orders", *, limit: Any = 10) -> str:
        return sql


def run_through(result: Any) -> None:
    async def drain() -> None:
        async for _ in result:
            pass

    if inspect.iscoroutine(result):
        asyncio.run(result)
    elif hasattr(result, "__aiter__"):
        asyncio.run(drain())
    elif hasattr(result, "__next__"):
        list(result)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda decorate: decorate(plain),
    "coroutine": lambda decorate: decorate(coroutine),
    "generator": lambda decorate: decorate(generator),
    "async generator": lambda decorate: decorate(async_generator),
    "method": lambda decorate: type("D", (), {"query": decorate(Database.query)})().query,
    "bound method": lambda decorate: decorate(Database().query),
    "class method": lambda decorate: (
        type("D", (), {"query": decorate(vars(Database)["of_class"])}).query
    ),  # type: ignore[attr-defined]
    "static method": lambda decorate: (
        type("D", (), {"query": decorate(vars(Database)["of_none"])}).query
    ),  # type: ignore[attr-defined]
    "callable": lambda decorate: decorate(Database()),
    "partial": lambda decorate: decorate(partial(plain, limit=10)),
    "partial of a method": lambda decorate: decorate(partial(Database.query, Database())),
    "wrapped": lambda decorate: decorate(
        wraps(plain)(lambda *args, **kwargs: plain(*args, **kwargs))
    ),
    "decorated": lambda decorate: decorate(decorate(plain)),
}


@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram", "summary"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_of_every_kind_of_callable(leg: Leg, name: str, kind: str) -> None:
    metrics = leg.make_metrics(None)
    decorate = getattr(metrics, kind)(
        "m",
        "d",
        {"table": from_argument("table", allowed=["orders", "cats"]), "n": from_argument("limit")},
    )
    query = FUNCTIONS[name](decorate)
    run_through(query("select"))
    run_through(query("select", "cats", limit=3))
    run_through(query("select", table="cats", limit=3))
    run_through(query("select", table="dogs", limit=None))
    sample = {"counter": "m_total", "gauge": "m"}.get(kind, "m_count")
    factor = 0 if kind == "gauge" else 2 if name == "decorated" else 1
    assert leg.value(sample, table="orders", n="10") == factor
    assert leg.value(sample, table="cats", n="3") == 2 * factor
    assert leg.value(sample, table="<other>", n="<other>") == factor
    assert len(leg.label_sets(sample)) == 3


def test_arguments_of_views(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    labels = {"item": from_argument("name"), "status": lambda response: response.status_code}
    count = metrics.counter("c", "d", labels)

    views: Any = importlib.import_module(f"{leg.web.__name__}.views")

    async def coroutine_view(name: str, **more: Any) -> str:
        return name

    def plain_view(name: str, **more: Any) -> str:
        return name

    app.add_url_rule(
        "/item/<name>", "item", count(coroutine_view if leg.async_views else plain_view)
    )

    class Page(views.View):  # type: ignore[misc, name-defined]
        def dispatch_request(self, name: str) -> str:
            return name

    app.add_url_rule("/page/<name>", view_func=count(Page).as_view("page"))
    leg.get(app, "/item/tea")
    leg.get(app, "/page/tea")
    assert leg.value("c_total", item="tea", status="200") == 2


class Secret:
    __signature__ = "none"

    def __call__(self, sql: str) -> str:
        return sql


def test_a_function_without_the_parameter(leg: Leg) -> None:
    metrics = leg.make_metrics(None)
    count = metrics.counter("c", "d", {"sql": from_argument("sql", default="none")})
    with pytest.raises(ValueError, match=r"counter 'c': from_argument\('sql'\) needs a parameter"):
        count(lambda text: text)
    with pytest.raises(ValueError, match="cannot read the parameters"):
        count(Secret())
    anything = count(lambda **kwargs: kwargs)
    anything(sql="select")
    anything(text="select")
    assert leg.value("c_total", sql="select") == 1
    assert leg.value("c_total", sql="none") == 1


def test_a_call_that_fails_for_its_arguments_counts(leg: Leg) -> None:
    count = leg.make_metrics(None).counter("c", "d", {"sql": from_argument("sql", default="none")})
    with pytest.raises(TypeError):
        count(lambda sql: sql)()
    assert leg.value("c_total", sql="none") == 1


def test_an_argument_that_has_no_text(leg: Leg) -> None:
    class Odd:
        def __str__(self) -> str:
            raise ValueError

    count = leg.make_metrics(None).counter("c", "d", {"sql": from_argument("sql")})
    count(lambda sql: sql)(Odd())
    assert leg.value("c_total", sql="<error>") == 1
    assert leg.value("promweb_label_errors_total", metric="c", label="sql") == 1


def test_arguments_are_for_decorators_alone(leg: Leg) -> None:
    label = from_argument("sql")
    with pytest.raises(ValueError, match="needs a function that is decorated"):
        leg.make_metrics(None, default_labels={"sql": label})
    counter = leg.make_metrics(None).counter("c", "d", {"sql": label})
    with pytest.raises(ValueError, match="only a decorator can give the label 'sql' a value"):
        counter.inc()
    with pytest.raises(TypeError, match="is for decorated functions"):
        label()
    assert repr(label) == "from_argument('sql')"


def test_arguments_beside_labels_that_were_given(leg: Leg) -> None:
    labels = {"sql": from_argument("sql"), "who": lambda: "me"}
    count = leg.make_metrics(None).counter("c", "d", labels, labelnames=["kind"])
    count.labels(kind="read")(lambda sql: sql)("select")
    count.labels(kind="write")(lambda sql: sql)("insert")
    assert leg.value("c_total", sql="select", who="me", kind="read") == 1
    assert leg.value("c_total", sql="insert", who="me", kind="write") == 1


# --- headers of the response ---------------------------------------------------------------------


def test_a_header_of_the_response(leg: Leg) -> None:
    app = leg.make_app()
    label = from_response_header("x-cache", allowed=["hit", "miss"])
    metrics = leg.make_metrics(app, default_labels={"cache": label})

    @metrics.counter("helps", "Helps")
    def helper() -> str:
        return "hit"

    def view() -> Any:
        helper()
        return "ok", {"X-Cache": leg.web.request.args.get("cache", "other")}

    app.add_url_rule("/", "view", metrics.counter("c", "d")(leg.view(view)))
    for cache in ("hit", "miss", "invented"):
        leg.get(app, f"/?cache={cache}")
    for value in ("hit", "miss", "<other>"):
        assert leg.value("c_total", cache=value) == 1
        assert leg.value("flask_http_request_total", method="GET", status="200", cache=value) == 1
    assert leg.value("helps_total", cache="<other>") == 3
    with pytest.raises(ValueError, match="before there is a response"):
        metrics.gauge("busy", "Busy", {"cache": label})


class Shop(enum.Enum):
    NORTH = "north"


def test_values_that_an_enumeration_allows(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    labels = {
        "header": from_header("X-Client", allowed=Shop),
        "argument": from_argument("shop", allowed=Shop),
    }
    count = metrics.counter("c", "d", labels)
    app.add_url_rule("/", "view", leg.view(lambda: [count(lambda shop: shop)(Shop.NORTH), "ok"][1]))
    leg.get(app, "/", headers={"X-Client": "north"})
    assert leg.value("c_total", header="north", argument="north") == 1
