"""Faults of the files that workers share, while requests and scrapes go on."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from promweb.multiprocess.file_storage import FileStorage
from tests.support.legs import Leg
from tests.support.registries import collectors

from .seams import COUNTS, Log, answers, bare, fail, log, route

__all__ = ["log"]


def make_app(leg: Leg) -> Any:
    app = leg.make_app()
    app.logger.disabled = True
    metrics = leg.make_metrics(app, in_progress=True, response_size=True)
    return route(leg, app, lambda view: metrics.gauge("busy", "Busy.")(view))


def scraped(leg: Leg, app: Any) -> dict[tuple[str, str], float]:
    """Return the number of requests in a scrape, by method and status."""
    return {
        (sample.labels["method"], sample.labels["status"]): sample.value
        for metric in text_string_to_metric_families(leg.get(app, "/metrics").text)
        for sample in metric.samples
        if sample.name == "flask_http_request_total"
    }


def times(number: int) -> dict[tuple[str, str], float]:
    return {key: number * value for key, value in COUNTS.items()}


def fill(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)


def remove(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(directory)


BREAKS: dict[str, Callable[[Path, pytest.MonkeyPatch], None]] = {"full": fill, "gone": remove}


@pytest.mark.parametrize("breaks", BREAKS)
@pytest.mark.parametrize("early", [True, False], ids=["early", "late"])
def test_no_room_for_files(
    leg: Leg, shared: Path, monkeypatch: pytest.MonkeyPatch, log: Log, breaks: str, early: bool
) -> None:
    app = make_app(leg)
    expected = bare(leg)
    if not early:
        assert answers(leg, app) == expected
    BREAKS[breaks](shared, monkeypatch)
    for _ in range(2):
        assert answers(leg, app) == expected
    assert leg.get(app, "/metrics").status == 200
    assert len(log.messages) == len(set(log.messages))
    if early:
        said = "cannot write" if breaks == "full" else "removed promweb's files"
        assert any(said in message for message in log.messages)
    elif breaks == "full":  # label sets with a place in a file keep it
        assert scraped(leg, app) == times(3)


@pytest.mark.parametrize("size", [0, 4, 100, 5000])
def test_file_of_a_worker_that_is_cut_off(leg: Leg, shared: Path, log: Log, size: int) -> None:
    app = make_app(leg)
    expected = bare(leg)
    assert answers(leg, app) == expected
    for path in shared.glob("*.db"):
        dead = path.name.replace(f"_{os.getpid()}.db", "_99999999.db")
        (shared / dead).write_bytes(path.read_bytes())
    assert scraped(leg, app) == times(2)
    for path in shared.glob("*_99999999.db*"):
        os.truncate(path, size)
    assert answers(leg, app) == expected
    found = scraped(leg, app)
    assert all(times(2)[key] <= found[key] <= times(4)[key] for key in COUNTS)
    assert leg.get(app, "/metrics").status == 200
    assert len(log.messages) == len(set(log.messages))


def test_worker_that_gets_no_files(
    leg: Leg, shared: Path, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """A forked one needs files of its own, and for them a thread and memory."""
    app = make_app(leg)
    expected = bare(leg)
    assert answers(leg, app) == expected
    for family in collectors(leg.registry):
        for child in getattr(family, "children", {}).values():
            child.clear()
    with monkeypatch.context() as broken:
        broken.setattr(FileStorage, "places", fail)
        assert answers(leg, app) == expected
    assert len(log.messages) == len(set(log.messages)) > 0
    assert answers(leg, app) == expected
