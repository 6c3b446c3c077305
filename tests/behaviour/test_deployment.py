"""promweb recognizes how a server runs it, and logs each problem once."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry

from promweb import PrometheusMetrics
from promweb import deployment as serving
from tests.support.legs import Leg

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _nothing_told() -> Iterator[None]:
    """Forget the warnings that this process has logged, before and after a test."""
    serving._warned.clear()
    yield
    serving._warned.clear()


class Arbiter:
    """The function of gunicorn that is on the stack when it loads an application."""

    def __init__(self, workers: object) -> None:
        self.cfg = SimpleNamespace(workers=workers)


exec(  # a function of gunicorn's module
    "def spawn_worker(self, load): return load()\ndef setup(self, load): return load()",
    caller := {"__name__": "gunicorn.arbiter"},
)


def served(workers: object, load: Callable[[], T], how: str = "spawn_worker") -> T:
    """Load an application as gunicorn does."""
    return caller[how](Arbiter(workers), load)  # type: ignore[no-any-return]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_several_workers_without_multiprocess_mode_are_warned_about_once(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    served(4, lambda: leg.make_metrics(leg.make_app()))
    served(4, lambda: leg.make_metrics(leg.make_app(), registry=CollectorRegistry()))
    assert messages(caplog) == [serving.SEVERAL]


@pytest.mark.parametrize("workers", [1, 0, None, "many"])
def test_one_worker_is_well(leg: Leg, caplog: pytest.LogCaptureFixture, workers: object) -> None:
    served(workers, lambda: leg.make_metrics(leg.make_app()))
    assert messages(caplog) == []


def test_server_of_another_version(leg: Leg, caplog: pytest.LogCaptureFixture) -> None:
    """Its variables may be called otherwise."""
    caller["spawn_worker"](object(), lambda: leg.make_metrics(leg.make_app()))
    assert messages(caplog) == []


def test_a_port_of_its_own_for_each_worker_is_well(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> None:
        metrics: Any = leg.make_metrics(leg.make_app(), path=None)
        metrics.start_http_server(0, "127.0.0.1").close()

    served(4, load)
    assert messages(caplog) == []


def start_preloaded(leg: Leg) -> int:
    """Serve metrics from gunicorn's first process; return the port."""

    def load() -> int:
        server = leg.make_metrics(leg.make_app(), path=None).start_http_server(0, "127.0.0.1")
        server.close()
        return int(server.port)

    return served(1, load, "setup")


def test_a_port_of_the_first_process_is_warned_about(
    leg: Leg, caplog: pytest.LogCaptureFixture
) -> None:
    port = start_preloaded(leg)
    assert messages(caplog) == [serving.PRELOADED.format(port=port)]


def test_a_port_of_the_first_process_is_well_in_multiprocess_mode(
    leg: Leg, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start_preloaded(leg)
    assert messages(caplog) == []


@pytest.mark.parametrize("is_master", [True, False])
def test_a_port_of_uwsgis_master(
    leg: Leg, is_master: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    master = os.getpid() if is_master else os.getppid()
    module: Any = SimpleNamespace(numproc=2, masterpid=lambda: master)
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    server = leg.make_metrics(leg.make_app(), path=None).start_http_server(0, "127.0.0.1")
    server.close()
    told = [serving.PRELOADED.format(port=server.port)] if is_master else []
    assert messages(caplog) == told


def test_multiprocess_mode_is_well(
    leg: Leg, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served(4, lambda: leg.make_metrics(leg.make_app()))
    assert messages(caplog) == []


def test_processes_of_uwsgi(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(numproc=2))  # type: ignore[misc]
    leg.make_metrics(leg.make_app())
    assert messages(caplog) == [serving.SEVERAL]


def test_a_directory_on_a_network_file_system_is_warned_about(
    leg: Leg, shared: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "network_file_system", lambda path: "nfs4")
    leg.make_metrics(leg.make_app())
    (message,) = messages(caplog)
    assert f"{shared}, is on a network file system (nfs4)" in message


@pytest.mark.parametrize(
    ("point", "kind", "found"),
    [
        ("/", "nfs4", "nfs4"),
        ("/", "ext4", ""),
        ("{path}", "cifs", "cifs"),
        ("{path}x", "cifs", ""),
        ("{parent}", "fuse.sshfs", "fuse.sshfs"),
        ("{parent}", "fuse.fuse-overlayfs", ""),
    ],
)
def test_the_kind_of_file_system(tmp_path: Path, point: str, kind: str, found: str) -> None:
    path = tmp_path / "with space"
    path.mkdir()
    place = point.format(path=path, parent=tmp_path).replace(" ", "\\040")
    mounts = tmp_path / "mounts"
    root = "one / ext4 rw 0 0\n"
    after = "" if place == "/" else root
    mounts.write_text(f"{root}nonsense\ntwo {place} {kind} rw 0 0\n{after}")
    assert serving.network_file_system(str(path), str(mounts)) == found
    assert serving.network_file_system(str(path), str(tmp_path / "none")) == ""


@pytest.mark.parametrize(
    ("environ", "is_one"),
    [
        ({"SERVER_SOFTWARE": "gunicorn/23.0.0"}, True),
        ({"SERVER_SOFTWARE": "Werkzeug/3.1"}, True),
        ({"uwsgi.version": b"2"}, True),
        ({"mod_wsgi.version": (5, 0)}, True),
        ({}, False),  # adapters from ASGI do not know, and say so
        ({"SERVER_SOFTWARE": "gunicorn/23.0.0", "wsgi.multiprocess": False}, False),
    ],
)
def test_what_the_server_says_with_a_request(
    environ: dict[str, Any], is_one: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = Flask(__name__)
    PrometheusMetrics(app, registry=CollectorRegistry())
    given = {"wsgi.multiprocess": True, **environ}
    for _ in range(2):
        assert app.test_client().get("/metrics", environ_overrides=given).status_code == 200
    assert messages(caplog) == ([serving.SEVERAL] if is_one else [])
