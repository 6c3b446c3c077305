"""The numbers of one label set.

Recording takes the family's one re-entrant lock, so that a signal handler or a `__del__` that
records while its own thread is recording cannot deadlock (prometheus_client's locks can). The
lock is looked up at each use because a forked child gets a new one.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from prometheus_client.samples import Exemplar

__all__ = [
    "PENDING_LIMIT",
    "Child",
    "NumberChild",
    "ObservedChild",
    "Owner",
]


Lock = AbstractContextManager[bool]

PENDING_LIMIT = 100
"""How many observations of a label set wait at most, 8 bytes each."""


class Owner(Protocol):
    """What a child needs of its family."""

    lock: Lock
    bounds: Sequence[float]
    zeros: list[int]
    """A zero for each bound, which all children begin with and none changes."""


class Child:
    """One label set of a family; `created` is the Unix time of its first use, in seconds.

    Numbers are only put down when they are recorded, and taken into account in batches. Taking the
    lock and all that follows cost more than everything else about a request. They are done for
    many numbers at a time, and whenever somebody looks. Appending to an array is atomic, and so is
    removing its first items, so nothing is lost. A batch for which there is not enough memory or
    stack waits for the next one: what is recorded was recorded.
    """

    __slots__ = ("_folding", "created", "exemplars", "owner", "pending", "written")

    created: float
    exemplars: dict[int, Exemplar] | None
    """The newest exemplar of each sample, by its place in the family's `shape`."""
    pending: array[float]
    written: tuple[str, str, str] | None
    """Labels before and after `le`, those with what ends labels, and `created`, as written."""
    _folding: bool

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.clear()

    def clear(self) -> None:
        """Start from zero."""
        raise NotImplementedError

    def record(self, amount: float) -> None:
        """Record one amount; the batch is flushed when it is full."""
        pending = self.pending
        pending.append(amount)
        if len(pending) >= PENDING_LIMIT:
            try:
                self.fold()
            except (MemoryError, RecursionError):
                return  # they wait for the next one

    def exemplify(self, labels: Mapping[str, str], amount: float) -> None:
        """Keep an exemplar of a recording, which is recorded apart from it."""
        if self.exemplars is None:
            self.exemplars = {}
        self.exemplars[self._sample_of(amount)] = Exemplar(dict(labels), amount, time.time())

    def _sample_of(self, amount: float) -> int:
        """Return the place in the family's `shape` of the sample that an exemplar belongs to."""
        return 0

    def fold(self) -> None:
        """Take what is pending into account, or nothing of it where that raises."""
        pending = self.pending
        with self.owner.lock:
            # No reentry: by a signal handler, in the middle of the lines below.
            if pending and not self._folding:
                self._folding = True
                try:
                    self._take(len(pending))
                finally:
                    self._folding = False

    def _take(self, count: int) -> None:
        """Move that many pending numbers, at least one, to where they are kept.

        Nothing is called once the first has changed: a signal handler that raises comes when
        something is called, or not at all.
        """
        raise NotImplementedError


class NumberChild(Child):
    """A counter's or a gauge's value."""

    __slots__ = ("_value",)

    def clear(self) -> None:
        self.created, self.pending, self.written = time.time(), array("d"), None
        self._folding, self.exemplars = False, None
        self._value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        pending = self.pending
        pending.append(amount)
        if len(pending) >= PENDING_LIMIT:
            try:
                self.fold()
            except (MemoryError, RecursionError):
                return  # they wait for the next one

    def dec(self, amount: float = 1.0) -> None:
        pending = self.pending
        pending.append(-amount)
        if len(pending) >= PENDING_LIMIT:
            try:
                self.fold()
            except (MemoryError, RecursionError):
                return  # they wait for the next one

    @property
    def value(self) -> float:
        """The sum of all amounts."""
        if self.pending:
            self.fold()
        return self._value

    def _take(self, count: int) -> None:
        value = self._value + sum(self.pending[:count])
        self._value = value
        del self.pending[:count]


class ObservedChild(Child):
    """A histogram's observations per bucket (not cumulative) and their sum.

    A summary is a histogram with one bucket.
    """

    __slots__ = ("_buckets", "_count", "_sum")

    def clear(self) -> None:
        self.created, self.pending, self.written = time.time(), array("d"), None
        self._folding, self.exemplars = False, None
        self._buckets = self.owner.zeros
        self._count = 0
        self._sum = 0.0

    def observe(self, amount: float) -> None:
        """Record one observation; below zero (a clock may go backwards) it is zero."""
        pending = self.pending
        pending.append(amount)
        if len(pending) >= PENDING_LIMIT:
            try:
                self.fold()
            except (MemoryError, RecursionError):
                return  # they wait for the next one

    def _sample_of(self, amount: float) -> int:
        return bisect_left(self.owner.bounds, amount)

    def _take(self, count: int) -> None:
        taken, below = self.pending[:count].tolist(), 0
        taken.sort()
        bounds, buckets = self.owner.bounds, self._buckets.copy()
        for index in range(bisect_left(bounds, taken[0]), len(bounds)):
            if taken[-1] <= bounds[index]:  # and so are all that are left
                buckets[index] += count - below
                break
            position = bisect_right(taken, bounds[index], below)
            buckets[index] += position - below
            below = position
        total = self._sum + sum(taken if taken[0] >= 0.0 else taken[bisect_right(taken, 0.0) :])
        self._buckets, self._count, self._sum = buckets, self._count + count, total
        del self.pending[:count]

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
