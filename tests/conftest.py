"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

from .legs import LEGS, Leg


@pytest.fixture(params=LEGS)
def leg(request: pytest.FixtureRequest) -> Leg:
    """Run the test once per framework and kind of view."""
    return LEGS[request.param]()


@pytest.fixture
def unshared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a prometheus_client that was imported without the variable."""
    for variable in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        monkeypatch.setenv(variable, "")  # so that what a test sets is gone after it
        monkeypatch.delenv(variable)
    monkeypatch.setattr(values, "ValueClass", values.MutexValue)
    monkeypatch.setattr(values, "MmapedDict", MmapedDict)
    yield
    _kept.append(values.ValueClass)


_kept: list[object] = []
"""prometheus_client does not close its files."""


@pytest.fixture
def shared(tmp_path: Path, unshared: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Turn multiprocess mode on for this test; return the directory."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    # prometheus_client, which many tests compare with, has none in multiprocess mode.
    monkeypatch.setenv("PROMWEB_PROCESS_METRICS", "0")
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())
    return tmp_path
