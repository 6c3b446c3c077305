"""The files themselves: writing, reading back, and failures of both."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram

from promweb.core.exposition.layout import Layout
from promweb.core.exposition.scrape import render
from promweb.core.families.catalog import Catalog
from promweb.core.families.kinds import CounterFamily, GaugeFamily, HistogramFamily
from promweb.multiprocess.file_storage import FileStorage
from promweb.multiprocess.files import client_library, locks, writing
from promweb.multiprocess.files.entries import entry
from promweb.multiprocess.files.keys import Keys
from promweb.multiprocess.files.reading import FileReader
from tests.support import workers
from tests.support.running import python, without
from tests.support.waiting import DEADLINE
from tests.support.workers import value

from .test_compaction import Shop, files, read

SKIPPED = "promweb_multiprocess_files_skipped_total"


def make_counter(
    directory: Path | FileStorage, name: str = "sold", **options: Any
) -> CounterFamily:
    family = CounterFamily(name, "", ("item",), max_series=10**6, **options)
    storage = directory if isinstance(directory, FileStorage) else FileStorage(str(directory))
    workers.keep(storage, family)
    return family


def test_a_file_grows_and_early_label_sets_still_count(tmp_path: Path) -> None:
    counter = make_counter(tmp_path)
    first = counter.child(("0",))
    first.inc()
    for number in range(1, 5000):
        counter.child((f"{number}",)).inc(number)
    first.inc(41)
    found = read(tmp_path)
    assert value(found, "sold_total", item="0") == 42
    assert len(found) == 5000
    assert sum(found.values()) == 42 + 5000 * 4999 / 2
    assert os.stat(next(tmp_path.glob("counter*"))).st_size > 4 * writing._FIRST_SIZE
    assert found == workers.samples(workers.client_text(tmp_path))


def test_a_reader_sees_what_was_added_since(tmp_path: Path) -> None:
    counter = make_counter(tmp_path)
    directory = FileStorage(str(tmp_path)).directory

    def total() -> dict[str, float]:
        return {
            sample.labels["item"]: sample.value
            for metric in directory.collect(None, lambda: None)
            for sample in metric.samples
        }

    expected: dict[str, float] = {}
    for number in range(0, 3000, 300):
        for item in map(str, range(number, number + 300)):
            counter.child((item,)).inc()
            expected[item] = expected.get(item, 0) + 1
        counter.child(("0",)).inc()
        expected["0"] += 1
        assert total() == expected


def test_a_file_is_written_as_prometheus_client_would(shared: Path) -> None:
    """The same bytes, except free space."""
    registry = CollectorRegistry()
    Counter("sold", "Sold\nthings", ["b", "a"], registry=registry).labels("ö", "2").inc(5)
    family = CounterFamily("sold", "Sold\nthings", ("b", "a"))
    workers.keep(FileStorage(str(shared)), family)
    family.child(("ö", "2")).inc(5)
    theirs, ours = (
        next(shared.glob(pattern)).read_bytes() for pattern in ("*[0-9].db", "*_promweb-*")
    )
    (used,) = struct.unpack_from("i", theirs)
    assert ours[:used] == theirs[:used]


def test_no_reader_sees_half_a_number(tmp_path: Path) -> None:
    """Numbers whose halves differ, written as fast as possible."""
    low, high = 1.0 + 2**-52, 2.0**64 * (1 + 2**-30)

    def write_on() -> None:
        gauge = GaugeFamily("torn", "")
        workers.keep(FileStorage(str(tmp_path)), gauge)
        child = gauge.child(())
        child.inc(low)
        os.write(ready[1], b"x")
        view, index = child._view, child._index  # type: ignore[attr-defined]
        while True:
            view[index] = high
            view[index] = low

    ready = os.pipe()
    pid = workers.start(write_on)
    try:
        workers.told(ready[0])
        (path,) = tmp_path.glob("gauge*")
        reader = FileReader(str(path), Keys())
        reader.update()
        ((_, position),) = reader.entries()
        seen = set()
        for _ in range(200_000):
            reader.update()
            seen.add(reader.doubles[position])
    finally:
        os.kill(pid, signal.SIGKILL)
        workers.join(pid)
    assert seen == {low, high}


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="without the GIL CPython leaves a dictionary locked that another thread was using",
)
def test_threads_and_forks_lose_nothing(tmp_path: Path) -> None:
    """Children are forked while other threads make label sets and count."""
    script = """
        import sys, threading
        from pathlib import Path
        from tests.support import workers
        from tests.multiprocess.test_compaction import Shop

        shop = Shop(Path(sys.argv[1]))
        over = threading.Event()
        counts = [0] * 4

        def work(number):
            while not over.is_set():
                item = str(counts[number] % 50)
                shop.orders.child((item,)).inc()
                shop.time.child((item,)).observe(1)
                counts[number] += 1

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            workers.run(lambda: shop.orders.child(("child",)).inc())
        over.set()
        for thread in threads:
            thread.join()
        print(sum(counts))
    """
    # Coverage has a lock of its own, which a forked child may find taken.
    result = python(script, str(tmp_path), env=without("COVERAGE"), check=True)
    found = read(tmp_path, compact=True)
    assert value(found, "orders_total", item="child") == 20
    for name in "orders_total", "time_count":
        numbers = [
            number
            for (sample, labels), number in found.items()
            if sample == name and ("item", "child") not in labels
        ]
        assert sum(numbers) == int(result.stdout) > 100


def test_a_forked_child_starts_from_zero_with_files_of_its_own(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.sell("tea", number=5)

    def work() -> None:
        assert shop.orders.child(("tea",)).value == 0
        assert shop.time.child(("tea",)).snapshot() == ([0, 0, 0], 0.0)
        assert shop.time.child(("tea",)).total == 0
        shop.sell("tea", number=2)
        assert shop.orders.child(("tea",)).value == 2
        assert shop.time.child(("tea",)).snapshot() == ([0, 1, 0], 2.0)
        assert value(read(tmp_path), "orders_total", item="tea") == 7

    workers.run(work)
    assert shop.orders.child(("tea",)).value == 5


def test_a_child_of_a_dead_worker_does_not_keep_it_alive(tmp_path: Path) -> None:
    """It has copies of its parent's descriptors and mappings."""
    ready, go_on = os.pipe(), os.pipe()

    def parent() -> None:
        Shop(tmp_path).sell("tea")

        def child() -> None:
            os.close(go_on[1])
            os.write(ready[1], b"x")
            workers.told(go_on[0])

        workers.start(child)
        workers.told(ready[0])

    workers.run(parent)
    try:
        read(tmp_path, compact=True)
        assert {name.rpartition(".")[2] for name in files(tmp_path)} == {"compacted"}
    finally:
        os.close(go_on[1])


def record(directory: str) -> None:
    make_counter(Path(directory)).child(("tea",)).inc()


def test_spawned_processes_count(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=record, args=(str(tmp_path),)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(DEADLINE)
        assert process.exitcode == 0
    assert value(read(tmp_path), "sold_total", item="tea") == 2


def break_nothing(path: Path) -> None:
    """Leave the file whole."""


def cut(size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size)


def overwrite(offset: int, data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    return write


def be_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def be_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def be_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


BROKEN = {
    "empty": ("empty", cut(0)),
    "less than a header": ("truncated", cut(4)),
    "cut off": ("truncated", cut(64)),
    "more used than there is": ("truncated", overwrite(0, struct.pack("i", 1 << 30))),
    "negative use": ("garbage", overwrite(0, struct.pack("i", -8))),
    "negative length": ("garbage", overwrite(8, struct.pack("i", -100))),
    "no length": ("garbage", overwrite(8, struct.pack("i", 0))),
    "too long a key": ("garbage", overwrite(8, struct.pack("i", 1 << 20))),
    "broken JSON": ("garbage", overwrite(12, b"!")),
    "other JSON": ("garbage", overwrite(12, b'{"a": ["b", 5]}'.ljust(40))),
    "too little JSON": ("garbage", overwrite(12, b'["a", "b"]'.ljust(40))),
    "labels that are no strings": (
        "garbage",
        overwrite(12, b'["a", "b", {"c": 1}, "d"]'.ljust(40)),
    ),
    "no labels": ("garbage", overwrite(12, b'["a", "b", "c", "d"]'.ljust(40))),
    "too much JSON": ("garbage", overwrite(12, b'["a", "b", {}, "c", "d"]'.ljust(40))),
    "JSON and more": ("garbage", overwrite(12, b'["a", "b", {}, "c"] and'.ljust(40))),
    "no name": ("garbage", overwrite(12, b'["", "b", {}, "c"]'.ljust(44))),
    "no UTF-8": ("garbage", overwrite(13, b"\xff\xfe")),
    "a link": ("unreadable", be_a_link),
    "a pipe": ("foreign", be_a_pipe),
    "a directory": ("foreign", be_a_directory),
}


@pytest.mark.parametrize("name", ["counter_4194305.db", "counter_1.db_promweb-abc.db"])
@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_file_is_left_out_counted_and_logged_once(
    how: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = FileStorage(str(tmp_path))
    make_counter(storage).child(("tea",)).inc(3)
    workers.run(lambda: make_counter(tmp_path).child(("milk" * 10,)).inc())
    (dead,) = (path for path in tmp_path.glob("counter_*") if str(os.getpid()) not in path.name)
    broken = tmp_path / name
    dead.rename(broken)
    reason, make = BROKEN[how]
    make(broken)

    for scrapes in (1, 2, 3):
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for metric in storage.directory.collect(None, lambda: None)
            for sample in metric.samples
        }
        assert storage._skipped.child((reason,)).value == scrapes
        found.pop((SKIPPED, reason), None)
        assert found == {("sold_total", "tea"): 3}
        assert os.path.lexists(broken)
    assert caplog.text.count(name) == 1
    assert f"because it is {reason}" in caplog.text


def test_a_foreign_file_is_left_out_counted_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "customers.db").write_bytes(b"SQLite format 3\0")
    (tmp_path / "notes.txt").write_text("not ours")
    make_counter(tmp_path).child(("tea",)).inc()
    for _ in range(3):
        assert value(read(tmp_path), "sold_total", item="tea") == 1
    assert "customers.db" in caplog.text
    assert "notes.txt" not in caplog.text


def test_an_unreadable_file_is_left_out(tmp_path: Path) -> None:
    def work() -> None:
        if os.geteuid() == 0:  # who may read everything
            os.setgid(65534)
            os.setuid(65534)
        make_counter(tmp_path).child(("tea",)).inc()
        secret = tmp_path / "counter_4194305.db"
        secret.write_bytes(bytes(64))
        secret.chmod(0)
        found = read(tmp_path, compact=True)
        assert value(found, "sold_total", item="tea") == 1
        assert secret.exists()

    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:3]:
        parent.chmod(stat.S_IMODE(parent.stat().st_mode) | 0o555)
    workers.run(work)


def test_a_file_that_vanishes_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """prometheus_client's `mark_process_dead` removes files at any time."""
    make_counter(tmp_path).child(("tea",)).inc()
    gone = tmp_path / "gauge_livesum_4194305.db"
    gone.write_bytes(bytes(64))
    real_open = os.open

    def open_late(path: Any, *args: Any, **kwargs: Any) -> int:
        if path == str(gone):
            gone.unlink(missing_ok=True)
        return real_open(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_late)
    assert value(read(tmp_path), "sold_total", item="tea") == 1
    assert not gone.exists()
    assert not caplog.text


def test_a_file_that_is_cut_off_after_it_was_read(tmp_path: Path) -> None:
    """Looking at what is gone would kill the process."""
    workers.run(lambda: make_counter(tmp_path).child(("tea",)).inc())
    directory = FileStorage(str(tmp_path)).directory
    directory.compact = lambda wait=0.0: None  # type: ignore[method-assign]
    assert len(list(directory.collect(None, lambda: None))) == 1
    os.truncate(next(tmp_path.glob("counter*")), 0)
    assert list(directory.collect(None, lambda: None)) == []


def test_one_name_of_two_types_is_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two applications that share a directory by mistake."""
    make_counter(tmp_path, "x").child(("a",)).inc()
    gauge = GaugeFamily("x", "", ("item",))
    workers.keep(FileStorage(str(tmp_path)), gauge)
    gauge.child(("a",)).inc()
    assert set(read(tmp_path)) == {("x_total", frozenset({("item", "a")}))}
    assert "omits the gauge_livesum 'x'" in caplog.text


def test_label_sets_that_are_not_alike_are_served(tmp_path: Path) -> None:
    """Different label names or buckets, as after a new release of the program."""
    for labels, buckets, help in ((("a",), (1, 2), "old"), (("b",), (1, 3), "new"), ((), (1,), "")):
        family = HistogramFamily("time", help, labels, buckets=buckets)
        workers.keep(FileStorage(str(tmp_path)), family)
        family.child(("x",) * len(labels)).observe(2)
    found = read(tmp_path)
    assert found == workers.samples(workers.client_text(tmp_path))
    assert value(found, "time_bucket", le="2.0", a="x") == 1
    assert value(found, "time_bucket", le="3.0", b="x") == 1
    assert value(found, "time_bucket", le="1.0") == 0


def test_the_filter_of_names_sees_label_sets_that_are_not_alike(tmp_path: Path) -> None:
    for labels in ("a",), ("b",):
        family = CounterFamily("sold", "", labels)
        workers.keep(FileStorage(str(tmp_path)), family)
        family.child(("x",)).inc()
    directory = FileStorage(str(tmp_path)).directory
    for name, count in ("sold_total", 2), ("sold", 2), ("sol", 0):
        metrics = list(directory.collect([name], lambda: None))
        assert sum(len(metric.samples) for metric in metrics) == count


def test_what_has_no_layout_is_written_by_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMWEB_PROCESS_METRICS", "0")  # they change from one scrape to the next
    shop = Shop(tmp_path)
    shop.sell("tea")

    def scrapes() -> list[tuple[bytes, str]]:
        registry = CollectorRegistry()
        Catalog.of(registry, FileStorage(str(tmp_path)).of_registry(registry, ""))
        return [render(registry), render(registry, names=["time_count", "time_sum"])]

    fast = scrapes()
    monkeypatch.setattr(Layout, "write", lambda *_: iter(("not what the encoder writes",)))
    slow = scrapes()
    for one, other in zip(fast, slow, strict=True):
        assert sorted(one[0].splitlines()) == sorted(other[0].splitlines())


def write_raw(path: Path, *keys: tuple[str, str, dict[str, str]]) -> None:
    """Write numbers that no library would, each a 3."""
    entries = b"".join(entry(client_library.key_of(*key, "help"), 3.0) for key in keys)
    path.write_bytes(struct.pack("ii", 8 + len(entries), 0) + entries + bytes(64))


def test_odd_metrics_are_served(tmp_path: Path) -> None:
    """Names and labels that promweb's families would not have."""
    pid = os.getpid()
    write_raw(tmp_path / f"counter_{pid}.db", ("odd_total", "odd_total", {"a": "1"}))
    write_raw(
        tmp_path / f"summary_{pid}.db",
        ("length", "length_count", {"quantile": "x"}),
        ("length", "length_sum", {"quantile": "x"}),
    )
    write_raw(
        tmp_path / f"histogram_{pid}.db", ("h", "h_bucket", {"le": "5.0"}), ("h", "h_sum", {})
    )
    found = read(tmp_path)
    assert found == workers.samples(workers.client_text(tmp_path))
    assert value(found, "odd_total", a="1") == 3


def test_negative_buckets(shared: Path) -> None:
    registry = CollectorRegistry()
    histogram = Histogram("depth", "", registry=registry, buckets=(-1, 1))
    for amount in -2, 0, 5:
        histogram.observe(amount)
    found = read(shared)
    assert found == workers.samples(workers.client_text(shared))
    assert value(found, "depth_sum") == 3


def test_a_file_that_was_replaced_between_two_looks(tmp_path: Path) -> None:
    counter = make_counter(tmp_path)
    counter.child(("0",)).inc()
    (path,) = tmp_path.glob("counter*")
    reader = FileReader(str(path), Keys())
    reader.update()
    for number in range(3000):
        counter.child((f"{number}",)).inc()
    size = path.stat().st_size
    path.rename(tmp_path / "other")
    path.write_bytes(bytes(size))
    with pytest.raises(FileNotFoundError):
        reader.update()


def test_a_file_that_is_just_being_made_has_nothing(tmp_path: Path) -> None:
    (tmp_path / f"counter_{os.getpid()}.db").write_bytes(bytes(4096))
    assert read(tmp_path) == {}


def test_a_file_whose_disk_fails_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_counter(tmp_path).child(("tea",)).inc()

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("input or output failed")

    monkeypatch.setattr("os.pread", fail)
    assert read(tmp_path) == {}
    assert "unreadable" in caplog.text


def test_other_buckets_that_are_written_as_long_are_told_apart(tmp_path: Path) -> None:
    for buckets in (0.25, 1), (0.35, 1), (0.25, 1):
        family = HistogramFamily("time", "", ("item",), buckets=buckets)
        workers.keep(FileStorage(str(tmp_path)), family)
        for item in "ab":
            family.child((item,)).observe(0.3)
    found = read(tmp_path)
    assert found == workers.samples(workers.client_text(tmp_path))
    assert value(found, "time_bucket", item="a", le="0.25") == 0
    assert value(found, "time_bucket", item="a", le="0.35") == 1
    assert value(found, "time_bucket", item="b", le="1.0") == 3


def test_label_names_before_and_after_le(tmp_path: Path) -> None:
    for _ in range(2):
        family = HistogramFamily("time", "", ("code", "path"), buckets=(1, 2))
        workers.keep(FileStorage(str(tmp_path)), family)
        for path in "abc":
            family.child(("200", path)).observe(2)
    found = read(tmp_path)
    assert found == workers.samples(workers.client_text(tmp_path))
    assert value(found, "time_bucket", code="200", path="b", le="2.0") == 2


def test_another_help_text_is_the_same_metric(tmp_path: Path) -> None:
    for help in "old", "new":
        family = CounterFamily("sold", help)
        workers.keep(FileStorage(str(tmp_path)), family)
        family.child(()).inc()
    assert read(tmp_path) == {("sold_total", frozenset()): 2}


def test_what_nobody_has_any_more_is_forgotten(tmp_path: Path) -> None:
    directory = FileStorage(str(tmp_path)).directory
    directory.compact = lambda wait=0.0: None  # type: ignore[method-assign]
    for batch in range(3):
        counter = make_counter(tmp_path)
        for number in range(6000):
            counter.child((f"{batch}-{number}",)).inc()
        assert len(list(directory.collect(None, lambda: None))) == 1
        for path in tmp_path.glob("counter*"):
            path.unlink()
    list(directory.collect(None, lambda: None))
    assert len(directory._keys) == 0


def served(directory: Path, item: str) -> float | None:
    return value(read(directory), "sold_total", item=item)


def test_a_disk_that_is_full_breaks_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A limit on the size of files fails as a full disk does, when a file is to grow."""

    def work() -> None:
        limit = writing._FIRST_SIZE
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        counter = make_counter(tmp_path)
        for _ in range(2):
            for number in range(2000):
                counter.child((f"{number}",)).inc()
        assert served(tmp_path, "0") == 2
        assert served(tmp_path, "1999") is None
        assert counter.child(("1999",)).value == 2
        assert caplog.text.count("cannot write") == 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)

    workers.run(work)


def test_a_file_that_cannot_be_mapped_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError("no memory")

    monkeypatch.setattr("mmap.mmap", fail)
    make_counter(tmp_path).child(("tea",)).inc()
    monkeypatch.undo()
    (path,) = tmp_path.glob("counter*")
    assert not locks.is_locked(str(path))


@pytest.mark.parametrize("where", ["macOS", "musl"])
def test_room_is_made_without_fallocate(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unsupported(*args: object) -> None:
        raise error

    error: Exception = {
        "macOS": AttributeError(),
        "musl": OSError(errno.EOPNOTSUPP, "Operation not supported"),
    }[where]
    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    counter = make_counter(tmp_path)
    for number in range(3000):
        counter.child((f"{number}",)).inc()
    assert len(read(tmp_path)) == 3000
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    for number in range(9000):
        counter.child((f"{number}",)).inc()
    assert "no room" in caplog.text
    assert len(read(tmp_path)) < 9000


def test_which_files_the_installed_prometheus_client_has() -> None:
    """promweb uses these names of its modules, and finds out by them what it writes."""
    script = """
        import os, tempfile
        from prometheus_client import Counter, REGISTRY, mmap_dict, values
        from promweb.multiprocess.files import client_files, client_library
        mapped = mmap_dict.MmapedDict(os.path.join(tempfile.mkdtemp(), "counter_1.db"))
        key = client_library.key_of("a", "a_total", {"c": "d", "b": "e"}, "help")
        mapped.read_value(key.decode())
        from promweb.multiprocess.files.entries import entry
        assert mapped._m[8:8 + len(entry(key))] == entry(key)
        assert client_library.read_key(key)[:3] == ("a", "a_total", {"b": "e", "c": "d"})
        assert not client_files.is_shared()
        assert client_files.share_new_metrics("/nowhere", 12 * "0") == []
        assert client_files.is_shared()
        assert REGISTRY._collector_to_names
        assert values.MmapedDict is client_files.ClientFile
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp()
        for number in range(2000):
            Counter(f"hits_{number}", "Help").inc(3)
        (name,) = os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        assert name.startswith(f"counter_{os.getpid()}.db_promweb-")
        print("fine")
    """
    result = python(script, env=without("PROMETHEUS_MULTIPROC_DIR"))
    assert result.stdout == "fine\n", result.stderr
