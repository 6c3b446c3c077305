"""Tables 11 and 12: how fast the files of many workers are read, living and dead ones."""

from __future__ import annotations

import os
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any
from unittest.mock import patch

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from promweb.core.exposition.scrape import answer
from promweb.core.families.catalog import Catalog
from promweb.core.families.family import Family
from promweb.core.families.kinds import CounterFamily, HistogramFamily
from promweb.core.families.storage import DIRECTORY_VARIABLE
from promweb.multiprocess.file_storage import FileStorage

from .harness import Effort, Samples, Table, Variant, compare, without_collector
from .scrapes import DURATIONS, LINES_OF_A_ROUTE

__all__ = ["dead_workers", "reading"]

WORKERS = 16

_LIVING = 4

PEER = "prometheus_client"

_OF_WORKERS = re.compile(rb"^(# \w+ )?(process|python)_")
"""What promweb adds about each worker, and prometheus_client has not in this mode."""

_LINES_OF_A_ROUTE = LINES_OF_A_ROUTE - 2
"""Nobody knows when the series of several workers were created."""


class Worker:
    """The files of one worker, with an order of routes of its own."""

    def __init__(self, directory: str, lines: int, number: int) -> None:
        storage = FileStorage(directory)
        labels = ("method", "path", "status")
        self.time = HistogramFamily("request_seconds", "Time of a request.", labels)
        self.requests = CounterFamily("requests", "Requests.", labels)
        families: tuple[Family[Any], ...] = (self.time, self.requests)
        for family in families:
            family.max_series = 10**6
            family.keep_in(storage)
        self.routes = [f"/shop/{i % 7}/item/{i}" for i in range(lines // _LINES_OF_A_ROUTE + 1)]
        random.Random(number).shuffle(self.routes)

    def serve(self, seconds: float) -> None:
        """Answer a request of every route."""
        for route in self.routes:
            self.time.child(("GET", route, "200")).observe(seconds)
            self.requests.child(("GET", route, "200")).inc()


def reading(effort: Effort, lines: int, seconds: float) -> Iterator[Table]:
    """Compare reading and whole scrapes; each warm one follows a request to every route."""
    with _directory() as directory:
        workers = [Worker(directory, effort.count(lines), n) for n in range(WORKERS)]
        for worker in workers:
            for duration in DURATIONS:
                worker.serve(duration)
        ours, theirs = _ours(directory), _theirs(directory)
        for collect in ours[0], theirs[0]:
            assert collect()
        body = ours[1]()
        shared = [line for line in body.splitlines() if not _OF_WORKERS.search(line)]
        assert sorted(shared) == sorted(theirs[1]().splitlines()), "values differ"
        written = body.count(b"\n")
        for index, what in enumerate(("reading", "a whole scrape")):
            table = Table(
                f"11. {WORKERS} workers with {written:,} lines each, {what}, values equal",
                ("variant", "median", "ratio", "goal", ""),
            )
            samples = Samples({"cold": [], "warm": [], PEER: []})
            end = perf_counter() + effort.seconds(seconds)
            while len(samples[PEER]) < 3 or perf_counter() < end:
                for worker in workers:
                    worker.serve(0.0625)
                for name, run in (
                    ("cold", _ours(directory)[index]),
                    ("warm", ours[index]),
                    (PEER, theirs[index]),
                ):
                    with without_collector():
                        start = perf_counter()
                        run()
                        samples[name].append(perf_counter() - start)
            for name, label, least in (
                (PEER, f"{PEER}'s MultiProcessCollector", None),
                ("warm", "promweb, warm, every number changed since", 20),
                ("cold", "promweb, cold: the first of a process", 6),
            ):
                table.row(label, f"{samples.median(name) * 1e3:.2f} ms")
                if least is not None:
                    pairs = zip(samples[name], samples[PEER], strict=True)
                    times = sorted(peer / own for own, peer in pairs)
                    table.goal_at_least(f"{PEER}'s speed", times[len(times) // 2], least)
            table.notes.append(f"{len(samples[PEER])} rounds.")
            yield table


def dead_workers(effort: Effort, lines: int, seconds: float) -> Table:
    """Compare scrapes of living workers with those after many others have died."""
    dead = effort.count(500)
    table = Table(
        f"12. {_LIVING} living workers with {effort.count(lines):,} lines each, a scrape",
        ("variant", "median", "directory", "ratio", "goal", ""),
    )
    with _directory() as alone, _directory() as directory:
        scrapes = {}
        for path in alone, directory:
            for number in range(_LIVING):
                Worker(path, effort.count(lines), number).serve(DURATIONS[0])
            scrapes[path] = _ours(path)[1]
        # Each has all of its files; a process for each would only take longer to start.
        for _ in range(10):
            pid = os.fork()
            if not pid:
                for number in range(dead // 10):
                    Worker(directory, 20 * _LINES_OF_A_ROUTE, number).serve(DURATIONS[0])
                os._exit(0)
            os.waitpid(pid, 0)
        start = perf_counter()
        scrapes[directory]()
        table.notes.append(f"The first scrape took {(perf_counter() - start) * 1e3:.0f} ms.")
        names = {alone: "nobody died", directory: f"{dead} others died"}
        variants = [Variant(name, _repeat(scrapes[path])) for path, name in names.items()]
        samples = compare(variants, batch=1, seconds=effort.seconds(seconds))
        for path, name in names.items():
            size = sum(entry.stat().st_size for entry in os.scandir(path))
            table.row(name, f"{samples.median(name) * 1e3:.2f} ms", f"{size / 1e6:.1f} MB")
        ratios = [b / a for a, b in zip(*samples.values(), strict=True)]
        table.goal("of the time", sorted(ratios)[len(ratios) // 2], 1.5)
    return table


def _repeat(scrape: Callable[[], object]) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            scrape()

    return run


@contextmanager
def _directory() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory() as directory,
        patch.dict(os.environ, {DIRECTORY_VARIABLE: directory}),
    ):
        yield directory


def _ours(directory: str) -> tuple[Callable[[], Any], Callable[[], bytes]]:
    """Return what reads, and what scrapes, in a process that has read nothing."""
    storage = FileStorage(directory)
    registry = CollectorRegistry()
    Catalog.of(registry, storage)
    return lambda: list(storage.collect(None, lambda: None)), lambda: answer(registry).body


def _theirs(directory: str) -> tuple[Callable[[], Any], Callable[[], bytes]]:
    registry = CollectorRegistry()
    collector = MultiProcessCollector(registry, directory)  # type: ignore[no-untyped-call]
    return lambda: list(collector.collect()), lambda: generate_latest(registry)
