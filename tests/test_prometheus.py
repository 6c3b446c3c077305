"""A real Prometheus scrapes the shop on both frameworks, and promtool has nothing to say."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from examples import demo, shop_flask, shop_quart

DEADLINE = 30.0
"""Seconds that Prometheus may take to start and to scrape."""


def program(name: str) -> str:
    """Return the path of a program; without it skip, or fail where CI installs it."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not installed (Debian's package prometheus has it)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """Serve both shops and send them the demo's requests."""
    with ExitStack() as stack:
        ports = {
            "flask": stack.enter_context(
                demo.serve_flask(shop_flask.create_app(CollectorRegistry()))
            ),
            "quart": stack.enter_context(
                demo.serve_quart(shop_quart.create_app(CollectorRegistry()))
            ),
        }
        for port in ports.values():
            for request in demo.REQUESTS:
                assert demo.ask(port, request) == request.status
            demo.scrape(port, demo.TRACKED)
        yield ports


@pytest.mark.parametrize("framework", ["flask", "quart"])
def test_promtool_finds_nothing(ports: dict[str, int], framework: str) -> None:
    promtool = program("promtool")
    text = demo.scrape(ports[framework], demo.TRACKED)
    # Without `_created`, of which prometheus_client, not the format, is fond.
    kept = [line for line in text.splitlines() if "_created" not in line]
    found = subprocess.run(
        [promtool, "check", "metrics"],
        input="\n".join([*kept, ""]),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_prometheus_scrapes_both(ports: dict[str, int], tmp_path: Path) -> None:
    prometheus = program("prometheus")
    targets = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"framework": framework}}
        for framework, port in ports.items()
    ]
    job = {"job_name": "shop", "scrape_interval": "1s", "static_configs": targets}
    (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [job]}))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    log = tmp_path / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [
                prometheus,
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stderr=stderr,
            stdout=stderr,
        )
    try:
        query = "sum by (framework) (shop_http_request_total)"
        wanted = {framework: float(demo.TRACKED) for framework in ports}
        assert eventually(port, query, wanted) == wanted, log.read_text()
        assert eventually(port, "sum by (framework) (up)", {"flask": 1.0, "quart": 1.0}) == {
            "flask": 1.0,
            "quart": 1.0,
        }
    finally:
        process.terminate()
        process.wait(DEADLINE)
    complaints = [line for line in log.read_text().splitlines() if "level=warn" in line]
    assert [line for line in complaints if "scrape" in line or "sample" in line] == []


def eventually(port: int, query: str, wanted: dict[str, float]) -> dict[str, float]:
    """Ask Prometheus until it answers what is wanted, or the deadline has passed."""
    deadline = time.monotonic() + DEADLINE
    while True:
        found = ask(port, query)
        if found == wanted or time.monotonic() > deadline:
            return found
        time.sleep(0.1)  # between two questions


def ask(port: int, query: str) -> dict[str, float]:
    """Return the value per framework, nothing while Prometheus is starting."""
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE) as response:
            answer: Any = json.load(response)
    except OSError:
        return {}
    results = answer["data"]["result"]
    return {result["metric"]["framework"]: float(result["value"][1]) for result in results}
