"""Label sets of workers that come and go, under invented paths, are bounded."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from promweb.core.families.kinds import CounterFamily, HistogramFamily
from promweb.core.families.limits import OVERFLOW
from promweb.multiprocess.file_storage import FileStorage
from promweb.multiprocess.files import file_names, locks
from promweb.multiprocess.files.max_series import declare, declared
from promweb.multiprocess.lifecycle.compaction import Compactor
from tests.support import workers
from tests.support.workers import value

from .test_compaction import read

MAX_SERIES = 10


def serve(directory: Path, worker: int, *, requests: int = 20) -> None:
    """Count requests for paths that no other worker is asked for."""
    storage = FileStorage(str(directory))
    counter = CounterFamily("hits", "", ("path",), max_series=MAX_SERIES)
    duration = HistogramFamily("time", "", ("path",), max_series=MAX_SERIES)
    workers.keep(storage, counter, duration)
    for number in range(requests):
        counter.child((f"/{worker}/{number}",)).inc()
        duration.child((f"/{worker}/{number}",)).observe(0.1)


def label_sets(found: workers.Samples, name: str) -> int:
    return sum(1 for sample, _ in found if sample == name)


def total(found: workers.Samples, name: str) -> float:
    return sum(number for (sample, _), number in found.items() if sample == name)


def test_restarts_under_invented_paths_add_no_label_sets(tmp_path: Path) -> None:
    """Compacted as a server's master does, which has not loaded the application."""
    sizes = {}
    for worker in range(1, 31):
        workers.run(lambda worker=worker: serve(tmp_path, worker))
        Compactor(str(tmp_path)).compact()
        if worker not in (5, 15, 30):
            continue
        found = read(tmp_path)
        for name in "hits_total", "time_count":
            assert total(found, name) == 20 * worker
            assert label_sets(found, name) == MAX_SERIES
        files = sum(path.stat().st_size for path in tmp_path.iterdir())
        sizes[worker] = len(found), sum(len(str(key)) for key in found), files
    assert sizes[5] == sizes[15] == sizes[30]
    assert (tmp_path / file_names.LIMITS).stat().st_size < 150


def test_registries_with_other_bounds_for_a_metric_of_one_name(tmp_path: Path) -> None:
    bounds = {"few": 3, "many": 10}
    registries = {name: CollectorRegistry() for name in bounds}

    def work(worker: int) -> None:
        storage = FileStorage(str(tmp_path))
        for name, bound in bounds.items():
            family = CounterFamily("hits", "", ("path",), max_series=bound)
            family.keep_in(storage.of_registry(registries[name], name))
            for number in range(20):
                family.child((f"/{worker}/{number}",)).inc()

    for worker in range(3):
        workers.run(lambda worker=worker: work(worker))
    Compactor(str(tmp_path)).compact()
    storage = FileStorage(str(tmp_path))
    for name, bound in bounds.items():
        shown = storage.of_registry(registries[name], name).collect(None, lambda: None)
        (metric,) = [metric for metric in shown if metric.name == "hits"]
        assert len(metric.samples) == bound
        assert sum(sample.value for sample in metric.samples) == 60


def test_a_scrape_shows_the_living_workers_and_once_more_the_dead(tmp_path: Path) -> None:
    for worker in range(5):
        workers.run(lambda worker=worker: serve(tmp_path, worker))
    serve(tmp_path, 6)
    found = read(tmp_path, compact=True)
    assert label_sets(found, "hits_total") <= 2 * MAX_SERIES
    assert total(found, "hits_total") == 120
    assert value(found, "hits_total", path=OVERFLOW) == 120 - 2 * (MAX_SERIES - 1)


def test_a_scrape_waits_until_another_process_has_compacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would show each dead worker with label sets of its own."""
    for worker in range(5):
        workers.run(lambda worker=worker: serve(tmp_path, worker))
    with ExitStack() as another:
        assert another.enter_context(locks.exclusive(str(tmp_path / file_names.LOCK)))
        clock = SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: another.close())
        monkeypatch.setattr(locks, "time", clock)
        found = read(tmp_path, compact=True)
    assert label_sets(found, "hits_total") <= MAX_SERIES
    assert total(found, "hits_total") == 100


def test_metrics_that_are_defined_later_are_bounded_as_well(tmp_path: Path) -> None:
    def work() -> None:
        storage = FileStorage(str(tmp_path))
        for name in "early", "later":
            family = CounterFamily(name, "", ("path",), max_series=2)
            workers.keep(storage, family)
            for number in range(5):
                family.child((f"/{number}",)).inc()

    for _ in range(2):
        workers.run(work)
    found = read(tmp_path, compact=True)
    assert label_sets(found, "early_total") == label_sets(found, "later_total") == 2
    assert total(found, "later_total") == 10


def test_limits_are_those_of_the_most_generous_process(tmp_path: Path) -> None:
    directory = str(tmp_path)
    assert declared(directory) == {}
    a, b, odd = ("default", "a"), ("default", "b"), ("0123456789ab", "ö\n")
    declare(directory, {a: 5, odd: 1})
    declare(directory, {a: 7, b: 1})
    size = (tmp_path / file_names.LIMITS).stat().st_size
    declare(directory, {a: 6, b: 1})
    assert (tmp_path / file_names.LIMITS).stat().st_size == size
    assert declared(directory) == {a: 7, b: 1, odd: 1}


@pytest.mark.parametrize("broken", ['["c"', "5", '["c", "d", "many"]', '["c", 7]', "\x00"])
def test_a_line_that_was_not_finished_hides_no_other(broken: str, tmp_path: Path) -> None:
    a, b = ("default", "a"), ("default", "b")
    declare(str(tmp_path), {a: 5})
    with open(tmp_path / file_names.LIMITS, "a") as file:
        file.write(broken)
    declare(str(tmp_path), {b: 6})
    assert declared(str(tmp_path)) == {a: 5, b: 6}
