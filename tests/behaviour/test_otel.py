"""`naming="otel"`: the default metrics as OpenTelemetry's conventions want them, on all legs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from werkzeug.test import EnvironBuilder

from promweb import NO_PREFIX
from promweb.core.defaults.otel import LABELS
from tests.support.asgi import Browser
from tests.support.hanging import leaves
from tests.support.legs import Leg
from tests.support.waiting import DEADLINE

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

GROUP = "ExceptionGroup" if sys.version_info >= (3, 11) else "exceptiongroup.ExceptionGroup"
DURATION = "http_server_request_duration_seconds"
ACTIVE = "http_server_active_requests"
REQUEST_SIZE = "http_server_request_body_size_bytes"
RESPONSE_SIZE = "http_server_response_body_size_bytes"


class OutOfStock(Exception):
    pass


def labels(
    method: str = "GET",
    route: str = "/",
    status: int = 200,
    error: str = "",
    scheme: str = "http",
    version: str = "1.1",
    **more: str,
) -> dict[str, str]:
    return {
        "http_request_method": method,
        "http_route": route,
        "http_response_status_code": str(status),
        "url_scheme": scheme,
        "network_protocol_version": version,
        "error_type": error,
        **more,
    }


def make(leg: Leg, view: Callable[..., Any], *, testing: bool = False, **kwargs: Any) -> Any:
    app = leg.make_app(testing=testing)
    leg.make_metrics(app, naming="otel", **kwargs)
    app.add_url_rule("/", "view", leg.view(view), methods=["GET", "POST"])
    return app


def sets(leg: Leg) -> list[dict[str, str]]:
    """Return the label sets of the duration; the same request twice takes the fast way."""
    return leg.label_sets(f"{DURATION}_count")


def serve(leg: Leg, app: Any, scheme: str = "http", protocol: str = "1.1") -> None:
    """Send GET / to an application with the environment or scope of a server."""
    if leg.name.startswith("flask"):
        more = {"wsgi.url_scheme": scheme, "SERVER_PROTOCOL": f"HTTP/{protocol}"}
        list(app({**EnvironBuilder("/").get_environ(), **more}, lambda *args: lambda data: None))
        return

    async def send() -> None:
        with anyio.fail_after(DEADLINE):
            await Browser(app, scheme=scheme, http_version=protocol).run()

    asyncio.run(send())


@pytest.mark.parametrize("testing", [True, False])
def test_type_of_an_error_in_teardown(leg: Leg, testing: bool) -> None:
    """Quart 0.23 raises the exceptions of teardown functions as a group."""
    app = make(leg, lambda: "ok", testing=testing)

    @app.teardown_request
    def release(error: object) -> None:
        raise OutOfStock

    with suppress(Exception):
        leg.get(app, "/")
    (found,) = sets(leg)
    assert found == labels(status=500, error=f"{__name__}.OutOfStock")


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([OutOfStock()], f"{__name__}.OutOfStock"),
        ([ExceptionGroup("inner", [OutOfStock()])], f"{__name__}.OutOfStock"),
        ([OutOfStock(), KeyError()], GROUP),
    ],
)
@pytest.mark.parametrize("testing", [True, False])
def test_type_of_an_error_in_a_group(
    leg: Leg, errors: list[Exception], expected: str, testing: bool
) -> None:
    def fail() -> None:
        raise ExceptionGroup("tasks", errors)

    app = make(leg, fail, testing=testing)
    with suppress(ExceptionGroup):
        leg.get(app, "/")
    (found,) = sets(leg)
    assert found == labels(status=500, error=expected)


class WithKeyError(Exception):
    exceptions = (KeyError(),)


class WithProperty(Exception):
    @property
    def exceptions(self) -> object:
        raise RuntimeError("nobody may ask for these")


@pytest.mark.parametrize("odd", [WithKeyError, WithProperty])
def test_type_of_an_error_that_is_no_group_though_it_has_exceptions(
    leg: Leg, odd: type[Exception]
) -> None:
    def fail() -> None:
        raise odd

    leg.get(make(leg, fail, testing=False), "/")
    (found,) = sets(leg)
    assert found == labels(status=500, error=f"{__name__}.{odd.__name__}")


def test_names_and_labels_are_the_conventions() -> None:
    attributes = "opentelemetry.semconv.attributes"
    why = "the oldest OpenTelemetry has no stable conventions"
    metrics = pytest.importorskip("opentelemetry.semconv.metrics.http_metrics", reason=why)
    http = pytest.importorskip(f"{attributes}.http_attributes", reason=why)
    error = pytest.importorskip(f"{attributes}.error_attributes", reason=why)
    url = pytest.importorskip(f"{attributes}.url_attributes", reason=why)
    network = pytest.importorskip(f"{attributes}.network_attributes", reason=why)
    assert f"{metrics.HTTP_SERVER_REQUEST_DURATION}_seconds".replace(".", "_") == DURATION
    names = (
        http.HTTP_REQUEST_METHOD,
        http.HTTP_ROUTE,
        http.HTTP_RESPONSE_STATUS_CODE,
        url.URL_SCHEME,
        network.NETWORK_PROTOCOL_VERSION,
        error.ERROR_TYPE,
    )
    assert tuple(name.replace(".", "_") for name in names) == LABELS


def test_families(leg: Leg) -> None:
    app = make(leg, lambda: "ok", in_progress=True, request_size=True, response_size=True)
    leg.get(app, "/")
    found = {family.name: (family.type, family.documentation) for family in leg.registry.collect()}
    assert found == {
        DURATION: ("histogram", "Duration of HTTP server requests."),
        ACTIVE: ("gauge", "Number of active HTTP server requests."),
        REQUEST_SIZE: ("histogram", "Size of HTTP server request bodies."),
        RESPONSE_SIZE: ("histogram", "Size of HTTP server response bodies."),
    }


def test_only_the_duration_unless_asked_for(leg: Leg) -> None:
    leg.get(make(leg, lambda: "ok"), "/")
    assert [family.name for family in leg.registry.collect()] == [DURATION]


def test_ordinary_requests(leg: Leg) -> None:
    def view() -> str:
        leg.clock.advance(0.06)
        return "ok"

    app = make(leg, view)
    for _ in range(3):
        assert leg.get(app, "/").text == "ok"
    assert sets(leg) == [labels()]
    assert leg.value(f"{DURATION}_count", **labels()) == 3
    assert leg.value(f"{DURATION}_sum", **labels()) == pytest.approx(0.18)
    buckets = [found["le"] for found in leg.label_sets(f"{DURATION}_bucket")]
    assert [float(bound) for bound in buckets] == [
        *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
        float("inf"),
    ]
    assert leg.value(f"{DURATION}_bucket", **labels(le="0.05")) == 0
    assert leg.value(f"{DURATION}_bucket", **labels(le="0.075")) == 3


def test_the_route_is_the_rule_and_empty_without_one(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, naming="otel")
    app.add_url_rule("/item/<int:number>", "item", leg.view(lambda number: "ok"))
    for path in ("/item/1", "/item/2", "/no/such/page", "/metrics"):
        leg.get(app, path)
    assert sets(leg) == [labels(route="/item/<int:number>"), labels(route="", status=404)]


def test_methods(leg: Leg) -> None:
    app = make(leg, lambda: "ok", in_progress=True)
    for method in ("POST", "HEAD", "BREW", "BREW", "post"):
        leg.request(app, "/", method)
    methods = [(found["http_request_method"], found["http_route"]) for found in sets(leg)]
    post = ("POST", "/")  # both test clients send `post` so
    assert methods == [post, ("HEAD", "/"), ("_OTHER", "")]
    assert leg.label_sets(ACTIVE) == [
        {"http_request_method": method, "url_scheme": "http"}
        for method in ("POST", "HEAD", "_OTHER")
    ]


@pytest.mark.parametrize(
    ("scheme", "expected"), [("http", "http"), ("https", "https"), ("gopher", "_OTHER")]
)
def test_schemes(leg: Leg, scheme: str, expected: str) -> None:
    app = make(leg, lambda: "ok", in_progress=True)
    for _ in range(2):
        serve(leg, app, scheme)
    assert sets(leg) == [labels(scheme=expected)]
    assert leg.value(f"{DURATION}_count", **labels(scheme=expected)) == 2
    assert leg.value(ACTIVE, http_request_method="GET", url_scheme=expected) == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [("1.0", "1.0"), ("1.1", "1.1"), ("2", "2"), ("2.0", "2"), ("3", "3"), ("1.7", ""), ("", "")],
)
def test_protocol_versions(leg: Leg, given: str, expected: str) -> None:
    app = make(leg, lambda: "ok")
    for _ in range(2):
        serve(leg, app, protocol=given)
    assert sets(leg) == [labels(version=expected)]
    assert leg.value(f"{DURATION}_count", **labels(version=expected)) == 2


def test_a_server_that_tells_no_protocol(leg: Leg) -> None:
    if not leg.name.startswith("flask"):
        pytest.skip("ASGI always tells")
    app = make(leg, lambda: "ok")
    environ = EnvironBuilder("/").get_environ()
    del environ["SERVER_PROTOCOL"]
    list(app(environ, lambda *args: lambda data: None))
    assert sets(leg) == [labels(version="")]


@pytest.mark.parametrize("testing", [False, True])
@pytest.mark.parametrize(
    ("error", "name"),
    [(ZeroDivisionError, "ZeroDivisionError"), (OutOfStock, f"{__name__}.OutOfStock")],
)
def test_the_class_of_an_unhandled_exception(
    leg: Leg, testing: bool, error: type[Exception], name: str
) -> None:
    def view() -> str:
        raise error

    app = make(leg, view, testing=testing)
    for _ in range(2):
        with suppress(error):  # Flask's test client lets it through
            assert leg.get(app, "/").status == 500
    assert sets(leg) == [labels(status=500, error=name)]
    assert leg.value(f"{DURATION}_count", **labels(status=500, error=name)) == 2


@pytest.mark.parametrize(
    ("status", "error"), [(404, ""), (499, ""), (500, "500"), (503, "503"), (302, "")]
)
def test_answers_with_a_status(leg: Leg, status: int, error: str) -> None:
    app = make(leg, lambda: ("no", status))
    for _ in range(2):
        leg.get(app, "/")
    assert sets(leg) == [labels(status=status, error=error)]


def test_an_exception_that_was_answered_is_no_error_by_itself(leg: Leg) -> None:
    def view() -> str:
        raise OutOfStock

    app = make(leg, view)
    app.register_error_handler(OutOfStock, leg.view(lambda error: ("sold", 409)))
    leg.get(app, "/")
    assert sets(leg) == [labels(status=409)]


def test_an_answer_is_told_from_an_exception_of_the_same_status(leg: Leg) -> None:
    raises = iter([True, False])

    def view() -> Any:
        if next(raises):
            raise OutOfStock
        return "no", 500

    app = make(leg, view)
    for _ in range(2):
        leg.get(app, "/")
    failed = labels(status=500, error=f"{__name__}.OutOfStock")
    assert sets(leg) == [failed, labels(status=500, error="500")]


def test_an_exception_of_an_error_handler(leg: Leg) -> None:
    def view() -> str:
        raise OutOfStock

    def handle(error: Exception) -> str:
        raise KeyError("x")

    app = make(leg, view)
    app.register_error_handler(OutOfStock, leg.view(handle))
    leg.get(app, "/")
    assert sets(leg) == [labels(status=500, error="KeyError")]


def test_an_exception_of_a_streamed_body(leg: Leg) -> None:
    def stream() -> Any:
        yield b"a"
        raise OutOfStock

    async def stream_async() -> Any:
        yield b"a"
        raise OutOfStock

    flask = leg.name.startswith("flask")
    app = make(leg, lambda: leg.web.Response(stream() if flask else stream_async()))
    with leaves(OutOfStock):
        leg.get(app, "/")
    assert sets(leg) == [labels(error=f"{__name__}.OutOfStock")]


def test_sizes(leg: Leg) -> None:
    app = make(leg, lambda: "12345", request_size=True, response_size=True)
    for _ in range(2):
        leg.request(app, "/", "POST", data=b"123", headers={"Content-Length": "3"})
    assert leg.value(f"{REQUEST_SIZE}_sum", **labels("POST")) == 6
    assert leg.value(f"{REQUEST_SIZE}_count", **labels("POST")) == 2
    assert leg.value(f"{RESPONSE_SIZE}_sum", **labels("POST")) == 10
    assert leg.value(f"{DURATION}_count", **labels("POST")) == 2


@pytest.mark.parametrize("only", ["request_size", "response_size"])
def test_one_size(leg: Leg, only: str) -> None:
    app = make(leg, lambda: "12345", **{only: True})
    for _ in range(2):
        leg.request(app, "/", "POST", data=b"123", headers={"Content-Length": "3"})
    assert leg.value(f"{REQUEST_SIZE}_sum", **labels("POST")) == (
        6 if only == "request_size" else None
    )
    assert leg.value(f"{RESPONSE_SIZE}_sum", **labels("POST")) == (
        10 if only == "response_size" else None
    )


def test_active_requests(leg: Leg) -> None:
    seen = []

    def view() -> str:
        seen.append(leg.value(ACTIVE, http_request_method="GET", url_scheme="http"))
        return "ok"

    app = make(leg, view, in_progress=True)
    for _ in range(2):
        leg.get(app, "/")
    assert seen == [1, 1]
    assert leg.value(ACTIVE, http_request_method="GET", url_scheme="http") == 0


def test_active_requests_by_scheme(leg: Leg) -> None:
    seen = []

    def view() -> str:
        schemes = ("http", "https")
        seen.append([leg.value(ACTIVE, http_request_method="GET", url_scheme=s) for s in schemes])
        return "ok"

    app = make(leg, view, in_progress=True)
    for scheme in ("http", "https"):
        serve(leg, app, scheme)
    assert seen == [[1, None], [0, 1]]


def test_default_labels(leg: Leg) -> None:
    request = leg.web.request
    app = make(
        leg,
        lambda: "ok",
        request_size=True,
        default_labels={
            "tier": "web",
            "tenant": lambda: request.headers["X-Tenant"],
            "size": lambda response: len(response.headers),
        },
    )
    for _ in range(2):
        leg.get(app, "/", headers={"X-Tenant": "a"})
    more = {"tier": "web", "tenant": "a", "size": "2"}
    assert sets(leg) == [labels(**more)]
    assert leg.value(f"{REQUEST_SIZE}_count", **labels(**more)) == 2


def test_buckets(leg: Leg) -> None:
    leg.get(make(leg, lambda: "ok", buckets=(1, 2)), "/")
    assert [found["le"] for found in leg.label_sets(f"{DURATION}_bucket")] == ["1.0", "2.0", "+Inf"]


def test_excluded_paths_and_do_not_track(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, naming="otel", excluded_paths="/health", in_progress=True)
    app.add_url_rule("/health", "health", leg.view(lambda: "ok"))
    app.add_url_rule("/quiet", "quiet", metrics.do_not_track()(leg.view(lambda: "ok")))
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    for path in ("/health", "/quiet", "/", "/"):
        leg.get(app, path)
    assert sets(leg) == [labels()]
    assert leg.value(f"{DURATION}_count", **labels()) == 2
    assert leg.value(ACTIVE, http_request_method="GET", url_scheme="http") == 0


def test_exemplars(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, naming="otel", exemplar=lambda: {"trace_id": "abc"})
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    leg.get(app, "/")
    text, _ = metrics.generate_metrics("application/openmetrics-text; version=1.0.0")
    found = [
        sample.exemplar.labels
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert found == [{"trace_id": "abc"}]


def test_label_sets_are_bounded(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, naming="otel", max_series=4)
    for number in range(6):
        app.add_url_rule(f"/{number}", str(number), leg.view(lambda: "ok"))
    for _ in range(2):
        for number in range(6):
            leg.get(app, f"/{number}")
    assert sets(leg) == [labels(route="/0"), labels(route="/1"), labels(route="<overflow>")]
    assert leg.value(f"{DURATION}_count", **labels(route="<overflow>")) == 8
    assert leg.value("promweb_series_folded_total", metric=DURATION) == 8


def test_what_is_remembered_is_bounded(leg: Leg) -> None:
    """Neither invented methods nor protocols, nor overflows."""
    app = leg.make_app()
    leg.make_metrics(app, naming="otel", max_series=3)
    app.add_url_rule("/", "view", leg.view(lambda: "ok"), methods=["GET", "BREW"])
    app.add_url_rule("/b", "b", leg.view(lambda: "ok"))
    for number in range(5):
        serve(leg, app, protocol=f"1.{number + 2}")
    leg.request(app, "/", "BREW")
    leg.get(app, "/b")
    (recorder,) = app.extensions["promweb"].recorders
    assert len(recorder._known) <= 3


def test_beside_the_names_of_promweb(leg: Leg) -> None:
    """Two objects on one application, while dashboards move."""
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)
    leg.make_metrics(app, naming="otel", in_progress=True, response_size=True)
    seen = []

    def view() -> str:
        seen.append(leg.value("flask_http_requests_in_progress", method="GET"))
        seen.append(leg.value(ACTIVE, http_request_method="GET", url_scheme="http"))
        return "ok"

    app.add_url_rule("/", "view", leg.view(view))
    for _ in range(2):
        leg.get(app, "/")
    assert seen == [1, 1, 1, 1]
    assert leg.value("flask_http_request_total", method="GET", status="200") == 2
    assert leg.value(f"{DURATION}_count", **labels()) == 2
    assert leg.value(f"{RESPONSE_SIZE}_sum", **labels()) == 4


def test_two_objects_with_the_same_names_are_one(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app, naming="otel", request_size=True)
    leg.make_metrics(app, naming="otel", request_size=True, response_size=True, in_progress=True)
    app.add_url_rule("/", "view", leg.view(lambda: "ok"))
    for _ in range(2):
        leg.get(app, "/")
    assert leg.value(f"{DURATION}_count", **labels()) == 2
    assert leg.value(f"{RESPONSE_SIZE}_sum", **labels()) == 4
    assert leg.value(ACTIVE, http_request_method="GET", url_scheme="http") == 0


@pytest.mark.parametrize("excluded_paths", [None, "/health"])
def test_recording_never_breaks_a_request(
    leg: Leg, excluded_paths: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the fast way nor the general one, which excluded paths ask for."""
    app = make(leg, lambda: "ok", excluded_paths=excluded_paths)
    del app.extensions["promweb"].protocol
    assert leg.get(app, "/").text == "ok"
    messages = [record.getMessage() for record in caplog.records if record.name == "promweb"]
    assert messages == ["promweb could not record a request; the request was not affected."]
    assert sets(leg) == []


def test_a_websocket_has_no_prefix_and_the_route(leg: Leg) -> None:
    if leg.name != "quart-async":
        pytest.skip("Flask has no websockets")
    app = leg.make_app()
    leg.make_metrics(app, naming="otel")
    assert [family.name for family in leg.registry.collect()] == [DURATION]

    @app.websocket("/chat/<room>")
    async def chat(room: str) -> None:
        await leg.web.websocket.send(room)

    async def connect(path: str) -> None:
        async with app.test_client().websocket(path) as websocket:
            await websocket.receive()

    asyncio.run(connect("/chat/a"))
    with pytest.raises(Exception, match="404"):
        asyncio.run(connect("/no"))
    name = "websocket_connection_duration_seconds_count"
    assert {found["http_route"] for found in leg.label_sets(name)} == {"/chat/<room>", ""}


def test_without_websockets(leg: Leg) -> None:
    app = make(leg, lambda: "ok", websockets=False)
    leg.get(app, "/")
    (recorder,) = app.extensions["promweb"].recorders
    assert recorder.websockets is None
    assert sets(leg) == [labels()]


# --- contradictions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"naming": "opentelemetry"}, ["naming='opentelemetry'", "'promweb'", "'otel'"]),
        ({"naming": None}, ["naming=None", "'otel'"]),
        ({"naming": "otel", "defaults_prefix": "shop"}, ["defaults_prefix='shop'", "no prefix"]),
        ({"naming": "otel", "group_by": "endpoint"}, ["group_by='endpoint'", "http_route"]),
        (
            {"naming": "otel", "default_latency_as_histogram": False},
            ["default_latency_as_histogram=False", "histogram"],
        ),
        ({"naming": "otel", "response_start": True}, ["response_start=True", "first byte"]),
        ({"naming": "otel", "status_classes": True}, ["status_classes=True", "exact status"]),
        (
            {"naming": "otel", "default_labels": {"error_type": "x"}},
            ["default_labels", "'error_type'", "another name"],
        ),
        ({"naming": "otel", "buckets": [2, 1]}, ["buckets=[2, 1]", "greater"]),
    ],
)
def test_contradictions(leg: Leg, arguments: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ValueError, match="=") as caught:
        leg.make_metrics(None, **arguments)
    assert [part for part in parts if part not in str(caught.value)] == []


def test_a_function_as_group_contradicts(leg: Leg) -> None:
    def tenant(request: Any) -> str:
        return "x"

    with pytest.raises(ValueError, match="contradicts naming='otel'"):
        leg.make_metrics(None, naming="otel", group_by=tenant)


@pytest.mark.parametrize(
    "arguments", [{"defaults_prefix": NO_PREFIX}, {"group_by": "url_rule"}, {"group_by": "path"}]
)
def test_what_the_conventions_say_anyway_is_no_contradiction(
    leg: Leg, arguments: dict[str, Any]
) -> None:
    leg.get(make(leg, lambda: "ok", **arguments), "/")
    assert sets(leg) == [labels()]


def test_labels_of_the_default_names_are_free(leg: Leg) -> None:
    leg.get(make(leg, lambda: "ok", default_labels={"method": "x", "status": "y"}), "/")
    assert sets(leg) == [{**labels(), "method": "x", "status": "y"}]


def test_export_defaults_checks_as_well(leg: Leg) -> None:
    metrics = leg.make_metrics(leg.make_app(), naming="otel", export_defaults=False)
    with pytest.raises(ValueError, match="prefix"):
        metrics.export_defaults(prefix="shop")
    metrics.export_defaults()
    assert [family.name for family in leg.registry.collect()] == [DURATION]


def test_naming_reads_back(leg: Leg) -> None:
    assert leg.make_metrics(None).naming == "promweb"
    assert leg.make_metrics(None, naming="otel").naming == "otel"
