"""Quart behind hypercorn and uvicorn: real sockets, real clients, real disconnects."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import quart
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support import servers
from tests.support.hanging import WAITS_FOR_DISCONNECT
from tests.support.legs import Leg
from tests.support.recorded import Done, Samples, expected, labels, samples
from tests.support.servers import Server, ask, leaving, read_until, reset
from tests.support.waiting import DEADLINE, becomes, eventually

SERVERS = {
    "hypercorn": servers.hypercorn,
    "uvicorn": servers.uvicorn,
    "uvicorn on uvloop": servers.uvicorn_on_uvloop,
}

# Connecting is up to the kernel: a server that is not yet accepting finds clients in its backlog.


@pytest.fixture(params=SERVERS)
def serve(request: pytest.FixtureRequest) -> Any:
    return SERVERS[request.param]


@pytest.fixture
def serve_until_stopped(serve: Any) -> Any:
    """Return a server that stops though clients are connected."""
    if serve is servers.hypercorn and sys.version_info >= (3, 12):
        pytest.skip("since Python 3.12 hypercorn waits for its clients to leave")
    return serve


class Shop:
    """An application with a route for every kind of end, and the gate they wait at."""

    def __init__(self, leg: Leg, **options: Any) -> None:
        self.leg = leg
        self.app = app = leg.make_app()
        leg.make_metrics(app, in_progress=True, **options)
        self.gate = asyncio.Event()

        @app.get("/ok")
        async def ok() -> str:
            return str(quart.request.scope["client"][1])

        @app.get("/gated")
        async def gated() -> str:
            await self.gate.wait()
            return "ok"

        @app.get("/never")
        async def never() -> None:
            await asyncio.Event().wait()

        @app.get("/stream")
        async def stream() -> Any:
            async def body() -> AsyncIterator[bytes]:
                await self.gate.wait()
                yield b"first"
                await asyncio.Event().wait()

            return body(), 206

        @app.get("/flood")
        async def flood() -> Any:
            async def body() -> AsyncIterator[bytes]:
                while True:
                    await asyncio.sleep(0)
                    yield b"x" * 65536

            return body(), 203

        @app.get("/chunks/<int:number>")
        async def chunks(number: int) -> Any:
            async def body() -> AsyncIterator[bytes]:
                for _ in range(number):
                    await asyncio.sleep(0)
                    yield b"chunk"

            return body(), 202

        @app.get("/fail")
        async def fail() -> None:
            raise ZeroDivisionError

        @app.get("/fail-late")
        async def fail_late() -> Any:
            async def body() -> AsyncIterator[bytes]:
                yield b"first"
                raise ZeroDivisionError

            return body(), 207

        @app.post("/upload")
        async def upload() -> str:
            return str(len(await quart.request.get_data()))

        @app.websocket("/echo")
        async def echo() -> None:
            while True:
                await quart.websocket.send(await quart.websocket.receive())

        @app.websocket("/bye")
        async def bye() -> None:
            await quart.websocket.send("bye")
            await quart.websocket.close(4002)

        @app.websocket("/rejected")
        async def rejected() -> None:
            quart.abort(401)

        @app.websocket("/broken")
        async def broken() -> None:
            raise ZeroDivisionError

        @app.websocket("/silent")
        async def silent() -> None:
            return None

    def open_gate(self, server: Server) -> None:
        server.call_soon(self.gate.set)

    def found(self) -> Samples:
        return samples(self.leg.registry)

    def check(self, *requests: Done) -> None:
        """Wait until these requests are recorded, and nothing else is."""
        becomes(self.found, expected(*requests, in_progress=True))

    def wait_in_progress(self, number: float) -> None:
        name = "flask_http_requests_in_progress"
        eventually(lambda: self.leg.value(name, method="GET") == number)


# --- HTTP/1.1 ----------------------------------------------------------------------------------


def fetch(server: Server, *requests: tuple[str, str]) -> list[tuple[int, bytes]]:
    """Send requests over one connection and return each status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
    replies = []
    try:
        for method, path in requests:
            connection.request(method, path)
            response = connection.getresponse()
            replies.append((response.status, response.read()))
    finally:
        connection.close()
    return replies


def test_keep_alive(leg: Leg, serve: Any) -> None:
    shop = Shop(leg)
    with serve(shop.app) as server:
        requests = [("GET", path) for path in ("/ok", "/none", "/chunks/3", "/fail", "/ok")]
        replies = fetch(server, *requests)
        assert [status for status, _ in replies] == [200, 404, 202, 500, 200]
        assert replies[2][1] == b"chunkchunkchunk"
        assert replies[0] == replies[4]  # it shows the client's port
        shop.check(
            Done("GET", "/ok", 200),
            Done("GET", "<unmatched>", 404),
            Done("GET", "/chunks/3", 202),
            Done("GET", "/fail", 500, failed=True),
            Done("GET", "/ok", 200),
        )


def test_methods_and_bodies(leg: Leg, serve: Any) -> None:
    app = leg.make_app()
    leg.make_metrics(app, request_size=True, response_size=True)

    @app.route("/item", methods=["GET", "POST"])
    async def item() -> str:
        return f"{quart.request.method} {len(await quart.request.get_data())}"

    with serve(app) as server, httpx.Client(base_url=server.url) as client:
        assert client.post("/item", content=b"x" * 100_000).text == "POST 100000"
        assert client.post("/item", content=iter([b"x" * 5, b"y" * 6])).text == "POST 11"
        assert client.head("/item").status_code == 200
        assert client.options("/item").status_code == 200
        assert client.put("/item").status_code == 405

        def counts() -> Any:
            return samples(leg.registry).get("flask_http_request_total")

        becomes(
            counts,
            {
                labels(method="POST", status="200"): 2.0,
                labels(method="HEAD", status="200"): 1.0,
                labels(method="OPTIONS", status="200"): 1.0,
                labels(method="PUT", status="405"): 1.0,
            },
        )
    found = samples(leg.registry)
    post = labels(method="POST", path="/item", status="200")
    head = labels(method="HEAD", path="/item", status="200")
    assert found["flask_http_request_size_bytes_sum"][post] == 100_011.0
    assert found["flask_http_response_size_bytes_sum"][post] == len("POST 100000POST 11")
    assert found["flask_http_response_size_bytes_sum"][head] == 0.0


def test_scrape(leg: Leg, serve: Any) -> None:
    shop = Shop(leg)
    with serve(shop.app) as server, httpx.Client(base_url=server.url) as client:
        client.get("/ok")
        shop.check(Done("GET", "/ok", 200))
        zipped = client.get("/metrics")
        plain = client.get("/metrics", headers={"Accept-Encoding": "identity"})
        assert zipped.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert int(plain.headers["content-length"]) == len(plain.content)
        assert zipped.text == plain.text
        assert 'flask_http_request_total{method="GET",status="200"} 1.0' in plain.text
        assert client.head("/metrics").content == b""
        with client.stream("GET", "/metrics") as raw:
            assert gzip.decompress(b"".join(raw.iter_raw())).decode() == plain.text
    shop.check(Done("GET", "/ok", 200))


@leaving
def test_client_leaves_before_the_response(leg: Leg, serve: Any, leave: Any) -> None:
    shop = Shop(leg)
    with serve(shop.app) as server, server.connect() as client:
        ask(client, "/never")
        shop.wait_in_progress(1)
        leave(client)
        shop.check(Done("GET", "/never", 499))


@leaving
def test_client_leaves_during_the_body(leg: Leg, serve: Any, leave: Any) -> None:
    shop = Shop(leg)
    with serve(shop.app) as server, server.connect() as client:
        shop.open_gate(server)
        ask(client, "/stream")
        read_until(client, b"first")
        leave(client)
        shop.check(Done("GET", "/stream", 206))


@leaving
def test_client_leaves_a_flood(leg: Leg, serve: Any, leave: Any) -> None:
    """The application always has something to send."""
    shop = Shop(leg)
    with serve(shop.app) as server, server.connect() as client:
        ask(client, "/flood")
        read_until(client, b"x" * 1000)
        leave(client)
        shop.check(Done("GET", "/flood", 203))


def test_client_leaves_during_its_upload(leg: Leg, serve: Any) -> None:
    shop = Shop(leg)
    with serve(shop.app) as server, server.connect() as client:
        client.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        name = "flask_http_requests_in_progress"
        eventually(lambda: leg.value(name, method="POST") == 1)
        client.close()
        wanted = {**expected(Done("POST", "/upload", 499)), name: {labels(method="POST"): 0.0}}
        becomes(shop.found, wanted)


def test_body_that_raises(leg: Leg, serve: Any) -> None:
    shop = Shop(leg)
    with serve(shop.app) as server:
        with httpx.Client(base_url=server.url) as client, suppress(httpx.HTTPError):
            assert client.get("/fail-late").status_code == 207
        shop.check(Done("GET", "/fail-late", 207, failed=True))


def test_http_1_0(leg: Leg, serve: Any) -> None:
    shop = Shop(leg)
    with serve(shop.app) as server, server.connect() as client:
        ask(client, "/chunks/2", "1.0")
        assert b"chunkchunk" in read_until(client, b"chunkchunk")
        assert client.recv(100) == b""
        client.close()
        shop.check(Done("GET", "/chunks/2", 202))


def test_shutdown_with_requests_in_progress(leg: Leg, serve_until_stopped: Any) -> None:
    shop = Shop(leg)
    with contextlib.ExitStack() as clients, serve_until_stopped(shop.app) as server:
        shop.open_gate(server)
        never, stream = (clients.enter_context(server.connect()) for _ in range(2))
        ask(never, "/never")
        ask(stream, "/stream")
        read_until(stream, b"first")
        shop.wait_in_progress(2)
    shop.check(Done("GET", "/never", 500, failed=True), Done("GET", "/stream", 206))


# --- HTTP/2 ------------------------------------------------------------------------------------


def http2(server: Server) -> httpx.Client:
    """Return a client that speaks HTTP/2 from the beginning."""
    return httpx.Client(base_url=server.url, http1=False, http2=True, timeout=DEADLINE)


def test_http2(leg: Leg) -> None:
    shop = Shop(leg)
    with servers.hypercorn(shop.app) as server, http2(server) as client:
        replies = [client.get(path) for path in ("/ok", "/none", "/chunks/3", "/fail", "/ok")]
        assert {reply.http_version for reply in replies} == {"HTTP/2"}
        assert [reply.status_code for reply in replies] == [200, 404, 202, 500, 200]
        assert replies[0].text == replies[4].text
        shop.check(
            Done("GET", "/ok", 200),
            Done("GET", "<unmatched>", 404),
            Done("GET", "/chunks/3", 202),
            Done("GET", "/fail", 500, failed=True),
            Done("GET", "/ok", 200),
        )
        assert "flask_http_request_total" in client.get("/metrics").text


def test_http2_streams_at_the_same_time(leg: Leg) -> None:
    shop = Shop(leg)

    async def main(server: Server) -> None:
        async with httpx.AsyncClient(
            base_url=server.url, http1=False, http2=True, timeout=DEADLINE
        ) as client:
            gets = [asyncio.create_task(client.get("/gated")) for _ in range(50)]
            await asyncio.to_thread(shop.wait_in_progress, 50)
            shop.open_gate(server)
            replies = await asyncio.gather(*gets)
            assert {reply.status_code for reply in replies} == {200}

    with servers.hypercorn(shop.app) as server:
        asyncio.run(main(server))
        shop.check(*[Done("GET", "/gated", 200)] * 50)


def test_http2_client_leaves(leg: Leg) -> None:
    """Its connection had one stream before the response and one during the body."""
    shop = Shop(leg)

    async def main(server: Server) -> None:
        client = httpx.AsyncClient(base_url=server.url, http1=False, http2=True, timeout=DEADLINE)
        async with client.stream("GET", "/stream") as response:
            assert await anext(response.aiter_raw()) == b"first"
            never = asyncio.create_task(client.get("/never"))
            await asyncio.to_thread(shop.wait_in_progress, 2)
            await client.aclose()
        with suppress(httpx.HTTPError, RuntimeError):
            await never

    with servers.hypercorn(shop.app) as server:
        shop.open_gate(server)
        asyncio.run(main(server))
        shop.check(Done("GET", "/stream", 206), Done("GET", "/never", 499))


def test_http2_server_push(leg: Leg) -> None:
    """A client that does not want it gets its response all the same."""
    app = leg.make_app()
    leg.make_metrics(app, in_progress=True)

    @app.get("/page")
    async def page() -> str:
        await quart.make_push_promise("/style.css")
        return "ok"

    with servers.hypercorn(app) as server, http2(server) as client:
        assert client.get("/page").text == "ok"
        becomes(
            lambda: samples(leg.registry), expected(Done("GET", "/page", 200), in_progress=True)
        )


# --- websockets --------------------------------------------------------------------------------


def connection(path: str, code: object, received: float, sent: float) -> Samples:
    """Return the samples of one accepted connection."""
    messages = {"received": received, "sent": sent}
    found: Samples = {
        "flask_websocket_connections_in_progress": {labels(path=path): 0.0},
        "flask_websocket_connection_duration_seconds_count": {
            labels(path=path, close_code=str(code)): 1.0
        },
        "flask_websocket_connection_duration_seconds_sum": {
            labels(path=path, close_code=str(code)): 0.0
        },
    }
    counted = {labels(path=path, direction=d): n for d, n in messages.items() if n}
    if counted:
        found["flask_websocket_messages_total"] = counted
    return found


def url(server: Server, path: str) -> str:
    return f"ws://127.0.0.1:{server.port}{path}"


def code_told_by(serve: Any, code: int | str) -> int | str:
    """Return the close code of a client as a server tells it: hypercorn says 1006 always."""
    return 1006 if serve is servers.hypercorn else code


def test_websocket_client_closes(leg: Leg, serve: Any) -> None:
    shop = Shop(leg)
    with serve(shop.app) as server:
        with connect(url(server, "/echo"), proxy=None) as client:
            for text in ("one", "two", b"three"):
                client.send(text)
                assert client.recv(DEADLINE) == text
            assert leg.value("flask_websocket_connections_in_progress", path="/echo") == 1.0
            client.close(4001)
        becomes(shop.found, connection("/echo", code_told_by(serve, "<other>"), 3.0, 3.0))


def test_websocket_server_closes(leg: Leg, serve: Any) -> None:
    shop = Shop(leg)
    with serve(shop.app) as server:
        with connect(url(server, "/bye"), proxy=None) as client:
            assert client.recv(DEADLINE) == "bye"
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(DEADLINE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4002
        becomes(shop.found, connection("/bye", 4002, 0.0, 1.0))


def test_websocket_client_vanishes(leg: Leg, serve: Any) -> None:
    shop = Shop(leg)
    with serve(shop.app) as server, server.connect() as client:
        handshake = (
            "GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        client.sendall(handshake.encode())
        read_until(client, b"\r\n\r\n")
        client.sendall(b"\x81\x82\0\0\0\0hi")  # one masked text frame
        read_until(client, b"\x81\x02hi")
        reset(client)
        code = 1006 if serve is servers.hypercorn else 1005  # uvicorn answers so
        becomes(shop.found, connection("/echo", code, 1.0, 1.0))


@pytest.mark.parametrize(
    ("path", "status"),
    [("/rejected", 401), ("/broken", 500), ("/none", 404), ("/silent", 500)],
)
def test_websocket_rejected(leg: Leg, serve: Any, path: str, status: int) -> None:
    if path == "/silent" and WAITS_FOR_DISCONNECT:
        pytest.skip("Quart 0.23 leaves such a client without an answer")
    shop = Shop(leg)
    with serve(shop.app) as server:
        with pytest.raises(InvalidStatus) as rejected:
            connect(url(server, path), proxy=None)
        assert rejected.value.response.status_code == status
        group = "<unmatched>" if path == "/none" else path
        key = labels(path=group, close_code=str(status))
        name = "flask_websocket_connection_duration_seconds"
        becomes(shop.found, {f"{name}_count": {key: 1.0}, f"{name}_sum": {key: 0.0}})


def test_websocket_at_shutdown(leg: Leg, serve_until_stopped: Any) -> None:
    """Uvicorn closes its connections with 1012; hypercorn cancels them."""
    shop = Shop(leg)
    with contextlib.ExitStack() as clients, serve_until_stopped(shop.app) as server:
        client = clients.enter_context(connect(url(server, "/echo"), proxy=None))
        client.send("one")
        assert client.recv(DEADLINE) == "one"
    found = shop.found()
    assert found["flask_websocket_connections_in_progress"] == {labels(path="/echo"): 0.0}
    [key] = found["flask_websocket_connection_duration_seconds_count"]
    assert dict(key)["close_code"] in ("1011", "<other>")


# --- many at once ------------------------------------------------------------------------------


def test_three_hundred_requests_a_third_of_which_are_aborted(leg: Leg) -> None:
    shop = Shop(leg)

    async def main(server: Server) -> None:
        clients = await asyncio.gather(
            *(asyncio.open_connection("127.0.0.1", server.port) for _ in range(300))
        )
        paths = ["/never", "/gated", "/gated", "/stream", "/gated", "/gated"] * 50
        for (_, writer), path in zip(clients, paths, strict=True):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await asyncio.to_thread(shop.wait_in_progress, 300)
        for (_, writer), path in zip(clients, paths, strict=True):
            if path == "/never":
                writer.transport.abort()
        await asyncio.to_thread(shop.wait_in_progress, 250)
        shop.open_gate(server)
        for (reader, writer), path in zip(clients, paths, strict=True):
            if path == "/stream":
                await reader.readuntil(b"first")
                writer.transport.abort()
            elif path == "/gated":
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200")
                assert await reader.readexactly(2) == b"ok"
        for _, writer in clients:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    with servers.hypercorn(shop.app) as server:
        asyncio.run(asyncio.wait_for(main(server), 2 * DEADLINE))
        shop.check(
            *[Done("GET", "/never", 499)] * 50,
            *[Done("GET", "/stream", 206)] * 50,
            *[Done("GET", "/gated", 200)] * 200,
        )
