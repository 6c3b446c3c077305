"""Scrapes that are hostile: what they ask for, how many there are, how slowly they read."""

from __future__ import annotations

import asyncio
import gc
import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import flask
import pytest
import quart
from prometheus_client import CollectorRegistry

from promweb import AsyncPrometheusMetrics, PrometheusMetrics
from promweb.core.exposition.layout import Layout
from tests.support import servers
from tests.support.asgi import Browser
from tests.support.hanging import SlowCollector
from tests.support.servers import Server, ask, read_until, reset
from tests.support.waiting import becomes

from .arsenal import Arsenal, Shot
from .strict import read
from .targets import LONGEST, Answer, Target, flask_target, quart_target, send_asgi, send_wsgi

OPENMETRICS = b"application/openmetrics-text; version=1.0.0"
MOST_THREADS = 4
MOST_NAMES = 1000

Send = Callable[[Target, Shot], Answer]


def send_to_flask(target: Target, shot: Shot) -> Answer:
    return send_wsgi(target.app, shot)


def send_to_quart(target: Target, shot: Shot) -> Answer:
    return asyncio.run(send_asgi(target.app, shot))


@pytest.fixture(params=["flask", "quart"])
def service(request: pytest.FixtureRequest) -> tuple[Target, Send]:
    if request.param == "flask":
        return flask_target(), send_to_flask
    return quart_target(), send_to_quart


def order(number: int) -> Shot:
    return Shot("GET", b"/items/%d" % number, b"who=%d" % number, (("host", b"localhost"),))


def scrape(accept: bytes = b"", encoding: bytes = b"", query: bytes = b"") -> Shot:
    headers = (("accept", accept), ("accept-encoding", encoding), ("host", b"localhost"))
    return Shot("GET", b"/metrics", query, headers)


def unpacked(answer: Answer) -> bytes:
    zipped = answer.headers.get("Content-Encoding") == "gzip"
    return gzip.decompress(answer.body) if zipped else answer.body


# --- what they ask for --------------------------------------------------------------------------


def test_malformed_negotiation_gets_one_of_the_usual_bodies(service: tuple[Target, Send]) -> None:
    target, send = service
    for number in range(5):
        send(target, order(number))
    usual = {
        send(target, scrape(accept)).body
        for accept in (b"", OPENMETRICS, b"text/plain;version=1.0.0")
    }
    arsenal = Arsenal(7)
    seen = set()
    for _ in range(150):
        answer = send(target, scrape(arsenal.accept(), arsenal.accept()))
        assert answer.status == 200
        assert "X-Forged" not in answer.headers
        assert answer.headers["Content-Length"] == str(len(answer.body))
        seen.add(unpacked(answer))
    assert seen <= usual
    assert len(seen) > 1


def test_headers_of_a_megabyte(service: tuple[Target, Send]) -> None:
    target, send = service
    usual = send(target, scrape()).body
    for piece in (b"text/plain;version=1.0.0,", b"gzip;q=0,", b",", b"\xff", b"a" * 1000):
        header = piece * (2**20 // len(piece))
        answer = send(target, scrape(header, header + b",gzip"))  # of which only the start is read
        assert (answer.status, answer.body) == (200, usual)


def test_more_than_a_thousand_names_restrict_nothing(service: tuple[Target, Send]) -> None:
    target, send = service
    send(target, order(1))
    whole = send(target, scrape()).body
    for count in (2, MOST_NAMES, MOST_NAMES + 1, 10_000):
        names = [b"orders_total", *(b"name_%d" % number for number in range(count - 1))]
        answer = send(target, scrape(query=b"&".join(b"name[]=" + name for name in names)))
        assert answer.status == 200
        if count > MOST_NAMES:
            assert answer.body == whole
        else:
            samples = read(answer.body, openmetrics=False)
            assert {name for name, _ in samples} == {"orders_total"}


@pytest.mark.parametrize("query", [b"name[]=\xf4", b"name[]=%F4", b"\xf4=\xff&name[]=\xed\xa0\x80"])
def test_names_that_are_not_utf8_are_names_of_nothing(query: bytes) -> None:
    """Flask's own `request.args` raises for such bytes; Quart makes no request of them."""
    target = flask_target()
    send_wsgi(target.app, order(1))
    answer = send_wsgi(target.app, scrape(query=query))
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("query", [b"\xf4", b"file=\xf4", b"file=scrape&name[]=\xf4"])
def test_live_page_asked_for_what_is_not_utf8(query: bytes) -> None:
    app = flask.Flask("shop", static_folder=None)
    metrics = PrometheusMetrics(app, registry=CollectorRegistry())
    metrics.register_dashboard("/live")
    shot = Shot("GET", b"/live", query, (("host", b"localhost"),))
    assert send_wsgi(app, shot).status == (404 if query == b"file=\xf4" else 200)


def test_formats_and_names_by_the_hundred_are_not_kept(service: tuple[Target, Send]) -> None:
    target, send = service
    send(target, order(1))
    gc.collect()
    before = sum(isinstance(thing, Layout) for thing in gc.get_objects())
    suffixes = ("bucket", "count", "sum", "created")
    for accept in ("text/plain;version=1.0.0", "application/openmetrics-text;version=1.0.0"):
        for escaping in ("underscores", "dots", "values", "allow-utf-8"):
            for subset in range(1, 16):
                query = "&".join(
                    f"name[]=flask_http_request_duration_seconds_{suffix}"
                    for bit, suffix in enumerate(suffixes)
                    if subset >> bit & 1
                )
                shot = scrape(f"{accept};escaping={escaping}".encode(), query=query.encode())
                assert send(target, shot).status == 200
    gc.collect()
    after = sum(isinstance(thing, Layout) for thing in gc.get_objects())
    assert after - before <= 32
    assert send(target, scrape()).status == 200


@pytest.mark.parametrize("value", ["\ud800", "a\udcffb", 'x"} 1\nforged 1\n', "\0", "\\"])
def test_exemplar_of_any_characters(value: str) -> None:
    app, registry = flask.Flask("shop"), CollectorRegistry()
    PrometheusMetrics(app, registry=registry, exemplar=lambda: flask.request.get_json(silent=True))
    app.add_url_rule("/", view_func=lambda: "ok", methods=["POST"])
    assert app.test_client().post("/", json={"id": value}).status_code == 200
    response = app.test_client().get("/metrics", headers={"Accept": OPENMETRICS.decode()})
    assert response.status_code == 200
    lines = [line for line in response.text.split("\n") if " # {" in line]
    assert len(lines) == 2
    expected = value.encode("utf-8", "replace").decode()
    expected = expected.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    assert all(f' # {{id="{expected}"}} ' in line for line in lines)


# --- floods -------------------------------------------------------------------------------------


@pytest.fixture
def slow_shop() -> Iterator[tuple[Any, SlowCollector]]:
    app, registry = quart.Quart("shop"), CollectorRegistry()
    AsyncPrometheusMetrics(app, registry=registry)
    slow = SlowCollector(registry)
    yield app, slow
    slow.release.set()


@pytest.mark.asyncio
async def test_flood_of_equal_scrapes_is_one_scrape(slow_shop: tuple[Any, SlowCollector]) -> None:
    app, slow = slow_shop
    first = Browser(app, "/metrics").start()
    await slow.wait()
    others = [Browser(app, "/metrics").start() for _ in range(500)]
    await anyio.wait_all_tasks_blocked()
    slow.release.set()
    for browser in (first, *others):
        await browser.over()
        assert browser.status == 200
        assert browser.body == first.body
    assert slow.calls == 1


@pytest.mark.asyncio
async def test_flood_of_different_scrapes_takes_few_threads(
    slow_shop: tuple[Any, SlowCollector],
) -> None:
    """Otherwise each would be a thread that competes with the event loop."""
    app, slow = slow_shop
    flood = [
        Browser(app, "/metrics", headers={"accept": f"text/plain;q=0.{number}"}).start()
        for number in range(200)
    ]
    await anyio.wait_all_tasks_blocked()
    assert await anyio.to_thread.run_sync(becomes_full, slow)
    await anyio.wait_all_tasks_blocked()
    assert slow.calls == MOST_THREADS
    app.add_url_rule("/", view_func=lambda: "ok")  # a thread of Quart's own serves it
    page = Browser(app, "/").start()
    await page.over()
    assert page.body == b"ok"
    slow.release.set()
    for browser in flood:
        await browser.over()
        assert browser.status == 200
    assert slow.calls == 200
    assert len(set(slow.threads)) == MOST_THREADS


def becomes_full(slow: SlowCollector) -> bool:
    becomes(lambda: slow.calls >= MOST_THREADS, True)
    return True


def test_flood_from_threads_while_requests_make_label_sets() -> None:
    """Each scrape is whole, counters never go down, and the last one has everything."""
    target = flask_target(details=True, max_series=50)
    together = threading.Barrier(8)

    def count(answer: Answer) -> float:
        samples = read(answer.body, openmetrics=False)
        return sum(value for (name, _), value in samples.items() if name == "orders_total")

    def flood() -> list[float]:
        together.wait()
        return [count(send_wsgi(target.app, scrape())) for _ in range(8)]

    def work(seed: int) -> int:
        arsenal = Arsenal(seed, huge_every=10**9)
        together.wait()
        shots = [arsenal.shot() for _ in range(400)]
        for shot in (*shots, order(seed)):
            send_wsgi(target.app, shot)
        return len(shots)

    with ThreadPoolExecutor(8) as threads:
        workers = [threads.submit(work, seed) for seed in range(4)]
        floods = [threads.submit(flood) for _ in range(4)]
        for future in floods:
            counts = future.result()
            assert counts == sorted(counts)
        assert [future.result() for future in workers] == [400] * 4
    assert count(send_wsgi(target.app, scrape())) == sum(target.books.orders.values())


# --- slow readers -------------------------------------------------------------------------------

SERVED: dict[str, tuple[Callable[..., Target], Any]] = {
    "werkzeug": (flask_target, servers.werkzeug),
    "hypercorn": (quart_target, servers.hypercorn),
    "uvicorn": (quart_target, servers.uvicorn),
}


@pytest.mark.parametrize("name", SERVED)
def test_slow_readers_hold_up_nobody(name: str) -> None:
    make, serve = SERVED[name]
    target = make()
    send = send_to_flask if name == "werkzeug" else send_to_quart
    for number in range(890):
        path = (b"/items/%d/" % number).ljust(LONGEST, b"x")
        send(target, order(number)._replace(path=path))
    expected = send(target, scrape()).body
    assert len(expected) > 5_000_000  # more than sockets take without a reader
    with serve(target.app) as server:
        slow = [server.connect() for _ in range(12)]
        for connection in slow:
            ask(connection, "/metrics", "1.0")
        received = [read_until(connection, b"\r\n\r\n") for connection in slow]
        assert get(server, "/items/1").endswith(b"ok")
        assert b'path="/items/1"' in get(server, "/metrics")
        for connection in slow[::2]:
            reset(connection)
        for connection, start in list(zip(slow, received, strict=True))[1::2]:
            assert body_of(start + rest(connection)) == expected
            connection.close()
        assert get(server, "/items/1").endswith(b"ok")


def get(server: Server, path: str) -> bytes:
    with server.connect() as connection:
        ask(connection, path, "1.0")
        return rest(connection)


def rest(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def body_of(response: bytes) -> bytes:
    return response.partition(b"\r\n\r\n")[2]
