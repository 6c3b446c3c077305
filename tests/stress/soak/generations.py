"""A service and its generations, seen from outside: its port, its books, what it takes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.support.protobuf import ACCEPT, families

__all__ = ["IN_PROGRESS", "Scraper", "Service", "Usage"]

IN_PROGRESS = "in progress"
"""The key of the gauge among what a service counted."""

PATIENCE = 60.0
"""Seconds until what clients left behind must be gone."""


class Usage(NamedTuple):
    """The resources of a process."""

    memory: float
    """Resident, in MiB."""
    threads: int
    files: int


class Service:
    """A service; each generation of it is a process, and has a port of its own."""

    def __init__(self, framework: str, directory: Path, *, bare: bool) -> None:
        name = "bare" if bare else "measured"
        self._bare = bare
        self._arrivals = directory / f"{name} arrivals"
        self._counts = directory / f"{name} counts"
        self._command = [sys.executable, "-m", "tests.stress.soak.service", framework]
        self._command += [f"--arrivals={self._arrivals}", f"--counts={self._counts}"]
        if bare:
            self._command.append("--bare")
        self.counted: Counter[str] = Counter()
        self.start()

    def start(self) -> None:
        """Start a generation; clients see it once a few scrapes have warmed it up."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        port = int(self._process.stdout.readline())
        if not self._bare:
            for _ in range(3):
                _scrape(port)
        time.sleep(0.2)  # the threads of these connections end
        self.idle = self.usage()
        """The resources of the generation before its first client."""
        self.port = port

    def stop(self) -> None:
        """Stop gracefully, and add up what was counted."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=PATIENCE)
        counted = json.loads(self._counts.read_text())
        self.counted.update({key: abs(number) for key, number in counted.items()})

    def arrived(self) -> Counter[int]:
        """Return the numbers of the requests that reached the application."""
        return Counter(map(int, self._arrivals.read_text().split()))

    def usage(self) -> Usage:
        proc = Path(f"/proc/{self._process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return Usage(
            int(status["VmRSS"].split()[0]) / 1024,
            int(status["Threads"]),
            len(list((proc / "fd").iterdir())),
        )

    def scrape(self) -> dict[str, float]:
        """Return the sums of the samples of each name; raise if there is no answer."""
        return _scrape(self.port)

    def rest(self) -> tuple[float, Usage]:
        """Return the requests in progress and what is used once nothing changes without clients."""
        end = time.monotonic() + PATIENCE
        while True:
            left = self.scrape().get("flask_http_requests_in_progress", 0.0)
            usage = self.usage()
            quiet = usage.threads <= self.idle.threads and usage.files <= self.idle.files
            if (quiet and not left) or time.monotonic() > end:
                return left, usage
            time.sleep(0.1)


class Scraper:
    """Scrapes a service every second; counters must not go down within a generation."""

    def __init__(self, service: Service) -> None:
        self.answered = self.unanswered = 0
        self.broken: list[str] = []
        self._service = service
        self._over = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._work, name="scraper")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _work(self) -> None:
        port, last = 0, 0.0
        while not self._over.wait(1.0):
            asked = self._service.port
            try:
                total = _scrape(asked).get("flask_http_request_total", 0.0)
            except OSError:
                self.unanswered += 1
                continue
            self.answered += 1
            self.broken += _broken_protobuf(asked)
            if asked == port and total < last:
                self.broken.append(f"a counter went down from {last} to {total}")
            port, last = asked, total


def _broken_protobuf(port: int) -> Iterator[str]:
    """Scrape as a Prometheus does that takes native histograms; say what it would refuse."""
    url = f"http://127.0.0.1:{port}/metrics"
    request = urllib.request.Request(url, headers={"Accept": ACCEPT})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            found = families(answer.read())
    except OSError:
        return  # the service stops
    for family in found:
        for metric in family.metric:
            native = metric.histogram
            if native.HasField("schema"):
                deltas = accumulate(native.positive_delta)
                if native.zero_count + sum(deltas) != native.sample_count:
                    yield f"the buckets of {family.name} are not all observations"


def _scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    sums: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] += sample.value  # type: ignore[assignment]
    return dict(sums)
