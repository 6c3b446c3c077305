"""Several workers are seen as one: requests that they answer, in every format of a scrape."""

from __future__ import annotations

import gzip
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.multiprocess import MultiProcessCollector

from promweb.multiprocess import setup
from promweb.multiprocess.files.client_library import HAS_TIMESTAMPS
from tests.support import workers
from tests.support.legs import Leg
from tests.support.running import python, without
from tests.support.workers import value

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def scrape(leg: Leg, app: Any, query: str = "") -> workers.Samples:
    reply = leg.get(app, f"/metrics{query}")
    assert reply.status == 200
    return workers.samples(reply.text)


def make_shop(leg: Leg, **kwargs: Any) -> Any:
    """Return an application with a view; every request takes a quarter of a second."""
    app = leg.make_app()
    leg.make_metrics(app, **kwargs)

    def view(name: str) -> str:
        leg.clock.advance(0.25)
        return name

    app.add_url_rule("/item/<name>", "item", leg.view(view))
    return app


def serve(leg: Leg, app: Any, names: str) -> Callable[[], None]:
    def work() -> None:
        for name in names:
            assert leg.get(app, f"/item/{name}").status == 200

    return work


def test_requests_of_all_workers_are_summed_up(leg: Leg, shared: Path) -> None:
    app = make_shop(leg)
    serve(leg, app, "a")()
    workers.run(serve(leg, app, "ab"))
    workers.kill_after(serve(leg, app, "abc"))

    found = scrape(leg, app)
    assert value(found, "flask_http_request_total", method="GET", status="200") == 6
    for name, count in ("a", 3), ("b", 2), ("c", 1):
        labels = {"method": "GET", "path": f"/item/{name}", "status": "200"}
        duration = "flask_http_request_duration_seconds"
        assert value(found, f"{duration}_count", **labels) == count
        assert value(found, f"{duration}_sum", **labels) == count * 0.25
        assert value(found, f"{duration}_bucket", le="0.1", **labels) == 0
        assert value(found, f"{duration}_bucket", le="0.25", **labels) == count
        assert value(found, f"{duration}_bucket", le="+Inf", **labels) == count


def test_prometheus_client_reads_the_same(leg: Leg, shared: Path) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(
        app, in_progress=True, request_size=True, response_size=True, response_start=True
    )
    status = {"status": lambda response: response.status_code}

    @app.route("/")
    @metrics.counter("orders", 'Orders, "all"\nof them', labels=status)
    @metrics.gauge("busy", "Calls in progress", labels={"shop": "main"})
    @metrics.gauge("busy_of_each", "Calls in progress", multiprocess_mode="all")
    @metrics.histogram("time", "Time", labels=status, buckets=(0.1, 1))
    @metrics.summary("size", "Size", labels={"awkward": lambda: 'q " b \\ n \n ö'})
    @leg.view
    def index() -> str:
        leg.clock.advance(0.5)
        return "hello"

    hits = Counter("hits", "Hits", ["kind"], registry=leg.registry)
    sizes = Histogram("sizes", "Sizes", registry=leg.registry)
    temperature = Gauge("temperature", "Degrees", registry=leg.registry)
    spent = Summary("spent", "Money", ["what"], registry=leg.registry)

    def work() -> None:
        leg.get(app, "/")
        leg.get(app, "/nothing")
        hits.labels("x").inc(2)
        sizes.observe(0.75)
        temperature.set(21)
        spent.labels("time").observe(4)

    work()
    directory = str(shared)
    pid = workers.start(lambda: (work(), signal.pause()))  # alive while both look
    try:
        wait_for(lambda: any(f"summary_{pid}.db" in name for name in os.listdir(directory)))
        wait_for(lambda: value(scrape(leg, app), "spent_sum", what="time") == 8)
        ours, theirs = leg.get(app, "/metrics").text, workers.client_text(shared)
        assert workers.samples(ours) == workers.samples(theirs)
        assert workers.definitions(ours) == workers.definitions(theirs)
        assert value(workers.samples(ours), "orders_total", status="200") == 2
        assert value(workers.samples(ours), "busy_of_each", pid=str(pid)) == 0
    finally:
        os.kill(pid, signal.SIGKILL)
        workers.join(pid)


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1_000_000):
        if condition():
            return
    raise AssertionError("it did not happen")


def test_every_format_and_the_filter_of_names(leg: Leg, shared: Path) -> None:
    app = make_shop(leg)
    workers.run(serve(leg, app, "ab"))

    plain = scrape(leg, app)
    reply = leg.get(app, "/metrics", headers={"Accept": OPENMETRICS})
    assert reply.headers["Content-Type"].startswith("application/openmetrics-text")
    assert workers.samples(reply.text, is_openmetrics=True) == plain
    reply = leg.get(app, "/metrics", headers={"Accept-Encoding": "gzip"})
    assert workers.samples(gzip.decompress(reply.data).decode()) == plain
    reply = leg.request(app, "/metrics", method="HEAD")
    assert reply.status == 200

    for names in (
        ["flask_http_request_total"],
        ["flask_http_request_duration_seconds_sum", "flask_exporter_info"],
        ["flask_http_request_duration_seconds_bucket"],
    ):
        query = "&".join(f"name[]={name}" for name in names)
        found = scrape(leg, app, f"?{query}")
        assert found
        assert found == {key: number for key, number in plain.items() if key[0] in names}
    assert scrape(leg, app, "?name[]=nothing") == {}
    found = scrape(leg, app, "?name[]=flask_http_request_duration_seconds")
    suffixes = ("bucket", "count", "sum")
    names = [f"flask_http_request_duration_seconds_{suffix}" for suffix in suffixes]
    assert found == {key: number for key, number in plain.items() if key[0] in names}
    found = scrape(leg, app, "?name[]=flask_http_request_duration_seconds&name[]=" + names[1])
    assert {name for name, _ in found} == {names[1]}


def test_metrics_without_http(leg: Leg, shared: Path) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    workers.run(lambda: leg.get(app, "/nothing"))
    text, content_type = metrics.generate_metrics(names=["flask_http_request_total"])
    assert content_type.startswith("text/plain")
    assert workers.samples(text) == {
        ("flask_http_request_total", frozenset({("method", "GET"), ("status", "404")})): 1
    }


def test_what_a_killed_worker_had_in_progress_is_over(leg: Leg, shared: Path) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, in_progress=True)

    @app.route("/die")
    @metrics.gauge("dying", "Deaths in progress")
    @leg.view
    def die() -> str:
        found = workers.samples(metrics.generate_metrics()[0])
        assert value(found, "flask_http_requests_in_progress", method="GET") == 1
        assert value(found, "dying") == 1
        os.kill(os.getpid(), signal.SIGKILL)
        return "unreached"

    app.add_url_rule("/live", "live", leg.view(lambda: "alive"))
    leg.get(app, "/live")
    pid = workers.start(lambda: leg.get(app, "/die"))
    assert workers.join(pid) == -signal.SIGKILL
    found = scrape(leg, app)
    assert value(found, "flask_http_requests_in_progress", method="GET") == 0
    assert value(found, "dying") == 0
    assert value(found, "flask_http_request_total", method="GET", status="200") == 1


@pytest.mark.parametrize("is_shared", [True, False])
def test_what_info_returns_takes_a_function(
    leg: Leg, request: pytest.FixtureRequest, is_shared: bool
) -> None:
    request.getfixturevalue("shared" if is_shared else "unshared")
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    age = [50.0]
    metrics.info("age", "Age.").set_function(lambda: age[0])
    metrics.info("size", "Size.", model="a", part=1).set_function(lambda: -age[0])
    metrics.info("size", "Size.", model="b", part=2).set(3)
    workers.run(lambda: None)
    for now in (50.0, 7.0):
        age[0] = now
        for query in ("", "?name[]=size&name[]=age"):
            found = scrape(leg, app, query)
            assert value(found, "age") == now
            assert value(found, "size", model="a", part="1") == -now
            assert value(found, "size", model="b", part="2") == 3


def test_a_process_without_the_function_sees_what_it_returned_at_first(
    leg: Leg, shared: Path
) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    other, registry = leg.make_app(), CollectorRegistry()
    MultiProcessCollector(registry, str(shared))  # type: ignore[no-untyped-call]
    leg.metrics_class(other, registry=registry)
    metrics.info("age", "Age.").set_function(iter((42.0, 43.0)).__next__)
    assert value(scrape(leg, other), "age") == 42
    assert value(scrape(leg, app), "age") == 43


def test_a_function_that_is_not_ready_fails_scrapes_only(
    leg: Leg, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    answers: list[float] = []
    metrics.info("age", "Age.").set_function(lambda: answers[0])
    assert "ask the function of 'age'" in caplog.text
    assert leg.get(app, "/metrics").status == 500
    answers.append(2)
    assert value(scrape(leg, app), "age") == 2


def test_what_info_returns_counts_up_and_down(leg: Leg, shared: Path) -> None:
    app = leg.make_app()
    gauge = leg.make_metrics(app).info("age", "Age.")
    gauge.inc(5)
    gauge.dec(2)
    assert value(scrape(leg, app), "age") == 4


def test_information_is_one_series_however_many_workers_there_were(leg: Leg, shared: Path) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    metrics.info("build", "What runs", version="1.4")

    def worker() -> None:
        leg.registry = CollectorRegistry()
        setup._storages.clear()  # it has loaded the application for itself
        leg.make_metrics(leg.make_app()).info("build", "What runs", version="1.4")

    for _ in range(3):
        workers.run(worker)
    found = scrape(leg, app, "?name[]=build&name[]=flask_exporter_info")
    assert [dict(labels).keys() for _, labels in found] == [{"version"}, {"version"}]
    assert set(found.values()) == {1.0}


def test_a_gauge_of_each_process_ends_with_it(leg: Leg, shared: Path) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app)
    for mode in ("all", "liveall"):
        metrics.gauge(f"calls_{mode}", "Calls", multiprocess_mode=mode)

    def worker() -> None:
        leg.registry = CollectorRegistry()
        other = leg.make_metrics(None)
        for mode in ("all", "liveall"):
            other.gauge(f"calls_{mode}", "Calls", multiprocess_mode=mode)

    workers.run(worker)
    found = scrape(leg, app, "?name[]=calls_all&name[]=calls_liveall")
    me = frozenset({("pid", str(os.getpid()))})
    assert found == {("calls_all", me): 0, ("calls_liveall", me): 0}


@pytest.mark.skipif(not HAS_TIMESTAMPS, reason="this prometheus_client has no timestamps")
def test_a_gauge_that_counts_cannot_be_the_most_recent(leg: Leg) -> None:
    metrics = leg.make_metrics(None)
    busy = metrics.gauge("busy", "Busy", multiprocess_mode="mostrecent")
    with pytest.raises(ValueError, match="'busy': multiprocess_mode='mostrecent' is for gauges"):
        busy(lambda: None)


def test_more_label_sets_than_max_series_overflow_in_each_worker(leg: Leg, shared: Path) -> None:
    app = make_shop(leg, max_series=10)
    workers.run(serve(leg, app, "abcdefghijklmnop"))
    found = scrape(leg, app)
    assert value(found, "flask_http_request_total", method="GET", status="200") == 16
    counts = [name for name, _ in found if name == "flask_http_request_duration_seconds_count"]
    assert len(counts) == 9
    assert value(found, "promweb_series_folded_total", metric="flask_http_request_duration_seconds")


def test_the_variable_may_be_set_after_the_import(
    leg: Leg, tmp_path: Path, unshared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "made"))
    app = make_shop(leg)
    hits = Counter("hits", "Hits", registry=leg.registry)
    workers.run(lambda: (hits.inc(), serve(leg, app, "a")()))
    found = scrape(leg, app)
    assert value(found, "hits_total") == 1
    assert value(found, "flask_http_request_total", method="GET", status="200") == 1
    assert value(found, "flask_exporter_info", version=leg.make_metrics(None).version) == 1


def test_the_deprecated_variable_works(
    leg: Leg, tmp_path: Path, unshared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.setenv("prometheus_multiproc_dir", str(tmp_path))
    app = make_shop(leg)
    workers.run(serve(leg, app, "a"))
    found = scrape(leg, app)
    assert value(found, "flask_http_request_total", method="GET", status="200") == 1


def test_an_empty_variable_is_none(
    leg: Leg, unshared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    app = make_shop(leg)
    workers.run(serve(leg, app, "a"))
    serve(leg, app, "b")()
    found = scrape(leg, app)
    assert value(found, "flask_http_request_total", method="GET", status="200") == 1


def test_metrics_from_before_are_named(
    leg: Leg,
    tmp_path: Path,
    unshared: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    leg.make_metrics(None).counter("early", "Made too early")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    leg.make_metrics(None)
    assert "defined before multiprocess mode was enabled" in caplog.text
    assert "early" in caplog.text


def test_without_the_variable_nothing_of_it_is_loaded() -> None:
    script = """
        import sys, flask
        from promweb import PrometheusMetrics
        app = flask.Flask("shop")
        PrometheusMetrics(app)
        app.test_client().get("/metrics")
        print([name for name in sys.modules if name.startswith("promweb.multiprocess")])
        print("mmap" in sys.modules and "promweb.multiprocess.files.writing" in sys.modules)
    """
    output = python(script, env=without("PROMETHEUS_MULTIPROC_DIR"), check=True)
    assert output.stdout.split() == ["[]", "False"]
