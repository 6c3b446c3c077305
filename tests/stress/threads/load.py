"""Eight threads use one Flask and one Quart application while others scrape: numbers stay exact.

Without the GIL the threads run at the same time.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import flask
import quart
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from werkzeug.test import EnvironBuilder

from promweb import AsyncPrometheusMetrics, PrometheusMetrics
from promweb.core.families.kinds import CounterFamily, HistogramFamily
from promweb.multiprocess.worker_metrics import WorkerMetrics
from tests.support.asgi import Browser
from tests.support.recorded import samples
from tests.support.threads import in_threads

THREADS = 8
MAX_SERIES = 40
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@contextmanager
def line_by_line() -> Iterator[None]:
    """Make threads that start in here take turns at every line of promweb."""

    def trace(frame: Any, event: str, argument: object) -> Any:
        if not frame.f_globals.get("__name__", "").startswith("promweb."):
            return None
        if event == "line":
            time.sleep(1e-6)
        return trace

    before = threading.gettrace()
    threading.settrace(trace)
    try:
        yield
    finally:
        threading.settrace(before)  # type: ignore[arg-type]


def call(app: Any, path: str) -> Any:
    """Return the body of a WSGI application's answer."""
    return app(EnvironBuilder(path=path).get_environ(), lambda *start: None)


class Body:
    """A streamed body of one part. Several threads may close it at once, unlike a generator."""

    def __init__(self) -> None:
        self._parts = [b"part"]

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._parts:
            raise StopIteration
        return self._parts.pop()


class Load:
    """Two applications that share a registry, the requests to them, and their scrapes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.asked: Counter[str] = Counter()
        self.scrapes = 0
        self.scraped = 0.0
        """The number of requests that the last scrape showed."""
        self.wrong: list[str] = []
        self._number = threading.local()
        options: dict[str, Any] = {
            "registry": self.registry,
            "max_series": MAX_SERIES,
            "in_progress": True,
            "response_size": True,
            "exemplar": lambda: {"trace": str(self._number.now)},
        }
        self._flask, self._quart = flask.Flask("threads"), quart.Quart("threads")
        metrics = PrometheusMetrics(self._flask, **options)
        AsyncPrometheusMetrics(self._quart, **options)

        @metrics.counter("jobs", "Jobs.", {"number": lambda: self._number.now})
        @metrics.gauge("working", "Jobs in progress.")
        @metrics.histogram("job_seconds", "Jobs.")
        def job() -> None:
            """Both applications call it."""

        @self._flask.get("/<int:number>")
        @metrics.counter("views", "Views.", {"status": lambda response: response.status_code})
        def view(number: int) -> str:
            job()
            return "ok"

        @self._flask.get("/raises")
        @metrics.gauge("raising", "Views that raise.")
        def raises() -> None:
            raise ZeroDivisionError

        @self._quart.get("/<int:number>")
        async def view_async(number: int) -> str:
            job()
            return "ok"

        self._flask.logger.disabled = True

    def run(self, rounds: int) -> None:
        """Send rounds of requests from eight threads, and scrape meanwhile."""
        asked = [Counter[str]() for _ in range(THREADS)]
        over = threading.Event()
        scraper = threading.Thread(target=self._scrape_until, args=(over,))
        scraper.start()
        try:
            in_threads(THREADS, lambda index: self._visit(index, rounds, asked[index]))
        finally:
            over.set()
            scraper.join()
        for counter in asked:
            self.asked += counter
        self.scrape()
        self.wrong += self._differences()

    def _visit(self, index: int, rounds: int, asked: Counter[str]) -> None:
        """Be one of the threads."""
        for step in range(rounds):
            self._number.now = index * rounds + step
            self._get(f"/{self._number.now}")
            self._get("/raises")
            asked.update(jobs=1, views=1, raised=1, requests=2)
        asyncio.run(self._visit_quart(index, rounds))
        asked.update(jobs=rounds, requests=rounds)

    async def _visit_quart(self, index: int, rounds: int) -> None:
        for step in range(rounds):
            self._number.now = index * rounds + step
            browser = Browser(self._quart, f"/{self._number.now}")
            await browser.run()
            assert browser.status == 200, browser.error

    def _get(self, path: str) -> None:
        body = call(self._flask, path)
        list(body)
        body.close()

    def _scrape_until(self, over: threading.Event) -> None:
        while not over.is_set():
            self.scrape()

    def scrape(self) -> None:
        """Scrape as OpenMetrics; the sums never go down, and each histogram agrees with itself."""
        registry = PrometheusMetrics(None, registry=self.registry)
        text, _ = registry.generate_metrics(OPENMETRICS)
        self.scrapes += 1
        tops, counts = Counter[str](), Counter[str]()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.labels.get("le") == "+Inf":
                    tops[family.name] += sample.value
                elif sample.name.endswith("_count"):
                    counts[family.name] += sample.value
                le = sample.labels.get("le")
                exemplar = sample.exemplar
                if exemplar is not None and le is not None and exemplar.value > float(le):
                    self.wrong.append(f"an exemplar above its bucket: {sample}")
        if tops != counts:
            self.wrong.append(f"a scrape with the buckets {tops} and the counts {counts}")
        shown = counts["flask_http_request_duration_seconds"]
        if shown < self.scraped:
            self.wrong.append(f"a scrape with {shown} requests after one with {self.scraped}")
        self.scraped = shown

    def _differences(self) -> Iterator[str]:
        found, asked = samples(self.registry), self.asked
        requests = asked["requests"]
        for name, wanted in {
            "flask_http_request_duration_seconds_count": requests,
            "flask_http_request_total": requests,
            "flask_http_response_size_bytes_count": requests,
            "flask_http_request_exceptions_total": asked["raised"],
            "jobs_total": asked["jobs"],
            "job_seconds_count": asked["jobs"],
            "views_total": asked["views"],
            "flask_http_requests_in_progress": 0,
            "working": 0,
            "raising": 0,
            "promweb_label_errors_total": 0,
        }.items():
            family = found.get(name, {})
            if sum(family.values()) != wanted:
                yield f"{name} is {sum(family.values())} and not {wanted}"
            if len(family) > MAX_SERIES:
                yield f"{name} has {len(family)} label sets"


def endings(rounds: int) -> Iterator[str]:
    """End the same streams in all threads."""
    registry = CollectorRegistry()
    app = flask.Flask("endings")
    metrics = PrometheusMetrics(app, registry=registry, in_progress=True)

    @app.get("/")
    @metrics.gauge("streaming", "Streams.")
    @metrics.counter("streams", "Streams.")
    def stream() -> flask.Response:
        return flask.Response(Body())

    bodies = [call(app, "/") for _ in range(rounds)]
    in_threads(THREADS, lambda index: [body.close() for body in bodies])
    found = samples(registry)
    for name, wanted in {
        "flask_http_request_total": rounds,
        "streams_total": rounds,
        "flask_http_requests_in_progress": 0,
        "streaming": 0,
    }.items():
        if sum(found[name].values()) != wanted:
            yield f"{name} is {found[name]} and not {wanted}"


def first_exemplars(rounds: int) -> Iterator[str]:
    """Give the buckets of new label sets their first exemplars, in all threads."""
    family = HistogramFamily("first", "First.", ("number",), buckets=range(THREADS))
    children = [family.child_class(family) for _ in range(rounds)]

    def first(index: int) -> None:
        for child in children:
            child.exemplify({"thread": str(index)}, index)

    in_threads(THREADS, first)
    for child in children:
        if len(child.exemplars) != THREADS:
            yield f"{len(child.exemplars)} of {THREADS} exemplars are left"


def announcements(rounds: int) -> Iterator[str]:
    """Announce one process from all threads, in a directory that shows processes."""
    for _ in range(rounds):
        with TemporaryDirectory() as directory:
            workers = WorkerMetrics(directory)
            workers.enable()
            in_threads(THREADS, lambda index, workers=workers: workers.announce())  # type: ignore[misc]
            files = os.listdir(directory)
            workers.start_afresh()
            if len(files) != 1:
                yield f"a process has announced itself in {files}"


def increments(rounds: int) -> Iterator[str]:
    """Count on one label set, read it, and make separate label sets, in all threads."""
    family = CounterFamily("increments", "Increments.", ("who",), max_series=2 * THREADS)
    shared = family.child(("all",))

    def count(index: int) -> None:
        for step in range(rounds):
            shared.inc()
            if step % 100 == index:
                family.child((str(step),), ("<overflow>",)).inc()
                assert shared.value <= rounds * THREADS

    in_threads(THREADS, count)
    if shared.value != rounds * THREADS:
        yield f"{shared.value} of {rounds * THREADS} increments are left"
    if len(family.children) > family.max_series:
        yield f"{len(family.children)} label sets, and not {family.max_series}"
