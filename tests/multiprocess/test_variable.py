"""The variable comes and goes, as in tests that set and unset it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, values

from promweb.multiprocess import enable, setup
from tests.support import workers
from tests.support.legs import Leg
from tests.support.workers import value

from .test_compaction import read


@pytest.fixture(autouse=True)
def _fresh(unshared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Act like a process that has not used any directory."""
    monkeypatch.setattr(setup, "_storages", {})
    monkeypatch.setattr(setup, "_unusable", set())


def requests(leg: Leg) -> float | None:
    """Return how many requests a new application shows after one."""
    app = leg.make_app()
    leg.make_metrics(app, registry=CollectorRegistry())
    leg.get(app, "/nothing")
    found = workers.samples(leg.get(app, "/metrics").text)
    return value(found, "flask_http_request_total", method="GET", status="404")


@pytest.mark.parametrize("set_at_import", [False, True])
def test_an_application_after_the_variable_is_gone_scrapes_as_ever(
    leg: Leg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_at_import: bool
) -> None:
    if set_at_import:
        monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert requests(leg) == 1
    Counter("first", "", registry=CollectorRegistry()).inc()
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    assert requests(leg) == 1
    second = Counter("second", "", registry=CollectorRegistry())
    second.inc()
    assert second._value.get() == 1
    found = read(tmp_path)
    assert value(found, "first_total") == 1
    assert value(found, "second_total") is None


def test_each_directory_has_the_metrics_that_were_made_while_it_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = []
    for name in "ab":
        enable(tmp_path / name)
        counters.append(Counter(name, "", registry=CollectorRegistry()))
        monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    for counter in counters:
        counter.inc()
    for name in "ab":
        assert {key for key, _ in read(tmp_path / name)} == {f"{name}_total"}


def test_an_unusable_directory_that_is_unset_leaves_nothing(
    leg: Leg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())
    (tmp_path / "file").touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "file"))
    assert requests(leg) == 1
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    assert requests(leg) == 1


def test_a_program_that_sets_and_unsets_the_variable_itself(tmp_path: Path) -> None:
    script = """
        import os
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = "metrics"
        import prometheus_client
        from flask import Flask
        from promweb import PrometheusMetrics
        PrometheusMetrics(Flask("first"), registry=prometheus_client.CollectorRegistry())
        del os.environ["PROMETHEUS_MULTIPROC_DIR"]
        prometheus_client.Counter("hits", "").inc()
        assert "hits_total 1.0" in prometheus_client.generate_latest().decode()
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=dict(os.environ),
    )
    assert result.returncode == 0, result.stderr
