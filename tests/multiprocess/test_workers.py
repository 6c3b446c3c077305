"""Memory, processor time, open files and garbage collections of each living worker."""

from __future__ import annotations

import fcntl
import gc
import json
import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flask
import pytest
from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    Gauge,
    ProcessCollector,
)

from promweb.multiprocess import (
    GunicornInternalPrometheusMetrics,
    MultiprocessInternalPrometheusMetrics,
)
from promweb.multiprocess.lifecycle.processes import identify
from promweb.multiprocess.setup import storage_of
from promweb.multiprocess.worker_metrics import SWITCH, WorkerMetrics
from tests.support import workers
from tests.support.legs import Leg
from tests.support.workers import Samples, value

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")

GC_KEYS = {
    "python_gc_collections_total": "collections",
    "python_gc_objects_collected_total": "collected",
    "python_gc_objects_uncollectable_total": "uncollectable",
}


@pytest.fixture(autouse=True)
def asked_for(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn on what the other tests of multiprocess mode do without."""
    if "shared" in request.fixturenames:
        request.getfixturevalue("shared")
    monkeypatch.setenv(SWITCH, "1")


def make_app(leg: Leg) -> Any:
    app = leg.make_app()
    leg.make_metrics(app)
    app.add_url_rule("/", view_func=leg.view(lambda: "done"))
    return app


def scrape(leg: Leg, app: Any, query: str = "") -> Samples:
    return workers.samples(leg.get(app, f"/metrics{query}").text)


def look(known: WorkerMetrics) -> Samples:
    """Return the samples of the workers alone."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for metric in known.add_to((), None)
        for sample in metric.samples
    }


def pids(found: Samples, name: str = "process_resident_memory_bytes") -> set[str]:
    return {dict(labels)["pid"] for sample, labels in found if sample == name}


@dataclass
class Worker:
    """A process that waits."""

    pid: int
    report: Any
    """The result of its function."""


@contextmanager
def living(function: Callable[[], object]) -> Iterator[Worker]:
    """Make a worker run a function, report the result, and live until the block ends."""
    told, tell = os.pipe()
    wait, end = os.pipe()

    def work() -> None:
        os.close(end)
        gc.disable()
        os.write(tell, json.dumps(function()).encode())
        workers.told(wait)

    pid = workers.start(work)
    os.close(tell)
    os.close(wait)
    try:
        yield Worker(pid, json.loads(os.read(told, 10_000)))
    finally:
        os.close(told)
        os.close(end)
        workers.join(pid)


def serve(leg: Leg, app: Any) -> Callable[[], None]:
    def work() -> None:
        assert leg.get(app, "/").status == 200

    return work


def test_each_living_worker_has_its_series_and_dead_ones_none(leg: Leg, shared: Path) -> None:
    app = make_app(leg)
    killed = workers.kill_after(serve(leg, app))
    own = str(os.getpid())
    with living(serve(leg, app)) as first, living(serve(leg, app)) as second:
        found = scrape(leg, app)
        for name in ("process_resident_memory_bytes", "python_gc_collections_total"):
            assert pids(found, name) == {own, str(first.pid), str(second.pid)}
        os.kill(first.pid, signal.SIGKILL)
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # a zombie
        assert str(first.pid) not in pids(scrape(leg, app))
    found = scrape(leg, app)
    assert pids(found) == pids(found, "python_gc_collections_total") == {own}
    assert not [path for path in shared.glob("*.worker") if not path.name.startswith(own)]
    assert str(killed) not in {dict(labels).get("pid") for _, labels in found}


def test_the_values_are_those_of_the_worker(leg: Leg, shared: Path) -> None:
    app = make_app(leg)
    with living(serve(leg, app)) as worker:
        found = scrape(leg, app)
        expected = {
            sample.name: sample.value
            for metric in ProcessCollector(pid=lambda: worker.pid, registry=None).collect()
            for sample in metric.samples
        }
    assert len(expected) == 6
    for name, number in expected.items():
        assert value(found, name, pid=str(worker.pid)) == number, name


def test_the_garbage_is_that_of_the_worker(leg: Leg, shared: Path) -> None:
    app = make_app(leg)
    serve(leg, app)()

    def work() -> Any:
        serve(leg, app)()
        for generation in (0, 1, 2, 2):
            gc.collect(generation)
        return gc.get_stats()

    with living(work) as worker:
        found = scrape(leg, app)
    assert worker.report != gc.get_stats()
    for name, key in GC_KEYS.items():
        for generation, numbers in enumerate(worker.report):
            labels = {"generation": str(generation), "pid": str(worker.pid)}
            assert value(found, name, **labels) == numbers[key], (name, generation)
    own = value(found, "python_gc_collections_total", generation="2", pid=str(os.getpid()))
    assert own == gc.get_stats()[2]["collections"]


def test_names_and_types_are_those_of_one_process(leg: Leg, shared: Path) -> None:
    app = make_app(leg)
    text = leg.get(app, "/metrics").text
    found = workers.definitions(text)
    for collector in (PROCESS_COLLECTOR, GC_COLLECTOR, PLATFORM_COLLECTOR):
        metrics = list(collector.collect())
        assert metrics
        for metric in metrics:
            assert found[metric.name][0] == metric.type
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    reply = leg.get(app, "/metrics", headers=accept)
    assert "python_info" in {name for name, _ in workers.samples(reply.text, is_openmetrics=True)}


def test_some_names_alone(leg: Leg, shared: Path) -> None:
    app = make_app(leg)
    found = scrape(leg, app, "?name[]=process_open_fds&name[]=python_gc_collections_total")
    assert {name for name, _ in found} == {"process_open_fds", "python_gc_collections_total"}
    found = scrape(leg, app, "?name[]=flask_http_request_total")
    assert {name for name, _ in found} <= {"flask_http_request_total"}


@pytest.mark.parametrize("said", [None, "0"])
def test_it_is_off_unless_asked_for(
    leg: Leg, shared: Path, monkeypatch: pytest.MonkeyPatch, said: str | None
) -> None:
    monkeypatch.delenv(SWITCH)
    if said is not None:
        monkeypatch.setenv(SWITCH, said)
    gc.collect()  # or what other tests left goes meanwhile
    callbacks = list(gc.callbacks)
    app = make_app(leg)
    serve(leg, app)()
    assert not pids(scrape(leg, app)) | pids(scrape(leg, app), "python_gc_collections_total")
    assert gc.callbacks == callbacks
    assert not list(shared.glob("*.worker"))


@pytest.mark.parametrize("when", ["first", "later"])
def test_one_object_asks_for_it(
    leg: Leg, shared: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.delenv(SWITCH)
    app = leg.make_app()
    if when == "later":
        serve(leg, make_app(leg))()
        assert not list(shared.glob("*.worker"))
    metrics = leg.make_metrics(app, process_metrics=True)
    assert metrics.process_metrics is True
    if when == "first":
        leg.get(app, "/")
    assert list(shared.glob("*.worker"))  # without a scrape of this process
    found = scrape(leg, app)
    assert pids(found) == {str(os.getpid())}
    assert pids(found, "python_gc_collections_total") == {str(os.getpid())}


def test_the_exporters_classes_do_not_ask_for_it(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SWITCH)
    for number, cls in enumerate(
        (GunicornInternalPrometheusMetrics, MultiprocessInternalPrometheusMetrics)
    ):
        app = flask.Flask("shop")
        cls(app, defaults_prefix=f"shop{number}")
        app.test_client().get("/x")
        text = app.test_client().get("/metrics").text
        assert f"shop{number}_http_request_total" in text
        assert "pid=" not in text


def test_one_process_shows_what_prometheus_client_has(leg: Leg, unshared: None) -> None:
    app = leg.make_app()
    leg.make_metrics(app, process_metrics=True)
    assert "pid=" not in leg.get(app, "/metrics").text


@pytest.mark.parametrize(
    ("said", "is_on"),
    [("True", True), ("on ", True), ("yes", True), ("1", True), ("0", False), ("", False)],
)
def test_what_the_variable_may_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, is_on: bool
) -> None:
    monkeypatch.setenv(SWITCH, said)
    assert bool(look(WorkerMetrics(str(tmp_path)))) is is_on


def test_a_family_of_the_program_is_not_doubled(leg: Leg, shared: Path) -> None:
    own = Gauge(
        "process_resident_memory_bytes",
        "Mine.",
        registry=leg.registry,
        multiprocess_mode="liveall",
    )
    own.set(7)
    found = scrape(leg, make_app(leg))  # says so if there are two of one kind
    assert value(found, "process_resident_memory_bytes", pid=str(os.getpid())) == 7
    assert pids(found, "process_open_fds") == {str(os.getpid())}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to become another user")
def test_what_may_not_be_read_is_missing(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    known = WorkerMetrics(str(tmp_path))
    known.announce()

    def work() -> Any:
        os.chdir(tmp_path)  # what is above it may be closed to others
        known = WorkerMetrics(".")
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        found = look(known)
        return sorted(pids(found)), sorted(pids(found, "process_open_fds"))

    with living(work) as other:
        memory, files = other.report
    assert memory == [str(os.getpid())]
    assert files == []


def test_another_container_may_have_the_same_pids(tmp_path: Path) -> None:
    known = WorkerMetrics(str(tmp_path))
    known.announce()
    (own,) = tmp_path.glob("*.worker")
    numbers = own.read_bytes().partition(b"pid:")[0]
    elsewhere = tmp_path / "1-0.worker"
    elsewhere.write_bytes(numbers + f"pid:[1] {identify(os.getppid())}".encode())
    with elsewhere.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert pids(look(known)) == {str(os.getpid())}
        assert elsewhere.exists()
    assert pids(look(known)) == {str(os.getpid())}
    assert not elsewhere.exists()
    assert own.exists()


def test_bad_files_do_no_harm(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"short", b"\xff" * 200, b"x" * 200)):
        (tmp_path / f"{number}-0.worker").write_bytes(content)
    (tmp_path / "9-0.worker").mkdir()
    assert pids(look(WorkerMetrics(str(tmp_path)))) == {str(os.getpid())}


def test_where_nothing_can_be_written_it_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = WorkerMetrics(str(tmp_path / "gone"))
    known.announce()
    known.announce()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("promweb", logging.WARNING)
    assert "will not show memory" in record.getMessage()
    # Only the metrics that all workers share are there.
    assert [metric.name for metric in known.add_to((), None)] == ["python_info"]


def test_a_file_that_cannot_get_its_name_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("not here")

    monkeypatch.setattr(os, "rename", refuse)
    WorkerMetrics(str(tmp_path)).announce()
    assert "not here" in caplog.text
    assert not list(tmp_path.iterdir())


def test_young_collections_are_there_when_the_worker_itself_answers(tmp_path: Path) -> None:
    known = WorkerMetrics(str(tmp_path))
    gc.disable()
    try:
        known.announce()
        gc.collect(0)
        found = look(known)
        expected = gc.get_stats()[0]["collections"]
    finally:
        gc.enable()
    labels = {"generation": "0", "pid": str(os.getpid())}
    assert value(found, "python_gc_collections_total", **labels) == expected


@pytest.mark.parametrize("is_removed", [False, True])
def test_the_callback_ends_with_what_it_writes_for(tmp_path: Path, is_removed: bool) -> None:
    known = WorkerMetrics(str(tmp_path))
    known.announce()
    callback = gc.callbacks[-1]
    if is_removed:  # by the program
        gc.callbacks.remove(callback)
    del known
    gc.collect()
    assert callback not in gc.callbacks


def test_a_child_that_records_nothing_leaves_its_parents_numbers_alone(shared: Path) -> None:
    storage = storage_of(str(shared))
    storage.workers.announce()
    (own,) = shared.glob("*.worker")
    gc.disable()
    try:
        before = own.read_bytes()
        workers.run(gc.collect)
        assert own.read_bytes() == before
    finally:
        gc.enable()
    gc.collect()
    assert own.read_bytes() != before
    shutil.rmtree(shared)
