"""Workers that all want to serve their metrics from the same port."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.needs import PATH, module, program
from tests.support.paths import ROOT
from tests.support.running import background, without
from tests.support.servers import free_port
from tests.support.waiting import DEADLINE, eventually

HOST = "127.0.0.1"
APPS = {
    "flask": """
        import os
        from flask import Flask
        from promweb import PrometheusMetrics

        app = Flask(__name__)
        metrics = PrometheusMetrics(app, path=None)
        """,
    "quart": """
        import os
        from quart import Quart
        from promweb import AsyncPrometheusMetrics

        app = Quart(__name__)
        metrics = AsyncPrometheusMetrics(app, path=None)
        """,
}
SERVE = """
metrics.info("worker", "The worker that answers.", pid=str(os.getpid()))
metrics.start_http_server(int(os.environ["METRICS_PORT"]), "127.0.0.1")
"""
COMMANDS = {
    "flask": "gunicorn --workers 3 --bind 127.0.0.1:0 program:app",
    "quart": "gunicorn --workers 3 --bind 127.0.0.1:0 -k uvicorn_worker.UvicornWorker program:app",
}


@contextmanager
def workers(framework: str, directory: Path, port: int) -> Iterator[None]:
    """Run workers that all want to serve their metrics from the same port."""
    (directory / "program.py").write_text(textwrap.dedent(APPS[framework]) + SERVE)
    log = directory / "log"
    program("gunicorn")
    if framework == "quart":
        module("uvicorn_worker")
    environment = {
        **without("COVERAGE"),
        "METRICS_PORT": str(port),
        "PYTHONPATH": str(ROOT),
        "PATH": PATH,
    }
    with background(COMMANDS[framework].split(), log, cwd=directory, env=environment):
        yield


@pytest.mark.parametrize("framework", ["flask", "quart"])
def test_another_worker_takes_over_the_port_of_one_that_was_killed(
    framework: str, tmp_path: Path
) -> None:
    port = free_port()

    def pid() -> int:
        """Return the worker that serves the metrics, 0 if none does."""
        with suppress(OSError), urlopen(f"http://{HOST}:{port}/metrics", timeout=DEADLINE) as got:
            (line,) = (
                line for line in got.read().decode().splitlines() if line.startswith("worker{")
            )
            return int(line.split('"')[1])
        return 0

    def another_than(seen: list[int]) -> int:
        """Wait until a worker serves the metrics that did not before, and return it."""
        answers: list[int] = []

        def is_another() -> bool:
            answers.append(pid())
            return answers[-1] not in {0, *seen}

        eventually(is_another)
        return answers[-1]

    log = tmp_path / "log"
    with workers(framework, tmp_path, port):
        eventually(lambda: log.read_text().count("is taken by process ") == 2)
        seen: list[int] = []
        for _ in range(4):
            seen.append(another_than(seen))
            os.kill(seen[-1], signal.SIGKILL)
        another_than(seen)
    assert f"Port {port} is taken by process {seen[0]} (gunicorn" in log.read_text()
