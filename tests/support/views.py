"""Views that most tests use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .legs import Leg

VIEW = 0.25
"""Seconds that every view takes."""


def answer(leg: Leg) -> Any:
    """Do what a view does."""
    leg.clock.advance(VIEW)
    return "tea", 202


def plain(leg: Leg) -> Callable[..., Any]:
    """Return a view of this leg's kind."""

    def view(**kwargs: Any) -> Any:
        return answer(leg)

    return leg.view(view)
