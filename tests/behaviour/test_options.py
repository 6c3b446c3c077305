"""The effect of each constructor argument on routes and numbers."""

from __future__ import annotations

from functools import wraps
from typing import Any

import flask
import pytest

from promweb import NO_PREFIX
from tests.support.legs import Leg
from tests.support.recorded import Done, Samples, expected, labels, samples
from tests.support.samples import names
from tests.support.views import VIEW, plain


def test_metrics_endpoint_is_served_and_never_tracked(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)
    for verb in ("GET", "HEAD", "GET"):
        reply = leg.request(app, "/metrics", verb)
        assert reply.status == 200
    assert "flask_exporter_info" in reply.text
    assert "flask_http_requests_in_progress{" not in reply.text
    assert samples(leg.registry) == {}


def test_options_of_the_metrics_endpoint_is_never_tracked(leg: Leg) -> None:
    """The framework answers it without calling the view."""
    app = leg.make_app()
    leg.make_metrics(app)
    assert leg.request(app, "/metrics", "OPTIONS").status == 200
    assert samples(leg.registry) == {}


@pytest.mark.parametrize("how", ["returns", "aborts", "raises"])
def test_metrics_endpoint_is_not_tracked_when_its_decorator_rejects(leg: Leg, how: str) -> None:
    def reject(view: Any) -> Any:
        def guarded() -> Any:
            if how == "returns":
                return "no", 401
            if how == "aborts":
                return leg.web.abort(401)
            raise ZeroDivisionError

        return leg.view(guarded)

    app = leg.make_app()
    leg.make_metrics(app, metrics_decorator=reject)
    assert leg.get(app, "/metrics").status == (500 if how == "raises" else 401)
    assert samples(leg.registry) == {}


def test_metrics_endpoint_is_not_tracked_when_before_request_rejects(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    app.before_request(lambda: ("no", 401))
    assert leg.get(app, "/metrics").status == 401
    assert samples(leg.registry) == {}


@pytest.mark.filterwarnings("ignore:Current server name")
@pytest.mark.parametrize(
    ("matching", "default_subdomain"),
    [("host_matching", ""), ("subdomain_matching", ""), ("subdomain_matching", "www")],
)
def test_metrics_endpoint_answers_at_every_host(
    leg: Leg, matching: str, default_subdomain: str
) -> None:
    app = leg.make_app(static_folder=None, **{matching: True})
    app.config["SERVER_NAME"] = "example.com"
    app.url_map.default_subdomain = default_subdomain
    metrics = leg.make_metrics(app)
    metrics.register_dashboard("/live")
    for host in ("example.com", "10.0.0.5:5000", "a.example.com", "a.b.example.com", "other.org"):
        for path in ("/metrics", "/live"):
            assert leg.get(app, path, headers={"Host": host}).status == 200, (host, path)
    assert samples(leg.registry) == {}


@pytest.mark.parametrize("protect", [None, lambda view: lambda **view_args: view(**view_args)])
def test_extensions_find_the_metrics_view_by_its_name(leg: Leg, protect: Any) -> None:
    """Flask-WTF exempts `f"{view.__module__}.{view.__name__}"`, for one."""
    app = leg.make_app()
    leg.make_metrics(app, metrics_decorator=protect and (lambda view: wraps(view)(protect(view))))
    view = app.view_functions["prometheus_metrics"]
    assert f"{view.__module__}.{view.__name__}" == "promweb.prometheus_metrics"
    assert leg.get(app, "/metrics").status == 200


@pytest.mark.parametrize("path", [None, ""])
def test_no_path_serves_no_metrics(leg: Leg, path: str | None) -> None:
    app = leg.make_app()
    leg.make_metrics(app, path=path)
    assert leg.get(app, "/metrics").status == 404
    assert samples(leg.registry) == expected(Done("GET", "<unmatched>", 404))


def test_export_defaults_false_records_nothing(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, export_defaults=False)
    app.add_url_rule("/", "view", metrics.counter("calls", "Calls.")(plain(leg)))
    assert leg.get(app, "/").status == 202
    assert samples(leg.registry) == {"calls_total": {labels(): 1.0}}
    assert leg.get(app, "/metrics").status == 200


@pytest.mark.parametrize(
    ("run_main", "debug"), [("true", True), ("true", False), (None, True), ("false", True)]
)
def test_debug_mode_with_the_reloader_serves_metrics(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, run_main: str | None, debug: bool
) -> None:
    monkeypatch.delenv("DEBUG_METRICS", raising=False)
    monkeypatch.delenv("WERKZEUG_RUN_MAIN", raising=False)
    if run_main:
        monkeypatch.setenv("WERKZEUG_RUN_MAIN", run_main)
    app = leg.make_app()
    app.debug = debug
    leg.make_metrics(app)
    app.add_url_rule("/", "view", plain(leg))
    leg.get(app, "/")
    reply = leg.get(app, "/metrics")
    assert (reply.status, "flask_exporter_info" in reply.text) == (200, True)
    assert samples(leg.registry) == expected(Done("GET", "/", 202, VIEW))


def tenant(request: Any) -> str:
    return f"tenant of {request.path}"


@pytest.mark.parametrize(
    ("group_by", "name", "group"),
    [
        ("path", "path", "/item/7"),
        ("endpoint", "endpoint", "shelf.item"),
        ("url_rule", "url_rule", "/item/<int:number>"),
        ("blueprint", "blueprint", "shelf"),
        ("full_path", "full_path", "/item/7?"),
        ("view_args", "view_args", "{'number': 7}"),
        (tenant, "tenant", "tenant of /item/7"),
    ],
)
def test_group_by_names_and_fills_the_group(leg: Leg, group_by: Any, name: str, group: str) -> None:
    app = leg.make_app()
    leg.make_metrics(app, group_by=group_by, in_progress=True)
    blueprint = leg.web.Blueprint("shelf", "shop")
    blueprint.add_url_rule("/item/<int:number>", "item", plain(leg))
    app.register_blueprint(blueprint)
    leg.get(app, "/item/7")
    leg.get(app, "/item/seven")
    assert samples(leg.registry) == expected(
        Done("GET", group, 202, VIEW),
        Done("GET", "tenant of /item/seven" if callable(group_by) else "<unmatched>", 404),
        by=name,
        in_progress=True,
    )


def broken(request: Any) -> str:
    raise KeyError(request.path)


def test_group_by_that_raises_is_an_error_label(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, group_by=broken)
    app.add_url_rule("/", "view", plain(leg))
    for path in ("/", "/", "/none"):
        leg.get(app, path)
    done = Done("GET", "<error>", 202, VIEW)
    error = labels(metric="flask_http_request_duration_seconds", label="broken")
    assert samples(leg.registry) == {
        **expected(done, done, Done("GET", "<error>", 404), by="broken"),
        "promweb_label_errors_total": {error: 3.0},
    }


@pytest.mark.parametrize("failed", [True, False])
def test_group_by_function_runs_in_the_request_context(leg: Leg, failed: bool) -> None:
    def host(request: Any) -> str:
        assert leg.web.request.path == request.path
        return leg.web.request.host

    app = leg.make_app()
    leg.make_metrics(app, group_by=host)
    app.add_url_rule("/", "view", leg.view(lambda: 1 / 0 if failed else "ok"))
    leg.get(app, "/")
    done = Done("GET", "localhost", 500 if failed else 200, failed=failed)
    assert samples(leg.registry) == expected(done, by="host")


@pytest.mark.parametrize("group_by", [lambda request: "", "method", "status", "not a name", "9"])
def test_group_by_that_cannot_be_a_label(leg: Leg, group_by: Any) -> None:
    with pytest.raises(ValueError, match="group_by="):
        leg.make_metrics(leg.make_app(), group_by=group_by)
    assert samples(leg.registry) == {}


@pytest.mark.parametrize(
    ("given", "prefix"),
    [("flask", "flask_"), ("webapp", "webapp_"), (NO_PREFIX, ""), ("", "flask_")],
)
def test_prefix_of_the_default_metrics(leg: Leg, given: str, prefix: str) -> None:
    app = leg.make_app()
    leg.make_metrics(app, defaults_prefix=given, in_progress=True)
    app.add_url_rule("/", "view", leg.view(lambda: 1 / 0))
    leg.get(app, "/")
    done = Done("GET", "/", 500, failed=True)
    assert samples(leg.registry) == expected(done, prefix=prefix, in_progress=True)
    assert [len(found) for found in leg.label_sets(f"{prefix}exporter_info")] == [1]


def test_summary_instead_of_a_histogram(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, default_latency_as_histogram=False)
    app.add_url_rule("/", "view", plain(leg))
    leg.get(app, "/")
    assert samples(leg.registry) == expected(Done("GET", "/", 202, VIEW))
    assert leg.label_sets("flask_http_request_duration_seconds_bucket") == []
    types = {metric.name: metric.type for metric in leg.registry.collect()}
    assert types["flask_http_request_duration_seconds"] == "summary"


def test_buckets_hold_what_was_observed(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, buckets=[VIEW - 0.125, VIEW, 1])
    app.add_url_rule("/", "view", plain(leg))
    leg.get(app, "/")
    name = "flask_http_request_duration_seconds_bucket"
    counts = {key["le"]: leg.value(name, **key) for key in leg.label_sets(name)}
    assert counts == {"0.125": 0, "0.25": 1, "1.0": 1, "+Inf": 1}


def stream(leg: Leg) -> Any:
    """Return a body that takes 0.25 seconds to its first byte and 0.5 to its last."""

    def body() -> Any:
        leg.clock.advance(0.25)
        yield b""
        leg.clock.advance(0.25)
        yield b"one"
        leg.clock.advance(0.5)
        yield b"three"

    return leg.web.Response(body())


FAMILIES = ("request_size_bytes", "response_size_bytes", "response_start_seconds")


def optional(leg: Leg, group: Done) -> tuple[float | None, ...]:
    """Return the sums of the opt-in families, and check that they hold one label set only."""
    found = samples(leg.registry)
    key = labels(method=group.method, path=group.group, status=str(group.status))
    assert {len(found[f"flask_http_{family}_count"]) for family in FAMILIES} == {1}
    assert {found[f"flask_http_{family}_count"].get(key) for family in FAMILIES} == {1.0}
    return tuple(found[f"flask_http_{family}_sum"].get(key) for family in FAMILIES)


@pytest.mark.parametrize(
    ("verb", "body", "sums"),
    [
        ("GET", lambda leg: "buffered", (0, 8, 0.5)),
        ("GET", lambda leg: "\N{SNOWMAN}", (0, 3, 0.5)),
        ("GET", lambda leg: "", (0, 0, 0.5)),
        ("GET", stream, (0, 8, 1.0)),
        ("HEAD", lambda leg: "buffered", (0, 0, 0.5)),
        ("POST", lambda leg: "ok", (5, 2, 0.5)),
    ],
    ids=["buffered", "encoded", "empty", "streamed", "head", "post"],
)
def test_sizes_and_time_to_the_first_byte(leg: Leg, verb: str, body: Any, sums: Any) -> None:
    app = leg.make_app()
    leg.make_metrics(app, request_size=True, response_size=True, response_start=True)

    def view() -> Any:
        leg.clock.advance(0.5)
        return body(leg)

    app.add_url_rule("/", "view", leg.view(view), methods=["GET", "POST"])
    announced = {"data": b"12345", "headers": {"Content-Length": "5"}}
    kwargs: dict[str, Any] = announced if verb == "POST" else {}
    leg.request(app, "/", verb, **kwargs)
    assert optional(leg, Done(verb, "/", 200)) == sums


@pytest.mark.parametrize("status", [204, 304])
def test_sizes_of_a_response_that_has_no_body(leg: Leg, status: int) -> None:
    app = leg.make_app()
    leg.make_metrics(app, request_size=True, response_size=True, response_start=True)
    app.add_url_rule("/", "view", leg.view(lambda: ("", status)))
    leg.get(app, "/")
    assert optional(leg, Done("GET", "/", status)) == (0, 0, 0)


def test_sizes_of_a_page_for_an_unhandled_exception(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, request_size=True, response_size=True, response_start=True)
    app.add_url_rule("/", "view", leg.view(lambda: 1 / 0))
    app.register_error_handler(500, lambda error: "sorry")
    leg.get(app, "/")
    size = samples(leg.registry)["flask_http_response_size_bytes_sum"]
    assert size == {labels(method="GET", path="/", status="200"): 5.0}


def test_optional_families_are_absent_unless_asked_for(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    app.add_url_rule("/", "view", plain(leg))
    leg.get(app, "/")
    assert {metric.name for metric in leg.registry.collect()} == {
        "flask_http_request_duration_seconds",
        "flask_http_request",
        "flask_http_request_exceptions",
        "flask_exporter_info",
    }


def calls(leg: Leg, metrics: Any, app: Any, *paths: str) -> Samples:
    """Route to counted views, request each path, and return what is recorded."""
    path_label = {"path": lambda: leg.web.request.path}
    counter = metrics.counter("calls", "Calls.", path_label)
    gauge = metrics.gauge("busy", "Busy.", path_label)
    for path in paths:
        app.add_url_rule(path, path.replace("/", "_"), counter(gauge(plain(leg))))
    for path in paths:
        leg.get(app, path)
    return samples(leg.registry)


@pytest.mark.parametrize("excluded", ["/health", ["/metrics", "/health"], ("/h.*h$", "/x")])
@pytest.mark.parametrize("user_too", [True, False])
def test_excluded_paths(leg: Leg, excluded: Any, user_too: bool) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, excluded_paths=excluded, exclude_user_defaults=user_too)
    found = calls(leg, metrics, app, "/health", "/shop/health")
    counted = {labels(path="/shop/health"): 1.0}
    if not user_too:
        counted[labels(path="/health")] = 1.0
    done = Done("GET", "/shop/health", 202, VIEW)
    busy = dict.fromkeys(counted, 0.0)
    assert found == {**expected(done), "calls_total": counted, "busy": busy}


def test_excluded_paths_match_from_the_start(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, excluded_paths="/he")
    found = calls(leg, metrics, app, "/health", "/hello", "/the")
    counted, busy = {labels(path="/the"): 1.0}, {labels(path="/the"): 0.0}
    done = Done("GET", "/the", 202, VIEW)
    assert found == {**expected(done), "calls_total": counted, "busy": busy}


def test_excluded_paths_that_match_no_route(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, excluded_paths="/wp-", in_progress=True)
    assert leg.get(app, "/wp-admin").status == 404
    assert samples(leg.registry) == {}


def test_excluded_paths_that_are_no_regular_expression(leg: Leg) -> None:
    with pytest.raises(ValueError, match="excluded_paths"):
        leg.make_metrics(leg.make_app(), excluded_paths=["("])


# --- status_classes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *[(200, "2xx"), (204, "2xx"), (302, "3xx"), (404, "4xx"), (499, "4xx"), (503, "5xx")],
        *[(700, "<other>"), (999, "<other>")],
    ],
)
def test_status_classes(leg: Leg, status: int, expected: str) -> None:
    app = leg.make_app()
    leg.make_metrics(app, status_classes=True, response_size=True)
    app.add_url_rule("/", "view", leg.view(lambda: ("tea", status)))
    for _ in range(2):
        assert leg.get(app, "/").status == status
    found = {"method": "GET", "status": expected}
    assert leg.label_sets("flask_http_request_total") == [found]
    assert leg.value("flask_http_request_total", **found) == 2
    size = "flask_http_response_size_bytes_count"
    assert leg.value(size, **found, path="/") == 2


def test_status_classes_of_different_statuses_are_one(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, status_classes=True)
    app.add_url_rule("/<int:status>", "view", leg.view(lambda status: ("tea", status)))
    app.add_url_rule("/fail", "fail", leg.view(lambda: 1 / 0))
    for path in ("/200", "/201", "/200", "/201", "/fail", "/no/such/page"):
        leg.get(app, path)
    total = "flask_http_request_total"
    statuses = [found["status"] for found in leg.label_sets(total)]
    assert sorted(statuses) == ["2xx", "4xx", "5xx"]
    assert leg.value(total, method="GET", status="2xx") == 4
    exceptions = "flask_http_request_exceptions_total"
    assert leg.value(exceptions, method="GET", status="5xx") == 1


def test_what_status_classes_remember_is_bounded(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, status_classes=True, group_by="url_rule")
    app.add_url_rule("/<int:status>", "view", leg.view(lambda status: ("tea", status)))
    for status in range(600, 620):
        leg.get(app, f"/{status}")
    (recorder,) = app.extensions["promweb"].recorders
    assert recorder._known == {}


def test_what_has_no_meaning_on_flask_is_accepted(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    app = leg.make_app()
    asked = {"event_loop": True, "threads": True, "background_tasks": True}
    for _ in range(2):
        leg.make_metrics(app, **asked)
    is_flask = leg.web is flask
    assert [record.levelname for record in caplog.records] == ["WARNING"] * is_flask
    for message in caplog.messages:
        assert message.startswith("event_loop=True and threads=True and background_tasks=True ")
    families = {name for name in names(leg.registry) if "loop" in name or "thread" in name}
    assert bool(families) is not is_flask


def test_event_loop_may_be_a_number_of_seconds(leg: Leg) -> None:
    for given, kept in ((True, True), (None, False), (0.5, 0.5), (1, 1.0)):
        assert leg.make_metrics(None, event_loop=given).event_loop == kept
    with pytest.raises(TypeError, match="event_loop='yes': must be True, False, or a number"):
        leg.make_metrics(None, event_loop="yes")
    for wrong in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"must be at least 0\.01 seconds"):
            leg.make_metrics(None, event_loop=wrong)
