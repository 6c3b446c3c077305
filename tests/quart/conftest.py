"""The leg of all tests here, and a collector that blocks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.hanging import SlowCollector
from tests.support.legs import LEGS, Leg


@pytest.fixture
def leg() -> Leg:
    return LEGS["quart-async"]()


@pytest.fixture
def slow(leg: Leg) -> Iterator[SlowCollector]:
    """Put a collector into the registry that blocks until `slow.release` is set."""
    collector = SlowCollector(leg.registry)
    yield collector
    collector.release.set()
