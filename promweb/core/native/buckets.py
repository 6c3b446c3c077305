"""The sparse buckets of one label set. They never change: a flush makes new ones."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence

from .schemas import MIN_SCHEMA, ZERO_THRESHOLD, key_of, table, upper_bound

__all__ = ["MOST_BUCKETS", "Buckets", "halved"]

MOST_BUCKETS = 160
"""With more, the resolution halves. The coarsest schema may need more for both signs together."""

Counts = Mapping[int, int]
"""Observations by the key of their bucket."""


class Buckets:
    """Observations in buckets of one schema, below, at and above zero.

    NaN counts, makes the sum NaN, and is in no bucket.
    """

    __slots__ = ("count", "encoded", "negative", "positive", "schema", "sum", "zero")

    schema: int
    count: int
    sum: float
    zero: int
    positive: Counts
    negative: Counts
    encoded: bytes | None
    """Cached bytes of the buckets; None until a scrape writes them."""

    def __init__(
        self,
        schema: int,
        count: int = 0,
        sum: float = 0.0,
        zero: int = 0,
        positive: Counts | None = None,
        negative: Counts | None = None,
    ) -> None:
        positive, negative = positive or {}, negative or {}
        while len(positive) + len(negative) > MOST_BUCKETS and schema > MIN_SCHEMA:
            schema, positive, negative = schema - 1, halved(positive), halved(negative)
        self.schema = schema
        self.count = count
        self.sum = sum
        self.zero = zero
        self.positive = positive
        self.negative = negative
        self.encoded = None

    def added(self, ordered: Sequence[float], count: int, sum: float) -> Buckets:
        """Return these and more observations: `ordered` is sorted and without NaN, `count` includes
        NaN, `sum` is the sum of all."""
        negative = self.negative
        at_zero = bisect_left(ordered, -ZERO_THRESHOLD)
        if at_zero:
            below = [-number for number in reversed(ordered[:at_zero])]
            negative = _added(negative, self.schema, below, 0)
        above = bisect_right(ordered, ZERO_THRESHOLD, at_zero)
        return Buckets(
            self.schema,
            self.count + count,
            self.sum + sum,
            self.zero + above - at_zero,
            _added(self.positive, self.schema, ordered, above),
            negative,
        )

    @staticmethod
    def merged(parts: Iterable[Buckets]) -> Buckets:
        """Return the observations of several parts, at least one, in their coarsest schema."""
        parts = list(parts)
        schema = min(part.schema for part in parts)
        positive: dict[int, int] = {}
        negative: dict[int, int] = {}
        for part in parts:
            for into, counts in ((positive, part.positive), (negative, part.negative)):
                for _ in range(schema, part.schema):
                    counts = halved(counts)
                for key, number in counts.items():
                    into[key] = into.get(key, 0) + number
        return Buckets(
            schema,
            sum(part.count for part in parts),
            sum(part.sum for part in parts),
            sum(part.zero for part in parts),
            positive,
            negative,
        )

    def quantile(self, q: float) -> float:
        """Estimate a quantile, like Prometheus' `histogram_quantile`.

        NaN if there are no observations.
        """
        rank, seen = q * self.count, 0.0
        for low, high, number in self._intervals():
            if seen + number >= rank:
                return _between(low, high, (rank - seen) / number)
            seen += number
        return math.nan

    def _intervals(self) -> Iterable[tuple[float, float, int]]:
        """Yield bounds and observations of each bucket, from the lowest on."""
        schema = self.schema
        for key in sorted(self.negative, reverse=True):
            yield -upper_bound(key, schema), -upper_bound(key - 1, schema), self.negative[key]
        if self.zero:
            low = -ZERO_THRESHOLD if self.negative else 0.0
            yield low, ZERO_THRESHOLD if self.positive else 0.0, self.zero
        for key in sorted(self.positive):
            yield upper_bound(key - 1, schema), upper_bound(key, schema), self.positive[key]


def halved(counts: Counts) -> dict[int, int]:
    """Return the same observations in buckets that are twice as wide."""
    wider: dict[int, int] = {}
    for key, number in counts.items():
        wide = key + 1 >> 1
        wider[wide] = wider.get(wide, 0) + number
    return wider


def _added(counts: Counts, schema: int, ordered: Sequence[float], start: int) -> Counts:
    """Return counts with the observations from `start` on, which are above zero and sorted.

    A batch walks through a table that all label sets of a schema share.
    """
    size = len(ordered)
    if start == size:
        return counts
    bounds, first = table(schema)
    last, index, added = len(bounds), 0, dict(counts)
    while start < size:
        number = ordered[start]
        index = bisect_left(bounds, number, index)
        if 0 < index < last:
            key, bound = first + index, bounds[index]
        else:  # the table has only the usual numbers
            key = key_of(number, schema)
            bound = upper_bound(key, schema)
        following = bisect_right(ordered, bound, start)
        added[key] = added.get(key, 0) + following - start
        start = following
    return added


def _between(low: float, high: float, part: float) -> float:
    """Interpolate between two bounds; buckets grow, so the steps between them do, too."""
    if math.isinf(low) or math.isinf(high):
        return low if math.isinf(high) else high
    if low * high <= 0:
        return low + (high - low) * part
    return math.copysign(abs(low) ** (1 - part) * abs(high) ** part, low)
