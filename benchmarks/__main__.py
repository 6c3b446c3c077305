"""`python -m benchmarks [--quick] [--strict] [name ...]`: print the tables, then the goals."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version

from . import budget, insight, instruments, native, requests, scrapes, worker_files
from .harness import Effort, Table, timed
from .requests import BATCH

TABLES: dict[str, Callable[[Effort], Iterable[Table]]] = {
    "flask": lambda effort: [timed(requests.FLASK_DEFAULTS, effort, batch=BATCH)],
    "decorators": lambda effort: [timed(requests.FLASK_DECORATORS, effort, batch=BATCH)],
    "workers": lambda effort: (
        make(effort)
        for make in (worker_files.defaults, worker_files.decorators, worker_files.scrape)
    ),
    "quart": lambda effort: [timed(requests.QUART_DEFAULTS, effort, batch=BATCH)],
    "scrape": lambda effort: (
        scrapes.scrape_speed(effort, accept, lines, seconds)
        for accept in (scrapes.TEXT, scrapes.OPENMETRICS)
        for lines, seconds in ((10_000, 4), (100_000, 12))
    ),
    "insight": insight.insight,
    "lag": lambda effort: [scrapes.event_loop_lag(effort, 100_000, 30)],
    "memory": lambda effort: [scrapes.memory(effort)],
    "native": lambda effort: (
        make(effort)
        for make in (native.protobuf_scrapes, native.flushes, native.memory, native.workers)
    ),
    "instruments": lambda effort: [timed(instruments.INSTRUMENTS, effort, batch=instruments.BATCH)],
}
"""The tables that `make bench` prints, by name; each one is made when it is asked for."""

MORE: dict[str, Callable[[Effort], Iterable[Table]]] = {
    "options": lambda effort: [requests.options(effort)],
    "others": requests.others,
    "budget": budget.budget,
}
"""Tables without goals, which are printed when they are asked for."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = {**TABLES, **MORE}
    parser.add_argument(
        "name",
        nargs="*",
        help=f"{', '.join(TABLES)} (the default is all of these), {', '.join(MORE)}",
    )
    parser.add_argument("--quick", action="store_true", help="hardly measure: for tests")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a goal was missed")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.name if name not in known]
    if unknown:
        parser.error(f"no table {', '.join(unknown)}; there are {', '.join(known)}")

    print(_machine(), flush=True)
    start = time.perf_counter()
    made = []
    for name in options.name or TABLES:
        for table in known[name](Effort(options.quick)):
            print(f"\n{table}", flush=True)
            made.append(table)
    print(f"\n{summary(made)}")
    missed = sum(goal.verdict == "MISSED" for table in made for goal in table.goals)
    print(f"\n{time.perf_counter() - start:.0f} seconds, {missed} MISSED.")
    return 1 if missed and options.strict else 0


def summary(tables: Iterable[Table]) -> Table:
    """Return all goals, and what the null control of their table seems to add."""
    goals = Table("Goals", ("table", "measured", "bound", "", "null control"))
    for table in tables:
        for goal in table.goals:
            goals.row(*goal, table.null_control)
    return goals


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
