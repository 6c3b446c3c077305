"""Label sets are bounded, and every sum stays exact."""

from __future__ import annotations

import gc
import io
import itertools
import logging
import threading
import tracemalloc
from collections import defaultdict
from contextlib import closing
from typing import Any

import flask
import pytest

from promweb.core.families.children import NumberChild
from promweb.core.families.kinds import CounterFamily
from tests.support.legs import LEGS, Leg
from tests.support.samples import samples

DURATION = "flask_http_request_duration_seconds"
TOTAL = "flask_http_request_total"
EXCEPTIONS = "flask_http_request_exceptions_total"
FOLDED = "promweb_series_folded_total"
OVERFLOW = "<overflow>"


@pytest.fixture
def flask_leg() -> Leg:
    return LEGS["flask-sync"]()


def make(leg: Leg, **kwargs: Any) -> tuple[Any, Any]:
    app = leg.make_app()
    app.logger.disabled = True
    return app, leg.make_metrics(app, **kwargs)


def send(app: flask.Flask, path: str, method: str = "GET") -> str:
    """Send a request as a server does, without a test client's cost; return the status line."""
    lines: list[str] = []
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }

    def start_response(status: str, headers: object, exc_info: object = None) -> None:
        lines.append(status)

    with closing(app(environ, start_response)) as body:  # type: ignore[type-var]
        for _ in body:
            pass
    return lines[-1]


def values(leg: Leg, name: str, *order: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a name by their label values; the labels are those given, no others."""
    found = {}
    for labels, value in samples(leg.registry, name):
        assert sorted(labels) == sorted(order)
        found[tuple(labels[label] for label in order)] = value
    return found


def label_sets(leg: Leg) -> dict[str, int]:
    """Return how many label sets each family has; a histogram's buckets do not count.

    The self-metrics are left out: the metrics that the program defines bound them.
    """
    found: dict[str, set[frozenset[tuple[str, str]]]] = defaultdict(set)
    for metric in leg.registry.collect():
        if metric.name.startswith("promweb_"):
            continue
        for sample in metric.samples:
            own = {key: value for key, value in sample.labels.items() if key != "le"}
            found[metric.name].add(frozenset(own.items()))
    return {name: len(sets) for name, sets in found.items()}


# --- max_series ---------------------------------------------------------------------------------


@pytest.mark.parametrize("max_series", [1, 2, 3, 10, 11, 25])
@pytest.mark.parametrize("kind", ["counter", "histogram", "summary", "gauge"])
def test_decorator_has_at_most_max_series_label_sets(leg: Leg, kind: str, max_series: int) -> None:
    _, metrics = make(leg, max_series=max_series, export_defaults=False)
    current = [""]
    suffix = {"counter": "_total", "gauge": ""}.get(kind, "_count")

    @getattr(metrics, kind)("jobs", "Jobs.", labels={"who": lambda: current[0]})
    def job() -> None:
        leg.clock.advance(0.25)

    for number in range(40):
        current[0] = f"user{number}"
        job()
        job()

    found = values(leg, f"jobs{suffix}", "who")
    own = max_series - 1 if max_series > 1 else 0
    assert 0 < len(found) <= max_series
    if max_series <= 10:  # all but the last are their own
        assert list(found) == [*((f"user{number}",) for number in range(own)), (OVERFLOW,)]
    each = 0.0 if kind == "gauge" else 2.0
    kept = len(found) - 1
    folded = 0.0 if kind == "gauge" else 80.0 - 2.0 * kept
    assert set(found.items()) == {
        *(((f"user{number}",), each) for number in range(kept)),
        ((OVERFLOW,), folded),
    }
    assert values(leg, FOLDED, "metric") == {("jobs",): 80.0 - 2.0 * kept}
    if suffix == "_count":
        sums = values(leg, "jobs_sum", "who")
        assert sums == {key: 0.25 * count for key, count in found.items()}


def test_default_metrics_have_at_most_max_series_label_sets(leg: Leg) -> None:
    app, _ = make(leg, max_series=10)

    @app.route("/items/<int:number>", methods=["GET", "POST"])
    @leg.view
    def item(number: int) -> Any:
        leg.clock.advance(0.25)
        return "ok", 200 + number % 2

    for number in range(20):
        leg.get(app, f"/items/{number}")
        leg.request(app, f"/items/{number}", "POST")

    found = values(leg, f"{DURATION}_count", "method", "path", "status")
    assert len(found) <= 10
    kept = {key: value for key, value in found.items() if key[1] != OVERFLOW}
    assert set(kept.values()) == {1.0}
    assert list(kept)[:4] == [
        ("GET", "/items/0", "200"),
        ("POST", "/items/0", "200"),
        ("GET", "/items/1", "201"),
        ("POST", "/items/1", "201"),
    ]
    assert sum(found.values()) == 40.0
    sums = values(leg, f"{DURATION}_sum", "method", "path", "status")
    assert sums == {key: 0.25 * count for key, count in found.items()}
    totals = values(leg, TOTAL, "method", "status")
    assert sum(totals.values()) == 40.0
    assert values(leg, FOLDED, "metric") == {(DURATION,): 40.0 - len(kept)}


def test_requests_that_overflow_keep_method_and_status_while_there_is_room(leg: Leg) -> None:
    app, _ = make(leg, max_series=50)

    @app.route("/items/<int:number>", methods=["GET", "POST"])
    @leg.view
    def item(number: int) -> Any:
        return "ok", 200 + number % 2

    for number in range(60):
        leg.get(app, f"/items/{number}")
    for number in range(60, 70):
        leg.request(app, f"/items/{number}", "POST")

    found = values(leg, f"{DURATION}_count", "method", "path", "status")
    folded = {key: value for key, value in found.items() if key[1] == OVERFLOW}
    kept = len(found) - len(folded)
    assert 40 <= kept < 50  # most of the room is for routes
    assert set(folded) == {
        ("GET", OVERFLOW, "200"),
        ("GET", OVERFLOW, "201"),
        ("POST", OVERFLOW, "200"),
        ("POST", OVERFLOW, "201"),
    }
    assert values(leg, TOTAL, "method", "status") == {
        ("GET", "200"): 30.0,
        ("GET", "201"): 30.0,
        ("POST", "200"): 5.0,
        ("POST", "201"): 5.0,
    }


@pytest.mark.parametrize("max_series", [1, 2])
def test_smallest_bounds(leg: Leg, max_series: int) -> None:
    app, metrics = make(
        leg,
        max_series=max_series,
        in_progress=True,
        request_size=True,
        response_size=True,
        response_start=True,
    )

    @app.route("/<name>", methods=["GET", "POST", "PUT"])
    @metrics.counter("calls", "Calls.", labels={"path": lambda: leg.web.request.path})
    @leg.view
    def view(name: str) -> str:
        if name == "b":
            raise ValueError(name)
        return name

    for method in ("GET", "POST", "PUT"):
        for path in ("/a", "/b", "/c", "/no/where"):
            leg.request(app, path, method)

    sizes = label_sets(leg)
    assert {name: size for name, size in sizes.items() if size > max_series} == {}
    for name in ("request_duration_seconds", "request_size_bytes", "response_size_bytes"):
        counts = values(leg, f"flask_http_{name}_count", "method", "path", "status")
        assert sum(counts.values()) == 12.0, name
    assert sum(values(leg, TOTAL, "method", "status").values()) == 12.0
    assert sum(values(leg, EXCEPTIONS, "method", "status").values()) == 3.0
    assert sum(values(leg, "calls_total", "path").values()) == 9.0
    assert sum(values(leg, "flask_http_requests_in_progress", "method").values()) == 0.0


@pytest.mark.parametrize("max_series", [1, 2, 3, 4, 5, 12, 30])
@pytest.mark.parametrize("deep", [1, 2])
def test_label_sets_that_are_made_while_one_is_made(max_series: int, deep: int) -> None:
    """A signal handler makes them, in the thread that it interrupts."""

    class Child(NumberChild):
        depth = 0

        def __init__(self, owner: Any) -> None:
            super().__init__(owner)
            if Child.depth < deep:
                Child.depth += 1
                for _ in range(3):
                    record()
                Child.depth -= 1

    class Family(CounterFamily):
        child_class = Child

    family = Family("calls", "Calls.", ("kind", "number"), max_series=max_series)
    numbers = itertools.count()

    def record() -> None:
        number = next(numbers)
        kind = str(number % 7)
        family.child((kind, str(number)), (kind, OVERFLOW)).inc()

    for _ in range(50):
        record()
    assert len(family.children) <= max_series
    assert sum(child.value for child in family.children.values()) == next(numbers)


def test_nothing_overflows_below_the_bound(leg: Leg) -> None:
    app, _ = make(leg, max_series=100)

    @app.route("/<int:number>")
    @leg.view
    def view(number: int) -> str:
        return "ok"

    for _ in range(2):
        for number in range(80):
            leg.get(app, f"/{number}")
    found = values(leg, f"{DURATION}_count", "method", "path", "status")
    assert found == {("GET", f"/{number}", "200"): 2.0 for number in range(80)}
    assert samples(leg.registry, FOLDED) == []


def test_overflow_sets_keep_static_labels(leg: Leg) -> None:
    app, metrics = make(
        leg, max_series=20, default_labels={"tier": "web", "who": lambda r: r.headers["X-Who"]}
    )

    @app.after_request
    def sign(response: Any) -> Any:
        response.headers["X-Who"] = leg.web.request.path
        return response

    @app.route("/<int:number>")
    @metrics.counter("calls", "Calls.", labels={"area": "shop", "to": lambda: leg.web.request.path})
    @leg.view
    def view(number: int) -> str:
        return "ok"

    for number in range(30):
        leg.get(app, f"/{number}")
    calls = values(leg, "calls_total", "area", "to", "tier", "who")
    kept = len(calls) - 1
    assert list(calls) == [
        *(("shop", f"/{number}", "web", f"/{number}") for number in range(kept)),
        ("shop", OVERFLOW, "web", OVERFLOW),
    ]
    assert calls["shop", OVERFLOW, "web", OVERFLOW] == 30.0 - kept

    requests = values(leg, f"{DURATION}_count", "method", "path", "status", "tier", "who")
    kept = len(requests) - 1
    assert list(requests)[-1] == ("GET", OVERFLOW, "200", "web", OVERFLOW)
    assert requests["GET", OVERFLOW, "200", "web", OVERFLOW] == 30.0 - kept
    totals = values(leg, TOTAL, "method", "status", "tier", "who")
    assert totals == {
        **{("GET", "200", "web", f"/{number}"): 1.0 for number in range(kept)},
        ("GET", "200", "web", OVERFLOW): 30.0 - kept,
    }


def test_overflow_is_logged_once_for_each_metric(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    _, metrics = make(leg, max_series=2, export_defaults=False)
    current = [0]
    for name in ("jobs", "tasks"):
        work = metrics.counter(name, "Work.", labels={"who": lambda: current[0]})(lambda: None)
        for current[0] in range(5):
            work()
    records = [record for record in caplog.records if record.name == "promweb"]
    assert [(record.levelno, record.args) for record in records] == [
        (logging.WARNING, ("jobs",)),
        (logging.WARNING, ("tasks",)),
    ]
    assert values(leg, FOLDED, "metric") == {("jobs",): 4.0, ("tasks",): 4.0}


def test_gauge_beyond_the_bound_goes_up_and_down_in_the_overflow_set(leg: Leg) -> None:
    _, metrics = make(leg, max_series=2, export_defaults=False)
    current = [""]

    @metrics.gauge("busy", "Busy.", labels={"who": lambda: current[0]})
    def work(*inner: str) -> list[dict[tuple[str, ...], float]]:
        seen = [values(leg, "busy", "who")]
        if inner:
            current[0] = inner[0]
            seen += work(*inner[1:])
        return seen

    current[0] = "a"
    assert work("b", "c") == [
        {("a",): 1.0},
        {("a",): 1.0, (OVERFLOW,): 1.0},
        {("a",): 1.0, (OVERFLOW,): 2.0},
    ]
    assert values(leg, "busy", "who") == {("a",): 0.0, (OVERFLOW,): 0.0}


# --- long values --------------------------------------------------------------------------------

LONGEST = 256  # bytes; docs/labels.md says so


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("x" * LONGEST, "x" * LONGEST),
        ("x" * (LONGEST + 1), OVERFLOW),
        ("\N{SNOWMAN}" * (LONGEST // 3), "\N{SNOWMAN}" * (LONGEST // 3)),
        ("\N{SNOWMAN}" * (LONGEST // 3 + 1), OVERFLOW),
        ("x" * 2**20, OVERFLOW),
        ("\udcff" * LONGEST, "?" * LONGEST),
        ("\udcff" * (LONGEST + 1), OVERFLOW),
    ],
)
def test_long_values_overflow(leg: Leg, value: str, label: str) -> None:
    _, metrics = make(leg, export_defaults=False)
    labels = {"who": lambda: value, "where": lambda: "here", "tier": "y" * (LONGEST + 1)}
    work = metrics.counter("jobs", "Jobs.", labels=labels)(lambda: None)
    work()
    work()
    assert values(leg, "jobs_total", "who", "where", "tier") == {
        (label, "here", "y" * (LONGEST + 1)): 2.0  # constants are the program's own
    }
    assert values(leg, FOLDED, "metric") == ({("jobs",): 2.0} if label == OVERFLOW else {})


def test_long_paths_overflow_and_are_not_kept(flask_leg: Leg) -> None:
    leg = flask_leg
    app, _ = make(leg, in_progress=True, request_size=True)
    app.add_url_rule("/<name>", view_func=lambda name: "ok")
    send(app, "/short")
    tracemalloc.start()
    try:
        for number in range(8):
            assert send(app, f"/{number}" + "x" * 2**18)[:3] == "200"
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2**18
    assert values(leg, f"{DURATION}_count", "method", "path", "status") == {
        ("GET", "/short", "200"): 1.0,
        ("GET", OVERFLOW, "200"): 8.0,
    }
    assert values(leg, TOTAL, "method", "status") == {("GET", "200"): 9.0}


def test_long_and_many_values_are_logged_once_each(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    _, metrics = make(leg, max_series=2, export_defaults=False)
    current = [""]
    work = metrics.counter("jobs", "Jobs.", labels={"who": lambda: current[0]})(lambda: None)
    for current[0] in ("a", "x" * 300, "x" * 400, "b", "c"):
        work()
    records = [record for record in caplog.records if record.name == "promweb"]
    assert [(record.levelno, record.args) for record in records] == [
        (logging.WARNING, ("jobs", LONGEST)),
        (logging.WARNING, ("jobs",)),
    ]
    assert values(leg, "jobs_total", "who") == {("a",): 1.0, (OVERFLOW,): 4.0}
    assert values(leg, FOLDED, "metric") == {("jobs",): 4.0}


# --- requests that say what they like -----------------------------------------------------------


@pytest.mark.parametrize("group_by", ["path", "endpoint", "url_rule"])
def test_requests_that_no_route_matched_are_one_group(leg: Leg, group_by: str) -> None:
    app, _ = make(leg, group_by=group_by)

    @app.route("/items/")
    @leg.view
    def items() -> str:
        return "ok"

    for path, method in (("/a", "GET"), ("/b", "GET"), ("/items", "GET"), ("/items/", "PUT")):
        leg.request(app, path, method)
    found = values(leg, f"{DURATION}_count", "method", group_by, "status")
    redirect = next(key[2] for key in found if key[2].startswith("3"))
    assert found == {
        ("GET", "<unmatched>", "404"): 2.0,
        ("GET", "<unmatched>", redirect): 1.0,
        ("PUT", "<unmatched>", "405"): 1.0,
    }


STANDARD = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT")


def test_standard_methods_keep_their_names(leg: Leg) -> None:
    app, _ = make(leg, in_progress=True)

    @app.route("/", methods=list(STANDARD), provide_automatic_options=False)
    @leg.view
    def index() -> str:
        return "ok"

    for method in STANDARD:
        leg.request(app, "/", method)
    assert values(leg, TOTAL, "method", "status") == {(m, "200"): 1.0 for m in STANDARD}
    assert values(leg, "flask_http_requests_in_progress", "method") == {(m,): 0.0 for m in STANDARD}


def test_other_methods_are_one_label_value(leg: Leg) -> None:
    app, _ = make(leg, in_progress=True)

    @app.route("/", methods=["BREW", "GET"])
    @leg.view
    def index() -> str:
        assert leg.value("flask_http_requests_in_progress", method="<other>") == 1.0
        return "ok"

    for method in ("BREW", "PROPFIND", "QUERY", "X" * 500):
        leg.request(app, "/", method)
    assert values(leg, f"{DURATION}_count", "method", "path", "status") == {
        ("<other>", "/", "200"): 1.0,
        ("<other>", "<unmatched>", "405"): 3.0,
    }
    assert values(leg, TOTAL, "method", "status") == {
        ("<other>", "200"): 1.0,
        ("<other>", "405"): 3.0,
    }
    assert values(leg, "flask_http_requests_in_progress", "method") == {("<other>",): 0.0}


# --- acceptance ---------------------------------------------------------------------------------


def test_twenty_thousand_paths_and_five_hundred_methods(flask_leg: Leg) -> None:
    leg = flask_leg
    app, metrics = make(
        leg, in_progress=True, request_size=True, response_size=True, response_start=True
    )

    @app.route("/items/<int:number>")
    @metrics.summary("item", "Items.", labels={"path": lambda: flask.request.path})
    def item(number: int) -> Any:
        leg.clock.advance(0.25)
        if number % 10 == 0:
            raise ValueError(number)
        return "four", 200 + number % 2

    for number in range(10_000):
        assert send(app, f"/items/{number}")[0] in "25"
        assert send(app, f"/nowhere/{number}")[:3] == "404"
    for number in range(500):
        assert send(app, f"/items/{number}", f"METHOD{number}")[:3] == "405"

    sizes = label_sets(leg)
    assert {name: size for name, size in sizes.items() if size > 1000} == {}
    expected = {
        ("GET", "200"): 4000.0,
        ("GET", "201"): 5000.0,
        ("GET", "500"): 1000.0,
        ("GET", "404"): 10_000.0,
        ("<other>", "405"): 500.0,
    }
    assert values(leg, TOTAL, "method", "status") == expected
    assert values(leg, EXCEPTIONS, "method", "status") == {("GET", "500"): 1000.0}
    assert values(leg, "flask_http_requests_in_progress", "method") == {
        ("GET",): 0.0,
        ("<other>",): 0.0,
    }
    for name in (
        DURATION,
        "flask_http_request_size_bytes",
        "flask_http_response_size_bytes",
        "flask_http_response_start_seconds",
    ):
        counts = values(leg, f"{name}_count", "method", "path", "status")
        by_status: dict[tuple[str, str], float] = defaultdict(float)
        for (method, path, status), count in counts.items():
            by_status[method, status] += count
            assert path == OVERFLOW or count == 1.0 or path == "<unmatched>"
        assert by_status == expected, name
        assert values(leg, FOLDED, "metric")[(name,)] == sum(
            count for (_, path, _), count in counts.items() if path == OVERFLOW
        )
    sums = values(leg, f"{DURATION}_sum", "method", "path", "status")
    assert sum(sums.values()) == 2500.0
    assert sum(values(leg, "item_count", "path").values()) == 10_000.0
    assert sum(values(leg, "item_sum", "path").values()) == 2500.0
    buckets = values(leg, f"{DURATION}_bucket", "method", "path", "status", "le")
    assert sum(count for key, count in buckets.items() if key[3] == "+Inf") == 20_500.0


def test_sixteen_threads_of_a_thousand_requests(flask_leg: Leg) -> None:
    app, metrics = make(flask_leg, in_progress=True, max_series=20)

    @app.route("/ok/<int:number>")
    @metrics.counter("calls", "Calls.", labels={"status": lambda r: r.status_code})
    @metrics.gauge("busy", "Busy.")
    def ok(number: int) -> str:
        return "ok"

    @app.route("/raise")
    @metrics.counter("calls", "Calls.", labels={"status": lambda r: r.status_code})
    @metrics.gauge("busy", "Busy.")
    def broken() -> str:
        raise ValueError

    @app.route("/stream")
    def stream() -> Any:
        def body() -> Any:
            yield "a"
            raise ValueError("half-way")

        return body()

    problems: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(250):
                send(app, f"/ok/{thread}")
                send(app, "/raise")
                send(app, f"/nowhere/{number}")
                with pytest.raises(ValueError, match="half-way"):
                    send(app, "/stream")
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    leg = flask_leg
    assert values(leg, TOTAL, "method", "status") == {
        ("GET", "200"): 8000.0,
        ("GET", "500"): 4000.0,
        ("GET", "404"): 4000.0,
    }
    assert values(leg, EXCEPTIONS, "method", "status") == {
        ("GET", "500"): 4000.0,
        ("GET", "200"): 4000.0,
    }
    assert values(leg, "calls_total", "status") == {("200",): 4000.0, ("500",): 4000.0}
    assert values(leg, "busy") == {(): 0.0}
    assert values(leg, "flask_http_requests_in_progress", "method") == {("GET",): 0.0}
    assert max(label_sets(leg).values()) <= 20
