"""Tables 7 and 9: the memory of a label set, and the time of an import."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

from prometheus_client import CollectorRegistry, Histogram

from promweb.core.exposition.scrape import answer
from promweb.core.families.children import PENDING_LIMIT

from . import programs
from .harness import NULL, Effort, Samples, Table, without_collector

__all__ = ["import_time", "memory"]


def memory(effort: Effort) -> Table:
    """Measure with tracemalloc what label sets of method, path and status allocate and keep."""
    count = effort.count(300)
    table = Table(
        "7. Memory of one label set of the default histogram",
        ("variant", "bytes", "", "ratio", "goal", ""),
    )
    client_registry = CollectorRegistry()
    client = Histogram("a", "A.", ["method", "path", "status"], registry=client_registry)

    def observe(path: str) -> None:
        client.labels("GET", path, "200").observe(0.01)

    app = programs.flask_app()
    metrics = programs.flask_promweb(app, max_series=10**6)
    app.add_url_rule("/item/<int:item>", "item", lambda item: "hello")
    request = programs.flask_requests(app, lambda n: [request_path] * n)
    request_path = ""

    def ours(path: str) -> None:
        nonlocal request_path
        request_path = path
        request(1)

    most = PENDING_LIMIT - 1
    reference = _allocated(observe, _paths(count, 0), 1)
    table.row("prometheus_client, fresh", f"{reference:.0f}")
    scraped = _allocated(observe, _paths(count, 1), 1, lambda: answer(client_registry))
    table.row("prometheus_client, after a scrape", f"{scraped:.0f}")
    for number, (name, requests, after) in enumerate(
        (
            ("promweb, fresh", 1, None),
            (f"promweb, {most} observations pending, the most there are", most, None),
            ("promweb, after a scrape", 1, lambda: answer(metrics.registry)),
            (
                f"promweb, {most} observations, after a scrape",
                most,
                lambda: answer(metrics.registry),
            ),
        )
    ):
        size = _allocated(ours, _paths(count, number), requests, after)
        table.row(name, f"{size:.0f}")
        table.goal("of prometheus_client, fresh", size / reference, 0.4)
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


_TIMED = """
from time import perf_counter
start = perf_counter()
import prometheus_client, {framework}
middle = perf_counter()
{more}
print(middle - start, perf_counter() - middle)
"""


def import_time(effort: Effort) -> list[Table]:
    """Time imports in fresh processes, framework and prometheus_client first."""
    return [
        _import_time("a", "flask", "PrometheusMetrics", effort),
        _import_time("b", "quart", "AsyncPrometheusMetrics", effort),
    ]


def _import_time(letter: str, framework: str, name: str, effort: Effort) -> Table:
    table = Table(f"9{letter}. Import of promweb.{name}, beyond {framework} and prometheus_client")
    peers = {"flask": ["prometheus_flask_exporter"], "quart": ["starlette_exporter"]}[framework]
    programs: dict[str, str] = {
        f"{framework}, prometheus_client": "",
        NULL: "",
        "promweb": f"from promweb import {name}",
        **{peer: f"import {peer}" for peer in peers},
    }
    samples = Samples({name: [] for name in programs})
    rounds = 1 if effort.quick else 9
    base: list[float] = []
    with TemporaryDirectory() as bytecode:
        # As after an installation: the modules are compiled already.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(rounds + 1):
            for program, more in programs.items():
                text = _TIMED.format(framework=framework, more=more)
                command = [sys.executable, "-c", text]
                done: Any = subprocess.run(
                    command, capture_output=True, text=True, check=False, env=environment
                )
                if done.returncode or not number:  # the first round compiles
                    continue
                framework_seconds, seconds = map(float, done.stdout.split())
                base.append(framework_seconds)
                samples[program].append(seconds)
    base.sort()
    table.row(f"{framework}, prometheus_client", f"{base[len(base) // 2] * 1e3:.2f} ms")
    for program in list(programs)[1:]:
        if not samples[program]:
            continue
        table.row(program, "", f"{samples.median(program) * 1e3:+.2f} ms")
        if program == "promweb":
            table.goal("", samples.median(program) * 1e3, 15, unit=" ms")
    return table
