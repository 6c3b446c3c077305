"""Turning multiprocess mode on: one call, a directory that is made and starts empty."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, values

from promweb import multiprocess
from promweb.core.families.kinds import CounterFamily
from promweb.multiprocess import enable, setup
from promweb.multiprocess.file_storage import FileStorage
from promweb.multiprocess.files import file_names, locks
from promweb.multiprocess.lifecycle import runs
from promweb.multiprocess.lifecycle.runs import this_run
from tests.support import workers
from tests.support.legs import Leg
from tests.support.running import python
from tests.support.workers import value

from .test_compaction import files, read


@pytest.fixture(autouse=True)
def _fresh(unshared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Act like a process that has not enabled anything."""
    monkeypatch.setattr(setup, "_storages", {})


def sell(directory: Path, **labels: str) -> None:
    family = CounterFamily("sold", "", tuple(labels))
    workers.keep(setup.storage_of(str(directory)), family)
    family.child(tuple(labels.values())).inc()


def test_enable_makes_the_directory_and_names_it_to_all(tmp_path: Path) -> None:
    path = enable(tmp_path / "new" / "one")
    assert path == str(tmp_path / "new" / "one")
    assert os.environ["PROMETHEUS_MULTIPROC_DIR"] == path
    assert os.path.isdir(path)
    Counter("hits", "", registry=CollectorRegistry()).inc()
    assert value(read(Path(path)), "hits_total") == 1
    assert enable() == path


def test_enable_takes_the_directory_of_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "given"))
    assert enable() == str(tmp_path / "given")


def test_a_relative_directory_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert enable("here") == str(tmp_path / "here")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def test_enable_without_a_directory_has_one_that_all_workers_of_a_server_find(
    temporary: Path,
) -> None:
    """Each worker calls it, because the server's process does not know the application."""

    def worker() -> None:
        sell(Path(enable()), item="tea")

    for _ in range(2):
        workers.run(worker)
    (directory,) = temporary.iterdir()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert value(read(directory), "sold_total", item="tea") == 2


def another_server(function: Callable[[], object]) -> Callable[[], None]:
    """Return a target that starts a server, whose worker runs a function."""
    return lambda: workers.run(function) and None


def test_temporary_directories_of_runs_that_are_over_are_removed(temporary: Path) -> None:
    workers.run(another_server(enable))
    (old,) = temporary.iterdir()
    (temporary / "promweb-others").mkdir()
    new = Path(enable())
    assert old != new
    assert sorted(temporary.iterdir()) == sorted([new, temporary / "promweb-others"])


def test_a_temporary_directory_that_a_process_holds_stays(temporary: Path) -> None:
    """It may be of another pid namespace, so nothing but its lock tells."""
    prefix = f"promweb-{os.getuid()}-"
    held, left = temporary / f"{prefix}1", temporary / f"{prefix}2"
    for directory in held, left:
        directory.mkdir()
    descriptor = locks.share(str(held))
    assert descriptor is not None
    enable()
    assert held.exists()
    assert not left.exists()
    locks.close(descriptor)


def test_a_temporary_directory_without_a_worker_stays_as_long_as_its_server(
    temporary: Path,
) -> None:
    ready, go_on = os.pipe(), os.pipe()

    def server() -> None:
        workers.run(lambda: sell(Path(enable()), item="tea"))
        os.write(ready[1], b"x")
        workers.told(go_on[0])

    pid = workers.start(server)
    workers.told(ready[0])
    (directory,) = temporary.iterdir()
    workers.run(enable)
    assert directory.exists()
    os.write(go_on[1], b"x")
    assert workers.join(pid) == 0
    setup._storages.clear()
    enable()
    assert not directory.exists()


def test_who_has_a_file_holds_the_directory(tmp_path: Path) -> None:
    """The system clears no temporary directory that is locked."""
    sell(tmp_path, item="tea")
    assert locks.is_shared(str(tmp_path))

    def worker() -> None:
        sell(tmp_path, item="tea")
        setup._storages.clear()

    setup._storages[str(tmp_path)].leave_to_parent()  # as a forked child does
    workers.run(worker)


def test_who_starts_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has the lock, stopped maybe: what a former run left stays then."""
    leave_something(tmp_path)
    monkeypatch.setattr(runs, "_PATIENCE", 0.01)
    with locks.exclusive(str(tmp_path / file_names.LOCK)):
        sell(tmp_path, item="tea")
    assert value(read(tmp_path), "sold_total", item="old") == 1


@pytest.mark.parametrize("how", ["link", "open"])
def test_a_temporary_directory_that_somebody_else_made_is_refused(
    temporary: Path, how: str
) -> None:
    name = f"promweb-{os.getuid()}-{this_run().token}"
    if how == "link":
        (temporary / "theirs").mkdir()
        (temporary / name).symlink_to(temporary / "theirs")
    else:
        (temporary / name).mkdir(mode=0o755)
    with pytest.raises(OSError, match="belongs to another user"):
        enable()


def test_a_directory_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OSError, match=r"cannot share metrics in '.*file': .*; set PROM"):
        enable(file)
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ


def test_metrics_of_prometheus_client_from_before_are_named(tmp_path: Path) -> None:
    script = """
        import prometheus_client
        prometheus_client.Counter("early", "Too early")
        from promweb.multiprocess import enable
        enable("shared")
        prometheus_client.Counter("late", "In time").inc()
    """
    result = python(script, cwd=tmp_path, check=True)
    assert (
        "were created before, and have no numbers in the directory: early. Call it" in result.stderr
    )
    assert value(read(tmp_path / "shared"), "late_total") == 1


def test_metrics_of_prometheus_client_from_before_the_variable_are_named(tmp_path: Path) -> None:
    script = """
        import os, prometheus_client
        prometheus_client.Counter("early", "Too early")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = "shared"
        from flask import Flask
        from promweb import PrometheusMetrics
        PrometheusMetrics(Flask("shop"))
    """
    result = python(script, cwd=tmp_path, check=True)
    assert "scrapes will not show them: early. Set PROMETHEUS_MULTIPROC_DIR" in result.stderr


def test_enable_that_is_too_late_names_the_metrics_and_the_remedy(
    leg: Leg, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = leg.make_metrics(None)
    metrics.counter("early", "Too early")
    enable(tmp_path / "one")
    [message] = caplog.messages
    assert "enable() was called too late" in message
    assert "early" in message.split(": ")[1]
    assert message.endswith("Call it before the first metric is created.")

    caplog.clear()
    second = leg.make_metrics(None, registry=CollectorRegistry())
    second.counter("in_one", "In time for the first directory")
    enable(tmp_path / "one")
    assert "in_one" not in caplog.text
    enable(tmp_path / "two")
    assert "in_one" in caplog.messages[-1]


def test_enable_after_a_directory_that_could_not_be_used_is_too_late(
    leg: Leg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(setup, "_unusable", set())
    (tmp_path / "file").touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "file"))
    metrics = leg.make_metrics(None)
    metrics.counter("early", "Made before there was a directory")
    enable(tmp_path / "good")
    assert "enable() was called too late" in caplog.messages[-1]
    assert "early" in caplog.messages[-1]


def leave_something(directory: Path) -> None:
    """Make another server's workers count something and end."""

    def server() -> None:
        workers.run(lambda: sell(directory, item="old"))

    workers.run(server)


def test_what_a_former_run_left_is_removed(tmp_path: Path) -> None:
    leave_something(tmp_path)
    workers.run(lambda: sell(tmp_path, item="tea"))
    found = read(tmp_path)
    assert value(found, "sold_total", item="tea") == 1
    assert value(found, "sold_total", item="old") is None
    assert len((tmp_path / file_names.RUNS).read_text().splitlines()) == 1


def test_a_server_whose_workers_are_all_dead_goes_on(tmp_path: Path) -> None:
    for _ in range(3):
        workers.kill_after(lambda: sell(tmp_path, item="tea"))
    assert value(read(tmp_path), "sold_total", item="tea") == 3


def test_nothing_is_removed_while_a_worker_of_another_run_lives(tmp_path: Path) -> None:
    ready, go_on = os.pipe(), os.pipe()

    def server() -> None:
        def worker() -> None:
            sell(tmp_path, item="old")
            os.write(ready[1], b"x")
            workers.told(go_on[0])

        workers.run(lambda: sell(tmp_path, item="old"))
        workers.join(workers.start(worker))

    pid = workers.start(server)
    workers.told(ready[0])
    workers.run(lambda: sell(tmp_path, item="tea"))
    assert value(read(tmp_path), "sold_total", item="old") == 2
    os.write(go_on[1], b"x")
    assert workers.join(pid) == 0
    # Both runs are recorded now, so each keeps the files of the other.
    workers.run(lambda: sell(tmp_path, item="tea"))
    found = read(tmp_path)
    assert value(found, "sold_total", item="old") == 2
    assert value(found, "sold_total", item="tea") == 2


def test_workers_that_start_at_the_same_time_keep_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has counted with prometheus_client before it imports promweb."""
    leave_something(tmp_path)
    start, ready = os.pipe(), os.pipe()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

    def worker() -> None:
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
        Counter("hits", "", registry=CollectorRegistry()).inc()
        os.write(ready[1], b"x")
        workers.told(start[0])
        sell(tmp_path, item="tea")
        os.write(ready[1], b"x")
        signal.pause()

    pids = [workers.start(worker) for _ in range(4)]
    for _ in pids:
        workers.told(ready[0])
    os.write(start[1], b"xxxx")
    for _ in pids:
        workers.told(ready[0])
    try:
        found = read(tmp_path)
        assert value(found, "sold_total", item="tea") == 4
        assert value(found, "hits_total") == 4
        assert value(found, "sold_total", item="old") is None
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            workers.join(pid)


def test_a_worker_compacts_when_it_starts(tmp_path: Path) -> None:
    for _ in range(3):
        workers.run(lambda: sell(tmp_path, item="tea"))
    assert len(list(tmp_path.glob("counter*"))) == 2
    assert files(tmp_path) == {"counter.compacted", "counter.own"}


def test_public_names() -> None:
    assert {"enable", "mark_process_dead"} <= set(multiprocess.__all__)
    assert FileStorage.__doc__
