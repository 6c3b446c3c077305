"""The numbers of a native histogram in files: each has a key, as every number has.

The name of a key's sample is the metric's name and one of these:

    :sum :zero :nan     the sum; how many observations were zero, or not a number
    :3:+17 :3:-2        how many are in a bucket: schema, sign, key
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from ...core.native.buckets import Buckets
from ...core.native.schemas import MAX_SCHEMA, MIN_SCHEMA

__all__ = ["NAN", "SUM", "ZERO", "buckets_of", "part_of", "parts_of"]

SUM, ZERO, NAN = ":sum", ":zero", ":nan"

_USUAL_SCHEMA = 3
"""The schema of a histogram that has seen only zero."""

_MOST = 2.0**53
"""Doubles cannot count farther exactly; a file with a larger count is broken."""


def part_of(schema: int, side: str, key: int) -> str:
    """Return the name of a bucket's number; `side` is `+` or `-`."""
    return f":{schema}:{side}{key}"


def buckets_of(parts: Iterable[tuple[str, float]]) -> Buckets:
    """Make buckets from numbers by name; omit those that cannot be read."""
    total, zero, nan = 0.0, 0, 0
    sides: dict[int, dict[str, dict[int, int]]] = {}
    for part, number in parts:
        if part == SUM:
            total += number
        elif not 1 <= number < _MOST:
            continue
        elif part == ZERO:
            zero += int(number)
        elif part == NAN:
            nan += int(number)
        elif found := _read(part):
            schema, side, key = found
            counts = sides.setdefault(schema, {"+": {}, "-": {}})[side]
            counts[key] = counts.get(key, 0) + int(number)
    found_in = [Buckets(schema, 0, 0.0, 0, both["+"], both["-"]) for schema, both in sides.items()]
    merged = Buckets.merged(found_in or [Buckets(_USUAL_SCHEMA)])
    in_buckets = sum(merged.positive.values()) + sum(merged.negative.values())
    return Buckets(
        merged.schema,
        in_buckets + zero + nan,
        total,
        zero,
        merged.positive,
        merged.negative,
    )


def parts_of(buckets: Buckets) -> dict[str, float]:
    """Return the numbers of some buckets by name, without zeros."""
    in_buckets = sum(buckets.positive.values()) + sum(buckets.negative.values())
    parts = {
        SUM: buckets.sum,
        ZERO: float(buckets.zero),
        NAN: float(buckets.count - buckets.zero - in_buckets),
    }
    for side, counts in (("+", buckets.positive), ("-", buckets.negative)):
        for key, number in counts.items():
            parts[part_of(buckets.schema, side, key)] = float(number)
    return {part: number for part, number in parts.items() if number}


@lru_cache(1 << 14)
def _read(part: str) -> tuple[int, str, int] | None:
    """Return schema, side and key of a bucket; None if the name is not a bucket's."""
    try:
        nothing, schema, bucket = part.split(":")
        found = int(schema), bucket[:1], int(bucket[1:])
    except ValueError:
        return None
    # No 64-bit number falls into a bucket farther out.
    if nothing or not MIN_SCHEMA <= found[0] <= MAX_SCHEMA or found[1] not in ("+", "-"):
        return None
    return found if abs(found[2]) <= 1 << 19 else None
