"""Fixtures shared by all tests."""

from __future__ import annotations

import pytest

from .legs import LEGS, Leg


@pytest.fixture(params=LEGS)
def leg(request: pytest.FixtureRequest) -> Leg:
    """Run the test once per framework and kind of view."""
    return LEGS[request.param]()
