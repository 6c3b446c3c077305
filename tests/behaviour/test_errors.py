"""Wrong use raises at construction or decoration; the message says what to write."""

from __future__ import annotations

import asyncio
import inspect
import sys
import types
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import flask
import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from promweb import NO_PREFIX, PrometheusMetrics, __version__
from promweb.core.decorators.remembered import remembered
from promweb.core.options import GROUP_BY
from tests.support.legs import Leg
from tests.support.needs import module

KINDS = ("counter", "gauge", "histogram", "summary")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def app() -> flask.Flask:
    return flask.Flask("shop")


@pytest.fixture
def metrics(registry: CollectorRegistry) -> PrometheusMetrics:
    return PrometheusMetrics.for_app_factory(registry=registry)


def message(error: type[Exception], function: Callable[[], object]) -> str:
    """Return the message of the exception that a call raises; its type is exactly `error`."""
    with pytest.raises(error) as caught:
        function()
    assert caught.type is error
    return str(caught.value)


def assert_mentions(text: str, *parts: str) -> None:
    missing = [part for part in parts if part not in text]
    assert not missing, f"{missing} not in {text!r}"


def name_of(value: object) -> str:
    """Return what a test is called for a value: the same in every process."""
    return str(getattr(value, "__name__", value))


def two(first: object, second: object) -> str:
    return "x"


def one(response: object) -> str:
    return "x"


def none() -> str:
    return "x"


async def later() -> str:
    return "x"


class LaterCallable:
    async def __call__(self, response: object) -> str:
        return "x"


# --- labels of decorators ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [["path"], "path", ("a", "b"), {"a"}, one], ids=name_of)
def test_labels_that_are_no_dictionary(
    metrics: PrometheusMetrics, kind: str, labels: object
) -> None:
    text = message(TypeError, lambda: getattr(metrics, kind)("jobs", "Jobs.", labels=labels))
    assert_mentions(text, "'jobs'", "labels", type(labels).__name__, "labels={'name': value}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("function", "required"),
    [
        (two, "['first', 'second']"),
        (lambda a, b, c=1: "x", "['a', 'b']"),
        (lambda *, key: "x", "['key']"),
        (lambda a, *, key: "x", "['a', 'key']"),
    ],
    ids=["two", "two of three", "keyword", "one and keyword"],
)
def test_label_callable_of_two_arguments(
    metrics: PrometheusMetrics, kind: str, function: object, required: str
) -> None:
    text = message(
        ValueError, lambda: getattr(metrics, kind)("jobs", "Jobs.", labels={"who": function})
    )
    assert_mentions(text, "'jobs'", "'who'", "without arguments or with one", required)


@pytest.mark.parametrize("kind", KINDS)
def test_label_callable_that_cannot_be_inspected(metrics: PrometheusMetrics, kind: str) -> None:
    text = message(ValueError, lambda: getattr(metrics, kind)("jobs", "Jobs.", labels={"who": max}))
    assert_mentions(text, "'jobs'", "'who'", "built-in function max", "lambda response: ...")


@pytest.mark.parametrize(
    "function", [one, lambda response=None: "x", "text".join], ids=["function", "optional", "join"]
)
def test_label_callable_of_one_argument_on_a_gauge(
    metrics: PrometheusMetrics, function: object
) -> None:
    text = message(ValueError, lambda: metrics.gauge("busy", "Busy.", labels={"who": function}))
    assert_mentions(text, "'busy'", "'who'", "gauge is set before there is a response", "lambda")


def test_default_label_callable_of_one_argument_on_a_gauge(registry: CollectorRegistry) -> None:
    metrics = PrometheusMetrics.for_app_factory(registry=registry, default_labels={"who": one})
    text = message(ValueError, lambda: metrics.gauge("busy", "Busy."))
    assert_mentions(text, "'busy'", "'who'", "gauge is set before there is a response")


@pytest.mark.parametrize("kind", KINDS)
def test_coroutine_label_on_flask(metrics: PrometheusMetrics, kind: str) -> None:
    text = message(
        ValueError, lambda: getattr(metrics, kind)("jobs", "Jobs.", labels={"who": later})
    )
    assert_mentions(text, "'jobs'", "'who'", "coroutine", "Flask", "AsyncPrometheusMetrics")


def test_coroutine_callable_object_as_label_on_flask(metrics: PrometheusMetrics) -> None:
    text = message(
        ValueError, lambda: metrics.counter("jobs", "Jobs.", labels={"who": LaterCallable()})
    )
    assert_mentions(text, "'jobs'", "'who'", "coroutine", "Flask")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", ["", "__reserved", 3, None], ids=repr)
def test_invalid_label_name(metrics: PrometheusMetrics, kind: str, label: object) -> None:
    text = message(ValueError, lambda: getattr(metrics, kind)("jobs", "Jobs.", labels={label: "x"}))
    assert_mentions(text, "'jobs'", str(label))


@pytest.mark.parametrize(("kind", "label"), [("histogram", "le"), ("summary", "quantile")])
def test_label_name_that_the_type_needs(metrics: PrometheusMetrics, kind: str, label: str) -> None:
    text = message(ValueError, lambda: getattr(metrics, kind)("jobs", "Jobs.", labels={label: "x"}))
    assert_mentions(text, "'jobs'", label)


# --- definitions of decorators ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["", "\udc80"], ids=ascii)
def test_invalid_metric_name(metrics: PrometheusMetrics, kind: str, name: str) -> None:
    text = message(ValueError, lambda: getattr(metrics, kind)(name, "Jobs."))
    assert_mentions(text, kind, repr(name))


@pytest.mark.parametrize("buckets", [[2, 1], [], [1, 1, float("inf"), 3]], ids=str)
def test_invalid_buckets(metrics: PrometheusMetrics, buckets: list[float]) -> None:
    text = message(ValueError, lambda: metrics.histogram("jobs", "Jobs.", buckets=buckets))
    assert_mentions(text, "histogram 'jobs'", "uckets")


@pytest.mark.parametrize("buckets", [["a", "b"], [None], 5, [1, "x"]], ids=str)
def test_buckets_that_are_no_numbers(metrics: PrometheusMetrics, buckets: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        metrics.histogram("jobs", "Jobs.", buckets=buckets)
    assert_mentions(str(caught.value), "histogram 'jobs'")


def test_invalid_unit(metrics: PrometheusMetrics) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        metrics.counter("jobs", "Jobs.", unit=3)
    assert_mentions(str(caught.value), "counter 'jobs'")


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_keyword_of_a_decorator(metrics: PrometheusMetrics, kind: str) -> None:
    text = message(TypeError, lambda: getattr(metrics, kind)("jobs", "Jobs.", lables={}))
    assert_mentions(text, f"{kind} 'jobs'", "lables")


@pytest.mark.parametrize("keyword", ["registry", "labelnames"])
def test_keywords_that_promweb_gives_itself(metrics: PrometheusMetrics, keyword: str) -> None:
    text = message(TypeError, lambda: metrics.counter("jobs", "Jobs.", **{keyword: None}))
    assert_mentions(text, "counter 'jobs'", keyword)


@pytest.mark.parametrize(
    ("second", "theirs"),
    [
        (lambda m: m.counter("jobs", "Jobs.", labels={"b": 1}), "('b',)"),
        (lambda m: m.counter("jobs", "Jobs.", labels={"a": 1, "b": 1}), "('a', 'b')"),
        (lambda m: m.counter("jobs", "Jobs."), "()"),
        (lambda m: m.gauge("jobs", "Jobs.", labels={"a": 1}), "gauge"),
        (lambda m: m.histogram("jobs", "Jobs.", labels={"a": 1}), "histogram"),
    ],
    ids=["other label", "more labels", "no labels", "gauge", "histogram"],
)
def test_name_reused_with_another_definition(
    metrics: PrometheusMetrics, second: Callable[[PrometheusMetrics], object], theirs: str
) -> None:
    metrics.counter("jobs", "Jobs.", labels={"a": 1})
    text = message(ValueError, lambda: second(metrics))
    assert_mentions(text, "'jobs'", "counter", "('a',)", theirs, "another name")


def test_name_reused_with_other_buckets(metrics: PrometheusMetrics) -> None:
    metrics.histogram("jobs", "Jobs.", buckets=[1, 2])
    text = message(ValueError, lambda: metrics.histogram("jobs", "Jobs.", buckets=[1, 3]))
    assert_mentions(text, "'jobs'", "(1.0, 2.0, inf)", "(1.0, 3.0, inf)", "another name")


def test_default_metrics_reused_with_another_definition(registry: CollectorRegistry) -> None:
    PrometheusMetrics(flask.Flask("one"), registry=registry)
    text = message(
        ValueError,
        lambda: PrometheusMetrics(flask.Flask("two"), registry=registry, group_by="endpoint"),
    )
    assert_mentions(text, "flask_http_request_duration_seconds", "'path'", "'endpoint'", "registry")


@pytest.mark.parametrize("kind", KINDS)
def test_name_taken_by_somebody_else(
    metrics: PrometheusMetrics, registry: CollectorRegistry, kind: str
) -> None:
    Counter("jobs", "Somebody else's.", registry=registry)
    Gauge("jobs_count", "Somebody else's.", registry=registry)
    text = message(ValueError, lambda: getattr(metrics, kind)("jobs", "Jobs."))
    assert_mentions(text, "'jobs'", "already", "did not make", "another name")


def test_failed_definition_leaves_the_registry_as_it_was(
    metrics: PrometheusMetrics, registry: CollectorRegistry
) -> None:
    metrics.counter("jobs", "Jobs.")
    with pytest.raises(ValueError, match="jobs"):
        metrics.gauge("jobs", "Jobs.")
    metrics.counter("jobs", "Jobs.")(none)()
    assert registry.get_sample_value("jobs_total") == 1.0


# --- what decorators decorate -------------------------------------------------------------------


@pytest.mark.parametrize("thing", [None, 3, "text", ["list"]], ids=repr)
@pytest.mark.parametrize("kind", [*KINDS, "do_not_track", "exclude_all_metrics"])
def test_decorating_what_is_not_called(metrics: PrometheusMetrics, kind: str, thing: Any) -> None:
    arguments = ("jobs", "Jobs.") if kind in KINDS else ()
    decorate = getattr(metrics, kind)(*arguments)
    text = message(TypeError, lambda: decorate(thing))
    assert_mentions(text, kind, type(thing).__name__, *map(repr, arguments[:1]))


@pytest.mark.parametrize("kind", [*KINDS, "do_not_track", "exclude_all_metrics"])
def test_decorating_a_class_that_is_no_view(metrics: PrometheusMetrics, kind: str) -> None:
    class Service:
        pass

    arguments = ("jobs", "Jobs.") if kind in KINDS else ()
    decorate = getattr(metrics, kind)(*arguments)
    text = message(TypeError, lambda: decorate(Service))
    assert_mentions(text, kind, "Service", "Decorate its methods", *map(repr, arguments[:1]))


@pytest.mark.parametrize("kind", [*KINDS, "do_not_track", "exclude_all_metrics"])
def test_decorator_without_parentheses(metrics: PrometheusMetrics, kind: str) -> None:
    arguments = "('name', 'description')" if kind in KINDS else "()"
    for decorate in (getattr(metrics, kind), *([] if kind in KINDS else [metrics_class(kind)])):
        text = message(TypeError, lambda: decorate(none))  # noqa: B023
        assert_mentions(text, kind, "'none'", f"write @metrics.{kind}{arguments} above")


def metrics_class(kind: str) -> Any:
    return getattr(PrometheusMetrics, kind)


def test_decorators_show_their_arguments(metrics: PrometheusMetrics) -> None:
    for kind in KINDS:
        assert list(inspect.signature(getattr(metrics, kind)).parameters)[:3] == [
            "name",
            "description",
            "labels",
        ]
    with pytest.raises(TypeError, match="counter 'jobs': missing a required argument"):
        metrics.counter("jobs")  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [None, 3, b"jobs"], ids=repr)
def test_metric_name_that_is_no_text(metrics: PrometheusMetrics, kind: str, name: Any) -> None:
    text = message(TypeError, lambda: getattr(metrics, kind)(name, "Jobs."))
    assert_mentions(text, f"{kind} {name!r}", "must be text")


def test_total_twice(metrics: PrometheusMetrics, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        metrics.counter("jobs_total_total", "Jobs.")
    metrics.counter("runs_total", "Runs.")
    metrics.gauge("x_total_total", "X.")
    assert [record.getMessage() for record in caplog.records] == [
        "counter 'jobs_total_total' ends with _total twice; write 'jobs_total'"
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_registering_a_decorator_that_was_not_made(app: flask.Flask, kind: str) -> None:
    metrics = PrometheusMetrics(app, registry=CollectorRegistry())
    text = message(TypeError, lambda: metrics.register_default(getattr(metrics, kind)))
    assert_mentions(text, f"{kind} itself", f"register_default(metrics.{kind}('name'")


# --- decorators above the route -----------------------------------------------------------------


def above(leg: Leg, *decorators: Callable[[Any], Any]) -> Any:
    """Make an application as factories do, with decorators above a route."""
    app = leg.make_app()
    outer, inner = decorators if len(decorators) == 2 else (lambda function: function, *decorators)
    if leg.async_views:

        @outer
        @inner
        @app.route("/")
        async def index() -> str:
            return "ok"

        return app

    @outer
    @inner
    @app.route("/")
    def index() -> str:
        return "ok"

    return app  # the decorated function is gone


def told(leg: Leg, app: Any, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the first two scrapes log."""
    assert not caplog.records
    assert leg.get(app, "/").text == "ok"
    for _ in range(2):
        assert leg.get(app, "/metrics").status == 200
    return [record.getMessage() for record in caplog.records if record.name == "promweb"]


@pytest.mark.parametrize("kind", [*KINDS, "do_not_track", "exclude_all_metrics"])
def test_a_decorator_above_the_route(leg: Leg, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    metrics = leg.make_metrics(None)
    what = f"{kind} 'jobs'" if kind in KINDS else f"{kind}()"
    app = above(leg, getattr(metrics, kind)(*(("jobs", "Jobs.") if kind in KINDS else ())))
    metrics.init_app(app)
    (text,) = told(leg, app, caplog)
    assert_mentions(
        text,
        f"{what} is above the route of {__name__}.above.<locals>.index",
        "endpoint 'index' has the function without it",
        "Put it below the route decorator",
    )


def test_each_decorator_above_the_route(leg: Leg, caplog: pytest.LogCaptureFixture) -> None:
    metrics = leg.make_metrics(None)
    app = above(leg, metrics.counter("jobs", "Jobs."), metrics.do_not_track())
    metrics.init_app(app)
    assert [text.partition(" is above")[0] for text in told(leg, app, caplog)] == [
        "do_not_track()",
        "counter 'jobs'",
    ]


def test_a_function_of_a_module_that_is_decorated_later(
    leg: Leg, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    view = leg.view(lambda: "ok")
    view.__module__, view.__name__ = __name__, "of_a_module"
    app.add_url_rule("/", "index", view)
    decorated = metrics.counter("jobs", "Jobs.")(view)
    monkeypatch.setitem(globals(), "of_a_module", decorated)
    (text,) = told(leg, app, caplog)
    assert_mentions(text, "counter 'jobs' is above the route", "endpoint 'index'")


def test_decorating_a_function_for_ever_takes_no_memory(leg: Leg) -> None:
    metrics = leg.make_metrics(None)
    count = metrics.counter("jobs", "Jobs.")
    view = leg.view(lambda: "ok")
    for _ in range(100):
        kept = count(view)
    assert len(remembered(view)) < 5
    assert kept is not view


def test_a_factory_without_a_mistake(leg: Leg, caplog: pytest.LogCaptureFixture) -> None:
    def create_app() -> Any:
        app = leg.make_app()
        metrics = leg.make_metrics(app)
        count = metrics.counter("jobs", "Jobs.")

        @count
        def helper() -> str:
            return "ok"

        @app.route("/")
        @metrics.do_not_track()
        @count
        def index() -> str:
            count(index)
            return helper()

        def listed() -> str:
            return "ok"

        app.add_url_rule("/listed", "listed", listed)
        app.add_url_rule("/counted", "counted", count(listed))
        assert count(listed)() == "ok"  # for another use, and gone at once
        return app

    app = create_app()
    assert leg.get(app, "/counted").text == "ok"
    assert told(leg, app, caplog) == []


SAYS = (
    "The route '/items/<int:number>' makes a series for each of its paths, because group_by is "
    "'path' by default. Write group_by=\"url_rule\" to have one series for each route, or "
    'group_by="path" if you want this.'
)


@pytest.mark.parametrize(
    ("rule", "arguments", "said"),
    [
        ("/items/<int:number>", {}, [SAYS]),
        ("/items", {}, []),
        ("/items/<int:number>", {"group_by": "path"}, []),
        ("/items/<int:number>", {"group_by": None}, []),
        ("/items/<int:number>", {"group_by": "url_rule"}, []),
        ("/items/<int:number>", {"group_by_endpoint": False}, []),
        ("/items/<int:number>", {"naming": "otel"}, []),
        ("/items/<int:number>", {"export_defaults": False}, []),
    ],
)
@pytest.mark.filterwarnings("ignore:group_by_endpoint is deprecated")
def test_the_log_says_once_that_paths_are_series_by_default(
    leg: Leg, rule: str, arguments: dict[str, Any], said: list[str], caplog: Any
) -> None:
    app = leg.make_app()  # with a route for static files, which has a variable part as well
    leg.make_metrics(app, **{"group_by": GROUP_BY, **arguments})
    app.add_url_rule(rule, view_func=leg.view(lambda number=1: "an item"))
    leg.get(app, "/items/1")
    assert caplog.messages == []
    for _ in range(2):
        assert leg.get(app, "/metrics").status == 200
    assert caplog.messages == said


def test_decorators_at_their_place_are_not_told(leg: Leg, caplog: pytest.LogCaptureFixture) -> None:
    """Other decorators than the route's do not count, and neither do view classes."""
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    count = metrics.counter("jobs", "Jobs.")

    def view() -> str:
        return "ok"

    plain = leg.view(view)
    app.add_url_rule("/", "below", metrics.do_not_track()(count(plain)))
    app.add_url_rule("/plain", "plain", plain)
    helper = count(plain)  # alive, but not what the name stands for
    streamed = count(generate)
    metrics.register_default(metrics.counter("every", "Every."))

    @count
    class Page(import_module(f"{leg.web.__name__}.views").View):  # type: ignore[misc]
        def dispatch_request(self) -> str:
            return "ok"

    app.add_url_rule("/page", view_func=Page.as_view("page"))
    for path in ("/", "/plain", "/page"):
        assert leg.get(app, path).text == "ok"
    assert leg.get(app, "/metrics").status == 200
    assert [record for record in caplog.records if record.name == "promweb"] == []
    assert helper is not streamed


def generate() -> Any:
    yield "ok"


def test_views_that_cannot_be_looked_at(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    monkeypatch.setattr("promweb.core.mistakes.misplaced", lambda views: 1 / 0)
    for _ in range(2):
        assert leg.get(app, "/metrics").status == 200
    messages = [record.getMessage() for record in caplog.records if record.name == "promweb"]
    assert messages == ["promweb could not look at the views; the request was not affected."]


@pytest.mark.parametrize("thing", [None, "counter", 3], ids=repr)
def test_registering_a_default_that_is_not_callable(
    registry: CollectorRegistry, app: flask.Flask, thing: Any
) -> None:
    metrics = PrometheusMetrics(app, registry=registry)
    count = metrics.counter("jobs", "Jobs.")
    text = message(TypeError, lambda: metrics.register_default(count, thing))
    assert_mentions(text, "register_default", repr(thing), "register_default(metrics.counter(...))")
    app.add_url_rule("/", view_func=lambda: "ok", endpoint="index")
    app.test_client().get("/")
    assert registry.get_sample_value("jobs_total") == 0.0  # none or all


# --- groups -------------------------------------------------------------------------------------


def factory(**kwargs: Any) -> PrometheusMetrics:
    return PrometheusMetrics.for_app_factory(registry=CollectorRegistry(), **kwargs)


def test_lambda_as_group() -> None:
    text = message(ValueError, lambda: factory(group_by=lambda request: "x"))
    assert_mentions(text, "group_by", "invalid label", "'<lambda>'", "def tenant(request)")


def test_nameless_callable_as_group() -> None:
    text = message(ValueError, lambda: factory(group_by=LaterCallable()))
    assert_mentions(text, "group_by", "invalid label", "def tenant(request)")


@pytest.mark.parametrize("name", ["a-b", "a b", "0", "__group", "view.name"])
def test_group_that_is_no_label_name(name: str) -> None:
    text = message(ValueError, lambda: factory(group_by=name))
    assert_mentions(
        text, "group_by", "invalid label", repr(name), "letters, digits and underscores"
    )


def method(request: object) -> str:
    return "x"


@pytest.mark.parametrize("group_by", ["method", "status", method], ids=name_of)
def test_group_with_the_name_of_another_label(group_by: Any) -> None:
    text = message(ValueError, lambda: factory(group_by=group_by))
    name = group_by if isinstance(group_by, str) else "method"
    assert_mentions(text, "group_by", repr(name), "already")


@pytest.mark.parametrize(("function", "required"), [(none, "one argument"), (two, "second")])
def test_group_function_that_cannot_take_the_request(function: Any, required: str) -> None:
    text = message(ValueError, lambda: factory(group_by=function))
    assert_mentions(text, "group_by", function.__name__, required)


@pytest.mark.parametrize("group_by", [3, ["path"], object()], ids=["int", "list", "object"])
def test_group_that_is_neither_name_nor_function(group_by: Any) -> None:
    text = message(TypeError, lambda: factory(group_by=group_by))
    assert_mentions(text, "group_by", repr(group_by), "request attribute", "function")


def test_coroutine_group_on_flask(app: flask.Flask, registry: CollectorRegistry) -> None:
    async def tenant(request: object) -> str:
        return "x"

    text = message(ValueError, lambda: PrometheusMetrics(app, registry=registry, group_by=tenant))
    assert_mentions(text, "tenant", "coroutine", "Flask", "AsyncPrometheusMetrics")


# --- the constructor ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "kwargs"),
    [
        ("method", {}),
        ("status", {}),
        ("path", {}),
        ("endpoint", {"group_by": "endpoint"}),
        ("one", {"group_by": one}),
    ],
)
def test_default_label_that_the_default_metrics_have(
    app: flask.Flask, registry: CollectorRegistry, label: str, kwargs: Any
) -> None:
    text = message(
        ValueError,
        lambda: PrometheusMetrics(app, registry=registry, default_labels={label: "x"}, **kwargs),
    )
    assert_mentions(text, "default_labels", repr(label), "another name")


@pytest.mark.parametrize("label", ["method", "status", "path"])
def test_default_label_collision_is_told_before_there_is_an_app(label: str) -> None:
    text = message(ValueError, lambda: factory(default_labels={label: "x"}))
    assert_mentions(text, "default_labels", repr(label), "another name")


@pytest.mark.parametrize("label", ["", "__x", "\udc80", 3], ids=ascii)
def test_default_label_with_an_invalid_name(label: Any) -> None:
    text = message(ValueError, lambda: factory(default_labels={label: "x"}))
    assert_mentions(text, "default_labels", "invalid label name", repr(label), "letters, digits")


@pytest.mark.parametrize("labels", [["tier"], "tier", 3], ids=repr)
def test_default_labels_that_are_no_dictionary(labels: Any) -> None:
    text = message(TypeError, lambda: factory(default_labels=labels))
    assert_mentions(text, "default_labels", "dictionary", type(labels).__name__)


@pytest.mark.parametrize("function", [two, max, later], ids=["two", "max", "coroutine"])
def test_default_label_callable_that_cannot_work(
    app: flask.Flask, registry: CollectorRegistry, function: Any
) -> None:
    text = message(
        ValueError,
        lambda: PrometheusMetrics(app, registry=registry, default_labels={"who": function}),
    )
    assert_mentions(text, "'who'")


@pytest.mark.parametrize("value", [0, -1, 1.5, "10", None, True], ids=repr)
def test_max_series_that_is_no_positive_whole_number(value: Any) -> None:
    text = message(ValueError, lambda: factory(max_series=value))
    assert_mentions(text, f"max_series={value!r}", "at least 1")


@pytest.mark.parametrize("paths", ["(", ["/ok", "["]], ids=repr)
def test_excluded_path_that_is_no_regular_expression(paths: Any) -> None:
    text = message(ValueError, lambda: factory(excluded_paths=paths))
    assert_mentions(text, "excluded_paths", repr(paths[-1]), "regular expression")


@pytest.mark.parametrize("paths", [3, [3], [None]], ids=repr)
def test_excluded_path_that_is_no_text(paths: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        factory(excluded_paths=paths)
    assert_mentions(str(caught.value), "excluded_paths")


@pytest.mark.parametrize("buckets", [[2, 1], []], ids=repr)
def test_default_buckets_that_cannot_work(
    app: flask.Flask, registry: CollectorRegistry, buckets: Any
) -> None:
    text = message(ValueError, lambda: PrometheusMetrics(app, registry=registry, buckets=buckets))
    assert_mentions(text, f"buckets={buckets!r}", "as in buckets=(")


@pytest.mark.parametrize("path", ["metrics", "metrics/live"])
def test_path_without_a_slash(app: flask.Flask, path: str) -> None:
    metrics = PrometheusMetrics(app, registry=CollectorRegistry())
    for give in (
        lambda: factory(path=path),
        lambda: metrics.register_endpoint(path),
        lambda: metrics.register_dashboard(path),
        lambda: metrics.start_http_server(0, endpoint=path),
    ):
        assert_mentions(message(ValueError, give), f"path={path!r}", f"write '/{path}'")


def test_path_that_is_no_text() -> None:
    text = message(TypeError, lambda: factory(path=9100))
    assert_mentions(text, "path=9100", "'/metrics'", "None")


def test_registry_that_is_none() -> None:
    for wrong in ("default", CollectorRegistry, prometheus_client):
        text = message(TypeError, lambda: PrometheusMetrics(None, registry=wrong))  # type: ignore[arg-type]  # noqa: B023
        assert_mentions(text, "registry=", repr(wrong), "registry=CollectorRegistry()")


def test_metrics_decorator_that_is_none(app: flask.Flask) -> None:
    text = message(TypeError, lambda: factory(metrics_decorator="login"))
    assert_mentions(text, "metrics_decorator='login'", "must be a decorator")
    text = message(
        TypeError,
        lambda: PrometheusMetrics(
            app, registry=CollectorRegistry(), metrics_decorator=lambda view: None
        ),
    )
    assert_mentions(text, "metrics_decorator=", "returned None")


@pytest.mark.parametrize("prefix", [3, ["flask"], True], ids=repr)
def test_prefix_that_is_no_text(prefix: Any) -> None:
    text = message(TypeError, lambda: factory(defaults_prefix=prefix))
    assert_mentions(text, f"defaults_prefix={prefix!r}", "must be text", "NO_PREFIX")


def test_prefix_with_an_underscore_at_its_end(
    app: flask.Flask, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """It works, because those who had it before have dashboards with such names."""
    PrometheusMetrics(app, registry=registry, defaults_prefix="shop_")
    assert registry.get_sample_value("shop__exporter_info", {"version": __version__}) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "defaults_prefix='shop_' ends with an underscore, and promweb adds another: the names "
        "begin with 'shop__'. Write 'shop' to have only one."
    ]


def test_attaching_after_the_first_request(leg: Leg) -> None:
    app = leg.make_app()
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    leg.get(app, "/")
    metrics = leg.make_metrics(None)
    if leg.name.startswith("flask"):
        text = message(RuntimeError, lambda: metrics.init_app(app))
        assert_mentions(text, "path='/metrics'", "served a request", "before", "path=None")
        leg.make_metrics(app, path=None)
    else:
        metrics.init_app(app)
    leg.get(app, "/")
    assert leg.value("flask_http_request_total", method="GET", status="200") == 1


@pytest.mark.parametrize("create", [lambda **kw: PrometheusMetrics(None, **kw), factory])
def test_unknown_constructor_keyword(create: Callable[..., object]) -> None:
    text = message(TypeError, lambda: create(exclude_paths="/x"))
    assert text == (
        "PrometheusMetrics: there is no argument 'exclude_paths'; did you mean 'excluded_paths'?"
    )


def test_something_that_is_no_application() -> None:
    text = message(TypeError, lambda: PrometheusMetrics(object(), registry=CollectorRegistry()))
    assert_mentions(text, "Flask application", "object", "for Quart use AsyncPrometheusMetrics")


def make_shop() -> flask.Flask:
    return flask.Flask("shop")


def of(module: str, name: str) -> object:
    """Return an object of a class with a name and a module."""
    return type(name, (), {"__module__": module})()


MISTAKEN_APPS = [
    (None, ["not None", "for_app_factory()", "init_app(app)"]),
    (types.ModuleType("shop"), ["the module 'shop'", "shop.app"]),
    (sys.modules[__name__], [f"the module {__name__!r}", f"{__name__}.SHOP"]),
    (flask.Flask, ["the class Flask", "(__name__)"]),
    (make_shop, ["the function 'make_shop'", "call it"]),
    (make_shop().wsgi_app, ["the method 'wsgi_app'", "the application itself"]),
    ("shop:app", ["the text 'shop:app'", "the object itself"]),
    (of("fastapi.applications", "FastAPI"), ["FastAPI of fastapi", "measures Flask and Quart"]),
    (of("starlette.applications", "Starlette"), ["Starlette of starlette"]),
    (of("django.core.handlers.wsgi", "WSGIHandler"), ["WSGIHandler of django"]),
    (of("connexion.apps.flask", "FlaskApp"), ["FlaskApp", "use ConnexionPrometheusMetrics"]),
    (flask.current_app, ["LocalProxy outside", "the application itself"]),
]
SHOP = make_shop()


@pytest.mark.parametrize(("wrong", "parts"), MISTAKEN_APPS, ids=lambda value: type(value).__name__)
def test_something_else_in_place_of_an_application(leg: Leg, wrong: Any, parts: list[str]) -> None:
    metrics = leg.make_metrics(None)
    text = message(TypeError, lambda: metrics.init_app(wrong))
    framework = "Flask" if leg.name.startswith("flask") else "Quart"
    if isinstance(wrong, types.ModuleType) and framework == "Quart":
        parts = parts[:1]
    assert_mentions(text, f"measures a {framework} application, not", *parts)


def test_a_proxy_of_the_application_is_the_application(leg: Leg) -> None:
    app = leg.make_app()

    async def attach() -> None:
        async with app.app_context():
            leg.make_metrics(leg.web.current_app)

    if leg.name.startswith("flask"):
        with app.app_context():
            leg.make_metrics(leg.web.current_app)
    else:
        asyncio.run(attach())
    assert app.extensions["promweb"].app is app
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    leg.get(app, "/")
    assert leg.value("flask_http_request_total", method="GET", status="200") == 1


def test_quart_application_for_flask() -> None:
    quart = module("quart")
    app = quart.Quart("shop")
    text = message(TypeError, lambda: PrometheusMetrics(app, registry=CollectorRegistry()))
    assert_mentions(text, "Flask application", "Quart", "AsyncPrometheusMetrics")


def test_flask_application_for_quart() -> None:
    module("quart")
    from promweb import AsyncPrometheusMetrics

    app = flask.Flask("shop")
    text = message(TypeError, lambda: AsyncPrometheusMetrics(app, registry=CollectorRegistry()))
    assert_mentions(text, "Quart application", "Flask", "use PrometheusMetrics")


@pytest.mark.parametrize(
    "call",
    [
        lambda metrics: metrics.register_endpoint("/metrics"),
        lambda metrics: metrics.register_default(none),
        lambda metrics: metrics.export_defaults(),
    ],
    ids=["register_endpoint", "register_default", "export_defaults"],
)
def test_no_application_and_no_context(
    metrics: PrometheusMetrics, call: Callable[[PrometheusMetrics], object]
) -> None:
    text = message(RuntimeError, lambda: call(metrics))
    assert_mentions(text, "no application", "app=", "app.app_context()")


def test_path_that_serves_another_registry(app: flask.Flask) -> None:
    PrometheusMetrics(app, registry=CollectorRegistry())
    text = message(ValueError, lambda: PrometheusMetrics(app, registry=CollectorRegistry()))
    assert_mentions(text, "path='/metrics'", "another registry", "another path")


def test_path_of_an_endpoint_that_serves_another_registry(app: flask.Flask) -> None:
    PrometheusMetrics(app, registry=CollectorRegistry())
    other = PrometheusMetrics(app, path="/other", registry=CollectorRegistry())
    text = message(ValueError, lambda: other.register_endpoint("/metrics"))
    assert_mentions(text, "path='/metrics'", "another registry")


# --- info ---------------------------------------------------------------------------------------


def test_info_labels_given_twice(metrics: PrometheusMetrics) -> None:
    text = message(ValueError, lambda: metrics.info("app", "App.", ["a"], ["1"], b="2"))
    assert_mentions(text, "info 'app'", "labelnames and labelvalues", "not both")


def test_info_with_more_names_than_values(metrics: PrometheusMetrics) -> None:
    text = message(ValueError, lambda: metrics.info("app", "App.", ["a", "b"], ["1"]))
    assert_mentions(text, "info 'app'", "2 labelnames", "1 labelvalues")


def test_info_reused_with_other_labels(metrics: PrometheusMetrics) -> None:
    metrics.info("app", "App.", a="1")
    text = message(ValueError, lambda: metrics.info("app", "App.", b="1"))
    assert_mentions(text, "info 'app'", "('a',)", "('b',)", "another name")


def test_info_name_taken_by_a_decorator(metrics: PrometheusMetrics) -> None:
    metrics.gauge("app", "App.")
    text = message(ValueError, lambda: metrics.info("app", "App.", b="1"))
    assert_mentions(text, "info 'app'", "already", "another name")


def test_decorator_name_taken_by_an_info(metrics: PrometheusMetrics) -> None:
    metrics.info("app", "App.", b="1")
    text = message(ValueError, lambda: metrics.gauge("app", "App."))
    assert_mentions(text, "gauge 'app'", "already", "another name")


@pytest.mark.parametrize(("name", "label"), [("", "a"), ("app", "__a")])
def test_info_with_an_invalid_name(metrics: PrometheusMetrics, name: str, label: str) -> None:
    text = message(ValueError, lambda: metrics.info(name, "App.", **{label: "1"}))
    assert_mentions(text, f"info {name!r}")


# --- deprecated arguments -----------------------------------------------------------------------


def test_static_labels_warn_and_work(app: flask.Flask, registry: CollectorRegistry) -> None:
    with pytest.warns(DeprecationWarning, match="default_labels") as caught:
        metrics = PrometheusMetrics(
            app,
            registry=registry,
            static_labels={"tier": "old", "zone": "a"},
            default_labels={"tier": "new"},
        )
    assert_mentions(str(caught[0].message), "static_labels", "deprecated")
    assert [warning.filename for warning in caught] == [__file__]
    assert metrics.default_labels == {"tier": "new", "zone": "a"}
    metrics.counter("jobs", "Jobs.")(none)()
    assert registry.get_sample_value("jobs_total", {"tier": "new", "zone": "a"}) == 1.0


@pytest.mark.parametrize(("flag", "expected"), [(True, "endpoint"), (False, "path")])
def test_group_by_endpoint_warns_and_works(
    app: flask.Flask, registry: CollectorRegistry, flag: bool, expected: str
) -> None:
    with pytest.warns(DeprecationWarning, match="group_by='endpoint'") as caught:
        metrics = PrometheusMetrics(app, registry=registry, group_by_endpoint=flag)
    assert_mentions(str(caught[0].message), "group_by_endpoint", "deprecated")
    assert [warning.filename for warning in caught] == [__file__]
    assert metrics.group_by == expected
    app.add_url_rule("/", view_func=lambda: "ok", endpoint="index")
    app.test_client().get("/")
    labels = {"method": "GET", "status": "200", expected: "index" if flag else "/"}
    name = "flask_http_request_duration_seconds_count"
    assert registry.get_sample_value(name, labels) == 1.0


def test_group_by_endpoint_of_export_defaults_warns_and_works(
    app: flask.Flask, registry: CollectorRegistry
) -> None:
    metrics = PrometheusMetrics(app, registry=registry, export_defaults=False)
    with pytest.warns(DeprecationWarning, match="group_by='endpoint'") as caught:
        metrics.export_defaults(group_by_endpoint=True)
    assert [warning.filename for warning in caught] == [__file__]
    app.test_client().get("/nowhere")
    labels = {"method": "GET", "status": "404", "endpoint": "<unmatched>"}
    name = "flask_http_request_duration_seconds_count"
    assert registry.get_sample_value(name, labels) == 1.0


def test_nothing_warns_without_deprecated_arguments(app: flask.Flask) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        PrometheusMetrics(app, registry=CollectorRegistry(), default_labels={"tier": "web"})
    assert caught == []


# --- reading arguments back ---------------------------------------------------------------------


def convert(value: object) -> object:
    return value


ARGUMENTS = {
    "path": "/prom",
    "export_defaults": False,
    "defaults_prefix": "shop",
    "group_by": "endpoint",
    "buckets": (1, 2),
    "default_latency_as_histogram": False,
    "default_labels": {"tier": "web"},
    "response_converter": convert,
    "excluded_paths": ["/a", "/b"],
    "exclude_user_defaults": False,
    "metrics_decorator": convert,
    "registry": CollectorRegistry(),
    "max_series": 7,
    "in_progress": True,
    "request_size": True,
    "response_size": True,
    "response_start": True,
    "websockets": False,
    "status_classes": True,
}


def read_back(metrics: PrometheusMetrics, name: str) -> object:
    return getattr(metrics, "_export_defaults" if name == "export_defaults" else name)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_read_back_under_their_names(app: flask.Flask, name: str) -> None:
    arguments = {"registry": CollectorRegistry(), name: ARGUMENTS[name]}
    metrics = PrometheusMetrics(app, **arguments)
    assert metrics.app is app
    assert read_back(metrics, name) == ARGUMENTS[name]


def test_defaults_read_back(app: flask.Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    metrics = PrometheusMetrics(app)
    assert {name: read_back(metrics, name) for name in ARGUMENTS} == {
        "path": "/metrics",
        "export_defaults": True,
        "defaults_prefix": "flask",
        "group_by": "path",
        "buckets": None,
        "default_latency_as_histogram": True,
        "default_labels": {},
        "response_converter": None,
        "excluded_paths": None,
        "exclude_user_defaults": True,
        "metrics_decorator": None,
        "registry": registry,
        "max_series": 1000,
        "in_progress": False,
        "request_size": False,
        "response_size": False,
        "response_start": False,
        "websockets": True,
        "status_classes": False,
    }


def test_arguments_may_be_positional_in_the_documented_order(app: flask.Flask) -> None:
    positional = list(ARGUMENTS)[: list(ARGUMENTS).index("max_series")]
    metrics = PrometheusMetrics(app, *(ARGUMENTS[name] for name in positional))
    assert {name: read_back(metrics, name) for name in positional} == {
        name: ARGUMENTS[name] for name in positional
    }
    with pytest.raises(TypeError):
        PrometheusMetrics(app, *(ARGUMENTS[name] for name in positional), 7)


@pytest.mark.parametrize(
    ("prefix", "expected"), [(NO_PREFIX, ""), ("shop", "shop_"), ("flask", "flask_")]
)
def test_prefix_of_the_default_metrics(
    app: flask.Flask, registry: CollectorRegistry, prefix: str, expected: str
) -> None:
    PrometheusMetrics(app, registry=registry, defaults_prefix=prefix)
    assert {metric.name for metric in registry.collect()} == {
        f"{expected}http_request_duration_seconds",
        f"{expected}http_request",
        f"{expected}http_request_exceptions",
        f"{expected}exporter_info",
    }
