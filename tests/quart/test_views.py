"""Quart's threads, coroutine functions as labels, mounted applications, contexts by hand."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import blinker
import pytest
import quart
from prometheus_client import CollectorRegistry

from tests.support.asgi import Browser, Socket
from tests.support.hanging import LABELS, Hang, all_labels, get, late_path, late_status
from tests.support.legs import Leg
from tests.support.recorded import Done, check, expected, in_progress, labels, samples
from tests.support.views import VIEW
from tests.support.waiting import DEADLINE

# --- plain views in a thread -------------------------------------------------------------------


@pytest.mark.asyncio
async def test_plain_view_in_a_thread(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    loop_thread = threading.get_ident()
    seen: list[float | None] = []

    @app.get("/<item>")
    @metrics.gauge("open", "Open.", labels={"path": lambda: quart.request.path})
    @metrics.summary("views", "Views.", labels=LABELS)
    def view(item: str) -> Any:
        assert threading.get_ident() != loop_thread
        leg.clock.advance(VIEW)
        seen.extend([in_progress(leg), leg.value("open", path="/a")])
        return item, 202

    assert (await get(app, "/a")).body == b"a"
    assert seen == [1.0, 1.0]
    found = samples(leg.registry)
    assert found.pop("views_count") == {labels(**all_labels(202, "/a")): 1.0}
    assert found.pop("views_sum") == {labels(**all_labels(202, "/a")): VIEW}
    assert found.pop("open") == {labels(path="/a"): 0.0}
    assert found == expected(Done("GET", "/a", 202, VIEW), in_progress=True)


@pytest.mark.asyncio
async def test_gauge_of_a_plain_view_cannot_await_its_label(leg: Leg) -> None:
    """The call counts all the same, with a value that says so."""
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    seen: list[Any] = []

    @app.get("/")
    @metrics.gauge("open", "Open.", labels={"late": late_path})
    def view() -> str:
        seen.append(samples(leg.registry).get("open"))
        return "ok"

    assert (await get(app)).body == b"ok"
    found = samples(leg.registry)
    assert seen == [{labels(late="<error>"): 1.0}]
    assert found.pop("open") == {labels(late="<error>"): 0.0}
    assert found.pop("promweb_label_errors_total") == {labels(metric="open", label="late"): 1.0}
    assert found == expected(Done("GET", "/", 200))


@pytest.mark.asyncio
async def test_plain_views_at_the_same_time(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    together = threading.Barrier(4, timeout=DEADLINE)

    @app.get("/<int:item>")
    @metrics.counter(
        "views", "Views.", labels={"path": lambda: quart.request.path, "s": late_status}
    )
    def view(item: int) -> Any:
        together.wait()
        if item == 3:
            raise ZeroDivisionError
        return str(item), 200 + item

    browsers = await asyncio.gather(*(get(app, f"/{item}") for item in range(4)))
    assert [browser.status for browser in browsers] == [200, 201, 202, 500]
    found = samples(leg.registry)
    assert found.pop("views_total") == {
        labels(path=f"/{item}", s=str(status)): 1.0
        for item, status in enumerate([200, 201, 202, 500])
    }
    assert found == expected(
        *(Done("GET", f"/{item}", 200 + item) for item in range(3)),
        Done("GET", "/3", 500, failed=True),
        in_progress=True,
    )


@pytest.mark.asyncio
async def test_plain_view_whose_client_vanishes(leg: Leg) -> None:
    """The thread goes on; the request has ended."""
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    loop = asyncio.get_running_loop()
    reached, release = asyncio.Event(), threading.Event()

    @app.get("/")
    @metrics.gauge("open", "Open.")
    @metrics.summary("views", "Views.", labels=LABELS)
    def view() -> str:
        leg.clock.advance(VIEW)
        loop.call_soon_threadsafe(reached.set)
        assert release.wait(DEADLINE)
        leg.clock.advance(100)
        return "ok"

    browser = Browser(app).start()
    await asyncio.wait_for(reached.wait(), DEADLINE)
    await browser.vanish()
    assert leg.value("open") == 1.0

    def check_all(still_open: float) -> None:
        found = samples(leg.registry)
        assert found.pop("open") == {labels(): still_open}
        assert found.pop("views_count") == {labels(**all_labels(499)): 1.0}
        assert found.pop("views_sum") == {labels(**all_labels(499)): VIEW}
        assert found == expected(Done("GET", "/", 499, VIEW), in_progress=True)

    check_all(1.0)
    release.set()
    await loop.shutdown_default_executor()  # waits for the thread
    check_all(0.0)


@pytest.mark.asyncio
async def test_plain_view_that_starts_after_its_client_vanished(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    loop = asyncio.get_running_loop()
    reached, release = asyncio.Event(), threading.Event()
    counted = metrics.counter(
        "views", "Views.", labels={"s": lambda response: response.status_code}
    )

    def slow_to_start(function: Callable[[], str]) -> Callable[[], str]:
        @functools.wraps(function)
        def wrapper() -> str:
            loop.call_soon_threadsafe(reached.set)
            assert release.wait(DEADLINE)
            return function()

        return wrapper

    app.get("/")(slow_to_start(counted(lambda: "ok")))
    browser = Browser(app).start()
    await asyncio.wait_for(reached.wait(), DEADLINE)
    await browser.vanish()
    release.set()
    await loop.shutdown_default_executor()
    found = samples(leg.registry)
    assert found.pop("views_total") == {labels(s="499"): 1.0}
    assert found == expected(Done("GET", "/", 499))


@pytest.mark.asyncio
async def test_plain_generator_body_whose_client_vanishes(leg: Leg, app: Any) -> None:
    loop = asyncio.get_running_loop()
    reached, release = asyncio.Event(), threading.Event()

    def body() -> Iterator[bytes]:
        yield b"chunk"
        loop.call_soon_threadsafe(reached.set)
        assert release.wait(DEADLINE)
        yield b"never sent"

    app.get("/")(body)
    browser = Browser(app).start()
    await asyncio.wait_for(reached.wait(), DEADLINE)
    await browser.vanish()
    release.set()
    await loop.shutdown_default_executor()
    assert browser.body == b"chunk"
    check(leg, Done("GET", "/", 200))


# --- coroutine functions as labels, groups and protection --------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["counter", "histogram", "summary", "gauge"])
async def test_coroutine_labels(leg: Leg, kind: str) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    values = {"late_path": late_path} if kind == "gauge" else LABELS
    during: list[Any] = []

    @app.get("/<item>")
    @getattr(metrics, kind)("views", "Views.", labels=values)
    async def view(item: str) -> Any:
        during.append(samples(leg.registry).get("views"))
        return item, 201

    assert (await get(app, "/a")).status == 201
    found = samples(leg.registry)
    if kind == "gauge":
        assert during == [{labels(late_path="/a"): 1.0}]
        assert found["views"] == {labels(late_path="/a"): 0.0}
    else:
        name = "views_total" if kind == "counter" else "views_count"
        assert found[name] == {labels(**all_labels(201, "/a")): 1.0}


@pytest.mark.asyncio
async def test_coroutine_labels_of_a_function_see_its_result(leg: Leg) -> None:
    metrics = leg.make_metrics(None)

    async def result(value: object) -> object:
        await asyncio.sleep(0)
        return value

    @metrics.counter("jobs", "Jobs.", labels={"result": result})
    async def job(fail: bool) -> str:
        if fail:
            raise ZeroDivisionError
        return "done"

    await job(False)
    with pytest.raises(ZeroDivisionError):
        await job(True)
    assert samples(leg.registry) == {
        "jobs_total": {labels(result="done"): 1.0, labels(result="<exception>"): 1.0}
    }


@pytest.mark.asyncio
async def test_coroutine_label_that_raises(leg: Leg, caplog: pytest.LogCaptureFixture) -> None:
    app = leg.make_app()

    async def broken() -> None:
        await asyncio.sleep(0)
        raise KeyError("broken")

    leg.make_metrics(app, default_labels={"tenant": broken})
    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")
    await get(app)
    await get(app)
    found = samples(leg.registry)
    metric = "flask_http_request_duration_seconds"
    assert found.pop("promweb_label_errors_total") == {labels(metric=metric, label="tenant"): 2.0}
    one = Done("GET", "/", 200, labels=(("tenant", "<error>"),))
    assert found == expected(one, one)
    assert [record.name for record in caplog.records if record.levelname == "ERROR"] == ["promweb"]


@pytest.mark.asyncio
@pytest.mark.parametrize("coroutine", [True, False])
async def test_group_by_function(leg: Leg, coroutine: bool) -> None:
    app = leg.make_app()
    hang = Hang(leg)

    def tenant(request: Any) -> str:
        assert request.path == quart.request.path
        return request.headers.get("x-tenant", "none")

    async def async_tenant(request: Any) -> str:
        await asyncio.sleep(0)
        return tenant(request)

    async_tenant.__name__ = "tenant"
    leg.make_metrics(app, in_progress=True, group_by=async_tenant if coroutine else tenant)
    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")
    app.get("/hang")(hang.stay)
    await get(app, headers={"x-tenant": "t1"})
    await get(app)
    await get(app, "/none", headers={"x-tenant": "t1"})
    browser = Browser(app, "/hang", headers={"x-tenant": "t2"}).start()
    await hang.wait()
    await browser.vanish()
    assert samples(leg.registry) == expected(
        Done("GET", "t1", 200),
        Done("GET", "none", 200),
        Done("GET", "t1", 404),
        Done("GET", "t2", 499, VIEW),
        by="tenant",
        in_progress=True,
    )


def require_password(view: Any) -> Any:
    """Protect a view the way that Flask's documentation does."""

    @functools.wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if quart.request.headers.get("x-password") != "secret":
            return "no", 401
        return view(*args, **kwargs)

    return wrapper


def require_password_async(view: Any) -> Any:
    @functools.wraps(view)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        if quart.request.headers.get("x-password") != "secret":
            return "no", 401
        return await view(*args, **kwargs)

    return wrapper


@pytest.mark.asyncio
@pytest.mark.parametrize("protect", [require_password, require_password_async])
async def test_metrics_decorator(leg: Leg, protect: Any) -> None:
    app = leg.make_app()
    leg.make_metrics(app, metrics_decorator=protect)
    assert (await get(app, "/metrics")).status == 401
    scrape = await get(app, "/metrics", headers={"x-password": "secret"})
    assert scrape.status == 200
    assert b"flask_exporter_info" in scrape.body
    assert samples(leg.registry) == {}


# --- where an application may live -------------------------------------------------------------


@pytest.mark.asyncio
async def test_host_matching(leg: Leg) -> None:
    app = leg.make_app(host_matching=True, static_host="shop.test")
    leg.make_metrics(app, group_by="endpoint")
    app.add_url_rule("/", "shop", leg.view(lambda: "shop"), host="shop.test")
    app.add_url_rule("/", "user", leg.view(lambda name: name), host="<name>.users.test")
    assert (await get(app, headers={"host": "shop.test"})).body == b"shop"
    assert (await get(app, headers={"host": "ann.users.test"})).body == b"ann"
    assert (await get(app, headers={"host": "other.test"})).status == 404
    assert (await get(app, "/metrics", headers={"host": "any.test"})).status == 200
    assert samples(leg.registry) == expected(
        Done("GET", "shop", 200),
        Done("GET", "user", 200),
        Done("GET", "<unmatched>", 404),
        by="endpoint",
    )


@pytest.mark.asyncio
async def test_root_path_is_no_part_of_the_group(leg: Leg, app: Any) -> None:
    app.add_url_rule("/item", view_func=leg.view(lambda: "ok"), endpoint="view")
    assert (await get(app, "/shop/item", root_path="/shop")).status == 200
    assert (await get(app, "/elsewhere", root_path="/shop")).status == 404
    assert (await get(app, "/shop/metrics", root_path="/shop")).status == 200
    check(leg, Done("GET", "/item", 200), Done("GET", "<unmatched>", 404))


@pytest.mark.asyncio
async def test_app_under_another_asgi_app(leg: Leg, app: Any) -> None:
    """A dispatcher sets `root_path`, and answers what is not for the application."""
    app.add_url_rule("/item", view_func=leg.view(lambda: "ok"), endpoint="view")

    async def dispatcher(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].startswith("/shop/"):
            await app({**scope, "root_path": "/shop"}, receive, send)
        else:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"none"})

    assert (await get(dispatcher, "/shop/item")).body == b"ok"
    assert (await get(dispatcher, "/blog/item")).status == 404
    check(leg, Done("GET", "/item", 200))


@pytest.mark.asyncio
@pytest.mark.parametrize("shared", [True, False])
async def test_app_under_another_measured_app(leg: Leg, shared: bool) -> None:
    """Each request belongs to the application that answers it, and to no other."""
    outer, inner = leg.make_app(), leg.make_app()
    other = CollectorRegistry()
    inner.add_url_rule("/item", view_func=leg.view(lambda: ("in", 201)), endpoint="view")
    outer.add_url_rule("/item", view_func=leg.view(lambda: "out"), endpoint="view")
    outer_asgi_app = outer.asgi_app

    async def mount(scope: Any, receive: Any, send: Any) -> None:
        is_inner = scope["path"].startswith("/in/")
        await (inner if is_inner else outer_asgi_app)(
            {**scope, "root_path": "/in" if is_inner else ""}, receive, send
        )

    outer.asgi_app = mount
    leg.make_metrics(outer)
    leg.make_metrics(inner, registry=leg.registry if shared else other)
    assert (await get(outer, "/in/item")).body == b"in"
    assert (await get(outer, "/item")).body == b"out"
    ins, outs = Done("GET", "/item", 201), Done("GET", "/item", 200)
    if shared:
        assert samples(leg.registry) == expected(ins, outs)
    else:
        assert samples(leg.registry) == expected(outs)
        assert samples(other) == expected(ins)


@pytest.mark.asyncio
async def test_asgi_middleware_that_answers_has_a_group_of_its_own(leg: Leg) -> None:
    app = leg.make_app()
    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")
    asgi_app = app.asgi_app

    async def closed(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/":
            await asgi_app(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    app.asgi_app = closed
    leg.make_metrics(app, in_progress=True)
    assert (await get(app)).status == 200
    assert (await get(app, "/other")).status == 503
    check(leg, Done("GET", "/", 200), Done("GET", "<middleware>", 503))


@pytest.mark.asyncio
async def test_lifespan_passes_through(leg: Leg, app: Any) -> None:
    served: list[str] = []

    @app.while_serving
    async def serving() -> AsyncIterator[None]:
        served.append("up")
        yield
        served.append("down")

    async with app.test_app() as running:
        assert served == ["up"]
        assert (await running.test_client().get("/none")).status_code == 404
    assert served == ["up", "down"]
    check(leg, Done("GET", "<unmatched>", 404))


# --- what is attached, and contexts made by hand -----------------------------------------------


def hooks(app: Any) -> list[Any]:
    """Return every function that the application calls around a request or while it serves."""
    found = []
    for scaffold in (app, *app.blueprints.values()):
        for name, value in vars(scaffold).items():
            if name.endswith(("_funcs", "_preprocessors", "_functions", "_gens")):
                groups = value.values() if isinstance(value, dict) else [value]
                for group in groups:
                    found.extend(group if isinstance(group, list) else [group])
    return found


SIGNALS: list[Any] = [
    value for value in vars(quart.signals).values() if isinstance(value, blinker.Signal)
]


def receivers(app: Any) -> list[Any]:
    return [
        receiver
        for signal in SIGNALS
        for sender in (app, blinker.ANY)
        for receiver in signal.receivers_for(sender)
    ]


@pytest.mark.asyncio
async def test_no_plain_hooks_nor_receivers(leg: Leg) -> None:
    """Quart would run each of them in a thread, on every request."""
    app = leg.make_app(static_folder=None)
    app.register_blueprint(quart.Blueprint("shop", "shop"))
    before = [*hooks(app), *receivers(app)]
    metrics = leg.make_metrics(
        app,
        in_progress=True,
        request_size=True,
        response_size=True,
        response_start=True,
        default_labels={"late": late_path},
        group_by="endpoint",
    )
    metrics.register_default(metrics.counter("views", "Views."))
    app.add_url_rule("/", view_func=leg.view(lambda: "ok"), endpoint="view")
    await get(app)
    await get(app, "/metrics")
    added = [function for function in [*hooks(app), *receivers(app)] if function not in before]
    added.remove(app.view_functions["view"])
    assert len(SIGNALS) >= 15
    assert [*added, app.view_functions["prometheus_metrics"]]
    assert all(inspect.iscoroutinefunction(function) for function in added)


@pytest.mark.asyncio
async def test_request_uses_no_thread(leg: Leg, monkeypatch: pytest.MonkeyPatch) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True, response_size=True, default_labels=LABELS_1)

    @app.get("/")
    @metrics.counter("views", "Views.", labels=LABELS)
    async def view() -> str:
        return "ok"

    def no_thread(*args: object) -> None:
        raise AssertionError("a request used a thread")

    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", no_thread)
    assert (await get(app)).body == b"ok"
    assert (await get(app, "/none")).status == 404


LABELS_1 = {"tenant": lambda: "t1"}


@pytest.mark.asyncio
async def test_request_context_made_by_hand_within_a_request(leg: Leg, app: Any) -> None:
    app.add_url_rule("/inner", view_func=leg.view(lambda: ("inner", 201)), endpoint="inner")
    app.add_url_rule("/fails", view_func=leg.view(lambda: 1 / 0), endpoint="fails")

    @app.get("/")
    async def view() -> Any:
        async with app.test_request_context("/inner") as context:
            inner = await app.full_dispatch_request(context)
        async with app.test_request_context("/fails") as context:
            failed = await app.handle_request(context.request)
        assert quart.request.path == "/"
        leg.clock.advance(VIEW)
        return f"{inner.status_code} {failed.status_code}", 202

    browser = await get(app)
    assert (browser.status, browser.body) == (202, b"201 500")
    check(leg, Done("GET", "/", 202, VIEW))


@pytest.mark.asyncio
async def test_request_context_made_by_hand_outside_of_requests(leg: Leg, app: Any) -> None:
    metrics = leg.make_metrics(None)
    counted = metrics.counter("views", "Views.", labels={"path": lambda: quart.request.path})
    app.add_url_rule("/inner", view_func=counted(leg.view(lambda: "inner")), endpoint="inner")
    async with app.test_request_context("/inner") as context:
        response = await app.full_dispatch_request(context)
    assert response.status_code == 200
    assert samples(leg.registry) == {"views_total": {labels(path="/inner"): 1.0}}


@pytest.mark.asyncio
async def test_what_follows_a_request_in_its_task_is_no_part_of_it(leg: Leg, app: Any) -> None:
    """A server may serve all requests of a connection in one task."""
    metrics = leg.make_metrics(None)
    job = metrics.counter("jobs", "Jobs.")(leg.view(lambda: "done"))
    excluded = metrics.exclude_all_metrics()(leg.view(lambda: "ok"))
    app.add_url_rule("/", "page", excluded)
    app.add_websocket("/", "socket", excluded)
    await Browser(app).run()
    await Socket(app).run()
    await job()
    assert samples(leg.registry)["jobs_total"] == {labels(): 1.0}


@pytest.mark.asyncio
async def test_request_within_a_request(leg: Leg, app: Any) -> None:
    app.add_url_rule("/inner", view_func=leg.view(lambda: ("inner", 201)), endpoint="inner")

    @app.get("/")
    async def view() -> Any:
        inner = await app.test_client().get("/inner")
        assert in_progress(leg) == 1
        leg.clock.advance(VIEW)
        return f"{inner.status_code}", 202

    assert (await get(app)).body == b"201"
    check(leg, Done("GET", "/", 202, VIEW), Done("GET", "/inner", 201))


@pytest.mark.asyncio
async def test_requests_at_the_same_time_are_kept_apart(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    arrived: list[int] = []
    gate = asyncio.Event()

    @app.get("/<int:item>")
    @metrics.counter(
        "views", "Views.", labels={"path": lambda: quart.request.path, "s": late_status}
    )
    async def view(item: int) -> Any:
        arrived.append(item)
        if len(arrived) == 30:
            gate.set()
        await gate.wait()
        return "ok", 200 + item % 3

    await asyncio.wait_for(asyncio.gather(*(get(app, f"/{n}") for n in range(30))), DEADLINE)
    found = samples(leg.registry)
    assert found.pop("views_total") == {
        labels(path=f"/{n}", s=str(200 + n % 3)): 1.0 for n in range(30)
    }
    done = [Done("GET", f"/{n}", 200 + n % 3) for n in range(30)]
    assert found == expected(*done, in_progress=True)


# --- every decorator at once -------------------------------------------------------------------


@pytest.mark.asyncio
async def test_every_decorator_at_once_with_cancelled_calls(leg: Leg) -> None:
    metrics = leg.make_metrics(None)
    started: list[int] = []
    all_started, gate = asyncio.Event(), asyncio.Event()

    async def job(number: int, *, name: str = "job") -> str:
        """Work."""
        started.append(number)
        if len(started) == 50:
            all_started.set()
        await gate.wait()
        leg.clock.advance(1)
        if number % 5 == 1:
            raise ZeroDivisionError
        return f"{name} {number % 2}"

    async def late(result: str) -> str:
        await asyncio.sleep(0)
        return result

    decorated: Any = job
    for decorate in (
        metrics.counter("jobs", "Jobs.", labels={"result": late, "kind": "k"}),
        metrics.gauge("open", "Open.", labels={"kind": "k"}),
        metrics.histogram("seconds", "Seconds.", labels={"result": lambda result: result}),
        metrics.summary("also_seconds", "Seconds."),
        metrics.do_not_track(),
        metrics.exclude_all_metrics(),
    ):
        decorated = decorate(decorated)
    assert inspect.iscoroutinefunction(decorated)
    assert inspect.signature(decorated) == inspect.signature(job)
    assert (decorated.__name__, decorated.__doc__) == ("job", "Work.")

    tasks = [asyncio.create_task(decorated(number)) for number in range(50)]
    await asyncio.wait_for(all_started.wait(), DEADLINE)
    assert leg.value("open", kind="k") == 50.0
    for task in tasks[::5]:
        task.cancel()
    gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    kinds = [type(result) for result in results]
    assert kinds == [asyncio.CancelledError, ZeroDivisionError, str, str, str] * 10
    found = samples(leg.registry)
    counts = {"<exception>": 20.0, "job 0": 15.0, "job 1": 15.0}
    assert found["jobs_total"] == {labels(result=r, kind="k"): n for r, n in counts.items()}
    assert found["open"] == {labels(kind="k"): 0.0}
    assert found["seconds_count"] == {labels(result=r): n for r, n in counts.items()}
    assert found["also_seconds_count"] == {labels(): 50.0}


@pytest.mark.asyncio
async def test_gauge_whose_coroutine_label_is_cancelled(leg: Leg) -> None:
    metrics = leg.make_metrics(None)
    hang = Hang(leg)

    async def kind() -> str:
        await hang.stay()
        return "never"

    @metrics.gauge("open", "Open.", labels={"kind": kind})
    async def job() -> None:
        raise AssertionError("the label comes first")

    task = asyncio.create_task(job())
    await hang.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert samples(leg.registry).get("open", {}) == {}


@pytest.mark.asyncio
async def test_counter_whose_coroutine_label_is_cancelled(leg: Leg) -> None:
    """The call happened, so it counts without its label."""
    metrics = leg.make_metrics(None)
    hang = Hang(leg)

    async def result(value: str) -> str:
        await hang.stay()
        return value

    @metrics.counter("jobs", "Jobs.", labels={"result": result})
    async def job() -> str:
        return "done"

    task = asyncio.create_task(job())
    await hang.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sum(samples(leg.registry)["jobs_total"].values()) == 1.0


def test_coroutine_that_is_closed(leg: Leg) -> None:
    """Nothing can be awaited then, not even a label; the call counts all the same."""
    metrics = leg.make_metrics(None)

    async def kind() -> str:
        await anyio.lowlevel.checkpoint()
        return "k"

    @metrics.gauge("open", "Open.")
    @metrics.counter("jobs", "Jobs.", labels={"kind": kind})
    async def job() -> None:
        future: asyncio.Future[None] = asyncio.Future(loop=loop)
        await future

    loop = asyncio.new_event_loop()
    try:
        running = job()
        running.send(None)
        assert leg.value("open") == 1.0
        running.close()
    finally:
        loop.close()
    found = samples(leg.registry)
    assert found["open"] == {labels(): 0.0}
    assert sum(found["jobs_total"].values()) == 1.0


@pytest.mark.asyncio
async def test_async_generator_abandoned_by_its_reader(leg: Leg) -> None:
    metrics = leg.make_metrics(None)

    @metrics.gauge("open", "Open.")
    @metrics.summary("streams", "Streams.")
    async def stream() -> AsyncIterator[int]:
        while True:
            leg.clock.advance(VIEW)
            yield 1

    reading = stream()
    assert [await anext(reading), await anext(reading)] == [1, 1]
    assert leg.value("open") == 1.0
    await reading.aclose()
    assert samples(leg.registry) == {
        "open": {labels(): 0.0},
        "streams_count": {labels(): 1.0},
        "streams_sum": {labels(): 2 * VIEW},
    }
