"""Clients of both services, each with a registry and a database of its own."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "photos.db")
