"""The cost of several workers: a request in one of them, and a scrape of all of them.

prometheus_client looks at `PROMETHEUS_MULTIPROC_DIR` when it is imported. So each comparison runs
in a process of its own, `python -m benchmarks.worker_files NAME [--quick]`, which prints samples.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from . import programs
from .harness import BARE, NULL, Effort, Samples, Table, compare
from .programs import EXPORTER, Prepare, flask_variant
from .requests import BATCH, DECORATED, OURS, decorate, installed
from .scrapes import DURATIONS, Promweb

__all__ = ["decorators", "defaults", "scrape"]

ROOT = Path(__file__).parent.parent
WORKERS = 16
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

CLIENT = "prometheus_client's MultiProcessCollector"
WARM = "promweb, warm, every number changed since"
COLD = "promweb, cold: the first of a process"

_OF_WORKERS = re.compile(rb"^(# \w+ )?(process|python)_")
"""Samples that promweb adds for each worker; prometheus_client has none in this mode."""


def defaults(effort: Effort) -> Table:
    return _requests("defaults", "default metrics", effort)


def decorators(effort: Effort) -> Table:
    return _requests("decorators", "default metrics, a counter and a histogram", effort)


def scrape(effort: Effort) -> Table:
    """Compare whole scrapes; each warm one follows a request to every route of every worker."""
    samples = _measured("scrape", effort)
    lines = effort.count(10_000)
    table = Table(
        f"{WORKERS} workers with {lines:,} lines each, a scrape, values equal",
        ("variant", "median", "measured", "bound", ""),
    )
    for name, least in ((CLIENT, None), (WARM, 15), (COLD, 5)):
        table.row(name, f"{samples.median(name) * 1e3:.2f} ms")
        if least is not None:
            what = f"prometheus_client's speed, {'warm' if name == WARM else 'cold'}"
            table.goal_at_least(what, samples.times(name, CLIENT), least)
    table.notes.append(f"{len(samples[CLIENT])} rounds.")
    return table


def _requests(name: str, title: str, effort: Effort) -> Table:
    table = Table(f"Flask, several workers, {title}")
    samples = _measured(name, effort)
    for variant in table.compared(samples):
        if variant == OURS:
            table.goal(f"of {EXPORTER}'s multiprocess class", samples.ratio(OURS, EXPORTER), 0.28)
    return table


def _measured(name: str, effort: Effort) -> Samples:
    """Measure in a process of its own, with a directory of its own."""
    command = [sys.executable, "-m", "benchmarks.worker_files", name, *["--quick"] * effort.quick]
    with TemporaryDirectory() as directory:
        environment = {**os.environ, DIRECTORY: directory}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True
        )
    return Samples(json.loads(done.stdout))


# Runs in that process.


def _compare_requests(effort: Effort, wrap: Callable[[Prepare], Prepare], path: str) -> Samples:
    variants = installed(
        lambda: flask_variant(BARE),
        lambda: flask_variant(NULL),
        lambda: flask_variant(OURS, wrap(programs.flask_promweb), path=path),
        lambda: flask_variant(EXPORTER, wrap(programs.flask_exporter_of_workers), path=path),
    )
    return compare(variants, batch=BATCH, seconds=effort.seconds(20))


class _Worker(Promweb):
    lines_of_a_route = 18
    """Without times of creation: files do not have them."""


class _Process:
    """A forked process that does `work` for each message, and answers with what that returns.

    `prepare` runs there and returns `work`.
    """

    def __init__(self, prepare: Callable[..., Callable[[Any], object]], *arguments: Any) -> None:
        def run() -> None:
            work = prepare(*arguments)
            with suppress(EOFError):
                while True:
                    theirs.send(work(theirs.recv()))

        self._connection, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
        self._process.start()

    def send(self, message: Any = None) -> None:
        self._connection.send(message)

    def receive(self) -> Any:
        return self._connection.recv()

    def ask(self, message: Any = None) -> Any:
        self.send(message)
        return self.receive()

    def end(self) -> None:
        self._process.terminate()
        self._process.join()


def _serve(lines: int, number: int) -> Callable[[Any], object]:
    """Be a worker, with an order of routes of its own."""
    program = _Worker(lines)
    random.Random(number).shuffle(program.paths)
    return program.request


def _scrape_ours(lines: int) -> Callable[[Any], object]:
    app = _Worker(lines).app
    return _timed(lambda: programs.scrape(app))


def _scrape_theirs() -> Callable[[Any], object]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return _timed(lambda: generate_latest(registry))


def _timed(run: Callable[[], bytes]) -> Callable[[Any], tuple[float, bytes]]:
    def work(_: Any) -> tuple[float, bytes]:
        gc.collect()
        gc.disable()
        start = process_time()
        body = run()
        seconds = process_time() - start
        gc.enable()
        return seconds, body

    return work


def _compare_scrapes(effort: Effort) -> Samples:
    lines = effort.count(10_000)
    workers = [_Process(_serve, lines, number) for number in range(WORKERS)]
    warm, peer = _Process(_scrape_ours, lines), _Process(_scrape_theirs)

    def serve(seconds: float) -> None:
        for worker in workers:
            worker.send(seconds)
        for worker in workers:
            worker.receive()

    for seconds in DURATIONS:
        serve(seconds)
    ours, theirs = ([*filter(None, p.ask()[1].splitlines())] for p in (warm, peer))
    shared = [line for line in ours if not _OF_WORKERS.search(line)]
    assert sorted(shared) == sorted(theirs), "values differ"
    samples = Samples({COLD: [], WARM: [], CLIENT: []})
    dice = random.Random(1)
    end = perf_counter() + effort.seconds(20)
    while len(samples[CLIENT]) < 3 or perf_counter() < end:
        serve(0.0625)
        cold = _Process(_scrape_ours, lines)
        for name, process in dice.sample([(COLD, cold), (WARM, warm), (CLIENT, peer)], 3):
            samples[name].append(process.ask()[0])
        cold.end()
    for process in (*workers, warm, peer):
        process.end()
    return samples


def main(name: str, *options: str) -> None:
    effort = Effort("--quick" in options)
    if name == "scrape":
        samples = _compare_scrapes(effort)
    elif name == "decorators":
        samples = _compare_requests(effort, decorate, DECORATED)
    else:
        samples = _compare_requests(effort, lambda prepare: prepare, "/hello")
    print(json.dumps(samples))


if __name__ == "__main__":
    main(*sys.argv[1:])
