"""Attacks on the separate server, which must go on answering scrapes."""

from __future__ import annotations

import errno
import http.client
import logging
import os
import random
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from socketserver import TCPServer
from typing import Any

import pytest

from promweb.server import connections
from promweb.server.answering import LONGEST_HEAD
from promweb.server.http import MetricsServer, serve
from tests.support.legs import LEGS
from tests.support.needs import posix
from tests.support.paths import ROOT
from tests.support.running import answer
from tests.support.servers import reset
from tests.support.waiting import DEADLINE, eventually

trustme = pytest.importorskip("trustme")  # has no wheel without the GIL

HOST = "127.0.0.1"


class App:
    """A WSGI application that notes its requests, and waits at some paths."""

    def __init__(self) -> None:
        self.environs: list[dict[str, Any]] = []
        self.go_on = threading.Event()
        self.body = b"fine\n"

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.environs.append(environ)
        if environ["PATH_INFO"] == "/slow":
            assert self.go_on.wait(DEADLINE)
        if environ["PATH_INFO"] == "/broken":
            raise LookupError("broken")
        if environ["PATH_INFO"] == "/body":
            self.body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(self.body)))])
        return [self.body]


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def start(app: App) -> Iterator[Callable[..., MetricsServer]]:
    """Return a function that starts a server, which the end of the test closes."""
    servers: list[MetricsServer] = []

    def start(**options: Any) -> MetricsServer:
        servers.append(serve(app, 0, HOST, **options))
        return servers[-1]

    yield start
    app.go_on.set()
    for server in servers:
        server.close()
    eventually(lambda: threads() == 0)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def paths(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the paths of a certificate, its key and the authority of clients."""
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert(HOST)
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "client_ca.pem")
    return {path.stem: str(path) for path in folder.iterdir()}


@pytest.fixture
def tls(paths: dict[str, str]) -> dict[str, str]:
    return {name: paths[name] for name in ("cert", "key")}


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def scrape(
    server: MetricsServer, context: ssl.SSLContext | None = None, path: str = "/metrics"
) -> int:
    """Send a good request and return its status; there is no second try."""
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=DEADLINE)
    else:
        connection = http.client.HTTPSConnection(
            HOST, server.port, timeout=DEADLINE, context=context
        )
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def connect(server: MetricsServer, sent: bytes = b"") -> socket.socket:
    client = socket.create_connection((HOST, server.port), timeout=DEADLINE)
    client.sendall(sent)
    return client


def read(client: socket.socket) -> bytes:
    """Read until the server ends the connection, in whatever way."""
    received = b""
    with suppress(ConnectionError):
        while chunk := client.recv(65536):
            received += chunk
    return received


def send(server: MetricsServer, sent: bytes) -> bytes:
    """Send some bytes and return the answer."""
    with connect(server) as client:
        with suppress(OSError):  # the server may have read enough, and have closed it
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
        return read(client)


def threads() -> int:
    """Return how many threads have a connection."""
    return sum(thread.name == "promweb-client" for thread in threading.enumerate())


class Background:
    """A scrape in a thread of its own."""

    def __init__(self, server: MetricsServer, path: str = "/slow") -> None:
        self.status: object = None
        self._thread = threading.Thread(target=self._run, args=(server, path))
        self._thread.start()

    def _run(self, server: MetricsServer, path: str) -> None:
        try:
            self.status = scrape(server, path=path)
        except (OSError, http.client.HTTPException) as error:
            self.status = error

    def end(self) -> object:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        return self.status


# --- time ---------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TIMEOUT", 0.2)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("sent", [b"", b"G", b"GET /metrics HTTP/1.1\r\nHost: x"])
@pytest.mark.parametrize("secure", [False, True])
def test_client_that_stalls_is_cut_off(
    start: Any, app: App, tls: dict[str, str], sent: bytes, secure: bool
) -> None:
    server = start(ssl=tls if secure else None)
    with connect(server, sent) as client:
        assert read(client) == b""
    assert app.environs == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("secure", [False, True])
def test_client_that_drips_is_cut_off(start: Any, app: App, tls: Any, secure: bool) -> None:
    """It sends something all the time, so no time-out of a single read ends it."""
    server = start(ssl=tls if secure else None)
    request = b"\x16\x03\x01\x40\x00" if secure else b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: "
    with connect(server) as client:
        client.settimeout(0.02)
        deadline = time.monotonic() + DEADLINE
        with suppress(ConnectionError):
            client.sendall(request)
            while time.monotonic() < deadline:
                client.sendall(b"x")
                with suppress(TimeoutError):
                    assert b"HTTP" not in client.recv(100)  # nothing, or an alert of TLS
                    break
        assert time.monotonic() < deadline
    assert app.environs == []


@pytest.mark.parametrize("secure", [False, True])
def test_client_that_does_not_read_is_cut_off(
    start: Any,
    app: App,
    tls: Any,
    trusting: ssl.SSLContext,
    secure: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = start(ssl=tls if secure else None)
    app.body = bytes(30_000_000)
    with connect(server) as plain, ExitStack() as stack:
        client = plain
        if secure:
            client = stack.enter_context(trusting.wrap_socket(plain, server_hostname=HOST))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: app.environs)
        with monkeypatch.context() as patch:
            patch.setattr(connections, "TIMEOUT", 0.2)
            eventually(lambda: threads() == 0)
        app.body = b"fine\n"
        assert scrape(server, trusting if secure else None) == 200


def test_scrape_may_take_longer_than_clients_may(
    start: Any, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start()
    slow = Background(server)
    eventually(lambda: app.environs)
    with monkeypatch.context() as patch:
        patch.setattr(connections, "TIMEOUT", 0.2)
        with connect(server) as client:  # comes later, and is cut off
            assert read(client) == b""
    app.go_on.set()
    assert slow.end() == 200


def test_cutting_off_leaves_tls_to_the_thread_of_the_client(
    start: Any, tls: Any, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """`SSLSocket.shutdown` drops TLS before anything else, so the rest would be plain text."""
    callers = set()
    shutdown = ssl.SSLSocket.shutdown

    def record(self: ssl.SSLSocket, how: int) -> None:
        callers.add(threading.current_thread().name)
        shutdown(self, how)

    monkeypatch.setattr(ssl.SSLSocket, "shutdown", record)
    with connect(start(ssl=tls)) as client:
        assert read(client) == b""
    eventually(lambda: callers)
    assert callers == {"promweb-client"}


def test_socket_is_not_closed_while_it_is_cut_off(
    start: Any, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """Its number may be another connection's by the time that it is shut down."""
    open_or_not: list[bool] = []
    shutdown = socket.socket.shutdown

    def shut_down_slowly(self: socket.socket, how: int) -> None:
        if threading.current_thread().name == f"promweb-{server.port}":
            shutdown(client, socket.SHUT_WR)  # so that the thread of the connection ends it
            deadline = time.monotonic() + 0.2
            while time.monotonic() < deadline and self.fileno() != -1:
                time.sleep(0.01)
            open_or_not.append(self.fileno() != -1)
        shutdown(self, how)

    server = start()
    monkeypatch.setattr(socket.socket, "shutdown", shut_down_slowly)
    with connect(server) as client:
        assert read(client) == b""
    eventually(lambda: open_or_not)
    assert open_or_not == [True]


# --- number -------------------------------------------------------------------------------------


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CLIENTS", 4)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"])
def test_flood_of_connections(
    start: Any, tls: Any, trusting: ssl.SSLContext, sent: bytes, secure: bool
) -> None:
    """Threads are bounded, the oldest connections go, and a scrape finds room at any time."""
    server = start(ssl=tls if secure else None)
    with ExitStack() as stack:
        clients = []
        for number in range(60):
            clients.append(stack.enter_context(connect(server, sent)))
            assert threads() <= 4
            if number % 20 == 19:
                assert scrape(server, trusting if secure else None) == 200
        assert [read(client) for client in clients[:50]] == [b""] * 50


@pytest.mark.usefixtures("narrow")
def test_flood_of_clients_that_do_not_read(start: Any, app: App) -> None:
    server = start()
    app.body = bytes(30_000_000)
    with ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(connect(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))
            assert threads() <= 4
        eventually(lambda: len(app.environs) == 12)
        app.body = b"fine\n"
        assert scrape(server) == 200


@pytest.mark.usefixtures("narrow")
def test_flood_leaves_scrapes_in_progress_alone(start: Any, app: App) -> None:
    server = start()
    slow = Background(server)
    eventually(lambda: app.environs)
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(server))
        assert scrape(server) == 200
        app.go_on.set()
        assert slow.end() == 200


@pytest.mark.usefixtures("narrow")
def test_more_scrapes_than_there_is_room_for_are_refused(start: Any, app: App) -> None:
    server = start()
    slow = [Background(server) for _ in range(4)]
    eventually(lambda: len(app.environs) == 4)
    for _ in range(3):
        assert send(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert threads() == 4
    app.go_on.set()
    assert [one.end() for one in slow] == [200] * 4
    assert scrape(server) == 200


@pytest.mark.usefixtures("narrow")
def test_system_without_threads_costs_no_room(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start()
    start_thread = threading.Thread.start

    def fail(self: threading.Thread) -> None:
        if self.name == "promweb-client":
            raise RuntimeError("can't start new thread")
        start_thread(self)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        for _ in range(10):
            assert send(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert scrape(server) == 200


def test_no_file_descriptor_is_no_busy_loop(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is still waiting, so without a pause the next try would come at once."""
    failures, pauses = [OSError(errno.EMFILE, "Too many open files")] * 3, []
    accept = TCPServer.get_request

    def get_request(self: TCPServer) -> Any:
        if failures:
            raise failures.pop()
        return accept(self)

    server = start()
    monkeypatch.setattr(TCPServer, "get_request", get_request)
    monkeypatch.setattr(connections.time, "sleep", pauses.append)
    assert scrape(server) == 200
    assert pauses[:3] == [connections.PAUSE] * 3


# --- size ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"x" * 5_000_000,
        b"x\n" * 100_000,
    ],
    ids=["target", "header", "headers", "endless", "lines"],
)
def test_oversized_head_is_refused(start: Any, app: App, sent: bytes) -> None:
    server = start()
    answer = send(server, sent)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert app.environs == []
    assert scrape(server) == 200


def test_no_more_than_a_head_is_read(start: Any) -> None:
    """The answer is there while the client still has something to send."""
    with connect(start(), b"x" * (LONGEST_HEAD + 1)) as client:
        assert b" 431 " in client.recv(100)


def test_head_of_the_greatest_size_is_fine(start: Any, app: App) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: \r\n\r\n"
    padded = request.replace(b"X: ", b"X: " + b"x" * (LONGEST_HEAD - len(request)))
    assert send(start(), padded).startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(app.environs[0]["HTTP_X"]) > 30_000


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Content-Length: 999999999999\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\nx",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_no_body_is_read(start: Any, app: App, headers: bytes) -> None:
    """Nor waited for, even where a view asks for it."""
    server = start()
    with connect(server, b"GET /body HTTP/1.1\r\nHost: x\r\n" + headers) as client:
        assert read(client).startswith(b"HTTP/1.1 200 OK\r\n")
    assert app.body == b""


# --- nonsense -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["flask-sync", "quart-sync"])
def metrics_server(request: pytest.FixtureRequest) -> Iterator[MetricsServer]:
    """Return the server of a framework, as users have it."""
    metrics = LEGS[request.param]().make_metrics(None)
    metrics.info("seen", "Seen.")
    server = metrics.start_http_server(0, HOST)
    yield server
    server.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.0\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\nHost: x\n\n", 200),
        (b"GET //metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /m%65trics HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET http://example.org/metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET HTTPS://example.org:1/metrics?name[]=x HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET http://example.org HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET http://[/metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET ftp://[/metrics HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /metrics%3Fname[]=x HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /x/../metrics HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /metrics%00 HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET ?name[]=x HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"CONNECT /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"BREW /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"get /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\xff\xfe /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /metrics HTTP/9.9\r\n\r\n", 505),
        (b"GET /metrics HTTP/x\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1 x\r\nHost: x\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: \xff[::\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n: no name\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n continued\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\n continued\r\nHost: x\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: a\rY: b\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX : a\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400),
        (
            b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", 200),
        (b"GET /metrics?\xf4=\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: \0\x01\x7f\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nCookie: \xff=\xfe; ;=;\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 200),
        (b"GET /metrics?" + b"name[]=x&" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /metrics?%ff%fe=%zz&name[]=%00 HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    ],
)
def test_odd_requests_get_a_plain_answer(
    metrics_server: MetricsServer,
    sent: bytes,
    status: int,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = send(metrics_server, sent)
    assert int(answer.split()[1]) == status, answer
    assert scrape(metrics_server) == 200
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n\r\n",
        b"\0" * 1000 + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x",  # and the end
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n",
        b"GET /metrics\r\n",  # HTTP/0.9 has no empty line
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_whole_request_is_not_answered(
    metrics_server: MetricsServer, sent: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not send(metrics_server, sent).startswith(b"HTTP/1.1 2")
    assert scrape(metrics_server) == 200
    assert capfd.readouterr() == ("", "")


def test_half_a_request_does_not_reach_the_application(start: Any, app: App) -> None:
    """Otherwise a client that was cut off would still cost a scrape."""
    server = start()
    assert send(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n") == b""
    assert app.environs == []


def test_one_request_a_connection(start: Any, app: App) -> None:
    """A client may ask for more in advance, or for the connection to stay; it gets one answer."""
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"
    answer = send(start(), request * 20)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert answer.endswith(b"\r\n\r\nfine\n")
    assert len(app.environs) == 1


def test_random_bytes(
    metrics_server: MetricsServer,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    dice = random.Random(20260101)
    pieces = [b"GET", b" ", b"/metrics", b"HTTP/1.1", b"\r\n", b"\n", b":", b"Host", b"?", b"%"]
    pieces += [b"Accept", b"Content-Length", b"://", b"[", b"\0", b"\xff", b"\t", b"_", b"1"]
    for _ in range(400):
        noise = b"".join(dice.choices([*pieces, dice.randbytes(3)], k=dice.randrange(20)))
        line = dice.choice([b"", b"GET ", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"])
        send(metrics_server, line + noise + b"\r\n\r\n")
    assert scrape(metrics_server) == 200
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("secure", [False, True])
def test_clients_that_vanish_are_no_news(
    start: Any,
    app: App,
    tls: Any,
    trusting: ssl.SSLContext,
    secure: bool,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = start(ssl=tls if secure else None)
    app.body = bytes(30_000_000)
    for sent in (b"", b"GET", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"):
        client = connect(server)
        if secure:
            client = trusting.wrap_socket(client, server_hostname=HOST)
        client.sendall(sent)
        if sent.endswith(b"\r\n\r\n"):
            client.recv(1)
        reset(client)
    eventually(lambda: threads() == 0)
    app.body = b"fine\n"
    assert scrape(server, trusting if secure else None) == 200
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
    assert capfd.readouterr() == ("", "")


def test_application_that_fails_is_logged(
    start: Any, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert scrape(start(), path="/broken") == 500
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("promweb", "ERROR")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)
    assert capfd.readouterr() == ("", "")


def test_views_do_not_get_the_variables_of_the_process(start: Any, app: App) -> None:
    """`wsgiref` would hand them on, and a page or a log that shows the request would show them."""
    scrape(start())
    assert app.environs[0]["PATH_INFO"] == "/metrics"
    assert "PATH" in os.environ
    assert "PATH" not in app.environs[0]


def test_head_is_answered_without_a_body(metrics_server: MetricsServer) -> None:
    assert send(metrics_server, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET\r\n\r\n",
    ],
)
def test_no_versions_for_strangers(metrics_server: MetricsServer, sent: bytes) -> None:
    head = send(metrics_server, sent).partition(b"\r\n\r\n")[0]
    assert b"\r\ncontent-type: " in head.lower()
    for word in (b"ython", b"WSGI", b"erkzeug", f"{sys.version_info[0]}.".encode()):
        assert word not in head.replace(b"version=0.0.4", b"")


# --- client certificates ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["paths", "context"])
def test_client_certificates(
    start: Any, authority: trustme.CA, paths: dict[str, str], how: str, app: App
) -> None:
    if how == "paths":
        given: Any = paths
    else:
        given = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=paths["client_ca"])
        given.load_cert_chain(paths["cert"], paths["key"])
        given.verify_mode = ssl.CERT_REQUIRED
    server = start(ssl=given)

    def client(issuer: trustme.CA | None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        if issuer is not None:
            issuer.issue_cert("prometheus").configure_cert(context)
        return context

    for stranger in (client(None), client(trustme.CA())):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            scrape(server, stranger)
    assert app.environs == []
    assert scrape(server, client(authority)) == 200
    assert app.environs[0]["wsgi.url_scheme"] == "https"


def test_unknown_tls_path_is_an_error(tls: dict[str, str]) -> None:
    """A misspelt `client_ca` would let in everybody."""
    with pytest.raises(ValueError, match=r"ssl has no key \['ca'\].*'client_ca'"):
        serve(App(), 0, HOST, ssl={**tls, "ca": "ca.pem"})


def test_context_for_clients_is_an_error() -> None:
    with pytest.raises(ValueError, match="ssl is a context for clients"):
        serve(App(), 0, HOST, ssl=ssl.create_default_context())


def test_context_that_fits_no_connection_ends_only_connections(start: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.check_hostname = True  # which is for clients, and fails for each connection
    server = start(ssl=context)
    for _ in range(3):
        assert send(server, b"") == b""


# --- where it listens ---------------------------------------------------------------------------


def test_listens_only_where_it_was_told(start: Any) -> None:
    server = start()
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.2", 0))
        except OSError:
            pytest.skip("no other loopback address here")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port), timeout=DEADLINE)


def test_starting_asks_no_name_server(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`http.server` looks up the name of its address, which takes as long as DNS does."""

    def fail(*_: object) -> str:
        raise AssertionError("a look-up")

    for name in ("getfqdn", "gethostbyaddr", "gethostbyname", "getnameinfo"):
        monkeypatch.setattr(socket, name, fail)
    assert scrape(start()) == 200


# --- closing ------------------------------------------------------------------------------------


def sockets() -> int:
    """Return how many sockets this process has open."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    return count


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("secure", [False, True])
def test_close_leaves_no_thread_and_no_socket(start: Any, tls: Any, secure: bool) -> None:
    before, open_before = set(threading.enumerate()), sockets()
    server = start(ssl=tls if secure else None)
    with ExitStack() as stack:
        half = b"\x16\x03\x01\x40\x00" if secure else b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
        for sent in (b"", half[:1], half):
            stack.enter_context(connect(server, sent))
        eventually(lambda: threads() == 3)
        started = time.monotonic()
        server.close()
        assert time.monotonic() - started < connections.GRACE  # not for such clients
    assert set(threading.enumerate()) <= before  # those of earlier tests may end
    assert sockets() == open_before


def test_close_waits_for_a_scrape(start: Any, app: App) -> None:
    server = start()
    slow = Background(server)
    eventually(lambda: app.environs)
    closing = threading.Thread(target=server.close)
    closing.start()
    eventually(lambda: _refuses(server))
    app.go_on.set()
    closing.join(DEADLINE)
    assert not closing.is_alive()
    assert slow.end() == 200
    assert threads() == 0


def _refuses(server: MetricsServer) -> bool:
    try:
        connect(server).close()
    except OSError:
        return True
    return False


def test_close_does_not_wait_for_ever(
    start: Any, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "GRACE", 0.1)
    server = start()
    slow = Background(server)
    eventually(lambda: app.environs)
    server.close()
    assert isinstance(slow.end(), (OSError, http.client.HTTPException))
    assert threads() == 1
    app.go_on.set()
    eventually(lambda: threads() == 0)


def test_close_does_not_wait_for_a_client_that_does_not_read(
    start: Any, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "GRACE", 0.1)
    server = start()
    app.body = bytes(30_000_000)
    with connect(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        client.recv(1)
        server.close()
        assert threads() == 0


def test_closing_twice_and_at_once(start: Any) -> None:
    server = start()
    closing = [threading.Thread(target=server.close) for _ in range(3)]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    server.close()
    assert _refuses(server)


def test_end_of_the_program_closes_the_server() -> None:
    """A scrape in progress is still answered: its thread is a daemon, which would just be gone."""
    script = """
        import threading, time
        from promweb.server import serve

        asked = threading.Event()

        def app(environ, start_response):
            asked.set()
            threading.main_thread().join()
            time.sleep(0.3)  # a slow scrape
            start_response("200 OK", [])
            return [b"fine"]

        print(serve(app, 0, "127.0.0.1").port, flush=True)
        asked.wait(600)
    """
    program = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection((HOST, port), timeout=DEADLINE) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read(client).endswith(b"\r\n\r\nfine")
    assert process.returncode == 0


FORK = """
    import json, os, socket, sys, time, urllib.request
    from promweb.server import serve

    def app(environ, start_response):
        start_response("200 OK", [])
        return [b"fine"]

    server = serve(app, 0, "127.0.0.1")
    stop, go = os.pipe()
    child = os.fork()
"""


@posix
def test_forked_child_does_not_keep_the_port() -> None:
    """Otherwise a service could not restart until the last process that it left behind ends."""
    script = textwrap.dedent(FORK) + textwrap.dedent(
        """
        if child:
            os._exit(0)  # as if it was killed
        os.close(go)
        os.read(stop, 1)  # until the parent ends; its sockets may take a moment longer
        deadline, answer = time.monotonic() + 60, "kept"
        while answer == "kept" and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", server.port), timeout=600).close()
            except ConnectionRefusedError:
                answer = "refused"
            except ConnectionResetError:
                pass  # accepted by nobody any more
        print(json.dumps(answer))
        """
    )
    assert answer(script) == "refused"


@posix
@pytest.mark.parametrize("closes", [False, True])
def test_forked_child_ends_and_leaves_the_server_to_its_parent(closes: bool) -> None:
    script = textwrap.dedent(FORK) + textwrap.dedent(
        f"""
        if child == 0:
            if {closes}:
                server.close()
            sys.exit(0)  # and not os._exit, so that what is registered for the exit runs
        status = os.waitpid(child, 0)[1]
        print(json.dumps([status, urllib.request.urlopen(server.url, timeout=600).read().decode()]))
        """
    )
    assert answer(script) == [0, "fine"]
