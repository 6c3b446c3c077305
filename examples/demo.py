"""The shop on Flask and on Quart, side by side on real servers: `python -m examples.demo`.

Both get the same requests. Then both are scraped, and the two expositions must be equal, but for
timings. Without `--once` both go on serving until Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import http.client
import json
import logging
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from prometheus_client import CollectorRegistry
from werkzeug.serving import make_server

from . import shop_flask, shop_quart

HOST = "127.0.0.1"
PATIENCE = 60.0
"""Seconds that an answer, or the end of a request's bookkeeping, may take."""


@dataclass(frozen=True)
class Request:
    """A request of the demo to both shops, and the status that it expects."""

    why: str
    status: int
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    order: Mapping[str, object] | None = None

    @property
    def body(self) -> bytes | None:
        return None if self.order is None else json.dumps(self.order).encode()

    @property
    def all_headers(self) -> dict[str, str]:
        kind = {} if self.order is None else {"Content-Type": "application/json"}
        return {**kind, **self.headers}


REQUESTS = (
    Request("health check, not tracked", 200, "GET", "/health"),
    Request("redirect", 302, "GET", "/"),
    Request("ok", 200, "GET", "/items"),
    Request("ok", 200, "GET", "/items/book"),
    Request("ok, from the app", 200, "GET", "/items/pen", {"X-App": "2"}),
    Request("the view says 404", 404, "GET", "/items/unicorn"),
    Request("no such route", 404, "GET", "/nowhere"),
    Request("no such method there", 405, "DELETE", "/items"),
    Request("no such method at all", 405, "BREW", "/items"),
    Request("stream", 200, "GET", "/items.csv"),
    Request("small order", 201, "POST", "/orders", order={"item": "pen", "amount": 1}),
    Request("large order", 201, "POST", "/orders?express=1", order={"item": "lamp", "amount": 9}),
    Request(
        "an error handler answers", 409, "POST", "/orders", order={"item": "pen", "amount": 99}
    ),
    Request("unhandled exception", 500, "GET", "/orders/1/invoice"),
)
SHOWN = 5
"""How many samples of a family are printed."""
TRACKED = sum(request.path != "/health" for request in REQUESTS)
"""How many of the requests the default metrics count."""


# Comparing two expositions in the text format.

_TIMING = re.compile(r"\w+(_seconds_bucket|_seconds_sum|_created)$", re.ASCII)


@dataclass(frozen=True)
class Comparison:
    """How two expositions relate when the values of timings are set aside."""

    families: int
    compared: int
    """Samples whose values were compared."""
    timings: int
    """Samples of which only names and labels were compared: buckets and sums of time, creation."""
    differences: tuple[str, ...]
    """The lines of a unified diff; none if the expositions are equal."""


def compare(flask_text: str, quart_text: str) -> Comparison:
    """Compare whole expositions: help texts, types, order, label sets, and values but timings."""
    flask_lines, quart_lines = map(_without_timings, (flask_text, quart_text))
    diff = difflib.unified_diff(flask_lines, quart_lines, "Flask", "Quart", n=0, lineterm="")
    samples = [line for line in flask_lines if not line.startswith("#")]
    timings = sum(is_timing(line) for line in samples)
    families = [line for line in flask_lines if line.startswith("# TYPE") and not is_timing(line)]
    return Comparison(len(families), len(samples) - timings, timings, tuple(diff))


def is_timing(line: str) -> bool:
    """Tell whether a line's value depends on how long something took, or when it happened."""
    name = line.split()[2] if line.startswith("#") else line.partition(" ")[0].partition("{")[0]
    return _TIMING.match(name) is not None


def _without_timings(text: str) -> list[str]:
    return [
        f"{line.rpartition(' ')[0]} (a timing)"
        if not line.startswith("#") and is_timing(line)
        else line
        for line in text.splitlines()
    ]


# Real servers on free ports of this machine.


@contextmanager
def serve_flask(app: Any) -> Iterator[int]:
    """Serve a WSGI application with Werkzeug's threaded server; yield the port."""
    server = make_server(HOST, 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, name="flask")
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serve_quart(app: Any) -> Iterator[int]:
    """Serve an ASGI application with Hypercorn on asyncio; yield the port."""
    listener = socket.create_server((HOST, 0))  # clients may connect before Hypercorn is there
    port = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog = config.errorlog = None
    stopping = threading.Event()

    async def stopped() -> None:
        await asyncio.to_thread(stopping.wait)

    thread = threading.Thread(
        target=lambda: asyncio.run(serve(app, config, shutdown_trigger=stopped)), name="quart"
    )
    thread.start()
    try:
        yield port
    finally:
        stopping.set()
        thread.join()


def send(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
    """Send one request on a connection of its own; return the status and the body."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def ask(port: int, request: Request) -> int:
    """Send one of the requests above; return the status."""
    status, _ = send(port, request.method, request.path, request.body, **request.all_headers)
    return status


def scrape(port: int, requests: int) -> str:
    """Return the exposition, once it has this many requests.

    A client may have its answer a moment before the server is done with the request.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        text = send(port, "GET", "/metrics")[1].decode()
        totals = re.findall(r"^shop_http_request_total\{.*\} (\S+)$", text, re.MULTILINE)
        if sum(map(float, totals)) >= requests or time.monotonic() > deadline:
            return text


# The output of the demo.


def show_requests(flask_port: int, quart_port: int) -> bool:
    """Send all requests to both; return whether every status is as expected."""
    print(f"\nThe same {len(REQUESTS)} requests to both:{'Flask  Quart':>35}\n")
    as_expected = True
    for request in REQUESTS:
        statuses = ask(flask_port, request), ask(quart_port, request)
        as_expected = as_expected and set(statuses) == {request.status}
        print(
            f"  {request.method:7}{request.path:18} {request.why:26} {statuses[0]}    {statuses[1]}"
        )
    return as_expected


def show_excerpt(text: str) -> None:
    """Print a family's first samples, without buckets and timings; families without any not."""
    print("\nFrom Flask's exposition (without buckets and timings):")
    for family in text.split("# HELP ")[1:]:
        title, _, *lines = family.splitlines()
        samples = [line for line in lines if not is_timing(line) and "_bucket{" not in line]
        if samples:
            print(f"\n  # HELP {title}")
            print("\n".join(f"  {line}" for line in samples[:SHOWN]))
        if len(samples) > SHOWN:
            print(f"  (and {len(samples) - SHOWN} more)")


def show_comparison(found: Comparison) -> None:
    print(
        f"\nFlask's and Quart's expositions: {found.families} families, help texts, types, order "
        f"and\nlabel sets; {found.compared} values compared, {found.timings} timings set aside."
    )
    if found.differences:
        print(f"They DIFFER in {len(found.differences)} lines:\n")
        print("\n".join(found.differences))
    else:
        print("They are EQUAL.")


def trickle(*ports: int) -> None:
    """Send both some traffic until Ctrl-C."""
    pause = threading.Event()
    while True:
        for request in REQUESTS:
            for port in ports:
                ask(port, request)
            pause.wait(0.5)


def main() -> int:
    """Run both shops, show what they expose, and return 0 if that is equal."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the comparison")
    once = parser.parse_args().once
    sys.stdout.reconfigure(line_buffering=True)  # also through a pipe
    for name in ("examples", "werkzeug", "quart", "hypercorn"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    flask_app = shop_flask.create_app(CollectorRegistry())
    quart_app = shop_quart.create_app(CollectorRegistry())
    with serve_flask(flask_app) as flask_port, serve_quart(quart_app) as quart_port:
        print(f"The shop on Flask (Werkzeug): http://{HOST}:{flask_port}/metrics and /metrics/live")
        print(
            f"The shop on Quart (Hypercorn): http://{HOST}:{quart_port}/metrics and /metrics/live"
        )
        as_expected = show_requests(flask_port, quart_port)
        texts = scrape(flask_port, TRACKED), scrape(quart_port, TRACKED)
        show_excerpt(texts[0])
        found = compare(*texts)
        show_comparison(found)
        if not as_expected:
            print("Some requests were not answered with the status expected.")
        if not once:
            try:
                print("\nBoth go on serving, with a request every half second. Ctrl-C ends.")
                trickle(flask_port, quart_port)
            except KeyboardInterrupt:
                print()
    return 0 if as_expected and not found.differences else 1


if __name__ == "__main__":
    sys.exit(main())
