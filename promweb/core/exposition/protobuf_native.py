"""Native buckets in protobuf: spans of adjacent buckets, and the difference of each count.

Prometheus refuses a scrape whose spans do not match the counts, or whose count is not that of all
buckets. So everything comes from one `Buckets`, which never changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from ..families.family import Family, FamilyMetric
from ..families.limits import LabelValues
from ..native.buckets import Buckets
from ..native.schemas import ZERO_THRESHOLD
from .protobuf_encoder import exemplar_field
from .protobuf_layout import ProtobufLayout
from .protobuf_wire import count, double, message, packed_signed, signed, varint

__all__ = ["NativeLayout", "native_fields", "spans"]

_WIDEST_GAP = 2
"""Write up to this many empty buckets as such; more begin another span."""


class NativeLayout(ProtobufLayout):
    """Writes the label sets of a family with native buckets."""

    def __init__(self, family: Family[Any], name: str, labelnames: Sequence[str]) -> None:
        super().__init__(family, name, labelnames)
        self._has_classic = len(family.bounds) > 1

    def _histogram(
        self, metric: FamilyMetric, values: LabelValues, child: Any, created: bytes
    ) -> bytes:
        found = None if metric.native is None else metric.native(values, child)
        if found is None:
            return super()._histogram(metric, values, child, created)
        counts, native = found
        exemplars = child.exemplars or {}
        encoded = native.encoded
        if encoded is None:
            encoded = native.encoded = native_fields(native)
        content = b"".join(
            [
                count(1, native.count),
                double(2, native.sum),
                self._buckets(accumulate(counts), exemplars) if self._has_classic else b"",
                encoded,
                created,
                *[exemplar_field(16, exemplar) for exemplar in list(exemplars.values())],
            ]
        )
        return b"\x3a" + varint(len(content)) + content


def native_fields(native: Buckets) -> bytes:
    """Return the fields of the native buckets."""
    fields = signed(5, native.schema) + double(6, ZERO_THRESHOLD) + count(7, native.zero)
    return fields + _side(native.negative, 9) + _side(native.positive, 12)


def _side(counts: Mapping[int, int], field: int) -> bytes:
    """Return the buckets of one side of zero."""
    if not counts:
        return b""
    found, deltas = spans(counts)
    parts = [message(field, signed(1, offset) + count(2, length)) for offset, length in found]
    return b"".join(parts) + packed_signed(field + 1, deltas)


def spans(counts: Mapping[int, int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Return offset and length of each span, and the differences of all counts."""
    found: list[tuple[int, int]] = []
    deltas: list[int] = []
    following, last, length, offset = 0, 0, 0, 0
    for key in sorted(counts):
        gap = key - following
        if not deltas or gap > _WIDEST_GAP:
            if length:
                found.append((offset, length))
            offset, length = gap, 0
        elif gap:
            deltas.append(-last)
            deltas += [0] * (gap - 1)
            last, length = 0, length + gap
        number = counts[key]
        deltas.append(number - last)
        last, length, following = number, length + 1, key + 1
    found.append((offset, length))
    return found, deltas
