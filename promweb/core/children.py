"""The numbers of one label set.

Recording takes the family's one re-entrant lock, so that a signal handler or a `__del__` that
records while its own thread is recording cannot deadlock (prometheus_client's locks can). The
lock is looked up at each use because a forked child gets a new one.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

__all__ = [
    "PENDING_LIMIT",
    "Child",
    "NumberChild",
    "ObservedChild",
    "Owner",
]


Lock = AbstractContextManager[bool]

PENDING_LIMIT = 64
"""How many observations of a label set wait at most, 8 bytes each."""


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
    """A histogram's observations per bucket (not cumulative) and their sum.

    A summary is a histogram with one bucket.

    An observation is only put down; taking the lock and finding the bucket, which cost more than
    everything else about a request, are done for many at a time, and whenever somebody looks.
    Appending to an array is atomic, and so is removing its first items, so nothing is lost.
    """

    __slots__ = ("_buckets", "_count", "_folding", "_sum", "pending")

    def clear(self) -> None:
        self.pending = array("d")
        self._folding = False
        self._buckets = [0] * len(self.owner.bounds)
        self._count = 0
        self._sum = 0.0
        super().clear()

    def observe(self, amount: float) -> None:
        """Record one observation; below zero (a clock may go backwards) it is zero."""
        pending = self.pending
        pending.append(amount)
        if len(pending) >= PENDING_LIMIT:
            self.fold()

    def fold(self) -> None:
        """Take what is pending into account."""
        pending, buckets = self.pending, self._buckets
        with self.owner.lock:
            if self._folding:
                return  # a signal handler, in the middle of the lines below
            self._folding = True
            try:
                count = len(pending)
                taken = sorted(pending[:count])
                del pending[:count]
                below = 0
                for index, bound in enumerate(self.owner.bounds):
                    if below == count:
                        break
                    position = bisect_right(taken, bound, below)
                    buckets[index] += position - below
                    below = position
                self._count += count
                self._sum += sum(taken[bisect_right(taken, 0.0) :])
            finally:
                self._folding = False

    @property
    def total(self) -> int:
        """How many observations there were."""
        if self.pending:
            self.fold()
        return self._count

    def snapshot(self) -> tuple[list[int], float]:
        """Return the observations per bucket and their sum, of one moment."""
        with self.owner.lock:
            if self.pending:
                self.fold()
            return self._buckets.copy(), self._sum
