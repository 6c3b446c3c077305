"""One instance of the shop: `python -m examples.fleet.instance NAME flask|quart DIRECTORY`.

It takes a free port and tells Prometheus of it by a file in the directory, until SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import flask
import quart

from .. import demo, shop_flask, shop_quart

TAKES = "X-Takes"
"""A header: the seconds that a request shall take, at least."""


def flask_shop() -> flask.Flask:
    """Make the shop on Flask, as slow as its clients ask for."""
    app = shop_flask.create_app()

    @app.before_request
    def take_time() -> None:
        time.sleep(float(flask.request.headers.get(TAKES, 0)))

    return app


def quart_shop() -> quart.Quart:
    """Make the shop on Quart, as slow as its clients ask for."""
    app = shop_quart.create_app()

    @app.before_request
    async def take_time() -> None:
        await asyncio.sleep(float(quart.request.headers.get(TAKES, 0)))

    return app


SHOPS: dict[str, Any] = {
    "flask": (flask_shop, demo.serve_flask),
    "quart": (quart_shop, demo.serve_quart),
}


def announce(path: Path, port: int, labels: dict[str, str]) -> None:
    """Write a file for Prometheus' file-based discovery, which never sees half of it."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps([{"targets": [f"{demo.HOST}:{port}"], "labels": labels}]))
    os.replace(unfinished, path)


def main() -> None:
    name, framework, directory = sys.argv[1:]
    logging.disable()
    make, serve = SHOPS[framework]
    # Blocked before there are threads, so that the signal waits for `sigwait`.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    target = Path(directory, f"{name}.json")
    with serve(make()) as port:
        announce(target, port, {"instance": name, "framework": framework})
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        target.unlink()


if __name__ == "__main__":
    main()
