"""Runs a Prometheus: starts it, asks it over its HTTP API, stops it."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 120.0
"""Seconds that Prometheus may take to start, to scrape or to end."""

_LISTENING = re.compile(r'msg="Listening on".* address=(\S+)')  # Prometheus 3 says more between


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, address: str, log: Path) -> None:
        self.address = address
        self.log = log

    def get(self, path: str, **parameters: object) -> Any:
        """Return the data of an answer of the HTTP API; a wrong query raises `HTTPError`."""
        return json.loads(self.read(f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))["data"]

    def read(self, path: str) -> bytes:
        """Return what is at a path."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=PATIENCE) as response:
            body: bytes = response.read()
            return body

    def ask(self, query: str, by: str = "instance") -> dict[str, float]:
        """Evaluate a query now; return the values under each series' label `by`."""
        return {
            series["metric"].get(by, ""): float(series["value"][1])
            for series in self.get("query", query=query)["result"]
        }

    def value(self, query: str) -> float:
        """Evaluate a query that has one series now; NaN if there is none."""
        found = list(self.ask(query).values())
        return found[0] if len(found) == 1 else float("nan")

    def complaints(self) -> list[str]:
        """Return what the log has of warnings and errors."""
        return [
            line
            for line in self.log.read_text().splitlines()
            if re.search(r"level=(warn|error)", line, re.IGNORECASE) and "SIGTERM" not in line
        ]


@contextmanager
def running(program: str, directory: Path) -> Iterator[Prometheus]:
    """Run Prometheus with the directory's `prometheus.yml`, on a free port; data and log go there.

    Raises `RuntimeError` with the log if Prometheus ends at once.
    """
    log = directory / "prometheus.log"
    arguments = [
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/data",
        "--web.listen-address=127.0.0.1:0",
    ]
    with log.open("w") as output:
        process = subprocess.Popen([program, *arguments], stdout=output, stderr=output)
    try:
        wait_for(lambda: _LISTENING.search(log.read_text()) or process.poll() is not None)
        listening = _LISTENING.search(log.read_text())
        if listening is None:
            raise RuntimeError(f"Prometheus does not start:\n{log.read_text()}")
        prometheus = Prometheus(listening[1], log)
        wait_for(lambda: _is_ready(prometheus))  # it listens before it can answer
        yield prometheus
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _is_ready(prometheus: Prometheus) -> bool:
    try:
        return bool(prometheus.read("/-/ready"))
    except OSError:  # as an `HTTPError` is
        return False


def wait_for(condition: Callable[[], object], patience: float = PATIENCE) -> bool:
    """Ask again and again until a condition holds; return whether it did."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)  # between two questions
    return True
