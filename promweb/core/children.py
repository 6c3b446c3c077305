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

    __slots__ = ("created", "owner", "written")

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.clear()

    def clear(self) -> None:
        """Start from zero."""
        self.created = time.time()
        self.written: tuple[str, str, str, str] | None = None
        """Labels before and after `le`, `created` and all labels, as the last scrape wrote them."""


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

    __slots__ = ("_count", "_sum", "pending")

    def clear(self) -> None:
        self.pending: list[float] = []
        self._count = 0
        self._sum = 0.0
        super().clear()

    def observe(self, amount: float) -> None:
        """Record one observation."""
        pending = self.pending
        pending.append(amount)
        if len(pending) >= PENDING_LIMIT:
            self.fold()

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

    @property
    def total(self) -> int:
        """How many observations there were."""
        if self.pending:
            self.fold()
        return self._count

    def _add(self, amount: float) -> None:
        self._count += 1
        self._sum += amount


class SummaryChild(ObservedChild):
    """Count and sum of what was observed."""

    __slots__ = ()

    def snapshot(self) -> tuple[int, float]:
        """Return count and sum, of one moment."""
        with self.owner.lock:
            self.fold()
            return self._count, self._sum


class HistogramChild(ObservedChild):
    """Observations per bucket (not cumulative) and their sum."""

    __slots__ = ("_buckets",)

    def clear(self) -> None:
        self._buckets = [0] * len(self.owner.bounds)
        super().clear()

    def snapshot(self) -> tuple[list[int], float]:
        """Return the observations per bucket and their sum, of one moment."""
        with self.owner.lock:
            if self.pending:
                self.fold()
            return self._buckets.copy(), self._sum

    def _add(self, amount: float) -> None:
        self._buckets[bisect_left(self.owner.bounds, amount)] += 1
        super()._add(amount)
