"""Views that only Flask has: RESTful resources, files, mounted applications, proxies."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import flask
import pytest
from flask_restful import Api, Resource, abort
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from promweb import RESTfulPrometheusMetrics
from promweb.labels import exception_type
from tests.support.legs import LEGS, Leg
from tests.support.recorded import Done, expected, labels, samples


def by_status(response: Any) -> int:
    assert isinstance(response, flask.Response)
    return response.status_code


@pytest.mark.parametrize("lazily", [True, False])
def test_stream_with_context(leg: Leg, lazily: bool) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)
    seconds = metrics.histogram("seconds", "Seconds.", {"path": lambda: flask.request.path})

    @seconds
    def body() -> Iterator[str]:
        for _ in range(3):
            leg.clock.advance(0.25)
            yield flask.request.path

    @app.get("/file")
    def view() -> Any:
        leg.clock.advance(0.5)
        streamed = flask.stream_with_context(body if lazily else body())
        return flask.Response(streamed() if lazily else streamed, 203)

    assert leg.get(app, "/file").text == "/file/file/file"
    assert samples(leg.registry) == {
        **expected(Done("GET", "/file", 203, 1.25), in_progress=True),
        "seconds_count": {labels(path="/file"): 1.0},
        "seconds_sum": {labels(path="/file"): 0.75},
    }


def test_view_that_returns_a_decorated_generator(leg: Leg) -> None:
    """The generator is not a view: its label is the path, its time ends at its last item."""
    app = leg.make_app()
    metrics = leg.make_metrics(app)

    @metrics.summary("seconds", "Seconds.")
    def body() -> Iterator[str]:
        leg.clock.advance(0.25)
        yield "x"
        leg.clock.advance(0.5)

    app.add_url_rule("/", "view", body)
    app.add_url_rule("/wrapped", "wrapped", lambda: body())
    for path in ("/", "/wrapped"):
        assert leg.get(app, path).text == "x"
    assert samples(leg.registry) == {
        **expected(Done("GET", "/", 200, 0.75), Done("GET", "/wrapped", 200, 0.75)),
        "seconds_count": {labels(): 2.0},
        "seconds_sum": {labels(): 1.5},
    }


@pytest.mark.parametrize("source", ["path", "bytes", "directory"])
@pytest.mark.parametrize(
    ("verb", "headers", "status", "size"),
    [
        ("GET", {}, 200, 20000),
        ("HEAD", {}, 200, 0),
        ("GET", {"Range": "bytes=10-14"}, 206, 5),
        ("GET", {"If-None-Match": '"tag"'}, 304, 0),
    ],
    ids=["get", "head", "range", "unchanged"],
)
def test_send_file(
    leg: Leg, tmp_path: Any, source: str, verb: str, headers: Any, status: int, size: int
) -> None:
    content = b"x" * 20000
    (tmp_path / "file").write_bytes(content)
    app = leg.make_app()
    leg.make_metrics(app, response_size=True, in_progress=True)

    @app.get("/")
    def view() -> Any:
        leg.clock.advance(0.25)
        options: dict[str, Any] = {"conditional": True, "etag": "tag", "mimetype": "text/plain"}
        if source == "directory":
            return flask.send_from_directory(tmp_path, "file", **options)
        file = tmp_path / "file" if source == "path" else io.BytesIO(content)
        return flask.send_file(file, **options)

    reply = leg.request(app, "/", verb, headers=headers)
    assert (reply.status, len(reply.data)) == (status, size)
    key = labels(method=verb, path="/", status=str(status))
    assert samples(leg.registry) == {
        **expected(Done(verb, "/", status, 0.25), in_progress=True),
        "flask_http_response_size_bytes_count": {key: 1.0},
        "flask_http_response_size_bytes_sum": {key: size},
    }


@pytest.fixture(params=["metrics first", "api first", "RESTful class"])
def shop(request: pytest.FixtureRequest, leg: Leg) -> tuple[Any, Any, Any]:
    """Return an application, its metrics and its Flask-RESTful API."""
    app = leg.make_app()
    if request.param == "metrics first":
        metrics = leg.make_metrics(app)
        return app, metrics, Api(app)
    api = Api(app)
    if request.param == "api first":
        return app, leg.make_metrics(app), api
    cls = type("Metrics", (RESTfulPrometheusMetrics,), {"clock": staticmethod(leg.clock)})
    metrics = cls.for_app_factory(registry=leg.registry)
    metrics.init_app(app, api)
    assert metrics.api is api
    return app, metrics, api


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (lambda: {"id": 7}, 200),
        (lambda: ({"id": 7}, 201), 201),
        (lambda: ({"id": 7}, 202, {"X-Id": "7"}), 202),
        (lambda: flask.Response("tea", 418), 418),
        (lambda: abort(404, message="none"), 404),
        (lambda: flask.abort(403), 403),
    ],
    ids=["dict", "pair", "triple", "response", "restful-abort", "abort"],
)
@pytest.mark.parametrize("where", ["method", "method_decorators", "by method", "class"])
def test_resource_labels_see_the_final_response(
    leg: Leg, shop: Any, answer: Any, status: int, where: str
) -> None:
    app, metrics, api = shop
    counter = metrics.counter("calls", "Calls.", {"code": by_status})

    class Item(Resource):
        def get(self) -> Any:
            leg.clock.advance(0.25)
            return answer()

    if where == "method":
        Item.get = counter(Item.get)
    elif where == "class":
        Item = counter(Item)
    else:
        Item.method_decorators = [counter] if where == "method_decorators" else {"get": [counter]}
    api.add_resource(Item, "/item")
    for _ in range(2):
        assert leg.get(app, "/item").status == status
    done = Done("GET", "/item", status, 0.25)
    found = {"calls_total": {labels(code=str(status)): 2.0}}
    assert samples(leg.registry) == {**expected(done, done), **found}


@pytest.mark.parametrize("propagate", [True, False, None])
@pytest.mark.parametrize("testing", [True, False])
def test_resource_that_raises_counts_one_exception(
    leg: Leg, shop: Any, propagate: bool | None, testing: bool
) -> None:
    app, metrics, api = shop
    app.testing, app.config["PROPAGATE_EXCEPTIONS"] = testing, propagate

    class Item(Resource):
        @metrics.counter("calls", "Calls.", {"code": by_status})
        def get(self) -> Any:
            leg.clock.advance(0.25)
            raise ZeroDivisionError

    api.add_resource(Item, "/item")
    with suppress(ZeroDivisionError):
        assert leg.get(app, "/item").status == 500
        assert not propagate
    found = {"calls_total": {labels(code="500"): 1.0}}
    done = Done("GET", "/item", 500, 0.25, failed=True)
    assert samples(leg.registry) == {**expected(done), **found}


class UserExists(Exception):
    """An exception that an API has an answer for."""


@pytest.mark.parametrize("order", ["metrics first", "api first"])
@pytest.mark.parametrize(
    ("error", "status", "failed"),
    [(NotFound, 404, False), (UserExists, 409, False), (ZeroDivisionError, 500, True)],
)
def test_exception_that_an_api_answers(
    leg: Leg, order: str, error: type[Exception], status: int, failed: bool
) -> None:
    """It is named, and counts where the program chose no answer for it."""
    app, errors = leg.make_app(), {"UserExists": {"message": "exists", "status": 409}}
    metrics = leg.make_metrics(None)
    if order == "metrics first":
        metrics.init_app(app)
    api = Api(app, errors=errors)
    metrics.init_app(app)

    class Item(Resource):
        @metrics.counter("calls", "Calls.", {"error": exception_type()})
        def get(self) -> Any:
            raise error

    api.add_resource(Item, "/item")
    assert leg.get(app, "/item").status == status
    found = {"calls_total": {labels(error=error.__name__): 1.0}}
    assert samples(leg.registry) == {
        **expected(Done("GET", "/item", status, failed=failed)),
        **found,
    }


@pytest.mark.parametrize("order", ["metrics first", "api first"])
@pytest.mark.parametrize(
    ("error", "status", "failed"),
    [(NotFound, 404, False), (UserExists, 409, False), (ZeroDivisionError, 500, True)],
)
def test_exception_that_flask_restx_answers(
    request: pytest.FixtureRequest,
    leg: Leg,
    order: str,
    error: type[Exception],
    status: int,
    failed: bool,
) -> None:
    restx = pytest.importorskip("flask_restx", reason="`make test` installs Flask-RESTX")
    if order == "metrics first" and error is UserExists:
        reason = "Flask-RESTX answers it and tells nobody who was attached before it"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    app, api, metrics = leg.make_app(), restx.Api(), leg.make_metrics(None)
    for extension in (metrics, api) if order == "metrics first" else (api, metrics):
        extension.init_app(app)
    api.errorhandler(UserExists)(lambda error: ({"message": "exists"}, 409))

    class Item(restx.Resource):
        @metrics.counter("calls", "Calls.", {"error": exception_type()})
        def get(self) -> Any:
            raise error

    api.add_resource(Item, "/item")
    assert leg.get(app, "/item").status == status
    found = {"calls_total": {labels(error=error.__name__): 1.0}}
    assert samples(leg.registry) == {
        **expected(Done("GET", "/item", status, failed=failed)),
        **found,
    }


def test_unmatched_requests_of_an_api(leg: Leg, shop: Any) -> None:
    app, _, api = shop
    api.add_resource(type("Item", (Resource,), {"get": lambda self: {}}), "/item")
    assert leg.get(app, "/none").status == 404
    assert leg.request(app, "/item", "DELETE").status == 405
    done = Done("GET", "<unmatched>", 404), Done("DELETE", "<unmatched>", 405)
    assert samples(leg.registry) == expected(*done)


@pytest.mark.parametrize("mark", ["do_not_track", "exclude_all_metrics"])
@pytest.mark.parametrize("on_class", [True, False])
def test_resource_that_is_left_out(leg: Leg, shop: Any, mark: str, on_class: bool) -> None:
    app, metrics, api = shop
    leave_out = getattr(metrics, mark)()
    item = type("Item", (Resource,), {"get": lambda self: {}})
    if on_class:
        item = leave_out(item)
    else:
        item.method_decorators = [leave_out]
    api.add_resource(item, "/item")
    assert leg.get(app, "/item").status == 200
    assert samples(leg.registry) == {}


def test_resource_of_a_blueprint(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, group_by="endpoint")
    blueprint = flask.Blueprint("v1", "shop", url_prefix="/v1")
    Api(blueprint).add_resource(type("Item", (Resource,), {"get": lambda self: {}}), "/item")
    app.register_blueprint(blueprint)
    assert leg.get(app, "/v1/item").status == 200
    assert samples(leg.registry) == expected(Done("GET", "v1.item", 200), by="endpoint")


def mounted(leg: Leg, order: str) -> tuple[Any, Any, Any]:
    """Return an application, another one mounted at `/api`, and the metrics of the first."""
    app, api = leg.make_app(), leg.make_app()
    if order == "metrics inside":
        metrics = leg.make_metrics(app, in_progress=True)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/api": api})
    if order == "metrics outside":
        metrics = leg.make_metrics(app, in_progress=True)

    def view() -> Any:
        leg.clock.advance(0.25)
        return flask.request.script_root + flask.request.path

    def streamed() -> Any:
        return flask.Response(iter([view(), "!"]))

    for one in (app, api):
        one.add_url_rule("/item", "item", view)
        one.add_url_rule("/stream", "stream", streamed)
        one.add_url_rule("/fail", "fail", lambda: 1 / 0)
    return app, api, metrics


ORDERS = pytest.mark.parametrize("order", ["metrics inside", "metrics outside"])


@ORDERS
def test_mounted_app_that_is_not_measured(leg: Leg, order: str) -> None:
    app, _, _ = mounted(leg, order)
    assert leg.get(app, "/api/item").text == "/api/item"
    assert leg.get(app, "/api/fail").status == 500
    assert leg.get(app, "/api/stream").text == "/api/stream!"
    assert leg.get(app, "/api/metrics").status == 404
    assert leg.get(app, "/item").text == "/item"
    done = [Done("GET", "/item", 200, 0.25)]
    if order == "metrics outside":  # the mounted application answers in this one's place
        done += [
            Done("GET", "<middleware>", 200, 0.25),
            Done("GET", "<middleware>", 500),
            Done("GET", "<middleware>", 200, 0.25),
            Done("GET", "<middleware>", 404),
        ]
    assert samples(leg.registry) == expected(*done, in_progress=True)


@ORDERS
@pytest.mark.parametrize("same_object", [True, False])
def test_mounted_app_that_is_measured(leg: Leg, order: str, same_object: bool) -> None:
    app, api, metrics = mounted(leg, order)
    if same_object:
        metrics.init_app(api)
    else:
        leg.make_metrics(api, in_progress=True)
    for path in ("/item", "/stream", "/fail"):
        leg.get(app, f"/api{path}")
        leg.get(app, path)
    assert leg.get(app, "/api/metrics").status == 200
    done = [
        Done("GET", "/item", 200, 0.25),
        Done("GET", "/stream", 200, 0.25),
        Done("GET", "/fail", 500, failed=True),
    ]
    assert samples(leg.registry) == expected(*done, *done, in_progress=True)


@ORDERS
def test_mounted_app_with_its_own_registry(leg: Leg, order: str) -> None:
    app, api, _ = mounted(leg, order)
    own = LEGS["flask-sync"]()
    own.clock = leg.clock
    own.make_metrics(api)
    leg.get(app, "/api/item")
    leg.get(app, "/item")
    leg.get(app, "/item")
    done = Done("GET", "/item", 200, 0.25)
    assert samples(leg.registry) == expected(done, done, in_progress=True)
    assert samples(own.registry) == expected(done)


@ORDERS
def test_mounted_app_is_in_progress_once(leg: Leg, order: str) -> None:
    app, api, metrics = mounted(leg, order)
    metrics.init_app(api)
    gauge = "flask_http_requests_in_progress"
    api.add_url_rule("/busy", "busy", lambda: str(leg.value(gauge, method="GET")))
    assert leg.get(app, "/api/busy").text == "1.0"
    assert leg.value(gauge, method="GET") == 0


def test_measured_apps_below_a_dispatcher(leg: Leg) -> None:
    """The dispatcher is the application that the server knows."""
    app, api = leg.make_app(), leg.make_app()
    metrics = leg.make_metrics(None, group_by="endpoint")
    for name, one in (("front", app), ("api", api)):
        metrics.init_app(one)
        one.add_url_rule("/", name, lambda: "ok")
    root = flask.Flask("root")
    root.wsgi_app = DispatcherMiddleware(app, {"/api": api})
    leg.get(root, "/")
    leg.get(root, "/api/")
    done = Done("GET", "front", 200), Done("GET", "api", 200)
    assert samples(leg.registry) == expected(*done, by="endpoint")


@pytest.mark.parametrize("proxy_first", [True, False])
def test_proxy_fix(leg: Leg, proxy_first: bool) -> None:
    app = leg.make_app()
    if proxy_first:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_prefix=1)
    leg.make_metrics(app, group_by="remote_addr", default_labels={"base": _base})
    if not proxy_first:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_prefix=1)
    app.add_url_rule("/", "view", lambda: "ok")
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Prefix": "/shop"}
    assert leg.get(app, "/", headers=headers).status == 200
    done = Done("GET", "203.0.113.9", 200, labels=(("base", "/shop"),))
    assert samples(leg.registry) == expected(done, by="remote_addr")


def _base() -> str:
    return flask.request.root_path


def test_rejected_metrics_do_not_count_behind_a_decorator_that_keeps_no_name(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, metrics_decorator=lambda view: lambda: flask.abort(401))
    app.add_url_rule("/", "prometheus_metrics_", lambda: "mine")
    assert leg.get(app, "/metrics").status == 401
    assert leg.get(app, "/").text == "mine"
    assert samples(leg.registry) == expected(Done("GET", "/", 200))
