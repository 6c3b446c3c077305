"""The numbers of a native histogram as files have them: each has a key, as every number has.

The name of a key's sample is that of the metric, and then one of these:

    :sum :zero :nan     the sum, and how many observations were zero or no number
    :3:+17 :3:-2        how many are in a bucket, by schema, side of zero and key
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from ...core.native.buckets import Buckets
from ...core.native.schemas import MAX_SCHEMA, MIN_SCHEMA

__all__ = ["NAN", "SUM", "ZERO", "buckets_of", "part_of", "parts_of"]

SUM, ZERO, NAN = ":sum", ":zero", ":nan"

_USUAL_SCHEMA = 3
"""That of a histogram that has only seen zero."""

_MOST = 2.0**53
"""A larger count has lost some; a file that has one is broken."""


def part_of(schema: int, side: str, key: int) -> str:
    """Return the part that a bucket is; `side` is `+` or `-`."""
    return f":{schema}:{side}{key}"


def buckets_of(parts: Iterable[tuple[str, float]]) -> Buckets:
    """Return the buckets that some parts make; what cannot be read is left out."""
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
    """Return the parts that some buckets are, without those that are zero."""
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
    """Return schema, side and key of a bucket; None if it is none."""
    try:
        nothing, schema, bucket = part.split(":")
        found = int(schema), bucket[:1], int(bucket[1:])
    except ValueError:
        return None
    # A number of 64 bits has no bucket farther out.
    if nothing or not MIN_SCHEMA <= found[0] <= MAX_SCHEMA or found[1] not in ("+", "-"):
        return None
    return found if abs(found[2]) <= 1 << 19 else None
