"""Eleven servers in containers: PID 1, started again on the same volume, which becomes full."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import full, small_disk
from tests.support.needs import missing
from tests.support.worker_servers import CONTAINER, Kind, Server, load, serving

from .test_servers import ASGI_KEEPS_ALIVE, FLASK, GRANIAN, GUNICORN, QUART, UWSGI, installed

TWO = f"{GUNICORN} --workers 2"
SERVERS = {
    "gunicorn sync": Kind(f"{TWO} {FLASK}"),
    "gunicorn gthread": Kind(f"{TWO} -k gthread --threads 2 {FLASK}"),
    "gunicorn gevent": Kind(f"{TWO} -k gevent {FLASK}", imports="gevent"),
    "gunicorn uvicorn": Kind(
        f"{TWO} -k uvicorn_worker.UvicornWorker {QUART}", imports="uvicorn_worker"
    ),
    "gunicorn asgi": Kind(f"{TWO} -k asgi {QUART}", keeps_alive=ASGI_KEEPS_ALIVE),
    "uwsgi": Kind(f"{UWSGI} --processes 2", keeps_alive=False),
    "uwsgi lazy-apps": Kind(f"{UWSGI} --processes 2 --lazy-apps", keeps_alive=False),
    "uvicorn": Kind(f"uvicorn --workers 2 --port {{port}} --log-level warning {QUART}"),
    "hypercorn": Kind(f"hypercorn --workers 2 --bind 127.0.0.1:{{port}} {QUART}"),
    "granian": Kind(f"{GRANIAN} --workers 2 --interface asgi {QUART}"),
    "flask processes": Kind("python -m tests.support.wsgi_worker {port}"),
}
ITEMS = 300
"""New label sets; two workers have no room for so many in the files that they begin with."""


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """Return the servers' directory, on a disk of its own."""
    if shutil.which("nsenter") is None or subprocess.run([*CONTAINER, "true"]).returncode:
        missing("a pid namespace of its own needs root, and unshare and nsenter")
    directory = tmp_path / "metrics"
    directory.mkdir()
    with small_disk(directory, "100m"):
        yield directory


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount and make pid namespaces")
@pytest.mark.parametrize("name", SERVERS)
def test_what_a_container_answers_is_counted(name: str, volume: Path, tmp_path: Path) -> None:
    kind = installed(SERVERS[name])
    with serving(kind, tmp_path, contained=True) as server:
        answered = answer(server, while_running="routes")
        counts(server, answered)
        with full(volume):
            for number in range(ITEMS):
                assert server.get(f"/item/{number}")[0] == 200
            more = answer(server)
            # Each of its requests has a process of its own, which begins without room.
            if name != "flask processes":
                assert "promweb cannot write to" in server.log.read_text()
                counts(server, answered + ITEMS + more)
        died = re.search("SIG(BUS|SEGV|KILL)|Bus error|by signal", server.log.read_text())
        assert died is None, server.log.read_text()

    with serving(kind, tmp_path, contained=True) as server:  # the former one was killed
        counts(server, answer(server))


def answer(server: Server, while_running: str = "") -> int:
    """Send requests, and perhaps run a command meanwhile; return how many were answered."""
    with load(server) as clients:
        clients.reaches(100)
        if while_running:
            tool, app = ("quart", QUART) if QUART in server.kind.command else ("flask", FLASK)
            server.run_in_container(tool, "--app", app, while_running)
        clients.reaches(clients.answered + 50)
    assert (clients.failed, clients.statuses) == (0, {200}), server.log.read_text()
    return clients.answered


def counts(server: Server, answered: int) -> None:
    """Wait until every request has ended; as many are counted as were answered."""
    server.shows(lambda scrape: scrape.in_progress == 0 and scrape.requests >= answered)
    assert server.scrape().requests == answered
