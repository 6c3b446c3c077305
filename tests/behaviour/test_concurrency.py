"""Threads, tasks and event loops of both kinds at the same time: every number stays exact."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import flask
import pytest
import quart
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import EnvironBuilder

from promweb import AsyncPrometheusMetrics, PrometheusMetrics
from promweb.core.families.kinds import CounterFamily, HistogramFamily
from promweb.core.requests.exchange import Exchange
from promweb.core.requests.scope import set_scope, taken
from promweb.core.requests.site import Site
from tests.support.asgi import Browser
from tests.support.legs import LEGS, Leg
from tests.support.needs import module
from tests.support.recorded import labels, samples
from tests.support.threads import in_threads
from tests.support.waiting import DEADLINE

STREAMS = 2000


@pytest.fixture(autouse=True)
def restless() -> Iterator[None]:
    """Make threads switch a thousand times as often."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(interval)


def call(app: Any, path: str = "/") -> bytes:
    environ = EnvironBuilder(path=path).get_environ()
    body = app(environ, lambda *start: None)
    try:
        return b"".join(body)
    finally:
        body.close()


def total(registry: CollectorRegistry, name: str) -> float:
    return sum(samples(registry).get(name, {}).values())


# --- bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_series", [1, 2, 3, 50, 400])
@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram", "summary"])
@pytest.mark.parametrize("constant", [{}, {"kind": "k"}], ids=["", "constant"])
def test_bound_that_many_threads_reach_at_once(
    max_series: int, kind: str, constant: dict[str, str]
) -> None:
    leg = LEGS["flask-sync"]()
    metrics = leg.make_metrics(None, max_series=max_series)
    number = threading.local()

    @getattr(metrics, kind)("calls", "Calls.", {"number": lambda: number.now, **constant})  # type: ignore[untyped-decorator]
    def work() -> None:
        leg.clock.now = 0.0

    def many(index: int) -> None:
        for step in range(100):
            number.now = index * 60 + step
            work()

    in_threads(8, many)
    name = {"counter": "calls_total", "gauge": "calls"}.get(kind, "calls_count")
    family = samples(leg.registry)[name]
    # A tenth of the room is for label sets that overflow in part; this test uses one place.
    kept_free = max(2, max_series // 10) - 1 if constant and max_series > 2 else 0
    assert len(family) == max_series - kept_free
    assert sum(family.values()) == (0.0 if kind == "gauge" else 800.0)
    folded = samples(leg.registry)["promweb_series_folded_total"][labels(metric="calls")]
    kept = sum(value for key, value in family.items() if dict(key)["number"] != "<overflow>")
    assert kind == "gauge" or folded == 800.0 - kept


@pytest.mark.parametrize("max_series", [1, 3, 40])
def test_bound_that_many_requests_reach_at_once(leg: Leg, max_series: int) -> None:
    app = leg.make_app()
    leg.make_metrics(app, max_series=max_series, in_progress=True, response_size=True)
    app.add_url_rule("/<int:number>", "view", leg.view(lambda number: "ok"))

    def many(index: int) -> None:
        for step in range(20):
            leg.get(app, f"/{index * 12 + step}")

    in_threads(4, many)
    found = samples(leg.registry)
    kept_free = max(2, max_series // 10) - 1 if max_series > 2 else 0
    for name in ("request_duration_seconds", "response_size_bytes"):
        family = found[f"flask_http_{name}_count"]
        assert len(family) == max_series - kept_free
        assert sum(family.values()) == 80.0
    assert sum(found["flask_http_request_total"].values()) == 80.0
    assert list(found["flask_http_requests_in_progress"].values()) == [0.0]


def test_problems_of_many_threads_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics = LEGS["flask-sync"]().make_metrics(None)
    works = [
        metrics.counter(f"calls_{number}", "Calls.", {"broken": lambda: 1 // 0})(lambda: None)
        for number in range(40)
    ]

    def many(index: int) -> None:
        for work in works:
            work()

    with caplog.at_level("ERROR", "promweb"):
        in_threads(8, many)
    assert len(caplog.records) == 40


def test_scrapes_while_label_sets_are_made(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, max_series=5000)
    number = threading.local()

    @metrics.histogram("calls", "Calls.", {"number": lambda: number.now})  # type: ignore[untyped-decorator]
    def work() -> None:
        leg.clock.now = 0.0

    stop = threading.Event()
    seen: list[float] = []

    def many(index: int) -> None:
        if index == 0:
            while not stop.is_set():
                text = leg.get(app, "/metrics").text
                for metric in text_string_to_metric_families(text):
                    if metric.name == "calls":
                        counts = [s.value for s in metric.samples if s.name == "calls_count"]
                        tops = [s.value for s in metric.samples if s.labels.get("le") == "+Inf"]
                        assert counts == tops
                        seen.append(sum(counts))
        elif index < 4:
            for step in range(800):
                number.now = index * 1000 + step
                work()
            done.append(index)
            if len(done) == 3:
                stop.set()

    done: list[int] = []
    in_threads(4, many)
    assert seen == sorted(seen)
    assert total(leg.registry, "calls_count") == 2400.0


def test_label_set_that_is_made_while_label_sets_are_listed() -> None:
    class Children(dict[Any, Any]):
        def values(self) -> Any:
            thread = threading.Thread(target=family.child, args=(("late",),))
            threads.append(thread)
            thread.start()
            thread.join(0.05)  # it waits for the lock
            return super().values()

    threads: list[threading.Thread] = []
    family = CounterFamily("calls", "Calls.", ("who",))
    family.child(("early",)).inc()
    family.children = Children(family.children)
    assert [values for values, _ in family.label_sets()] == [("early",)]
    threads[0].join(DEADLINE)
    assert family.child(("late",)).value == 0.0


# --- streams ------------------------------------------------------------------------------------


def test_thousands_of_streams_to_flask_at_once() -> None:
    leg = LEGS["flask-sync"]()
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True, response_size=True)

    @app.get("/<int:number>")
    def stream(number: int) -> Any:
        def body() -> Iterator[bytes]:
            yield b"one"
            if number % 4 == 1:
                raise ZeroDivisionError
            yield b"two"

        return flask.Response(body(), 202)

    environ = EnvironBuilder(path="/1").get_environ()
    bodies = [
        app({**environ, "PATH_INFO": f"/{number % 8}"}, lambda *start: None)
        for number in range(STREAMS)
    ]
    for body in bodies:
        assert next(body) == b"one"
    in_progress = "flask_http_requests_in_progress"
    assert leg.value(in_progress, method="GET") == STREAMS
    assert leg.get(app, "/metrics").status == 200

    def end(index: int) -> None:
        for number in range(index, STREAMS, 4):
            body = bodies[number]
            if number % 4 == 1:
                with pytest.raises(ZeroDivisionError):
                    next(body)
            elif number % 4 == 2:
                assert list(body) == [b"two"]
            body.close()

    in_threads(4, end)
    assert leg.value(in_progress, method="GET") == 0.0
    assert leg.value("flask_http_request_total", method="GET", status="202") == STREAMS
    failed = leg.value("flask_http_request_exceptions_total", method="GET", status="202")
    assert failed == STREAMS / 4
    sizes = total(leg.registry, "flask_http_response_size_bytes_sum")
    assert sizes == 3 * STREAMS + 3 * STREAMS / 4


def test_thousands_of_streams_to_quart_at_once() -> None:
    """A quarter is cut, a quarter fails, a quarter vanishes, a quarter is read to the end."""
    leg = LEGS["quart-async"]()
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True, response_size=True)

    async def main() -> None:
        go_on = asyncio.Event()

        @app.get("/<int:number>")
        async def stream(number: int) -> Any:
            async def body() -> Any:
                yield b"one"
                await go_on.wait()
                if number % 4 == 1:
                    raise ZeroDivisionError
                yield b"two"

            return quart.Response(body(), 202)

        browsers = [Browser(app, f"/{number % 8}").start() for number in range(STREAMS)]
        for browser in browsers:
            await browser.next("http.response.start")
            assert await browser.chunk() == b"one"
        assert leg.value("flask_http_requests_in_progress", method="GET") == STREAMS
        scrape = Browser(app, "/metrics").start()
        await scrape.over()
        assert scrape.status == 200
        for number, browser in enumerate(browsers):
            if number % 4 == 2:
                browser.put("http.disconnect")
            elif number % 4 == 3:
                browser.task.cancel()
        with anyio.fail_after(DEADLINE):
            await asyncio.wait([browser.task for browser in browsers[2::4] + browsers[3::4]])
        go_on.set()
        with anyio.fail_after(DEADLINE):
            await asyncio.wait([browser.task for browser in browsers])

    asyncio.run(main())
    assert leg.value("flask_http_requests_in_progress", method="GET") == 0.0
    assert leg.value("flask_http_request_total", method="GET", status="202") == STREAMS
    failed = leg.value("flask_http_request_exceptions_total", method="GET", status="202")
    assert failed == STREAMS / 4
    sizes = total(leg.registry, "flask_http_response_size_bytes_sum")
    assert sizes == 3 * STREAMS + 3 * STREAMS / 4


# --- a view in a thread, whose request ends -----------------------------------------------------


@pytest.mark.parametrize(("what", "reads"), [("status", 1), ("keep_context", 1), ("status", 2)])
@pytest.mark.parametrize("is_over", [False, True])
def test_a_response_that_comes_while_a_view_begins(what: str, reads: int, is_over: bool) -> None:
    """Another thread brings it at this attribute of the exchange; the view counts once."""

    class Interrupted(Exchange):
        left = reads

        def __getattribute__(self, name: str) -> Any:
            if name == what and index.now == 0:
                self.left -= 1
                if self.left == 0:
                    in_threads(2, lambda at: setattr(index, "now", 1) or (at and end()))
            return super().__getattribute__(name)

        def is_answered_by(self, target: object) -> bool:
            return True

    def end() -> None:
        exchange.respond(503)
        if is_over:
            exchange.finish()

    index = threading.local()
    index.now = 0
    leg = LEGS["flask-sync"]()
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    count = metrics.counter("views", "Views.", {"status": lambda response: response.status_code})
    exchange = Interrupted(app.extensions["promweb"])
    exchange.request = EnvironBuilder().get_request()
    exchange.request.url_rule = None
    set_scope(exchange)
    try:
        count(lambda: "ok")()
        end()
        exchange.finish()
    finally:
        set_scope(None)
    assert samples(leg.registry)["views_total"] == {labels(status="503"): 1.0}
    assert samples(leg.registry)["flask_http_request_total"] == {
        labels(method="GET", status="503"): 1.0
    }


def test_a_view_that_begins_while_the_response_is_taken_sees_that_response() -> None:
    """Its labels are resolved at once, because the final response exists."""

    class Interrupted(Exchange):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "status" and value:
                in_threads(1, lambda at: view())

        def is_answered_by(self, target: object) -> bool:
            return True

    def view() -> None:
        set_scope(exchange)  # this thread's own
        count(lambda: "ok")()

    leg = LEGS["flask-sync"]()
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    shop = {"shop": lambda response: response.headers.get("X-Shop", "none")}
    count = metrics.counter("views", "Views.", shop)
    exchange = Interrupted(app.extensions["promweb"])
    exchange.request = EnvironBuilder().get_request()
    exchange.take(app.response_class(headers={"X-Shop": "main"}))
    assert samples(leg.registry)["views_total"] == {labels(shop="main"): 1.0}


def test_a_list_that_another_thread_empties() -> None:
    class Emptied(list[Any]):
        def pop(self, *at: Any) -> Any:
            self.clear()
            return super().pop(*at)

    assert [*taken(Emptied([1]))] == []


# --- everything at once -------------------------------------------------------------------------


def test_threads_asyncio_and_trio_share_one_registry() -> None:
    """Flask in two threads, Quart on asyncio and on trio in one each, and a scrape in another."""
    quart_trio = module("quart_trio")
    trio = module("trio")
    registry = CollectorRegistry()
    rounds, done = 150, list[int]()
    flask_app = flask.Flask("flask")
    metrics = PrometheusMetrics(flask_app, registry=registry, in_progress=True)

    @metrics.counter("jobs", "Jobs.")
    @metrics.gauge("working", "Jobs.")
    def job() -> None:
        """Is shared by all."""

    @flask_app.get("/")
    def view() -> str:
        job()
        return "ok"

    def make(cls: Any) -> Any:
        app = cls("quart")
        AsyncPrometheusMetrics(app, registry=registry, in_progress=True)

        @app.get("/")
        async def view() -> str:
            job()
            await anyio.lowlevel.checkpoint()
            return "ok"

        return app

    async def visit(app: Any) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(rounds):
                group.start_soon(Browser(app).run)

    asyncio_app, trio_app = make(quart.Quart), make(quart_trio.QuartTrio)

    def work(index: int) -> None:
        if index < 2:
            for _ in range(rounds):
                assert call(flask_app) == b"ok"
        elif index == 2:
            asyncio.run(visit(asyncio_app))
        elif index == 3:
            trio.run(visit, trio_app)
        else:
            while len(done) < 4:
                assert metrics.generate_metrics()
        done.append(index)

    in_threads(5, work)
    found = samples(registry)
    assert found["flask_http_request_total"] == {labels(method="GET", status="200"): 4.0 * rounds}
    assert found["jobs_total"] == {labels(): 4.0 * rounds}
    assert found["working"] == {labels(): 0.0}
    assert found["flask_http_requests_in_progress"] == {labels(method="GET"): 0.0}


# --- attaching while serving --------------------------------------------------------------------


def test_init_app_while_serving() -> None:
    """A new object sees every request that begins after it, and no gauge stays up."""
    leg = LEGS["flask-sync"]()
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)
    app.add_url_rule("/", "view", lambda: "ok")
    call(app)
    registries = [CollectorRegistry() for _ in range(12)]
    attached = threading.Event()

    def work(index: int) -> None:
        if index == 0:
            for number, registry in enumerate(registries):
                PrometheusMetrics(
                    app,
                    path=None,
                    registry=registry,
                    in_progress=number % 2 == 0,
                    request_size=number % 3 == 0,
                    default_labels={"tenant": lambda: "t1"} if number % 4 == 3 else None,
                )
            attached.set()
        else:
            while not attached.is_set():
                assert call(app) == b"ok"

    in_threads(4, work)
    name = "flask_http_request_total"
    before = [total(registry, name) for registry in (leg.registry, *registries)]
    in_threads(4, lambda index: [call(app) for _ in range(25)] and None)
    after = [total(registry, name) for registry in (leg.registry, *registries)]
    assert [late - early for early, late in zip(before, after, strict=True)] == [100.0] * 13
    for registry in (leg.registry, *registries):
        assert total(registry, "flask_http_requests_in_progress") == 0.0
        assert total(registry, "promweb_label_errors_total") == 0.0


@pytest.mark.parametrize("objects", ["one", "many"])
def test_threads_that_attach_the_same_application(leg: Leg, objects: str) -> None:
    for _ in range(10):
        leg.registry = CollectorRegistry()
        app = leg.make_app()
        one = leg.make_metrics(None, in_progress=True)

        def attach(index: int, app: Any = app, one: Any = one) -> None:
            metrics = one if objects == "one" else leg.make_metrics(None, in_progress=True)
            metrics.init_app(app)

        in_threads(6, attach)
        app.add_url_rule("/", "view", leg.view(lambda: "ok"))
        for _ in range(3):
            assert leg.get(app, "/").text == "ok"
        found = samples(leg.registry)
        assert found["flask_http_request_total"] == {labels(method="GET", status="200"): 3.0}
        assert found["flask_http_requests_in_progress"] == {labels(method="GET"): 0.0}


def test_threads_that_attach_the_same_application_without_init_app(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second waits until the first is done: no thread sees a half-attached application."""
    made: list[Site] = []
    both = threading.Barrier(2)

    class Slow(Site):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)
            with suppress(threading.BrokenBarrierError):
                both.wait(0.1)

    monkeypatch.setattr("promweb.core.applications.Site", Slow)
    leg = LEGS["flask-sync"]()
    app, metrics = leg.make_app(), leg.make_metrics(None)
    count = metrics.counter("views", "Views.")
    in_threads(2, lambda index: metrics.register_default(count, app=app))
    assert made == [app.extensions["promweb"]]


@pytest.mark.parametrize(
    ("naming", "name"),
    [("promweb", "flask_http_{}_size_bytes"), ("otel", "http_server_{}_body_size_bytes")],
)
def test_label_set_without_a_newer_family_is_not_kept(
    naming: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A family is added between a request's recording and its label set being kept."""
    leg = LEGS["flask-sync"]()
    app = leg.make_app()
    leg.make_metrics(app, naming=naming, response_size=True)
    app.add_url_rule("/", "view", lambda: "ok")
    original = HistogramFamily.child

    def child(family: HistogramFamily, *args: Any) -> Any:
        if family.name == name.format("response"):
            monkeypatch.setattr(HistogramFamily, "child", original)
            leg.make_metrics(app, naming=naming, path=None, request_size=True)
        return original(family, *args)

    monkeypatch.setattr(HistogramFamily, "child", child)
    for _ in range(3):
        assert call(app) == b"ok"
    assert total(leg.registry, name.format("response") + "_count") == 3.0
    assert total(leg.registry, name.format("request") + "_count") == 2.0


def test_gauges_of_a_newer_recorder_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family is added while the gauges of a method are looked up."""
    leg = LEGS["flask-sync"]()
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)
    app.add_url_rule("/", "view", lambda: "ok")
    other = CollectorRegistry()
    recorder = app.extensions["promweb"].recorders[0]
    original = recorder.in_progress

    def in_progress(request: Any) -> Any:
        monkeypatch.setattr(recorder, "in_progress", original)
        PrometheusMetrics(app, path=None, registry=other, in_progress=True)
        return original(request)

    monkeypatch.setattr(recorder, "in_progress", in_progress)
    call(app)
    seen = []
    app.before_request_funcs.setdefault(None, []).append(
        lambda: seen.append(
            other.get_sample_value("flask_http_requests_in_progress", {"method": "GET"})
        )
    )
    call(app)
    assert seen == [1.0]
