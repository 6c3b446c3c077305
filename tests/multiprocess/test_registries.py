"""Several registries and several workers: each endpoint shows its own registry."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from promweb.core.families.catalog import _INFO_MODE
from promweb.core.version import __version__
from promweb.multiprocess import GunicornPrometheusMetrics, setup
from promweb.multiprocess.worker_metrics import SWITCH
from tests.support import workers
from tests.support.legs import Leg
from tests.support.running import python
from tests.support.workers import Samples, value


@pytest.fixture(autouse=True)
def _fresh(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_storages", {})


TOTAL = "flask_http_request_total"
OK = {"method": "GET", "status": "200"}


class Shop:
    """An application with an endpoint for insiders, one for customers and a third with defaults."""

    def __init__(self, leg: Leg) -> None:
        self.leg = leg
        self.app = leg.make_app()
        self.inside, self.public = CollectorRegistry(), CollectorRegistry()
        leg.make_metrics(self.app, registry=self.inside)
        customers = leg.make_metrics(
            self.app, path="/public", export_defaults=False, registry=self.public
        )
        leg.make_metrics(self.app, path="/third", registry=CollectorRegistry())
        self.revenue = Counter("revenue_eur", "Nobody's business", registry=self.inside)

        @self.app.route("/")
        @customers.counter("visits", "Visits")
        @leg.view
        def index() -> str:
            self.revenue.inc(100)
            return "welcome"

    def visit(self, times: int = 1) -> None:
        for _ in range(times):
            self.leg.get(self.app, "/")

    def scrape(self, path: str) -> Samples:
        return {
            key: number
            for key, number in workers.samples(self.leg.get(self.app, path).text).items()
            if not key[0].startswith(("process_", "python_"))
        }


def check(shop: Shop, visits: int) -> None:
    inside, public, third = map(shop.scrape, ("/metrics", "/public", "/third"))
    assert {name for name, _ in public} == {"visits_total"}
    assert value(public, "visits_total") == visits
    for found in inside, third:
        assert value(found, TOTAL, **OK) == visits
        assert value(found, "flask_exporter_info", version=__version__) == 1
        assert "visits_total" not in {name for name, _ in found}
    assert value(inside, "revenue_eur_total") == 100 * visits
    assert "revenue_eur_total" not in {name for name, _ in third}


def test_each_endpoint_shows_its_own_registry_and_each_request_once(leg: Leg) -> None:
    shop = Shop(leg)
    shop.visit()
    check(shop, 1)
    workers.run(lambda: shop.visit(2))  # forked
    check(shop, 3)

    def load_and_visit() -> None:
        setup._storages.clear()
        Shop(leg).visit(3)

    workers.run(load_and_visit)  # has loaded the application for itself
    check(shop, 6)


def test_names_that_are_in_no_registry_are_shown_by_the_default_one(leg: Leg, shared: Path) -> None:
    """In a program of its own, because the default registry outlives a test."""
    script = """
        import sys
        from flask import Flask
        from prometheus_client import CollectorRegistry, Counter, generate_latest
        from promweb import PrometheusMetrics

        app = Flask("shop")
        own = CollectorRegistry()
        PrometheusMetrics(app)
        PrometheusMetrics(app, path="/own", registry=own)
        Counter("of_default", "").inc()
        Counter("of_own", "", registry=own).inc()
        if sys.argv[1:]:
            Counter("of_somebody", "", registry=CollectorRegistry()).inc()
        for path in "/metrics", "/own":
            lines = app.test_client().get(path).text.splitlines()
            print(*sorted(line.split()[0] for line in lines if line.startswith("of_")))
    """
    for arguments in ["another worker"], []:
        result = python(script, *arguments, check=True)
        assert result.stdout.splitlines() == ["of_default_total of_somebody_total", "of_own_total"]


def test_two_registries_of_one_name_are_refused(leg: Leg) -> None:
    app = leg.make_app()
    metrics = leg.make_metrics(app, path="/a", registry=CollectorRegistry())
    leg.make_metrics(app, path="/b", registry=metrics.registry)
    other, third = leg.make_app(), leg.make_app()
    leg.make_metrics(other, path="/a", registry=CollectorRegistry(), defaults_prefix="other")
    with pytest.raises(ValueError, match="two registries are both called 'shop', path '/a'"):
        leg.make_metrics(third, path="/a", registry=CollectorRegistry())


def test_a_registry_that_is_gone_leaves_its_name(leg: Leg) -> None:
    for _ in range(2):
        leg.make_metrics(None, registry=CollectorRegistry())


def test_a_collector_of_the_whole_directory_shows_all(leg: Leg, shared: Path) -> None:
    shop = Shop(leg)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(shared))  # type: ignore[no-untyped-call]
    leg.make_metrics(shop.app, path="/all", export_defaults=False, registry=registry)
    shop.visit()
    found = shop.scrape("/all")
    assert value(found, "visits_total") == 1
    assert value(found, "revenue_eur_total") == 100
    # Two endpoints count each request with the default metrics: these are the sums.
    assert value(found, TOTAL, **OK) == 2
    assert found == workers.samples(workers.client_text(shared))


def test_a_master_without_the_application_shows_all(leg: Leg) -> None:
    workers.run(lambda: Shop(leg).visit())
    server = GunicornPrometheusMetrics().start_http_server(0, "127.0.0.1")
    again = GunicornPrometheusMetrics()  # another object with a registry of its own
    assert server is not None
    try:
        with urllib.request.urlopen(server.url, timeout=10) as response:
            found = workers.samples(response.read().decode())
    finally:
        server.close()
    assert again.registry is not None
    assert value(found, "visits_total") == 1
    assert value(found, "revenue_eur_total") == 100


def test_what_dead_workers_left_stays_with_its_registry(leg: Leg, shared: Path) -> None:
    shop = Shop(leg)
    for _ in range(3):
        workers.run(shop.visit)
        check_after(shop)
    assert len(list(shared.glob("counter_compacted*"))) == 4


def check_after(shop: Shop) -> None:
    public = shop.scrape("/public")
    check(shop, int(value(public, "visits_total") or 0))


def test_a_file_that_cannot_be_read_is_counted_at_each_endpoint(leg: Leg, shared: Path) -> None:
    shop = Shop(leg)
    (shared / "customers.db").write_bytes(b"SQLite format 3")
    for path in "/metrics", "/public":
        shop.scrape(path)
        found = shop.scrape(path)
        name = "promweb_multiprocess_files_skipped_total"
        assert (value(found, name, reason="foreign") or 0) > 0


def test_information_belongs_to_one_registry_and_is_in_promwebs_files(
    leg: Leg, shared: Path
) -> None:
    app, long = leg.make_app(), "é" * 500
    first = leg.make_metrics(app, registry=CollectorRegistry())
    second = leg.make_metrics(app, path="/second", registry=CollectorRegistry())
    first.info("build", "Build.", revision="1")
    first.info("build", "Build.", revision=long)
    second.info("build", "Build.", revision="2")
    bare = second.info("bare", "Bare.")
    with pytest.raises(ValueError, match="already has info with labels"):
        second.info("build", "Build.", version="2")
    for path, builds in ("/metrics", {"1", long}), ("/second", {"2"}):
        found = workers.samples(leg.get(app, path).text)
        assert {dict(labels)["revision"] for name, labels in found if name == "build"} == builds
    assert ("bare", frozenset()) not in workers.samples(leg.get(app, "/metrics").text)
    assert [name for name in os.listdir(shared) if "-client-" in name] == []
    assert "bare 1.0" in generate_latest(second.registry).decode()

    def worker() -> None:
        bare.set(7)
        assert value(workers.samples(leg.get(app, "/second").text), "bare") == 7

    workers.run(worker)
    assert value(workers.samples(leg.get(app, "/second").text), "bare") == (
        1 if _INFO_MODE == "livemax" else 7  # the worker is gone
    )


def test_processes_are_shown_by_the_registry_that_asked_for_them(
    leg: Leg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SWITCH)
    app = leg.make_app()
    leg.make_metrics(app, registry=CollectorRegistry(), process_metrics=True)
    leg.make_metrics(app, path="/public", registry=CollectorRegistry())
    assert "process_resident_memory_bytes" in leg.get(app, "/metrics").text
    assert "process_resident_memory_bytes" not in leg.get(app, "/public").text


def test_a_collector_of_the_whole_directory_may_come_later(leg: Leg, shared: Path) -> None:
    shop = Shop(leg)
    shop.visit()
    assert value(shop.scrape("/public"), "revenue_eur_total") is None
    MultiProcessCollector(shop.public, str(shared))  # type: ignore[no-untyped-call]
    assert value(shop.scrape("/public"), "revenue_eur_total") == 100
