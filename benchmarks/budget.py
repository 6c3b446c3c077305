"""The cost of label sets in a scrape and in Prometheus, and that of 10,000 instances."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from examples.fleet.prometheus import Prometheus, running, wait_for
from promweb import PrometheusMetrics

from . import programs
from .harness import Effort, Table
from .scrapes import OPENMETRICS

__all__ = ["budget"]

ANSWERS = 20
"""Requests to each route."""
SCRAPES = 20
"""How often Prometheus has scraped a target when its memory is read."""
INTERVAL = 15
"""Seconds between two scrapes, on paper."""
INSTANCES = 10_000
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "defaults, without _created": {},
    "defaults, five buckets": {"buckets": (0.01, 0.05, 0.25, 1, 5)},
    "defaults, a summary": {"default_latency_as_histogram": False},
    "defaults, request_size, response_size, response_start": {
        "request_size": True,
        "response_size": True,
        "response_start": True,
    },
}


class Scrape(NamedTuple):
    """The size of a scrape, or of a part of it: series, bytes, bytes with gzip."""

    series: float
    plain: float
    zipped: float


class Head(NamedTuple):
    """Prometheus' memory: series, live bytes on its heap, resident bytes."""

    series: float
    heap: float
    resident: float


def budget(effort: Effort) -> Iterator[Table]:
    """Measure scrapes, then Prometheus, and multiply."""
    table, own, each = _scrapes(effort)
    yield table
    program = shutil.which("prometheus")
    if program is None:
        table = Table("Memory of Prometheus", ("",))
        table.notes.append("prometheus is not installed: apt-get install prometheus")
        yield table
        return
    table, memory = _prometheus(program, effort)
    yield table
    yield _multiplied(own, each, memory)


def _scrapes(effort: Effort) -> tuple[Table, Scrape, Scrape]:
    """Take the difference between a scrape of some label sets and one of more."""
    few, many = effort.count(100), effort.count(1000)
    table = Table(
        f"A scrape: size of a label set (method, route, status), from {few:,} to {many:,}",
        ("variant", "series", "bytes", "bytes with gzip"),
    )
    found = {}
    for name, options in OPTIONS.items():
        created = "without _created" not in name
        small, large = (_scrape(_served(count, **options), created) for count in (few, many))
        found[name] = each = Scrape(
            *((b - a) / (many - few) for a, b in zip(small, large, strict=True))
        )
        table.row(name, f"{each.series:.0f}", f"{each.plain:,.0f}", f"{each.zipped:,.0f}")
    own = _own()
    table.row(
        "a process without requests", f"{own.series:.0f}", f"{own.plain:,.0f}", f"{own.zipped:,.0f}"
    )
    table.notes.append(f"OpenMetrics, as Prometheus asks for. The routes are such as {_route(0)}.")
    return table, own, found["defaults"]


def _route(number: int) -> str:
    return f"/api/v1/shelves{number}/<item>"


class _Varied(PrometheusMetrics):
    """Metrics with durations from milliseconds to seconds: equal counts would compress too well."""

    def __init__(self, app: Any, **options: Any) -> None:
        dice, now = random.Random(1), 0.0

        def clock() -> float:
            nonlocal now
            now += dice.lognormvariate(-3, 1.5)
            return now

        self.clock = clock
        super().__init__(app, registry=CollectorRegistry(), **options)


def _served(routes: int, **options: Any) -> PrometheusMetrics:
    """Return the metrics of an application, each of whose routes was asked for."""
    app = programs.flask_app()
    metrics = _Varied(app, max_series=10**6, group_by="url_rule", **options)
    for number in range(routes):
        app.add_url_rule(_route(number), str(number), lambda item: item)
    paths = [_route(number).replace("<item>", "7") for number in range(routes)]
    programs.flask_requests(app, lambda n: paths * n)(ANSWERS)
    return metrics


def _own() -> Scrape:
    """Return what a process exposes of itself."""
    metrics = programs.flask_promweb(programs.flask_app())
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=metrics.registry)
    return _scrape(metrics)


def _scrape(metrics: PrometheusMetrics, created: bool = True) -> Scrape:
    text, _ = metrics.generate_metrics(OPENMETRICS)
    kept = [line for line in text.splitlines(True) if created or "_created" not in line]
    body = "".join(kept).encode()
    series = sum(not line.startswith("#") for line in kept)
    return Scrape(series, len(body), len(gzip.compress(body, compresslevel=1)))


def _prometheus(program: str, effort: Effort) -> tuple[Table, Head]:
    """Let Prometheus scrape few targets, then many, and take the difference."""
    few, many = 2, 4 if effort.quick else 20
    routes = effort.count(500)
    metrics = _served(routes)
    server = metrics.start_http_server(0, host="127.0.0.1")
    table = Table("Memory of Prometheus", ("", "series", "heap, live", "resident"))

    def row(name: str, head: Head, unit: str, scale: float) -> None:
        sizes = (f"{size / scale:,.0f} {unit}" for size in (head.heap, head.resident))
        table.row(name, f"{head.series:,.0f}", *sizes)

    with TemporaryDirectory() as name:
        directory = Path(name)
        job = {
            "job_name": "budget",
            "scrape_interval": "1s",
            "file_sd_configs": [{"files": ["targets.json"]}],
        }
        (directory / "prometheus.yml").write_text(json.dumps({"scrape_configs": [job]}))
        _targets(directory, server.port, few)
        try:
            with running(program, directory) as prometheus:
                scrapes = 2 if effort.quick else SCRAPES
                small = _head(prometheus, few, scrapes)
                _targets(directory, server.port, many)
                large = _head(prometheus, many, scrapes)
                version = prometheus.get("status/buildinfo")["version"]
                seconds = prometheus.value("avg(scrape_duration_seconds)")
        finally:
            server.close()
    row(f"{few} targets", small, "MB", 1e6)
    row(f"{many} targets", large, "MB", 1e6)
    more = large.series - small.series
    each = Head(1, (large.heap - small.heap) / more, (large.resident - small.resident) / more)
    row("each further series", each, "bytes", 1)
    table.notes.append(
        f"Prometheus {version}, after {scrapes} scrapes of every target or more; a scrape of "
        f"{large.series / many:,.0f} series took it {seconds * 1e3:.0f} ms."
    )
    return table, each


def _targets(directory: Path, port: int, count: int) -> None:
    """Present one target to Prometheus as many."""
    groups = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": f"shop-{number}"}}
        for number in range(count)
    ]
    unfinished = directory / "unfinished"
    unfinished.write_text(json.dumps(groups))
    os.replace(unfinished, directory / "targets.json")


def _head(prometheus: Prometheus, targets: int, scrapes: int) -> Head:
    """Wait until every target was scraped so often, and look at Prometheus' own metrics."""
    scraped = f"count(count_over_time(up[5m]) >= {scrapes})"
    if not wait_for(lambda: prometheus.value(scraped) == targets, patience=120):
        raise RuntimeError(f"Prometheus scrapes {prometheus.value(scraped)} of {targets} targets")
    prometheus.read("/debug/pprof/heap?gc=1")  # collects garbage
    lines = prometheus.read("/metrics").decode().splitlines()
    own = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    names = (
        "prometheus_tsdb_head_series",
        "go_memstats_alloc_bytes",
        "process_resident_memory_bytes",
    )
    return Head(*(float(own[name]) for name in names))


def _multiplied(own: Scrape, each: Scrape, memory: Head) -> Table:
    """Say what this makes for many instances."""
    columns = "label sets,series each,bytes with gzip,series,samples/s,network,heap,resident"
    table = Table(
        f"On paper: {INSTANCES:,} instances, scraped every {INTERVAL} seconds",
        tuple(columns.split(",")),
    )
    for label_sets in (10, 30, 100, 300):
        one = own.series + label_sets * each.series
        zipped = own.zipped + label_sets * each.zipped
        series = one * INSTANCES
        table.row(
            f"{label_sets}",
            f"{one:,.0f}",
            f"{zipped:,.0f}",
            f"{series / 1e6:,.1f} million",
            f"{series / INTERVAL:,.0f}",
            f"{zipped * INSTANCES / INTERVAL / 1e6:.1f} MB/s",
            f"{series * memory.heap / 1e9:,.0f} GB",
            f"{series * memory.resident / 1e9:,.0f} GB",
        )
    return table
