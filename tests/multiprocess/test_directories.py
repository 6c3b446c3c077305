"""Directories that are full, cannot be written to, or are removed while workers write to them."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry, Counter, Gauge

from promweb import PrometheusMetrics
from promweb.core.families.kinds import CounterFamily, HistogramFamily
from promweb.multiprocess import enable, setup
from promweb.multiprocess.file_storage import FileStorage
from promweb.multiprocess.files import client_files, file_names, writing
from promweb.multiprocess.lifecycle import compaction
from promweb.multiprocess.lifecycle.compaction import Compactor
from tests.stress.threads.load import line_by_line
from tests.support import workers
from tests.support.disks import fill, small_disk
from tests.support.threads import in_threads
from tests.support.waiting import DEADLINE, eventually
from tests.support.workers import value

from .test_compaction import Shop, leave_dead, read


@pytest.fixture(autouse=True)
def _fresh(unshared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Act like a process that has not used any directory."""
    monkeypatch.setattr(setup, "_storages", {})
    monkeypatch.setattr(setup, "_unusable", set())
    monkeypatch.setattr(client_files, "_failed", set())


@pytest.fixture(name="small_disk")
def a_small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, "256k"):
        yield tmp_path


def test_a_small_disk_that_is_full(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is written where there is no room, which would kill the process."""
    shop = Shop(small_disk, max_series=10_000)
    for number in range(3000):
        shop.sell("tea", f"{number}")
    assert shop.orders.child(("tea",)).value == 3000
    assert caplog.text.count("cannot write") == 1
    assert value(read(small_disk, compact=True), "orders_total", item="tea") in (None, 3000)


def test_a_service_starts_in_a_full_directory(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a worker, because what was wrong killed the process."""
    fill(small_disk)

    def work() -> None:
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(small_disk))
        app = Flask("shop")
        metrics = PrometheusMetrics(app, registry=CollectorRegistry())
        metrics.info("build", "What runs", version="1.4")
        Counter("hits", "", registry=metrics.registry).inc(3)
        text = app.test_client().get("/metrics").text
        assert 'build{version="1.4"} 1.0' in text
        assert "hits_total 3.0" in text
        (record,) = (r for r in caplog.records if "starts anyway" in r.message)
        assert "cannot share metrics" in record.message
        assert "set PROMETHEUS_MULTIPROC_DIR to a directory" in record.message

    workers.run(work)
    with pytest.raises(OSError, match=r"cannot share metrics in .* set PROMETHEUS_MULTIPROC_DIR"):
        enable(small_disk)


def test_a_service_starts_where_no_directory_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "file" / "metrics"))
    for name in "ab":
        app = Flask(name)
        PrometheusMetrics(app, registry=CollectorRegistry())
        client = app.test_client()
        client.get("/")
        assert 'flask_http_request_total{method="GET",status="404"} 1.0' in (
            client.get("/metrics").text
        )
    assert caplog.text.count("starts anyway") == 1


def test_a_directory_of_another_user_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> None:
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        assert setup.storage_of(str(directory)) is None
        assert "Permission denied" in caplog.text

    directory = tmp_path / "theirs"
    directory.mkdir(mode=0o755)
    if os.geteuid() != 0:
        directory.chmod(0o555)
    for parent in directory.parents[:4]:
        parent.chmod(parent.stat().st_mode | 0o555)
    workers.run(work)


def test_metrics_of_prometheus_client_survive_a_full_disk(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(small_disk))

    def work() -> None:
        setup.storage_of(str(small_disk))
        hits = Counter("hits", "", ["page"], registry=CollectorRegistry())
        hits.labels("first").inc()
        fill(small_disk)
        for _ in range(2):
            for number in range(3000):
                hits.labels(f"{number}").inc()
        hits.labels("first").inc()
        assert hits.labels("2999")._value.get() == 2
        busy = Gauge("busy", "", registry=CollectorRegistry())  # has no file at all
        busy.set(5)
        assert busy._value.get() == 5
        assert value(read(small_disk), "hits_total", page="first") == 2
        assert caplog.text.count("cannot write to") == 1

    workers.run(work)


def test_a_file_of_somebody_else_that_has_no_room_is_left_out(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its pages do not exist, and cannot be made."""
    with open(small_disk / "counter_4194305.db", "wb") as file:
        file.write(struct.pack("ii", 1 << 20, 0))
        file.truncate(1 << 21)
    fill(small_disk)
    workers.run(lambda: read(small_disk))
    assert value(read(small_disk), "anything") is None
    assert "because it is garbage" in caplog.text


def test_a_file_that_says_too_much_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "counter_4194305.db"
    with open(path, "wb") as file:
        file.write(struct.pack("ii", (1 << 31) - 8, 0))
        file.truncate(1 << 31)

    def work() -> None:
        import resource

        limit = 1 << 30
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        read(tmp_path)

    workers.run(work)


def test_label_sets_across_the_parts_of_a_large_file(tmp_path: Path) -> None:
    """An unknown file is read in parts, which end anywhere."""
    family = HistogramFamily("time", "", ("item",), max_series=10_000)
    workers.keep(FileStorage(str(tmp_path)), family)
    for number in range(1000):
        family.child((f"{number:0{number % 50}}",)).observe(0.3)
    found = read(tmp_path)
    assert found == workers.samples(workers.client_text(tmp_path))
    assert sum(number for (name, _), number in found.items() if name == "time_count") == 1000
    (path,) = tmp_path.glob("histogram*")
    assert path.stat().st_size > 1 << 20


def test_a_directory_that_is_removed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "metrics"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(directory))
    app = Flask("shop")
    metrics = PrometheusMetrics(app, registry=CollectorRegistry())
    app.add_url_rule("/", view_func=lambda: "welcome")
    hits = Counter("hits", "", ["page"], registry=metrics.registry)
    hits.labels("first").inc(2)
    metrics.info("build", "What runs", version="1.4")
    client = app.test_client()
    client.get("/")
    for times in (1, 2):
        shutil.rmtree(directory)
        client.get("/")
        text = client.get("/metrics").text
        hits.labels("first").inc(2)
        assert f'flask_http_request_total{{method="GET",status="200"}} {1 + times}.0' in text
        assert f'hits_total{{page="first"}} {2 * times}.0' in text
        assert 'build{version="1.4"} 1.0' in text
        assert caplog.text.count("removed promweb's files") == times
    assert value(read(directory), "flask_http_request_total", method="GET", status="200") == 3
    assert value(read(directory), "hits_total", page="first") == 6


def test_who_answers_no_scrape_notices_as_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "metrics"
    directory.mkdir()
    shop = Shop(directory)
    shop.sell("tea")
    shutil.rmtree(directory)
    for _ in range(100):
        shop.sell("tea")
    found = read(directory)
    assert value(found, "orders_total", item="tea") == 101
    assert value(found, "time_count", item="tea") == 101
    assert caplog.text.count("removed promweb's files") == 1


def test_families_that_are_defined_while_files_are_made_again(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    directory.mkdir()
    storage = FileStorage(str(directory))
    families: list[CounterFamily] = []

    def are_more_than(number: int) -> bool:
        return len(families) > number

    def define() -> None:
        for number in range(20_000):
            families.append(CounterFamily(f"sold_{number}", "", ("item",)))
            storage.accept(families[-1], "default")

    def remove() -> None:
        for number in range(0, 20_000, 500):
            eventually(partial(are_more_than, number))
            shutil.rmtree(directory)
            storage.look()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        in_threads(2, lambda index: (define, remove)[index]())
    finally:
        sys.setswitchinterval(before)
    assert len(families) == 20_000


def test_threads_that_cannot_write_log_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    def is_there(path: str) -> bool:
        all_failed.wait(DEADLINE)
        return True

    all_failed = threading.Barrier(8)
    storage = FileStorage(str(tmp_path))
    families = [CounterFamily(f"sold_{number}", "", ("item",)) for number in range(8)]
    workers.keep(storage, *families)
    monkeypatch.setattr(writing, "create", fail)
    monkeypatch.setattr(os.path, "isdir", is_there)
    with line_by_line():
        in_threads(8, lambda index: families[index].child(("tea",)))
    monkeypatch.undo()
    assert caplog.text.count("cannot write to") == 1


def test_new_series_in_a_directory_that_was_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its files need another size, or are the first of their kind."""
    directory = tmp_path / "metrics"
    directory.mkdir()
    storage = FileStorage(str(directory))
    counter = CounterFamily("sold", "", ("item",), max_series=10_000)
    workers.keep(storage, counter)
    counter.child(("tea",)).inc()
    shutil.rmtree(directory)
    time = HistogramFamily("time", "", ("item",))
    workers.keep(storage, time)
    time.child(("tea",)).observe(1)
    for number in range(3000):
        counter.child((f"{number}",)).inc()
    time.child(("tea",)).observe(1)
    found = read(directory)
    assert value(found, "time_count", item="tea") == 2
    assert value(found, "sold_total", item="tea") == value(found, "sold_total", item="2999") == 1
    assert "cannot write" not in caplog.text


def test_links_that_somebody_else_put_there_are_not_followed(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    directory.mkdir()
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name in (file_names.LOCK, file_names.RUNS):
        (directory / name).symlink_to(precious)
        (directory / f"{name}{file_names.UNFINISHED}").symlink_to(precious)
        setup.storage_of(str(directory))
        setup._storages.clear()
        setup._unusable.clear()
        (directory / name).unlink()
    leave_dead(directory)
    (compacted,) = directory.glob("counter_compacted*")
    compacted.with_name(compacted.name + file_names.UNFINISHED).symlink_to(precious)
    Compactor(str(directory)).compact()
    assert compacted.is_file()
    compacted.unlink()
    compacted.symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"):
        compaction._clear_names(str(compacted), 0)
    assert precious.read_text() == "precious"
