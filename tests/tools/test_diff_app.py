"""`promweb diff OLD --app`: families that an application makes late are known all the same."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.support.monitoring import printed
from tests.tools.diffing import diff

pytest.importorskip("promql_parser")

EVERYTHING = """
import prometheus_client
from prometheus_client import CollectorRegistry
from promweb import AsyncPrometheusMetrics, PrometheusMetrics

def measured(kind, **more):
    metrics = kind(
        app, group_by="url_rule", registry=CollectorRegistry(), in_progress=True, queue_time=True,
        request_size=True, response_size=True, response_start=True, native_histograms=True,
        default_labels={"broken": lambda: 1 / 0}, **more
    )
    metrics.info("build", "Build", ["commit"], ["abc"])
    metrics.on_request(lambda info: None)
    seen = prometheus_client.Counter("seen", "Seen", ["by"], registry=metrics.registry)
    seen.labels("me").inc()
    mails = prometheus_client.Counter("mails", "Mails", ["to"], registry=metrics.registry)
    sizes = prometheus_client.Histogram(
        "mail_bytes", "Sizes", ["to"], registry=metrics.registry, buckets=(1, 5)
    )
    ages = prometheus_client.Summary("mail_age", "Ages", ["to"], registry=metrics.registry)

    @app.get("/")
    @metrics.counter("looks", "Looks", labels={"size": lambda response: "m"})
    @metrics.summary("look_seconds", "Looks")
    def look():
        mails.labels("us").inc()
        sizes.labels("us").observe(2)
        ages.labels("us").observe(2)
        return "look"

    @app.get("/fail")
    def fail():
        raise ValueError

    return metrics
"""

FLASK = f"""
from flask import Flask
app = Flask(__name__)
{EVERYTHING}
measured(PrometheusMetrics)
"""

QUART = f"""
from quart import Quart, websocket
app = Quart(__name__)
{EVERYTHING}
metrics = measured(
    AsyncPrometheusMetrics, event_loop=True, threads=True, background_tasks=True
)

@app.get("/later")
async def later():
    async def task():
        pass
    app.add_background_task(task)
    return "later"

@app.websocket("/talk")
async def talk():
    await websocket.send(await websocket.receive())
"""

QUEUED = {"X-Request-Start": "soon"}


def visit_flask(app: Any) -> str:
    client = app.test_client()
    for path in ("/", "/fail", "/nowhere"):
        client.get(path, headers=QUEUED)
    return str(client.get("/metrics").text)


def visit_quart(app: Any) -> str:
    async def visit() -> str:
        async with app.test_app() as serving:
            client = serving.test_client()
            for path in ("/", "/fail", "/later", "/nowhere"):
                await client.get(path, headers=QUEUED)
            async with client.websocket("/talk") as connection:
                await connection.send("hello")
                await connection.receive()
        return str(await (await app.test_client().get("/metrics")).get_data(as_text=True))

    return asyncio.run(visit())


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in ("late_old", "late_new"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("source", "visit"), [(FLASK, visit_flask), (QUART, visit_quart)])
def test_an_application_has_what_it_shows_after_its_first_requests(
    there: Path, source: str, visit: Any
) -> None:
    for name in ("late_old", "late_new"):
        (there / f"{name}.py").write_text(source)
    logging.getLogger("promweb").setLevel(logging.CRITICAL)
    (there / "before.txt").write_text(visit(import_module("late_old").app))
    used = []
    for command, file in (("rules", "rules.yml"), ("dashboard", "board.json")):
        (there / file).write_text(printed(command, "--app", "late_new"))
        used += ["--used", file]
    code, found = diff("before.txt", "--app", "late_new", *used)
    assert [one for one in found if one["level"] in ("breaks", "maybe", "unread", "adds")] == []
    assert code == 0
    assert {one["check"] for one in found} <= {"old-empty", "values-unknown"}


def test_an_application_with_websockets_differs_from_itself_in_nothing(there: Path) -> None:
    (there / "late_new.py").write_text(QUART)
    (there / "before.txt").write_text('# TYPE looks counter\nlooks_total{size="m"} 1\n')
    _, found = diff("before.txt", "--app", "late_new")
    new = {one["family"] for one in found if one["level"] == "adds"}
    assert "flask_thread_wait_seconds" in new
    assert not any("websocket" in name for name in new)  # no connection came yet


def test_websockets_that_an_application_no_longer_has_are_gone(there: Path) -> None:
    (there / "late_old.py").write_text(QUART)
    (there / "late_new.py").write_text(QUART.replace("@app.websocket", "@app.post"))
    (there / "before.txt").write_text(visit_quart(import_module("late_old").app))
    code, found = diff("before.txt", "--app", "late_new")
    gone = [one["family"] for one in found if one["check"] == "family-gone"]
    assert code == 1
    assert gone == [
        "flask_websocket_connection_duration_seconds",
        "flask_websocket_connections_in_progress",
        "flask_websocket_messages",
    ]


def test_a_websocket_that_no_route_matched_is_no_family_that_is_gone(there: Path) -> None:
    (there / "late_new.py").write_text(QUART.replace("@app.websocket", "@app.post"))
    name = "flask_websocket_messages_total"
    text = f'# TYPE {name} counter\n{name}{{url_rule="<unmatched>",direction="sent"}} 1\n'
    (there / "before.txt").write_text(text)
    code, found = diff("before.txt", "--app", "late_new")
    assert code == 0
    assert [one["level"] for one in found if one["check"] == "family-gone"] == ["maybe"]


def test_classes_that_show_all_workers_have_prometheus_clients_metrics(
    there: Path, shared: Path
) -> None:
    (there / "late_new.py").write_text(
        """
from flask import Flask
from prometheus_client import Counter
from promweb.multiprocess import GunicornPrometheusMetrics
app = Flask(__name__)
mails = Counter("mails_of_workers", "Mails", ["to"])
metrics = GunicornPrometheusMetrics(app)
"""
    )
    text = '# TYPE mails_of_workers_total counter\nmails_of_workers_total{to="us"} 1\n'
    (there / "before.txt").write_text(text)
    code, found = diff("before.txt", "--app", "late_new")
    REGISTRY.unregister(sys.modules["late_new"].mails)  # the registry of all tests
    assert code == 0
    assert [one["check"] for one in found if one["family"] == "mails_of_workers"] == ["help"]


def test_labels_that_nobody_can_know_before_there_is_a_series(there: Path) -> None:
    source = """
from flask import Flask
from prometheus_client import CollectorRegistry, Info
from prometheus_client.metrics_core import GaugeMetricFamily
from promweb import PrometheusMetrics

metrics = PrometheusMetrics(Flask("x"), registry=CollectorRegistry())

class Temperature:
    def collect(self):
        yield GaugeMetricFamily("temperature", "Temperature", labels=["room"])

metrics.registry.register(Temperature())
Info("mail", "Mail", ["to"], registry=metrics.registry)
"""
    (there / "late_new.py").write_text(source)
    (there / "before.txt").write_text(
        "# HELP temperature Temperature\n# TYPE temperature gauge\n"
        'temperature{room="a"} 21\n'
        '# HELP mail_info Mail\n# TYPE mail_info gauge\nmail_info{to="us",server="a"} 1\n'
    )
    rules = "groups: [{name: a, rules: [{record: r, expr: 'max by (room) (temperature)'}]}]"
    (there / "rules.yml").write_text(rules)
    code, found = diff("before.txt", "--app", "late_new", "--used", "rules.yml")
    said = {(one["check"], one["level"], one["family"]) for one in found}
    assert code == 0, found
    assert {
        ("unseen", "maybe", "mail_info"),
        ("unseen", "maybe", "temperature"),
        ("values-unknown", "unchecked", "rules.yml"),
    } <= said


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ('waits_seconds_bucket{le="7"}', "no bucket has this le; le is +Inf, 1.0"),
        ("sum by (region) (waits_seconds_count)", "the label 'region' is missing"),
        ("sum by (room) (waits_seconds_count)", ""),
        ('waits_seconds_count{room=~"$room"}', ""),
    ],
)
def test_what_a_definition_lacks(there: Path, expression: str, says: str) -> None:
    source = """
from flask import Flask
from prometheus_client import CollectorRegistry
from promweb import PrometheusMetrics

metrics = PrometheusMetrics(Flask("x"), registry=CollectorRegistry())
metrics.histogram("waits_seconds", "Waits", labelnames=["room"], buckets=[1])
"""
    (there / "late_new.py").write_text(source)
    labels, family = 'room="a",region="b"', "waits_seconds"
    (there / "before.txt").write_text(
        f'# TYPE {family} histogram\n{family}_bucket{{{labels},le="7"}} 1\n'
        f'{family}_bucket{{{labels},le="+Inf"}} 1\n{family}_count{{{labels}}} 1\n'
    )
    rules = {"groups": [{"name": "a", "rules": [{"record": "r", "expr": expression}]}]}
    (there / "rules.json").write_text(json.dumps(rules))
    code, found = diff("before.txt", "--app", "late_new", "--used", "rules.json")
    assert code == 1  # the label and the bucket are gone
    said = [one["what"] for one in found if one["family"] == "rules.json"]
    assert [what.partition(": ")[2] for what in said] == ([says] if says else [])
