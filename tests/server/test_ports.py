"""Ports that are taken: the process starts, says who has the port, and takes it when it is free."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from promweb.server import MetricsServer, http
from promweb.server.connections import ConnectionServer
from tests.support.legs import LEGS, Leg
from tests.support.paths import ROOT
from tests.support.waiting import DEADLINE, eventually

HOST = "127.0.0.1"


@pytest.fixture(params=["flask-sync", "quart-sync"])
def leg(request: pytest.FixtureRequest) -> Leg:
    """Run everything once per framework: views play no part here."""
    return LEGS[request.param]()


@pytest.fixture
def metrics(leg: Leg) -> Any:
    return leg.make_metrics(None)


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """Return a socket that listens."""
    with socket.create_server((HOST, 0)) as listener:
        yield listener


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RETRY", 0.01)


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def answers(server: MetricsServer) -> bool:
    with suppress(OSError), urlopen(server.url, timeout=DEADLINE) as response:
        return bool(response.status == 200)
    return False


def is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server((HOST, port)):
        return True
    return False


@pytest.mark.usefixtures("impatient")
def test_port_is_taken_over_when_it_is_free(
    metrics: Any, taken: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "promweb")
    port = port_of(taken)
    server = metrics.start_http_server(port, HOST)
    try:
        assert (server.is_waiting, server.port) == (True, port)
        assert server.url == f"http://{HOST}:{port}/metrics"
        assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
            (
                "WARNING",
                f"Port {port} is taken by this process; this process waits for the port, and then "
                f"serves the metrics at {server.url}. Until then nothing shows its numbers. "
                "If that is another worker of the same service, set PROMETHEUS_MULTIPROC_DIR, so "
                "that one of them shows the numbers of all.",
            )
        ]
        caplog.clear()
        taken.close()
        eventually(lambda: answers(server))
        assert (server.is_waiting, server.port) == (False, port)
        assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
            ("INFO", f"Port {port} is free; this process serves the metrics at {server.url}.")
        ]
    finally:
        server.close()
    assert is_free(port)


def test_process_that_has_the_port_is_named(metrics: Any, caplog: pytest.LogCaptureFixture) -> None:
    program = """
        import socket, sys
        with socket.create_server(("127.0.0.1", 0)) as listener:
            print(listener.getsockname()[1], flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        metrics.start_http_server(port, HOST).close()
        other.communicate()
    assert f"Port {port} is taken by process {other.pid} (python" in caplog.text


def test_workers_that_share_their_metrics_miss_nothing(
    shared: Path, leg: Leg, taken: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    leg.make_metrics(None).start_http_server(port_of(taken), HOST).close()
    assert "serves the metrics at" in caplog.text
    assert "Until then" not in caplog.text


def test_system_that_tells_nothing(
    metrics: Any,
    taken: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("promweb.server.ports.glob", lambda pattern: [])
    metrics.start_http_server(port_of(taken), HOST).close()
    assert f"Port {port_of(taken)} is taken by another process;" in caplog.text


@pytest.mark.usefixtures("impatient")
def test_what_waits_ends_with_close(metrics: Any, taken: socket.socket) -> None:
    before = set(threading.enumerate())
    server = metrics.start_http_server(port_of(taken), HOST)
    server.close()
    server.close()
    assert set(threading.enumerate()) <= before
    assert server.port == port_of(taken)
    taken.close()
    assert is_free(server.port)


def test_closing_while_the_port_is_taken_over(
    metrics: Any, taken: socket.socket, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """In either order, nothing is left that listens."""
    listens, go_on = threading.Event(), threading.Event()
    listen = ConnectionServer.listen

    def listen_slowly(self: ConnectionServer) -> bool:
        listens.set()
        assert go_on.wait(DEADLINE)
        return listen(self)

    server = metrics.start_http_server(port_of(taken), HOST)
    monkeypatch.setattr(ConnectionServer, "listen", listen_slowly)
    taken.close()
    assert listens.wait(DEADLINE)
    closing = threading.Thread(target=server.close, daemon=True)
    closing.start()
    go_on.set()
    closing.join(DEADLINE)
    assert not closing.is_alive()
    assert is_free(server.port)


def test_two_that_wait_get_the_port_one_after_the_other(
    metrics: Any, taken: socket.socket, impatient: None
) -> None:
    waiting = [metrics.start_http_server(port_of(taken), HOST) for _ in range(2)]
    try:
        taken.close()
        eventually(lambda: not all(server.is_waiting for server in waiting))
        first, second = sorted(waiting, key=lambda server: bool(server.is_waiting))
        assert answers(first)
        assert second.is_waiting
        first.close()
        eventually(lambda: not second.is_waiting)
        assert answers(second)
    finally:
        for server in waiting:
            server.close()


def test_other_errors_of_an_address_are_raised(metrics: Any) -> None:
    before = set(threading.enumerate())
    with pytest.raises(OSError, match="assign requested address"):
        metrics.start_http_server(0, "192.0.2.1")
    assert set(threading.enumerate()) <= before  # those of earlier tests may end


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
@pytest.mark.parametrize("leg", ["flask-sync"], indirect=True)
def test_what_waits_is_not_inherited_by_forks(leg: Leg) -> None:
    """The child outlives its parent, and the port is free when no other process has it."""
    program = """
        import os, socket, sys
        from flask import Flask
        from promweb import PrometheusMetrics

        metrics = PrometheusMetrics(Flask("a"), path=None)
        server = metrics.start_http_server(int(sys.argv[1]), "127.0.0.1")
        if os.fork() == 0:
            print("forked", flush=True)
            sys.stdin.read()
            server.close()
            os._exit(0)
        sys.stdin.read(1)
        os._exit(0)
    """
    with (
        socket.create_server((HOST, 0)) as taken,
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), str(port_of(taken))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"forked\n"
        port = port_of(taken)
        taken.close()
        url = f"http://{HOST}:{port}/metrics"
        eventually(lambda: _status(url) == 200)  # the parent has it
        process.kill()  # and not the child
        process.wait()
        eventually(lambda: is_free(port))
        process.stdin.close()


def _status(url: str) -> int:
    with suppress(OSError), urlopen(url, timeout=DEADLINE) as response:
        return int(response.status)
    return 0


# --- what cannot work ---------------------------------------------------------------------------


@pytest.mark.parametrize("port", [-1, 65536, 99999, "http", "", None, True, 1e6])
def test_port_that_does_not_exist_is_refused(metrics: Any, port: Any) -> None:
    with pytest.raises(ValueError, match="port must be a number") as caught:
        metrics.start_http_server(port, HOST)
    assert repr(port) in str(caught.value)


def test_port_may_be_the_text_of_a_variable(metrics: Any, taken: socket.socket) -> None:
    server = metrics.start_http_server(str(port_of(taken)), HOST)
    server.close()
    assert server.port == port_of(taken)


@pytest.mark.parametrize("name", ["cert", "key", "client_ca"])
def test_tls_file_that_cannot_be_read_is_named(metrics: Any, tmp_path: Path, name: str) -> None:
    paths = {key: str(tmp_path / key) for key in ("cert", "key", "client_ca")}
    for path in paths.values():
        Path(path).touch()
    Path(paths[name]).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        metrics.start_http_server(0, HOST, ssl=paths)
    assert caught.value.filename == paths[name]
    assert f"ssl['{name}']" in str(caught.value)


def test_tls_files_that_are_no_certificates_are_named(metrics: Any, tmp_path: Path) -> None:
    paths = {"cert": str(tmp_path / "cert"), "key": str(tmp_path / "key")}
    for path in paths.values():
        Path(path).write_text("nonsense")
    with pytest.raises(ValueError, match="ssl: ") as caught:
        metrics.start_http_server(0, HOST, ssl=paths)
    assert paths["cert"] in str(caught.value)
