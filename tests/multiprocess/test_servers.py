"""Every server with four workers: restarts, a worker that is killed, and no request lost."""

from __future__ import annotations

import os
import signal
from itertools import accumulate
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from tests.support.hanging import WAITS_FOR_DISCONNECT
from tests.support.needs import module, program
from tests.support.protobuf import ACCEPT, families
from tests.support.waiting import DEADLINE, eventually
from tests.support.worker_servers import (
    CLIENTS,
    WORKERS,
    Kind,
    Load,
    Scrape,
    Server,
    load,
    serving,
    watch,
)

ASGI_KEEPS_ALIVE = not WAITS_FOR_DISCONNECT
"""Whether gunicorn's worker class asgi answers more than 16 requests of one connection. From 0.23
on Quart waits for a message that the worker does not send then."""

FLASK, QUART = "tests.support.wsgi_worker:app", "tests.support.asgi_worker:app"
GUNICORN = "gunicorn --workers 4 --bind 127.0.0.1:{port} --log-level warning"
HOOKS = "--config python:tests.support.gunicorn_worker"
UWSGI = (
    "uwsgi --http-socket 127.0.0.1:{port} --home {prefix} --module tests.support.wsgi_worker:app "
    "--master --processes 4 --need-app --die-on-term --disable-logging --worker-reload-mercy 5"
)
GRANIAN = "granian --workers 4 --port {port} --respawn-failed-workers --respawn-interval 1"

KINDS = {
    "gunicorn sync": Kind(f"{GUNICORN} {FLASK}"),
    "gunicorn sync, max_requests": Kind(
        f"{GUNICORN} --max-requests 100 --max-requests-jitter 50 {FLASK}"
    ),
    "gunicorn sync, preload, Internal": Kind(
        f"{GUNICORN} --preload {HOOKS} {FLASK}",
        metrics="promweb.multiprocess:GunicornInternalPrometheusMetrics",
    ),
    "gunicorn gthread, own port": Kind(
        f"{GUNICORN} -k gthread --threads 2 {HOOKS} {FLASK}",
        metrics="promweb.multiprocess:GunicornPrometheusMetrics",
    ),
    "gunicorn gevent": Kind(f"{GUNICORN} -k gevent {FLASK}", imports="gevent"),
    "gunicorn gevent, preload": Kind(f"{GUNICORN} -k gevent --preload {FLASK}", imports="gevent"),
    "gunicorn uvicorn, own port": Kind(
        f"{GUNICORN} -k uvicorn_worker.UvicornWorker {HOOKS} {QUART}",
        imports="uvicorn_worker",
        metrics="promweb.multiprocess:GunicornPrometheusMetrics",  # in the configuration only
    ),
    "gunicorn asgi": Kind(f"{GUNICORN} -k asgi {QUART}", keeps_alive=ASGI_KEEPS_ALIVE),
    "gunicorn asgi, preload": Kind(
        f"{GUNICORN} -k asgi --preload {QUART}", keeps_alive=ASGI_KEEPS_ALIVE
    ),
    "uwsgi": Kind(UWSGI, keeps_alive=False),
    "uwsgi threads, own port": Kind(
        f"{UWSGI} --threads 2",
        metrics="promweb.multiprocess:UWsgiPrometheusMetrics",
        keeps_alive=False,
    ),
    "uwsgi lazy-apps, max_requests": Kind(
        f"{UWSGI} --lazy-apps --max-requests 150", keeps_alive=False
    ),
    "uwsgi lazy-apps, own port": Kind(
        f"{UWSGI} --lazy-apps --enable-threads",
        metrics="promweb.multiprocess:UWsgiPrometheusMetrics",
        keeps_alive=False,
    ),
    "uvicorn": Kind(
        f"uvicorn --workers 4 --port {{port}} --log-level warning "
        f"--timeout-worker-healthcheck 60 {QUART}",
    ),
    "hypercorn": Kind(f"hypercorn --workers 4 --bind 127.0.0.1:{{port}} {QUART}", is_abrupt=True),
    "granian wsgi": Kind(f"{GRANIAN} --interface wsgi {FLASK}"),
    "granian asgi": Kind(f"{GRANIAN} --interface asgi {QUART}"),
    "flask processes": Kind(
        "python -m tests.support.wsgi_worker {port}",
        restart=None,
        metrics="promweb.multiprocess:MultiprocessInternalPrometheusMetrics",
        requests=400,  # each of them has a process of its own, so there are as many workers
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_no_request_is_lost_or_counted_twice(name: str, tmp_path: Path) -> None:
    kind = installed(KINDS[name])
    with serving(kind, tmp_path) as server, watch(server) as watching:
        counted = 0.0
        if not kind.is_abrupt:
            with load(server) as clients:
                kill_one(server, clients)
                clients.reaches(kind.requests)
            server.shows(lambda scrape: scrape.in_progress == 0)
            counted = agreed(server)
            least, most = countable(clients)
            assert least <= counted <= most

        with load(server) as clients:
            restart_all(server, clients)
            clients.reaches(kind.requests)
        # No worker was killed since: every request counts, and once.
        least = counted + clients.answered
        most = least + (clients.failed if kind.is_abrupt else 0)
        server.shows(lambda scrape: scrape.requests >= least)
        assert least <= agreed(server) <= most, (clients.answered, clients.failed)
        assert clients.statuses == {200}
    assert watching.faults == []
    assert watching.scrapes > 10


def test_hypercorn_ends_with_a_killed_worker_and_leaves_the_numbers(tmp_path: Path) -> None:
    with serving(installed(KINDS["hypercorn"]), tmp_path) as server:
        with load(server) as clients:
            kill_one(server, clients)
            server.process.wait(DEADLINE)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(tmp_path / "metrics"))
        least, most = countable(clients)
        assert least <= Scrape(generate_latest(registry).decode(), "").requests <= most


def test_native_counts_are_those_of_answered_requests(tmp_path: Path) -> None:
    """One worker is killed, and twelve are replaced."""
    name = "flask_http_request_duration_seconds"
    with serving(installed(KINDS["gunicorn sync"]), tmp_path, NATIVE="1") as server:
        with load(server) as early:
            early.reaches(100)
        held = server.hold()
        os.kill(held.worker, signal.SIGKILL)
        held.connection.close()
        with load(server) as late:
            for _ in range(3):
                restart_all(server, late)
        answered = early.answered + late.answered
        server.shows(lambda scrape: scrape.requests >= answered)
        (family,) = [one for one in families(server.exposition(ACCEPT)[0]) if one.name == name]
        native = [one.histogram for one in family.metric]
        assert sum(one.sample_count for one in native) == answered
        assert sum(sum(accumulate(one.positive_delta)) for one in native) == answered
        assert server.scrape().sum(f"{name}_count") == answered
    assert len(late.workers) >= 12


def installed(kind: Kind) -> Kind:
    """Return the kind if it is installed; else skip the test."""
    program(kind.command.split()[0])
    if kind.imports:
        module(kind.imports)
    return kind


def kill_one(server: Server, clients: Load) -> None:
    """Kill a worker that has a request in progress, under load."""
    held = server.hold()
    clients.reaches(300)
    os.kill(held.worker, signal.SIGKILL)
    held.connection.close()


def countable(clients: Load) -> tuple[int, int]:
    """Return how many requests may have been counted when a worker was killed: least and most.

    It may have counted what it could not send any more, or not have counted what it had just sent;
    the latter is at most one request of each client.
    """
    return clients.answered - CLIENTS, clients.answered + clients.failed


def restart_all(server: Server, clients: Load) -> None:
    """Replace all workers under load, once each of them has answered.

    A worker of granian ignores a signal that comes while it loads the application, and granian then
    waits for that worker for ever.
    """
    clients.reaches(300)
    if server.kind.restart is not None:
        eventually(lambda: len(clients.workers) >= WORKERS)
        before = set(clients.workers)
        server.process.send_signal(server.kind.restart)
        eventually(lambda: len(clients.workers - before) >= WORKERS)


def agreed(server: Server) -> float:
    """Return the number of requests that several workers show, once they show the same one.

    A request whose client saw a connection break may still be running. On a busy machine one worker
    may answer all scrapes for a while.
    """
    counted: set[float] = set()

    def do_agree() -> bool:
        found = server.scrapes()
        counted.clear()
        counted.update(scrape.requests for scrape in found)
        are_several = server.kind.own_port or len({scrape.worker for scrape in found}) > 1
        return are_several and len(counted) == 1

    eventually(do_agree)
    return counted.pop()


def test_a_scrape_stays_flat_over_a_hundred_restarts_under_invented_paths(tmp_path: Path) -> None:
    """Prints label sets and bytes of a scrape; `-s` shows them."""
    max_series, requests, restarts = 20, 3, (10, 50, 100)
    kind = installed(Kind(f"{GUNICORN} --preload --max-requests {requests} {FLASK}"))
    workers: set[str] = set()
    answered = 0
    shown: list[list[str]] = []
    with serving(kind, tmp_path, MAX_SERIES=str(max_series)) as server:
        for wanted in restarts:
            while len(workers) < wanted + WORKERS:
                status, worker = server.get(f"/item/{answered}")
                assert status == 200
                answered += 1
                workers.add(worker)
            found = server.scrape()
            assert found.requests == answered
            assert len(label_sets(found)) <= max_series + WORKERS * requests
            # New workers have no label sets: all that is left is of dead ones.
            server.process.send_signal(signal.SIGHUP)
            server.shows(lambda scrape: len(label_sets(scrape)) == max_series)
            found = server.scrape()
            assert found.requests == answered
            shown.append(sorted(found.values))
            size = sum(map(len, found.values))
            print(f"{wanted} restarts: {len(label_sets(found))} label sets, {size} bytes of names")
    assert shown[0] == shown[1] == shown[2]
    assert answered > 10 * max_series


def label_sets(scrape: Scrape) -> list[str]:
    return [name for name in scrape.values if "duration_seconds_count{" in name]
