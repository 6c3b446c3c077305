"""Tables 5 and 6: how fast a scrape is, and how long it holds an event loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter

import quart
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import choose_encoder

from promweb import AsyncPrometheusMetrics, PrometheusMetrics
from promweb.core.exposition.scrape import answer

from . import programs
from .harness import Effort, Samples, Table, percentile, without_collector
from .requests import event_loop

__all__ = [
    "OPENMETRICS",
    "TEXT",
    "Client",
    "Program",
    "Promweb",
    "event_loop_lag",
    "scrape_speed",
]

TEXT = ""
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

LINES_OF_A_ROUTE = 20
"""A histogram of 15 buckets, count, sum and created; a counter and its created."""

DURATIONS = tuple(round(x * 2**30) / 2**30 for x in (0.003, 0.2, 0.0421, 1.7, 0.00871))
"""Seconds: many digits, as real ones have, and sums that do not depend on the order."""


class Program:
    """A program with `lines` lines of metrics, labelled as the default metrics are."""

    def __init__(self, lines: int, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.paths = [f"/shop/{i % 7}/item/{i}" for i in range(lines // LINES_OF_A_ROUTE)]
        # Someone else's metric, with an exemplar.
        other = Histogram("other_seconds", "A metric of the program.", registry=registry)
        other.observe(0.3, {"trace_id": "0af7651916cd43dd8448eb211c80319c"})

    def serve(self) -> None:
        """Have every route answer some requests."""
        for seconds in DURATIONS:
            self.request(seconds)

    def request(self, seconds: float) -> None:
        """Have every route answer one request."""
        raise NotImplementedError


class Promweb(Program):
    def __init__(self, lines: int, registry: CollectorRegistry | None = None) -> None:
        super().__init__(lines, registry or CollectorRegistry())
        metrics = PrometheusMetrics(None, registry=self.registry, max_series=10**6)
        metrics.clock = self._read_clock  # type: ignore[method-assign]
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
    def __init__(self, lines: int, registry: CollectorRegistry | None = None) -> None:
        super().__init__(lines, registry or CollectorRegistry())
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
    ours, peer = Promweb(lines), Client(lines)
    ours.serve()
    peer.serve()
    scrape = _renderer(accept)
    body = scrape(ours.registry)
    assert body == encode(ours.registry), "promweb's body differs from prometheus_client's"
    assert _timeless(body) == _timeless(encode(peer.registry)), "the programs differ"
    written = body.count(b"\n")
    table = Table(
        f"5. {kind} scrape of {written:,} lines, {len(body):,} bytes, byte-identical",
        ("variant", "median", "a line", "ratio", "goal", ""),
    )

    samples = Samples({"cold": [], "changed": [], "idle": [], "peer": []})
    end = perf_counter() + effort.seconds(seconds)
    while len(samples["peer"]) < 3 or perf_counter() < end:
        fresh = Promweb(lines)
        fresh.serve()
        ours.request(0.0625)
        for name, registry, render in (
            ("cold", fresh.registry, scrape),
            ("changed", ours.registry, scrape),
            ("idle", ours.registry, scrape),
            ("peer", peer.registry, encode),
        ):
            with without_collector():
                start = perf_counter()
                render(registry)
                samples[name].append(perf_counter() - start)

    reference = samples.median("peer")

    def row(name: str, label: str, least: float | None = None) -> None:
        taken = samples.median(name)
        table.row(label, f"{taken * 1e3:.2f} ms", f"{taken / written * 1e6:.3f} µs")
        if least is not None:
            times = [b / a for a, b in zip(samples[name], samples["peer"], strict=True)]
            times.sort()
            table.goal_at_least("prometheus_client's speed", times[len(times) // 2], least)

    row("peer", "prometheus_client")
    row("changed", "promweb, warm, every label set changed since", 20)
    row("idle", "promweb, warm, nothing changed since")
    row("cold", "promweb, cold: first scrape of a fresh registry", 6)
    table.notes.append(f"{len(samples['peer'])} rounds; {reference * 1e3:.0f} ms to beat.")
    return table


def _renderer(accept: str) -> Callable[[CollectorRegistry], bytes]:
    """Return what a scrape of promweb runs, without compression."""

    def render(registry: CollectorRegistry) -> bytes:
        return answer(registry, accept).body

    return render


def _timeless(body: bytes) -> list[bytes]:
    """Leave out when things were created, which differs between two programs."""
    kept = (line for line in body.splitlines() if b"_created" not in line)
    return [line.split(b" # {")[0] if b"trace_id" in line else line for line in kept]


def event_loop_lag(effort: Effort, lines: int, scrapes: int) -> Table:
    """Have a task wake up every millisecond while scrapes run, and see how late it does."""
    scrapes = 2 if effort.quick else scrapes
    table = Table(
        f"6. Quart, lateness of the event loop during scrapes of {lines:,} lines",
        ("variant", "p50", "p99", "worst", "a scrape", "measured", "goal", ""),
    )

    def row(name: str, lags: list[float], seconds: float | None = None) -> None:
        cells = [f"{percentile(lags, p) * 1e3:.2f} ms" for p in (50, 99, 100)]
        if seconds is not None:
            cells.append(f"{seconds * 1e3:.1f} ms")
        table.row(name, *cells)

    # One program at a time: the garbage collector goes through all that there is.
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
        row("no scrape: the baseline", _lags(loop, partial(asyncio.sleep, effort.seconds(1)))[0])
        for name, program, count, headers in (
            ("promweb", promweb, scrapes, ()),
            ("promweb, gzip", promweb, scrapes, gzip),
            ("prometheus_client, rendered on the loop", client, max(2, scrapes // 10), ()),
        ):
            gc.collect()
            work = partial(_scrapes, program(), headers, count)
            loop.run_until_complete(_scrapes(*work.args[:2], 1))
            lags, seconds = _lags(loop, work)
            row(name, lags, seconds / count)
            if program is client:
                continue
            p99, worst = percentile(lags, 99) * 1e3, max(lags) * 1e3
            table.goal("p99", p99, 10 if lines >= 100_000 else 3, unit=" ms")
            if lines >= 100_000:
                table.goal("worst", worst, 25, unit=" ms")
    table.notes.append(f"{scrapes} scrapes, one after another; a task wakes up every millisecond.")
    return table


async def _scrapes(app: quart.Quart, headers: tuple[tuple[bytes, bytes], ...], count: int) -> None:
    for _ in range(count):
        sent = await programs.get(app, "/metrics", *headers)
        assert sent[0]["status"] == 200


def _lags(
    loop: asyncio.AbstractEventLoop, work: Callable[[], Awaitable[object]]
) -> tuple[list[float], float]:
    """Return how late a task woke up while `work` ran, and the seconds that this took."""
    lags: list[float] = []
    interval = 0.001

    async def watch() -> None:
        while True:
            start = perf_counter()
            await asyncio.sleep(interval)
            lags.append(perf_counter() - start - interval)

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
