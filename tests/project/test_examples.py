"""The examples run, and the shop exposes the same on Flask and on Quart."""

from __future__ import annotations

import filecmp
import re
import runpy
import signal
import subprocess
import sys
from typing import Any

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry

from examples import demo, shop_flask, shop_quart
from tests.support.legs import LEGS, Leg
from tests.support.needs import module
from tests.support.paths import ROOT
from tests.support.running import run, without
from tests.support.waiting import DEADLINE

SHOPS = {"flask": shop_flask, "quart": shop_quart}


def test_the_photos_pass_their_own_tests() -> None:
    """Among them that both scrapes are equal but for timings."""
    module("aiosqlite")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    env = {**without("PYTEST_"), "PYTHONPATH": str(ROOT)}
    done = run(command, cwd=ROOT / "examples/photos", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


@pytest.fixture
def global_registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """Put a fresh registry in the place of prometheus_client's global one."""
    registry = CollectorRegistry()
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    return registry


@pytest.fixture(params=SHOPS)
def framework(request: pytest.FixtureRequest) -> str:
    return request.param


def leg_of(framework: str) -> Leg:
    """Return a leg for its test client: an example has its own kind of views."""
    return LEGS[f"{framework}-sync"]()


def visit(framework: str, app: Any) -> tuple[list[int], str]:
    """Send the demo's requests through the test client; return statuses and exposition."""
    leg = leg_of(framework)
    statuses = [
        leg.request(
            app, request.path, request.method, headers=request.all_headers, data=request.body
        ).status
        for request in demo.REQUESTS
    ]
    return statuses, leg.get(app, "/metrics").text


def test_a_quick_start_measures(framework: str, global_registry: CollectorRegistry) -> None:
    app = runpy.run_module(f"examples.quick_start_{framework}")["app"]
    assert leg_of(framework).get(app, "/hello/you").text == "Hello, you!"
    value = global_registry.get_sample_value
    assert value("hello_total", {"status": "200"}) == 1
    assert value("flask_http_request_total", {"method": "GET", "status": "200"}) == 1


def test_the_app_factory_measures_every_app(global_registry: CollectorRegistry) -> None:
    create_app = runpy.run_module("examples.app_factory")["create_app"]
    for path in ("/search", "/search?q=promweb"):
        assert leg_of("flask").get(create_app(), path).status == 200
    value = global_registry.get_sample_value
    labels = {"method": "GET", "endpoint": "pages.search", "status": "200"}
    assert value("flask_http_request_duration_seconds_count", labels) == 2
    assert value("search_seconds_count", {"kind": "all"}) == 1
    assert value("search_seconds_count", {"kind": "some"}) == 1


def test_the_shop_answers_and_measures(framework: str) -> None:
    registry = CollectorRegistry()
    statuses, exposition = visit(framework, SHOPS[framework].create_app(registry))
    assert statuses == [request.status for request in demo.REQUESTS]
    samples = dict(
        line.rsplit(" ", 1) for line in exposition.splitlines() if not line.startswith("#")
    )
    duration = 'shop_http_request_duration_seconds_count{{method="GET",service="shop",{}}}'
    expected = {
        duration.format('status="302",url_rule="/"'): 1,
        duration.format('status="404",url_rule="/items/<item>"'): 1,
        duration.format('status="404",url_rule="<unmatched>"'): 1,
        duration.format('status="200",url_rule="/items.csv"'): 1,
        duration.format('status="500",url_rule="/orders/<int:number>/invoice"'): 1,
        'shop_http_request_exceptions_total{method="GET",service="shop",status="500"}': 1,
        'shop_http_requests_in_progress{method="GET",service="shop"}': 0,
        'shop_http_request_total{method="<other>",service="shop",status="405"}': 1,
        'shop_info{version="1.4.0"}': 1,
        'shop_item_views_total{client="app",service="shop",status="200"}': 1,
        'shop_item_views_total{client="browser",service="shop",status="404"}': 1,
        'shop_export_seconds_count{service="shop"}': 1,
        'shop_order_seconds_count{delivery="express",service="shop",status="201"}': 1,
        'shop_order_seconds_count{delivery="standard",service="shop",status="409"}': 1,
        'shop_orders_in_progress{service="shop"}': 0,
        'shop_pricing_seconds_count{service="shop",size="large"}': 1,
    }
    assert {name: float(samples[name]) for name in expected} == expected
    assert not any("/health" in name for name in samples)


def test_the_shop_has_a_live_page(framework: str) -> None:
    app = SHOPS[framework].create_app(CollectorRegistry())
    assert "<title>Live metrics</title>" in leg_of(framework).get(app, "/metrics/live").text


def test_a_command_of_the_shop_is_measured(framework: str) -> None:
    registry = CollectorRegistry()
    runner = SHOPS[framework].create_app(registry).test_cli_runner()
    result = runner.invoke(args=["refill"])
    assert result.exit_code == 0, result.output
    labels = {"service": "shop", "needed": "False"}
    assert registry.get_sample_value("shop_refills_total", labels) == 1


def test_both_shops_expose_the_same() -> None:
    expositions = [
        visit(framework, shop.create_app(CollectorRegistry()))[1]
        for framework, shop in SHOPS.items()
    ]
    found = demo.compare(*expositions)
    assert found.differences == ()
    assert found.families == 14
    assert found.compared > found.timings > 100


EXPOSITION = """\
# HELP a_seconds Time
# TYPE a_seconds histogram
a_seconds_bucket{le="+Inf",page="a b"} 1.0
a_seconds_count{page="a b"} 1.0
a_seconds_sum{page="a b"} 0.5
# HELP a_seconds_created Time
# TYPE a_seconds_created gauge
a_seconds_created{page="a b"} 1.7e9
# HELP b_total Calls
# TYPE b_total counter
b_total 2.0
"""


def test_the_comparison_sets_only_the_values_of_timings_aside() -> None:
    other = EXPOSITION.replace('+Inf",page="a b"} 1.0', '+Inf",page="a b"} 0.0')
    other = other.replace("0.5", "0.75").replace("1.7e9", "1.8e9")
    assert demo.compare(EXPOSITION, other) == demo.Comparison(2, 2, 3, ())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("b_total 2.0", "b_total 3.0"),
        ("Calls", "Cals"),
        ("b_total counter", "b_total gauge"),
        ('sum{page="a b"}', 'sum{page="a c"}'),
        ('a_seconds_sum{page="a b"} 0.5\n', ""),
        ('a_seconds_count{page="a b"} 1.0\n', ""),
    ],
)
def test_the_comparison_sees_everything_else(before: str, after: str) -> None:
    assert before in EXPOSITION
    differences = demo.compare(EXPOSITION, EXPOSITION.replace(before, after)).differences
    assert any(before.split()[0].rstrip("\n") in line for line in differences)


def test_the_shops_differ_only_in_what_quart_asks_for() -> None:
    ours, theirs = ROOT / "examples/shop_flask", ROOT / "examples/shop_quart"
    names = sorted(path.name for path in ours.glob("*.py"))
    assert names == sorted(path.name for path in theirs.glob("*.py"))
    for name in names:
        translated = (theirs / name).read_text()
        for quart, flask in (
            (r"\bquart\b", "flask"),
            (r"\bQuart\b", "Flask"),
            (r"\basync def\b", "def"),
            (r"\bawait ", ""),
            (r"\bAsyncPrometheusMetrics\b", "PrometheusMetrics"),
        ):
            translated = re.sub(quart, flask, translated)
        # `__init__` shows how to compare the two, and so names both.
        if name == "__init__.py":
            assert filecmp.cmp(ours / name, theirs / name, shallow=False)
        else:
            assert translated == (ours / name).read_text()


LAST_LINE = "Both go on serving, with a request every half second. Ctrl-C ends.\n"
DEMO = (sys.executable, "-m", "examples.demo")


def test_the_demo_runs_on_real_servers_and_finds_both_equal() -> None:
    done = run([*DEMO, "--once"])
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "They are EQUAL." in done.stdout


def test_the_demo_serves_until_ctrl_c() -> None:
    with subprocess.Popen(
        DEMO,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells have what they run in the background ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as demo_process:
        assert demo_process.stdout is not None
        printed = ""
        for line in demo_process.stdout:
            printed += line
            if line == LAST_LINE:
                break
        port = int(re.search(r"Quart.*:(\d+)/metrics", printed)[1])  # type: ignore[index]
        assert demo.send(port, "GET", "/items")[0] == 200
        demo_process.send_signal(signal.SIGINT)
        try:
            _, errors = demo_process.communicate(timeout=DEADLINE)
        finally:
            demo_process.kill()  # or leaving this block would wait for it
    assert (demo_process.returncode, errors) == (0, "")
