"""A second implementation of native histograms, line by line as client_golang's is.

`python -m tests.support.reference_native` compares 200,000 observations of each schema.
"""

from __future__ import annotations

import math
import random
import sys
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Reference", "bounds_of", "reference_spans"]

MOST_BUCKETS = 160


def _bounds(schema: int) -> list[float]:
    """Return the bounds for fractions, each the nearest number to the true one or beside it."""
    factors = [2.0 ** (2.0**-one) for one in range(schema + 1)]
    factors[1:2] = [1.414213562373095] if schema else []
    bounds = []
    for index in range(2**schema):
        bound = 0.5
        for bit in range(1, schema + 1):
            if index & 1 << schema - bit:
                bound = bound * factors[bit]
        bounds.append(bound)
    return bounds


_BOUNDS = {schema: _bounds(schema) for schema in range(1, 9)}


class Reference:
    """Counts one by one; after each flush, halves the resolution if there are too many buckets."""

    def __init__(self, schema: int) -> None:
        self.schema = schema
        self.sum = 0.0
        self.zero = 0
        self.positive: dict[int, int] = {}
        self.negative: dict[int, int] = {}

    @staticmethod
    def key(number: float, schema: int) -> int:
        is_infinite = math.isinf(number)
        if is_infinite:
            number = sys.float_info.max
        fraction, exponent = math.frexp(abs(number))
        if schema > 0:
            bounds = _BOUNDS[schema]
            key = bisect_left(bounds, fraction) + (exponent - 1) * len(bounds)
        else:
            key = exponent
            if fraction == 0.5:
                key -= 1
            offset = (1 << -schema) - 1
            key = (key + offset) >> -schema
        return key + 1 if is_infinite else key

    def flush(self, batch: Iterable[float]) -> None:
        batch = list(batch)
        self.sum += sum(batch)
        for number in batch:
            if math.isnan(number):
                continue
            if number > 2.0**-128:
                side = self.positive
            elif number < -(2.0**-128):
                side = self.negative
            else:
                self.zero += 1
                continue
            key = self.key(number, self.schema)
            side[key] = side.get(key, 0) + 1
        while len(self.positive) + len(self.negative) > MOST_BUCKETS and self.schema > -4:
            self.schema -= 1
            self.positive = self._wider(self.positive)
            self.negative = self._wider(self.negative)

    @staticmethod
    def _wider(counts: Mapping[int, int]) -> dict[int, int]:
        wider: dict[int, int] = {}
        for key, number in counts.items():
            if key > 0:
                key += 1
            half = int(key / 2)  # towards zero, as in Go
            wider[half] = wider.get(half, 0) + number
        return wider


def reference_spans(counts: Mapping[int, int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Return spans and deltas as client_golang makes them."""
    spans: list[list[int]] = []
    deltas: list[int] = []
    previous = 0
    next_key = 0
    for n, key in enumerate(sorted(counts)):
        delta = key - next_key
        if n == 0 or delta > 2:
            spans.append([delta, 0])
        else:
            for _ in range(delta):
                spans[-1][1] += 1
                deltas.append(0 - previous)
                previous = 0
        spans[-1][1] += 1
        deltas.append(counts[key] - previous)
        previous = counts[key]
        next_key = key + 1
    return [(offset, length) for offset, length in spans], deltas


def bounds_of(numbers: Sequence[float], bounds: Sequence[float]) -> list[int]:
    """Return cumulative counts of classic buckets; NaN is in the last one."""
    below = [sum(1 for number in numbers if number <= bound) for bound in bounds[:-1]]
    return [*below, len(numbers)]


def _main() -> None:
    from tests.behaviour.test_native import FACTORS, assert_counts_like_the_reference, draw

    many = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    for schema, factor in FACTORS.items():
        assert_counts_like_the_reference(draw(random.Random(schema), many), factor)
        print(f"schema {schema}: {many:,} observations, spans and deltas alike")


if __name__ == "__main__":
    _main()
