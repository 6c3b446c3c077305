"""Shared by the tests of `promweb diff`: expositions to compare, and the command."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from prometheus_client import CollectorRegistry

from examples import demo, shop_flask, shop_quart
from tests.support.monitoring import printed, run
from tests.support.programs import __name__ as programs

__all__ = ["Exposing", "diff", "of_program", "printed", "run", "shops"]

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


@contextmanager
def shops() -> Iterator[tuple[int, int]]:
    """Serve the shop on Flask and on Quart; yield the ports."""
    for name in ("examples", "werkzeug", "quart", "hypercorn"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    flask, quart = (shop.create_app(CollectorRegistry()) for shop in (shop_flask, shop_quart))
    with demo.serve_flask(flask) as first, demo.serve_quart(quart) as second:
        yield first, second


def of_program(name: str, library: Any) -> str:
    """Return what a program exposes with a library, after its requests."""
    module = importlib.import_module(f"{programs}.{name}")
    client = module.make_app(library, CollectorRegistry()).test_client()
    for method, url, *options in module.REQUESTS:
        client.open(url, method=method, **(options[0] if options else {})).close()
    path = getattr(module, "METRICS", "/metrics")
    with client.get(path, headers={"Accept": OPENMETRICS}) as response:
        return str(response.text)


def diff(*arguments: str | Path) -> tuple[int, list[dict[str, Any]]]:
    """Run the command; return its exit code and the differences."""
    done = run("diff", "--format", "json", *map(str, arguments))
    assert done.stdout, (done.exception, done.stderr)
    return done.exit_code, json.loads(done.stdout)["differences"]


class Exposing:
    """A server of one text on a port of this machine; remembers what it was asked."""

    def __init__(self, text: str, content_type: str = "text/plain; version=0.0.4") -> None:
        self.text = text
        self.content_type = content_type
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.statuses: dict[str, int] = {}

    def __enter__(self) -> Exposing:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(length)
                service.asked.append((self.command, self.path, headers, body))
                self.send_response(service.statuses.get(self.path, 200))
                text = service.text.encode()
                self.send_header("Content-Type", service.content_type)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            do_GET = do_HEAD = do_POST = do_DELETE = _answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/metrics"
        self._thread = Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
