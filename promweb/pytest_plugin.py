"""The pytest plugin: the fixture `metrics_registry`.

pytest loads every installed plugin for every project, so this module imports only modules that
pytest has imported already; the rest is loaded when a test uses the fixture.
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
    """A registry for one test, in the place of prometheus_client's global one.

    Metrics objects that the test makes without `registry=` use it.
    """
    from .testing import isolated_registry

    with isolated_registry() as registry:
        yield registry
