"""Namespaces, callbacks, excluded requests, requests in progress by group, and switching off."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from promweb import PrometheusMetrics, RequestInfo
from promweb.core.families import problems
from tests.support.legs import Leg
from tests.support.samples import names, samples

DURATION = "flask_http_request_duration_seconds_count"


def add(leg: Leg, app: Any, rule: str, view: Any, endpoint: str = "", **kwargs: Any) -> None:
    app.add_url_rule(rule, endpoint or rule.strip("/") or "home", view, **kwargs)


# --- namespace -----------------------------------------------------------------------------------


def test_a_namespace_is_that_of_ones_own_metrics(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, namespace="photos")
    metrics.counter("uploads", "Uploads", namespace="other").inc()
    metrics.counter("plain", "Plain", namespace="").inc()
    metrics.gauge("queue", "Queue", subsystem="work", unit="jobs").inc()
    metrics.info("build", "Build", namespace="a label")
    metrics.counter("views", "Views").inc(-1)
    found = names(leg.registry)
    assert {"other_uploads_total", "plain_total", "photos_work_queue_jobs"} <= found
    assert "flask_exporter_info" in found
    assert leg.value("photos_build", namespace="a label") == 1
    assert leg.value("promweb_label_errors_total", metric="photos_views", label="") == 1
    assert metrics.namespace == "photos"


def test_a_namespace_that_is_no_text(leg: Leg) -> None:
    with pytest.raises(TypeError, match="namespace=3: must be text"):
        leg.make_metrics(None, namespace=3)


# --- on_request ----------------------------------------------------------------------------------


def test_a_callback_sees_requests_after_they_were_recorded(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, group_by="endpoint", in_progress=True)
    seen: list[tuple[RequestInfo, float]] = []

    @metrics.on_request
    def note(info: RequestInfo) -> None:
        seen.append((info, sum(n for _, n in samples(leg.registry, DURATION))))

    def view() -> str:
        leg.clock.advance(2)
        return "home"

    def fail() -> str:
        raise KeyError

    add(leg, app, "/", leg.view(view))
    add(leg, app, "/fail", leg.view(fail))
    for path in ("/", "/fail", "/nowhere", "/metrics"):
        leg.request(app, path, "BREW" if path == "/nowhere" else "GET")
    assert [count for _, count in seen] == [1, 2, 3]
    first, failed, nowhere = (info for info, _ in seen)
    assert first == RequestInfo("GET", "home", 200, 2.0, None, None, None, None)
    assert (failed.group, failed.status, failed.exception) == ("fail", 500, KeyError)
    assert (nowhere.method, nowhere.group, nowhere.status) == ("<other>", "<unmatched>", 404)
    with pytest.raises(AttributeError):
        first.status = 3  # type: ignore[misc]


def test_a_callback_gets_what_was_measured(leg: Leg) -> None:
    app, seen = leg.make_app(), list[RequestInfo]()
    metrics = leg.make_metrics(None, response_start=True, export_defaults=True)
    metrics.on_request(seen.append)
    metrics.init_app(app)
    add(leg, app, "/", leg.view(lambda: "four"), methods=["POST"])
    leg.request(app, "/", "POST", data=b"three", headers={"Content-Length": "5"})
    (info,) = seen
    assert (info.request_bytes, info.response_bytes, info.first_byte_seconds) == (5, 4, 0.0)


def test_callbacks_without_default_metrics_and_with_a_function_as_group(leg: Leg) -> None:
    def area(request: Any) -> str:
        return str(request.path.split("/")[1])

    app, seen = leg.make_app(), list[str]()
    metrics = leg.make_metrics(app, export_defaults=False, group_by=area)
    metrics.on_request(lambda info: seen.append(info.group))
    metrics.on_request(lambda info: seen.append(info.group + "!"))
    metrics.export_defaults(prefix="late")
    add(leg, app, "/shop/<name>", leg.view(lambda name: name), "shop")
    leg.get(app, "/shop/tea")
    assert seen == ["shop", "shop!"]


def test_callbacks_do_not_see_what_is_left_out(leg: Leg) -> None:
    app, seen = leg.make_app(), list[str]()
    metrics = leg.make_metrics(app, excluded_paths="/health", excluded_statuses=404)
    metrics.on_request(lambda info: seen.append(info.group))
    add(leg, app, "/health", leg.view(lambda: "ok"))
    add(leg, app, "/quiet", metrics.do_not_track()(leg.view(lambda: "ok")))
    add(leg, app, "/", leg.view(lambda: "ok"))
    for path in ("/health", "/quiet", "/nowhere", "/"):
        leg.get(app, path)
    assert seen == ["/"]


def test_callbacks_of_a_blueprint(leg: Leg) -> None:
    app, seen = leg.make_app(), list[str]()
    metrics = leg.make_metrics(None)
    for name in ("a", "b"):
        blueprint = leg.web.Blueprint(name, name)
        blueprint.add_url_rule("/", "home", leg.view(lambda: "ok"))
        metrics.init_app(blueprint)
        app.register_blueprint(blueprint, url_prefix=f"/{name}")
    metrics.on_request(lambda info: seen.append(info.group))
    add(leg, app, "/", leg.view(lambda: "ok"))
    for path in ("/a/", "/", "/b/"):
        leg.get(app, path)
    assert seen == ["/a/", "/b/"]


def test_callbacks_of_an_application_and_a_blueprint_of_it(leg: Leg) -> None:
    app, seen = leg.make_app(), list[str]()
    metrics = leg.make_metrics(app)
    metrics.on_request(lambda info: seen.append(info.group))
    blueprint = leg.web.Blueprint("a", "a")
    blueprint.add_url_rule("/", "home", leg.view(lambda: "ok"))
    metrics.init_app(blueprint)
    app.register_blueprint(blueprint, url_prefix="/a")
    add(leg, app, "/", leg.view(lambda: "ok"))
    for path in ("/a/", "/"):
        leg.get(app, path)
    assert seen == ["/a/", "/"]


def test_a_callback_that_raises_is_logged_once(leg: Leg, caplog: pytest.LogCaptureFixture) -> None:
    app, seen = leg.make_app(), list[int]()
    metrics = leg.make_metrics(app)

    @metrics.on_request
    def broken(info: RequestInfo) -> None:
        raise OSError

    metrics.on_request(lambda info: seen.append(info.status))
    add(leg, app, "/", leg.view(lambda: "ok"))
    for _ in range(2):
        assert leg.get(app, "/").text == "ok"
    assert seen == [200, 200]
    (record,) = caplog.records
    assert "could not call" in record.getMessage()
    assert "broken, which on_request was given" in record.getMessage()


def test_a_request_that_cannot_be_described(
    leg: Leg, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, seen = leg.make_app(), list[RequestInfo]()
    leg.make_metrics(app).on_request(seen.append)
    monkeypatch.setattr("promweb.core.defaults.callbacks.RequestInfo", None)
    assert leg.get(app, "/").status == 404
    assert seen == []
    assert "could not describe a request to on_request" in caplog.text


def test_callbacks_that_cannot_work(leg: Leg) -> None:
    metrics = leg.make_metrics(None)

    async def later(info: RequestInfo) -> None: ...

    with pytest.raises(TypeError, match=r"plain function, not the coroutine function .*awaited"):
        metrics.on_request(later)
    with pytest.raises(TypeError, match="takes a function of one argument"):
        metrics.on_request("note")


def test_an_application_that_is_gone_is_shown_to_nobody(leg: Leg) -> None:
    import gc

    metrics = leg.make_metrics(None)
    app = leg.make_app()
    metrics.init_app(app)
    del app
    gc.collect()
    metrics.on_request(lambda info: None)


# --- excluded requests ---------------------------------------------------------------------------


@pytest.mark.parametrize("follows", [True, False])
@pytest.mark.parametrize(
    ("options", "counted"),
    [
        ({"excluded_methods": ("OPTIONS", "head")}, ["GET /", "GET /gone", "GET /nowhere"]),
        ({"excluded_methods": "OPTIONS"}, ["GET /", "HEAD /", "GET /gone", "GET /nowhere"]),
        ({"excluded_statuses": (404, 410)}, ["GET /", "HEAD /", "OPTIONS /"]),
        ({"excluded_unmatched": True}, ["GET /", "HEAD /", "OPTIONS /", "GET /gone"]),
        ({"excluded_unmatched": True, "excluded_paths": "/gone"}, ["GET /", "HEAD /", "OPTIONS /"]),
    ],
)
def test_excluded_requests(
    leg: Leg, options: dict[str, Any], counted: list[str], follows: bool
) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, exclude_user_defaults=follows, **options)
    requests = ["GET /", "HEAD /", "OPTIONS /", "GET /gone", "GET /nowhere"]
    calls = metrics.counter("calls", "Calls", {"path": lambda: leg.web.request.path})
    busy = metrics.gauge("busy", "Busy")

    def gone() -> tuple[str, int]:
        return "gone", 410

    for rule, view in (("/", lambda: "ok"), ("/gone", gone)):
        add(
            leg,
            app,
            rule,
            busy(calls(leg.view(view))),
            methods=["GET", "OPTIONS"],
            provide_automatic_options=False,
        )
    for request in requests:
        method, path = request.split()
        leg.request(app, path, method)
    found = [labels for labels, _ in samples(leg.registry, DURATION)]
    got = [
        f"{labels['method']} {'/nowhere' if labels['path'] == '<unmatched>' else labels['path']}"
        for labels in found
    ]
    assert sorted(got) == sorted(counted)
    decorated = counted if follows else requests
    expected = {
        path: sum(request.split()[1] == path for request in decorated) for path in ("/", "/gone")
    }
    calls_by_path = {labels["path"]: n for labels, n in samples(leg.registry, "calls_total")}
    assert calls_by_path == {path: n for path, n in expected.items() if n}
    assert leg.value("busy") == 0


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"excluded_methods": 3}, TypeError, "excluded_methods=3: must be HTTP methods"),
        ({"excluded_methods": [3]}, TypeError, "3 is not text"),
        ({"excluded_methods": ["GET "]}, ValueError, "'GET ' is not a method"),
        ({"excluded_statuses": "404"}, TypeError, "excluded_statuses='404': must be HTTP statuses"),
        ({"excluded_statuses": ["404"]}, TypeError, "'404' is not a whole number"),
        ({"excluded_statuses": [True]}, TypeError, "True is not a whole number"),
        ({"excluded_statuses": 4.5}, TypeError, "must be HTTP statuses"),
        ({"excluded_statuses": [4]}, ValueError, "4 is not a status"),
    ],
)
def test_exclusions_that_cannot_work(
    leg: Leg, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        leg.make_metrics(None, **options)


# --- in progress by group ------------------------------------------------------------------------


def test_requests_in_progress_by_group(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(
        app, in_progress="group", group_by="endpoint", default_labels={"service": "shop"}
    )
    seen: list[float | None] = []

    def view() -> str:
        seen.append(leg.value("flask_http_requests_in_progress", endpoint="home", service="shop"))
        return "home"

    add(leg, app, "/", leg.view(view))
    leg.get(app, "/")
    leg.get(app, "/nowhere")
    assert seen == [1]
    assert samples(leg.registry, "flask_http_requests_in_progress") == [
        ({"endpoint": "home", "service": "shop"}, 0),
        ({"endpoint": "<unmatched>", "service": "shop"}, 0),
    ]
    assert metrics.in_progress == "group"


def test_requests_in_progress_by_a_function_and_by_route(leg: Leg) -> None:
    def area(request: Any) -> str:
        return str(request.path.split("/")[1])

    app = leg.make_app()
    leg.make_metrics(app, in_progress="group", group_by=area, defaults_prefix="by")
    leg.make_metrics(app, in_progress="group", naming="otel", path=None)
    add(leg, app, "/shop/<name>", leg.view(lambda name: name), "shop")
    leg.get(app, "/shop/tea")
    assert samples(leg.registry, "by_http_requests_in_progress") == [({"area": "shop"}, 0)]
    assert samples(leg.registry, "http_server_active_requests") == [
        ({"http_route": "/shop/<name>", "url_scheme": "http"}, 0)
    ]


def test_requests_in_progress_by_group_are_bounded(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, in_progress="group", max_series=5)
    add(leg, app, "/<name>", leg.view(lambda name: name), "item")
    for number in range(10):
        leg.get(app, f"/{number}")
    found = samples(leg.registry, "flask_http_requests_in_progress")
    assert found[-1] == ({"path": "<overflow>"}, 0)
    assert len(found) <= 5


def test_requests_in_progress_by_a_group_that_is_awaited(leg: Leg) -> None:
    seen: list[float | None] = []

    async def area(request: Any) -> str:
        await asyncio.sleep(0)
        return (await request.get_data(as_text=True)) or "none"

    def view() -> str:
        seen.append(leg.value("flask_http_requests_in_progress", area="north"))
        return "view"

    app = leg.make_app()
    if leg.web.__name__ == "flask":
        with pytest.raises(ValueError, match="cannot be awaited on Flask"):
            leg.make_metrics(app, in_progress="group", group_by=area)
        return
    leg.make_metrics(app, in_progress="group", group_by=area)
    add(leg, app, "/", leg.view(view), methods=["POST"])
    leg.request(app, "/", "POST", data="north")
    leg.get(app, "/nowhere")
    assert seen == [1]
    assert samples(leg.registry, "flask_http_requests_in_progress") == [
        ({"area": "north"}, 0),
        ({"area": "none"}, 0),
    ]


# --- switched off --------------------------------------------------------------------------------


@pytest.fixture
def disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMWEB_DISABLED", "1")
    monkeypatch.setattr(problems, "_told", [])


def test_nothing_is_attached(leg: Leg, disabled: None, caplog: pytest.LogCaptureFixture) -> None:
    app, bare = leg.make_app(), leg.make_app()
    before = {name: getattr(app, name) for name in ("full_dispatch_request", "handle_exception")}
    with caplog.at_level(logging.INFO):
        metrics = leg.make_metrics(app)
        leg.make_metrics(app)
    assert [record.getMessage() for record in caplog.records] == [
        "PROMWEB_DISABLED is set: promweb measures and serves nothing."
    ]
    metrics.init_app(leg.web.Blueprint("b", "b"))
    metrics.register_endpoint("/more")
    metrics.register_dashboard("/live")
    metrics.export_defaults()
    metrics.on_request(print)
    metrics.info("build", "Build", version="1").set(1)

    def view() -> str:
        return "done"

    function = leg.view(view)
    for decorate in (
        metrics.counter("calls", "Calls", labels={"status": lambda response: "x"}),
        metrics.gauge("busy", "Busy"),
        metrics.histogram("seconds", "Time"),
        metrics.summary("more_seconds", "Time"),
        metrics.do_not_track(),
        metrics.exclude_all_metrics(),
    ):
        assert decorate(function) is function
        metrics.register_default(decorate)
    assert metrics.middleware(function) is function
    add(leg, app, "/", function)
    assert leg.get(app, "/").text == "done"
    assert leg.get(app, "/metrics").status == 404
    assert {name: getattr(app, name) for name in before} == before
    assert list(app.extensions) == list(bare.extensions)
    assert len([*app.url_map.iter_rules()]) == len([*bare.url_map.iter_rules()]) + 1
    assert metrics.registry is leg.registry
    assert [*leg.registry.collect()] == []
    server = metrics.start_http_server(9100)
    assert (server.port, server.url, server.is_waiting) == (9100, "", False)
    server.close()


def test_instruments_do_nothing(leg: Leg, disabled: None) -> None:
    metrics = leg.make_metrics(None)
    counter = metrics.counter("orders", "Orders", labelnames=["kind"])
    gauge, histogram = metrics.gauge("busy", "Busy"), metrics.histogram("seconds", "Time")
    for call in (counter.inc, gauge.set, gauge.dec, gauge.inc, histogram.observe):
        assert call("whatever", kid="x") is None
    gauge.set_to_current_time()
    counter.labels("a", "b", c=3).inc()
    assert "nothing" in repr(counter)

    async def work() -> None:
        async with histogram.time(a="b"), gauge.track_inprogress():
            pass

    asyncio.run(work())
    with pytest.raises(KeyError), counter.count_exceptions(KeyError):
        raise KeyError
    function = leg.view(lambda: "x")
    assert histogram.time()(function) is function


@pytest.mark.parametrize("value", ["", "0"])
def test_what_is_not_switched_off(leg: Leg, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMWEB_DISABLED", value)
    leg.make_metrics(None).counter("calls", "Calls").inc()
    assert leg.value("calls_total") == 1


def test_mistakes_are_told_in_any_case(disabled: None) -> None:
    with pytest.raises(TypeError, match="PrometheusMetrics measures a Flask application"):
        PrometheusMetrics(3, registry=CollectorRegistry())
    metrics = PrometheusMetrics(None, registry=CollectorRegistry())
    with pytest.raises(TypeError, match="did you mean 'buckets'"):
        metrics.histogram("sizes", "Sizes", bukets=(1, 2))  # type: ignore[call-arg]
