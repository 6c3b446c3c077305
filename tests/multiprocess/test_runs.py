"""Runs: what a former one left is gone, and nothing of one that goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, values

from promweb.core.families.kinds import CounterFamily
from promweb.multiprocess import setup
from promweb.multiprocess.files import file_names
from promweb.multiprocess.lifecycle import processes
from promweb.multiprocess.lifecycle.runs import Run, begin, this_run
from tests.support import workers
from tests.support.workers import value

from .test_compaction import files, read


@pytest.fixture(autouse=True)
def _fresh(unshared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Act like a process that has not used any directory."""
    monkeypatch.setattr(setup, "_storages", {})


def sell(directory: Path, item: str) -> None:
    storage = setup.storage_of(str(directory))
    assert storage is not None
    family = CounterFamily("sold", "", ("item",))
    workers.keep(storage, family)
    family.child((item,)).inc()


class Server:
    """A process that starts workers on command."""

    def __init__(self, directory: Path, item: str) -> None:
        self._order, self._answer = os.pipe(), os.pipe()

        def serve() -> None:
            os.close(self._order[1])
            while os.read(self._order[0], 1):
                workers.run(lambda: sell(directory, item))
                os.write(self._answer[1], b"x")

        self.pid = workers.start(serve)
        os.close(self._order[0])

    def start_worker(self) -> None:
        """Start a worker that sells something and ends."""
        os.write(self._order[1], b"x")
        workers.told(self._answer[0])

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        workers.join(self.pid)


def sold(directory: Path) -> dict[str, float]:
    return {
        dict(labels)["item"]: number
        for (name, labels), number in read(directory).items()
        if name == "sold_total"
    }


def test_a_command_beside_a_server_without_a_worker_removes_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path, "tea")
    server.start_worker()
    workers.run(lambda: workers.run(lambda: sell(tmp_path, "command")))
    server.start_worker()
    assert sold(tmp_path) == {"tea": 2, "command": 1}
    server.kill()
    # The next one finds nothing of either.
    server = Server(tmp_path, "milk")
    server.start_worker()
    assert sold(tmp_path) == {"milk": 1}
    server.kill()


def test_a_server_that_restarts_beside_another_begins_at_zero(tmp_path: Path) -> None:
    """Such as a web server and a queue's workers with one environment."""
    queue, server = Server(tmp_path, "queue"), Server(tmp_path, "old")
    for one in (queue, server, queue, server):
        one.start_worker()
    server.kill()
    server = Server(tmp_path, "new")
    server.start_worker()
    queue.start_worker()
    assert sold(tmp_path) == {"queue": 3, "new": 1}
    server.kill()
    queue.kill()


def test_a_server_whose_worker_outlives_it_keeps_its_numbers(tmp_path: Path) -> None:
    ready = os.pipe()

    def server() -> None:
        def worker() -> None:
            sell(tmp_path, "tea")
            os.write(ready[1], b"%d\n" % os.getpid())
            signal.pause()

        workers.start(worker)
        signal.pause()

    pid = workers.start(server)
    worker = int(os.read(ready[0], 20))
    os.kill(pid, signal.SIGKILL)
    workers.join(pid)
    workers.run(lambda: sell(tmp_path, "milk"))
    assert sold(tmp_path) == {"tea": 1, "milk": 1}
    os.kill(worker, signal.SIGKILL)


ELSEWHERE = "pid:[1]"


@pytest.mark.parametrize(
    ("boot", "namespace", "start", "is_over"),
    [
        (None, None, None, False),
        ("another", None, None, True),
        (None, None, 1, True),  # its pid is that of another process now
        (None, ELSEWHERE, None, None),
    ],
)
def test_what_tells_that_a_run_is_over(
    boot: str | None, namespace: str | None, start: int | None, is_over: bool | None
) -> None:
    here = Run(*processes.place(), os.getpid(), processes.started(os.getpid()))
    run = Run(boot or here.boot, namespace or here.namespace, here.pid, start or here.start)
    assert run.is_over is is_over


def test_a_run_of_another_container_is_judged_by_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot, _ = processes.place()
    ready = os.pipe()

    def container(item: str) -> None:
        monkeypatch.setattr(processes, "place", lambda: (boot, f"pid:[{item}]"))
        sell(tmp_path, item)
        os.write(ready[1], b"x")
        signal.pause()

    pids = {item: workers.start(lambda item=item: container(item)) for item in ("1", "2")}
    for _ in pids:
        workers.told(ready[0])
    os.kill(pids["1"], signal.SIGKILL)
    workers.join(pids["1"])
    workers.run(lambda: sell(tmp_path, "here"))
    assert sold(tmp_path) == {"2": 1, "here": 1}
    os.kill(pids["2"], signal.SIGKILL)
    workers.join(pids["2"])


def test_a_record_that_is_broken_is_no_run(tmp_path: Path) -> None:
    sell(tmp_path, "tea")
    record = tmp_path / file_names.RUNS
    record.write_bytes(b'nonsense\n\xff\n[1]\n{"a": 1}\n' + record.read_bytes())
    begin(str(tmp_path), Run("another", ELSEWHERE, 1, 1))
    assert [json.loads(line)[2] for line in record.read_text().splitlines()] == [
        this_run().pid,
        1,
    ]
    assert sold(tmp_path) == {"tea": 1}


def test_without_proc_a_pid_has_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PROC", "/nowhere")
    assert this_run() == Run("-", "-", os.getppid() if processes.is_worker() else os.getpid(), None)
    assert Run("-", "-", os.getpid(), None).is_over is False
    assert Run("-", "-", workers.run(lambda: None), None).is_over is True


def test_a_process_of_another_user_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(processes, "_PROC", "/nowhere")
    monkeypatch.setattr(os, "kill", kill)
    assert Run("-", "-", 1, None).is_over is False


def test_a_worker_that_may_not_look_at_its_parent_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that runs as root, with workers that do not."""

    def readlink(path: str) -> str:
        raise PermissionError

    monkeypatch.setattr(os, "readlink", readlink)
    workers.run(lambda: check(processes.is_worker()))


def test_whoever_has_a_process_group_of_its_own_is_no_worker() -> None:
    """Supervisors give each service one."""

    def service() -> None:
        os.setpgid(0, 0)
        assert this_run().pid == os.getpid()
        workers.run(lambda: check(this_run().pid == os.getppid()))

    workers.run(service)


def check(fact: bool) -> None:
    assert fact


SERVICE = """
    from prometheus_client import Counter
    jobs = Counter("jobs", "Made before promweb's object")
    from flask import Flask
    from promweb import PrometheusMetrics
    app = Flask("shop")
    metrics = PrometheusMetrics(app)
    app.test_client().get("/")
    jobs.inc()
    names = ["jobs_total", "flask_http_request_total"]
    for line in metrics.generate_metrics(names=names)[0].splitlines():
        if not line.startswith("#"):
            print(line.rpartition(" ")[2])
"""


def outputs(command: list[str], directory: Path) -> list[str]:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory), "CODE": SERVICE_CODE}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


SERVICE_CODE = textwrap.dedent(SERVICE)
PYTHON = f'"{sys.executable}" -c "$CODE"'


@pytest.mark.parametrize("pid_1", ["the application", "a shell"])
def test_a_container_that_restarts_with_its_directory(pid_1: str, tmp_path: Path) -> None:
    """Its processes have the same pids again."""
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"]).returncode:
        if os.environ.get("CI"):
            pytest.fail("namespaces need root")
        pytest.skip("namespaces need root")
    shell = f"exec {PYTHON}" if pid_1 == "the application" else f"{PYTHON}; :"
    for _ in range(2):
        assert outputs([*unshare, "sh", "-c", shell], tmp_path) == ["1.0", "1.0"]


def test_a_program_that_a_shell_starts_again(tmp_path: Path) -> None:
    """Like `uvicorn.run` in a script: each is a server of its own, with one parent."""
    found = outputs(["sh", "-c", f"{PYTHON}; {PYTHON}; :"], tmp_path)
    assert found == ["1.0", "1.0", "1.0", "1.0"]


def test_files_that_prometheus_client_made_before_are_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later process with the same pid would go on with their numbers."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

    def work() -> None:
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
        hits = Counter("hits", "", registry=CollectorRegistry())
        hits.inc()
        # A process in another container may have the same pid.
        (tmp_path / f"summary_{os.getpid()}.db").touch()
        assert processes.Living(str(tmp_path)).is_mine(f"counter_{os.getpid()}.db")
        assert not processes.Living(str(tmp_path)).is_mine(f"summary_{os.getpid()}.db")
        sell(tmp_path, "tea")
        assert list(tmp_path.glob(f"*_{os.getpid()}.db")) == []
        hits.inc()
        assert value(read(tmp_path), "hits_total") == 2

    workers.run(work)
    found = read(tmp_path, compact=True)
    assert value(found, "hits_total") == 2
    assert "counter.compacted" in files(tmp_path)
