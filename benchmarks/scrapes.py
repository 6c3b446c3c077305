"""How fast a scrape is, how long it holds an event loop, and what a label set keeps in memory."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter, process_time
from typing import Any

import quart
from flask import Flask
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import choose_encoder

from promweb import AsyncPrometheusMetrics, PrometheusMetrics
from promweb.core.families.children import PENDING_LIMIT

from . import programs
from .harness import Effort, Samples, Table, percentile, without_collector
from .requests import event_loop

__all__ = [
    "DURATIONS",
    "OPENMETRICS",
    "TEXT",
    "Client",
    "Promweb",
    "event_loop_lag",
    "memory",
    "scrape_speed",
]

TEXT = ""
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

DURATIONS = tuple(round(x * 2**30) / 2**30 for x in (0.003, 0.2, 0.0421, 1.7, 0.00871))
"""Seconds: many digits, as real ones have, and sums that do not depend on the order."""


class Program:
    """A program with `lines` lines of metrics, labelled as the default metrics are."""

    lines_of_a_route = 20
    """A histogram of 15 buckets, count, sum and created; a counter and its created."""

    def __init__(self, lines: int) -> None:
        self.registry = CollectorRegistry()
        self.paths = [f"/shop/{i % 7}/item/{i}" for i in range(lines // self.lines_of_a_route)]

    def serve(self) -> None:
        """Send some requests to every route."""
        for seconds in DURATIONS:
            self.request(seconds)

    def request(self, seconds: float) -> None:
        """Send one request to every route."""
        raise NotImplementedError


class Promweb(Program):
    def __init__(self, lines: int) -> None:
        super().__init__(lines)
        self.app = Flask("shop")
        metrics = PrometheusMetrics(
            self.app, export_defaults=False, registry=self.registry, max_series=10**6
        )
        metrics.clock = self._read_clock
        self._now = 0.0
        self._seconds = 0.0
        labels = {"method": "GET", "path": lambda path: path, "status": "200"}
        timed = metrics.histogram("request_seconds", "Time of a request.", labels=labels)
        counted = metrics.counter("requests", "Requests.", labels=labels)
        self._view = counted(timed(self._answer))

    def _read_clock(self) -> float:
        return self._now

    def _answer(self, path: str) -> str:
        self._now = self._seconds
        return path

    def request(self, seconds: float) -> None:
        self._seconds = seconds
        for path in self.paths:
            self._now = 0.0
            self._view(path)


class Client(Program):
    def __init__(self, lines: int) -> None:
        super().__init__(lines)
        names = ["method", "path", "status"]
        self._timed = Histogram(
            "request_seconds", "Time of a request.", names, registry=self.registry
        )
        self._counted = Counter("requests", "Requests.", names, registry=self.registry)

    def request(self, seconds: float) -> None:
        for path in self.paths:
            self._timed.labels("GET", path, "200").observe(seconds)
            self._counted.labels("GET", path, "200").inc()


def scrape_speed(effort: Effort, accept: str, lines: int, seconds: float) -> Table:
    """Compare scrapes; each warm one follows a request to every route."""
    kind = "OpenMetrics" if accept else "Text"
    lines = effort.count(lines)
    encode, _ = choose_encoder(accept)
    assert accept or encode is generate_latest

    def served(program: type[Any]) -> Any:
        made = program(lines)
        made.serve()
        # Someone else's metric, with an exemplar.
        other = Histogram("other_seconds", "A metric of the program.", registry=made.registry)
        other.observe(0.3, {"trace_id": "0af7651916cd43dd8448eb211c80319c"})
        return made

    ours, peer = served(Promweb), served(Client)
    body = programs.scrape(ours.app, accept)
    assert body == encode(ours.registry), "promweb's body differs from prometheus_client's"
    assert _timeless(body) == _timeless(encode(peer.registry)), "the programs differ"
    written = body.count(b"\n")
    table = Table(
        f"{kind} scrape of {written:,} lines, {len(body):,} bytes, byte-identical",
        ("variant", "median", "a line", "measured", "bound", ""),
    )

    samples = Samples({"cold": [], "changed": [], "idle": [], "peer": []})
    end = perf_counter() + effort.seconds(seconds)
    while len(samples["peer"]) < 3 or perf_counter() < end:
        fresh = served(Promweb)
        ours.request(0.0625)
        for name, run in (
            ("cold", partial(programs.scrape, fresh.app, accept)),
            ("changed", partial(programs.scrape, ours.app, accept)),
            ("idle", partial(programs.scrape, ours.app, accept)),
            ("peer", partial(encode, peer.registry)),
        ):
            with without_collector():
                start = process_time()
                run()
                samples[name].append(process_time() - start)

    for name, label, least in (
        ("peer", "prometheus_client", None),
        ("changed", "promweb, warm, every label set changed since", 20 if accept else 18),
        ("idle", "promweb, warm, nothing changed since", None),
        ("cold", "promweb, cold: first scrape of a fresh registry", 6),
    ):
        taken = samples.median(name)
        table.row(label, f"{taken * 1e3:.2f} ms", f"{taken / written * 1e6:.3f} µs")
        if least is not None:
            what = f"prometheus_client's speed, {'cold' if name == 'cold' else 'warm'}"
            table.goal_at_least(what, samples.times(name, "peer"), least)
    table.notes.append(f"{len(samples['peer'])} rounds.")
    return table


def _timeless(body: bytes) -> list[bytes]:
    """Leave out when things were created, which differs between two programs."""
    kept = (line for line in body.splitlines() if b"_created" not in line)
    return [line.split(b" # {")[0] if b"trace_id" in line else line for line in kept]


def event_loop_lag(effort: Effort, lines: int, scrapes: int) -> Table:
    """Wake a task every millisecond while scrapes run, and measure how late it wakes."""
    scrapes = 2 if effort.quick else scrapes
    table = Table(
        f"Quart, lateness of the event loop during scrapes of {lines:,} lines",
        ("variant", "p50", "p99", "worst", "a scrape", "measured", "bound", ""),
    )

    def row(name: str, lags: list[float], seconds: float | None = None) -> None:
        cells = [f"{percentile(lags, p) * 1e3:.2f} ms" for p in (50, 99, 100)]
        if seconds is not None:
            cells.append(f"{seconds * 1e3:.1f} ms")
        table.row(name, *cells)

    # One program at a time: the garbage collector goes through all objects.
    def promweb() -> quart.Quart:
        app = quart.Quart("shop")
        program = Promweb(effort.count(lines))
        program.serve()
        AsyncPrometheusMetrics(app, export_defaults=False, registry=program.registry)
        return app

    def client() -> quart.Quart:
        app = quart.Quart("shop")
        program = Client(effort.count(lines))
        program.serve()

        @app.route("/metrics")
        async def metrics() -> quart.Response:
            return quart.Response(generate_latest(program.registry), content_type="text/plain")

        return app

    gzip = ((b"accept-encoding", b"gzip"),)
    with event_loop() as loop:
        row("no scrape (null control)", _lags(loop, partial(asyncio.sleep, effort.seconds(1)))[0])
        table.null_control = "p99 {1}, worst {2}".format(*table.rows[-1][1:])
        for name, program, count, headers in (
            ("promweb", promweb, scrapes, ()),
            ("promweb, gzip", promweb, scrapes, gzip),
            ("prometheus_client, rendered on the loop", client, max(2, scrapes // 10), ()),
        ):
            gc.collect()
            scrape = partial(_scrapes, program(), headers)
            loop.run_until_complete(scrape(1))
            lags, seconds = _lags(loop, partial(scrape, count))
            row(name, lags, seconds / count)
            if program is promweb:
                table.goal(f"p99, {name}", percentile(lags, 99) * 1e3, 10, unit=" ms")
                table.goal(f"worst, {name}", max(lags) * 1e3, 25, unit=" ms")
    table.notes.append(f"{scrapes} scrapes, one after another; a task wakes up every millisecond.")
    return table


async def _scrapes(app: quart.Quart, headers: tuple[tuple[bytes, bytes], ...], count: int) -> None:
    for _ in range(count):
        sent = await programs.get(app, "/metrics", *headers)
        assert sent[0]["status"] == 200


def _lags(
    loop: asyncio.AbstractEventLoop, work: Callable[[], Awaitable[object]]
) -> tuple[list[float], float]:
    """Return how late a task woke up while `work` ran, and the seconds that this took.

    It is not later than the process was busy: beyond that, other programs had the processor.
    """
    lags: list[float] = []
    interval = 0.001

    async def watch() -> None:
        while True:
            start, busy = perf_counter(), process_time()
            await asyncio.sleep(interval)
            late = perf_counter() - start - interval
            lags.append(min(late, process_time() - busy))

    async def both() -> float:
        watcher = asyncio.create_task(watch())
        await asyncio.sleep(0.01)
        lags.clear()
        start = perf_counter()
        await work()
        seconds = perf_counter() - start
        await asyncio.sleep(0.01)  # lateness that is not over yet is seen too
        watcher.cancel()
        return seconds

    seconds = loop.run_until_complete(both())
    return lags, seconds


def memory(effort: Effort) -> Table:
    """Measure with tracemalloc what label sets of method, path and status allocate and keep."""
    count = effort.count(300)
    table = Table(
        "Memory of one label set of the default histogram",
        ("variant", "bytes", "measured", "bound", ""),
    )
    client_registry = CollectorRegistry()
    client = Histogram("a", "A.", ["method", "path", "status"], registry=client_registry)

    def observe(path: str) -> None:
        client.labels("GET", path, "200").observe(0.01)

    app = programs.flask_app(partial(programs.flask_promweb, group_by="path", max_series=10**6))
    app.add_url_rule("/item/<int:item>", "item", lambda item: "hello")
    request = programs.flask_requests(app, lambda n: [request_path] * n)
    request_path = ""

    def ours(path: str) -> None:
        nonlocal request_path
        request_path = path
        request(1)

    full = 6 * PENDING_LIMIT - 1  # as many as a batch holds at most are in it
    reference = _allocated(observe, _paths(count, 0), 1)
    table.row("prometheus_client", f"{reference:.0f}")
    scraped = _allocated(observe, _paths(count, 1), 1, lambda: generate_latest(client_registry))
    table.row("prometheus_client, after a scrape", f"{scraped:.0f}")
    for number, (name, requests, after) in enumerate(
        (
            ("a request", 1, None),
            (f"{full} requests", full, None),
            ("a request and a scrape", 1, partial(programs.scrape, app)),
            (f"{full} requests and a scrape", full, partial(programs.scrape, app)),
        )
    ):
        size = _allocated(ours, _paths(count, number), requests, after)
        table.row(f"promweb, after {name}", f"{size:.0f}")
        table.goal(f"of prometheus_client, after {name}", size / reference, 0.4)
    table.notes.append("promweb's is all that a request of a new path leaves behind.")
    return table


def _paths(count: int, number: int) -> range:
    return range(number * 10**6, number * 10**6 + count)


def _allocated(
    use: Callable[[str], None],
    items: range,
    times: int,
    after: Callable[[], object] | None = None,
) -> float:
    """Return the bytes per item that `use` leaves allocated, the path of the item included."""
    use(f"/item/{items[0]}")  # what is made once
    if after is not None:
        after()
    with without_collector():
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for item in items[1:]:
                for _ in range(times):
                    use(f"/item/{item}")
            if after is not None:
                after()
            gc.collect()
            return (tracemalloc.get_traced_memory()[0] - before) / (len(items) - 1)
        finally:
            tracemalloc.stop()
