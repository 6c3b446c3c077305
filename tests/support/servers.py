"""Real servers on loopback sockets, each in a thread with its own event loop."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from . import needs
from .waiting import DEADLINE


@dataclass
class Server:
    """A server that runs; leaving its context stops it."""

    port: int
    call_soon: Callable[[Callable[[], object]], object]
    """Runs a function in the server's event loop."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)


def ask(connection: socket.socket, path: str, version: str = "1.1") -> None:
    """Send a request and read nothing."""
    connection.sendall(f"GET {path} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())


def read_until(connection: socket.socket, text: bytes) -> bytes:
    """Read until some text arrived."""
    received = b""
    while text not in received:
        data = connection.recv(65536)
        assert data, f"closed after {received!r}"
        received += data
    return received


def reset(connection: socket.socket) -> None:
    """Close a connection without a farewell: the server gets a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


leaving = pytest.mark.parametrize(
    "leave", [lambda client: client.close(), reset], ids=["close", "reset"]
)
"""How a client goes away."""


Run = Callable[[Any], object]
"""Runs a coroutine in a new event loop, as `asyncio.run` does."""

_ports = itertools.cycle(range(10_000 + os.getpid() % 200 * 100, 10_100 + os.getpid() % 200 * 100))


def free_port() -> int:
    """Return a port that is free, and that no client gets: those of clients are above 32767.

    Each process of the tests takes its ports from a range of its own.
    """
    for port in itertools.islice(_ports, 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


@contextmanager
def hypercorn(app: Any, run: Run = asyncio.run) -> Iterator[Server]:
    """Serve an ASGI application with hypercorn: HTTP/1.1, HTTP/2 without TLS, websockets."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    def start(listener: socket.socket, stop: asyncio.Event) -> Any:
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.graceful_timeout = 0.1
        config.errorlog = None
        return serve(app, config, shutdown_trigger=stop.wait)

    with _serving(start, run) as server:
        yield server


@contextmanager
def uvicorn(app: Any, run: Run = asyncio.run) -> Iterator[Server]:
    """Serve an ASGI application with uvicorn: HTTP/1.1, websockets."""
    from uvicorn import Config
    from uvicorn import Server as UvicornServer

    async def start(listener: socket.socket, stop: asyncio.Event) -> None:
        config = Config(app, http="h11", ws="wsproto", log_config=None, timeout_graceful_shutdown=1)
        server = UvicornServer(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving

    with _serving(start, run) as server:
        yield server


def uvicorn_on_uvloop(app: Any) -> AbstractContextManager[Server]:
    """Serve an ASGI application with uvicorn on the event loop that it prefers."""
    return uvicorn(app, needs.module("uvloop").run)


def hypercorn_on_uvloop(app: Any) -> AbstractContextManager[Server]:
    """Serve an ASGI application with hypercorn and its worker class uvloop."""
    return hypercorn(app, needs.module("uvloop").run)


@contextmanager
def _serving(start: Callable[[socket.socket, asyncio.Event], Any], run: Run) -> Iterator[Server]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]
    loops: list[asyncio.AbstractEventLoop] = []
    stops: list[asyncio.Event] = []
    running = threading.Event()

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        stops.append(asyncio.Event())
        running.set()
        await start(listener, stops[0])

    def serve() -> None:
        with suppress(asyncio.CancelledError):  # hypercorn, when its grace is over
            run(main())

    thread = threading.Thread(target=serve, name="server")
    thread.start()
    try:
        assert running.wait(DEADLINE)
        yield Server(port, loops[0].call_soon_threadsafe)
    finally:
        with suppress(RuntimeError):  # the server ended by itself
            loops[0].call_soon_threadsafe(stops[0].set)
        thread.join(DEADLINE)
        listener.close()
        assert not thread.is_alive(), "the server does not stop"


@contextmanager
def werkzeug(app: Any) -> Iterator[Server]:
    """Serve a WSGI application with Werkzeug's server, a thread for each connection."""
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="server")
    thread.start()
    try:
        yield Server(server.server_port, lambda function: function())
    finally:
        server.shutdown()
        thread.join(DEADLINE)
        server.server_close()
        assert not thread.is_alive(), "the server does not stop"
