"""Table 10: what has no goal and is worth knowing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import count
from time import perf_counter
from typing import Any

import flask
from prometheus_client import CollectorRegistry, generate_latest

from promweb.core.exposition.scrape import answer

from . import programs
from .harness import BARE, NULL, Effort, Table, Variant, compare, percentile
from .programs import EXPORTER, flask_variant
from .requests import BATCH, OURS, installed
from .scrapes import Client, Program, Promweb

__all__ = ["growth", "options", "streams", "tail", "threads"]

THREADS = 4


def options(effort: Effort) -> Table:
    """Compare ways to configure promweb."""
    table = Table("10a. Flask, other ways to use promweb (no goals)")

    def tenant(request: Any) -> str:
        return "acme"

    def two(app: flask.Flask) -> None:
        programs.flask_promweb(app)
        programs.flask_promweb(app, path="/other")

    def decorated(kind: str, labels: dict[str, Any]) -> Callable[[flask.Flask], None]:
        def prepare(app: flask.Flask) -> None:
            decorator = getattr(programs.flask_promweb(app), kind)
            view = app.view_functions["hello"]
            app.view_functions["hello"] = decorator("name", "Help.", labels=labels)(view)

        return prepare

    def promweb(**arguments: Any) -> Callable[[flask.Flask], Any]:
        return lambda app: programs.flask_promweb(app, **arguments)

    ways: dict[str, Callable[[flask.Flask], Any]] = {
        OURS: promweb(),
        "promweb, this path excluded": promweb(excluded_paths="/hello"),
        "promweb, another path excluded": promweb(excluded_paths="/other"),
        "promweb, two objects": two,
        "promweb, group_by a function": promweb(group_by=tenant),
        "promweb, group_by endpoint": promweb(group_by="endpoint"),
        "promweb, a summary": promweb(default_latency_as_histogram=False),
        "promweb, a default label that is called": promweb(default_labels={"a": lambda: "b"}),
        "promweb, a counter on the view (deferral)": decorated("counter", {"a": "b"}),
        "promweb, a gauge on the view": decorated("gauge", {"a": "b"}),
        "promweb, no default metrics": promweb(export_defaults=False),
    }
    variants = [flask_variant(BARE), flask_variant(NULL)]
    variants += [flask_variant(name, prepare) for name, prepare in ways.items()]
    samples = compare(variants, batch=BATCH, seconds=effort.seconds(11))
    list(table.compared(samples))
    return table


def streams(effort: Effort) -> Table:
    """Compare bodies of ten chunks."""
    table = Table("10b. Flask, a streamed body of ten chunks (no goals)")

    def streaming(prepare: Callable[[flask.Flask], object]) -> Callable[[flask.Flask], None]:
        def prepare_both(app: flask.Flask) -> None:
            @app.route("/stream")
            def stream() -> flask.Response:
                return flask.Response(chunk for chunk in ["0123456789"] * 10)

            prepare(app)

        return prepare_both

    def nothing(app: flask.Flask) -> None:
        """Measure nothing."""

    variants = installed(
        lambda: flask_variant(BARE, streaming(nothing), path="/stream"),
        lambda: flask_variant(NULL, streaming(nothing), path="/stream"),
        lambda: flask_variant(OURS, streaming(programs.flask_promweb), path="/stream"),
        lambda: flask_variant(EXPORTER, streaming(programs.flask_exporter), path="/stream"),
    )
    list(table.compared(compare(variants, batch=BATCH, seconds=effort.seconds(4))))
    table.notes.append(f"{EXPORTER} ends its measurement at the headers.")
    return table


def threads(effort: Effort) -> Table:
    """Have several threads send requests of one route, that is, of one label set."""
    table = Table(f"10c. Flask, {THREADS} threads at once on one label set (no goals)")

    def variant(make: Callable[[], Variant]) -> Variant:
        single = make()

        def run(n: int) -> float:
            workers = [
                threading.Thread(target=single.run, args=(n // THREADS,)) for _ in range(THREADS)
            ]
            start = perf_counter()
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            return perf_counter() - start

        return Variant(single.name, run)

    variants = installed(
        lambda: variant(lambda: flask_variant(BARE)),
        lambda: variant(lambda: flask_variant(NULL)),
        lambda: variant(lambda: flask_variant(OURS, programs.flask_promweb)),
        lambda: variant(lambda: flask_variant(EXPORTER, programs.flask_exporter)),
    )
    list(table.compared(compare(variants, batch=400, seconds=effort.seconds(6))))
    return table


def tail(effort: Effort) -> Table:
    """Send requests from one thread while another renders 100,000 lines again and again."""
    lines = effort.count(100_000)
    table = Table(
        "10d. Flask with threads, a request during scrapes of 100,000 lines (no goals)",
        ("variant", "p50", "p99", "p99.9", "worst", "requests"),
    )
    request = flask_variant(OURS, programs.flask_promweb).run

    def row(name: str, scrape: Callable[[], object] | None) -> None:
        over = threading.Event()

        def scrape_on() -> None:
            while scrape is not None and not over.is_set():
                scrape()

        scraper = threading.Thread(target=scrape_on)
        scraper.start()
        taken: list[float] = []
        end = perf_counter() + effort.seconds(2.5)
        while perf_counter() < end:
            taken.append(request(1) or 0.0)
        over.set()
        scraper.join()
        cells = [f"{percentile(taken, p) * 1e3:.2f} ms" for p in (50, 99, 99.9, 100)]
        table.row(name, *cells, f"{len(taken)}")

    def scraped(cls: type[Program]) -> CollectorRegistry:
        program = cls(lines)
        program.serve()
        return program.registry

    row("no scrape", None)
    registry = scraped(Promweb)
    row("promweb", lambda: answer(registry))
    row("promweb, gzip", lambda: answer(registry, None, "gzip"))
    registry = scraped(Client)
    row("prometheus_client", lambda: generate_latest(registry))
    table.notes.append("A thread that wants the interpreter waits up to 5 ms for it.")
    return table


def growth(effort: Effort) -> list[Table]:
    """Send requests to more and more routes in turn, each a label set."""
    tables = []
    for routes in (1, 10, 100, 1000):
        table = Table(f"10e. Flask, {routes:,} routes in turn (no goals)")

        def variant(
            name: str, prepare: Callable[[flask.Flask], object], routes: int = routes
        ) -> Variant:
            app = programs.flask_app(prepare)
            for route in range(routes):
                app.add_url_rule(f"/route/{route}", f"route{route}", lambda: "hello")
            numbers: Iterator[int] = count()
            return Variant(
                name,
                programs.flask_requests(
                    app, lambda n: [f"/route/{next(numbers) % routes}" for _ in range(n)]
                ),
            )

        variants = installed(
            lambda: variant(BARE, lambda app: None),
            lambda: variant(NULL, lambda app: None),
            lambda: variant(OURS, lambda app: programs.flask_promweb(app, max_series=10_000)),
            lambda: variant(EXPORTER, programs.flask_exporter),
        )
        list(table.compared(compare(variants, batch=200, seconds=effort.seconds(2.5))))
        tables.append(table)
    return tables
