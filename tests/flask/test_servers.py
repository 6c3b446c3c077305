"""Flask behind Werkzeug's threaded server: real sockets, real clients, real disconnects."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import flask
import httpx
import pytest

from tests.support.legs import Leg
from tests.support.recorded import Done, expected, samples
from tests.support.servers import ask, leaving, read_until, reset, werkzeug
from tests.support.waiting import DEADLINE, becomes, eventually


@pytest.fixture
def app(leg: Leg) -> Any:
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)

    @app.get("/ok")
    def ok() -> str:
        return "ok"

    @app.get("/chunks/<int:number>")
    def chunks(number: int) -> Any:
        return (b"chunk" for _ in range(number)), 202

    @app.get("/flood")
    def flood() -> Any:
        def body() -> Iterator[bytes]:
            while True:
                yield b"x" * 65536

        return body(), 203

    @app.get("/fail")
    def fail() -> None:
        raise ZeroDivisionError

    @app.get("/fail-late")
    def fail_late() -> Any:
        def body() -> Iterator[bytes]:
            yield b"first"
            raise ZeroDivisionError

        return body(), 207

    return app


def check(leg: Leg, *requests: Done) -> None:
    """Wait until these requests are recorded, and nothing else is."""
    becomes(lambda: samples(leg.registry), expected(*requests, in_progress=True))


def test_answers(leg: Leg, app: Any) -> None:
    paths = ("/ok", "/none", "/chunks/3", "/fail", "/ok")
    with werkzeug(app) as server, httpx.Client(base_url=server.url) as client:
        replies = [client.get(path) for path in paths]
        assert [reply.status_code for reply in replies] == [200, 404, 202, 500, 200]
        assert replies[2].content == b"chunkchunkchunk"
        check(
            leg,
            Done("GET", "/ok", 200),
            Done("GET", "<unmatched>", 404),
            Done("GET", "/chunks/3", 202),
            Done("GET", "/fail", 500, failed=True),
            Done("GET", "/ok", 200),
        )


def test_scrape(leg: Leg, app: Any) -> None:
    with werkzeug(app) as server, httpx.Client(base_url=server.url) as client:
        client.get("/ok")
        check(leg, Done("GET", "/ok", 200))
        zipped = client.get("/metrics")
        plain = client.get("/metrics", headers={"Accept-Encoding": "identity"})
        assert zipped.headers["content-encoding"] == "gzip"
        assert zipped.text == plain.text
        assert int(plain.headers["content-length"]) == len(plain.content)
        assert client.head("/metrics").content == b""
    check(leg, Done("GET", "/ok", 200))


@leaving
def test_client_leaves_during_the_body(leg: Leg, app: Any, leave: Any) -> None:
    with werkzeug(app) as server, server.connect() as client:
        ask(client, "/flood")
        read_until(client, b"x" * 1000)
        leave(client)
        check(leg, Done("GET", "/flood", 203))


def test_client_leaves_before_the_response(leg: Leg, app: Any) -> None:
    """WSGI does not notice: the view goes on, and its own status counts."""
    reached, release = threading.Event(), threading.Event()

    @app.get("/slow")
    def slow() -> Any:
        reached.set()
        assert release.wait(DEADLINE)
        return "too late", 201

    with werkzeug(app) as server, server.connect() as client:
        ask(client, "/slow")
        assert reached.wait(DEADLINE)
        reset(client)
        release.set()
        check(leg, Done("GET", "/slow", 201))


def test_body_that_raises(leg: Leg, app: Any) -> None:
    with werkzeug(app) as server:
        with httpx.Client(base_url=server.url) as client, suppress(httpx.HTTPError):
            assert client.get("/fail-late").status_code == 207
        check(leg, Done("GET", "/fail-late", 207, failed=True))


@pytest.mark.parametrize(
    ("method", "headers", "status", "body"),
    [
        ("GET", {}, 200, b"content"),
        ("GET", {"Range": "bytes=1-3"}, 206, b"ont"),
        ("GET", {"If-None-Match": "*"}, 304, b""),
        ("HEAD", {}, 200, b""),
    ],
)
def test_send_file(
    leg: Leg, app: Any, tmp_path: Path, method: str, headers: Any, status: int, body: bytes
) -> None:
    (tmp_path / "file.txt").write_bytes(b"content")
    app.add_url_rule("/file", "file", lambda: flask.send_file(tmp_path / "file.txt"))
    with werkzeug(app) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
        connection.request(method, "/file", headers=headers)
        response = connection.getresponse()
        assert (response.status, response.read()) == (status, body)
        connection.close()
        wanted = expected(Done(method, "/file", status), in_progress=True)
        becomes(lambda: samples(leg.registry), wanted)


def test_aborted_download_of_a_file(leg: Leg, app: Any, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(512 * 1024 * 1024)  # sparse: it takes no room
    app.add_url_rule("/file", "file", lambda: flask.send_file(path))
    with werkzeug(app) as server, server.connect() as client:
        ask(client, "/file")
        read_until(client, b"\0" * 1000)
        client.close()
        check(leg, Done("GET", "/file", 200))


def test_requests_at_the_same_time(leg: Leg, app: Any) -> None:
    together = threading.Barrier(10, timeout=DEADLINE)

    @app.get("/together/<int:number>")
    def view(number: int) -> Any:
        together.wait()
        if number % 2:
            raise ZeroDivisionError
        return "ok"

    with ExitStack() as stack, werkzeug(app) as server:
        clients = [stack.enter_context(server.connect()) for _ in range(10)]
        for number, client in enumerate(clients):
            ask(client, f"/together/{number}")
        for number, client in enumerate(clients):
            read_until(client, b"500 " if number % 2 else b"200 OK")
        check(
            leg,
            *(
                Done("GET", f"/together/{n}", 500 if n % 2 else 200, failed=bool(n % 2))
                for n in range(10)
            ),
        )
    eventually(lambda: leg.value("flask_http_requests_in_progress", method="GET") == 0)
