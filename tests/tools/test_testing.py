"""Help for users' tests: the registry of a test, changes, snapshots, the plugin."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import unittest
import venv
from pathlib import Path
from typing import Any

import flask
import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

from promweb import PrometheusMetrics, __version__
from promweb.core.families.native import NativeHistogramFamily
from promweb.testing import (
    assert_metric_delta,
    isolated_registry,
    native_histogram,
    snapshot,
)
from tests.support.needs import missing
from tests.support.paths import ROOT
from tests.support.running import python, run, without

SAMPLE = ROOT / "examples/sample_project"


def create_app() -> flask.Flask:
    app = flask.Flask("shop")
    metrics = PrometheusMetrics(app)
    app.add_url_rule("/", view_func=metrics.counter("visits", "Visits")(lambda: "welcome"))
    return app


# --- the registry of a test ----------------------------------------------------------------------


@pytest.mark.parametrize("time", ["first", "second"])
def test_every_test_starts_from_zero(time: str, metrics_registry: CollectorRegistry) -> None:
    create_app().test_client().get("/")
    assert prometheus_client.REGISTRY is metrics_registry
    assert metrics_registry.get_sample_value("visits_total") == 1


def test_the_registry_that_was_there_comes_back() -> None:
    before = prometheus_client.REGISTRY
    with isolated_registry() as registry:
        assert prometheus_client.REGISTRY is registry
    assert prometheus_client.REGISTRY is before
    with pytest.raises(ZeroDivisionError), isolated_registry():
        1 / 0  # noqa: B018
    assert prometheus_client.REGISTRY is before


def test_doubled_names_of_custom_collectors_are_found_as_in_the_global_registry() -> None:
    class Custom:
        def collect(self) -> Any:
            return [prometheus_client.metrics_core.GaugeMetricFamily("custom", "Custom", 1)]

    with isolated_registry() as registry:
        registry.register(Custom())
        with pytest.raises(ValueError, match="Duplicated"):
            registry.register(Custom())


# --- changes -------------------------------------------------------------------------------------


def test_a_request_is_a_change(leg: Any) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    app.add_url_rule("/", view_func=leg.view(lambda: "welcome"))
    for _ in range(2):  # the second time the sample is there before
        with assert_metric_delta(
            "flask_http_request_total", registry=leg.registry, method="GET", status=200
        ):
            leg.get(app, "/")


def test_a_request_is_a_change_in_an_asynchronous_block(leg: Any) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    delta = assert_metric_delta("flask_http_request_total", registry=leg.registry)

    async def use() -> None:
        async with delta:
            await asyncio.to_thread(leg.get, app, "/nowhere")

    asyncio.run(use())
    with pytest.raises(AssertionError, match="changed by 0"):
        asyncio.run(check_nothing(delta))


async def check_nothing(delta: Any) -> None:
    async with delta:
        pass


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def visits(registry: CollectorRegistry) -> Counter:
    return Counter("visits", "Visits", ["page", "name"], registry=registry)


def test_labels_that_are_not_given_are_summed_over(
    registry: CollectorRegistry, visits: Counter
) -> None:
    visits.labels("/", "a").inc(5)
    with (
        assert_metric_delta("visits_total", by=6, registry=registry),
        assert_metric_delta("visits_total", by=3, registry=registry, page="/"),
        assert_metric_delta("visits_total", by=4, registry=registry, name="b"),
        assert_metric_delta("visits_total", by=2, registry=registry, page="/", name="b"),
        assert_metric_delta("visits_total", by=0, registry=registry, page="/tea"),
    ):
        visits.labels("/", "a").inc(1)
        visits.labels("/", "b").inc(2)
        visits.labels("/about", "a").inc(1)
        visits.labels("/about", "b").inc(2)


def test_a_change_may_be_approximate_and_go_down(registry: CollectorRegistry) -> None:
    work = Histogram("work_seconds", "Work", registry=registry)
    waiting = Gauge("waiting", "Waiting", registry=registry)
    waiting.set(3)
    with (
        assert_metric_delta("work_seconds_count", by=2, registry=registry),
        assert_metric_delta("work_seconds_sum", by=pytest.approx(0.3), registry=registry),
        assert_metric_delta("work_seconds_bucket", by=1, registry=registry, le="0.1"),
        assert_metric_delta("waiting", by=-2, registry=registry),
    ):
        work.observe(0.1)
        work.observe(0.2)
        waiting.dec(2)


def test_what_does_not_change_changes_by_0(registry: CollectorRegistry, visits: Counter) -> None:
    with (
        assert_metric_delta("visits_total", by=0, registry=registry),
        assert_metric_delta("nothing_total", by=0, registry=registry, of="this"),
    ):
        pass


def test_the_registry_is_the_one_at_entry() -> None:
    delta = assert_metric_delta("visits_total")
    with isolated_registry(), delta:
        create_app().test_client().get("/")


def test_an_exception_of_the_body_passes_through(registry: CollectorRegistry) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        assert_metric_delta("visits_total", registry=registry),
    ):
        1 / 0  # noqa: B018


def failure(registry: CollectorRegistry, body: Any, name: str, /, **kwargs: Any) -> list[str]:
    """Return the lines of the message that a body gets."""
    with (
        pytest.raises(AssertionError) as raised,
        assert_metric_delta(name, registry=registry, **kwargs),
    ):
        body()
    return str(raised.value).splitlines()


def test_a_failure_lists_the_nearest_label_sets(
    registry: CollectorRegistry, visits: Counter
) -> None:
    visits.labels("/about", "a").inc(7)
    visits.labels("/", "b").inc(2)

    def body() -> None:
        visits.labels("/about", "b").inc(0.5)
        visits.labels("/", 'say "hi"\n').inc(1_000_000)

    assert failure(registry, body, "visits_total", by=2, page="/", name="a") == [
        'visits_total{name="a",page="/"} should have changed by 2, but changed by 0 (from 0 to 0)',
        "Of that name:",
        r'  visits_total{name="say \"hi\"\n",page="/"} changed by 1000000 (from 0 to 1000000)',
        '  visits_total{name="b",page="/about"} changed by 0.5 (from 0 to 0.5)',
        "Unchanged:",
        '  visits_total{name="a",page="/about"} is 7',
        '  visits_total{name="b",page="/"} is 2',
    ]


def test_a_failure_lists_what_else_changed(registry: CollectorRegistry, visits: Counter) -> None:
    work = Histogram("work_seconds", "Work", registry=registry)
    visits.labels("/", "a").inc()
    assert failure(registry, lambda: work.observe(2), "visits_total") == [
        "visits_total should have changed by 1, but changed by 0 (from 1 to 1)",
        "Unchanged:",
        '  visits_total{name="a",page="/"} is 1',
        "Of other names:",
        "  work_seconds_count changed by 1 (from 0 to 1)",
        "  work_seconds_sum changed by 2 (from 0 to 2)",
    ]


def test_a_failure_names_names_that_are_alike(registry: CollectorRegistry, visits: Counter) -> None:
    visits.labels("/", "a")
    Gauge("temperature", "Degrees", registry=registry)
    assert failure(registry, lambda: None, "visit_total", by=pytest.approx(1)) == [
        f"visit_total should have changed by {pytest.approx(1)!r}, but changed by 0 (from 0 to 0)",
        "The registry has no sample of that name. If the metrics object has another registry, "
        "pass registry=metrics.registry.",
        "It has:",
        "  visits_total",
    ]
    assert failure(registry, lambda: None, "x")[-2:] == ["  temperature", "  visits_total"]


def test_a_failure_is_bounded(registry: CollectorRegistry, visits: Counter) -> None:
    for page in range(25):
        visits.labels(str(page), "a").inc()
    lines = failure(registry, lambda: None, "visits_total")
    assert len(lines) == 13
    assert lines[-1] == "  and 15 more"


def test_a_sample_that_disappears_is_a_change(registry: CollectorRegistry, visits: Counter) -> None:
    visits.labels("/", "a").inc(2)
    assert failure(registry, lambda: visits.remove("/", "a"), "visits_total", by=0) == [
        "visits_total should have changed by 0, but changed by -2 (from 2 to 0)",
        "Of that name:",
        '  visits_total{name="a",page="/"} changed by -2 (from 2 to 0)',
    ]


def test_a_label_that_no_sample_has_is_refused(
    registry: CollectorRegistry, visits: Counter
) -> None:
    visits.labels("/", "a")
    with (
        pytest.raises(ValueError, match="has the label 'path'") as raised,
        assert_metric_delta("visits_total", by=0, registry=registry, path="/"),
    ):
        pass
    assert str(raised.value) == (
        "visits_total{path=\"/\"}: no sample of that name has the label 'path'; "
        "it has ['name', 'page']"
    )


def test_unittest_reports_a_failure() -> None:
    class Case(unittest.TestCase):
        def test_visits(self) -> None:
            with isolated_registry(), assert_metric_delta("visits_total"):
                create_app()

    result = unittest.TestResult()
    Case("test_visits").run(result)
    ((_, report),) = result.failures
    assert "visits_total should have changed by 1, but changed by 0" in report


def test_pytest_shows_the_line_of_the_test(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "from promweb.testing import assert_metric_delta\n"
        "def test_with(metrics_registry):\n"
        "    with assert_metric_delta('x'):\n"
        "        pass\n"
        "@pytest.mark.asyncio\n"
        "async def test_async_with(metrics_registry):\n"
        "    async with assert_metric_delta('y'):\n"
        "        pass\n"
    )
    options = ("-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function")
    done = run([sys.executable, "-m", "pytest", *options, "-q", "test_it.py"], cwd=tmp_path)
    assert "2 failed" in done.stdout, done.stdout + done.stderr
    assert ">       with assert_metric_delta('x'):" in done.stdout
    assert "E       AssertionError: x should have changed by 1" in done.stdout
    assert ">       async with assert_metric_delta('y'):" in done.stdout
    assert "promweb/testing.py" not in done.stdout


# --- snapshots -----------------------------------------------------------------------------------


def test_a_snapshot_without_timings_is_the_same_on_every_leg(leg: Any) -> None:
    app = leg.make_app()
    leg.make_metrics(app, response_size=True)

    def view() -> str:
        leg.clock.advance(5)
        return "welcome"

    app.add_url_rule("/", view_func=leg.view(view))
    leg.get(app, "/")
    found = snapshot(leg.registry, timings=False)
    sizes = 'flask_http_response_size_bytes_bucket{le="+Inf",method="GET",path="/",status="200"}'
    assert found[sizes] == 1
    assert {name: value for name, value in found.items() if "bucket" not in name} == {
        f'flask_exporter_info{{version="{__version__}"}}': 1,
        'flask_http_request_duration_seconds_count{method="GET",path="/",status="200"}': 1,
        'flask_http_request_total{method="GET",status="200"}': 1,
        'flask_http_response_size_bytes_count{method="GET",path="/",status="200"}': 1,
        'flask_http_response_size_bytes_sum{method="GET",path="/",status="200"}': 7,
    }
    leg.get(app, "/")
    assert snapshot(leg.registry, timings=False) != found


@pytest.fixture
def families(registry: CollectorRegistry, visits: Counter) -> CollectorRegistry:
    """A registry with a sample of each kind."""
    visits.labels("/", 'say "hi"\n').inc()
    Gauge("up_seconds", "Seconds", registry=registry).set(12.5)
    Counter("cpu_seconds", "Seconds", registry=registry).inc(2)
    Summary("work", "Work", registry=registry).observe(0.5)
    Summary("sent_bytes", "Bytes", registry=registry).observe(100)
    Gauge("job_created", "No date of another sample", registry=registry).set(1)
    return registry


COUNTS = {
    r'visits_total{name="say \"hi\"\n",page="/"}': 1.0,
    "work_count": 1.0,
    "sent_bytes_count": 1.0,
    "sent_bytes_sum": 100.0,
    "job_created": 1.0,
}


def test_a_snapshot_has_every_sample_but_dates(families: CollectorRegistry) -> None:
    timings = {"up_seconds": 12.5, "cpu_seconds_total": 2.0, "work_sum": 0.5}
    assert snapshot(families) == {**COUNTS, **timings}
    assert snapshot(families, timings=False) == COUNTS


def test_a_snapshot_may_have_some_families_or_samples(families: CollectorRegistry) -> None:
    assert snapshot(families, names=["work", "cpu_seconds_total"]) == {
        "work_count": 1,
        "work_sum": 0.5,
        "cpu_seconds_total": 2,
    }
    assert snapshot(families, names=[]) == {}
    with pytest.raises(TypeError, match=r"write names=\['work'\]"):
        snapshot(families, names="work")


def test_a_snapshot_is_of_the_current_registry(metrics_registry: CollectorRegistry) -> None:
    assert snapshot() == {}
    create_app()
    assert snapshot() == snapshot(metrics_registry)
    assert snapshot()["visits_total"] == 0


# --- the plugin ----------------------------------------------------------------------------------


def test_native_histograms_of_all_label_sets_that_are_meant(
    metrics_registry: CollectorRegistry,
) -> None:
    family = NativeHistogramFamily("work_seconds", "Work", ("queue", "tier"), buckets=())
    metrics_registry.register(family)
    for queue, seconds in (("mail", 0.25), ("mail", 1.0), ("print", 4.0)):
        family.child((queue, "1")).record(seconds)
    found = native_histogram("work_seconds", queue="mail", tier=1)
    assert (found.count, found.sum) == (2, 1.25)
    assert found.quantile(1) == 1.0
    assert repr(found) == "NativeHistogram(count=2, sum=1.25)"
    assert native_histogram("work_seconds", registry=metrics_registry).count == 3
    with pytest.raises(ValueError, match=r"q=99: must be between 0 and 1"):
        found.quantile(99)


def test_native_histograms_that_are_not_there(metrics_registry: CollectorRegistry) -> None:
    metrics = PrometheusMetrics.for_app_factory()
    metrics.histogram("work_seconds", "Work", native_histograms=True)
    metrics.histogram("classic_seconds", "Work")
    with pytest.raises(LookupError, match=r"classic_seconds: no histogram[^:]*There are:\n  work"):
        native_histogram("classic_seconds")
    with pytest.raises(LookupError, match=r'work_seconds\{queue="mail"\}: no histogram'):
        native_histogram("work_seconds", queue="mail")


def test_loading_the_plugin_loads_nothing_else() -> None:
    program = (
        "import sys, pytest; before = set(sys.modules); import promweb.pytest_plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = python(program, check=True)
    ours = {"promweb", "promweb.core", "promweb.core.version", "promweb.pytest_plugin"}
    assert set(done.stdout.split()) <= ours


@pytest.fixture(scope="module")
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a Python that has what the sample project asks for, and a copy of the project."""
    directory = tmp_path_factory.mktemp("clean")
    project = directory / "project"
    shutil.copytree(SAMPLE, project, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    venv.create(directory / "venv", symlinks=True)
    clean = directory / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", f"--python={clean}", "install", "-q"]
    asked_for = [f"{ROOT}[flask,quart]", "--group", f"{project}/pyproject.toml:test"]
    done = apart(*pip, *asked_for, directory=directory)
    if done.returncode:
        missing(f"pip could not install what the sample project asks for:\n{done.stderr}")
    return clean, project


def apart(*command: str | Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that shall not know that tests are running."""
    return run(command, cwd=directory, env=without("COVERAGE_", "PYTEST_", "PYTHON"))


@pytest.mark.parametrize(
    "options", [["-p", "no:randomly"], ["-p", "no:xdist"], ["-n", "2"]], ids=" ".join
)
def test_the_sample_project_passes_in_a_clean_environment(
    clean_environment: tuple[Path, Path], options: list[str]
) -> None:
    clean, project = clean_environment
    done = apart(clean, "-m", "pytest", *options, directory=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "13 passed" in done.stdout
    assert ("--randomly-seed=" in done.stdout) is ("no:randomly" not in options)


def test_a_program_may_import_promweb_before_it_runs_pytest(
    clean_environment: tuple[Path, Path],
) -> None:
    """Otherwise pytest warns, because it cannot rewrite the assertions of a loaded module."""
    clean, project = clean_environment
    program = "import sys, promweb, pytest; sys.exit(pytest.main(['-q', '-W', 'error']))"
    done = apart(clean, "-c", program, directory=project)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
