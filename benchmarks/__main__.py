"""`python -m benchmarks [--quick] [--strict] [name ...]`: print the tables."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from itertools import chain

from . import budget, footprint, others, requests, scrapes, worker_files
from .harness import Effort, Table

TABLES: dict[str, Callable[[Effort], Iterable[Table]]] = {
    "flask": lambda effort: [requests.flask_defaults(effort)],
    "decorators": lambda effort: [requests.flask_decorators(effort)],
    "quart": lambda effort: [requests.quart_defaults(effort)],
    "options": lambda effort: [requests.flask_options(effort), requests.quart_options(effort)],
    "scrape": lambda effort: (
        scrapes.scrape_speed(effort, accept, lines, seconds)
        for accept in (scrapes.TEXT, scrapes.OPENMETRICS)
        for lines, seconds in ((10_000, 3), (100_000, 9))
    ),
    "lag": lambda effort: (
        scrapes.event_loop_lag(effort, lines, count)
        for lines, count in ((10_000, 200), (100_000, 30))
    ),
    "workers": lambda effort: chain(
        worker_files.reading(effort, lines=10_000, seconds=8),
        [worker_files.dead_workers(effort, lines=1_000, seconds=3)],
    ),
    "memory": lambda effort: [footprint.memory(effort)],
    "new": lambda effort: [requests.new_label_set(effort)],
    "import": lambda effort: footprint.import_time(effort),
    "others": lambda effort: chain(
        (make(effort) for make in (others.options, others.streams, others.threads, others.tail)),
        others.growth(effort),
    ),
    "budget": budget.budget,
}
"""The tables by name; each one is made when it is asked for."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"tables, all if none: {', '.join(TABLES)}")
    parser.add_argument("--quick", action="store_true", help="hardly measure: for tests")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a goal was missed")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.name if name not in TABLES]
    if unknown:
        parser.error(f"no table {', '.join(unknown)}; there are {', '.join(TABLES)}")

    print(_machine(), flush=True)
    start = time.perf_counter()
    missed: list[str] = []
    for name in options.name or TABLES:
        for table in TABLES[name](Effort(options.quick)):
            print(f"\n{table}", flush=True)
            missed += table.missed
    print(f"\n{time.perf_counter() - start:.0f} seconds. ", end="")
    print(f"{len(missed)} MISSED:" if missed else "No goal missed.")
    for line in missed:
        print(f"  {line}")
    return 1 if missed and options.strict else 0


def _machine() -> str:
    packages = "promweb prometheus_client flask werkzeug quart prometheus_flask_exporter"
    packages += " starlette_exporter opentelemetry-sdk opentelemetry-instrumentation"
    lines = [
        f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    ]
    for package in packages.split():
        try:
            lines.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"{package} not installed")
    return ", ".join(lines)


if __name__ == "__main__":
    sys.exit(main())
