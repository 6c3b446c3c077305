"""Instances of the shop, each a process, beside a Prometheus that finds them by their files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from .. import demo
from .instance import TAKES
from .prometheus import PATIENCE, Prometheus, running, wait_for

HERE = Path(__file__).parent
INSTANCES = {"flask-1": "flask", "flask-2": "flask", "quart-1": "quart"}
SAMPLES = 20
"""After so many scrapes of a series `rate` extrapolates by 12 % at most (see `checks`)."""
CLIENTS = 8
"""How many requests are under way at the same time."""


@dataclass(frozen=True)
class Errand:
    """A request that is sent to every instance, some times."""

    times: int
    path: str
    status: int
    takes: float
    """Seconds that the view takes, at least."""


ERRANDS = (
    Errand(60, "/items", 200, 0.0),
    Errand(25, "/items/book", 200, 0.11),
    Errand(10, "/items.csv", 200, 0.3),
    Errand(5, "/orders/1/invoice", 500, 0.3),
)


REHEARSAL = tuple(replace(errand, times=1) for errand in ERRANDS)
"""Makes every series: `rate` does not see the value that a series has when it is born."""


@dataclass(frozen=True)
class Answer:
    """An errand that was done."""

    instance: str
    errand: Errand
    status: int
    seconds: float
    """The time that the client waited; the instance measured no more."""


@dataclass(frozen=True)
class Fleet:
    """Instances and their Prometheus."""

    ports: Mapping[str, int]
    prometheus: Prometheus

    def settle(self, requests: float) -> float:
        """Wait until Prometheus has this many requests; return a time at which it has no more.

        Raises `RuntimeError` if it does not get there.
        """
        # A scrape writes one after the other, and a request may end between the two.
        families = ("shop_http_request_total", "shop_http_request_duration_seconds_count")

        def found() -> list[float]:
            return [self.prometheus.value(f"sum({name})") for name in families]

        if not wait_for(lambda: found() == [requests, requests]):
            raise RuntimeError(f"Prometheus has {found()} requests, not {requests}")
        now = self.prometheus.value("vector(time())")
        # A scrape gets the time at which it began, and reads requests that end after that. One that
        # is under way now must be over before the next request is sent.
        scraped = "min(timestamp(shop_http_request_total))"
        if not wait_for(lambda: self.prometheus.value(scraped) > now):
            raise RuntimeError("Prometheus does not scrape every instance")
        return now

    def evaluate(self) -> float:
        """Wait until the rules were evaluated on enough samples; return a time before that.

        Raises `RuntimeError` if that does not happen.
        """
        samples = "min(count_over_time(shop_http_request_total[1m]))"
        wait_for(lambda: self.prometheus.value(samples) >= SAMPLES)
        now = self.prometheus.value("vector(time())")
        evaluated = "timestamp(service:shop_http_request_duration_seconds:p95_rate1m)"  # the last
        if not wait_for(lambda: self.prometheus.value(evaluated) > now):
            raise RuntimeError("Prometheus does not evaluate its rules")
        return now


def send(ports: Mapping[str, int], errands: Sequence[Errand] = ERRANDS) -> list[Answer]:
    """Send all errands to every instance, some at a time."""
    jobs = [
        (name, port, errand)
        for errand in errands
        for _ in range(errand.times)
        for name, port in ports.items()
    ]
    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(lambda job: _send(*job), jobs))


def _send(name: str, port: int, errand: Errand) -> Answer:
    start = time.perf_counter()
    status, _ = demo.send(port, "GET", errand.path, **{TAKES: str(errand.takes)})
    return Answer(name, errand, status, time.perf_counter() - start)


@contextmanager
def fleet(program: str, directory: Path) -> Iterator[Fleet]:
    """Run the instances and Prometheus; their files and logs go to the directory.

    Raises `RuntimeError` if one of them does not start.
    """
    for name in ("prometheus.yml", "rules.yml"):
        shutil.copy(HERE / name, directory)
    targets = directory / "targets"
    targets.mkdir()
    with ExitStack() as stack:
        for name, framework in INSTANCES.items():
            stack.enter_context(instance(name, framework, targets))
        if not wait_for(lambda: all((targets / f"{name}.json").exists() for name in INSTANCES)):
            raise RuntimeError(f"Only {sorted(os.listdir(targets))} of {list(INSTANCES)} started")
        ports = {name: _port(targets / f"{name}.json") for name in INSTANCES}
        send(ports, REHEARSAL)
        yield Fleet(ports, stack.enter_context(running(program, directory)))


@contextmanager
def instance(name: str, framework: str, targets: Path) -> Iterator[None]:
    """Run an instance of the shop in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.fleet.instance", name, framework, str(targets)],
        cwd=HERE.parent.parent,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _port(target: Path) -> int:
    (group,) = json.loads(target.read_text())
    return int(group["targets"][0].rpartition(":")[2])
