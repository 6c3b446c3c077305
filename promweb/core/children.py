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

__all__ = [
    "PENDING_LIMIT",
    "Child",
    "HistogramChild",
    "NumberChild",
    "ObservedChild",
    "Owner",
    "SummaryChild",
]


Lock = AbstractContextManager[bool]

PENDING_LIMIT = 32
"""How many observations of a label set wait at most."""


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
    """What a summary and a histogram have in common.

    An observation is only put down; taking the lock and finding the bucket, which cost more than
    everything else about a request, are done for many at a time, and whenever somebody looks.
    Appending to a list and popping from it are atomic, so nothing is lost or counted twice.
    """

    __slots__ = ("_sum", "pending")

    def clear(self) -> None:
        self.pending: list[float] = []
        self._sum = 0.0
        super().clear()

    def observe(self, amount: float) -> None:
        """Record one observation."""
        pending = self.pending
        pending.append(amount)
        if len(pending) >= PENDING_LIMIT:
            self.fold()

    @property
    def total(self) -> int:
        """How many observations there were."""
        raise NotImplementedError

    @property
    def sum(self) -> float:
        """What the observations add up to."""
        self.fold()
        return self._sum

    def fold(self) -> None:
        """Take what is pending into account."""
        pending = self.pending
        with self.owner.lock:
            while pending:
                try:
                    amount = pending.pop()
                except IndexError:  # a signal handler was faster
                    break
                self._add(amount if amount > 0 else 0.0)  # a clock may go backwards

    def _add(self, amount: float) -> None:
        raise NotImplementedError


class SummaryChild(ObservedChild):
    """Count and sum of what was observed."""

    __slots__ = ("_count",)

    def clear(self) -> None:
        self._count = 0
        super().clear()

    @property
    def total(self) -> int:
        self.fold()
        return self._count

    def _add(self, amount: float) -> None:
        self._count += 1
        self._sum += amount


class HistogramChild(ObservedChild):
    """Observations per bucket (not cumulative) and their sum."""

    __slots__ = ("_buckets",)

    def clear(self) -> None:
        self._buckets = [0] * len(self.owner.bounds)
        super().clear()

    @property
    def buckets(self) -> list[int]:
        """Observations per bucket."""
        self.fold()
        return self._buckets

    @property
    def total(self) -> int:
        return sum(self.buckets)

    def _add(self, amount: float) -> None:
        self._buckets[bisect_left(self.owner.bounds, amount)] += 1
        self._sum += amount
