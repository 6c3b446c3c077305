"""Websockets on Quart: connections, their ends, and their messages."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import anyio
import pytest
import quart
from prometheus_client import CollectorRegistry

from tests.support.asgi import Browser, Socket
from tests.support.hanging import GONE, LEAVES, WAITS_FOR_DISCONNECT, Hang, cancel_the_rest, leaves
from tests.support.legs import Leg
from tests.support.recorded import Done, Samples, expected, labels, samples
from tests.support.views import VIEW
from tests.support.waiting import DEADLINE

EXTENDED = {"websocket.http.response": {}}
"""The extension with which a server can reject a handshake with any response."""


@pytest.fixture
def app(leg: Leg) -> Any:
    """Return an application with an echo at `/`."""
    app = leg.make_app()
    leg.make_metrics(app)
    app.websocket("/")(echo)
    return app


async def echo(**values: object) -> None:
    while True:
        await quart.websocket.send(await quart.websocket.receive())


def ended(
    *connections: tuple[str, object],
    seconds: float = 0.0,
    received: float = 0.0,
    sent: float = 0.0,
    accepted: bool = True,
    by: str = "path",
    prefix: str = "flask_",
) -> Samples:
    """Return the samples of connections, given by group and close code.

    Each took `seconds`; the messages belong to the group of the first one.
    """
    name, found = f"{prefix}websocket_", Samples()
    for group, code in connections:
        key = labels(**{by: group, "close_code": str(code)})
        for suffix, amount in (("count", 1.0), ("sum", seconds)):
            family = found.setdefault(f"{name}connection_duration_seconds_{suffix}", {})
            family[key] = family.get(key, 0.0) + amount
        if accepted:
            family = found.setdefault(f"{name}connections_in_progress", {})
            family[labels(**{by: group})] = 0.0
    for direction, number in (("received", received), ("sent", sent)):
        if number:
            family = found.setdefault(f"{name}messages_total", {})
            family[labels(**{by: connections[0][0], "direction": direction})] = number
    return found


def in_progress(leg: Leg, path: str = "/") -> float | None:
    return leg.value("flask_websocket_connections_in_progress", path=path)


async def talk(app: Any, path: str = "/", texts: Iterable[str] = (), **scope: Any) -> None:
    """Connect, have some texts echoed, and close."""
    socket = Socket(app, path, **scope).start()
    for text in ("hello", *texts):
        socket.say(text)
    await socket.accepted()
    for text in ("hello", *texts):
        assert await socket.heard() == text
    await socket.close(code=1000)


# --- connections that end ----------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("message", "recorded"),
    [
        ({"code": 1000}, 1000),
        ({"code": 1001}, 1001),
        ({"code": 4001}, "<other>"),
        ({"code": 1006}, 1006),
        ({"code": None}, 1005),
        ({}, 1005),
    ],
    ids=str,
)
async def test_client_closes(leg: Leg, app: Any, message: Any, recorded: int | str) -> None:
    socket = Socket(app).start()
    socket.say("one")
    await socket.accepted()
    assert await socket.heard() == "one"
    assert in_progress(leg) == 1.0
    leg.clock.advance(VIEW)
    await socket.close(**message)
    wanted = ended(("/", recorded), seconds=VIEW, received=1.0, sent=1.0)
    assert samples(leg.registry) == wanted


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [1000, 1011, 4002])
async def test_server_closes(leg: Leg, app: Any, code: int) -> None:
    @app.websocket("/bye")
    async def view() -> None:
        await quart.websocket.accept()
        leg.clock.advance(VIEW)
        await quart.websocket.close(code)
        assert in_progress(leg, "/bye") == 0.0
        leg.clock.advance(100)

    await Socket(app, "/bye").start().over()
    assert samples(leg.registry) == ended(("/bye", code), seconds=VIEW)


@pytest.mark.asyncio
async def test_server_closes_first_and_the_client_agrees(leg: Leg, app: Any) -> None:
    hang = Hang(leg)

    @app.websocket("/bye")
    async def view() -> None:
        await quart.websocket.accept()
        await quart.websocket.close(4002)
        await hang.stay()

    socket = Socket(app, "/bye").start()
    await hang.wait()
    await socket.close(code=1000)
    assert samples(leg.registry) == ended(("/bye", 4002))


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [None, "text"])
async def test_view_returns(leg: Leg, app: Any, answer: str | None) -> None:
    """Quart closes with 1000 when the view is done."""

    @app.websocket("/once")
    async def view() -> str | None:
        await quart.websocket.send(await quart.websocket.receive())
        leg.clock.advance(VIEW)
        return answer

    socket = Socket(app, "/once").start()
    socket.say("one")
    await socket.over()
    assert socket.sent[-1] == {"type": "websocket.close", "code": 1000}
    assert samples(leg.registry) == ended(("/once", 1000), seconds=VIEW, received=1.0, sent=1.0)


@pytest.mark.asyncio
async def test_view_returns_before_it_accepts(leg: Leg, app: Any) -> None:
    """Servers answer 500 to a handshake that the application said nothing to.

    Quart 0.23 goes on until the client gives up.
    """
    returned = asyncio.Event()

    @app.websocket("/none")
    async def view() -> None:
        leg.clock.advance(VIEW)
        returned.set()

    socket = Socket(app, "/none").start()
    await asyncio.wait_for(returned.wait(), DEADLINE)
    if WAITS_FOR_DISCONNECT:
        await anyio.wait_all_tasks_blocked()
        socket.put("websocket.disconnect", code=1006)
    await socket.over()
    assert socket.sent == []
    status = 1006 if WAITS_FOR_DISCONNECT else 500
    assert samples(leg.registry) == ended(("/none", status), seconds=VIEW, accepted=False)


@pytest.mark.asyncio
async def test_messages_of_both_kinds_count(leg: Leg, app: Any) -> None:
    socket = Socket(app).start()
    socket.say("text")
    socket.put("websocket.receive", bytes=b"bytes")
    socket.put("websocket.receive", bytes=None, text="both")
    await socket.accepted()
    kinds = [(await socket.next("websocket.send"))["bytes"] for _ in range(3)]
    assert kinds == [None, b"bytes", None]
    await socket.close(code=1000)
    assert samples(leg.registry) == ended(("/", 1000), received=3.0, sent=3.0)


@pytest.mark.asyncio
async def test_messages_that_nobody_reads_count(leg: Leg, app: Any) -> None:
    """They were received, even if the view ignores them."""
    hang = Hang(leg)

    @app.websocket("/deaf")
    async def view() -> None:
        await quart.websocket.accept()
        await hang.stay()

    socket = Socket(app, "/deaf").start()
    await hang.wait()
    for _ in range(5):
        socket.say("hello?")
    await socket.close(code=1001)
    assert samples(leg.registry) == ended(("/deaf", 1001), seconds=VIEW, received=5.0)


@pytest.mark.asyncio
async def test_messages_before_the_route_is_known_count(leg: Leg) -> None:
    app = leg.make_app()
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def tenant(websocket: Any) -> str:
        reached.set()
        await go_on.wait()
        return "t1"

    leg.make_metrics(app, group_by=tenant)
    app.websocket("/")(echo)
    socket = Socket(app).start()
    socket.say("one")
    socket.say("two")
    await asyncio.wait_for(reached.wait(), DEADLINE)
    await anyio.wait_all_tasks_blocked()
    assert "flask_websocket_messages_total" not in samples(leg.registry)
    go_on.set()
    await socket.accepted()
    assert [await socket.heard(), await socket.heard()] == ["one", "two"]
    await socket.close(code=1000)
    wanted = ended(("t1", 1000), received=2.0, sent=2.0, by="tenant")
    assert samples(leg.registry) == wanted


# --- clients that vanish, cancellation ---------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["before_websocket", "view"])
async def test_client_vanishes_before_it_was_accepted(leg: Leg, where: str) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    hang = Hang(leg)
    if where == "view":
        app.websocket("/")(hang.stay)
    else:
        app.websocket("/")(echo)
        app.before_websocket(hang.stay)
    socket = Socket(app).start()
    await hang.wait()
    await socket.close(code=1006)
    assert socket.sent == []
    assert samples(leg.registry) == ended(("/", 1006), seconds=VIEW, accepted=False)


@pytest.mark.asyncio
async def test_client_vanishes_at_once(leg: Leg, app: Any) -> None:
    hang = Hang(leg)
    app.websocket("/hang")(hang.stay)
    socket = Socket(app, "/hang")
    socket.say("one")
    socket.put("websocket.disconnect", code=1001)
    await socket.start().over()
    found = samples(leg.registry)
    name = "flask_websocket_connection_duration_seconds"
    assert found[f"{name}_count"] == {labels(path="/hang", close_code="1001"): 1.0}
    one = {labels(path="/hang", direction="received"): 1.0}
    assert found["flask_websocket_messages_total"] == one
    assert set(found.get("flask_websocket_connections_in_progress", {}).values()) <= {0.0}


@LEAVES
@pytest.mark.asyncio
async def test_client_vanishes_while_the_view_sends(leg: Leg, app: Any) -> None:
    """ASGI lets servers raise `OSError` then: abnormal, but no fault of the application."""

    @app.websocket("/news")
    async def view() -> None:
        await quart.websocket.accept()
        leg.clock.advance(VIEW)
        await quart.websocket.send("news")

    app.config["PROPAGATE_EXCEPTIONS"] = True
    socket = Socket(app, "/news")
    socket.gone = "websocket.send"
    with suppress(*GONE):
        await socket.start().over()
    assert samples(leg.registry) == ended(("/news", 1006), seconds=VIEW)


@LEAVES
@pytest.mark.asyncio
async def test_client_vanishes_while_it_is_accepted(leg: Leg, app: Any) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = True
    socket = Socket(app)
    socket.gone = "websocket.accept"
    with suppress(*GONE):
        await socket.start().over()
    found = samples(leg.registry)
    assert sum(found["flask_websocket_connection_duration_seconds_count"].values()) == 1.0
    assert set(found.get("flask_websocket_connections_in_progress", {}).values()) <= {0.0}


@pytest.mark.asyncio
@pytest.mark.parametrize("accept", [True, False])
async def test_handler_cancelled_at_shutdown(leg: Leg, app: Any, accept: bool) -> None:
    hang = Hang(leg)

    @app.websocket("/hang")
    async def view() -> None:
        if accept:
            await quart.websocket.accept()
        await hang.stay()

    socket = Socket(app, "/hang").start()
    await hang.wait()
    assert in_progress(leg, "/hang") == (1.0 if accept else None)
    await socket.cancel()
    assert socket.task.cancelled()
    await cancel_the_rest()
    code = 1011 if accept else 500
    assert samples(leg.registry) == ended(("/hang", code), seconds=VIEW, accepted=accept)


def test_every_connection_ends_with_the_loop(leg: Leg, app: Any) -> None:
    async def main() -> None:
        sockets = [Socket(app).start() for _ in range(20)]
        for socket in sockets:
            socket.say("one")
            await socket.accepted()
            await socket.heard()
        assert in_progress(leg) == 20.0

    asyncio.run(main())
    assert samples(leg.registry) == ended(*[("/", 1011)] * 20, received=20.0, sent=20.0)


# --- rejections and errors ---------------------------------------------------------------------


async def reject() -> None:
    quart.abort(401)


async def answer() -> Any:
    return "no", 402


async def close() -> Any:
    await quart.websocket.close(4003)
    return "closed", 400


async def fail() -> None:
    raise ZeroDivisionError


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["before_websocket", "view"])
@pytest.mark.parametrize(
    ("how", "extended", "status"),
    [
        (reject, True, 401),
        (reject, False, 403),
        (answer, True, 402),
        (answer, False, 403),
        (close, False, 403),
        (fail, True, 500),
        (fail, False, 403),
    ],
)
async def test_rejected_handshake_has_a_status(
    leg: Leg, where: str, how: Any, extended: bool, status: int
) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    app.websocket("/")(how if where == "view" else echo)
    if where == "before_websocket":
        app.before_websocket(how)
    socket = Socket(app, extensions=EXTENDED if extended else {}).start()
    await socket.over()
    kind = "websocket.http.response.start" if extended else "websocket.close"
    assert socket.sent[0]["type"] == kind
    assert samples(leg.registry) == ended(("/", status), accepted=False)


@pytest.mark.asyncio
@pytest.mark.parametrize("extended", [True, False])
async def test_unmatched_path(leg: Leg, app: Any, extended: bool) -> None:
    for path in ("/none", "/nothing"):
        await Socket(app, path, extensions=EXTENDED if extended else {}).start().over()
    status = 404 if extended else 403
    wanted = ended(("<unmatched>", status), ("<unmatched>", status), accepted=False)
    assert samples(leg.registry) == wanted


@pytest.mark.asyncio
async def test_unmatched_path_with_a_group_by_function(leg: Leg) -> None:
    def tenant(websocket: Any) -> str:
        return "asked"

    app = leg.make_app()
    leg.make_metrics(app, group_by=tenant)
    await Socket(app, "/none", extensions=EXTENDED).start().over()
    wanted = ended(("asked", 404), accepted=False, by="tenant")
    assert samples(leg.registry) == wanted


@pytest.mark.asyncio
async def test_handler_fails_after_it_accepted(leg: Leg, app: Any) -> None:
    """Quart closes with 1000 then."""

    @app.websocket("/fail")
    async def view() -> None:
        await quart.websocket.receive()
        leg.clock.advance(VIEW)
        raise ZeroDivisionError

    socket = Socket(app, "/fail").start()
    socket.say("one")
    await socket.over()
    assert socket.sent[-1] == {"type": "websocket.close", "code": 1000}
    assert samples(leg.registry) == ended(("/fail", 1000), seconds=VIEW, received=1.0)


@LEAVES
@pytest.mark.asyncio
@pytest.mark.parametrize(("accept", "code"), [(True, 1011), (False, 500)])
async def test_exception_that_leaves_the_application(
    leg: Leg, app: Any, accept: bool, code: int
) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = True

    @app.websocket("/fail")
    async def view() -> None:
        if accept:
            await quart.websocket.accept()
        leg.clock.advance(VIEW)
        raise ZeroDivisionError

    with leaves(ZeroDivisionError):
        await Socket(app, "/fail").start().over()
    assert samples(leg.registry) == ended(("/fail", code), seconds=VIEW, accepted=accept)


@pytest.mark.asyncio
async def test_error_handler_rejects(leg: Leg, app: Any) -> None:
    app.websocket("/fail")(fail)
    app.register_error_handler(ZeroDivisionError, lambda error: ("busy", 429))
    await Socket(app, "/fail", extensions=EXTENDED).start().over()
    assert samples(leg.registry) == ended(("/fail", 429), accepted=False)


@pytest.mark.asyncio
async def test_teardown_that_raises_after_the_close(leg: Leg, app: Any) -> None:
    @app.teardown_websocket
    async def teardown(error: object) -> None:
        raise ZeroDivisionError

    @app.websocket("/bye")
    async def view() -> None:
        await quart.websocket.accept()
        await quart.websocket.close(4002)

    socket = Socket(app, "/bye").start()
    with suppress(ZeroDivisionError):
        await socket.over()
    assert samples(leg.registry) == ended(("/bye", 4002))


# --- groups, options ---------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("group_by", "group"),
    [
        ("path", "/rooms/7"),
        ("endpoint", "room"),
        ("url_rule", "/rooms/<int:number>"),
        ("host", "localhost"),
    ],
)
async def test_group_by_attribute(leg: Leg, group_by: str, group: str) -> None:
    app = leg.make_app()
    leg.make_metrics(app, group_by=group_by)
    app.websocket("/rooms/<int:number>", endpoint="room")(echo)
    await talk(app, "/rooms/7")
    found = samples(leg.registry)
    assert found == ended((group, 1000), received=1.0, sent=1.0, by=group_by)


@pytest.mark.asyncio
@pytest.mark.parametrize("coroutine", [True, False])
async def test_group_by_function(leg: Leg, coroutine: bool) -> None:
    def tenant(websocket: Any) -> str:
        assert websocket.path == quart.websocket.path
        name: str = websocket.headers["x-tenant"]
        return name

    async def async_tenant(websocket: Any) -> str:
        await asyncio.sleep(0)
        return tenant(websocket)

    async_tenant.__name__ = "tenant"
    app = leg.make_app()
    leg.make_metrics(app, group_by=async_tenant if coroutine else tenant)
    app.websocket("/")(echo)
    await talk(app, headers={"x-tenant": "t1"})
    await talk(app)  # without the header the function raises
    found = samples(leg.registry)
    errors = found.pop("promweb_label_errors_total")
    assert list(errors.values()) == [1.0]
    wanted = ended(("t1", 1000), ("<error>", 1000), by="tenant")
    wanted["flask_websocket_messages_total"] = {
        labels(tenant=name, direction=direction): 1.0
        for name in ("t1", "<error>")
        for direction in ("received", "sent")
    }
    assert found == wanted


@pytest.mark.asyncio
async def test_families_appear_with_the_first_connection(leg: Leg, app: Any) -> None:
    app.add_url_rule("/page", view_func=leg.view(lambda: "ok"), endpoint="page")

    async def exposition() -> str:
        browser = Browser(app, "/metrics").start()
        await browser.over()
        return browser.body.decode()

    browser = Browser(app, "/page").start()
    await browser.over()
    assert "websocket" not in await exposition()
    await talk(app)
    text = await exposition()
    for line in (
        "# TYPE flask_websocket_connections_in_progress gauge",
        'flask_websocket_connections_in_progress{path="/"} 0.0',
        "# TYPE flask_websocket_connection_duration_seconds histogram",
        'flask_websocket_connection_duration_seconds_count{close_code="1000",path="/"} 1.0',
        "# TYPE flask_websocket_messages_total counter",
        'flask_websocket_messages_total{direction="sent",path="/"} 1.0',
    ):
        name, _, rest = line.partition("{")
        found = [other for other in text.splitlines() if other.startswith(name)]
        assert found, line
        if rest:
            pairs, _, value = rest.partition("} ")
            assert any(
                set(other.partition("{")[2].partition("} ")[0].split(",")) == set(pairs.split(","))
                and other.endswith(f" {value}")
                for other in found
            ), line


@pytest.mark.asyncio
async def test_websockets_can_be_left_out(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, websockets=False)
    app.websocket("/")(echo)
    app.add_url_rule("/page", view_func=leg.view(lambda: "ok"), endpoint="page")
    await talk(app)
    await Browser(app, "/page").start().over()
    assert samples(leg.registry) == expected(Done("GET", "/page", 200))


@pytest.mark.asyncio
async def test_websockets_without_default_metrics(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, export_defaults=False)
    app.websocket("/")(echo)
    await talk(app)
    assert samples(leg.registry) == {}


@pytest.mark.asyncio
async def test_connection_is_no_request(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)
    app.websocket("/")(echo)
    await talk(app)
    assert samples(leg.registry) == ended(("/", 1000), received=1.0, sent=1.0)


@pytest.mark.asyncio
async def test_excluded_paths(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, excluded_paths=["/private"])
    app.websocket("/<name>")(echo)
    await talk(app, "/private")
    assert samples(leg.registry) == {}
    await talk(app, "/public")
    assert samples(leg.registry) == ended(("/public", 1000), received=1.0, sent=1.0)


@pytest.mark.asyncio
async def test_two_objects_measure_one_app(leg: Leg, app: Any) -> None:
    other = CollectorRegistry()
    metrics = leg.make_metrics(
        app, path=None, defaults_prefix="shop", group_by="endpoint", registry=other
    )
    assert metrics.registry is other
    await talk(app)
    assert samples(leg.registry) == ended(("/", 1000), received=1.0, sent=1.0)
    assert samples(other) == ended(
        ("echo", 1000), received=1.0, sent=1.0, by="endpoint", prefix="shop_"
    )


@pytest.mark.asyncio
async def test_max_series_bounds_groups(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, max_series=40)
    app.websocket("/<int:number>")(echo)
    for number in range(50):
        await talk(app, f"/{number}")
    found = samples(leg.registry)
    assert sum(found.pop("promweb_series_folded_total").values()) > 0
    for name, total in (
        ("flask_websocket_connections_in_progress", 0.0),
        ("flask_websocket_connection_duration_seconds_count", 50.0),
        ("flask_websocket_messages_total", 100.0),
    ):
        assert len(found[name]) <= 40, name
        assert sum(found[name].values()) == total, name
    folded = labels(path="<overflow>", close_code="1000")
    assert found["flask_websocket_connection_duration_seconds_count"][folded] == 14.0
    messages = found["flask_websocket_messages_total"]
    assert sum(number for key, number in messages.items() if ("direction", "sent") in key) == 50.0


@pytest.mark.asyncio
async def test_root_path_is_no_part_of_the_group(leg: Leg, app: Any) -> None:
    app.websocket("/room")(echo)
    await talk(app, "/shop/room", root_path="/shop")
    assert samples(leg.registry) == ended(("/room", 1000), received=1.0, sent=1.0)


# --- decorators on websocket views -------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("mark", ["do_not_track", "exclude_all_metrics"])
@pytest.mark.parametrize("early", [True, False])
async def test_connections_that_are_left_out(leg: Leg, mark: str, early: bool) -> None:
    """With `early`, something accepts the connection before the view says so."""
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    counted = metrics.counter("talks", "Talks.")
    inside = metrics.counter("said", "Said.")

    @inside
    async def say() -> None:
        await quart.websocket.send("hello")

    if early:

        @app.before_websocket
        async def accept() -> None:
            await quart.websocket.accept()

    @app.websocket("/")
    @getattr(metrics, mark)()
    @counted
    async def view() -> None:
        await say()
        await quart.websocket.receive()

    socket = Socket(app).start()
    await socket.accepted()
    assert await socket.heard() == "hello"
    assert in_progress(leg) in (None, 0.0)
    await socket.close(code=1000)
    found = samples(leg.registry)
    assert set(found.pop("flask_websocket_connections_in_progress", {}).values()) <= {0.0}
    calls = 1.0 if mark == "do_not_track" else 0.0
    assert found == {"talks_total": {labels(): calls}, "said_total": {labels(): calls}}


@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["returns", "client closes", "fails"])
async def test_decorators_on_a_websocket_view(leg: Leg, end: str) -> None:
    """There is no response: a callable of one argument gets what the view returns."""
    app = leg.make_app()
    metrics = leg.make_metrics(app)

    async def late_path() -> str:
        await asyncio.sleep(0)
        return quart.websocket.path

    async def view(name: str) -> None:
        """Talk."""
        await quart.websocket.receive()
        leg.clock.advance(VIEW)
        if end == "client closes":
            await quart.websocket.receive()
        if end == "fails":
            raise ZeroDivisionError

    decorated: Any = view
    for decorate in (
        metrics.counter("talks", "Talks.", labels={"path": lambda: quart.websocket.path}),
        metrics.gauge("talking", "Talking.", labels={"late": late_path}),
        metrics.histogram("talk_seconds", "Seconds.", labels={"late": late_path, "k": "v"}),
        metrics.summary("result_seconds", "Seconds.", labels={"result": lambda result: result}),
    ):
        decorated = decorate(decorated)
    assert inspect.iscoroutinefunction(decorated)
    assert (decorated.__name__, decorated.__doc__) == ("view", "Talk.")
    app.websocket("/<name>")(decorated)
    socket = Socket(app, "/a").start()
    await socket.accepted()
    assert leg.value("talking", late="/a") == 1.0
    socket.say("one")
    if end == "client closes":
        await anyio.wait_all_tasks_blocked()
        await socket.close(code=1000)
    await socket.over()
    result = "None" if end == "returns" else "<exception>"
    assert samples(leg.registry) == {
        **ended(("/a", 1000), seconds=VIEW, received=1.0),
        "talks_total": {labels(path="/a"): 1.0},
        "talking": {labels(late="/a"): 0.0},
        "talk_seconds_count": {labels(late="/a", k="v"): 1.0},
        "talk_seconds_sum": {labels(late="/a", k="v"): VIEW},
        "result_seconds_count": {labels(result=result): 1.0},
        "result_seconds_sum": {labels(result=result): VIEW},
    }


@pytest.mark.asyncio
async def test_register_default_covers_websocket_views_once(leg: Leg, app: Any) -> None:
    metrics = leg.make_metrics(app)
    metrics.register_default(metrics.counter("talks", "Talks."))
    await talk(app)
    await talk(app)
    assert leg.value("talks_total") == 2.0


@pytest.mark.asyncio
async def test_excluded_paths_leave_out_decorators(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, excluded_paths="/private")
    app.websocket("/<name>")(metrics.counter("talks", "Talks.")(echo))
    await talk(app, "/private")
    assert samples(leg.registry) == {"talks_total": {labels(): 0.0}}
    await talk(app, "/public")
    assert leg.value("talks_total") == 1.0


@pytest.mark.asyncio
async def test_decorated_function_within_a_connection(leg: Leg, app: Any) -> None:
    metrics = leg.make_metrics(None)
    counted = metrics.counter("sums", "Sums.", labels={"result": lambda result: result})

    @counted
    async def add(text: str) -> int:
        return sum(map(int, text))

    @app.websocket("/sum")
    async def view() -> None:
        while True:
            await quart.websocket.send(str(await add(await quart.websocket.receive())))

    socket = Socket(app, "/sum").start()
    for text in ("12", "21", "4"):
        socket.say(text)
    await socket.accepted()
    assert [await socket.heard() for _ in range(3)] == ["3", "3", "4"]
    await socket.close(code=1000)
    assert samples(leg.registry) == {
        **ended(("/sum", 1000), received=3.0, sent=3.0),
        "sums_total": {labels(result="3"): 2.0, labels(result="4"): 1.0},
    }


@pytest.mark.asyncio
async def test_request_within_a_connection(leg: Leg, app: Any) -> None:
    app.add_url_rule("/page", view_func=leg.view(lambda: ("page", 201)), endpoint="page")

    @app.websocket("/fetch")
    async def view() -> None:
        response = await app.test_client().get("/page")
        await quart.websocket.send(str(response.status_code))

    socket = Socket(app, "/fetch").start()
    await socket.accepted()
    assert await socket.heard() == "201"
    await socket.over()
    wanted = {**ended(("/fetch", 1000), sent=1.0), **expected(Done("GET", "/page", 201))}
    assert samples(leg.registry) == wanted


# --- many at once ------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_hundred_connections_at_once(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, group_by="endpoint")
    gate, hang = asyncio.Event(), Hang(leg)

    @app.before_websocket
    async def authorize() -> None:
        if quart.websocket.path.startswith("/rejected"):
            quart.abort(401)

    async def talk_until_told(number: int) -> None:
        for _ in range(number % 3 + 1):
            await quart.websocket.send(await quart.websocket.receive())
        await gate.wait()

    @app.websocket("/served/<int:number>")
    @metrics.gauge("talking", "Talking.")
    @metrics.counter("talks", "Talks.")
    async def served(number: int) -> None:
        await talk_until_told(number)
        await quart.websocket.close(4000)

    @app.websocket("/failing/<int:number>")
    async def failing(number: int) -> None:
        await talk_until_told(number)
        raise ZeroDivisionError

    @app.websocket("/vanishing/<int:number>")
    @metrics.gauge("talking", "Talking.")
    async def vanishing(number: int) -> None:
        await talk_until_told(number)
        await hang.stay()

    @app.websocket("/rejected/<int:number>")
    async def rejected(number: int) -> None:
        raise AssertionError("rejected before")

    kinds = ["served", "failing", "vanishing", "rejected"]
    sockets = [Socket(app, f"/{kinds[n % 4]}/{n}", extensions=EXTENDED).start() for n in range(100)]
    for number, socket in enumerate(sockets):
        if number % 4 != 3:
            for _ in range(number % 3 + 1):
                socket.say(str(number))
    for number, socket in enumerate(sockets):
        if number % 4 != 3:
            await socket.accepted()
            for _ in range(number % 3 + 1):
                assert await socket.heard() == str(number)
    open_now = samples(leg.registry)["flask_websocket_connections_in_progress"]
    assert open_now == {labels(endpoint=kind): 25.0 for kind in kinds[:3]}
    assert leg.value("talking") == 50.0
    vanish_with = {number: 1001 if number % 8 == 2 else 1006 for number in range(2, 100, 4)}
    for number, code in vanish_with.items():
        await sockets[number].close(code=code)
    gate.set()
    for socket in sockets:
        await socket.over()

    found = samples(leg.registry)
    assert found["flask_websocket_connections_in_progress"] == dict.fromkeys(open_now, 0.0)
    assert found["talking"] == {labels(): 0.0}
    assert found["talks_total"] == {labels(): 25.0}
    assert found["flask_websocket_connection_duration_seconds_count"] == {
        labels(endpoint="served", close_code="4000"): 25.0,
        labels(endpoint="failing", close_code="1000"): 25.0,
        labels(endpoint="vanishing", close_code="1001"): 13.0,
        labels(endpoint="vanishing", close_code="1006"): 12.0,
        labels(endpoint="rejected", close_code="401"): 25.0,
    }
    assert found["flask_websocket_messages_total"] == {
        labels(endpoint=kinds[kind], direction=direction): float(
            sum(number % 3 + 1 for number in range(kind, 100, 4))
        )
        for kind in range(3)
        for direction in ("received", "sent")
    }
