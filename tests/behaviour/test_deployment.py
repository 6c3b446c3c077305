"""What can be told of the server without a doubt, and what promweb logs about it, once."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry

from promweb import PrometheusMetrics
from promweb import deployment as serving
from tests.support.legs import Leg


@pytest.mark.parametrize(
    ("command", "environ", "workers"),
    [
        ("gunicorn -w 4 app:app", {}, 4),
        ("/usr/bin/gunicorn -w4 app:app", {}, 4),
        ("gunicorn --workers=4 app:app", {}, 4),
        ("gunicorn app:app --workers 4", {}, 4),
        ("gunicorn app:app", {"WEB_CONCURRENCY": "3"}, 3),
        ("gunicorn app:app", {"GUNICORN_CMD_ARGS": "--workers=5"}, 5),
        ("gunicorn -w 2 app:app", {"GUNICORN_CMD_ARGS": "--workers=5"}, 2),
        ("gunicorn app:app", {"GUNICORN_CMD_ARGS": "'"}, 0),
        ("gunicorn -c other.py app:app", {"WEB_CONCURRENCY": "3"}, 0),
        ("gunicorn -w", {}, 0),
        ("gunicorn", {"WEB_CONCURRENCY": "many"}, 0),
        ("/lib/uvicorn/__main__.py app:app --workers 4", {}, 4),
        ("uvicorn app:app", {"WEB_CONCURRENCY": "3"}, 3),
        ("uvicorn app:app --reload --workers 4", {}, 0),
        ("hypercorn -w 4 app:app", {}, 4),
        ("hypercorn app:app", {"WEB_CONCURRENCY": "3"}, 0),
        ("granian --interface asgi --workers 2 app:app", {}, 2),
        ("waitress-serve -w 4 app:app", {"WEB_CONCURRENCY": "3"}, 0),
        ("pytest -w 4", {"WEB_CONCURRENCY": "3"}, 0),
        ("", {}, 0),
    ],
)
def test_what_a_command_line_asks_for(
    command: str,
    environ: dict[str, str],
    workers: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert serving.workers_asked_for(command.split(), environ) == workers


def test_a_configuration_file_may_say_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gunicorn.conf.py").touch()
    assert serving.workers_asked_for(["gunicorn"], {"WEB_CONCURRENCY": "3"}) == 0
    assert serving.workers_asked_for(["gunicorn", "-w", "2"], {"WEB_CONCURRENCY": "3"}) == 2


def served(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(sys, "argv", command.split())
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    monkeypatch.delenv("GUNICORN_CMD_ARGS", raising=False)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_several_workers_without_multiprocess_mode_are_warned_about_once(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served(monkeypatch, "gunicorn -w 4 app:app")
    leg.make_metrics(leg.make_app())
    leg.make_metrics(leg.make_app())
    assert messages(caplog) == [serving.SEVERAL]


@pytest.mark.parametrize("command", ["gunicorn -w 1 app:app", "gunicorn app:app", "flask run"])
def test_one_worker_is_well(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    served(monkeypatch, command)
    leg.make_metrics(leg.make_app())
    assert messages(caplog) == []


def test_a_port_of_its_own_for_each_worker_is_well(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served(monkeypatch, "gunicorn -w 4 app:app")
    metrics: Any = leg.make_metrics(leg.make_app(), path=None)
    metrics.start_http_server(0, "127.0.0.1").close()
    assert messages(caplog) == []


def test_multiprocess_mode_is_well(
    leg: Leg, shared: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served(monkeypatch, "gunicorn -w 4 app:app")
    leg.make_metrics(leg.make_app())
    assert messages(caplog) == []


def test_processes_of_uwsgi(
    leg: Leg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served(monkeypatch, "uwsgi")
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
