"""Reads counts of a scrape as numbers; raises ScrapeError if a value cannot be a count."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from prometheus_client.samples import Sample

from .parsing import ScrapeError
from .tally import Tally

__all__ = ["Labels", "bound_of", "count_of", "histograms", "key_of", "total_of"]

Labels = tuple[tuple[str, str], ...]
"""The labels of a series, sorted."""

_LARGEST = 1e18
"""The largest count or number of bytes; sums of such numbers stay finite."""


def total_of(samples: Iterable[Sample]) -> float:
    return sum(count_of(sample) for sample in samples)


def key_of(sample: Sample) -> Labels:
    return tuple(sorted(pair for pair in sample.labels.items() if pair[0] != "le"))


def count_of(sample: Sample) -> float:
    if not abs(sample.value) < _LARGEST:  # NaN is not, either
        raise ScrapeError(f"{sample.name} is {sample.value}, which cannot be a count")
    return sample.value


def bound_of(sample: Sample) -> float:
    try:
        found = float(sample.labels.get("le", "nan"))
    except ValueError:
        found = math.nan
    if math.isnan(found):
        raise ScrapeError(f"{sample.name} has no bound in its label le")
    return found


def histograms(samples: Mapping[str, list[Sample]], name: str) -> dict[Labels, Tally]:
    """Return each series of a histogram that has observations; none of them is an error."""
    buckets: dict[Labels, dict[float, float]] = {}
    for sample in samples.get(f"{name}_bucket", []):
        buckets.setdefault(key_of(sample), {})[bound_of(sample)] = count_of(sample)
    seconds = {key_of(sample): count_of(sample) for sample in samples.get(f"{name}_sum", [])}
    counts = {key_of(sample): count_of(sample) for sample in samples.get(f"{name}_count", [])}
    return {
        labels: Tally(number, 0.0, seconds.get(labels, math.nan), buckets.get(labels, {}))
        for labels, number in counts.items()
        if number
    }
