"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import values

from .legs import LEGS, Leg


@pytest.fixture(params=LEGS)
def leg(request: pytest.FixtureRequest) -> Leg:
    """Run the test once per framework and kind of view."""
    return LEGS[request.param]()


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Turn multiprocess mode on for this test; return the directory."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.delenv("prometheus_multiproc_dir", raising=False)
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())
    return tmp_path
