"""`promweb doctor`: each problem is found, and a service without problems has no findings."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError

import prometheus_client
import pytest
import quart
from click.testing import CliRunner, Result
from flask import Flask
from prometheus_client import CollectorRegistry, Counter, Gauge
from quart import Quart
from quart_trio import QuartTrio
from werkzeug.serving import make_server

from promweb import AsyncPrometheusMetrics, PrometheusMetrics
from promweb.core.families.problems import logger
from promweb.core.options import GROUP_BY
from promweb.multiprocess.setup import storage_of
from promweb.scrapes.parsing import ScrapeError, parse
from promweb.tools.cli.group import cli
from promweb.tools.doctor import directory, environment
from promweb.tools.doctor.application import check_application
from promweb.tools.doctor.directory import check_directory
from promweb.tools.doctor.findings import Finding, Findings, Level
from promweb.tools.doctor.running_service import Outcome, check_scrapes
from promweb.tools.loading.targets import find
from tests.behaviour.test_errors import above
from tests.multiprocess.test_workers import living
from tests.support import running, workers
from tests.support.legs import LEGS, Leg
from tests.support.paths import ROOT, SCRIPTS


def seen(findings: Findings) -> dict[str, Level]:
    """Return the level of each check; every finding but an ok says why and what to do.

    Every application on Quart without `event_loop` has a note, which is left out.
    """
    found: dict[str, Level] = {}
    for finding in findings:
        assert finding.level is Level.OK or (finding.why and finding.remedy), finding
        if finding.level is not Level.OK or finding.check != "event-loop":
            found[finding.check] = finding.level
    return found


def one(findings: Findings, check: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.check == check]
    return finding


OK, WARNING, ERROR = Level.OK, Level.WARNING, Level.ERROR

# The environment.


def test_a_plain_environment_is_well(tmp_path: Path) -> None:
    assert not list(environment.check_variable({}))
    assert seen(environment.check_mode({}, tmp_path, is_shared=False)) == {"workers": OK}
    assert seen(environment.check_mode({}, tmp_path, is_shared=True)) == {"workers": OK}


def test_findings_end_with_where_messages_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PROMETHEUS_MULTIPROC_DIR", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    runner = CliRunner()
    assert "docs/messages.md" not in runner.invoke(cli, ["doctor"]).output
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    last = runner.invoke(cli, ["doctor"]).output.splitlines()[-1]
    assert last.endswith("on the page Messages of promweb's documentation (docs/messages.md).")
    assert "docs/messages.md" not in runner.invoke(cli, ["doctor", "--format", "json"]).output
    assert (ROOT / "docs/messages.md").exists()


def test_how_the_variable_is_written() -> None:
    check = environment.check_variable
    assert not list(check({"PROMETHEUS_MULTIPROC_DIR": "/run/shop"}))
    assert seen(check({"prometheus_multiproc_dir": "/run/shop"})) == {"variable": WARNING}
    assert "relative" in one(check({"PROMETHEUS_MULTIPROC_DIR": "run"}), "variable").what
    assert "empty" in one(check({"PROMETHEUS_MULTIPROC_DIR": ""}), "variable").what


@pytest.mark.parametrize("name", ["WEB_CONCURRENCY", "GRANIAN_WORKERS", "UVICORN_WORKERS"])
def test_variables_that_ask_for_workers(tmp_path: Path, name: str) -> None:
    check = environment.check_mode
    assert one(check({name: "2"}, tmp_path, is_shared=False), "workers").what.startswith(
        f"{name} is 2, but"
    )
    for value in ("1", "", "many"):
        assert seen(check({name: value}, tmp_path, is_shared=False)) == {"workers": OK}
    assert seen(check({name: "2"}, tmp_path, is_shared=True)) == {"workers": OK}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gunicorn.conf.py", "import x\nworkers = 4\n", "workers = 4"),
        ("gunicorn.conf.py", "a.b = workers = cpu_count() * 2", "workers = cpu_count() * 2"),
        ("gunicorn.conf.py", "workers = 1", None),
        ("gunicorn.conf.py", "threads = 4", None),
        ("gunicorn.conf.py", "workers = (", None),
        ("uwsgi.ini", "[uwsgi]\nprocesses = 4\nlazy-apps\nenv=%d\nenv=b", "processes = 4"),
        ("uwsgi.ini", "[uwsgi]\nworkers = 2", "processes = 2"),
        ("uwsgi.ini", "[uwsgi]\nworkers", None),
        ("uwsgi.ini", "[uwsgi]\nprocesses = 1", None),
        ("uwsgi.ini", "[other]\nprocesses = 4", None),
        ("uwsgi.ini", "processes", None),
    ],
)
def test_files_that_ask_for_workers(
    tmp_path: Path, name: str, content: str, says: str | None
) -> None:
    (tmp_path / name).write_text(content)
    finding = one(environment.check_mode({}, tmp_path, is_shared=False), "workers")
    assert finding.level is (OK if says is None else WARNING)
    assert says is None or finding.what.startswith(f"{name} has {says}, but")


def test_arguments_of_gunicorn_that_ask_for_workers(tmp_path: Path) -> None:
    given = {"GUNICORN_CMD_ARGS": "-w 3"}
    finding = one(environment.check_mode(given, tmp_path, is_shared=False), "workers")
    assert "GUNICORN_CMD_ARGS asks for 3 workers" in finding.what


# The directory.


def test_a_directory_in_use_is_well(shared: Path) -> None:
    storage_of(str(shared))
    Counter("hits", "Hits", registry=None).inc()
    assert seen(check_directory(str(shared))) == {"directory": OK}


def test_a_missing_directory(tmp_path: Path) -> None:
    finding = one(check_directory(str(tmp_path / "a" / "b")), "directory")
    assert (finding.level, "does not exist" in finding.what) == (WARNING, True)
    file = tmp_path / "file"
    file.touch()
    assert seen(check_directory(str(file / "a"))) == {"directory": ERROR}
    assert "is not a directory" in one(check_directory(str(file)), "directory").what


def test_a_directory_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be written to" in one(check_directory(str(tmp_path)), "directory").what


def test_a_directory_on_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "network_file_system", lambda path: "cifs")
    assert seen(check_directory(str(tmp_path)))["network-file-system"] is WARNING


def test_a_directory_without_room(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def left(free: int) -> dict[str, Level]:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
        return seen(check_directory(str(shared)))

    assert left(directory.ROOM) == {"directory": OK}
    assert left(directory.ROOM - 1) == {"directory-full": ERROR, "directory": OK}


def test_a_directory_full_of_dead_workers(shared: Path) -> None:
    for pid in range(directory.MANY + 1):
        (shared / f"counter_{4_000_000 + pid}.db").write_bytes(b"\x08\0\0\0\0\0\0\0")
    assert "101 files" in one(check_directory(str(shared)), "dead-workers").what
    (shared / "counter_4000000.db").unlink()
    assert "dead-workers" not in seen(check_directory(str(shared)))


def test_files_that_cannot_be_read(shared: Path) -> None:
    (shared / "counter_1.db").write_bytes(b"\xff" * 100)
    (shared / "notes.db").touch()
    finding = one(check_directory(str(shared)), "files")
    assert "2 files that cannot be read, such as notes.db" in finding.what


def test_a_file_that_vanishes_meanwhile(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Vanished:
        def __init__(self, *_: object) -> None:
            raise FileNotFoundError

    (shared / "counter_1.db").touch()
    monkeypatch.setattr(directory, "FileReader", Vanished)
    assert seen(check_directory(str(shared))) == {"directory": OK}


def test_two_programs_in_one_directory(shared: Path) -> None:
    storage_of(str(shared))
    Counter("jobs", "Jobs", registry=None).inc()

    def other() -> None:
        os.setpgid(0, 0)
        Gauge("jobs_total", "Jobs", registry=None, multiprocess_mode="livesum").set(1)

    assert seen(check_directory(str(shared))) == {"directory": OK}
    with living(other) as worker:
        found = list(check_directory(str(shared)))
        assert str(worker.pid) in one(iter(found), "directory-shared").what
    assert "directory-shared" not in seen(check_directory(str(shared)))


def test_a_name_with_two_types(shared: Path) -> None:
    Counter("jobs", "Jobs", registry=None).inc()
    Gauge("jobs", "Jobs", registry=None, multiprocess_mode="livesum").set(1)
    finding = one(check_directory(str(shared)), "types")
    assert "jobs is a counter and a gauge" in finding.what


def test_looking_changes_nothing(shared: Path) -> None:
    workers.run(Counter("hits", "Hits", registry=None).inc)
    before = {path.name: path.read_bytes() for path in shared.iterdir()}
    list(check_directory(str(shared)))
    assert {path.name: path.read_bytes() for path in shared.iterdir()} == before


# An application.


def look(leg: Leg, *views: str, debug: bool = False, **kwargs: Any) -> list[Finding]:
    """Return what is found of an application with views at some paths."""

    def load() -> Any:
        app = leg.make_app()
        app.debug = debug
        leg.make_metrics(app, registry=CollectorRegistry(), **kwargs)
        for path in views:
            app.add_url_rule(path, path.replace(".", ""), leg.view(lambda **_: "done"))
        return app

    return list(check_application(load))


def levels(findings: Sequence[Finding]) -> dict[str, Level]:
    return seen(iter(findings))


def test_an_application_without_a_fault(leg: Leg) -> None:
    assert levels(look(leg, "/", "/item")) == {"endpoint": OK}
    found = look(leg, "/item/<name>", group_by="url_rule", excluded_paths="/item/new")
    assert levels(found) == {"endpoint": OK}


def test_groups_without_end(leg: Leg) -> None:
    finding = one(iter(look(leg, "/item/<name>", "/")), "unbounded")
    assert (finding.level, "/item/<name>." in finding.what) == (WARNING, True)
    assert "url_rule" in finding.remedy
    found = look(leg, *(f"/{number}/<name>" for number in range(7)))
    assert "and 2 more" in one(iter(found), "unbounded").what
    assert "unbounded" not in levels(look(leg, "/<name>", export_defaults=False))


@pytest.mark.parametrize(
    ("pattern", "excludes"),
    [
        ("/health", True),
        ("health", False),
        ("/healthz", False),
        ("^/item/new", True),
        ("/items?/x", True),
        ("/order", False),
        ("/nothing|/item/1", True),
        ("(?i)/ITEM/1", True),
        (".*", True),
    ],
)
def test_excluded_paths_that_exclude_nothing(leg: Leg, pattern: str, excludes: bool) -> None:
    found = levels(
        look(leg, "/health", "/item/<name>", group_by="url_rule", excluded_paths=pattern)
    )
    assert ("excluded-paths" in found) is not excludes


def test_two_objects_with_different_prefixes(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    assert "prefixes" not in seen(check_application(lambda: app))
    leg.make_metrics(app, path=None, defaults_prefix="shop")
    finding = one(check_application(lambda: app), "prefixes")
    assert "shop_http_request_duration_seconds" in finding.what


def test_a_prefix_with_an_underscore(leg: Leg) -> None:
    finding = one(iter(look(leg, defaults_prefix="shop_")), "prefixes")
    assert ("shop__" in finding.why, "'shop'" in finding.remedy) == (True, True)


@pytest.mark.parametrize(
    ("prefix", "instead"), [("http", "NO_PREFIX"), ("shop_http", "'shop'"), ("http_shop", None)]
)
def test_a_prefix_that_the_names_repeat(leg: Leg, prefix: str, instead: str | None) -> None:
    found = look(leg, defaults_prefix=prefix)
    if instead is None:
        assert levels(found) == {"endpoint": OK}
        return
    finding = one(iter(found), "prefixes")
    assert (f"{prefix}_http" in finding.why, instead in finding.remedy) == (True, True)


def test_what_is_found_is_not_said_again_as_what_was_logged(leg: Leg) -> None:
    assert levels(look(leg, defaults_prefix="shop_")) == {"prefixes": WARNING, "endpoint": OK}
    found = look(leg, "/<item>", group_by=GROUP_BY)
    assert levels(found) == {"unbounded": WARNING, "endpoint": OK}


def test_names_of_opentelemetry_are_no_fault(leg: Leg) -> None:
    """Their group is the rule, and they may be recorded beside others."""
    assert levels(look(leg, "/item/<name>", naming="otel")) == {"endpoint": OK}
    app = leg.make_app()
    leg.make_metrics(app)
    leg.make_metrics(app, path=None, naming="otel")
    assert seen(check_application(lambda: app)) == {"endpoint": OK}


def test_a_decorator_above_the_route(leg: Leg) -> None:
    def load() -> Any:
        metrics = leg.make_metrics(None)
        app = above(leg, metrics.counter("jobs", "Jobs."))
        metrics.init_app(app)
        return app

    found = list(check_application(load))
    assert levels(found) == {"decorators": WARNING, "endpoint": OK}
    assert "counter 'jobs' is above the route of " in one(iter(found), "decorators").what
    assert "below the route" in one(iter(found), "decorators").remedy


def test_debug_mode(leg: Leg) -> None:
    assert levels(look(leg, debug=True))["debug"] is WARNING


def test_an_event_loop_that_nobody_watches(leg: Leg) -> None:
    def notes(**kwargs: Any) -> list[Finding]:
        return [finding for finding in look(leg, "/", **kwargs) if finding.check == "event-loop"]

    if leg.web is quart:
        (note,) = notes()
        assert (note.level, "event_loop=True" in note.what) == (OK, True)
        assert not notes(event_loop=0.5)
    else:
        assert not notes()


def test_an_application_that_nobody_measures(leg: Leg) -> None:
    finding = one(check_application(leg.make_app), "application")
    assert (finding.level, "does not measure" in finding.what) == (ERROR, True)
    assert "not a Flask or Quart" in one(check_application(lambda: 3), "application").what


@pytest.mark.parametrize("use", ["register_default", "register_dashboard", "decorate"])
def test_a_metrics_object_that_is_never_attached(leg: Leg, use: str) -> None:
    def load() -> Any:
        app = leg.make_app()
        metrics = leg.make_metrics(None)
        count = metrics.counter("jobs", "Jobs.")
        if use == "register_default":
            metrics.register_default(count, app=app)
        elif use == "register_dashboard":
            metrics.register_dashboard("/live", app)
        app.add_url_rule("/", "index", count(leg.view(lambda: "ok")))
        return app

    finding = one(check_application(load), "application")
    assert (finding.level, "init_app" in finding.remedy) == (ERROR, True)


def test_an_application_that_only_exports_the_defaults_is_measured(leg: Leg) -> None:
    def load() -> Any:
        app = leg.make_app()
        leg.make_metrics(None).export_defaults(app=app)
        return app

    assert levels(list(check_application(load))) == {"endpoint": OK}


MISTAKES: dict[str, tuple[Callable[[Leg], Any], str]] = {
    "a lambda as group": (
        lambda leg: leg.make_metrics(leg.make_app(), group_by=lambda request: "x"),
        "invalid label '<lambda>'",
    ),
    "before init_app": (
        lambda leg: leg.make_metrics(None).register_endpoint("/metrics"),
        "there is no application",
    ),
    "a decorator without its parentheses": (
        lambda leg: leg.make_metrics(None).counter(len),
        "returns a decorator",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_promweb_refuses(leg: Leg, mistake: str) -> None:
    make, says = MISTAKES[mistake]
    finding = one(check_application(lambda: make(leg)), "application")
    assert (finding.level, says in finding.what) == (ERROR, True)
    assert "refuses" in finding.why
    assert f"Fix {ROOT / 'tests'}" in finding.remedy


def test_an_application_inside_of_another(leg: Leg) -> None:
    app = leg.make_app()
    leg.make_metrics(app)
    outer = type("Outer", (), {"app": app})()
    assert seen(check_application(lambda: outer)) == {"endpoint": OK}


def test_the_class_of_the_other_framework() -> None:
    for wrong in (
        lambda: PrometheusMetrics(Quart("shop")),
        lambda: AsyncPrometheusMetrics(Flask("shop")),
    ):
        finding = one(check_application(wrong), "application")
        assert "PrometheusMetrics measures a" in finding.what


def test_an_application_that_ends_the_program() -> None:
    assert seen(check_application(lambda: sys.exit(1))) == {"application": ERROR}


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
        finding = one(check_application(lambda: socket.create_server(address)), "port-taken")
    assert finding.level is ERROR


def test_a_port_that_promweb_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    metrics = PrometheusMetrics.for_app_factory(registry=CollectorRegistry())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        def load() -> Any:
            app = Flask("shop")
            metrics.init_app(app)
            metrics.start_http_server(port, "127.0.0.1").close()
            return app

        assert f"Port {port} is taken by" in one(check_application(load), "logged").what


def test_what_promweb_logs_is_found(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> Any:
        app = leg.make_app()
        leg.make_metrics(app)
        logger.warning("Mind the %s.", "gap")
        return app

    assert one(check_application(load), "logged").what == "Mind the gap."
    assert not caplog.records


def test_the_variable_set_too_late(
    leg: Leg, unshared: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> Any:
        app = leg.make_app()
        leg.make_metrics(app)
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        return app

    assert seen(check_application(load))["variable-late"] is ERROR


@pytest.mark.parametrize("variable", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_an_application_in_multiprocess_mode_leaves_the_directory_alone(
    leg: Leg, shared: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    monkeypatch.setenv(variable, str(shared))
    (shared / "counter_1.db").touch()
    assert levels(look(leg, "/")) == {"endpoint": OK}
    assert [path.name for path in shared.iterdir()] == ["counter_1.db"]
    assert os.environ[variable] == str(shared)


# The metrics endpoint of an application.


def answering(leg: Leg, answer: Callable[[], Any] | None = None, **kwargs: Any) -> Findings:
    """Return the findings for an application whose `before_request` function answers."""

    def load() -> Any:
        app = leg.make_app()
        leg.make_metrics(app, **kwargs)
        if answer is not None:
            app.before_request(leg.view(answer))
        return app

    return check_application(load)


def test_somebody_answers_instead_of_the_endpoint(leg: Leg) -> None:
    def to_login() -> Any:
        return leg.web.redirect("/login")

    finding = one(answering(leg, to_login), "endpoint")
    assert (finding.level, "answered 302" in finding.what) == (ERROR, True)
    assert "answered 200 text/html" in one(answering(leg, lambda: "Hello"), "endpoint").what
    assert "answered 401" in one(answering(leg, lambda: ("no", 401)), "endpoint").what
    assert one(answering(leg, lambda: ("broken", 503)), "endpoint").level is WARNING
    finding = one(answering(leg, lambda: ("POST only", 405)), "endpoint")
    assert (finding.level, "does not allow GET" in finding.what) == (ERROR, True)


def test_an_endpoint_that_asks_for_a_password(leg: Leg) -> None:
    def protect(view: Any) -> Any:
        return leg.view(lambda **_: ("no", 401))

    finding = one(answering(leg, metrics_decorator=protect), "endpoint")
    assert (finding.level, "asks for credentials" in finding.what) == (OK, True)


def test_another_route_at_the_path(leg: Leg) -> None:
    def load() -> Any:
        app = leg.make_app()
        app.add_url_rule("/metrics", "mine", leg.view(lambda: "mine"))
        leg.make_metrics(app)
        return app

    finding = one(check_application(load), "endpoint")
    assert (finding.level, "another route" in finding.what) == (ERROR, True)


def test_no_endpoint(leg: Leg) -> None:
    assert "path=None" in one(answering(leg, path=None), "endpoint").what


def test_an_endpoint_that_cannot_be_tried(leg: Leg) -> None:
    def load() -> Any:
        app = leg.make_app()
        leg.make_metrics(app)
        app.test_client = None
        return app

    assert one(check_application(load), "endpoint").level is WARNING


def test_an_application_that_matches_hosts_is_not_asked(leg: Leg) -> None:
    def load() -> Any:
        app = leg.app_class(__name__, host_matching=True, static_host="localhost")
        leg.make_metrics(app)
        return app

    assert seen(check_application(load)) == {"application": OK}


def test_an_application_on_trio() -> None:
    def load() -> Any:
        app = QuartTrio(__name__)
        AsyncPrometheusMetrics(app, registry=CollectorRegistry())
        return app

    assert seen(check_application(load)) == {"endpoint": OK}


# Scrapes.

INFO = '# TYPE flask_exporter_info gauge\nflask_exporter_info{version="1"} 1\n'


def scraped(*lines: str, info: str = INFO, seconds: float = 0.0) -> Outcome:
    return Outcome(parse(info + "".join(f"{line}\n" for line in lines)), seconds)


def compare(*rounds: Sequence[Outcome], timeout: float = 10.0) -> list[Finding]:
    return list(check_scrapes("http://shop/metrics", rounds, timeout))


def test_scrapes_without_a_fault() -> None:
    process = "process_start_time_seconds 5"
    found = compare(
        [scraped("a_total 1", process)],
        [scraped("a_total 3", process), scraped("a_total 2", process)],
        [scraped("a_total 3", process, 'b_total{pid="1"} 1')],
        [scraped("a_total 3", 'process_start_time_seconds{pid="1"} 7', 'b_total{pid="1"} 0')],
    )
    assert levels(found) == {"scrape": OK}


def test_counters_that_fall() -> None:
    found = compare([scraped('a_total{x="1"} 3')], [scraped('a_total{x="1"} 2')])
    finding = one(iter(found), "counters")
    assert (finding.level, "a_total{'x': '1'} went down" in finding.what) == (ERROR, True)
    found = compare([scraped("a_total 3"), scraped("a_total 2")], [scraped("a_total 3")])
    assert "counters" not in levels(found)


def test_several_processes_that_answer() -> None:
    found = compare(
        [scraped("process_start_time_seconds 1"), scraped("process_start_time_seconds 2")]
    )
    assert "2 different processes" in one(iter(found), "workers").what


def test_scrapes_that_are_slow() -> None:
    assert levels(compare([scraped(seconds=6.0)]))["slow"] is WARNING
    assert "slow" not in levels(compare([scraped(seconds=4.0)]))


def test_metrics_of_somebody_else() -> None:
    assert levels(compare([scraped("up 1", info="")])) == {"promweb": WARNING}
    info = "# TYPE http_server_request_duration_seconds histogram\n"
    assert levels(compare([scraped("up 1", info=info)])) == {"scrape": OK}


def test_self_metrics() -> None:
    lines = (
        'promweb_label_errors_total{metric="orders",label="tenant"} 3',
        'promweb_series_folded_total{metric="orders"} 1200',
        'promweb_series_folded_total{metric="none"} 0',
        'promweb_multiprocess_files_skipped_total{reason="truncated"} 2',
    )
    found = compare([scraped(*lines)], [scraped(*lines)])
    assert [finding.what for finding in found] == [
        "Wrong values of the label 'tenant' of orders: 3.",
        "Recordings of orders that became <overflow>: 1,200.",
        "Files of workers that scrapes left out as truncated: 2.",
    ]


def timed(name: str, bounds: Mapping[str, int], **labels: str) -> list[str]:
    shown = [f'{label}="{value}"' for label, value in labels.items()]
    buckets = [",".join((*shown, f'le="{bound}"')) for bound in bounds]
    return [
        f"# TYPE {name} histogram",
        *(
            f"{name}_bucket{{{bucket}}} {count}"
            for bucket, count in zip(buckets, bounds.values(), strict=True)
        ),
        f"{name}_count{{{','.join(shown)}}} {bounds['+Inf']}",
    ]


def test_what_waits() -> None:
    late, soon = {"0.1": 0, "1": 100, "+Inf": 100}, {"0.1": 100, "1": 100, "+Inf": 100}
    waits = ("event_loop_lag", "http_request_queue", "thread_wait")
    step = "flask_http_request_loop_block_seconds"
    bad = [line for name in waits for line in timed(f"flask_{name}_seconds", late)]
    for path in "abcdefg":
        bad += timed(step, late, path=f"/{path}")
    bad += timed(step, soon, path="/good")
    bad.append('promweb_queue_times_ignored_total{reason="future"} 4')
    found = compare([scraped(*bad)])
    assert [(finding.level, finding.what) for finding in found] == [
        (WARNING, "Headers that queue_time left out as future: 4."),
        (WARNING, "Timers ran late by more than 0.25 s: 100 of 100."),
        (
            WARNING,
            "Requests waited before the application was called, for more than 0.25 s: 100 of 100.",
        ),
        (WARNING, "Calls waited for a thread, for more than 0.1 s: 100 of 100."),
        (
            WARNING,
            "Requests held the event loop without a break, for more than 0.1 s: /a 100 of 100, "
            "/b 100 of 100, /c 100 of 100, /d 100 of 100, /e 100 of 100 and 2 more routes.",
        ),
    ]
    good = [line for name in waits for line in timed(f"flask_{name}_seconds", soon)]
    assert levels(compare([scraped(*good, *timed(step, soon, path="/good"))])) == {"scrape": OK}
    assert levels(compare([scraped(*timed(step, dict.fromkeys(soon, 0)))])) == {"scrape": OK}


@pytest.mark.parametrize(
    ("slow", "count", "level"),
    [(1, 2, OK), (2, 2, OK), (3, 3, WARNING), (3, 200, WARNING), (2, 100, OK), (2, 1000, None)],
)
def test_few_slow_requests_are_told_and_not_judged(
    slow: int, count: int, level: Level | None
) -> None:
    bounds = {"0.1": count - slow, "0.25": count, "+Inf": count}
    lines = timed("flask_http_request_loop_block_seconds", bounds, url_rule="/sleep")
    scrape, *found = sorted(
        compare([scraped(*lines)]), key=lambda finding: finding.check != "scrape"
    )
    if level is WARNING:
        found = [scrape]
    said = "Requests held the event loop without a break, for more than 0.1 s: /sleep"
    few = " These are too few to judge." if level is OK else ""
    expected = [] if level is None else [(level, f"{said} {slow} of {count}.{few}")]
    assert [(finding.level, finding.what) for finding in found] == expected


def fault(text: str, status: int | None = None) -> Outcome:
    error = ScrapeError(text)
    if status is not None:
        error.__cause__ = HTTPError("", status, "", None, None)  # type: ignore[arg-type]
    return Outcome(error, 0.1)


@pytest.mark.parametrize(
    ("outcome", "check", "says"),
    [
        (fault("answered 401", 401), "unauthorised", "--user"),
        (fault("answered 403", 403), "unauthorised", "--user"),
        (fault("answered 404", 404), "unreadable", "path"),
        (fault("answered 302", 302), "unreadable", "from the redirect"),
        (fault("answered 405", 405), "unreadable", "GET"),
        (fault("answered 500", 500), "unreadable", "log"),
        (fault("the answer is not an exposition of metrics: x"), "unreadable", "Another route"),
        (fault("Connection refused"), "unreadable", "runs"),
    ],
)
def test_what_cannot_be_read(outcome: Outcome, check: str, says: str) -> None:
    (finding,) = compare([outcome])
    assert (finding.check, finding.level) == (check, ERROR)
    assert says in finding.remedy
    assert levels(compare([scraped()], [outcome])) == {check: ERROR}


# The command.


def run(*arguments: str, **kwargs: Any) -> Result:
    return CliRunner().invoke(cli, ["doctor", *arguments], **kwargs)


@pytest.fixture
def project(tmp_path: Path, unshared: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make an empty directory with nothing of a server the current one."""
    for name in ("WEB_CONCURRENCY", "GRANIAN_WORKERS", "UVICORN_WORKERS", "GUNICORN_CMD_ARGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


SHOP = """
    from {framework} import {App}
    from prometheus_client import CollectorRegistry
    from promweb import {Metrics}


    def create_app():
        app = {App}(__name__)
        {Metrics}(app, group_by="{group}", registry=CollectorRegistry())
        app.add_url_rule("/item/<name>", "item", lambda name: name)
        return app


    app = create_app()
"""


def write_shop(project: Path, framework: str = "flask", group: str = "url_rule") -> None:
    metrics = {"flask": "PrometheusMetrics", "quart": "AsyncPrometheusMetrics"}[framework]
    source = SHOP.format(
        framework=framework, App=framework.capitalize(), Metrics=metrics, group=group
    )
    (project / "doctored_shop.py").write_text(textwrap.dedent(source))


@pytest.mark.parametrize("framework", ["flask", "quart"])
@pytest.mark.parametrize(
    "name", ["doctored_shop", "doctored_shop:app", "doctored_shop:create_app()"]
)
def test_an_application_by_its_name(project: Path, framework: str, name: str) -> None:
    write_shop(project, framework)
    for arguments in ([name], ["--app", name]):
        result = run(*arguments)
        assert (result.exit_code, "/metrics answers" in result.output) == (0, True), result.output


def test_exit_codes(project: Path) -> None:
    assert run().exit_code == 0
    write_shop(project, group="path")
    assert run("doctored_shop").exit_code == 1
    result = run("doctored_nothing")
    assert result.exit_code == 2
    assert "No module named 'doctored_nothing'" in result.output
    assert run("one:app", "--app", "two:app").exit_code == 2
    assert run("--url", "ftp://x").exit_code == 2
    assert "must be http or https" in run("ftp://x").output
    assert "the service is given twice" in run("localhost:1", "--url", "localhost:1").output


def test_where_an_import_fails(project: Path) -> None:
    (project / "doctored_shop.py").write_text("import json\njson.loads('')\n")
    assert "doctored_shop.py, line 2" in run("doctored_shop").output.replace("\n        ", " ")


def test_the_environment_is_looked_at(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    assert "WEB_CONCURRENCY is 4" in run().output
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(project / "none"))
    assert "does not exist" in " ".join(run().output.split())  # lines are wrapped


def test_json(project: Path) -> None:
    write_shop(project, group="path")
    made = json.loads(run("doctored_shop", "--format", "json").output)
    assert made["version"] == 1
    assert [finding["level"] for finding in made["findings"]] == ["warning", "ok", "ok"]
    assert {finding["check"] for finding in made["findings"]} == {
        "unbounded",
        "workers",
        "endpoint",
    }
    assert all(finding["why"] for finding in made["findings"] if finding["level"] != "ok")


def test_what_strangers_wrote_is_escaped(project: Path) -> None:
    (project / "doctored_shop.py").write_text("raise ValueError('\\x1b[31mred')\n")
    output = run("doctored_shop").output
    assert "\x1b" not in output
    assert "\\x1b[31mred" in output


@pytest.mark.parametrize("framework", ["flask", "quart"])
def test_the_frameworks_own_application(project: Path, framework: str) -> None:
    write_shop(project, framework)
    command = [str(SCRIPTS / framework), "--app", "doctored_shop", "promweb", "doctor"]
    done = running.run(command, cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert "/metrics answers with metrics" in done.stdout


@contextmanager
def serving(app: Any, **kwargs: Any) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, **kwargs)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_running_service(project: Path) -> None:
    leg: Any = LEGS["flask-sync"]()
    app = leg.make_app()
    leg.make_metrics(app)
    with serving(app, threaded=True) as url:
        result = run("--url", url)
        assert (result.exit_code, "agree with each other" in result.output) == (0, True)
        for given in (url, url.removeprefix("http://"), f"{url}/metrics"):
            assert "agree with each other" in run(given).output
        result = run("--url", f"{url}/nowhere")
        assert (result.exit_code, "answered 404" in result.output) == (2, True)


def test_a_service_of_several_processes(project: Path) -> None:
    """Werkzeug answers each request in a process of its own, which has its own start time."""
    program = textwrap.dedent(
        """
        from flask import Flask
        from prometheus_client import CollectorRegistry, ProcessCollector
        from promweb import PrometheusMetrics
        from werkzeug.serving import make_server

        app = Flask("shop")
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PrometheusMetrics(app, registry=registry)
        server = make_server("127.0.0.1", 0, app, processes=4)
        print(server.server_port, flush=True)
        server.serve_forever()
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            result = run("--url", f"127.0.0.1:{port}")
        finally:
            server.kill()
            _, log = server.communicate()
    assert result.exit_code == 2, result.output
    assert "different processes answered" in result.output
    assert "Several worker processes serve this application" in log


def test_credentials_are_sent(project: Path) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        known = environ.get("HTTP_AUTHORIZATION") == "Basic YTpi"
        start_response("200 OK" if known else "401 Unauthorized", [("Content-Type", "text/plain")])
        return [INFO.encode() if known else b"no"]

    with serving(app, threaded=True) as url:
        assert "asks for credentials" in run("--url", url).output
        assert run("--url", url, "--user", "a:b").exit_code == 0


@pytest.mark.parametrize(
    "target",
    [
        "examples.app_factory:create_app()",
        "examples.quick_start_flask",
        "examples.quick_start_quart",
        "examples.shop_flask:create_app()",
        "examples.shop_quart:create_app()",
        "guestbook.flask_app:create_app()",
        "guestbook.quart_app:create_app()",
    ],
)
def test_nothing_is_wrong_with_the_examples(
    project: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr(prometheus_client, "REGISTRY", CollectorRegistry())
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.syspath_prepend(ROOT / "examples/sample_project")
    for name in [name for name in sys.modules if name.startswith("examples")]:
        monkeypatch.delitem(sys.modules, name)  # made again, in an empty registry
    result = run(target)
    assert (result.exit_code, "/metrics answers" in result.output) == (0, True), result.output


def test_an_application_and_its_service_at_once(project: Path) -> None:
    write_shop(project)
    result = run("doctored_shop", "--url", "127.0.0.1:1")
    assert (result.exit_code, "/metrics answers" in result.output) == (2, True)
    assert "Connection refused" in result.output


def test_find_looks_into_objects(project: Path) -> None:
    (project / "doctored_shop.py").write_text("class Web:\n    app = 'the app'\n")
    assert find("doctored_shop:Web.app") == "the app"
