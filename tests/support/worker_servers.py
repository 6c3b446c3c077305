"""Servers with several worker processes, load on them, and their scrapes meanwhile."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from promweb.multiprocess.lifecycle.processes import started

from .needs import PATH
from .paths import ROOT
from .running import background, run
from .servers import free_port
from .waiting import DEADLINE, eventually

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""Runs a command as PID 1 of a namespace of its own."""

WORKERS = 4
ANSWER = b"done"
"""The applications' answer to the load."""
CLIENTS = 8

Samples = Mapping[str, float]


@dataclass(frozen=True)
class Kind:
    """A server, and how it is run."""

    command: str
    """`{port}` is where it shall listen."""
    imports: str = ""
    """The package that its workers need."""
    restart: signal.Signals | None = signal.SIGHUP
    """The signal that makes the first process restart all workers; None if only time does."""
    metrics: str = "promweb:PrometheusMetrics"
    """The class; of those that have the metrics on a port of their own, it is `METRICS_PORT`."""
    keeps_alive: bool = True
    """Whether clients may keep connections: each of them may keep a worker, too."""
    is_abrupt: bool = False
    """Whether a restart cuts answers off, and the server ends when a worker is killed."""
    requests: int = 1000
    """How many requests are answered at least while a worker is killed, or all are replaced."""

    @property
    def own_port(self) -> bool:
        return self.metrics.endswith((":GunicornPrometheusMetrics", ":UWsgiPrometheusMetrics"))


class Server:
    """A server that runs."""

    def __init__(
        self,
        kind: Kind,
        process: subprocess.Popen[bytes],
        ports: tuple[int, int],
        log: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.kind = kind
        self.process = process
        self.port = ports[0]
        self._metrics_port = ports[kind.own_port]
        self.log = log
        self._environment = environment

    def connect(self, port: int | None = None) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=DEADLINE)

    def shows(self, condition: Callable[[Scrape], object]) -> None:
        """Wait until a scrape fulfils a condition; the server may not answer at first."""

        def holds() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            with suppress(OSError, http.client.HTTPException):
                return bool(condition(self.scrape()))
            return False

        eventually(holds)

    def scrape(self) -> Scrape:
        """Return what a scrape says, on a connection of its own."""
        content, worker = self.exposition("")
        return Scrape(content.decode(), worker)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return a scrape's content, on a connection of its own, and the worker."""
        connection = self.connect(self._metrics_port)
        try:
            headers = {"Connection": "close", "Accept": accept}
            connection.request("GET", "/metrics", headers=headers)
            response = connection.getresponse()
            content = response.read()
            if response.getheader("Content-Length") is None:  # killed while it sent the headers
                raise http.client.IncompleteRead(content)
            assert response.status == 200, content
            return content, response.getheader("X-Worker", "")
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, str]:
        """Send a request on a connection of its own; return the status and the worker."""
        connection = self.connect()
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            response.read()
            return response.status, response.getheader("X-Worker", "")
        finally:
            connection.close()

    def run_in_container(self, *command: str) -> None:
        """Run a command in the server's container and environment; it must succeed."""
        enter = f"nsenter --target {first_process(self.process)} --pid --mount"
        run([*enter.split(), *command], env=self._environment, check=True)

    def scrapes(self) -> list[Scrape]:
        """Return some scrapes at the same time, so that several workers have to answer."""
        with ThreadPoolExecutor(2 * WORKERS) as pool:
            return list(pool.map(lambda _: self.scrape(), range(4 * WORKERS)))

    def hold(self) -> Held:
        """Make a request stay in a worker."""
        connection = self.connect()
        connection.request("GET", "/hold")
        response = connection.getresponse()
        assert response.read(5) == b"begun"
        return Held(int(response.getheader("X-Worker", "")), connection)


@dataclass(frozen=True)
class Held:
    """A request that is in a worker."""

    worker: int
    connection: http.client.HTTPConnection


class Scrape:
    """A parsed scrape."""

    def __init__(self, text: str, worker: str) -> None:
        self.worker = worker
        self.values: dict[str, float] = {}
        """The samples of everything that can only grow; a worker's own end with the worker."""
        self.gauges: dict[str, float] = {}
        kind = ""
        for line in text.splitlines():
            if line.startswith("# TYPE"):
                kind = line.rpartition(" ")[2]
            elif not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                grows = kind != "gauge" and 'pid="' not in name
                (self.values if grows else self.gauges)[name] = float(value)

    def sum(self, name: str) -> float:
        """Return the sum of all samples of a name."""
        samples = {**self.values, **self.gauges}
        return sum(value for key, value in samples.items() if key.partition("{")[0] == name)

    @property
    def requests(self) -> float:
        return self.sum("flask_http_request_total")

    @property
    def in_progress(self) -> float:
        return self.sum("flask_http_requests_in_progress")


@contextmanager
def serving(
    kind: Kind, directory: Path, *, contained: bool = False, **environ: str
) -> Iterator[Server]:
    """Run a server; the workers share what they write in the directory.

    With `contained`, it is PID 1 of its own namespace, and killed at the end.
    """
    ports = free_port(), free_port()
    log = directory / "log"
    # Without coverage, which would write a file for each of thousands of processes.
    inherited = {key: value for key, value in os.environ.items() if "COVERAGE" not in key}
    environment = {
        **inherited,
        "PROMETHEUS_MULTIPROC_DIR": str(directory / "metrics"),
        "METRICS": kind.metrics,
        "METRICS_PORT": str(ports[1]),
        "PYTHONPATH": str(ROOT),
        "PATH": PATH,
        **environ,
    }
    command = kind.command.format(port=ports[0], prefix=sys.prefix).split()
    if contained:
        command = [*CONTAINER, *command]
    with background(command, log, env=environment, ends=not contained) as process:
        server = Server(kind, process, ports, log, environment)
        server.shows(lambda scrape: True)
        first = first_process(process) if contained else None
        yield server
    eventually(lambda: first is None or started(first) is None)


def first_process(container: subprocess.Popen[bytes]) -> int:
    """Return the process that is PID 1 in a container."""
    (first,) = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()
    return int(first)


class Load:
    """Clients that send requests until `stop`; every other one keeps connections."""

    def __init__(self, server: Server) -> None:
        self.answered = 0
        """Requests whose answers arrived whole."""
        self.failed = 0
        """Requests of which something was sent, and no whole answer arrived."""
        self.workers: set[int] = set()
        self.statuses: set[int] = set()
        self._server = server
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._clients = [
            threading.Thread(target=self._run, args=(server.kind.keeps_alive and number % 2 == 0,))
            for number in range(CLIENTS)
        ]
        for client in self._clients:
            client.start()

    def reaches(self, answered: int) -> None:
        """Wait until so many requests were answered."""
        eventually(lambda: self.answered >= answered)

    def stop(self) -> None:
        """Let every client finish its request, and wait for that."""
        self._over.set()
        for client in self._clients:
            client.join()

    def _run(self, keeps: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        headers = {} if keeps else {"Connection": "close"}
        while not self._over.wait(0.005):  # or the load leaves servers no time to restart
            if connection is None:
                connection = self._server.connect()
                try:
                    connection.connect()
                except OSError:  # nothing listens
                    connection = None
                    continue
            try:
                connection.request("GET", "/", headers=headers)
                response = connection.getresponse()
                body = response.read()
                if response.status == 200 and body != ANSWER:  # killed while it sent the headers
                    raise http.client.IncompleteRead(body)
            except (OSError, http.client.HTTPException):
                with self._lock:
                    self.failed += 1
                connection.close()
                connection = None
                continue
            with self._lock:
                self.answered += 1
                self.statuses.add(response.status)
                self.workers.add(int(response.getheader("X-Worker", "0")))
            if response.will_close or not keeps:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


@contextmanager
def load(server: Server) -> Iterator[Load]:
    clients = Load(server)
    try:
        yield clients
    finally:
        clients.stop()


class Watch:
    """Scrapes again and again, and notes values that fall or vanish, and failed scrapes."""

    def __init__(self, server: Server) -> None:
        self.scrapes = 0
        self.faults: list[str] = []
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        before: Samples = {}
        while not self._over.wait(0.05):
            try:
                after = self._server.scrape().values
            except (OSError, http.client.HTTPException):
                continue  # the worker that would have answered is gone
            except Exception as error:
                self.faults.append(repr(error))
                continue
            self.scrapes += 1
            self.faults += [
                f"{name} was {value} and is {after.get(name)}"
                for name, value in before.items()
                if after.get(name, -1.0) < value
            ]
            before = after


@contextmanager
def watch(server: Server) -> Iterator[Watch]:
    watching = Watch(server)
    try:
        yield watching
    finally:
        watching.stop()
