"""Programs that serve and record, each in a process of its own."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import Any

from tests.support import running

SET_UP = """
import atexit, faulthandler, gc, json, os, signal, sys, threading
faulthandler.dump_traceback_later(300, exit=True)
from flask import Flask
from prometheus_client import CollectorRegistry
from werkzeug.test import EnvironBuilder
from promweb import PrometheusMetrics

app = Flask("shop")
registry = CollectorRegistry()
metrics = PrometheusMetrics(app, registry=registry, in_progress=True)
ENVIRON = EnvironBuilder(path="/").get_environ()

@metrics.gauge("working", "Jobs.", {"kind": lambda: "k"})
@metrics.histogram("time", "Jobs.", {"kind": lambda: "k"}, buckets=(1, 2))
@metrics.counter("jobs", "Jobs.", {"kind": lambda: "k"})
def job():
    pass

@app.get("/")
@metrics.counter("views", "Views.")
def view():
    return "ok"

def serve():
    assert b"".join(app({**ENVIRON}, lambda *start: None)) == b"ok"

def value(name, **labels):
    return registry.get_sample_value(name, labels) or 0.0

def found():
    return {
        "requests": value("flask_http_request_total", method="GET", status="200"),
        "in progress": value("flask_http_requests_in_progress", method="GET"),
        "views": value("views_total"),
        "jobs": value("jobs_total", kind="k"),
        "times": value("time_count", kind="k"),
        "working": value("working", kind="k"),
    }

def expected(requests, jobs):
    return dict(zip(found(), (requests, 0, requests, jobs, jobs, 0)))

def check(requests, jobs):
    assert found() == expected(requests, jobs), (found(), expected(requests, jobs))
"""


def run(script: str) -> list[Any]:
    """Run a program; return the lines that it printed."""
    code = textwrap.dedent(SET_UP) + textwrap.dedent(script)
    # Without coverage, which has locks of its own that a fork may leave taken.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    done = running.run(command, env=running.without("COVERAGE"))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
