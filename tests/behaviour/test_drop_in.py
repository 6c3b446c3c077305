"""Programs written for prometheus_flask_exporter run on promweb and expose the same series.

The first part compares whole programs; the second has a check for each deliberate difference that
the programs do not show. Together they prove the list in `tests/support/programs/differences.py`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask
import flask_restful
import httpx
import prometheus_client.exposition
import prometheus_flask_exporter
import pytest
from flask.views import MethodView
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import promweb
from tests.support.connexion3 import connexion as connexion3
from tests.support.legs import Clock
from tests.support.programs.differences import DIFFERENCES, Seen

EXPORTER, PROMWEB = prometheus_flask_exporter, promweb
COMPARES_VERSIONS = hasattr(prometheus_client.exposition, "CONTENT_TYPE_PLAIN_1_0_0")
"""Whether this prometheus_client looks at the version in an Accept header, and raises for some."""
PROGRAMS = ("first_releases", "factory", "url_rules", "restful")


@dataclass
class Run:
    """The answers that one program's clients got, and its scrape without timings."""

    answers: list[tuple[str, int, str, bytes]]
    """Request, status, content type, body (without that of scrapes)."""
    families: list[tuple[str, str, str]]
    """Name, type and help of each family, in order."""
    series: dict[str, float]
    """The value of each counter and gauge, the count of each histogram and summary."""
    bounds: dict[str, list[str]]
    """The upper bounds of each histogram's label set."""


def run(program: str, library: Any) -> Run:
    module = importlib.import_module(f"tests.support.programs.{program}")
    client = module.make_app(library, CollectorRegistry()).test_client()
    path = getattr(module, "METRICS", "/metrics")
    answers = []
    for method, url, *options in module.REQUESTS:
        with client.open(url, method=method, **(options[0] if options else {})) as response:
            body = b"" if url.startswith(path) else response.get_data()
            content_type = response.headers.get("Content-Type", "")
            answers.append((f"{method} {url}", response.status_code, content_type, body))
    with client.get(path) as response:
        return read(answers, response.text)


def read(answers: list[tuple[str, int, str, bytes]], scrape: str) -> Run:
    found = Run(answers, [], {}, {})
    for family in text_string_to_metric_families(scrape):
        if family.name.endswith("_created"):
            continue
        if not family.name.startswith("promweb_"):
            found.families.append((family.name, family.type, family.documentation))
        for sample in family.samples:
            labels = dict(sample.labels)
            bound = labels.pop("le", None)
            text = ",".join(f'{name}="{labels[name]}"' for name in sorted(labels))
            key = f"{sample.name}{{{text}}}" if labels else sample.name
            if bound is not None:
                found.bounds.setdefault(key, []).append(bound)
            elif family.type in ("histogram", "summary"):
                if sample.name.endswith("_count"):
                    found.series[key.replace("_count", "", 1)] = sample.value
            else:
                found.series[key] = sample.value
    return found


def deliberate(program: str) -> Seen:
    """Return the entries about a program in the list of differences."""
    merged = Seen()
    for difference in DIFFERENCES:
        seen = difference.programs.get(program, Seen())
        merged.answers.update(seen.answers)
        merged.exporter.update(seen.exporter)
        merged.promweb.update(seen.promweb)
    return merged


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_differs_only_where_the_list_says_so(program: str) -> None:
    exporter, ours = run(program, EXPORTER), run(program, PROMWEB)
    seen = deliberate(program)
    assert ours.families == exporter.families
    only_exporter = dict(exporter.series.items() - ours.series.items())
    only_promweb = dict(ours.series.items() - exporter.series.items())
    assert (only_exporter, only_promweb) == (seen.exporter, seen.promweb)
    assert {
        request: (theirs, our)
        for (request, theirs, *_), (_, our, *_) in zip(exporter.answers, ours.answers, strict=True)
        if theirs != our
    } == seen.answers
    assert [answer for answer in ours.answers if answer[0] not in seen.answers] == [
        answer for answer in exporter.answers if answer[0] not in seen.answers
    ]
    shared = exporter.bounds.keys() & ours.bounds.keys()
    assert {key: ours.bounds[key] for key in shared} == {
        key: exporter.bounds[key] for key in shared
    }


def test_every_difference_is_shown_or_checked_and_is_one_plain_sentence() -> None:
    assert {known.name for known in DIFFERENCES if not known.programs} == set(CHECKS)
    assert len({known.name for known in DIFFERENCES}) == len(DIFFERENCES)
    assert all(re.fullmatch(r"[A-Z`].*\.", known.sentence) for known in DIFFERENCES)
    assert {program for known in DIFFERENCES for program in known.programs} == set(PROGRAMS)


# The differences that no program shows. Each check runs the same code on both libraries.


class Bench:
    """An application, its metrics by one library, and what its clients get."""

    def __init__(self, library: Any, **options: Any) -> None:
        self.library = library
        self.registry = CollectorRegistry()
        self.app = flask.Flask("bench")
        self.options = options

    def measure(self, **options: Any) -> Any:
        """Return a metrics object on the application."""
        options = {"registry": self.registry, **self.options, **options}
        return self.library.PrometheusMetrics(self.app, **options)

    def get(self, path: str = "/", method: str = "GET", **options: Any) -> tuple[int, str]:
        with self.app.test_client().open(path, method=method, **options) as response:
            return response.status_code, response.text

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def total(self, status: int, method: str = "GET") -> float | None:
        return self.value("flask_http_request_total", method=method, status=str(status))

    def timed(self, status: int, path: str = "/") -> float | None:
        return self.value(
            "flask_http_request_duration_seconds_count",
            method="GET",
            path=path,
            status=str(status),
        )

    def failed(self, status: int = 500) -> float | None:
        return self.value("flask_http_request_exceptions_total", method="GET", status=str(status))


def outcome(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return a function's result, or the class of its exception."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return next(cls for cls in type(error).__mro__ if cls.__module__ == "builtins")


def label_values(bench: Bench, name: str, label: str) -> set[str]:
    """Return the values that a label has among the samples of a name."""
    return {
        sample.labels[label]
        for metric in bench.registry.collect()
        for sample in metric.samples
        if sample.name == name
    }


CHECKS: dict[str, Callable[..., object]] = {}


def check(exporter: object, ours: object) -> Callable[[Any], Any]:
    """Register what a function of a bench returns with either library."""

    def register(function: Callable[..., object]) -> Callable[..., object]:
        CHECKS[function.__name__] = function
        function.expected = {EXPORTER: exporter, PROMWEB: ours}  # type: ignore[attr-defined]
        return function

    return register


@pytest.mark.parametrize("library", [EXPORTER, PROMWEB], ids=lambda library: library.__name__)
@pytest.mark.parametrize("name", [known.name for known in DIFFERENCES if not known.programs])
def test_a_difference(name: str, library: Any, request: pytest.FixtureRequest) -> None:
    function: Any = CHECKS[name]
    fixtures = [name for name in inspect.signature(function).parameters if name != "bench"]
    arguments = {name: request.getfixturevalue(name) for name in fixtures}
    arguments["bench"] = Bench(library)
    assert function(**arguments) == function.expected[library]


@check(exporter=0, ours=5)
def durations(bench: Bench) -> object:
    clock = Clock()

    def body() -> Iterator[str]:
        clock.advance(3)
        yield "late"

    def hook() -> None:
        clock.advance(2)

    bench.app.before_request(hook)
    if bench.library is PROMWEB:
        cls = type("Metrics", (promweb.PrometheusMetrics,), {"clock": staticmethod(clock)})
        cls(bench.app, registry=bench.registry)
    else:
        bench.measure()
    bench.app.route("/")(lambda: flask.Response(body()))
    bench.get()
    name = "flask_http_request_duration_seconds_sum"
    return round(bench.value(name, method="GET", path="/", status="200") or 0)


@check(exporter=(1, None), ours=(1, 1))
def streams(bench: Bench) -> object:
    def body() -> Iterator[str]:
        yield "one"
        raise ValueError("half-way")

    bench.measure()
    bench.app.route("/")(lambda: flask.Response(body()))
    assert outcome(bench.get) is ValueError
    return bench.total(200), bench.failed(200)


@check(exporter=(1, None), ours=(1, 1))
def early_answers(bench: Bench) -> object:
    bench.app.before_request(lambda: ("no", 403))
    bench.measure()
    bench.app.route("/")(lambda: "view")
    bench.get()
    return bench.total(403), bench.timed(403)


@check(exporter="", ours="calls_total 1.0")
def names_of_families(bench: Bench) -> object:
    metrics = bench.measure()
    bench.app.route("/")(metrics.counter("calls", "Calls")(lambda: "view"))
    bench.get()
    text = bench.app.test_client().get("/metrics?name[]=calls").text
    return "".join(line for line in text.splitlines() if line.startswith("calls_total"))


@check(exporter=[(1, None, 1), (1, None, None)], ours=[(None, 1, 1), (None, 1, 1)])
def late_failures(bench: Bench) -> object:
    def fail(argument: object) -> flask.Response:
        raise ValueError("late")

    found = []
    for hook in ("after_request", "teardown_request"):
        bench = Bench(bench.library)
        getattr(bench.app, hook)(fail)
        bench.measure()
        bench.app.route("/")(lambda: "view")
        outcome(bench.get)
        found.append((bench.total(200), bench.total(500), bench.failed()))
    return found


@check(exporter=(1, 1, None), ours=(1, None, 1))
def failure_statuses(bench: Bench) -> object:
    bench.measure()
    bench.app.register_error_handler(500, lambda error: ("later", 503))
    bench.app.route("/")(lambda: 1 // 0)
    bench.get()
    return bench.total(503), bench.failed(500), bench.failed(503)


@check(exporter=(1, None, None), ours=(None, 1, 1))
def middleware(bench: Bench) -> object:
    inner = bench.app.wsgi_app

    def middleware(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/own":
            start_response("418 Teapot", [])
            return [b""]
        return inner(environ, lambda status, *rest: start_response("203 Changed", *rest))

    bench.app.wsgi_app = middleware  # type: ignore[method-assign]
    bench.measure()
    bench.app.route("/")(lambda: "view")
    assert [bench.get(path)[0] for path in ("/", "/own")] == [203, 418]
    return bench.timed(200), bench.timed(203), bench.timed(418, "<middleware>")


@check(exporter={"200", "b'Exception'"}, ours={"418", "b'<!doctype'"})
def final_response(bench: Bench) -> object:
    metrics = bench.measure()

    @bench.app.after_request
    def brew(response: flask.Response) -> flask.Response:
        response.status_code = 418
        return response

    @bench.app.route("/")
    @metrics.counter("views", "Views", labels={"seen": lambda response: response.status_code})
    def view() -> str:
        return "view"

    @bench.app.route("/fail")
    @metrics.counter("fails", "Fails", labels={"seen": lambda response: response.get_data()[:9]})
    def fail() -> str:
        raise ValueError("no")

    bench.get()
    bench.get("/fail")
    return label_values(bench, "views_total", "seen") | label_values(bench, "fails_total", "seen")


@check(exporter=(299, "converted"), ours=(200, "view"))
def response_converter(bench: Bench) -> object:
    metrics = bench.measure(response_converter=lambda value: flask.Response("converted", 299))
    bench.app.route("/")(metrics.counter("views", "Views")(lambda: "view"))
    return bench.get()


@check(
    exporter=("Response", (200, "Response"), "not raised", 500),
    ours=("str", (200, "caught"), "raised", 200),
)
def return_values(bench: Bench) -> object:
    metrics = bench.measure()
    bench.app.register_error_handler(KeyError, lambda error: ("handled", 409))
    resources = Bench(bench.library)
    api = flask_restful.Api(resources.app)
    restful = bench.library.RESTfulPrometheusMetrics(
        resources.app, api, registry=resources.registry
    )

    def outer(view: Callable[[], Any]) -> Callable[[], Any]:
        def wrapper() -> str:
            try:
                return type(view()).__name__
            except KeyError:
                return "caught"

        wrapper.__wrapped__ = view  # type: ignore[attr-defined]
        wrapper.__name__ = view.__name__
        return wrapper

    @metrics.counter("helps", "Helps")
    def helper() -> Any:
        raise KeyError

    @bench.app.route("/value")
    @outer
    @metrics.counter("values", "Values")
    def value() -> str:
        return "value"

    @bench.app.route("/raise")
    @outer
    @metrics.counter("raises", "Raises")
    def raising() -> str:
        raise KeyError

    @bench.app.route("/helped")
    def helped() -> str:
        return "raised" if outcome(helper) is KeyError else "not raised"

    class Resource(flask_restful.Resource):
        @restful.counter("gets", "Gets")
        def get(self) -> dict[str, int]:
            return {"one": 1}

    api.add_resource(Resource, "/resource")
    return (
        bench.get("/value")[1],
        bench.get("/raise"),
        bench.get("/helped")[1],
        resources.get("/resource")[0],
    )


@check(exporter={"Response"}, ours={"<exception>"})
def raising_helpers(bench: Bench) -> object:
    metrics = bench.measure()

    @metrics.counter("helps", "Helps", labels={"seen": lambda value: type(value).__name__})
    def helper() -> None:
        raise ValueError

    bench.app.route("/")(lambda: helper())
    bench.get()
    return label_values(bench, "helps_total", "seen")


@check(exporter=(0, 1), ours=(1, 1))
def process_exits(bench: Bench) -> object:
    metrics = bench.measure()

    @bench.app.route("/")
    @metrics.counter("views", "Views")
    def view() -> str:
        raise SystemExit

    with pytest.raises(SystemExit):
        bench.get()
    return bench.value("views_total"), bench.failed()


@check(exporter=(0, 1), ours=(1, 1))
def invalid_answers(bench: Bench) -> object:
    metrics = bench.measure()

    @bench.app.route("/")
    @metrics.counter("views", "Views")
    def view() -> None:
        return None

    assert bench.get()[0] == 500
    return bench.value("views_total"), bench.failed()


@check(exporter=(False, False, "function"), ours=(True, True, "type"))
def kinds_of_functions(bench: Bench) -> object:
    metrics = bench.measure()

    async def coroutine() -> None: ...

    def generator() -> Iterator[None]:
        yield None

    class View(MethodView): ...

    return (
        inspect.iscoroutinefunction(metrics.counter("coroutines", "Coroutines")(coroutine)),
        inspect.isgeneratorfunction(metrics.counter("generators", "Generators")(generator)),
        type(metrics.counter("classes", "Classes")(View)).__name__.replace(
            "MethodViewType", "type"
        ),
    )


@check(exporter=(RuntimeError, 0), ours=("done", 1))
def outside_requests(bench: Bench) -> object:
    job = bench.measure().counter("jobs", "Jobs")(lambda: "done")
    return outcome(job), bench.value("jobs_total")


@check(exporter=(1, None), ours=(None, 1))
def methods(bench: Bench) -> object:
    bench.measure()
    bench.app.route("/", methods=["BREW"])(lambda: "tea")
    bench.get(method="BREW")
    return bench.total(200, "BREW"), bench.total(200, "<other>")


@check(exporter=(False, False, 12), ours=(True, True, 12))
def max_series(bench: Bench) -> object:
    bench.measure(max_series=10)  # the exporter ignores it
    bench.app.route("/<page>")(lambda page: page)
    for page in range(12):
        bench.get(f"/{page}")
    name = "flask_http_request_duration_seconds"
    folded = bench.value("promweb_series_folded_total", metric=name)
    paths = label_values(bench, f"{name}_count", "path")
    return len(paths) <= 10, bool(folded), bench.total(200)


@check(exporter={"default"}, ours={"own"})
def explicit_labels(bench: Bench) -> object:
    metrics = bench.measure(default_labels={"label": "default"})
    view = metrics.counter("views", "Views", labels={"label": "own"})(lambda: "view")
    bench.app.route("/")(view)
    bench.get()
    return label_values(bench, "views_total", "label")


@check(exporter="constructed", ours=ValueError)
def reserved_labels(bench: Bench) -> object:
    return outcome(lambda: bench.measure(default_labels={"status": "ours"}) and "constructed")


@check(
    exporter=("decorated", "decorated", "decorated", "decorated", 500),
    ours=(ValueError, ValueError, ValueError, ValueError, 200),
)
def label_callables(bench: Bench) -> object:
    metrics = bench.measure()

    class Labels:
        def bound(self) -> str:
            return "bound"

    async def coroutine() -> str:
        return "awaited"

    def make(kind: str, name: str, value: object) -> Any:
        return getattr(metrics, kind)(name, "Decorated", labels={"label": value})(lambda: "view")

    bench.app.route("/")(make("counter", "bound", Labels().bound))
    return (
        outcome(lambda: make("counter", "two", lambda one, two: "") and "decorated"),
        outcome(lambda: make("counter", "any", lambda *args: "") and "decorated"),
        outcome(lambda: make("counter", "awaited", coroutine) and "decorated"),
        outcome(lambda: make("gauge", "gauge", lambda response: "") and "decorated"),
        bench.get()[0],
    )


class Size(Enum):
    SMALL = "s"


@check(exporter={"Size.SMALL", "<coroutine"}, ours={"s", "<error>"})
def label_values_of_objects(bench: Bench) -> object:
    metrics = bench.measure()

    async def late() -> str:
        return "late"

    coroutine = late()
    labels = {"size": lambda: Size.SMALL, "late": lambda: coroutine}
    bench.app.route("/")(metrics.counter("views", "Views", labels=labels)(lambda: "view"))
    bench.get()
    coroutine.close()
    sizes, late_ones = (label_values(bench, "views_total", label) for label in labels)
    return sizes | {late.partition(" ")[0] for late in late_ones}


@check(exporter=[0, 0], ours=[1, 0])
def streaming_gauges(bench: Bench) -> object:
    metrics = bench.measure()
    seen = []

    def body() -> Iterator[str]:
        seen.append(bench.value("busy"))
        yield "part"

    gauge = metrics.gauge("busy", "Busy")
    bench.app.route("/")(gauge(lambda: flask.Response(body())))
    bench.get()
    return [*seen, bench.value("busy")]


@check(exporter=(1, 1), ours=(None, None))
def untracked_requests(bench: Bench) -> object:
    metrics = bench.measure()
    bench.app.before_request(lambda: ("no", 403) if flask.request.args else None)
    bench.app.route("/")(metrics.do_not_track()(lambda: "view"))
    bench.get()
    bench.get(method="OPTIONS")
    bench.get("/?forbidden=1")
    return bench.total(200, "OPTIONS"), bench.total(403)


@check(exporter="constructed", ours=TypeError)
def unknown_arguments(bench: Bench) -> object:
    return outcome(lambda: bench.measure(export_default=False) and "constructed")


@check(exporter={"north"}, ours="ValueError")
def attributes_of_hooks(bench: Bench) -> object:
    def set_tenant() -> None:
        flask.request.tenant = "north"  # type: ignore[attr-defined]

    bench.app.before_request(set_tenant)
    bench.app.route("/")(lambda: "view")
    found = outcome(bench.measure, group_by="tenant")
    if found is ValueError:
        return "ValueError"
    bench.get()
    return label_values(bench, "flask_http_request_duration_seconds_count", "tenant")


@check(exporter=[200, 500, TypeError], ours=[ValueError, ValueError, TypeError])
def impossible_values(bench: Bench) -> object:
    found: list[object] = []
    for path, options in (
        ("/", {"buckets": (1, 1)}),
        ("/metrics/x", {"path": "/metrics/<name>"}),
        ("/", {"excluded_paths": [re.compile(b"/x")]}),
    ):
        bench = Bench(bench.library)
        bench.app.route("/")(lambda: "view")
        refused = outcome(bench.measure, **options)
        answer = refused if isinstance(refused, type) else outcome(bench.get, path)
        found.append(answer if isinstance(answer, type) else answer[0])
    return found


@check(exporter=[re.compile("/health")], ours="/health")
def excluded_paths(bench: Bench) -> object:
    return bench.measure(excluded_paths="/health").excluded_paths


@check(exporter="made", ours=ValueError)
def info_values(bench: Bench) -> object:
    metrics = bench.measure()
    return outcome(lambda: metrics.info("build", "Build", ("one",), ("1", "2")) and "made")


@check(exporter=(1, AssertionError, AssertionError), ours=(2, "again", "other"))
def many_apps(bench: Bench) -> object:
    metrics = bench.library.PrometheusMetrics.for_app_factory(registry=bench.registry)
    for _ in range(2):
        bench.app = flask.Flask("bench")
        metrics.init_app(bench.app)
        bench.app.route("/")(lambda: "view")
        bench.get()
    two, other = Bench(bench.library), {"path": "/other", "registry": CollectorRegistry()}
    return (
        bench.total(200),
        outcome(lambda: metrics.init_app(bench.app) or "again"),
        outcome(lambda: two.measure() and two.measure(**other) and "other"),
    )


@check(exporter=(ValueError, ValueError, "ignored"), ours=("reused", "reused", ValueError))
def same_definition(bench: Bench) -> object:
    metrics = bench.measure()
    for _ in range(2):
        counter = outcome(lambda: metrics.counter("calls", "Calls") and "reused")
        info = outcome(lambda: metrics.info("build", "Build", version="1") and "reused")
    return counter, info, outcome(lambda: metrics.export_defaults(buckets=[1]) or "ignored")


@check(exporter=(1, 1, "refuse"), ours=(None, None, "prometheus_metrics"))
def metrics_endpoint(bench: Bench) -> object:
    def decorator(view: object) -> Callable[[], object]:
        def refuse() -> object:
            return "no", 401

        return refuse

    bench.measure(metrics_decorator=decorator)
    bench.get("/metrics", "OPTIONS")
    bench.get("/metrics")
    adapter = bench.app.url_map.bind("localhost")
    return bench.total(200, "OPTIONS"), bench.total(401), adapter.match("/metrics")[0]


@check(
    exporter=(None, 500 if COMPARES_VERSIONS else 200, COMPARES_VERSIONS),
    ours=("gzip", 200, False),
)
def scrapes(bench: Bench) -> object:
    bench.measure()
    compressed = bench.app.test_client().get("/metrics", headers={"Accept-Encoding": "gzip"})
    malformed = {"Accept": "application/openmetrics-text; version=one"}
    newer = {"Accept": "application/openmetrics-text; version=2.0.0"}
    answered = bench.app.test_client().get("/metrics", headers=newer).content_type
    return (
        compressed.headers.get("Content-Encoding"),
        bench.get("/metrics", headers=malformed)[0],
        "version=2.0.0" in answered,
    )


@check(exporter=(404, 404), ours=(200, 200))
def host_matching(bench: Bench) -> object:
    found = []
    for options in (
        {"host_matching": True, "static_host": "localhost"},
        {"subdomain_matching": True},
    ):
        bench = Bench(bench.library)
        bench.app = flask.Flask("bench", **options)  # type: ignore[arg-type]
        bench.app.config["SERVER_NAME"] = "example.com"
        bench.measure()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(bench.get("/metrics", headers={"Host": "10.0.0.5"})[0])
    return tuple(found)


@check(exporter=404, ours=200)
def reloader(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    bench.measure()
    return bench.get("/metrics")[0]


@check(exporter=None, ours=(200, 404))
def http_server(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")  # the exporter then starts none to wait for
    server = bench.measure().start_http_server(0, host="127.0.0.1")
    if server is None:
        return None
    try:
        other = server.url.replace("/metrics", "/static/other")
        return httpx.get(server.url).status_code, httpx.get(other).status_code
    finally:
        server.close()


def make_shared(bench: Bench, name: str) -> Any:
    """Return metrics by one of the classes for several workers."""
    module = importlib.import_module(f"{bench.library.__name__}.multiprocess")
    return getattr(module, name)(bench.app)


@check(exporter=ValueError, ours="made")
def shared_directory(
    bench: Bench, unshared: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> object:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "new"))
    error = outcome(make_shared, bench, "MultiprocessPrometheusMetrics")
    return "made" if (tmp_path / "new").is_dir() else error


@check(exporter=[("pid",)], ours=[()])
def shared_gauges(bench: Bench, shared: Path) -> object:
    metrics = make_shared(bench, "MultiprocessInternalPrometheusMetrics")
    bench.app.route("/")(metrics.gauge("jobs", "Jobs.")(lambda: "done"))
    bench.get()
    families = text_string_to_metric_families(bench.get("/metrics")[1])
    return [tuple(s.labels) for family in families for s in family.samples if s.name == "jobs"]


@check(exporter={1.0}, ours={42.0})
def shared_functions(bench: Bench, shared: Path) -> object:
    metrics = make_shared(bench, "MultiprocessInternalPrometheusMetrics")
    metrics.info("age", "Age.").set_function(lambda: 42)
    families = text_string_to_metric_families(bench.get("/metrics")[1])
    return {s.value for family in families for s in family.samples if s.name == "age"}


@check(exporter=None, ours=ValueError)
def shared_tls(bench: Bench, shared: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    module = "prometheus_flask_exporter.multiprocess"
    monkeypatch.setattr(f"{module}.pc_start_http_server", lambda *args, **kwargs: None)
    metrics = make_shared(bench, "GunicornPrometheusMetrics")
    return outcome(metrics.start_http_server, 0, ssl={"cert": "without a key"})


@check(exporter=(True, False), ours=(False, True))
def uwsgi_server(bench: Bench, shared: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    metrics = make_shared(bench, "UWsgiPrometheusMetrics")
    master = SimpleNamespace(masterpid=os.getpid, worker_id=lambda: 0)
    first = SimpleNamespace(masterpid=os.getppid, worker_id=lambda: 1)
    serves = []
    for process in (master, first):
        monkeypatch.setitem(sys.modules, "uwsgi", process)
        serves.append(metrics.should_start_http_server())
    return tuple(serves)


@check(exporter=(1, 1), ours=(None, 1))
def contexts_made_by_hand(bench: Bench) -> object:
    metrics = bench.measure()
    labels = {"status": lambda response: response.status_code}
    bench.app.route("/")(metrics.counter("views", "Views", labels=labels)(lambda: "view"))
    with bench.app.test_request_context("/"):
        bench.app.full_dispatch_request()
    return bench.total(200), bench.value("views_total", status="200")


@check(
    exporter=(AttributeError, {"500"}, ["application/problem+json", None]),
    ours=("attached", {"200", "418", "404"}, ["text/plain; charset=utf-8", "view"]),
)
def connexion(bench: Bench) -> object:
    metrics_class = bench.library.ConnexionPrometheusMetrics
    app = connexion3.FlaskApp("bench")
    metrics = metrics_class(app, registry=bench.registry)
    app.add_url_rule("/", view_func=lambda: flask.abort(418))
    plain = metrics.content_type("text/plain")(lambda: "view")
    app.add_url_rule("/plain", "plain", view_func=metrics.counter("views", "Views")(plain))
    for path in ("/", "/none"):
        app.test_client().get(path)
    response = app.test_client().get("/plain")
    answer = [response.headers["Content-Type"], response.text if response.is_success else None]
    metrics = metrics_class.for_app_factory(registry=CollectorRegistry())
    return (
        outcome(lambda: metrics.init_app(connexion3.FlaskApp("other")) or "attached"),
        label_values(bench, "flask_http_request_total", "status"),
        answer,
    )


# Both libraries must agree, beyond the programs: each function runs on both.

SAME: list[Callable[[Bench], object]] = []


def same(function: Callable[[Bench], object]) -> Callable[[Bench], object]:
    SAME.append(function)
    return function


@same
def constructor(bench: Bench) -> object:
    metrics = bench.measure(defaults_prefix=None, group_by=None, path="")
    assert metrics.registry is bench.registry
    assert metrics.app is bench.app
    bench.app.route("/")(lambda: "view")
    bench.get()
    return metrics.path, metrics.group_by, metrics.buckets, metrics.exclude_user_defaults


@same
def deprecated_arguments(bench: Bench) -> object:
    labels: dict[str, Any] = {"static_labels": {"a": 1, "b": 2}, "default_labels": {"a": 3}}
    with pytest.warns(DeprecationWarning, match="deprecated"):
        bench.measure(group_by_endpoint=True, **labels)
    bench.app.add_url_rule("/", "root", lambda: "view")
    return bench.get()


@same
def summaries_without_prefix(bench: Bench) -> object:
    bench.measure(
        default_latency_as_histogram=False,
        defaults_prefix=bench.library.NO_PREFIX,
        default_labels={"method_length": lambda: len(flask.request.method)},
    )
    bench.app.route("/")(lambda: "view")
    return bench.get()


@same
def defaults_exported_later(bench: Bench) -> object:
    metrics = bench.library.PrometheusMetrics.for_app_factory(
        path=None, export_defaults=False, registry=bench.registry
    )
    with bench.app.app_context():
        metrics.register_endpoint("/later")
        metrics.export_defaults(buckets=(1, 2), group_by="endpoint", prefix="later")
    bench.app.add_url_rule("/", "root", lambda: "view")
    return bench.get(), bench.get("/later")[0]


@same
def group_function(bench: Bench) -> object:
    def length(request: flask.Request) -> int:
        return len(request.path)

    bench.measure(group_by=length)
    bench.app.route("/<page>")(lambda page: page)
    return bench.get("/pen")


@same
def propagated_exceptions(bench: Bench) -> object:
    metrics = bench.measure(default_labels={"seen": lambda response: response.status_code})
    bench.app.testing = True

    @bench.app.route("/")
    @metrics.counter("views", "Views", labels={"code": lambda response: response.status_code})
    def view() -> str:
        raise ValueError

    @bench.app.route("/untracked")
    @metrics.do_not_track()
    def untracked() -> str:
        raise ValueError

    return outcome(bench.get), outcome(bench.get, "/untracked")


@same
def error_handlers(bench: Bench) -> object:
    metrics = bench.measure()
    code = {"code": lambda response: response.status_code}
    bench.app.register_error_handler(KeyError, lambda error: 1 / 0)
    bench.app.register_error_handler(ValueError, lambda error: ("handled", 409))
    bench.app.register_error_handler(500, lambda error: ("page", 500))

    @bench.app.route("/<kind>")
    @metrics.histogram("times", "Times", labels=code)
    @metrics.gauge("busy", "Calls in progress", labels={"path": lambda: flask.request.path})
    def view(kind: str) -> str:
        raise {"key": KeyError, "value": ValueError, "type": TypeError}[kind]

    return [bench.get(f"/{kind}") for kind in ("key", "value", "type")]


@same
def label_values_of_all_kinds(bench: Bench) -> object:
    metrics = bench.measure()
    labels = {
        "none": None,
        "flag": True,
        "number": 1.5,
        "bytes": b"x",
        "nothing": lambda: None,
        "optional": lambda response=None: response.status_code,
        "keyword": lambda *, number=1: number,
        "header": lambda response: response.headers["X-A"],
        "text": lambda response: response.get_data(as_text=True),
    }
    view = metrics.counter("views", "Views", labels=labels)(lambda: ("view", 201, {"X-A": "a"}))
    bench.app.route("/")(view)
    return bench.get()


@same
def initial_values(bench: Bench) -> object:
    metrics = bench.measure(default_labels={"region": "north"})
    metrics.counter("plain", "Plain")
    metrics.counter("named", "Named", namespace="shop", subsystem="api", unit="bytes")
    metrics.histogram("bounded", "Bounded", labels={"a": 1}, buckets=(1, 2))
    metrics.gauge("unset", "Unset", initial_value_when_only_static_labels=False)
    metrics.summary("dynamic", "Dynamic", labels={"a": lambda: 1})
    return None


@same
def infos(bench: Bench) -> object:
    metrics = bench.measure()
    ordered = metrics.info("ordered", "Ordered", ("a", "b"), ("1", 2))
    ordered.set(5)
    metrics.info("keywords", "Keywords", version="1", major=1)
    metrics.info("bare", "Bare")
    return type(ordered), outcome(lambda: metrics.info("both", "Both", ("a",), ("1",), b=2))


@same
def exclusion_from_within_a_call(bench: Bench) -> object:
    metrics = bench.measure()

    @metrics.counter("helps", "Helps", labels={"value": lambda value: value})
    def helper(exclude: bool) -> bool:
        if exclude:
            metrics.exclude_all_metrics()(lambda: None)()
        return exclude

    @bench.app.route("/<int:exclude>")
    @metrics.counter("views", "Views")
    def view(exclude: int) -> str:
        helper(False)
        return str(helper(bool(exclude)))

    return bench.get("/0"), bench.get("/1")


@same
def excluded_from_defaults_only(bench: Bench) -> object:
    metrics = bench.measure(excluded_paths=["/out"], exclude_user_defaults=False)
    bench.app.route("/out")(metrics.counter("views", "Views")(lambda: "view"))
    bench.app.add_url_rule("/in/out", "in", lambda: "view")
    return bench.get("/out"), bench.get("/in/out")


@same
def asynchronous_views(bench: Bench) -> object:
    metrics = bench.measure()

    @bench.app.route("/")
    @metrics.counter("views", "Views", labels={"code": lambda response: response.status_code})
    async def view() -> tuple[str, int]:
        return "view", 202

    return bench.get()


@same
def hooks_and_helpers(bench: Bench) -> object:
    metrics = bench.measure()
    seen = {"seen": lambda value: str(value)}
    bench.app.before_request(metrics.counter("befores", "Before", labels=seen)(lambda: None))
    bench.app.after_request(metrics.counter("afters", "After")(lambda response: response))
    helper = metrics.counter("helps", "Helps", labels=seen)(lambda: 5)
    bench.app.route("/")(lambda: str(helper()))
    return bench.get()


@same
def generated_metrics(bench: Bench) -> object:
    metrics = bench.measure()
    metrics.info("build", "Build", version="1")
    return [
        metrics.generate_metrics(names=["build"]),
        metrics.generate_metrics("application/openmetrics-text; version=1.0.0", ["build"]),
        metrics.generate_metrics("text/plain; version=1.0.0", ["build"]),
    ]


@pytest.mark.parametrize("function", SAME, ids=lambda function: function.__name__)
def test_no_difference(function: Callable[[Bench], object]) -> None:
    results = []
    for library, version in ((EXPORTER, EXPORTER.__version__), (PROMWEB, PROMWEB.__version__)):
        bench = Bench(library)
        result = function(bench)
        scrape = library.PrometheusMetrics(
            flask.Flask("reader"), export_defaults=False, registry=bench.registry
        ).generate_metrics()[0]
        found = read([], scrape.replace(version, "this one"))
        results.append((result, found.families, found.series, found.bounds))
    assert results[0] == results[1]
