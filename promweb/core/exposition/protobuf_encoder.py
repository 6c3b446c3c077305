"""Encodes any metric of any collector as protobuf; Prometheus gets the same series as from text.

A message for a histogram, say, always makes the series of count and sum. If the samples of a metric
do not fit its type, this writes them one by one, without a type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar, Sample

from ..families.numbers import text_of
from .escaping import Escape
from .protobuf_wire import count, double, message, text, varint

__all__ = [
    "COUNTER",
    "GAUGE",
    "HISTOGRAM",
    "SUMMARY",
    "created_at",
    "encode",
    "exemplar_field",
    "family_message",
    "head",
    "label_pairs",
    "tail",
]

COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = range(6)
"""The values of `MetricType`."""

_GAUGES = ("gauge", "info", "stateset")

Labels = tuple[tuple[str, str], ...]
Key = tuple[Labels, int | None]
"""Identifies a message: its labels, and its time in milliseconds."""


class _Unfit(Exception):
    """The samples do not fit the type of the metric."""


def encode(metric: Metric, escape_metric: Escape, escape_label: Escape) -> bytes:
    """Return the messages of a metric, each after its length."""
    pairs = lru_cache(None)(lambda labels: label_pairs(labels, escape_label))

    def write(name: str, kind: int, rows: Iterable[tuple[Key, bytes]]) -> bytes:
        name = escape_metric(name)
        parts = [head(name, metric.documentation, kind)]
        for (labels, milliseconds), content in rows:
            at = b"" if milliseconds is None else count(6, milliseconds)
            # Fields are in the order of their numbers, and a histogram's is 7.
            content = at + content if kind in (HISTOGRAM, GAUGE_HISTOGRAM) else content + at
            parts.append(message(4, pairs(labels) + content))
        return family_message([*parts, tail(name, metric.unit)])

    typed = _TYPED.get(metric.type)
    families: list[bytes] = []
    left = metric.samples
    if typed is not None:
        kind, read = typed
        try:
            name, rows, left = read(metric)
            families = [write(name, kind, rows)] if rows else []
        except _Unfit:
            left = metric.samples
    kind = GAUGE if metric.type in (*_GAUGES, "gaugehistogram") else UNTYPED
    for name, samples in _by_name(left).items():
        if typed is not None and name == f"{metric.name}_created":
            continue  # it is a field of a message, not a series
        rows = [(_key(sample), _single(kind, sample.value)) for sample in samples]
        families.append(write(name, kind, rows))
    return b"".join(families)


def head(name: str, documentation: str, kind: int) -> bytes:
    """Return the beginning of a family."""
    return text(1, name) + text(2, documentation) + count(3, kind)


def tail(name: str, unit: str) -> bytes:
    """Return the end of a family: its unit. Servers refuse one that does not end the name."""
    return text(5, unit) if unit and name.endswith(f"_{unit}") else b""


def family_message(parts: list[bytes]) -> bytes:
    """Return a family after its length."""
    return b"".join([varint(sum(map(len, parts))), *parts])


def label_pairs(labels: Iterable[tuple[str, str]], escape: Escape) -> bytes:
    """Return the labels of a metric."""
    return b"".join([message(1, text(1, escape(name)) + text(2, value)) for name, value in labels])


def created_at(field: int, seconds: float) -> bytes:
    """Return a field with a time."""
    whole, nanoseconds = divmod(round(seconds * 1e9), 10**9)
    return message(
        field, (count(1, whole) if whole else b"") + (count(2, nanoseconds) if nanoseconds else b"")
    )


def exemplar_field(field: int, exemplar: Exemplar) -> bytes:
    """Return a field with an exemplar."""
    content = label_pairs(sorted(exemplar.labels.items()), str) + double(2, exemplar.value)
    if exemplar.timestamp is not None:
        content += created_at(3, float(exemplar.timestamp))
    return message(field, content)


def _single(kind: int, value: float) -> bytes:
    return message(2 if kind == GAUGE else 5, double(1, value))


def _key(sample: Sample, without: str = "") -> Key:
    labels = tuple(sorted(item for item in sample.labels.items() if item[0] != without))
    at = sample.timestamp
    return labels, None if at is None else int(float(at) * 1000)


def _by_name(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    names: dict[str, list[Sample]] = {}
    for sample in samples:
        names.setdefault(sample.name, []).append(sample)
    return names


def _exemplar(field: int, sample: Sample) -> bytes:
    return b"" if sample.exemplar is None else exemplar_field(field, sample.exemplar)


def _whole(number: float) -> int:
    """Return a count. Raises `_Unfit` if it is not a whole number."""
    if not 0 <= number < 2**64 or number != int(number):
        raise _Unfit
    return int(number)


def _float(text: str) -> float:
    """Return a bound or a quantile, if Prometheus writes it as the metric does."""
    try:
        number = float(text)
    except ValueError:
        raise _Unfit from None
    if text_of(number) != text:
        raise _Unfit
    return number


class _Read:
    """The parts of one message."""

    def __init__(self) -> None:
        self.numbers: dict[str, float] = {}
        self.parts: dict[float, tuple[float, bytes]] = {}
        """Buckets by their bounds or values by their quantiles, with exemplars."""

    def number(self, suffix: str) -> float:
        if suffix not in self.numbers:
            raise _Unfit
        return self.numbers[suffix]

    def created(self, field: int) -> bytes:
        seconds = self.numbers.get("_created")
        if seconds is None or not math.isfinite(seconds):
            return b""
        return created_at(field, seconds)


def _read(
    metric: Metric, part_suffix: str, part_label: str, suffixes: Iterable[str]
) -> tuple[dict[Key, _Read], list[Sample]]:
    """Return the parts of each message, and the samples that belong to none."""
    found: dict[Key, _Read] = {}
    left = []
    roles: Mapping[str, str] = {metric.name + suffix: suffix for suffix in suffixes}
    for sample in metric.samples:
        if sample.name == metric.name + part_suffix and part_label in sample.labels:
            one = found.setdefault(_key(sample, part_label), _Read())
            bound = _float(sample.labels[part_label])
            if bound in one.parts:
                raise _Unfit
            one.parts[bound] = sample.value, _exemplar(3, sample)
        elif sample.name in roles:
            one = found.setdefault(_key(sample), _Read())
            if roles[sample.name] in one.numbers:
                raise _Unfit
            one.numbers[roles[sample.name]] = sample.value
        else:
            left.append(sample)
    return found, left


_Rows = list[tuple[Key, bytes]]


def _counter(metric: Metric) -> tuple[str, _Rows, list[Sample]]:
    name = f"{metric.name}_total"
    created = {
        _key(sample): created_at(3, sample.value)
        for sample in metric.samples
        if sample.name == f"{metric.name}_created" and math.isfinite(sample.value)
    }
    rows = []
    for sample in metric.samples:
        if sample.name == name:
            key = _key(sample)
            content = double(1, sample.value) + _exemplar(2, sample) + created.get(key, b"")
            rows.append((key, message(3, content)))
    return name, rows, [s for s in metric.samples if s.name not in (name, f"{metric.name}_created")]


def _summary(metric: Metric) -> tuple[str, _Rows, list[Sample]]:
    found, left = _read(metric, "", "quantile", ("_count", "_sum", "_created"))
    rows = []
    for key, one in found.items():
        content = count(1, _whole(one.number("_count"))) + double(2, one.number("_sum"))
        for quantile, (value, _) in one.parts.items():
            content += message(3, double(1, quantile) + double(2, value))
        rows.append((key, message(4, content + one.created(4))))
    return metric.name, rows, left


def _histogram(metric: Metric) -> tuple[str, _Rows, list[Sample]]:
    return _buckets(metric, "_count", "_sum")


def _gauge_histogram(metric: Metric) -> tuple[str, _Rows, list[Sample]]:
    """Return the messages, and the samples `_gcount` and `_gsum`, which they do not make."""
    name, rows, left = _buckets(metric, "_gcount", "_gsum")
    own = (f"{metric.name}_gcount", f"{metric.name}_gsum")
    return name, rows, [*left, *(sample for sample in metric.samples if sample.name in own)]


def _buckets(metric: Metric, count_suffix: str, sum_suffix: str) -> tuple[str, _Rows, list[Sample]]:
    found, left = _read(metric, "_bucket", "le", (count_suffix, sum_suffix, "_created"))
    rows = []
    for key, one in found.items():
        if math.inf not in one.parts:  # Prometheus adds it
            raise _Unfit
        content = count(1, _whole(one.number(count_suffix))) + double(2, one.number(sum_suffix))
        for bound, (value, exemplar) in sorted(one.parts.items()):
            bucket = count(1, _whole(value)) + double(2, bound) + exemplar
            content += message(3, bucket)
        rows.append((key, message(7, content + one.created(15))))
    return metric.name, rows, left


_Reader = Callable[[Metric], tuple[str, _Rows, list[Sample]]]

_TYPED: dict[Any, tuple[int, _Reader]] = {
    "counter": (COUNTER, _counter),
    "summary": (SUMMARY, _summary),
    "histogram": (HISTOGRAM, _histogram),
    "gaugehistogram": (GAUGE_HISTOGRAM, _gauge_histogram),
}
