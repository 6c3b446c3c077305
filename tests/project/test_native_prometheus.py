"""A real Prometheus scrapes native histograms: its quantiles are the true ones."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry, Counter, Enum, Histogram, Info, Summary

from examples import demo
from promweb import PrometheusMetrics
from promweb.core.defaults.vocabulary import OTEL, PROMWEB
from promweb.tools.monitoring.native_queries import queries_of
from promweb.tools.monitoring.service import Latency, Objective
from promweb.tools.monitoring.service import Service as Monitored
from tests.support.prometheus import FORKY, Prometheus, prometheus
from tests.support.waiting import eventually, happens

OBSERVATIONS = 200_000

NATIVE = "--enable-feature=native-histograms,exemplar-storage,created-timestamp-zero-ingestion"


class Service:
    """A service with every kind of metric, and a function that takes a given time."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.app = Flask("shop")
        metrics = PrometheusMetrics(
            self.app,
            group_by="url_rule",
            registry=self.registry,
            native_histograms=True,
            exemplar=lambda: {"trace_id": "0af7651916cd43dd8448eb211c80319c"},
        )
        metrics.clock = lambda: self.now
        self.now = 0.0
        self.work = metrics.histogram("work_seconds", "Work.", native_histograms=True)(self._work)
        self.alone = metrics.histogram(
            "alone_seconds", "Work.", native_histograms=True, buckets=()
        )(self._work)
        self.classic = metrics.histogram("classic_seconds", "Work.", buckets=(0.1, 1))(self._work)
        self.app.route("/items/<item>")(lambda item: item)
        registry = self.registry
        Counter("own_counter", "Own.", ["a"], registry=registry).labels("x\né").inc(0.1)
        Histogram("own_histogram", "Own.", registry=registry).observe(3)
        Summary("own_summary", "Own.", registry=registry).observe(3)
        Info("own", "Own.", registry=registry).info({"version": "1"})
        Enum("own_enum", "Own.", states=["a", "b"], registry=registry).state("b")

    def _work(self, seconds: float) -> None:
        self.now += seconds


def is_newer(program: str) -> bool:
    """Tell whether it is Prometheus 3."""
    return program.startswith(str(FORKY))


@contextmanager
def scraped(
    prometheus_program: str, service: Service, directory: Path, *flags: str, interval: str = "200ms"
) -> Iterator[Prometheus]:
    with demo.serve_flask(service.app) as port:
        job: dict[str, Any] = {
            "job_name": "shop",
            "scrape_interval": interval,
            "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
        }
        if NATIVE in flags and is_newer(prometheus_program):
            job["always_scrape_classic_histograms"] = True
        config = {"scrape_configs": [job]}
        with prometheus(config, directory, prometheus_program, *flags) as server:
            yield server
    log = server.log.read_text().splitlines()
    complaints = [line for line in log if "level=warn" in line.lower() and "crape" in line]
    assert [line for line in complaints if "Error on ingesting" in line or "failed" in line] == []


def number(server: Prometheus, query: str) -> float:
    """Return the result of a query, NaN as long as there is none."""
    found = server.vector(query)
    if not found:
        return math.nan
    one = found[0]
    return float(one["value"][1] if "value" in one else one["histogram"][1]["count"])


def soon(server: Prometheus, query: str) -> float:
    """Return the result of a query once there is one: after a scrape that failed there is none."""
    found = [math.nan]

    def asked() -> bool:
        found.append(number(server, query))
        return not math.isnan(found[-1])

    eventually(asked)
    return found[-1]


@pytest.fixture(scope="module")
def observed() -> tuple[Service, list[float]]:
    """Return a service that has observed many durations, and these, sorted."""
    service = Service()
    generator = random.Random(11)
    truth = [generator.lognormvariate(-3, 0.8) for _ in range(OBSERVATIONS)]
    for seconds in truth:
        service.work(seconds)
        service.alone(seconds)
    return service, sorted(truth)


def test_quantiles_are_the_true_ones(
    prometheus_program: str, observed: tuple[Service, list[float]], tmp_path: Path
) -> None:
    service, truth = observed
    with scraped(prometheus_program, service, tmp_path, NATIVE) as server:
        for name in ("work_seconds", "alone_seconds"):
            query = f"histogram_count({name})"
            assert happens(lambda query=query: number(server, query) == OBSERVATIONS)
            for q in (0.5, 0.9, 0.99, 0.999):
                true = truth[math.ceil(q * OBSERVATIONS) - 1]
                found = soon(server, f"histogram_quantile({q}, {name})")
                print(f"{name} p{100 * q:g}: {found:.6f}, truly {true:.6f}")
                assert found == pytest.approx(true, rel=0.01)
            fraction = sum(seconds <= 0.1 for seconds in truth) / OBSERVATIONS
            found = soon(server, f"histogram_fraction(0, 0.1, {name})")
            assert found == pytest.approx(fraction, abs=0.01)
            total = soon(server, f"histogram_sum({name})")
            assert total == pytest.approx(sum(truth), rel=1e-9)
        exemplars = server.get(
            "query_exemplars", query="work_seconds", start=time.time() - 600, end=time.time() + 60
        ) or server.get(
            "query_exemplars",
            query="work_seconds_bucket",
            start=time.time() - 600,
            end=time.time() + 60,
        )
        traces = {one["labels"]["trace_id"] for series in exemplars for one in series["exemplars"]}
        assert traces == {"0af7651916cd43dd8448eb211c80319c"}


Values = dict[tuple[tuple[str, str], ...], str]

OWN = ("up", "scrape_", "work_seconds", "alone_seconds", "flask_http_request_duration_seconds")
"""The metrics of a server about its scrapes, and histograms with native buckets."""


def series(server: Prometheus) -> Values:
    """Return the other series; `_created` are series in text alone."""
    found = {}
    for one in server.vector('{job="shop"}'):
        name = one["metric"]["__name__"]
        if not name.startswith(OWN) and not name.endswith("_created"):
            labels = {**one["metric"], "instance": ""}
            found[tuple(sorted(labels.items()))] = one["value"][1]
    return found


def test_all_else_has_the_series_of_text(prometheus_program: str, tmp_path: Path) -> None:
    service = Service()
    service.app.test_client().get("/items/tea")
    service.classic(0.5)
    found: list[Values] = []
    for flags in ((NATIVE,), ()):
        directory = tmp_path / str(len(flags))
        directory.mkdir()
        with scraped(prometheus_program, service, directory, *flags) as server:
            assert happens(lambda server=server: bool(series(server)))
            found.append(series(server))
            native = server.vector("histogram_count(work_seconds)")
            assert bool(native) is bool(flags)
    assert found[0] == found[1]
    assert len(found[0]) >= 30


def test_a_counter_begins_with_zero(prometheus_program: str, tmp_path: Path) -> None:
    if not is_newer(prometheus_program):
        pytest.skip("Prometheus takes times of creation from 2.50 on")
    service = Service()
    with scraped(prometheus_program, service, tmp_path, NATIVE) as server:
        assert happens(lambda: number(server, "up") == 1)
        service.app.test_client().get("/items/tea")
        service.classic(0.5)
        query = 'flask_http_request_total{status="200"}'
        assert happens(lambda: number(server, query) == 1)
        values = [value for _, value in server.vector(f"{query}[5m]")[0]["values"]]
        assert values[0] == "0"


def loaded(service: Service) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return functions that start and end constant recording."""
    over = threading.Event()

    def work() -> None:
        generator = random.Random(3)
        client = service.app.test_client()
        while not over.is_set():
            for _ in range(100):
                service.work(generator.lognormvariate(-3, 3))
            client.get("/items/tea")

    thread = threading.Thread(target=work)

    def end() -> None:
        over.set()
        thread.join()

    return thread.start, end


def test_a_hundred_scrapes_under_load_have_no_error(
    prometheus_program: str, tmp_path: Path
) -> None:
    service = Service()
    start, end = loaded(service)
    with ExitStack() as stack:
        server = stack.enter_context(
            scraped(prometheus_program, service, tmp_path, NATIVE, interval="250ms")
        )
        stack.callback(end)
        start()
        errors = set()

        def enough() -> bool:
            for target in (server.get("targets") or {"activeTargets": []})["activeTargets"]:
                errors.add(target["lastError"])
            return number(server, "sum_over_time(up[10m])") >= 100

        assert happens(enough)
        # A busy machine may answer late; the exposition is fine then.
        assert [error for error in errors if error and "deadline exceeded" not in error] == []
        assert number(server, "histogram_count(work_seconds)") > 0
        rate = "rate(work_seconds[1m])"
        assert 0 < number(server, f"histogram_quantile(0.5, sum({rate}))") < 1


@pytest.mark.parametrize("naming", ["promweb", "otel"])
def test_queries_find_a_fleet_that_is_half_moved(
    prometheus_program: str, tmp_path: Path, naming: Any
) -> None:
    """One instance has native histograms alone, the other one classic ones."""
    options: dict[str, Any] = {"naming": naming, "group_by": "url_rule"}
    apps = []
    for more in ({"native_histograms": True, "buckets": ()}, {}):
        app = Flask("shop")
        PrometheusMetrics(app, registry=CollectorRegistry(), **options, **more)
        app.route("/items/<item>")(lambda item: item)
        apps.append(app)
    service = Monitored(
        words=OTEL if naming == "otel" else PROMWEB,
        prefix="" if naming == "otel" else "flask_",
        group="http_route" if naming == "otel" else "url_rule",
        matchers="",
        errors=Objective(Decimal("99.9")),
        latency=Latency(Decimal(99), 0.5),
        websockets=False,
        native=True,
    )
    queries, over = queries_of(service), "[10m]"
    with ExitStack() as stack:
        ports = [stack.enter_context(demo.serve_flask(app)) for app in apps]
        targets = [f"127.0.0.1:{port}" for port in ports]
        job = {
            "job_name": "shop",
            "scrape_interval": "200ms",
            "static_configs": [{"targets": targets}],
        }
        server = stack.enter_context(
            prometheus({"scrape_configs": [job]}, tmp_path, prometheus_program, NATIVE)
        )
        duration = service.words.duration
        by = ("job", service.group)
        asked = {
            "rate": queries.observations(duration, over, *by),
            "p50": queries.quantile(0.5, duration, over, *by),
            "mean": queries.mean(duration, over, "job"),
            "slow": queries.slow_share(over, "job"),
            "heatmap": queries.buckets(duration, over),
            "instances": queries.instances(),
            "seen": queries.seen("[1h]", "job"),
        }

        def answered() -> bool:
            for app in apps:
                app.test_client().get("/items/tea")
            found = {name: number(server, query) for name, query in asked.items()}
            return found["slow"] == 0 and found["instances"] == 2 and found["rate"] > 0

        assert happens(answered)
        # A subquery looks at whole minutes, and none may have passed.
        at = {"seen": time.time() + 60}
        missing = [name for name, query in asked.items() if not server.vector(query, at.get(name))]
        assert missing == []
        # As many as both instances have.
        total = queries.observations(duration, over, "job")
        each = queries.observations(duration, over, "instance")

        def both() -> bool:
            rates = [float(one["value"][1]) for one in server.vector(each)]
            return len(rates) == 2 and min(rates) > 0

        assert happens(both)
        assert number(server, total) > 0
