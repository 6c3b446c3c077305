"""A real Prometheus on a free port, and what it answers."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .paths import ROOT
from .servers import free_port
from .waiting import DEADLINE


@dataclass
class Prometheus:
    """A server that runs; `log` is what it wrote."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def get(self, path: str, **arguments: Any) -> Any:
        """Return the data that an endpoint of the API answers, None while there is no answer."""
        # Otherwise another program may have the port and answer.
        assert self.process.poll() is None, self.log.read_text()
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
        query = urllib.parse.urlencode(arguments, doseq=True)
        try:
            with urllib.request.urlopen(f"{url}?{query}", timeout=DEADLINE) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            with error:
                if error.code < 500:
                    raise AssertionError(f"{arguments}: {error.read().decode()}") from error
        except OSError:
            pass  # it is starting
        return None

    def vector(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return the result of an instant query; none while Prometheus is starting.

        `at` is the time of the query, which may be in the future; the default is now.
        """
        time = {} if at is None else {"time": at}
        found = self.get("query", query=query, **time)
        return [] if found is None else found["result"]


FORKY = ROOT / "build/forky/usr/bin"
"""Where `.ci/python build/forky prometheus` leaves a newer Prometheus than Debian bookworm's."""

PROGRAMS = ["prometheus", *map(str, FORKY.glob("prometheus"))]
"""Each Prometheus that is there: tests that have one run with each."""


@contextmanager
def prometheus(
    config: Mapping[str, Any], directory: Path, program: str, *flags: str
) -> Iterator[Prometheus]:
    """Run Prometheus with a configuration and flags of its command line."""
    (directory / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    log = directory / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address=127.0.0.1:{port}",
                *flags,
            ],
            stderr=stderr,
            stdout=stderr,
        )
    try:
        yield Prometheus(port, log, process)
    finally:
        process.terminate()
        process.wait(DEADLINE)
