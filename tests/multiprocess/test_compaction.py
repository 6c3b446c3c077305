"""Dead workers: their numbers stay and their files go, even if a process is killed meanwhile."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values

from promweb.core.families.family import Family
from promweb.core.families.kinds import (
    CounterFamily,
    GaugeFamily,
    HistogramFamily,
    SummaryFamily,
)
from promweb.multiprocess import directory_reader, mark_process_dead
from promweb.multiprocess.file_storage import FileStorage
from promweb.multiprocess.files import file_names, locks
from promweb.multiprocess.files.client_library import HAS_TIMESTAMPS
from promweb.multiprocess.files.keys import Keys
from promweb.multiprocess.files.reading import FileReader
from promweb.multiprocess.lifecycle import compaction, processes
from promweb.multiprocess.lifecycle.compaction import Compactor, compacted_files
from promweb.multiprocess.lifecycle.runs import begin, this_run
from tests.support import workers
from tests.support.workers import value


class Shop:
    """A worker's metrics: one family of each kind."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.storage = FileStorage(str(directory))
        self.orders = CounterFamily("orders", "Orders", ("item",), **options)
        self.time = HistogramFamily("time", "Time", ("item",), buckets=(1, 2), **options)
        self.size = SummaryFamily("size", "Size", ("item",), **options)
        self.busy = GaugeFamily("busy", "Busy", ("item",), **options)
        self.least = GaugeFamily("least", "Least", ("item",), multiprocess_mode="min", **options)
        self.most = GaugeFamily("most", "Most", ("item",), multiprocess_mode="max", **options)
        self.families: tuple[Family[Any], ...] = (
            self.orders,
            self.time,
            self.size,
            self.busy,
            self.least,
            self.most,
        )
        workers.keep(self.storage, *self.families)

    def sell(self, *items: str, number: float = 1) -> None:
        for item in items:
            for gauge in (self.busy, self.least, self.most):
                gauge.child((item,)).inc(number)
            self.orders.child((item,)).inc(number)
            self.time.child((item,)).observe(number)
            self.size.child((item,)).observe(number)


def files(directory: Path) -> set[str]:
    """Return the existing files, without the names of processes."""
    return {
        f"{name.kind}.{'compacted' if name.is_compacted else 'own' if name.is_own else 'client'}"
        for name in map(file_names.parse, os.listdir(directory))
        if name is not None
    }


def read(directory: Path, *, compact: bool = False) -> workers.Samples:
    """Return what a process that just started reads."""
    reader = FileStorage(str(directory)).directory
    if not compact:
        reader.compact = lambda wait=0.0: None  # type: ignore[method-assign]
    found: workers.Samples = {}
    for metric in reader.collect(None, lambda: None):
        for sample in metric.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def sums(found: workers.Samples) -> workers.Samples:
    """Leave out the gauges, which dead workers may take with them."""
    return {key: number for key, number in found.items() if key[0] not in ("busy",)}


COMPACTED = {
    f"{kind}.compacted" for kind in ("counter", "histogram", "summary", "gauge_min", "gauge_max")
}


def test_dead_workers_are_compacted_into_one_file_of_each_kind(tmp_path: Path) -> None:
    for number in (1, 4, 2):
        workers.kill_after(lambda n=number: Shop(tmp_path).sell("tea", number=n))
    before = read(tmp_path)
    after = read(tmp_path, compact=True)
    assert files(tmp_path) == COMPACTED
    assert sums(after) == sums(before)
    assert value(after, "orders_total", item="tea") == 7
    assert value(after, "time_sum", item="tea") == 7
    assert value(after, "time_bucket", item="tea", le="1.0") == 1
    assert value(after, "time_bucket", item="tea", le="2.0") == 2
    assert value(after, "time_count", item="tea") == 3
    assert value(after, "size_count", item="tea") == 3
    assert value(after, "least", item="tea") == 1
    assert value(after, "most", item="tea") == 4
    assert value(after, "busy", item="tea") is None
    assert after == workers.samples(workers.client_text(tmp_path))


def test_what_lives_stays(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.sell("tea")
    workers.run(lambda: Shop(tmp_path).sell("tea", "milk"))
    found = read(tmp_path, compact=True)
    assert value(found, "orders_total", item="tea") == 2
    assert value(found, "busy", item="tea") == 1
    assert value(found, "busy", item="milk") is None
    shop.sell("tea")
    assert value(read(tmp_path), "orders_total", item="tea") == 3
    own = {name.replace("compacted", "own") for name in COMPACTED} | {"gauge_livesum.own"}
    assert files(tmp_path) == COMPACTED | own


def test_five_hundred_dead_workers_take_no_more_room_than_a_few(tmp_path: Path) -> None:
    def size() -> tuple[int, int]:
        found = list(os.scandir(tmp_path))
        return len(found), sum(entry.stat().st_size for entry in found)

    sizes = []
    for batch in range(5):
        # A fork for each would take most of the time of this test.
        def work(batch: int = batch) -> None:
            for number in range(100):
                sell(tmp_path, "tea", f"{batch}-{number}")()

        workers.kill_after(work)
        before = sums(read(tmp_path))
        assert sums(read(tmp_path, compact=True)) == before
        sizes.append(size())
    assert value(before, "sold_total", item="tea") == 500
    assert len({count for count, _ in sizes}) == 1
    assert sizes[-1][1] < 500 * 2 * 100 + 10_000


def test_label_sets_of_dead_workers_are_bounded(tmp_path: Path) -> None:
    """Strangers who invent paths find a new worker each time, and new label sets."""
    storage = Shop(tmp_path, max_series=10).storage
    names = (f"item{number}" for number in itertools.count())
    for _ in range(5):
        batch = [next(names) for _ in range(6)]
        workers.run(lambda items=batch: Shop(tmp_path, max_series=10).sell(*items))
        storage.directory.compact()
    found = read(tmp_path)
    counted = {
        dict(labels)["item"]: n for (name, labels), n in found.items() if name == "orders_total"
    }
    assert len(counted) == 10
    assert [f"item{number}" for number in range(9)] == [*counted][:9]
    assert counted["<overflow>"] == 30 - 9
    for item, count in ("item8", 1), ("<overflow>", 21):
        assert value(found, "time_count", item=item) == count
        assert value(found, "time_bucket", item=item, le="1.0") == count
    workers.run(lambda: Shop(tmp_path, max_series=10).sell("item3", "another"))
    storage.directory.compact()
    found = read(tmp_path)
    assert value(found, "orders_total", item="item3") == 2
    assert value(found, "orders_total", item="<overflow>") == 22
    assert value(found, "orders_total", item="another") is None


def leave_dead(directory: Path) -> None:
    """Leave a compacted file, and files of two dead workers."""
    workers.run(lambda: Shop(directory).sell("tea", number=3))
    Compactor(str(directory)).compact()
    for items in ("tea", "milk"), ("tea", "bread"):
        workers.run(lambda items=items: Shop(directory).sell(*items))


def lines_of_compaction(directory: Path, stop_at: int = -1) -> int:
    """Compact in a worker that is killed at one line of what changes files; return the lines."""

    def work() -> None:
        lines = itertools.count()

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            code = frame.f_code
            if code.co_filename != compaction.__file__ or code.co_name not in STEPS:
                return None
            if event == "line" and next(lines) == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        compactor = Compactor(str(directory))
        sys.settrace(trace)
        compactor.compact()
        sys.settrace(None)
        os.write(answer[1], b"%d" % next(lines))

    answer = os.pipe()
    code = workers.join(workers.start(work))
    os.close(answer[1])
    with os.fdopen(answer[0]) as said:
        lines = said.read()
    assert code == (0 if lines else -signal.SIGKILL)
    return int(lines or 0)


STEPS = ("compact", "_merge", "_finish", "_remove", "_clear_names", "_remove_unfinished")
"""The functions that change files or call one that does."""


def sell(directory: Path, *items: str) -> Callable[[], None]:
    """Return the work of a worker with only a counter and a gauge."""

    def work() -> None:
        storage = FileStorage(str(directory))
        for family in CounterFamily("sold", "", ("item",)), GaugeFamily("busy", "", ("item",)):
            workers.keep(storage, family)
            for item in items:
                family.child((item,)).inc()

    return work


def test_a_compaction_that_is_killed_at_any_line_changes_no_sum(tmp_path: Path) -> None:
    workers.from_a_small_process(kill_at_each_line, tmp_path)


def kill_at_each_line(tmp_path: Path) -> None:
    master = tmp_path / "master"
    master.mkdir()
    workers.run(sell(master, "tea"))
    Compactor(str(master)).compact()
    for items in ("tea", "milk"), ("tea", "bread"):
        workers.run(sell(master, *items))
    expected = sums(read(master))
    assert value(expected, "sold_total", item="tea") == 3

    def copy(name: str) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        for file in master.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
        return directory

    lines = lines_of_compaction(copy("whole"))
    assert lines > 30
    seen = set()
    for stop_at in range(lines):
        directory = copy(str(stop_at))
        assert lines_of_compaction(directory, stop_at) == 0
        seen.add(tuple(sorted(os.listdir(directory))))
        assert sums(read(directory)) == expected, stop_at
        # Another one is killed while it finishes what the first did not.
        lines_of_compaction(directory, stop_at)
        assert sums(read(directory)) == expected, stop_at
        assert sums(read(directory, compact=True)) == expected, stop_at
        assert files(directory) == {"counter.compacted"}
    assert len(seen) >= 5  # nothing done, new file, in place, one removed, both


def test_two_who_ask_at_once_whether_a_process_lives_are_told_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.touch()
    take = fcntl.flock
    answers: list[bool] = []

    def take_and_be_asked(descriptor: int, operation: int) -> None:
        take(descriptor, operation)
        monkeypatch.undo()
        answers.append(locks.is_locked(str(path)))

    monkeypatch.setattr("fcntl.flock", take_and_be_asked)
    answers.append(locks.is_locked(str(path)))
    assert answers == [False, False]


class Killed(BaseException):
    """Raised where a compaction is killed."""


def compact_until(where: Any, step: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compact until a function is called."""

    def die(*args: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(where, step, die)
        with pytest.raises(Killed):
            Compactor(str(directory)).compact()


def test_what_was_compacted_is_left_out_until_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_dead(tmp_path)
    expected = sums(read(tmp_path))
    compact_until(Compactor, "_remove", tmp_path, monkeypatch)
    assert "counter.own" in files(tmp_path)
    assert sums(read(tmp_path)) == expected
    assert sums(read(tmp_path, compact=True)) == expected
    assert files(tmp_path) == COMPACTED


def test_what_was_compacted_is_removed_while_somebody_looks_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the compacted file, so it must not be there when its name is no longer in there."""
    leave_dead(tmp_path)
    expected = sums(read(tmp_path))
    compact_until(Compactor, "_remove", tmp_path, monkeypatch)
    with ExitStack() as stack:
        for file in tmp_path.glob("*.db"):
            fcntl.flock(stack.enter_context(file.open("r+")), fcntl.LOCK_EX)
        Compactor(str(tmp_path)).compact(unfinished=True)
    assert sums(read(tmp_path, compact=True)) == expected
    assert files(tmp_path) == COMPACTED


def test_two_compactions_during_a_scrape_do_not_look_like_none(tmp_path: Path) -> None:
    """The file system gives the inode of a file that is gone to the next one."""
    compactor = Compactor(str(tmp_path))
    directory = FileStorage(str(tmp_path)).directory
    merge = directory._merge
    merged = []

    def compact_twice(*args: Any) -> Any:
        is_first = not merged
        if is_first:
            compactor.compact()
            workers.run(sell(tmp_path, "tea"))
        merged.append(merge(*args))
        if is_first:
            compactor.compact()
        return merged[-1]

    workers.run(sell(tmp_path, "tea"))
    compactor.compact()
    workers.run(sell(tmp_path, "tea"))
    directory.compact = lambda wait=0.0: None  # type: ignore[method-assign]
    directory._merge = compact_twice  # type: ignore[method-assign]
    list(directory.collect(None, lambda: None))
    assert len(merged) == 2


def test_a_name_that_was_compacted_may_be_used_again(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was killed after it removed the file and before it cleared the name."""
    workers.run(sell(shared, "tea"))
    compact_until(compaction, "_clear_names", shared, monkeypatch)
    (compacted,) = shared.glob("counter_compacted*")
    reader = FileReader(str(compacted), Keys())
    reader.update()
    assert len(compacted_files(reader)) == 1

    client_metrics()
    mine = shared / f"counter_{os.getpid()}.db"
    content = compacted.read_bytes()
    names = json.dumps([[mine.name, mine.stat().st_ino]]).encode()
    compacted.write_bytes(content[: reader.used] + struct.pack("=q", len(names)) + names.ljust(200))
    directory = FileStorage(str(shared)).directory
    for _ in range(2):
        list(directory.collect(None, lambda: None))
    assert mine.exists()
    found = read(shared)
    assert value(found, "hits_total") == 2
    assert value(found, "sold_total", item="tea") == 1


def test_names_that_were_cleared_take_no_room(tmp_path: Path) -> None:
    """Otherwise the size of the file would depend on how many digits pids and inodes have."""
    workers.run(lambda: Shop(tmp_path).sell("tea"))
    Compactor(str(tmp_path)).compact()
    for path in tmp_path.glob("*_compacted*"):
        reader = FileReader(str(path), Keys())
        reader.update()
        assert path.stat().st_size == reader.used + 8  # the length of no names


def test_a_compacted_file_whose_names_are_broken_names_nothing(tmp_path: Path) -> None:
    leave_dead(tmp_path)
    Compactor(str(tmp_path)).compact()
    expected = sums(read(tmp_path))
    (compacted,) = tmp_path.glob("counter_compacted*")
    reader = FileReader(str(compacted), Keys())
    reader.update()
    content = compacted.read_bytes()[: reader.used]
    for tail in b"", struct.pack("=q", 8) + b"nonsense", struct.pack("=q", 4) + b"[5] ....":
        compacted.write_bytes(content + tail)
        assert sums(read(tmp_path)) == expected


def test_one_thread_of_a_process_compacts(tmp_path: Path) -> None:
    leave_dead(tmp_path)
    directory = FileStorage(str(tmp_path)).directory
    with directory._compacting:
        directory.compact()
        assert "counter.own" in files(tmp_path)
    directory.compact()
    assert files(tmp_path) == COMPACTED


def test_a_scrape_that_compactions_keep_restarting_takes_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_dead(tmp_path)
    directory = FileStorage(str(tmp_path)).directory
    inodes = itertools.count()
    taken = []
    merge = directory._merge

    def see(*args: Any) -> Any:
        with locks.exclusive(str(tmp_path / file_names.LOCK)) as free:
            taken.append(not free)
        return merge(*args)

    monkeypatch.setattr(directory, "_compacted", lambda: {("x", next(inodes)): None})
    monkeypatch.setattr(directory, "_merge", see)
    assert len(list(directory.collect(None, lambda: None))) == 5
    assert taken == [False] * 5 + [True]


def test_who_waits_for_the_lock_gets_it(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with locks.exclusive(path) as taken, locks.exclusive(path, wait=0.02) as again:
        assert (taken, again) == (True, False)
    with locks.exclusive(path) as taken:
        assert taken


def without_locks(*args: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are written and served; no process compacts or waits for a lock."""
    monkeypatch.setattr("fcntl.flock", without_locks)
    monkeypatch.setattr(locks, "time", SimpleNamespace(monotonic=time.monotonic))
    shop = Shop(tmp_path)
    shop.sell("tea")
    workers.run(lambda: Shop(tmp_path).sell("tea"))
    assert value(read(tmp_path, compact=True), "orders_total", item="tea") == 2
    assert "counter.own" in files(tmp_path)
    begin(str(tmp_path), this_run())
    assert value(read(tmp_path), "orders_total", item="tea") == 2


def test_a_lock_that_fails_otherwise_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(OSError, match="Input/output"):
        locks.open_locked(str(tmp_path / "file"))
    with (
        pytest.raises(OSError, match="Input/output"),
        locks.exclusive(str(tmp_path / "lock")),
    ):
        pass


def test_scrapes_see_no_counter_go_down_during_compactions(tmp_path: Path) -> None:
    """Workers come and go and compact; a scrape shows every sale, at once and once."""
    over = tmp_path / "over"
    sold = itertools.count(1)
    directory = tmp_path / "shared"
    directory.mkdir()

    def compact_on() -> None:
        compactor = Compactor(str(directory))
        while not over.exists():
            compactor.compact()
            time.sleep(0.0005)  # or the machine does nothing else

    compactors = [workers.start(compact_on) for _ in range(2)]
    try:
        reader = FileStorage(str(directory)).directory
        for _ in range(30):
            workers.kill_after(lambda: Shop(directory).sell("tea"))
            count = next(sold)
            for _ in range(3):
                reader_sums = {
                    sample.name: sample.value
                    for metric in reader.collect(None, lambda: None)
                    for sample in metric.samples
                }
                assert reader_sums["orders_total"] == count
                assert reader_sums["size_sum"] == count
                assert reader_sums["time_count"] == count
    finally:
        over.touch()
        assert [workers.join(pid) for pid in compactors] == [0, 0]


def test_a_scrape_does_not_wait_for_ever_for_a_compaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_reader, "_PATIENCE", 0.01)
    leave_dead(tmp_path)
    expected = sums(read(tmp_path))
    held, go_on = os.pipe(), os.pipe()

    def hold() -> None:
        from promweb.multiprocess.files import locks

        with locks.exclusive(str(tmp_path / file_names.LOCK)):
            os.write(held[1], b"x")
            workers.told(go_on[0])

    pid = workers.start(hold)
    workers.told(held[0])
    assert sums(read(tmp_path, compact=True)) == expected
    assert "counter.own" in files(tmp_path)  # it was not this process that compacted
    os.write(go_on[1], b"x")
    workers.join(pid)
    read(tmp_path, compact=True)
    assert files(tmp_path) == COMPACTED


def client_metrics() -> None:
    """Record with prometheus_client's metrics, one of each kind."""
    registry = CollectorRegistry()
    Counter("hits", "Hits", registry=registry).inc(2)
    Histogram("sizes", "Sizes", registry=registry, buckets=(1, 2)).observe(2)
    for mode in ("all", "liveall", "livesum", "min", "max"):
        Gauge(f"gauge_{mode}", "A gauge", registry=registry, multiprocess_mode=mode).set(3)


def test_files_of_prometheus_client_are_compacted_alike(shared: Path) -> None:
    for _ in range(3):
        workers.run(client_metrics)
    found = read(shared, compact=True)
    assert files(shared) == {
        f"{kind}.compacted" for kind in ("counter", "histogram", "gauge_min", "gauge_max")
    }
    assert value(found, "hits_total") == 6
    assert value(found, "sizes_count") == 3
    assert value(found, "gauge_min") == value(found, "gauge_max") == 3
    assert {name for name, _ in found if name.startswith("gauge")} == {"gauge_min", "gauge_max"}
    assert found == workers.samples(workers.client_text(shared))


@pytest.mark.skipif(not HAS_TIMESTAMPS, reason="this prometheus_client has no timestamps")
def test_the_most_recent_number_of_a_gauge_outlives_its_process(shared: Path) -> None:
    registry = CollectorRegistry()
    gauges = [
        Gauge(f"gauge_{mode}", "", registry=registry, multiprocess_mode=mode)  # type: ignore[arg-type]
        for mode in ("mostrecent", "livemostrecent", "sum")
    ]
    unset = Gauge("unset", "", ["x"], registry=registry, multiprocess_mode="mostrecent")
    unset.labels("never")

    def work(number: float) -> Callable[[], None]:
        return lambda: [gauge.set(number) for gauge in gauges] and None

    for number in (5, 7, 6):
        workers.run(work(number))
    for compact in (False, True):
        found = read(shared, compact=compact)
        assert value(found, "gauge_mostrecent") == 6
        assert value(found, "gauge_sum") == 18
        assert value(found, "unset", x="never") is None
    work(4)()
    found = read(shared)
    assert value(found, "gauge_mostrecent") == value(found, "gauge_livemostrecent") == 4
    assert found == workers.samples(workers.client_text(shared))


def test_a_living_process_of_prometheus_client_is_left_alone(shared: Path) -> None:
    client_metrics()
    before = read(shared)
    assert read(shared, compact=True) == before
    assert {name.rpartition(".")[2] for name in files(shared)} == {"client"}


def test_a_living_process_whose_file_is_gone_is_forgotten(shared: Path) -> None:
    client_metrics()
    compactor = Compactor(str(shared))
    compactor.compact()
    assert len(compactor._living._writers) == 7
    for path in shared.glob("gauge*"):
        path.unlink()
    compactor.compact()
    assert len(compactor._living._writers) == 2


def test_a_process_that_nobody_waited_for_is_dead(shared: Path) -> None:
    """In a container the first process may wait for none."""

    def work() -> None:
        client_metrics()
        os.write(ready[1], b"x")
        signal.pause()

    ready = os.pipe()
    pid = workers.start(work)
    workers.told(ready[0])
    compactor = Compactor(str(shared))
    compactor.compact()
    assert "counter.compacted" not in files(shared)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    compactor.compact()
    assert "counter.compacted" in files(shared)
    workers.join(pid)


def test_a_pid_that_is_used_again_is_no_living_worker(shared: Path) -> None:
    """The process lives and has the pid, but not the file."""
    pid = workers.run(client_metrics)
    for name in os.listdir(shared):
        (shared / name).rename(shared / name.replace(str(pid), str(os.getpid())))
    found = read(shared, compact=True)
    assert value(found, "hits_total") == 2
    assert "counter.compacted" in files(shared)
    assert "counter.client" not in files(shared)


def test_a_pid_that_is_used_again_is_told_by_its_start_where_mappings_are_secret(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_writes", lambda pid: None)
    monkeypatch.setattr(processes, "_pids", lambda: [])
    pid = workers.run(client_metrics)
    mine = shared / f"counter_{os.getpid()}.db"
    (shared / f"counter_{pid}.db").rename(mine)
    compactor = Compactor(str(shared))
    compactor.compact()
    assert mine.exists()
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    ticks = processes.started(os.getpid())
    assert ticks is not None
    started += ticks / os.sysconf("SC_CLK_TCK")
    os.utime(mine, (started - 10, started - 10))
    compactor.compact()
    assert not mine.exists()
    assert value(read(shared), "hits_total") == 2


def test_other_identifiers_than_pids_are_no_dead_workers(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uWSGI's worker numbers, say, for which no process has the pid."""
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue(lambda: 4194304 + 7))
    client_metrics()
    read(shared, compact=True)
    assert "counter.client" in files(shared)
    assert "counter.compacted" not in files(shared)


def test_identifiers_that_are_no_numbers(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = workers.run(client_metrics)
    named = shared / "counter_worker_1.db"
    (shared / f"counter_{pid}.db").rename(named)
    monkeypatch.setattr(processes, "_PROC", str(shared / "proc"))
    read(shared, compact=True)
    assert named.exists()
    monkeypatch.undo()
    assert value(read(shared, compact=True), "hits_total") == 2
    assert not named.exists()


def test_a_process_of_somebody_else_lives(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(processes, "_writes", lambda pid: None)
    monkeypatch.setattr(processes, "started", lambda pid: None)
    monkeypatch.setattr(os, "kill", kill)
    file = shared / "counter_1.db"
    file.write_bytes(bytes(64))
    Compactor(str(shared)).compact()
    assert file.exists()


def test_without_proc_a_pid_has_to_do(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PROC", str(shared / "proc"))
    client_metrics()
    pid = workers.run(client_metrics)
    found = read(shared, compact=True)
    assert value(found, "hits_total") == 4
    assert (shared / f"counter_{os.getpid()}.db").exists()
    assert not (shared / f"counter_{pid}.db").exists()


def test_mark_process_dead_compacts_at_once(shared: Path) -> None:
    pid = workers.run(lambda: (client_metrics(), Shop(shared).sell("tea")))
    mark_process_dead(pid)
    assert {name.rpartition(".")[2] for name in files(shared)} == {"compacted"}
    found = read(shared)
    assert value(found, "orders_total", item="tea") == 1
    assert value(found, "hits_total") == 2


def test_a_process_that_is_about_to_end_takes_its_live_gauges_with_it(shared: Path) -> None:
    def work() -> None:
        client_metrics()
        Shop(shared).sell("tea")
        mark_process_dead(os.getpid())
        found = read(shared)
        assert value(found, "gauge_livesum") is None
        assert value(found, "busy", item="tea") is None
        assert value(found, "orders_total", item="tea") == 1

    workers.run(work)


def test_mark_process_dead_without_a_directory_does_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    mark_process_dead(1)
    assert not caplog.text
    mark_process_dead(1, str(tmp_path / "nowhere"))
    assert "cannot compact" in caplog.text


def test_a_broken_compacted_file_is_put_aside(tmp_path: Path) -> None:
    leave_dead(tmp_path)
    (compacted,) = tmp_path.glob("counter_compacted*")
    compacted.write_bytes(b"\x40\0\0\0nonsense" * 8)
    read(tmp_path, compact=True)
    found = read(tmp_path)
    assert value(found, "orders_total", item="tea") == 2
    assert value(found, "size_count", item="tea") == 3
    assert (tmp_path / f"{compacted.name}.broken").exists()


def test_a_dead_file_that_cannot_be_read_is_left_where_it_is(tmp_path: Path) -> None:
    leave_dead(tmp_path)
    broken = tmp_path / "counter_4194305.db"
    broken.write_bytes(b"\xff\xff\0\0nonsense" * 8)
    compactor = Compactor(str(tmp_path))
    for _ in range(2):
        compactor.compact()
        assert broken.exists()
    assert value(read(tmp_path), "orders_total", item="tea") == 5


def test_what_was_left_unfinished_is_removed_later(tmp_path: Path) -> None:
    leave_dead(tmp_path)
    old, new = (tmp_path / f"counter_{n}.db{file_names.UNFINISHED}" for n in (1, 2))
    old.touch()
    new.touch()
    os.utime(old, (1e9, 1e9))
    Compactor(str(tmp_path)).compact()
    assert (old.exists(), new.exists()) == (False, True)


def test_what_a_killed_compaction_left_unfinished_is_removed_at_once(tmp_path: Path) -> None:
    """Workers that live for a few requests leave many."""
    leave_dead(tmp_path)
    (compacted,) = tmp_path.glob("counter_compacted*")
    left = compacted.with_name(f"{compacted.name}.0123456789abcdef{file_names.UNFINISHED}")
    left.touch()
    Compactor(str(tmp_path)).compact()
    assert compacted.exists()
    assert not left.exists()


def test_a_compaction_that_fails_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    leave_dead(tmp_path)
    expected = sums(read(tmp_path))

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    directory = FileStorage(str(tmp_path)).directory
    for _ in range(2):
        directory.compact()
    assert caplog.text.count("No space left") == 1
    monkeypatch.undo()
    assert sums(read(tmp_path)) == expected
    assert sums(read(tmp_path, compact=True)) == expected


def test_a_forked_worker_compacts_with_its_first_request(tmp_path: Path) -> None:
    leave_dead(tmp_path)
    shop = Shop(tmp_path)

    def work() -> None:
        shop.sell("tea")
        while threading.active_count() > 1:
            threading.enumerate()[-1].join()
        assert "counter.compacted" in files(tmp_path)
        assert len([n for n in os.listdir(tmp_path) if n.startswith("counter")]) == 2

    workers.run(work)
