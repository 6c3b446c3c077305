"""The pytest plugin: a registry for each test that asks for one.

pytest loads every installed plugin for every project, so this module imports nothing that pytest
has not imported already; what the fixture needs is loaded when a test uses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["metrics_registry"]


@pytest.fixture
def metrics_registry() -> Iterator[CollectorRegistry]:
    """A registry of its own for one test, in the place of prometheus_client's global one.

    Metrics objects that are made during the test without `registry=` take it.
    """
    from .testing import isolated_registry

    with isolated_registry() as registry:
        yield registry
