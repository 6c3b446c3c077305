"""The cost of protobuf and native histograms: scrapes beside text, flushes beside classic ones."""

from __future__ import annotations

import gzip
import random
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry

from promweb.core.exposition.scrape import render
from promweb.core.families.kinds import HistogramFamily
from promweb.core.families.native import NativeHistogramFamily
from promweb.multiprocess.file_storage import FileStorage

from .harness import BARE, NULL, Effort, Table, Variant, compare, without_collector

__all__ = ["PROTOBUF", "flushes", "memory", "protobuf_scrapes", "workers"]

PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

_KINDS: dict[str, Callable[..., Any]] = {
    "classic": partial(HistogramFamily, "request_seconds", "Time.", ("method", "path", "status")),
    "native": partial(
        NativeHistogramFamily,
        "request_seconds",
        "Time.",
        ("method", "path", "status"),
        buckets=(),
    ),
    "both": partial(
        NativeHistogramFamily, "request_seconds", "Time.", ("method", "path", "status")
    ),
}


class _Service:
    """A registry with a histogram of many label sets of a thousand observations each."""

    def __init__(self, kind: str, label_sets: int, observations: int) -> None:
        self.registry = CollectorRegistry()
        self.family = _KINDS[kind](max_series=2 * label_sets)
        self.registry.register(self.family)
        dice = random.Random(1)
        # Each route has a speed of its own.
        self.children = []
        for number in range(label_sets):
            child = self.family.child(("GET", f"/shop/{number % 7}/item/{number}", "200"))
            middle = dice.uniform(-6, -1)
            for _ in range(observations):
                child.record(dice.lognormvariate(middle, 0.5))
            self.children.append(child)

    def change(self, every: int) -> None:
        """Observe a number in each `every`-th label set."""
        for child in self.children[::every]:
            child.record(0.0625)


def protobuf_scrapes(effort: Effort) -> Table:
    """Compare scrapes of the same histograms in text, in protobuf, and by Google's runtime."""
    label_sets = effort.count(1000)
    table = Table(
        f"Scrapes of {label_sets:,} label sets of a histogram",
        ("variant", "encode", "gzip", "bytes", "compressed"),
    )
    services = {kind: _Service(kind, label_sets, 20 if effort.quick else 1000) for kind in _KINDS}
    for name, kind, accept, every in (
        ("classic, text", "classic", "", 1),
        ("classic, protobuf", "classic", PROTOBUF, 1),
        ("classic, protobuf, a tenth changed", "classic", PROTOBUF, 10),
        ("native alone, all changed", "native", PROTOBUF, 1),
        ("native alone, a tenth changed", "native", PROTOBUF, 10),
        ("both kinds, all changed", "both", PROTOBUF, 1),
        ("both kinds, a tenth changed", "both", PROTOBUF, 10),
        ("both kinds, text", "both", "", 1),
    ):
        service = services[kind]
        write = partial(render, service.registry, accept)
        write()
        _row(table, effort, name, lambda write=write: write()[0], partial(service.change, every))
    for kind in _KINDS:
        fresh = [_Service(kind, label_sets, 20) for _ in range(3)]
        name = f"{kind}, protobuf, cold: first scrape of a fresh registry"
        _row(table, effort, name, lambda fresh=fresh: _first(fresh), lambda: None, rounds=3)
    try:
        from tests.support.protobuf import delimited, message_of
    except ImportError:
        table.row("classic, protobuf by Google's runtime", "not installed")
        return table
    registry = services["classic"].registry

    def by_runtime() -> bytes:
        return b"".join(delimited(message_of(metric)) for metric in registry.collect())

    _row(table, effort, "classic, protobuf by Google's runtime, from samples", by_runtime)
    messages = [message_of(metric) for metric in registry.collect()]
    name = "classic, Google's runtime, messages that are made already"
    _row(table, effort, name, lambda: b"".join(map(delimited, messages)))
    assert by_runtime() == render(registry, PROTOBUF)[0], "the bodies differ"
    return table


def _first(fresh: list[_Service]) -> bytes:
    return render(fresh.pop().registry, PROTOBUF)[0]


def _row(
    table: Table,
    effort: Effort,
    name: str,
    write: Callable[[], bytes],
    change: Callable[[], object] = lambda: None,
    rounds: int = 0,
) -> None:
    encode, zipped, body, packed = [], [], b"", b""
    end = perf_counter() + effort.seconds(1.5)
    while len(encode) < (rounds or 3) or (not rounds and perf_counter() < end):
        change()
        with without_collector():
            start = process_time()
            body = write()
            middle = process_time()
            packed = gzip.compress(body, compresslevel=1, mtime=0)
            encode.append(middle - start)
            zipped.append(process_time() - middle)
    table.row(
        name,
        f"{median(encode) * 1e3:.2f} ms",
        f"{median(zipped) * 1e3:.2f} ms",
        f"{len(body):,}",
        f"{len(packed):,}",
    )


def memory(effort: Effort) -> Table:
    """Measure what a label set keeps after a thousand observations, and after a scrape."""
    label_sets = effort.count(200)
    table = Table("Memory of a label set of a histogram", ("variant", "bytes", "after a scrape"))
    for kind in _KINDS:
        with without_collector():
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            service = _Service(kind, label_sets, 20 if effort.quick else 1000)
            recorded = tracemalloc.get_traced_memory()[0] - before
            render(service.registry, PROTOBUF)
            scraped = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
        table.row(kind, f"{recorded / label_sets:.0f}", f"{scraped / label_sets:.0f}")
    table.notes.append("The label values included.")
    return table


def workers(effort: Effort) -> Table:
    """Compare what an observation costs a worker that writes to files, and how large these are."""
    table = Table(
        "An observation of one of several workers", ("variant", "median", "bytes of a label set")
    )
    label_sets = effort.count(200)
    dice = random.Random(1)
    amounts = [dice.lognormvariate(-3, 0.5) for _ in range(1000)]
    for kind in _KINDS:
        with TemporaryDirectory() as directory:
            storage = FileStorage(directory)
            family = _KINDS[kind](max_series=2 * label_sets)
            family.keep_in(storage.of_registry(REGISTRY, ""))
            children = [family.child(("GET", f"/item/{n}", "200")) for n in range(label_sets)]
            seconds = []
            for child in children:
                for amount in amounts:
                    child.record(amount)
                start = process_time()
                for amount in amounts:
                    child.record(amount)
                seconds.append((process_time() - start) / len(amounts))
            used = 0
            for path in Path(directory).iterdir():
                if path.suffix in (".db", ".native"):
                    used += int.from_bytes(path.read_bytes()[:4], sys.byteorder)
            table.row(kind, f"{median(seconds) * 1e9:.0f} ns", f"{used / label_sets:.0f}")
    return table


def flushes(effort: Effort) -> Table:
    """Compare what an observation costs, its share of a flush included."""
    table = Table("Recording and flushing an observation", ("variant", "median", "more than bare"))
    dice = random.Random(1)
    spreads = {"narrow": 0.3, "wide": 1.5}

    def recorder(family: Any, spread: float) -> Callable[[int], None]:
        record = family.child(()).record
        amounts = [dice.lognormvariate(-3, spread) for _ in range(5000)]

        def run(count: int) -> None:
            for amount in amounts[:count]:
                record(amount)

        return run

    classic = partial(HistogramFamily, "h", "d")
    variants = [
        Variant(BARE, recorder(classic(), spreads["wide"])),
        Variant(NULL, recorder(classic(), spreads["wide"])),
    ]
    for name, spread in spreads.items():
        for what, family in (
            ("both kinds, factor 1.1", NativeHistogramFamily("h", "d")),
            ("native alone, factor 1.1", NativeHistogramFamily("h", "d", buckets=())),
            ("both kinds, factor 1.02", NativeHistogramFamily("h", "d", factor=1.02)),
        ):
            variants.append(Variant(f"{what}, {name} spread", recorder(family, spread)))
    samples = compare(variants, batch=100 if effort.quick else 5000, seconds=effort.seconds(6))
    for variant in variants:
        name = variant.name
        added = "" if name == BARE else f"{samples.added(name).text(1e9)} ns"
        table.row(name, f"{samples.median(name) * 1e9:.0f} ns", added)
    table.notes.append("Bare is a histogram with classic buckets alone.")
    return table
