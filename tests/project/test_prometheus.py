"""A real Prometheus scrapes the shop on both frameworks, and promtool has nothing to say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from examples import demo, shop_flask, shop_quart
from tests.support.needs import program
from tests.support.prometheus import prometheus
from tests.support.running import run
from tests.support.waiting import happens


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
    found = run([promtool, "check", "metrics"], input="\n".join([*kept, ""]))
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_prometheus_scrapes_both(
    ports: dict[str, int], tmp_path: Path, prometheus_program: str
) -> None:
    targets = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"framework": framework}}
        for framework, port in ports.items()
    ]
    job = {"job_name": "shop", "scrape_interval": "1s", "static_configs": targets}
    with prometheus({"scrape_configs": [job]}, tmp_path, prometheus_program) as server:

        def by_framework(query: str) -> dict[str, float]:
            found = server.vector(f"sum by (framework) ({query})")
            return {one["metric"]["framework"]: float(one["value"][1]) for one in found}

        wanted = {framework: float(demo.TRACKED) for framework in ports}
        query = "shop_http_request_total"
        assert happens(lambda: by_framework(query) == wanted), server.log.read_text()
        assert by_framework("up") == {"flask": 1.0, "quart": 1.0}
    log = server.log.read_text().lower()  # Prometheus 3 writes level=WARN
    complaints = [line for line in log.splitlines() if "level=warn" in line]
    assert [line for line in complaints if "scrape" in line or "sample" in line] == []
