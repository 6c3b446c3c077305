"""A short run of the stress, in memory and in shared files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .load import Load, announcements, endings, first_exemplars, increments, line_by_line


@pytest.fixture(autouse=True)
def restless() -> Iterator[None]:
    """Make threads switch a thousand times as often, if there is a GIL."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(interval)


def test_applications() -> None:
    load = Load()
    load.run(rounds=40)
    assert load.wrong == []
    assert load.scrapes > 1


def test_applications_whose_numbers_are_shared(shared: Path) -> None:
    load = Load()
    load.run(rounds=20)
    assert load.wrong == []


@pytest.mark.parametrize("stress", [endings, first_exemplars, announcements])
def test_each_line_may_be_the_last_before_another_thread_runs(
    stress: Callable[[int], Iterator[str]],
) -> None:
    with line_by_line():
        assert [*stress(4)] == []


def test_increments() -> None:
    assert [*increments(rounds=3000)] == []
