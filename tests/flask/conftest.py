"""The leg of all tests here."""

from __future__ import annotations

import pytest

from tests.support.legs import LEGS, Leg


@pytest.fixture
def leg() -> Leg:
    return LEGS["flask-sync"]()
