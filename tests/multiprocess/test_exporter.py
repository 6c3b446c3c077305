"""The exporter's classes for several workers: who serves what, in programs and server files."""

from __future__ import annotations

import inspect
import logging
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask
import prometheus_flask_exporter.multiprocess as theirs
import pytest
from prometheus_client import CollectorRegistry

import promweb.adapters.shared
import promweb.multiprocess as ours
from promweb.core import forking
from promweb.security import bearer_token
from promweb.server.http import MetricsServer
from tests.support import workers
from tests.support.running import python
from tests.support.waiting import DEADLINE

NAMES = (
    "GunicornInternalPrometheusMetrics",
    "GunicornPrometheusMetrics",
    "MultiprocessInternalPrometheusMetrics",
    "MultiprocessPrometheusMetrics",
    "UWsgiPrometheusMetrics",
)
INTERNAL = [name for name in NAMES if "Internal" in name]
EXTERNAL = [name for name in NAMES if "Internal" not in name]


def make_app() -> flask.Flask:
    app = flask.Flask("shop")
    app.add_url_rule("/", "home", lambda: "home")
    return app


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[MetricsServer]]:
    """Collect the servers that are started, and close them."""
    servers: list[MetricsServer] = []
    serve = promweb.adapters.shared.serve

    def noted(*args: Any) -> MetricsServer:
        servers.append(serve(*args))
        return servers[-1]

    monkeypatch.setattr(promweb.adapters.shared, "serve", noted)
    yield servers
    for server in servers:
        server.close()


def read(server: MetricsServer, path: str = "/metrics") -> str:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{server.port}{path}", timeout=DEADLINE
    ) as response:
        text: str = response.read().decode()
        return text


@pytest.mark.parametrize("name", NAMES)
def test_a_class_has_what_the_exporters_has(name: str) -> None:
    own, other = getattr(ours, name), getattr(theirs, name)
    assert {base.__name__ for base in other.__mro__} <= {base.__name__ for base in own.__mro__}
    for method, function in inspect.getmembers(other, inspect.isroutine):
        if method.startswith("_"):
            continue
        assert method in dir(own)
        if method in vars(other):
            accepted = list(inspect.signature(getattr(own, method)).parameters)
            wanted = list(inspect.signature(function).parameters)
            assert wanted == accepted[: len(wanted)]


@pytest.mark.parametrize("name", NAMES)
def test_without_multiprocess_mode_there_is_nothing_to_share(name: str, unshared: None) -> None:
    with pytest.raises(ValueError, match=rf"{name} needs .* PROMETHEUS_MULTIPROC_DIR"):
        getattr(ours, name)(make_app())


@pytest.mark.parametrize("name", EXTERNAL)
def test_the_application_does_not_serve_what_has_a_port_of_its_own(name: str, shared: Path) -> None:
    for given in ({}, {"path": "/metrics"}):
        app = make_app()
        getattr(ours, name)(app, **given)
        assert app.test_client().get("/metrics").status_code == 404


@pytest.mark.parametrize("name", EXTERNAL)
def test_the_application_serves_it_where_that_is_asked_for(name: str, shared: Path) -> None:
    app = make_app()
    getattr(ours, name)(app).register_endpoint("/metrics")
    app.test_client().get("/")
    text = app.test_client().get("/metrics").text
    assert 'flask_http_request_total{method="GET",status="200"} 1.0' in text


@pytest.mark.parametrize("name", INTERNAL)
def test_the_application_serves_what_is_internal(
    name: str, shared: Path, started: list[MetricsServer]
) -> None:
    metrics_class = getattr(ours, name)
    first, second, third = make_app(), make_app(), make_app()
    metrics_class(first)
    metrics_class(second, "/own").start_http_server(0)
    metrics_class.for_app_factory(path="/later").init_app(third)
    for app, path in ((first, "/metrics"), (second, "/own"), (third, "/later")):
        app.test_client().get("/")
        assert 'flask_http_request_total{method="GET",status="200"}' in (
            app.test_client().get(path).text
        )
    with pytest.warns(UserWarning, match=rf"{name} makes the application serve"):
        metrics_class.start_http_server_when_ready(0, process_metrics=True)
    assert started == []


def test_each_object_has_a_registry_unless_it_is_given_one(shared: Path) -> None:
    registry = CollectorRegistry()
    first, second = (ours.MultiprocessPrometheusMetrics() for _ in range(2))
    assert first.registry is not second.registry
    assert ours.MultiprocessPrometheusMetrics(registry=registry).registry is registry


def test_who_serves_is_for_a_subclass_to_say(shared: Path, started: list[MetricsServer]) -> None:
    class Chosen(ours.MultiprocessPrometheusMetrics):
        def should_start_http_server(self) -> bool:
            return True

    assert ours.MultiprocessPrometheusMetrics().start_http_server(0, "127.0.0.1") is None
    server = Chosen().start_http_server(0, "127.0.0.1", endpoint="/x")
    assert started == [server]


def test_gunicorns_first_process_serves_what_workers_counted_at_every_path(
    shared: Path, started: list[MetricsServer]
) -> None:
    app = make_app()
    ours.GunicornPrometheusMetrics(app)
    workers.run(lambda: app.test_client().get("/"))
    ours.GunicornPrometheusMetrics.start_http_server_when_ready(0, "127.0.0.1")
    (server,) = started
    for path in ("/metrics", "/", "/anything/else"):
        assert 'flask_http_request_total{method="GET",status="200"} 1.0' in read(server, path)


def test_gunicorns_first_process_takes_the_arguments_of_scrapes(
    shared: Path, started: list[MetricsServer]
) -> None:
    app = make_app()
    ours.GunicornPrometheusMetrics(app, process_metrics=True)
    workers.run(lambda: app.test_client().get("/"))
    ours.GunicornPrometheusMetrics.start_http_server_when_ready(
        0, "127.0.0.1", metrics_decorator=bearer_token("secret"), process_metrics=True
    )
    (server,) = started
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        read(server, "/metrics")
    refused.value.close()
    headers = {"Authorization": "Bearer secret"}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=DEADLINE) as response:
        text = response.read().decode()
    assert 'flask_http_request_total{method="GET",status="200"} 1.0' in text
    assert "process_cpu_seconds_total{pid=" in text


def test_a_worker_that_gunicorn_tells_of_is_compacted(shared: Path) -> None:
    app = make_app()
    ours.GunicornInternalPrometheusMetrics(app)
    pid = workers.run(lambda: app.test_client().get("/"))
    assert list(shared.glob(f"histogram_{pid}.*"))
    ours.GunicornInternalPrometheusMetrics.mark_process_dead_on_child_exit(pid)
    assert not list(shared.glob(f"*_{pid}.*"))
    text = app.test_client().get("/metrics").text
    assert 'flask_http_request_total{method="GET",status="200"} 1.0' in text


class Uwsgi(SimpleNamespace):
    """The module `uwsgi`, as a worker sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.worker = 0
        self.master = 0
        self.forked: list[Callable[[], object]] = []
        super().__init__(worker_id=lambda: self.worker, masterpid=lambda: self.master)
        monkeypatch.setitem(sys.modules, "uwsgi", self)
        monkeypatch.setattr(forking, "in_child", self.forked.append)


@pytest.fixture
def uwsgi(monkeypatch: pytest.MonkeyPatch) -> Uwsgi:
    return Uwsgi(monkeypatch)


def test_uwsgis_first_worker_serves_where_each_loads_the_application(
    shared: Path, uwsgi: Uwsgi, started: list[MetricsServer]
) -> None:
    uwsgi.master = os.getppid()
    for uwsgi.worker in (2, 1):
        ours.UWsgiPrometheusMetrics(make_app()).start_http_server(0, "127.0.0.1")
        assert len(started) == (uwsgi.worker == 1)
    assert "flask_exporter_info" in read(started[0])


def test_uwsgis_first_worker_serves_where_the_master_loads_the_application(
    shared: Path,
    uwsgi: Uwsgi,
    started: list[MetricsServer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    uwsgi.master = os.getpid()
    metrics = ours.UWsgiPrometheusMetrics(make_app())
    assert metrics.start_http_server(0, "192.0.2.1") is None  # an address that is not ours
    (start,) = uwsgi.forked
    assert started == []

    uwsgi.master, uwsgi.worker = os.getppid(), 1
    with caplog.at_level(logging.ERROR, "promweb"):
        start()
    assert "cannot be served on port 0: [Errno 99]" in caplog.text
    assert started == []

    uwsgi.master = os.getpid()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert metrics.start_http_server(port, "127.0.0.1") is None
    start = uwsgi.forked[-1]
    uwsgi.master = os.getppid()
    uwsgi.worker = 2
    start()
    uwsgi.master, uwsgi.worker = 0, 1  # a child of the first worker
    start()
    assert started == []
    uwsgi.master = os.getppid()
    start()
    assert [server.port for server in started] == [port]


def test_outside_of_uwsgi_its_class_says_so(shared: Path) -> None:
    metrics = ours.UWsgiPrometheusMetrics(make_app())
    with pytest.raises(RuntimeError, match="this is not uWSGI"):
        metrics.start_http_server(0)


def test_the_classes_are_loaded_when_asked_for() -> None:
    program = (
        "import sys, promweb.multiprocess as m; assert 'flask' not in sys.modules; "
        "m.UWsgiPrometheusMetrics; assert 'flask' in sys.modules; assert not hasattr(m, 'None')"
    )
    python(program, check=True)
