"""How `promweb top` fetches: within bounds of time and size, from servers that do anything."""

from __future__ import annotations

import gzip
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from promweb.scrapes import http_client as scrape
from promweb.scrapes.http_client import MAX_BYTES, Client, metrics_url
from promweb.scrapes.parsing import ScrapeError
from tests.support.waiting import DEADLINE

trustme = pytest.importorskip("trustme")  # has no wheel without the GIL

BODY = b"jobs_total 2.0\n"


@dataclass
class Answering:
    """A server that gives every connection the same bytes."""

    port: int
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/metrics"


@contextmanager
def answering(
    *pieces: bytes, context: ssl.SSLContext | None = None, until: threading.Event | None = None
) -> Iterator[Answering]:
    """Serve until the context is left; keep connections open until an event, if there is one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Answering(listener.getsockname()[1])

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    if context is not None:
                        try:
                            connection = context.wrap_socket(connection, server_side=True)
                        except OSError:  # the client does not trust it
                            continue
                    with connection:
                        connection.settimeout(DEADLINE)
                        received = connection.recv(65536)
                        if received == b"stop":
                            return
                        server.requests.append(received)
                        for piece in pieces:
                            connection.sendall(piece)
                        if until is not None:
                            until.wait(DEADLINE)

        thread = threading.Thread(target=serve, name="answering")
        thread.start()
        try:
            yield server
        finally:
            if context is None:
                with socket.create_connection(("127.0.0.1", server.port)) as connection:
                    connection.sendall(b"stop")
            else:
                with (
                    socket.create_connection(("127.0.0.1", server.port)) as raw,
                    _trusting_all().wrap_socket(raw) as connection,
                ):
                    connection.sendall(b"stop")
            thread.join(DEADLINE)
            assert not thread.is_alive()


def _trusting_all() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def ok(body: bytes = BODY, *headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode("latin-1") + body


def values(client: Client, url: str) -> list[float]:
    return [sample.value for sample in client.scrape(url).samples["jobs_total"]]


@pytest.mark.parametrize(
    "answer",
    [
        ok(),
        ok(BODY, f"Content-Length: {len(BODY)}", "Content-Type: text/plain; version=0.0.4"),
        ok(b"f\r\n" + BODY + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        ok(gzip.compress(BODY, mtime=0), "Content-Encoding: gzip"),
        ok(BODY + b"# EOF\n", "Content-Type: application/openmetrics-text; version=1.0.0"),
    ],
    ids=["plain", "with a length", "chunked", "gzip", "OpenMetrics"],
)
def test_an_exposition_is_fetched(answer: bytes) -> None:
    with answering(answer) as server:
        assert values(Client(), server.url) == [2.0]


def test_what_is_sent() -> None:
    with answering(ok()) as server:
        Client(headers={"Authorization": "Bearer secret"}).scrape(server.url + "?name[]=a")
    lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == "GET /metrics?name[]=a HTTP/1.1"
    assert {
        "Accept: text/plain;version=0.0.4, */*;q=0.1",
        "Accept-Encoding: gzip",
        "Authorization: Bearer secret",
    } <= set(lines)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "Remote end closed connection without response"),
        (b"SMTP ready\r\n", "SMTP ready"),
        (b"HTTP/1.1 401 Go \x1b[31mAway\r\n\r\n", "answered 401 Go \x1b[31mAway"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://[elsewhere/\r\n\r\n",
            "answered 302 Found and redirects to http://[elsewhere/",
        ),
        (ok(BODY, "Content-Length: 99"), "the answer is cut short"),
        (ok(BODY, "Content-Length: ²"), "the answer is cut short"),
        (ok(b"5\r\nabc", "Transfer-Encoding: chunked"), "the answer is cut short"),
        (
            ok(gzip.compress(BODY, mtime=0)[:-9], "Content-Encoding: gzip"),
            "the answer is cut short",
        ),
        (ok(BODY, "Content-Encoding: gzip"), "the answer claims to be gzip and is not: .*"),
        (ok(BODY, "Content-Encoding: br"), "the answer is encoded as 'br'; it must be gzip"),
        (ok(b"jobs \xff"), "the answer is not UTF-8: .*"),
        (ok(b"<html>"), "the answer is not an exposition of metrics: .*"),
    ],
)
def test_what_goes_wrong_is_said(answer: bytes, error: str) -> None:
    with answering(answer) as server, pytest.raises(ScrapeError) as raised:
        Client().scrape(server.url)
    text = str(raised.value)
    assert text == error or re.fullmatch(error, text)
    assert len(server.requests) == 1


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ScrapeError, match=r"^Connection refused$"):
        Client().scrape(f"http://127.0.0.1:{port}/metrics")
    with pytest.raises(ScrapeError, match="label"):  # longer than DNS has room for
        Client().scrape(f"http://{'x' * 64}.invalid/metrics")


@pytest.mark.parametrize("headers", [[], ["Content-Encoding: gzip"]], ids=["plain", "gzip"])
def test_size_is_bounded(headers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "MAX_BYTES", 1000)
    for size, fits in ((1000, True), (1001, False)):
        body = BODY + b"\n" * (size - len(BODY))
        with answering(ok(gzip.compress(body) if headers else body, *headers)) as server:
            if fits:
                assert values(Client(), server.url) == [2.0]
            else:
                with pytest.raises(ScrapeError, match="the answer has more than 1,000 bytes"):
                    Client().scrape(server.url)


def test_a_small_answer_that_becomes_huge_is_refused() -> None:
    bomb = gzip.compress(bytes(2 * MAX_BYTES), 1)
    assert len(bomb) < 2**20
    with (
        answering(ok(bomb, "Content-Encoding: gzip")) as server,
        pytest.raises(ScrapeError, match="more than 67,108,864 bytes"),
    ):
        Client().scrape(server.url)


@pytest.mark.parametrize("pieces", [[], [ok(b"jobs")]], ids=["nothing", "half of it"])
def test_a_silent_server_is_not_waited_for(pieces: list[bytes]) -> None:
    done = threading.Event()
    with answering(*pieces, until=done) as server:
        with pytest.raises(ScrapeError, match=r"^no complete answer within 0\.05 s$"):
            Client(timeout=0.05).scrape(server.url)
        done.set()


def test_an_answer_that_trickles_does_not_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece arrives in time, but the whole does not."""
    clock = iter([0.0, 4.0, 6.0])
    monkeypatch.setattr(scrape, "_CHUNK", 10)
    with (
        answering(ok(BODY * 9)) as server,
        pytest.raises(ScrapeError, match="no complete answer within 5 s"),
    ):
        Client(timeout=5, clock=lambda: next(clock)).scrape(server.url)


def test_a_host_that_does_not_answer_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_args: object, **_options: object) -> socket.socket:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ScrapeError, match="no complete answer within 5 s"):
        Client().scrape("http://127.0.0.1:1/metrics")


def test_tls_is_verified() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with answering(ok(), context=context) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(ScrapeError, match="certificate verify failed"):
            Client().scrape(url)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        assert values(Client(context=trusting), url) == [2.0]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("localhost:5000", "http://localhost:5000/metrics"),
        ("localhost", "http://localhost/metrics"),
        ("https://shop.example", "https://shop.example/metrics"),
        ("http://shop.example/", "http://shop.example/"),
        ("http://[::1]:80/m?name[]=a#top", "http://[::1]:80/m?name[]=a"),
    ],
)
def test_urls(given: str, meant: str) -> None:
    assert metrics_url(given) == meant


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("file:///etc/passwd", "the scheme is 'file'; it must be http or https"),
        ("http://me:secret@shop", "it has a user name; give it with --user"),
        ("http:///metrics", "it has no host"),
        ("", "it has no host"),
        ("http://shop:x", "Port could not be cast"),
        ("http://shop/\x1b[31m", "it has spaces or characters that are not ASCII"),
        ("http://shop/ü", "it has spaces or characters that are not ASCII"),
        ("http://shop/a b", "it has spaces or characters that are not ASCII"),
    ],
)
def test_urls_that_cannot_be(given: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        metrics_url(given)
