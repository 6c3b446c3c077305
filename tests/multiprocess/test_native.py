"""Native histograms of several workers: no observation is lost, whichever worker is killed."""

from __future__ import annotations

import math
import os
import random
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from promweb.core.families.native import NativeHistogramFamily
from promweb.core.native.buckets import MOST_BUCKETS, Buckets
from promweb.core.native.schemas import key_of
from promweb.multiprocess.file_storage import FileStorage
from promweb.multiprocess.lifecycle.compaction import Compactor
from promweb.multiprocess.native.parts import buckets_of, part_of, parts_of
from promweb.multiprocess.native.siblings import name_beside
from promweb.multiprocess.setup import storage_of
from promweb.tools.doctor.directory import check_directory
from promweb.tools.doctor.findings import Level
from tests.multiprocess.test_compaction import lines_of_compaction
from tests.support import workers
from tests.support.legs import Leg
from tests.support.protobuf import ACCEPT, families


class Shop:
    """A worker with one native histogram."""

    def __init__(self, directory: Path, factor: float = 1.1, **options: Any) -> None:
        self.storage = FileStorage(str(directory))
        self.time = NativeHistogramFamily("time", "Time", ("item",), factor=factor, **options)
        workers.keep(self.storage, self.time)

    def observe(self, *amounts: float, item: str = "tea") -> None:
        for amount in amounts:
            self.time.child((item,)).record(amount)


def killed(directory: Path, *amounts: float, item: str = "tea", **options: Any) -> None:
    """Make a worker observe a number and kill it with -9."""
    workers.kill_after(lambda: Shop(directory, **options).observe(*amounts, item=item))


def native_of(directory: Path, item: str = "tea") -> Buckets:
    """Return the buckets of a label set from all files of a directory."""
    for metric in FileStorage(str(directory)).collect(None, lambda: None):
        if metric.name == "time":
            assert metric.native is not None
            found = metric.native((item,), dict(metric.label_sets())[item,])
            assert found is not None
            return found[1]
    raise AssertionError("no such metric")


def files(directory: Path, suffix: str) -> list[str]:
    return sorted(name for name in os.listdir(directory) if name.endswith(suffix))


def test_workers_are_added_up_and_none_is_lost_with_kill(tmp_path: Path) -> None:
    def work() -> None:
        Shop(tmp_path).observe(0.25, 0.5, 0.25, 0.0, -1.0, math.nan)

    for _ in range(3):
        workers.kill_after(work)
    native = native_of(tmp_path)
    assert (native.count, native.zero) == (18, 3)
    assert math.isnan(native.sum)
    assert native.positive == {key_of(0.25, 3): 6, key_of(0.5, 3): 3}
    assert native.negative == {0: 3}


def test_dead_workers_are_compacted_and_take_no_more_room(tmp_path: Path) -> None:
    for worker in range(11):
        killed(tmp_path, 0.25, 1.0 + worker)
        Compactor(str(tmp_path)).compact()
    assert len(files(tmp_path, ".native")) == 1
    assert files(tmp_path, ".native")[0].startswith("native_compacted.db_promweb-")
    native = native_of(tmp_path)
    assert (native.count, native.sum) == (22, 11 * 0.25 + sum(range(1, 12)))


def test_workers_with_other_resolutions(tmp_path: Path) -> None:
    for factor in (1.02, 1.1, 4.0):
        killed(tmp_path, 0.3, 3.0, factor=factor)
    for _ in range(2):  # before and after files are compacted
        native = native_of(tmp_path)
        assert (native.schema, native.count) == (-1, 6)
        assert native.positive == {key_of(0.3, -1): 3, key_of(3.0, -1): 3}


def test_a_worker_with_too_many_buckets_halves_its_resolution(tmp_path: Path) -> None:
    shop = Shop(tmp_path, 1.005)
    for power in range(400):
        shop.observe(1.03**power)
    native = native_of(tmp_path)
    assert native.schema < 8
    assert native.count == sum(native.positive.values()) == 400
    assert len(native.positive) <= MOST_BUCKETS
    _, own = shop.time.child(("tea",)).native_snapshot()
    assert (own.schema, own.positive, own.count) == (native.schema, native.positive, 400)


def test_compacted_files_have_a_bounded_number_of_buckets(tmp_path: Path) -> None:
    generator = random.Random(3)
    for _ in range(6):
        amounts = [generator.lognormvariate(0, 4) for _ in range(150)]
        killed(tmp_path, *amounts, factor=1.005)
        Compactor(str(tmp_path)).compact()
    shop = Shop(tmp_path)
    (compacted,) = files(tmp_path, ".native")
    content = (tmp_path / compacted).read_bytes()
    assert content.count(b'"time:') <= MOST_BUCKETS + 3
    assert native_of(tmp_path).count == 900
    shop.observe(1.0)
    assert native_of(tmp_path).count == 901


def test_label_sets_of_dead_workers_are_bounded(tmp_path: Path) -> None:
    for worker in range(8):
        killed(tmp_path, 0.25, item=str(worker), max_series=3)
        Compactor(str(tmp_path)).compact()
    assert native_of(tmp_path, "<overflow>").count == 6


def test_the_doctor_finds_nothing_wrong(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.observe(0.25)
    assert [finding.level for finding in check_directory(str(tmp_path))] == [Level.OK]


def test_prometheus_client_does_not_see_the_files(tmp_path: Path) -> None:
    killed(tmp_path, 0.25)
    found = workers.samples(workers.client_text(tmp_path))
    assert workers.value(found, "time_count", item="tea") == 1
    assert not [name for name, _ in found if ":" in name]


def test_what_a_script_leaves_counts_no_more(tmp_path: Path) -> None:
    """Start scripts remove `*.db`; a file of native buckets is nothing without the one beside."""
    killed(tmp_path, 0.25, 0.5)
    for name in files(tmp_path, ".db"):
        os.unlink(tmp_path / name)
    assert len(files(tmp_path, ".native")) == 1
    shop = Shop(tmp_path)
    shop.observe(1.0)
    assert native_of(tmp_path).count == 1
    Compactor(str(tmp_path)).compact()
    (left,) = files(tmp_path, ".native")
    assert left == name_beside(next(n for n in files(tmp_path, ".db") if n.startswith("hist")))


def test_a_compacted_file_without_histograms_counts_no_more(tmp_path: Path) -> None:
    for _ in range(2):
        killed(tmp_path, 0.25)
        Compactor(str(tmp_path)).compact()
    assert files(tmp_path, ".native") != []
    for name in files(tmp_path, ".db"):
        os.unlink(tmp_path / name)
    workers.kill_after(lambda: FileStorage(str(tmp_path)))
    storage = FileStorage(str(tmp_path))
    assert [one.name for one in storage.collect(None, lambda: None)] == []


@pytest.mark.parametrize("removed", [(".db", ".native"), (".db",), (".native",)])
def test_files_that_were_removed_are_made_again(tmp_path: Path, removed: tuple[str, ...]) -> None:
    shop = Shop(tmp_path)
    shop.observe(0.25, 0.5)
    for name in os.listdir(tmp_path):
        if name.endswith(removed):
            os.unlink(tmp_path / name)
    shop.storage.look()
    shop.observe(1.0)
    native = native_of(tmp_path)
    assert (native.count, native.sum) == (3, 1.75)
    Compactor(str(tmp_path)).compact()
    assert native_of(tmp_path).count == 3


def test_a_signal_handler_that_interrupts_who_writes_histograms_has_files_of_its_own(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path)
    shop.time.child(("tea",))
    file = shop.storage._files.pop(("histogram", "default"))  # while it is written to
    shop.observe(0.25)
    shop.storage._files["histogram", "default"] = file
    shop.observe(0.25)
    assert native_of(tmp_path).count == 2


def test_a_compaction_that_is_killed_at_any_line_changes_no_count(tmp_path: Path) -> None:
    workers.from_a_small_process(kill_at_each_line, tmp_path)


def kill_at_each_line(tmp_path: Path) -> None:
    master = tmp_path / "master"
    master.mkdir()
    killed(master, 0.25, 0.5)
    Compactor(str(master)).compact()
    for amount in (0.25, 1.0):
        killed(master, amount)

    def copy(name: str) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        for file in master.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
        return directory

    lines = lines_of_compaction(copy("whole"))
    assert lines > 30
    for stop_at in range(lines):
        directory = copy(str(stop_at))
        lines_of_compaction(directory, stop_at)
        native = native_of(directory)
        assert (native.count, native.sum) == (4, 2.0)
        assert native.positive == {-16: 2, -8: 1, 0: 1}


def test_broken_parts_are_left_out() -> None:
    parts = [
        (":3:+1", 2.0),
        (":3:+1", 1.0),
        (":9:+1", 1.0),
        (":3:1", 1.0),
        (":3:+x", 1.0),
        ("x:3:+1", 1.0),
        (":3", 1.0),
        (":3:+99999999", 1.0),
        (":3:+2", math.nan),
        (":3:+2", -1.0),
        (":3:+2", 1e300),
        (":zero", 4.0),
        (":nan", 5.0),
        (":sum", 0.5),
    ]
    native = buckets_of(parts)
    assert (native.schema, native.positive) == (3, {1: 3})
    assert (native.count, native.zero, native.sum) == (12, 4, 0.5)
    assert buckets_of(parts_of(native).items()).count == 12
    assert buckets_of([]).count == 0
    assert part_of(3, "-", -7) == ":3:--7"
    assert buckets_of([(":3:--7", 1.0)]).negative == {-7: 1}


@pytest.mark.parametrize("buckets", [None, ()])
def test_an_application_of_several_workers(leg: Leg, shared: Path, buckets: Any) -> None:
    app = leg.make_app()
    leg.make_metrics(app, native_histograms=True, buckets=buckets, max_series=50)

    @app.route("/")
    @leg.view
    def index() -> str:
        leg.clock.advance(0.25)
        return "done"

    def work() -> None:
        for _ in range(7):
            leg.get(app, "/")

    for _ in range(10):
        workers.kill_after(work)
    work()
    reply = leg.get(app, "/metrics", headers={"Accept": ACCEPT})
    found = {family.name: family for family in families(reply.data)}
    duration = found["flask_http_request_duration_seconds"].metric[0].histogram
    assert (duration.sample_count, duration.sample_sum, duration.schema) == (77, 77 * 0.25, 3)
    assert list(duration.positive_delta) == [77]
    assert bool(duration.bucket) is (buckets is None)
    if duration.bucket:
        assert duration.bucket[-1].cumulative_count == 77
    total = found["flask_http_request_total"].metric[0].counter.value
    assert total == 77
    text = leg.get(app, "/metrics").text
    assert (
        'flask_http_request_duration_seconds_count{method="GET",path="/",status="200"} 77' in text
    )
    assert storage_of(str(shared)) is not None


def test_each_registry_shows_its_own_native_counts(leg: Leg, shared: Path) -> None:
    app = leg.make_app()
    inside = leg.make_metrics(app, native_histograms=True)
    outside = leg.make_metrics(
        app, path="/outside", registry=CollectorRegistry(), native_histograms=4.0
    )
    everything = CollectorRegistry()
    MultiProcessCollector(everything, str(shared))  # type: ignore[no-untyped-call]
    leg.make_metrics(app, path="/everything", export_defaults=False, registry=everything)
    jobs = [
        metrics.histogram("job_seconds", "Jobs.", native_histograms=True)
        for metrics in (inside, outside)
    ]

    @app.route("/")
    @leg.view
    def index() -> str:
        leg.clock.advance(0.25)
        return "done"

    def work() -> None:
        for _ in range(2):
            leg.get(app, "/")
        jobs[0].observe(3.0)
        jobs[1].observe(0.5)
        jobs[1].observe(0.5)

    for _ in range(4):
        workers.kill_after(work)
    Compactor(str(shared)).compact()
    workers.kill_after(work)
    work()

    def native(path: str, name: str) -> Any:
        reply = leg.get(app, path, headers={"Accept": ACCEPT})
        (family,) = [family for family in families(reply.data) if family.name == name]
        (metric,) = family.metric
        return metric.histogram

    duration = "flask_http_request_duration_seconds"
    for path, schema, numbers in (
        ("/metrics", 3, {duration: (12, 3.0), "job_seconds": (6, 18.0)}),
        ("/outside", -1, {duration: (12, 3.0), "job_seconds": (12, 6.0)}),
        ("/everything", -1, {duration: (24, 6.0), "job_seconds": (18, 24.0)}),
    ):
        for name, (count, total) in numbers.items():
            found = native(path, name)
            assert (found.sample_count, found.sample_sum) == (count, total)
            assert sum(accumulate(found.positive_delta)) == count
        assert native(path, duration).schema == schema


def test_a_label_set_without_native_buckets_has_its_classic_ones(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.observe(0.25)
    shop.time.child(("coffee",))  # nothing is in it
    storage = FileStorage(str(tmp_path))
    registry = CollectorRegistry()

    class Collector:
        def collect(self) -> Any:
            return storage.collect(None, lambda: None)

    registry.register(Collector())  # type: ignore[arg-type]
    from promweb.core.exposition.scrape import render

    (family,) = families(render(registry, ACCEPT)[0])
    found = {one.label[0].value: one.histogram for one in family.metric}
    assert found["tea"].HasField("schema")
    assert not found["coffee"].HasField("schema")
    assert len(found["coffee"].bucket) == len(found["tea"].bucket)
