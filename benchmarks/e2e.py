"""`python -m benchmarks.e2e [--seconds N] [--rounds N]`: the same over real servers, with wrk.

Gunicorn with threads serves Flask, Hypercorn serves Quart, each in a process of its own; wrk loads
one server at a time, and the servers take turns. Client and server share the machine, so the
numbers are those of the pair; only differences between the variants say something.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from . import programs
from .harness import BARE, NULL, Samples, Table
from .programs import EXPORTER, STARLETTE

__all__ = ["FLASK", "QUART", "main", "program"]

FLASK = {
    BARE: lambda app: None,
    NULL: lambda app: None,
    "promweb": programs.flask_promweb,
    EXPORTER: programs.flask_exporter,
}
QUART = {
    BARE: lambda app: None,
    NULL: lambda app: None,
    "promweb": programs.quart_promweb,
    STARLETTE: programs.quart_starlette_exporter,
}
PEERS = (EXPORTER, STARLETTE)


def program(framework: str, variant: str) -> Any:
    """Return the application that a server is to serve."""
    if framework == "flask":
        return programs.flask_app(FLASK[variant])
    return programs.quart_app(QUART[variant])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.e2e", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2, help="of load for a variant a round")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args(arguments)
    if shutil.which("wrk") is None:
        print("skipped: wrk is not installed (Debian and Ubuntu: apt-get install wrk)")
        return 0
    for framework, server, variants in (
        ("flask", "gunicorn", FLASK),
        ("quart", "hypercorn", QUART),
    ):
        if importlib.util.find_spec(server) is None:
            print(f"skipped: {server} is not installed")
            continue
        there = [name for name in variants if name not in PEERS or importlib.util.find_spec(name)]
        print(
            f"\n{_measure(framework, server, there, options.rounds, options.seconds)}", flush=True
        )
    return 0


def _measure(framework: str, server: str, names: list[str], rounds: int, seconds: float) -> Table:
    threads = ", 4 threads" if server == "gunicorn" else ""
    table = Table(
        f"{framework.capitalize()} behind {server} (one worker{threads}), wrk with 8 connections",
        ("variant", "requests a second", "µs a request", "added to bare", ""),
    )
    samples = Samples({name: [] for name in names})
    rates: dict[str, list[float]] = {name: [] for name in names}
    dice = random.Random(1)
    with ExitStack() as stack:
        ports = {name: stack.enter_context(_serving(framework, server, name)) for name in names}
        for port in ports.values():
            _load(port, 0.5)
        for _ in range(rounds):
            for name in dice.sample(names, len(names)):
                rate = _load(ports[name], seconds)
                rates[name].append(rate)
                samples[name].append(1 / rate)
    _, low, high = samples.added(NULL)
    noise = max(abs(low), abs(high))
    for name in names:
        cells = [name, f"{Samples(rates).median(name):.0f}", f"{samples.median(name) * 1e6:.1f}"]
        if name != BARE:
            value, low, high = samples.added(name)
            cells.append(f"{value * 1e6:+.1f} µs ({low * 1e6:.1f} to {high * 1e6:.1f})")
        if name not in (BARE, NULL) and (abs(value) <= noise or low <= 0 <= high):
            cells.append("not resolved: within the noise")
        table.row(*cells)
    table.notes.append(
        f"{rounds} rounds of {seconds:g} s. Differences up to {noise * 1e6:.1f} µs, the interval "
        "of the null control, cannot be told from none."
    )
    return table


@contextmanager
def _serving(framework: str, server: str, variant: str) -> Iterator[int]:
    """Serve a variant on a free port of this machine while the block runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    code = f"from benchmarks.e2e import program; app = program({framework!r}, {variant!r}); "
    if server == "gunicorn":
        code += (
            "from gunicorn.app.base import BaseApplication as B; "
            "T = type('T', (B,), {'load_config': lambda s: [s.cfg.set(k, v) for k, v in "
            f"dict(bind={address!r}, workers=1, threads=4, worker_class='gthread', "
            "keepalive=30, loglevel='error').items()], 'load': lambda s: app}); T().run()"
        )
    else:
        code += (
            "import asyncio; from hypercorn.asyncio import serve; "
            "from hypercorn.config import Config; c = Config(); "
            f"c.bind = [{address!r}]; c.loglevel = 'ERROR'; asyncio.run(serve(app, c))"
        )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError("the server did not start")


def _load(port: int, seconds: float) -> float:
    """Load a server and return the requests a second that it answered."""
    command = ["wrk", "-t1", "-c8", f"-d{max(1, round(seconds))}s"]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/hello"], capture_output=True, text=True, check=True
    )
    if "Non-2xx" in done.stdout:
        raise RuntimeError(done.stdout)
    found = re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    return float(found[1])


if __name__ == "__main__":
    sys.exit(main())
