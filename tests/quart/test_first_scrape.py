"""The first requests and scrapes of a process import nothing: that would block the event loop."""

from __future__ import annotations

import pytest

from tests.support.running import answer

SERVICE = """
import json, sys
import quart
from promweb import AsyncPrometheusMetrics

app = Application("first")
metrics = AsyncPrometheusMetrics(
    app, group_by="url_rule", event_loop=True, threads=True, background_tasks=True,
    queue_time=True, native_histograms=True, in_progress=True, response_size=True,
)
metrics.register_dashboard("/live")
metrics.info("build", "Build", ["commit"], ["abc"])

@app.get("/")
@metrics.histogram("looks", "Looks", labels={"status": lambda response: response.status_code})
async def look():
    app.add_background_task(task)
    return "look"

async def task():
    pass

@app.get("/plain")
def plain():
    return "plain"

@app.websocket("/talk")
async def talk():
    await quart.websocket.send(await quart.websocket.receive())

PROTOBUF = (
    "application/vnd.google.protobuf;"
    "proto=io.prometheus.client.MetricFamily;encoding=delimited"
)
statuses = []

async def visit():
    async with app.test_app() as serving:
        client = serving.test_client()
        before = set(sys.modules)
        for accept in ("text/plain", "application/openmetrics-text", PROTOBUF):
            headers = {"Accept": accept, "Accept-Encoding": "gzip"}
            for path in ("/metrics", "/live", "/live?file=live.js", "/", "/plain", "/nowhere"):
                statuses.append((await client.get(path, headers=headers)).status_code)
        async with client.websocket("/talk") as connection:
            await connection.send("hello")
            await connection.receive()
        imported.extend(set(sys.modules) - before)

imported = []
run(visit)
print(json.dumps([sorted(imported), statuses]))
"""

ASYNCIO = """
import asyncio
from quart import Quart as Application

def run(main):
    asyncio.run(main())
"""
TRIO = """
from quart_trio import QuartTrio as Application
from trio import run
"""

OF_WERKZEUG = {"encodings.idna", "stringprep"}
"""Its routes need them at the first request, with and without promweb."""


@pytest.mark.parametrize("library", [ASYNCIO, TRIO])
def test_the_event_loop_imports_nothing(library: str) -> None:
    imported, statuses = answer(library + SERVICE)
    assert statuses == [200, 200, 200, 200, 200, 404] * 3
    assert set(imported) <= OF_WERKZEUG
