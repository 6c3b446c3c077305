"""The answers of the separate server: they arrive whole, and only to authorized clients."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from promweb.security import allow_networks
from promweb.server import MetricsServer, connections, serve
from tests.support.legs import LEGS, Leg
from tests.support.running import python
from tests.support.waiting import DEADLINE, eventually

trustme = pytest.importorskip("trustme")  # has no wheel without the GIL

HOST = "127.0.0.1"
BODY = bytes(8_000_000)
"""More than the system takes for a client that does not read."""


@pytest.fixture
def start() -> Iterator[Callable[..., MetricsServer]]:
    """Return a function that starts a server of `BODY`, which the end of the test closes."""
    servers: list[MetricsServer] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", str(len(BODY)))])
        return [BODY]

    def start(**options: Any) -> MetricsServer:
        servers.append(serve(app, 0, HOST, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def connect(server: MetricsServer) -> socket.socket:
    return socket.create_connection((HOST, server.port), timeout=DEADLINE)


def read(client: socket.socket) -> bytes:
    received = bytearray()
    while chunk := client.recv(1 << 20):
        received += chunk
    return bytes(received)


def clients() -> int:
    """Return how many threads have a connection."""
    return sum(thread.name == "promweb-client" for thread in threading.enumerate())


@pytest.mark.parametrize("secure", [False, True])
def test_answer_arrives_whole_while_the_client_still_sends(start: Any, secure: bool) -> None:
    """A server that closes with something unread resets the connection, answer and all."""
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)
    server = start(ssl=context if secure else None)
    with connect(server) as plain:
        client = trusting.wrap_socket(plain, server_hostname=HOST) if secure else plain
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        received = client.recv(1)  # the server has begun to answer, and reads no more
        client.sendall(bytes(100_000))
        received += read(client)
        client.close()
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close" in head
    assert body == BODY


def test_refusal_arrives_while_the_client_still_sends(start: Any) -> None:
    with connect(start()) as client:
        client.sendall(b"GET /" + b"x" * 3_000_000)
        assert read(client).startswith(b"HTTP/1.1 431 ")


def test_client_that_keeps_the_connection_is_cut_off(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start()
    with connect(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read(client).endswith(BODY)
        assert clients() == 1
        monkeypatch.setattr(connections, "TIMEOUT", 0.1)
        eventually(lambda: clients() == 0)


def test_closing_does_not_wait_for_clients_that_have_their_answer(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "GRACE", 1e6)
    server = start()
    with connect(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read(client).endswith(BODY)
        closing = threading.Thread(target=server.close)
        closing.start()
        closing.join(DEADLINE)
        assert not closing.is_alive()
    assert clients() == 0


def test_signal_handler_closes_in_the_midst_of_closing() -> None:
    program = """
        import os, signal, socket
        from promweb.server import connections, serve

        connections.GRACE = 1e6  # if the handler waited for the client, it would do so for ever
        server = serve(lambda environ, start_response: [], 0, "127.0.0.1")
        signal.signal(signal.SIGTERM, lambda *_: server.close())
        shutdown, handled = socket.socket.shutdown, []

        def shut_down(self, how):
            if self in server._server.clients and not handled:
                handled.append(True)
                os.kill(os.getpid(), signal.SIGTERM)  # which is handled in this thread, at once
            shutdown(self, how)

        socket.socket.shutdown = shut_down
        with socket.create_connection(("127.0.0.1", server.port)):
            while not server._server.clients:
                pass
            server.close()
        print("closed", handled)
    """
    ran = python(program)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "closed [True]\n", "")


@pytest.mark.parametrize("framework", ["flask-sync", "quart-sync"])
@pytest.mark.parametrize(
    "smuggled",
    [
        b"X: y\rX-Forwarded-For: 10.0.0.1",
        b"X: y\r\n X-Forwarded-For: 10.0.0.1",
        b"X: y\r\n\tX-Forwarded-For: 10.0.0.1",
        b"X: y\0X-Forwarded-For: 10.0.0.1",
        b"X: y\x0bX-Forwarded-For: 10.0.0.1",
        b"X: y\x85X-Forwarded-For: 10.0.0.1",
        b"X-Forwarded-For : 10.0.0.1",
        b"X_Forwarded_For: 10.0.0.1",
        b"X-Forwarded_For: 10.0.0.1",
        b"\rX-Forwarded-For: 10.0.0.1",
    ],
)
def test_what_a_proxy_takes_for_one_header_is_one(framework: str, smuggled: bytes) -> None:
    """A client behind a proxy cannot claim another address than the proxy has seen."""
    guard = allow_networks("10.0.0.0/8", trusted_proxies=1)
    metrics: Any = LEGS[framework]().make_metrics(None, metrics_decorator=guard)
    server = metrics.start_http_server(0, HOST)
    head = b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: %s\r\n%s\r\nA: b\r\n\r\n"
    statuses = []
    for client_of_proxy, more in ((b"6.6.6.6", smuggled), (b"10.0.0.1", b"X: y")):
        with connect(server) as client:
            client.sendall(head % (client_of_proxy, more))
            statuses.append(int(read(client).split()[1]))
    server.close()
    assert statuses[0] in (400, 403)
    assert statuses[1] == 200


def test_collector_that_returns_nothing_is_named(leg: Leg) -> None:
    class Forgetful:
        def describe(self) -> list[Any]:
            return []

        def collect(self) -> None:
            """Forget to return the metrics."""

    app = leg.make_app()
    leg.make_metrics(app)
    leg.registry.register(Forgetful())  # type: ignore[arg-type]
    response = leg.get(app, "/metrics")
    assert response.status == 500
    assert "Forgetful failed: TypeError" in response.text
