"""Whole families as plain values, for tests that compare them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

Samples = list[tuple[dict[str, str], float]]


def samples(registry: CollectorRegistry, name: str) -> Samples:
    """Return each sample of a name as (labels, value), in the order of exposition."""
    return [
        (sample.labels, sample.value)
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == name
    ]


def names(registry: CollectorRegistry) -> set[str]:
    """Return the names of every sample in a registry."""
    return {sample.name for metric in registry.collect() for sample in metric.samples}
