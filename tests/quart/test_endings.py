"""Ends of requests and websockets, on each server: the client, the code inside, a shutdown."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.hanging import WAITS_FOR_DISCONNECT
from tests.support.needs import module, posix, program
from tests.support.servers import ask, read_until, reset
from tests.support.waiting import DEADLINE, becomes, eventually
from tests.support.worker_servers import Kind, Scrape, Server, serving

pytestmark = posix

APP, TRIO = "tests.support.endings_worker:app", "tests.support.endings_worker:trio_app"

KINDS = {
    "uvicorn": Kind(
        f"uvicorn --port {{port}} --log-level critical --timeout-graceful-shutdown 1 {APP}"
    ),
    "hypercorn": Kind(f"hypercorn --bind 127.0.0.1:{{port}} --graceful-timeout 1 {APP}"),
    "hypercorn trio": Kind(
        f"hypercorn -k trio --bind 127.0.0.1:{{port}} --graceful-timeout 1 {TRIO}"
    ),
    "granian": Kind(f"granian --interface asgi --port {{port}} --workers-kill-timeout 3 {APP}"),
    "gunicorn": Kind(
        "gunicorn -k asgi --bind 127.0.0.1:{port} --log-level critical --graceful-timeout 1 " + APP,
        imports="gunicorn.asgi",
    ),
}

INSIDE = [name for name in KINDS if "trio" not in name]
"""Where a cancelled task can be awaited: trio lets no cancellation out of its scope."""

Endings = dict[tuple[str, str], float]


def endings(values: Mapping[str, float]) -> Endings:
    """Return how requests and websockets ended, by path and status or close code."""
    found = {}
    for key, value in values.items():
        name, _, text = key.partition("{")
        if name.endswith(("request_duration_seconds_count", "connection_duration_seconds_count")):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
            found[labels["path"], labels.get("status") or labels["close_code"]] = value
    return found


def exceptions(values: Mapping[str, float]) -> float:
    return values.get('flask_http_request_exceptions_total{method="GET",status="500"}', 0.0)


class Clients:
    """Clients of a server, and how what they asked for should have ended."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.expected: Endings = {}

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=DEADLINE)

    def websocket(self, path: str) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.server.port}{path}", proxy=None)

    def ended(self, path: str, status: str) -> None:
        """Wait until this is recorded, and nothing else is."""
        self.expected[path, status] = 1.0
        becomes(lambda: endings(self.server.scrape().values), self.expected)

    def ask(self, path: str) -> socket.socket:
        """Ask for something that stays, and wait until the view has it."""
        client = self.connect()
        ask(client, path)
        eventually(lambda: self.server.scrape().in_progress == 1)
        return client


@contextmanager
def serve(name: str, directory: Path) -> Iterator[Clients]:
    kind = KINDS[name]
    program(kind.command.split()[0])
    if kind.imports:
        module(kind.imports)
    with serving(kind, directory) as server:
        yield Clients(server)


@pytest.mark.parametrize("name", KINDS)
def test_the_client_ended_it(name: str, tmp_path: Path) -> None:
    with serve(name, tmp_path) as clients:
        clients.ask("/stay").close()
        clients.ended("/stay", "499")
        reset(clients.ask("/stay-on"))
        clients.ended("/stay-on", "499")
        with clients.connect() as client:
            ask(client, "/stream")
            read_until(client, b"first")
        clients.ended("/stream", "206")
        with clients.websocket("/socket/stay") as websocket:
            assert websocket.recv(DEADLINE) == "first"
            websocket.close(4001)
        # Hypercorn says 1006 always.
        clients.ended("/socket/stay", "1006" if name.startswith("hypercorn") else "<other>")
        assert exceptions(clients.server.scrape().values) == 0


@pytest.mark.parametrize("name", INSIDE)
def test_the_code_inside_ended_it(name: str, tmp_path: Path) -> None:
    with serve(name, tmp_path) as clients:
        with clients.connect() as client:
            ask(client, "/cancelled")
            if not WAITS_FOR_DISCONNECT:  # or else Quart tells the client nothing
                read_until(client, b" 500 ")
            clients.ended("/cancelled", "500")
        with clients.connect() as client:
            ask(client, "/cut")
            read_until(client, b"first")
            clients.ended("/cut", "207")
        assert exceptions(clients.server.scrape().values) == 1
        with clients.websocket("/socket/cancelled") as websocket:
            assert websocket.recv(DEADLINE) == "first"
            clients.ended("/socket/cancelled", "1011")
        refused = suppress(InvalidStatus, ConnectionClosed, EOFError, OSError)  # 500 or 403
        with refused, clients.websocket("/socket/refused"):
            pass
        clients.ended("/socket/refused", "500")


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn", "hypercorn trio"])
def test_a_shutdown_ended_it(name: str, tmp_path: Path) -> None:
    """Granian and Gunicorn kill the remaining requests after some time, without a record."""
    if name.startswith("hypercorn") and sys.version_info >= (3, 12):
        pytest.skip("since Python 3.12 hypercorn waits for its clients to leave")
    with (
        serve(name, tmp_path) as clients,
        clients.ask("/stay"),
        clients.websocket("/socket/stay") as websocket,
    ):
        assert websocket.recv(DEADLINE) == "first"
        clients.server.process.terminate()
        clients.server.process.wait(DEADLINE)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(tmp_path / "metrics"))
    values = Scrape(generate_latest(registry).decode(), "").values
    assert endings(values)["/stay", "500"] == 1
    assert exceptions(values) == 1
