"""Label values: constants, callables, their arguments, and their failures."""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.legs import Leg
from tests.support.samples import samples


def make(leg: Leg, *, testing: bool = False, **kwargs: Any) -> tuple[Any, Any]:
    """Return an application and its metrics, by default without the default metrics."""
    app = leg.make_app(testing=testing)
    app.logger.disabled = True
    return app, leg.make_metrics(app, **{"export_defaults": False, **kwargs})


def status_of(response: Any) -> int:
    return response.status_code


def foreign(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap like any other library's decorator that knows both kinds of functions."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **kwargs)

    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    return wrapper


# --- constants and callables without arguments -------------------------------------------------


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text for this")


VALUES = [
    ("text", "text"),
    ("", ""),
    (1, "1"),
    (2.5, "2.5"),
    (None, "None"),
    (True, "True"),
    (Decimal("1.50"), "1.50"),
    (("a", "b"), "('a', 'b')"),
    ("\udc80 lone", "? lone"),
    ('quote " slash \\ line\nend', 'quote " slash \\ line\nend'),
    ("Zürich 🚋", "Zürich 🚋"),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=ascii)
@pytest.mark.parametrize("how", ["constant", "no argument", "one argument", "default label"])
def test_value_becomes_text(leg: Leg, how: str, value: object, expected: str) -> None:
    default_labels = {"item": value} if how == "default label" else None
    labels: dict[str, Any] = {
        "constant": {"item": value},
        "no argument": {"item": lambda: value},
        "one argument": {"item": lambda response: value},
        "default label": {},
    }[how]
    app, metrics = make(leg, export_defaults=True, default_labels=default_labels)

    @app.route("/")
    @metrics.counter("calls", "Calls.", labels=labels)
    @leg.view
    def index() -> str:
        return "ok"

    assert leg.get(app, "/").status == 200
    assert samples(leg.registry, "calls_total") == [({"item": expected}, 1.0)]
    if default_labels:
        defaults = {"method": "GET", "status": "200", "item": expected}
        assert samples(leg.registry, "flask_http_request_total") == [(defaults, 1.0)]

    scrape = leg.get(app, "/metrics")
    assert scrape.status == 200
    parsed = {
        sample.name: sample.labels
        for family in text_string_to_metric_families(scrape.text)
        for sample in family.samples
    }
    assert parsed["calls_total"] == {"item": expected}


def test_callable_without_argument_sees_the_request(leg: Leg) -> None:
    app, metrics = make(leg)
    request = leg.web.request

    @app.route("/items/<kind>")
    @metrics.counter(
        "calls",
        "Calls.",
        labels={"path": lambda: request.path, "kind": lambda: request.view_args["kind"]},
    )
    @leg.view
    def item(kind: str) -> str:
        return kind

    leg.get(app, "/items/tea")
    leg.get(app, "/items/jam")
    leg.get(app, "/items/tea")
    assert samples(leg.registry, "calls_total") == [
        ({"path": "/items/tea", "kind": "tea"}, 2.0),
        ({"path": "/items/jam", "kind": "jam"}, 1.0),
    ]


def test_streamed_view_has_its_labels_resolved_within_the_request(leg: Leg) -> None:
    app, metrics = make(leg)
    request = leg.web.request

    @app.route("/stream")
    @metrics.counter("calls", "Calls.", labels={"path": lambda: request.path, "status": status_of})
    @leg.view
    def stream() -> Any:
        return (chunk for chunk in ("a", "b"))

    assert leg.get(app, "/stream").data == b"ab"
    assert samples(leg.registry, "calls_total") == [({"path": "/stream", "status": "200"}, 1.0)]


@pytest.mark.parametrize(
    "function",
    [
        lambda response: response.status_code,
        lambda response=None: response.status_code,
        functools.partial(lambda suffix, response: response.status_code, "x"),
        status_of,
        type("Status", (), {"__call__": lambda self, response: response.status_code})(),
        type("Status", (), {"of": lambda self, response: response.status_code})().of,
    ],
    ids=["lambda", "optional", "partial", "function", "callable object", "bound method"],
)
def test_any_callable_of_one_argument_gets_the_response(
    leg: Leg, function: Callable[..., object]
) -> None:
    app, metrics = make(leg)

    @app.route("/")
    @metrics.counter("calls", "Calls.", labels={"status": function})
    @leg.view
    def index() -> Any:
        return "ok", 202

    leg.get(app, "/")
    assert samples(leg.registry, "calls_total") == [({"status": "202"}, 1.0)]


# --- the final response ------------------------------------------------------------------------


def test_view_gets_the_status_that_it_returned(leg: Leg) -> None:
    assert statuses_of_view(leg, lambda: ("made", 201)) == [({"status": "201"}, 1.0)]


def test_view_gets_the_status_of_an_abort(leg: Leg) -> None:
    assert statuses_of_view(leg, lambda: leg.web.abort(418)) == [({"status": "418"}, 1.0)]


def test_view_gets_500_when_its_exception_is_rendered(leg: Leg) -> None:
    assert statuses_of_view(leg, lambda: {}["no"]) == [({"status": "500"}, 1.0)]


def test_view_gets_500_when_its_exception_propagates(leg: Leg) -> None:
    app, metrics = make(leg, testing=True)
    seen = []

    @app.route("/")
    @metrics.counter(
        "calls", "Calls.", labels={"status": status_of, "type": lambda r: seen.append(r) or "x"}
    )
    @leg.view
    def index() -> str:
        raise ValueError("broken")

    with suppress(ValueError):  # Flask's test client raises it, Quart answers with the traceback
        leg.get(app, "/")
    assert samples(leg.registry, "calls_total") == [({"status": "500", "type": "x"}, 1.0)]
    assert [type(response) for response in seen] == [app.response_class]


def test_view_gets_500_when_its_result_is_no_response(leg: Leg) -> None:
    assert statuses_of_view(leg, lambda: None) == [({"status": "500"}, 1.0)]


def test_view_gets_the_status_of_an_error_handler(leg: Leg) -> None:
    def prepare(app: Any) -> None:
        app.register_error_handler(KeyError, lambda error: ("conflict", 409))

    assert statuses_of_view(leg, lambda: {}["no"], prepare) == [({"status": "409"}, 1.0)]


def test_view_gets_the_status_that_an_after_request_set(leg: Leg) -> None:
    def prepare(app: Any) -> None:
        @app.after_request
        def accept(response: Any) -> Any:
            response.status_code = 202
            return response

    assert statuses_of_view(leg, lambda: "ok", prepare) == [({"status": "202"}, 1.0)]


def statuses_of_view(
    leg: Leg, body: Callable[[], object], prepare: Callable[[Any], None] = lambda app: None
) -> object:
    app, metrics = make(leg)
    prepare(app)

    @app.route("/")
    @metrics.counter("calls", "Calls.", labels={"status": status_of})
    @leg.view
    def index() -> object:
        return body()

    leg.get(app, "/")
    return samples(leg.registry, "calls_total")


def test_view_gets_the_headers_of_the_final_response(leg: Leg) -> None:
    app, metrics = make(leg)

    @app.after_request
    def tier(response: Any) -> Any:
        response.headers["X-Tier"] = "gold"
        return response

    @app.route("/")
    @metrics.counter(
        "calls",
        "Calls.",
        labels={
            "tier": lambda response: response.headers["X-Tier"],
            "kind": lambda response: response.mimetype,
        },
    )
    @leg.view
    def index() -> Any:
        return {"some": "json"}

    leg.get(app, "/")
    expected = {"tier": "gold", "kind": "application/json"}
    assert samples(leg.registry, "calls_total") == [(expected, 1.0)]


def test_stacked_decorators_all_see_the_final_response(leg: Leg) -> None:
    app, metrics = make(leg)
    labels = {"status": status_of}

    @app.route("/")
    @metrics.counter("calls", "Calls.", labels=labels)
    @metrics.summary("seconds", "Seconds.", labels=labels)
    @foreign
    @metrics.histogram("time", "Time.", labels=labels, buckets=(0.125, 0.5))
    @metrics.gauge("running", "Running.", labels={"path": lambda: leg.web.request.path})
    @leg.view
    def index() -> None:
        leg.clock.advance(0.25)
        assert leg.value("running", path="/") == 1.0
        leg.web.abort(404)

    assert leg.get(app, "/").status == 404
    assert samples(leg.registry, "calls_total") == [({"status": "404"}, 1.0)]
    assert samples(leg.registry, "seconds_count") == [({"status": "404"}, 1.0)]
    assert samples(leg.registry, "seconds_sum") == [({"status": "404"}, 0.25)]
    assert samples(leg.registry, "time_sum") == [({"status": "404"}, 0.25)]
    assert samples(leg.registry, "time_bucket") == [
        ({"status": "404", "le": "0.125"}, 0.0),
        ({"status": "404", "le": "0.5"}, 1.0),
        ({"status": "404", "le": "+Inf"}, 1.0),
    ]
    assert samples(leg.registry, "running") == [({"path": "/"}, 0.0)]


def test_view_is_found_behind_other_decorators(leg: Leg) -> None:
    app, metrics = make(leg)

    @app.route("/")
    @foreign
    @foreign
    @metrics.counter("calls", "Calls.", labels={"status": status_of})
    @foreign
    @foreign
    @leg.view
    def index() -> Any:
        return "ok", 203

    leg.get(app, "/")
    assert samples(leg.registry, "calls_total") == [({"status": "203"}, 1.0)]


@pytest.mark.parametrize("how", ["method", "inherited", "super", "decorators", "class", "View"])
def test_methods_of_view_classes_get_the_final_response(leg: Leg, how: str) -> None:
    app, metrics = make(leg)
    views = importlib.import_module(f"{leg.web.__name__}.views")
    count = metrics.counter("calls", "Calls.", labels={"status": status_of})

    @leg.view
    def answer(self: object) -> Any:
        return "ok", 203

    if how == "method":
        view_class = type("Index", (views.MethodView,), {"get": count(answer)})
    elif how == "inherited":
        base = type("Base", (views.MethodView,), {"get": count(answer)})
        view_class = type("Index", (base,), {})
    elif how == "super":
        base = type("Base", (views.MethodView,), {"get": count(answer)})

        if leg.async_views:

            async def get(self: Any) -> Any:
                return await base.get(self)

        else:

            def get(self: Any) -> Any:
                return base.get(self)

        view_class = type("Index", (base,), {"get": get})
    elif how == "decorators":
        view_class = type("Index", (views.MethodView,), {"get": answer, "decorators": [count]})
    elif how == "class":
        view_class = count(type("Index", (views.MethodView,), {"get": answer}))
    else:
        view_class = type("Index", (views.View,), {"dispatch_request": count(answer)})
    app.add_url_rule("/", view_func=view_class.as_view("index"))

    assert leg.get(app, "/").status == 203
    assert samples(leg.registry, "calls_total") == [({"status": "203"}, 1.0)]


# --- the return value --------------------------------------------------------------------------


def test_helper_gets_its_return_value(leg: Leg) -> None:
    app, metrics = make(leg)

    @metrics.counter(
        "lookups",
        "Lookups.",
        labels={"hit": lambda result: result, "path": lambda: leg.web.request.path},
    )
    def lookup(key: str) -> bool:
        return key == "tea"

    @app.route("/<key>")
    @metrics.counter("calls", "Calls.", labels={"status": status_of})
    @leg.view
    def index(key: str) -> Any:
        lookup(key)
        lookup("tea")
        return "ok", 202

    leg.get(app, "/jam")
    assert samples(leg.registry, "lookups_total") == [
        ({"hit": "False", "path": "/jam"}, 1.0),
        ({"hit": "True", "path": "/jam"}, 1.0),
    ]
    assert samples(leg.registry, "calls_total") == [({"status": "202"}, 1.0)]


def test_helper_that_raised_gets_the_exception_value(leg: Leg) -> None:
    app, metrics = make(leg)

    @metrics.counter("lookups", "Lookups.", labels={"hit": lambda result: result, "by": "key"})
    def lookup() -> bool:
        raise KeyError("gone")

    @app.route("/")
    @metrics.counter("calls", "Calls.", labels={"status": status_of})
    @leg.view
    def index() -> Any:
        with pytest.raises(KeyError, match="gone"):
            lookup()
        return "ok"

    assert leg.get(app, "/").status == 200
    assert samples(leg.registry, "lookups_total") == [({"hit": "<exception>", "by": "key"}, 1.0)]
    assert samples(leg.registry, "calls_total") == [({"status": "200"}, 1.0)]


def test_view_of_another_route_is_a_helper_when_it_is_called(leg: Leg) -> None:
    app, metrics = make(leg)

    @app.route("/price")
    @metrics.counter(
        "calls", "Calls.", labels={"got": lambda result: getattr(result, "status_code", result)}
    )
    def price() -> str:
        return "three"

    @app.route("/offer")
    @leg.view
    def offer() -> Any:
        return price(), 202

    leg.get(app, "/price")
    leg.get(app, "/offer")
    assert samples(leg.registry, "calls_total") == [({"got": "200"}, 1.0), ({"got": "three"}, 1.0)]


def test_hooks_are_no_views(leg: Leg) -> None:
    app, metrics = make(leg)

    @app.before_request
    @metrics.counter("hooks", "Hooks.", labels={"got": lambda result: result})
    def hook() -> None:
        return None

    @app.route("/")
    @leg.view
    def index() -> str:
        return "ok"

    leg.get(app, "/")
    assert samples(leg.registry, "hooks_total") == [({"got": "None"}, 1.0)]


# --- default labels ----------------------------------------------------------------------------


def test_default_labels_are_on_default_metrics_and_decorators(leg: Leg) -> None:
    app, metrics = make(
        leg,
        export_defaults=True,
        default_labels={
            "tier": "web",
            "host": lambda: leg.web.request.headers["X-Host"],
            "length": lambda response: response.content_length,
        },
    )

    @app.route("/")
    @metrics.counter("calls", "Calls.", labels={"status": status_of})
    @leg.view
    def index() -> Any:
        return "four", 202

    leg.get(app, "/", headers={"X-Host": "a"})
    own = {"tier": "web", "host": "a", "length": "4"}
    assert samples(leg.registry, "calls_total") == [({"status": "202", **own}, 1.0)]
    by_method = {"method": "GET", "status": "202", **own}
    assert samples(leg.registry, "flask_http_request_total") == [(by_method, 1.0)]
    assert samples(leg.registry, "flask_http_request_duration_seconds_count") == [
        ({**by_method, "path": "/"}, 1.0)
    ]


def test_default_labels_are_on_exceptions_and_unmatched_requests(leg: Leg) -> None:
    app, _ = make(
        leg,
        export_defaults=True,
        default_labels={"tier": "web", "class": lambda response: response.status_code // 100},
    )

    @app.route("/")
    @leg.view
    def index() -> Any:
        raise ValueError("broken")

    leg.get(app, "/")
    leg.get(app, "/nowhere")
    failed = {"method": "GET", "status": "500", "tier": "web", "class": "5"}
    missed = {"method": "GET", "status": "404", "tier": "web", "class": "4"}
    assert samples(leg.registry, "flask_http_request_exceptions_total") == [(failed, 1.0)]
    assert samples(leg.registry, "flask_http_request_total") == [(failed, 1.0), (missed, 1.0)]
    assert samples(leg.registry, "flask_http_request_duration_seconds_count") == [
        ({**failed, "path": "/"}, 1.0),
        ({**missed, "path": "<unmatched>"}, 1.0),
    ]


def test_default_labels_are_on_helpers(leg: Leg) -> None:
    app, metrics = make(leg, default_labels={"tier": "web", "got": lambda result: result})

    @metrics.counter("lookups", "Lookups.")
    def lookup() -> str:
        return "jam"

    @app.route("/")
    @leg.view
    def index() -> str:
        return lookup()

    leg.get(app, "/")
    assert samples(leg.registry, "lookups_total") == [({"tier": "web", "got": "jam"}, 1.0)]


def test_explicit_label_beats_default_label(leg: Leg) -> None:
    app, metrics = make(
        leg, default_labels={"tier": "web", "zone": "a", "status_class": lambda response: "2xx"}
    )
    explicit = {"tier": lambda: "api", "status_class": "none"}

    @app.route("/")
    @metrics.counter("calls", "Calls.", labels=explicit)
    @metrics.gauge("running", "Running.", labels=explicit)
    @leg.view
    def index() -> str:
        return "ok"

    leg.get(app, "/")
    expected = {"tier": "api", "status_class": "none", "zone": "a"}
    assert samples(leg.registry, "calls_total") == [(expected, 1.0)]
    assert samples(leg.registry, "running") == [(expected, 0.0)]


def test_decorators_may_use_the_labels_of_the_default_metrics(leg: Leg) -> None:
    app, metrics = make(leg, export_defaults=True)

    @app.route("/")
    @metrics.counter("calls", "Calls.", labels={"method": "m", "status": status_of, "path": "p"})
    @leg.view
    def index() -> str:
        return "ok"

    leg.get(app, "/")
    expected = {"method": "m", "status": "200", "path": "p"}
    assert samples(leg.registry, "calls_total") == [(expected, 1.0)]


# --- order and initial values ------------------------------------------------------------------


def test_labels_keep_the_order_they_were_given(leg: Leg) -> None:
    app, metrics = make(leg, default_labels={"beta": "4", "alpha": "5"})

    @app.route("/")
    @metrics.counter("calls", "Calls.", labels={"zone": "1", "area": lambda: "2", "mode": "3"})
    @leg.view
    def index() -> str:
        return "ok"

    leg.get(app, "/")
    (labels,) = leg.label_sets("calls_total")
    assert list(labels.items()) == [
        ("zone", "1"),
        ("area", "2"),
        ("mode", "3"),
        ("beta", "4"),
        ("alpha", "5"),
    ]


KINDS = {"counter": "_total", "gauge": "", "histogram": "_count", "summary": "_count"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [None, {}, {"a": "1"}, {"a": "1", "b": 2}])
def test_static_labels_start_at_zero(leg: Leg, kind: str, labels: dict[str, object]) -> None:
    _, metrics = make(leg, default_labels={"tier": "web"})
    getattr(metrics, kind)("calls", "Calls.", labels=labels)
    expected = {key: str(value) for key, value in {**(labels or {}), "tier": "web"}.items()}
    assert samples(leg.registry, f"calls{KINDS[kind]}") == [(expected, 0.0)]


@pytest.mark.parametrize("kind", KINDS)
def test_static_labels_have_no_initial_value_when_unwanted(leg: Leg, kind: str) -> None:
    _, metrics = make(leg)
    getattr(metrics, kind)(
        "calls", "Calls.", labels={"a": "1"}, initial_value_when_only_static_labels=False
    )
    assert samples(leg.registry, f"calls{KINDS[kind]}") == []


@pytest.mark.parametrize("kind", KINDS)
def test_callable_labels_have_no_initial_value(leg: Leg, kind: str) -> None:
    _, metrics = make(leg)
    getattr(metrics, kind)("calls", "Calls.", labels={"a": "1", "b": lambda: "2"})
    assert samples(leg.registry, f"calls{KINDS[kind]}") == []


# --- callables that fail -----------------------------------------------------------------------


def fails() -> object:
    raise LookupError("no such label")


def test_failing_label_is_an_error_value_logged_once_and_counted(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    app, metrics = make(leg)

    @app.route("/")
    @metrics.counter("calls", "Calls.", labels={"a": fails, "b": "kept", "c": fails})
    @metrics.histogram("time", "Time.", labels={"a": lambda response: response.no_such_thing})
    @leg.view
    def index() -> str:
        return "ok"

    for _ in range(3):
        assert leg.get(app, "/").data == b"ok"

    expected = {"a": "<error>", "b": "kept", "c": "<error>"}
    assert samples(leg.registry, "calls_total") == [(expected, 3.0)]
    assert samples(leg.registry, "time_count") == [({"a": "<error>"}, 3.0)]
    assert sorted(
        (labels["metric"], labels["label"], value)
        for labels, value in samples(leg.registry, "promweb_label_errors_total")
    ) == [("calls", "a", 3.0), ("calls", "c", 3.0), ("time", "a", 3.0)]

    records = [record for record in caplog.records if record.name == "promweb"]
    assert sorted(record.args for record in records) == [
        ("a", "calls"),
        ("a", "time"),
        ("c", "calls"),
    ]
    assert {record.levelno for record in records} == {logging.ERROR}
    types = {record.args: record.exc_info[0] for record in records if record.exc_info}
    assert types == {
        ("a", "calls"): LookupError,
        ("c", "calls"): LookupError,
        ("a", "time"): AttributeError,
    }
    assert all(record.exc_info[2] is not None for record in records if record.exc_info)


def test_failing_label_of_a_gauge_goes_up_and_down(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    app, metrics = make(leg)

    @app.route("/")
    @metrics.gauge("running", "Running.", labels={"a": fails})
    @leg.view
    def index() -> str:
        return str(leg.value("running", a="<error>"))

    assert leg.get(app, "/").data == b"1.0"
    assert samples(leg.registry, "running") == [({"a": "<error>"}, 0.0)]
    assert len([record for record in caplog.records if record.name == "promweb"]) == 1


@pytest.mark.parametrize("error", ["HTTPException", "str", "recursion"])
def test_any_failure_of_a_label_leaves_the_request_alone(leg: Leg, error: str) -> None:
    app, metrics = make(leg)

    def recurse() -> object:
        return recurse()

    label = {
        "HTTPException": lambda: leg.web.abort(404),
        "str": Unprintable,
        "recursion": recurse,
    }[error]

    @app.route("/")
    @metrics.counter("calls", "Calls.", labels={"a": lambda: label()})
    @leg.view
    def index() -> str:
        return "ok"

    assert leg.get(app, "/").status == 200
    assert samples(leg.registry, "calls_total") == [({"a": "<error>"}, 1.0)]


def test_failing_default_label_leaves_every_metric_recorded(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    app, metrics = make(leg, export_defaults=True, default_labels={"tenant": fails, "tier": "web"})

    @app.route("/")
    @metrics.counter("calls", "Calls.")
    @leg.view
    def index() -> str:
        return "ok"

    leg.get(app, "/")
    leg.get(app, "/")
    own = {"tenant": "<error>", "tier": "web"}
    assert samples(leg.registry, "calls_total") == [(own, 2.0)]
    assert samples(leg.registry, "flask_http_request_total") == [
        ({"method": "GET", "status": "200", **own}, 2.0)
    ]
    records = [record for record in caplog.records if record.name == "promweb"]
    assert sorted(record.args for record in records) == [
        ("tenant", "calls"),
        ("tenant", "flask_http_request_duration_seconds"),
    ]


def test_failing_helper_label_leaves_result_and_exception_alone(leg: Leg) -> None:
    _, metrics = make(leg)
    problem = ValueError("the function's own")

    @metrics.counter("jobs", "Jobs.", labels={"a": fails})
    def job(error: Exception | None) -> str:
        if error:
            raise error
        return "done"

    assert job(None) == "done"
    with pytest.raises(ValueError, match="the function's own") as caught:
        job(problem)
    assert caught.value is problem
    assert problem.__context__ is None
    assert samples(leg.registry, "jobs_total") == [({"a": "<error>"}, 2.0)]


# --- inspection --------------------------------------------------------------------------------


class Inspected:
    """A label callable that counts how often somebody asks for its signature."""

    def __init__(self) -> None:
        self.inspections = 0

    @property
    def __signature__(self) -> inspect.Signature:
        self.inspections += 1
        parameter = inspect.Parameter("response", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return inspect.Signature([parameter])

    def __call__(self, *args: Any) -> object:
        (response,) = args
        return getattr(response, "status_code", response)


def test_label_callables_are_inspected_at_decoration_only(
    leg: Leg, monkeypatch: pytest.MonkeyPatch
) -> None:
    label, default = Inspected(), Inspected()
    app, metrics = make(leg, export_defaults=True, default_labels={"default": default})

    @metrics.summary("lookups", "Lookups.", labels={"a": label})
    def lookup() -> str:
        return "jam"

    @app.route("/")
    @metrics.counter("calls", "Calls.", labels={"a": label})
    @leg.view
    def index() -> str:
        return lookup()

    leg.get(app, "/")
    before = label.inspections, default.inspections
    assert min(before) > 0
    inspected: list[object] = []
    monkeypatch.setattr(inspect, "signature", lambda *args, **kwargs: inspected.append(args))
    for _ in range(3):
        leg.get(app, "/")
    assert (label.inspections, default.inspections) == before
    assert inspected == []
    assert samples(leg.registry, "calls_total") == [({"a": "200", "default": "200"}, 4.0)]
    assert samples(leg.registry, "lookups_count") == [({"a": "jam", "default": "jam"}, 4.0)]


# --- a program of the exporter's first releases ------------------------------------------------


def test_label_that_reads_a_missing_view_argument_breaks_no_route(leg: Leg) -> None:
    app, metrics = make(leg, export_defaults=True)
    request = leg.web.request

    @app.route("/<item_type>")
    @metrics.do_not_track()
    @metrics.counter(
        "invocation_by_type",
        "Number of invocations by type",
        labels={"item_type": lambda: request.view_args["type"]},
    )
    @leg.view
    def by_type(item_type: str) -> str:
        return item_type

    @app.route("/long-running")
    @metrics.gauge("in_progress", "Long running requests in progress")
    @leg.view
    def long_running() -> str:
        return "done"

    @app.route("/status/<int:status>")
    @metrics.do_not_track()
    @metrics.summary(
        "requests_by_status",
        "Request latencies by status",
        labels={"status": lambda r: r.status_code},
    )
    @metrics.histogram(
        "requests_by_status_and_path",
        "Request latencies by status and path",
        labels={"status": lambda r: r.status_code, "path": lambda: request.path},
    )
    @leg.view
    def echo_status(status: int) -> Any:
        leg.clock.advance(0.5)
        return f"Status: {status}", status

    assert leg.get(app, "/tea").text == "tea"
    assert leg.get(app, "/long-running").text == "done"
    for status in (200, 404, 404):
        reply = leg.get(app, f"/status/{status}")
        assert (reply.status, reply.text) == (status, f"Status: {status}")

    registry = leg.registry
    assert samples(registry, "invocation_by_type_total") == [({"item_type": "<error>"}, 1.0)]
    assert samples(registry, "in_progress") == [({}, 0.0)]
    assert samples(registry, "requests_by_status_count") == [
        ({"status": "200"}, 1.0),
        ({"status": "404"}, 2.0),
    ]
    assert samples(registry, "requests_by_status_sum") == [
        ({"status": "200"}, 0.5),
        ({"status": "404"}, 1.0),
    ]
    assert samples(registry, "requests_by_status_and_path_sum") == [
        ({"status": "200", "path": "/status/200"}, 0.5),
        ({"status": "404", "path": "/status/404"}, 1.0),
    ]
    assert samples(registry, "flask_http_request_duration_seconds_count") == [
        ({"method": "GET", "path": "/long-running", "status": "200"}, 1.0)
    ]
    assert leg.get(app, "/metrics").status == 200


def test_metrics_that_are_attached_during_a_request_see_its_labels(leg: Leg) -> None:
    """promweb resolves their labels while the request's context exists."""
    app, _ = make(leg, export_defaults=True)

    @app.route("/late", endpoint="late")
    @leg.view
    def late() -> str:
        labels = {"where": lambda: leg.web.request.path}
        leg.make_metrics(app, path=None, defaults_prefix="late", default_labels=labels)
        return "ok"

    leg.get(app, "/missing")  # with the first request everything has been looked for
    leg.get(app, "/late")
    assert leg.value("late_http_request_total", method="GET", status="200", where="/late") == 1
