"""Replacements for instruments where `PROMWEB_DISABLED` switches them off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .blocks import NOTHING, Block
from .instruments import Counter, Gauge, Histogram, Summary

__all__ = ["INERT"]

F = TypeVar("F", bound=Callable[..., Any])


class NoBlock(Block):
    """Measures nothing."""

    __slots__ = ()

    def __init__(self) -> None:
        self._known = NOTHING

    def __call__(self, function: F, /) -> F:
        return function

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        """Do nothing."""


class Inert(Counter, Gauge, Histogram, Summary):
    """Replaces any kind of instrument and does nothing."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    def __call__(self, function: F, /) -> F:
        return function

    def labels(self, /, *values: object, **labels: object) -> Any:
        return self

    def __repr__(self) -> str:
        return "<an instrument that does nothing>"

    def _nothing(self, /, *args: object, **labels: object) -> None:
        """Do nothing."""

    def _no_block(self, /, *args: object, **labels: object) -> Any:
        return NoBlock()

    inc = dec = set = observe = set_to_current_time = _nothing
    time = track_inprogress = count_exceptions = _no_block


INERT: Any = Inert()
