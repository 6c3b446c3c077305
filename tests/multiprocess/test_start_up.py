"""Real servers with several workers and one: which of them are warned of, and how often."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from promweb.deployment import PRELOADED, SEVERAL
from tests.support.needs import PATH, program
from tests.support.paths import ROOT
from tests.support.running import background, without
from tests.support.servers import free_port
from tests.support.waiting import eventually

PROGRAM = """
    import logging, os, sys
    from prometheus_client import CollectorRegistry

    logging.basicConfig(format="%(process)d %(name)s %(message)s", stream=sys.stderr)

    def load():
        metrics = Metrics(app, registry=CollectorRegistry())
        Metrics(app, "/more", registry=CollectorRegistry())
        if "METRICS_PORT" in os.environ:
            metrics.start_http_server(0, "127.0.0.1")
        sys.stderr.write(f"{os.getpid()} has loaded\\n")  # at once, beside those of others
        return app
"""
FLASK = """
    from flask import Flask
    from promweb import PrometheusMetrics as Metrics

    app = Flask(__name__)
    load()
"""
QUART = """
    from quart import Quart
    from promweb import AsyncPrometheusMetrics as Metrics

    app = Quart(__name__)
    load()
"""
RUN = """
    import uvicorn

    if __name__ == "__main__":
        uvicorn.run("quart_program:app", port=0, workers=2)
"""
IN_PROCESS = """
    import uvicorn

    uvicorn.Server(uvicorn.Config("quart_program:app", port=0, workers=2)).run()
"""


@dataclass
class Start:
    """How a server is started, in a directory with some files."""

    command: str
    workers: int = 2
    """How many processes load the application."""
    warned: int = 2
    """How many of them are warned of."""
    environ: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    framework: str = "flask"


GUNICORN = "gunicorn --bind 127.0.0.1:0 flask_program:app"
UVICORN = "uvicorn --port 0 quart_program:app"
HYPERCORN = "hypercorn --bind 127.0.0.1:0 quart_program:app"
GRANIAN = "granian --port {port} --interface asgi quart_program:app"

STARTS = {
    "gunicorn": Start(f"{GUNICORN} -w 2"),
    "gunicorn, GUNICORN_CMD_ARGS": Start(GUNICORN, environ={"GUNICORN_CMD_ARGS": "--workers=2"}),
    "gunicorn, WEB_CONCURRENCY": Start(GUNICORN, environ={"WEB_CONCURRENCY": "2"}),
    "gunicorn, file": Start(GUNICORN, files={"gunicorn.conf.py": "workers = 2"}),
    "gunicorn, a file that says one": Start(
        GUNICORN, 1, 0, {"WEB_CONCURRENCY": "2"}, {"gunicorn.conf.py": "workers = 1"}
    ),
    "gunicorn, preload": Start(f"{GUNICORN} -w 2 --preload", 1, 1),
    "gunicorn, asgi": Start("gunicorn --bind 127.0.0.1:0 -k asgi quart_program:app -w 2"),
    "gunicorn, one": Start(GUNICORN, 1, 0),
    "uvicorn": Start(f"{UVICORN} --workers 2"),
    "uvicorn, UVICORN_WORKERS": Start(UVICORN, environ={"UVICORN_WORKERS": "2"}),
    "uvicorn, WEB_CONCURRENCY": Start(UVICORN, environ={"WEB_CONCURRENCY": "2"}),
    "uvicorn.run": Start("python run.py", files={"run.py": RUN}),
    "uvicorn, reload": Start(f"{UVICORN} --reload", 1, 0, {"WEB_CONCURRENCY": "2"}),
    "uvicorn, one": Start(UVICORN, 1, 0),
    "uvicorn, in this process": Start("python run.py", 1, 0, files={"run.py": IN_PROCESS}),
    "hypercorn": Start(f"{HYPERCORN} --workers 2"),
    "hypercorn, file": Start(
        f"{HYPERCORN} --config hypercorn.toml", files={"hypercorn.toml": "workers = 2"}
    ),
    "hypercorn, trio": Start(f"{HYPERCORN} --workers 2 --worker-class trio"),
    "hypercorn, one": Start(HYPERCORN, 1, 0, {"WEB_CONCURRENCY": "2"}),
    "granian": Start(f"{GRANIAN} --workers 2", warned=1),  # only the second one can tell
    "granian, GRANIAN_WORKERS": Start(GRANIAN, warned=1, environ={"GRANIAN_WORKERS": "2"}),
    "granian, one": Start(GRANIAN, 1, 0, {"WEB_CONCURRENCY": "2"}),
}


def started(start: Start, directory: Path) -> str:
    """Start a server, and return what it has written when all of its workers are there."""
    command = start.command.format(port=free_port()).split()
    program(command[0])
    text = textwrap.dedent(PROGRAM)
    (directory / "flask_program.py").write_text(text + textwrap.dedent(FLASK))
    (directory / "quart_program.py").write_text(text + textwrap.dedent(QUART))
    for name, text in start.files.items():
        (directory / name).write_text(textwrap.dedent(text))
    environ = without("COVERAGE", "WEB_CONCURRENCY", "PROMETHEUS")
    log = directory / "log"
    env = {**environ, **start.environ, "PATH": PATH, "PYTHONPATH": f"{ROOT}:{directory}"}
    # They are killed as soon as all have loaded the application. A worker of granian ignores a
    # SIGTERM that comes while it does so, and granian then waits for that worker for ever.
    with background(command, log, cwd=directory, env=env, ends=False) as process:
        eventually(
            lambda: (
                process.poll() is not None or log.read_text().count("has loaded\n") == start.workers
            )
        )
    return log.read_text()


@pytest.mark.parametrize("name", STARTS)
def test_several_workers_are_warned_of(name: str, tmp_path: Path) -> None:
    start = STARTS[name]
    text = started(start, tmp_path)
    loaded = re.findall(r"^(\d+) has loaded$", text, re.MULTILINE)
    warned = re.findall(rf"^(\d+) promweb {re.escape(SEVERAL)}$", text, re.MULTILINE)
    assert len(set(loaded)) == start.workers, text
    assert len(warned) == len(set(warned)) == start.warned, text
    assert set(warned) <= set(loaded)


@pytest.mark.parametrize(("option", "warned"), [("--preload", 1), ("-w 2", 0)])
def test_own_port_of_a_process_without_requests_is_warned_of(
    option: str, warned: int, tmp_path: Path
) -> None:
    workers = 1 if warned else 2
    start = Start(f"{GUNICORN} {option}", workers, environ={"METRICS_PORT": "0"})
    text = started(start, tmp_path)
    assert text.count("has loaded\n") == workers, text
    wanted = re.escape(PRELOADED).replace(re.escape("{port}"), r"\d+")
    assert len(re.findall(rf"^\d+ promweb {wanted}$", text, re.MULTILINE)) == warned, text
