"""The numbers of one label set.

A child takes its family's lock, which is re-entrant: a signal handler or a `__del__` that records
while its own thread is recording cannot deadlock (prometheus_client's locks can). It looks the
lock up at each use, because a forked child process gets a new one.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from prometheus_client.samples import Exemplar

__all__ = [
    "PENDING_LIMIT",
    "Child",
    "GaugeChild",
    "Lock",
    "NumberChild",
    "ObservedChild",
    "Owner",
    "Shape",
]

Lock = AbstractContextManager[bool]

Shape = Sequence[tuple[str, str | None]]

PENDING_LIMIT = 18
"""How many numbers make a full batch, 32 bytes each.

A hundred would save a tenth of a microsecond for each number, and almost triple the memory of a
label set.
"""


class Owner(Protocol):
    """The part of a family that its children need."""

    lock: Lock
    bounds: Sequence[float]
    zeros: list[int]
    """A zero for each bound. All children begin with this list, and none changes it."""


class Child:
    """One label set of a family; `created` is the Unix time of its first use, in seconds.

    Recording appends to a pending batch; a batch is flushed when it is full and before every read.
    Taking the lock and adding up cost more than everything else about a request, so a flush does
    them for many numbers at a time. Appending to a list is atomic, with and without the GIL, and so
    is removing its first items, so no number is lost. If memory or stack runs out in a flush, the
    batch stays pending.
    """

    __slots__ = (
        "_flushing",
        "created",
        "exemplars",
        "owner",
        "pending",
        "rendered_labels",
        "rendered_pairs",
    )

    created: float
    exemplars: dict[int, Exemplar] | None
    """The newest exemplar of each sample, by its place in the family's `shape`."""
    pending: list[float]
    """The batch: numbers that no flush has taken yet."""
    rendered_labels: tuple[str, str, str] | None
    """Labels before and after `le`, with the text that ends them, and `created`, as text; None
    until a scrape needs them."""
    rendered_pairs: Any
    """The same in protobuf, and its layout; None until a scrape needs them."""
    _flushing: bool

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.clear()

    def clear(self) -> None:
        """Start from zero."""
        self.created, self.pending, self.rendered_labels = time.time(), [], None
        self._flushing, self.exemplars, self.rendered_pairs = False, None, None

    def record(self, amount: float) -> None:
        """Append a number to the pending batch, and flush the batch if it is full."""
        pending = self.pending
        pending.append(amount)
        if len(pending) >= PENDING_LIMIT:
            try:
                self.flush()
            except (MemoryError, RecursionError):
                return  # the batch stays pending

    def flush(self) -> None:
        """Add the pending batch to the numbers; if that raises, all of it stays pending."""
        pending = self.pending
        with self.owner.lock:
            # A signal handler may call this in the middle of a flush of this thread.
            if pending and not self._flushing:
                self._flushing = True
                try:
                    self._take(len(pending))
                finally:
                    self._flushing = False

    def _take(self, count: int) -> None:
        """Add that many pending numbers, at least one, to the others, and remove them.

        It calls nothing after the first change: a signal handler that raises runs at a call, and so
        before every change or after all of them.
        """
        raise NotImplementedError

    def exemplify(self, labels: Mapping[str, str], amount: float) -> None:
        """Keep an exemplar of an amount; `record` takes the amount itself."""
        exemplars = self.exemplars
        if exemplars is None:
            with self.owner.lock:  # another thread may be adding its first one, too
                exemplars = self.exemplars
                if exemplars is None:
                    exemplars = self.exemplars = {}
        exemplars[self._sample_of(amount)] = Exemplar(dict(labels), amount, time.time())

    def _sample_of(self, amount: float) -> int:
        """Return the place in the family's `shape` of the sample that an exemplar belongs to."""
        return 0


class NumberChild(Child):
    """A counter's or a gauge's value."""

    __slots__ = ("_value",)

    def clear(self) -> None:
        super().clear()
        self._value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        self.record(amount)

    def dec(self, amount: float = 1.0) -> None:
        self.record(-amount)

    def snapshot(self) -> tuple[Sequence[int], float]:
        """Return no buckets, and the sum of all amounts."""
        return (), self.value

    @property
    def value(self) -> float:
        """The sum of all amounts."""
        if self.pending:
            self.flush()
        return self._value

    def _take(self, count: int) -> None:
        value = self._value + sum(self.pending[:count])
        self._value = value
        del self.pending[:count]


class _Setting(float):
    """In a batch: a value that replaces the sum before it."""

    __slots__ = ()


class GaugeChild(NumberChild):
    """A gauge's value, which can also be set."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Replace the value; amounts that are recorded later are added to it."""
        pending = self.pending
        pending.append(_Setting(value))
        if len(pending) >= PENDING_LIMIT:
            try:
                self.flush()
            except (MemoryError, RecursionError):
                return  # the batch stays pending

    def _take(self, count: int) -> None:
        taken, value = self.pending[:count], self._value
        for index in range(count - 1, -1, -1):
            if type(taken[index]) is _Setting:
                value, taken = float(taken[index]), taken[index + 1 :]
                break
        value += sum(taken)
        self._value = value
        del self.pending[:count]


class ObservedChild(Child):
    """A histogram's observations per bucket (not cumulative) and their sum.

    A summary is a histogram with one bucket.
    """

    __slots__ = ("_buckets", "_count", "_sum")

    def clear(self) -> None:
        super().clear()
        self._buckets = self.owner.zeros
        self._count = 0
        self._sum = 0.0

    def observe(self, amount: float) -> None:
        """Record one observation."""
        self.record(amount)

    def _sample_of(self, amount: float) -> int:
        return bisect_left(self.owner.bounds, amount)

    def _take(self, count: int) -> None:
        taken = sorted(self.pending[:count])
        buckets = self._added(taken)
        total = self._sum + sum(taken)
        self._buckets, self._count, self._sum = buckets, self._count + count, total
        del self.pending[:count]

    def _added(self, taken: list[float]) -> list[int]:
        """Return the buckets with more observations, at least one, which are sorted."""
        bounds, buckets, below = self.owner.bounds, self._buckets.copy(), 0
        for index in range(bisect_left(bounds, taken[0]), len(bounds)):
            if taken[-1] <= bounds[index]:  # then all the remaining ones fit, too
                buckets[index] += len(taken) - below
                break
            position = bisect_right(taken, bounds[index], below)
            buckets[index] += position - below
            below = position
        return buckets

    @property
    def total(self) -> int:
        """How many observations there were."""
        if self.pending:
            self.flush()
        return self._count

    def snapshot(self) -> tuple[Sequence[int], float]:
        """Return the observations per bucket and their sum, of one moment."""
        with self.owner.lock:
            if self.pending:
                self.flush()
            return self._buckets, self._sum  # a flush makes a new list
