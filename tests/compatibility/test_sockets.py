"""Websockets whose sockets Flask-Sock and Flask-SocketIO take over under Gunicorn."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from tests.support.paths import ROOT
from tests.support.servers import free_port
from tests.support.waiting import DEADLINE, becomes, eventually

WORKERS = {"gthread": "threading", "gevent": "gevent"}
"""The workers of Gunicorn, and what Flask-SocketIO calls their way of concurrency."""


@pytest.fixture(params=WORKERS)
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    port = free_port()
    command = f"-m gunicorn -k {request.param} --threads 4 --bind 127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, *command.split(), "tests.compatibility.socket_service:app"],
        cwd=ROOT,
        env={**os.environ, "ASYNC_MODE": WORKERS[request.param]},
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            eventually(lambda: process.poll() is not None or scrape(port))
            yield port
        finally:
            process.terminate()


def scrape(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    with suppress(OSError):
        connection.request("GET", "/metrics", headers={"Connection": "close"})
        return connection.getresponse().read().decode()
    return ""


def counted(port: int) -> Counter[tuple[str, ...]]:
    """Return the requests by group and status, exceptions, and what is in progress."""
    found: Counter[tuple[str, ...]] = Counter()
    for family in text_string_to_metric_families(scrape(port)):
        for sample in family.samples:
            labels, value = sample.labels, int(sample.value)
            if sample.name == "flask_http_request_duration_seconds_count":
                found[labels["url_rule"], labels["status"]] += value
            elif sample.name == "flask_http_request_exceptions_total":
                found["exceptions", labels["status"]] += value
            elif sample.name == "flask_http_requests_in_progress" and value:
                found["in progress",] += value
    return found


def test_a_websocket_of_flask_sock(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/echo", proxy=None) as websocket:
        websocket.send("hello")
        assert websocket.recv(DEADLINE) == "hello"
    becomes(lambda: counted(port), Counter({("/echo", "200"): 1}))


def test_a_websocket_of_flask_socketio(port: int) -> None:
    path = "/socket.io/?EIO=4&transport=websocket"
    with connect(f"ws://127.0.0.1:{port}{path}", proxy=None) as websocket:
        assert str(websocket.recv(DEADLINE)).startswith("0")
        websocket.send("40")
        assert str(websocket.recv(DEADLINE)).startswith("40")
        websocket.send('42["echo","x"]')
        assert websocket.recv(DEADLINE) == '42["echo","x"]'
    becomes(lambda: counted(port), Counter({("<middleware>", "101"): 1}))
