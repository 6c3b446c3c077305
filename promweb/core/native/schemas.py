"""Schemas: how wide buckets are, and which bucket a number belongs to.

Bucket `key` of schema `s` holds numbers above `2 ** ((key - 1) / 2**s)` and not above
`2 ** (key / 2**s)`. Negative numbers have buckets by their absolute values.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from functools import lru_cache

__all__ = [
    "MAX_SCHEMA",
    "MIN_SCHEMA",
    "ZERO_THRESHOLD",
    "key_of",
    "schema_of",
    "table",
    "upper_bound",
]

MIN_SCHEMA, MAX_SCHEMA = -4, 8
"""A Prometheus that ingests a finer schema panics when it is queried."""

ZERO_THRESHOLD = 2.0**-128
"""The zero bucket has the numbers that are no farther from zero than this."""

_FACTORS = (
    2.0,
    1.414213562373095,
    1.189207115002721,
    1.0905077326652577,
    1.0442737824274138,
    1.0218971486541166,
    1.0108892860517004,
    1.0054299011128028,
    1.0027112750502025,
)
"""`2 ** 2**-s` for each schema `s` from 0 on, as the bounds of Prometheus have it."""

_EXPONENTS = range(-40, 41)
"""The range of a table: from a trillionth to a trillion."""


def schema_of(factor: float) -> int:
    """Return the coarsest schema whose buckets grow by at most this factor, which is above 1."""
    floor = math.floor(math.log2(math.log2(factor)))
    return min(max(-floor, MIN_SCHEMA), MAX_SCHEMA)


def key_of(number: float, schema: int) -> int:
    """Return the bucket of a number above 0; an infinite one has a bucket of its own."""
    if number == math.inf:
        return key_of(sys.float_info.max, schema) + 1
    fraction, exponent = math.frexp(number)
    if schema > 0:
        return bisect_left(_fractions(schema), fraction) + (exponent - 1 << schema)
    if fraction == 0.5:
        exponent -= 1
    return exponent + (1 << -schema) - 1 >> -schema


def upper_bound(key: int, schema: int) -> float:
    """Return the largest number in a bucket."""
    try:
        if schema <= 0:
            return math.ldexp(1.0, key << -schema)
        exponent, index = divmod(key, 1 << schema)
        return math.ldexp(_fractions(schema)[index], exponent + 1)
    except OverflowError:
        # The last finite bucket ends with the largest float; the next one has infinity.
        return math.inf if key > key_of(sys.float_info.max, schema) else sys.float_info.max


@lru_cache(MAX_SCHEMA - MIN_SCHEMA + 1)
def table(schema: int) -> tuple[list[float], int]:
    """Return the upper bounds of the usual buckets, and the key of the first one."""
    first = key_of(2.0 ** _EXPONENTS[0], schema)
    last = key_of(2.0 ** _EXPONENTS[-1], schema)
    return [upper_bound(key, schema) for key in range(first, last + 1)], first


@lru_cache(MAX_SCHEMA)
def _fractions(schema: int) -> list[float]:
    """Return the bounds from 0.5 to below 1, as the fractions that `frexp` returns.

    They equal those of Prometheus to the last bit; a power of 2 for each would not.
    """
    fractions = [0.5]
    for factor in _FACTORS[1 : schema + 1]:
        fractions = [bound for one in fractions for bound in (one, one * factor)]
    return fractions
