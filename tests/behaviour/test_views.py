"""Every kind of view is measured, decorated and left out alike."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from tests.support.legs import Leg
from tests.support.recorded import Done, expected, labels, samples
from tests.support.views import VIEW, answer, plain


def method(leg: Leg) -> Callable[..., Any]:
    def view(self: Any, **kwargs: Any) -> Any:
        return answer(leg)

    return leg.view(view)


def nothing(view: Any) -> Any:
    return view


def add_function(leg: Leg, app: Any, decorate: Any) -> None:
    app.add_url_rule("/kind", "kind", decorate(plain(leg)))


def add_route(leg: Leg, app: Any, decorate: Any) -> None:
    app.get("/kind")(decorate(plain(leg)))


def add_blueprint(leg: Leg, app: Any, decorate: Any) -> None:
    blueprint = leg.web.Blueprint("b", "shop", url_prefix="/kind")
    blueprint.get("")(decorate(plain(leg)))
    app.register_blueprint(blueprint)


def add_nested_blueprint(leg: Leg, app: Any, decorate: Any) -> None:
    inner = leg.web.Blueprint("inner", "shop")
    inner.get("/kind")(decorate(plain(leg)))
    outer = leg.web.Blueprint("outer", "shop")
    outer.register_blueprint(inner)
    app.register_blueprint(outer)


def views(leg: Leg) -> Any:
    return import_module(f"{leg.web.__name__}.views")


def add_view_class(leg: Leg, app: Any, decorate: Any) -> None:
    cls = type("Kind", (views(leg).View,), {"dispatch_request": method(leg)})
    app.add_url_rule("/kind", view_func=decorate(cls).as_view("kind"))


def add_view_class_that_is_made_once(leg: Leg, app: Any, decorate: Any) -> None:
    members = {"dispatch_request": decorate(method(leg)), "init_every_request": False}
    cls = type("Kind", (views(leg).View,), members)
    app.add_url_rule("/kind", view_func=cls.as_view("kind"))


def add_view_class_with_decorators(leg: Leg, app: Any, decorate: Any) -> None:
    members = {"dispatch_request": method(leg), "decorators": [decorate]}
    cls = type("Kind", (views(leg).View,), members)
    app.add_url_rule("/kind", view_func=cls.as_view("kind"))


def add_method_view(leg: Leg, app: Any, decorate: Any) -> None:
    cls = type("Kind", (views(leg).MethodView,), {"get": decorate(method(leg))})
    app.add_url_rule("/kind", view_func=cls.as_view("kind"))


def add_method_view_class(leg: Leg, app: Any, decorate: Any) -> None:
    cls = decorate(type("Kind", (views(leg).MethodView,), {"get": method(leg)}))
    app.add_url_rule("/kind", view_func=cls.as_view("kind"))


def add_inherited_method_view(leg: Leg, app: Any, decorate: Any) -> None:
    base = type("Base", (views(leg).MethodView,), {"get": decorate(method(leg))})
    app.add_url_rule("/kind", view_func=type("Kind", (base,), {}).as_view("kind"))


def add_bound_method(leg: Leg, app: Any, decorate: Any) -> None:
    owner = type("Owner", (), {"view": method(leg)})()
    app.add_url_rule("/kind", "kind", decorate(owner.view))


def add_partial(leg: Leg, app: Any, decorate: Any) -> None:
    app.add_url_rule("/kind", "kind", decorate(functools.partial(plain(leg), extra=1)))


def add_partial_of_a_decorated_view(leg: Leg, app: Any, decorate: Any) -> None:
    app.add_url_rule("/kind", "kind", functools.partial(decorate(plain(leg)), extra=1))


def add_callable_object(leg: Leg, app: Any, decorate: Any) -> None:
    """Neither framework supports a view whose `__call__` is a coroutine function."""
    owner = type("Owner", (), {"__call__": lambda self: answer(leg)})()
    app.add_url_rule("/kind", "kind", decorate(owner))


def add_view_below_another_decorator(leg: Leg, app: Any, decorate: Any) -> None:
    decorated = decorate(plain(leg))

    @functools.wraps(decorated)
    def other() -> Any:
        return decorated()

    @functools.wraps(decorated)
    async def other_async() -> Any:
        return await decorated()

    app.add_url_rule("/kind", "kind", other_async if leg.async_views else other)


def add_host_route(leg: Leg, app: Any, decorate: Any) -> None:
    app.url_map.host_matching = True
    app.add_url_rule("/kind", "kind", decorate(plain(leg)), host="localhost")
    app.add_url_rule("/kind", "else", plain(leg), host="elsewhere")


def add_generator(leg: Leg, app: Any, decorate: Any) -> None:
    def view() -> Any:
        leg.clock.advance(VIEW)
        yield "tea"

    app.add_url_rule("/kind", "kind", decorate(view))
    app.after_request(functools.partial(_with_status, 202))


def _with_status(status: int, response: Any) -> Any:
    response.status_code = status
    return response


KINDS = {name[4:]: value for name, value in dict(globals()).items() if name.startswith("add_")}
DONE = Done("GET", "/kind", 202, VIEW)


@pytest.fixture(params=KINDS)
def add(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return what routes `/kind` to a kind of view, decorated."""
    return KINDS[request.param]


def test_every_kind_of_view_is_recorded(leg: Leg, add: Any) -> None:
    app = leg.make_app(static_folder=None)
    leg.make_metrics(app)
    add(leg, app, nothing)
    reply = leg.get(app, "/kind")
    assert (reply.status, reply.text) == (202, "tea")
    assert samples(leg.registry) == expected(DONE)


def test_decorators_see_the_final_response_of_every_kind_of_view(leg: Leg, add: Any) -> None:
    app = leg.make_app(static_folder=None)
    metrics = leg.make_metrics(app)
    by_status = {"code": lambda response: response.status_code}
    seconds = metrics.histogram("seconds", "Seconds.", by_status)
    calls = metrics.counter("calls", "Calls.", by_status)
    busy = metrics.gauge("busy", "Busy.", {"path": lambda: leg.web.request.path})
    add(leg, app, lambda view: busy(calls(seconds(view))))
    assert leg.get(app, "/kind").text == "tea"
    assert samples(leg.registry) == {
        **expected(DONE),
        "calls_total": {labels(code="202"): 1.0},
        "seconds_count": {labels(code="202"): 1.0},
        "seconds_sum": {labels(code="202"): VIEW},
        "busy": {labels(path="/kind"): 0.0},
    }


def test_do_not_track_leaves_only_the_decorators(leg: Leg, add: Any) -> None:
    app = leg.make_app(static_folder=None)
    metrics = leg.make_metrics(app, in_progress=True)
    calls = metrics.counter("calls", "Calls.")
    add(leg, app, lambda view: metrics.do_not_track()(calls(view)))
    assert leg.get(app, "/kind").text == "tea"
    found = samples(leg.registry)
    assert set(found.pop("flask_http_requests_in_progress", {}).values()) <= {0.0}
    assert found == {"calls_total": {labels(): 1.0}}


@pytest.mark.parametrize("outermost", [True, False])
def test_exclude_all_metrics_leaves_nothing(leg: Leg, add: Any, outermost: bool) -> None:
    app = leg.make_app(static_folder=None)
    metrics = leg.make_metrics(app)
    calls = metrics.counter("calls", "Calls.", {"code": lambda response: response.status_code})
    exclude = metrics.exclude_all_metrics()
    wrappers = [exclude, calls] if outermost else [calls, exclude]
    add(leg, app, lambda view: wrappers[0](wrappers[1](view)))
    assert leg.get(app, "/kind").text == "tea"
    assert samples(leg.registry) == {}


@pytest.mark.parametrize("excluded", [True, False])
def test_exclude_all_metrics_covers_what_the_view_calls(leg: Leg, excluded: bool) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    helper = metrics.counter("calls", "Calls.")(lambda number: str(number))
    view = leg.view(lambda: helper(5))
    app.add_url_rule("/", "view", metrics.exclude_all_metrics()(view) if excluded else view)
    assert leg.get(app, "/").text == "5"
    done = {**expected(Done("GET", "/", 200)), "calls_total": {labels(): 1.0}}
    assert samples(leg.registry) == ({"calls_total": {labels(): 0.0}} if excluded else done)


def test_register_default_covers_every_kind_of_view(leg: Leg, add: Any) -> None:
    app = leg.make_app(static_folder=None)
    metrics = leg.make_metrics(app)
    by_status = {"code": lambda response: response.status_code}
    metrics.register_default(metrics.counter("calls", "Calls.", by_status))
    add(leg, app, nothing)
    for _ in range(2):
        assert leg.get(app, "/kind").text == "tea"
    calls = {"calls_total": {labels(code="202"): 2.0}}
    assert samples(leg.registry) == {**expected(DONE, DONE), **calls}


def test_register_default_covers_routes_added_before_and_after(leg: Leg, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("text")
    app = leg.make_app(static_folder=tmp_path, static_url_path="/static")
    metrics = leg.make_metrics(app)
    app.add_url_rule("/before", "before", plain(leg))
    by_path = {"path": lambda: leg.web.request.path}
    metrics.register_default(
        metrics.counter("calls", "Calls.", by_path), metrics.counter("more", "More.")
    )
    app.add_url_rule("/after", "after", plain(leg))
    paths = ["/before", "/after", "/static/file", "/metrics", "/none", "/before"]
    assert [leg.get(app, path).status for path in paths] == [202, 202, 200, 200, 404, 202]
    assert samples(leg.registry) == {
        **expected(
            Done("GET", "/before", 202, VIEW),
            Done("GET", "/after", 202, VIEW),
            Done("GET", "/static/file", 200),
            Done("GET", "<unmatched>", 404),
            Done("GET", "/before", 202, VIEW),
        ),
        "calls_total": {
            labels(path="/before"): 2.0,
            labels(path="/after"): 1.0,
            labels(path="/static/file"): 1.0,
        },
        "more_total": {labels(): 4.0},
    }


def test_register_default_covers_a_view_that_was_replaced(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    metrics.register_default(metrics.counter("calls", "Calls."))
    app.add_url_rule("/", "view", plain(leg))
    leg.get(app, "/")
    app.view_functions["view"] = plain(leg)
    leg.get(app, "/")
    leg.get(app, "/")
    assert leg.value("calls_total") == 3


def test_register_default_can_be_called_again(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    app.add_url_rule("/", "view", plain(leg))
    metrics.register_default(metrics.counter("first", "First."))
    leg.get(app, "/")
    metrics.register_default(metrics.counter("second", "Second."))
    leg.get(app, "/")
    assert (leg.value("first_total"), leg.value("second_total")) == (2, 1)


def test_register_default_is_for_one_application(leg: Leg) -> None:
    one, two = leg.make_app(), leg.make_app()
    metrics = leg.make_metrics(None)
    metrics.init_app(one)
    metrics.init_app(two)
    metrics.register_default(metrics.counter("calls", "Calls."), app=two)
    for app in (one, two):
        app.add_url_rule("/", "view", plain(leg))
        leg.get(app, "/")
    assert leg.value("calls_total") == 1


def test_register_default_needs_decorators(leg: Leg) -> None:
    metrics = leg.make_metrics(leg.make_app())
    with pytest.raises(TypeError, match="decorators"):
        metrics.register_default("calls")


def test_static_files_are_recorded(leg: Leg, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("text")
    app = leg.make_app(static_folder=tmp_path, static_url_path="/static")
    leg.make_metrics(app, response_size=True, group_by="endpoint")
    reply = leg.get(app, "/static/file")
    assert (reply.status, reply.text) == (200, "text")
    etag = {"If-None-Match": reply.headers["ETag"]}
    assert leg.get(app, "/static/file", headers=etag).status == 304
    assert leg.get(app, "/static/file", headers={"Range": "bytes=1-2"}).text == "ex"
    assert leg.get(app, "/static/none").status == 404
    found = samples(leg.registry)
    sizes = found.pop("flask_http_response_size_bytes_sum")
    assert {dict(key)["status"]: size for key, size in sizes.items() if size < 100} == {
        "200": 4.0,
        "206": 2.0,
        "304": 0.0,
    }
    del found["flask_http_response_size_bytes_count"]
    statuses = (200, 304, 206, 404)
    done = [Done("GET", "static", status) for status in statuses]
    assert found == expected(*done, by="endpoint")


def test_a_view_that_calls_a_counted_helper_of_the_same_metric(leg: Leg) -> None:
    """The view's label is the response's, the helper's its return value's."""
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    counter = metrics.counter("calls", "Calls.", {"of": lambda outcome: type(outcome).__name__})

    @counter
    def helper() -> int:
        return 5

    app.add_url_rule("/", "view", counter(leg.view(lambda: str(helper()))))
    assert leg.get(app, "/").text == "5"
    response = leg.web.Response.__name__
    assert samples(leg.registry) == {
        **expected(Done("GET", "/", 200)),
        "calls_total": {labels(of="int"): 1.0, labels(of=response): 1.0},
    }
