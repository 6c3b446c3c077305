"""The numbers of one label set.

Recording takes the family's one re-entrant lock, so that a signal handler or a `__del__` that
records while its own thread is recording cannot deadlock (prometheus_client's locks can). The
lock is looked up at each use because a forked child gets a new one.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

__all__ = ["Child", "HistogramChild", "NumberChild", "ObservedChild", "Owner", "SummaryChild"]


Lock = AbstractContextManager[bool]


class Owner(Protocol):
    """What a child needs of its family."""

    lock: Lock
    bounds: Sequence[float]


class Child:
    """One label set of a family; `created` is the Unix time of its first use, in seconds."""

    __slots__ = ("created", "owner")

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.clear()

    def clear(self) -> None:
        """Start from zero."""
        self.created = time.time()


class NumberChild(Child):
    """A counter's or a gauge's value."""

    __slots__ = ("value",)

    def clear(self) -> None:
        self.value = 0.0
        super().clear()

    def inc(self, amount: float = 1.0) -> None:
        with self.owner.lock:
            self.value += amount

    def dec(self, amount: float = 1.0) -> None:
        with self.owner.lock:
            self.value -= amount


class ObservedChild(Child):
    """What a summary and a histogram have in common."""

    __slots__ = ()

    @property
    def total(self) -> int:
        """How many observations there were."""
        raise NotImplementedError

    def observe(self, amount: float) -> None:
        """Record one observation."""
        raise NotImplementedError


class SummaryChild(ObservedChild):
    """Count and sum of what was observed."""

    __slots__ = ("count", "sum")

    def clear(self) -> None:
        self.count = 0
        self.sum = 0.0
        super().clear()

    @property
    def total(self) -> int:
        return self.count

    def observe(self, amount: float) -> None:
        with self.owner.lock:
            self.count += 1
            self.sum += amount


class HistogramChild(ObservedChild):
    """Observations per bucket (not cumulative) and their sum."""

    __slots__ = ("buckets", "sum")

    def clear(self) -> None:
        self.buckets = [0] * len(self.owner.bounds)
        self.sum = 0.0
        super().clear()

    @property
    def total(self) -> int:
        return sum(self.buckets)

    def observe(self, amount: float) -> None:
        owner = self.owner
        index = bisect_left(owner.bounds, amount)
        with owner.lock:
            self.buckets[index] += 1
            self.sum += amount
