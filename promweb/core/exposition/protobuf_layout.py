"""The layout of a family in protobuf: bytes that are the same at every scrape are made once."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client.samples import Exemplar

from ..families.family import Family, FamilyMetric
from ..families.kinds import HistogramFamily
from ..families.limits import LabelValues
from .layout import batches
from .protobuf_encoder import (
    COUNTER,
    GAUGE,
    HISTOGRAM,
    SUMMARY,
    created_at,
    exemplar_field,
    family_message,
    head,
    label_pairs,
    tail,
)
from .protobuf_wire import count, double, message, varint

__all__ = ["ProtobufLayout", "has_layout"]

_KINDS = {"counter": COUNTER, "gauge": GAUGE, "summary": SUMMARY, "histogram": HISTOGRAM}

_CREATED = {"counter": 3, "summary": 4, "histogram": 15}
"""The fields of the times of creation."""

_pack_double = struct.Struct("<d").pack


_STARTS = [message(3, count(1, 0) + double(2, 0.0) + bytes(more))[:3] for more in range(10)]
"""The beginning of a bucket, by the number of bytes of its count, less one."""


def _bucket_head(number: int) -> bytes:
    """Return the part of a bucket before the eight bytes of its bound."""
    written = varint(number)
    return _STARTS[len(written) - 1] + written + b"\x11"


_BUCKET_HEADS: dict[float, bytes] = {number: _bucket_head(number) for number in range(1000)}
"""The heads of small counts, which most buckets of most label sets have."""


def has_layout(metric: FamilyMetric) -> bool:
    """Tell whether a message makes the same series as text: it always makes a sum."""
    family: Any = metric.family
    is_histogram = isinstance(family, HistogramFamily)
    return not is_histogram or family.has_sum or metric.native is not None


class ProtobufLayout:
    """Writes the label sets of one family. Names are already escaped."""

    def __init__(self, family: Family[Any], name: str, labelnames: Sequence[str]) -> None:
        self._head = head(name, family.documentation, _KINDS[family.type])
        self._tail = tail(name, family.unit)
        self._ordered = sorted((label, index) for index, label in enumerate(labelnames))
        self._created = _CREATED.get(family.type, 0)
        self._content: Callable[[FamilyMetric, LabelValues, Any, bytes], bytes] = {
            "counter": _counter,
            "gauge": _gauge,
            "summary": _summary,
            "histogram": self._histogram,
        }[family.type]
        self._bounds: list[bytes] = []
        for bound in family.bounds if isinstance(family, HistogramFamily) else ():
            self._bounds += (b"", _pack_double(bound))

    def write(self, metric: FamilyMetric) -> Iterator[bytes]:
        """Yield nothing for every few dozen label sets, and then the family after its length."""
        content, has_created = self._content, metric.has_created
        parts = [self._head]
        for batch in batches(metric.label_sets()):
            for values, child in batch:
                rendered = child.rendered_pairs
                if rendered is None or rendered[0] is not self:
                    rendered = self._render(child, values)
                created = rendered[2] if has_created else b""
                body = rendered[1] + content(metric, values, child, created)
                parts += (b"\x22", varint(len(body)), body)
            yield b""
        if len(parts) > 1:
            yield family_message([*parts, self._tail])

    def _render(self, child: Any, values: LabelValues) -> tuple[ProtobufLayout, bytes, bytes]:
        """Cache the bytes of a label set that are the same at every scrape."""
        pairs = label_pairs([(name, values[index]) for name, index in self._ordered], str)
        created = created_at(self._created, child.created) if self._created else b""
        child.rendered_pairs = rendered = (self, pairs, created)
        return rendered

    def _histogram(
        self, metric: FamilyMetric, values: LabelValues, child: Any, created: bytes
    ) -> bytes:
        counts, total = metric.amounts(child)
        cumulative = list(accumulate(counts))
        buckets = self._buckets(cumulative, child.exemplars)
        content = b"".join((count(1, int(cumulative[-1])), _sum(total), buckets, created))
        return b"\x3a" + varint(len(content)) + content

    def _buckets(
        self, cumulative: Iterable[float], exemplars: Mapping[int, Exemplar] | None
    ) -> bytes:
        heads: list[bytes] = []
        last: float | None = None
        text = b""
        for number in cumulative:
            if number != last:
                last, text = number, _BUCKET_HEADS.get(number) or _bucket_head(int(number))
            heads.append(text)
        if exemplars:
            return self._with_exemplars(heads, dict(exemplars))
        pieces = self._bounds.copy()
        pieces[::2] = heads
        return b"".join(pieces)

    def _with_exemplars(self, heads: Sequence[bytes], exemplars: Mapping[int, Exemplar]) -> bytes:
        buckets = []
        for place, before in enumerate(heads):
            bucket = before + self._bounds[2 * place + 1]
            if place in exemplars:
                bucket = message(3, bucket[2:] + exemplar_field(3, exemplars[place]))
            buckets.append(bucket)
        return b"".join(buckets)


def _sum(total: float) -> bytes:
    return b"\x11" + _pack_double(total)


def _counter(metric: FamilyMetric, values: LabelValues, child: Any, created: bytes) -> bytes:
    content = b"\x09" + _pack_double(metric.amounts(child)[1])
    exemplar = (child.exemplars or {}).get(0)
    if exemplar is not None:
        content += exemplar_field(2, exemplar)
    content += created
    return b"\x1a" + varint(len(content)) + content


def _gauge(metric: FamilyMetric, values: LabelValues, child: Any, created: bytes) -> bytes:
    return b"\x12\x09\x09" + _pack_double(metric.amounts(child)[1])


def _summary(metric: FamilyMetric, values: LabelValues, child: Any, created: bytes) -> bytes:
    (number,), total = metric.amounts(child)
    content = count(1, int(number)) + _sum(total) + created
    return b"\x22" + varint(len(content)) + content
