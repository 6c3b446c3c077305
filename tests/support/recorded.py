"""The actual and the expected samples of a registry, to compare whole."""

from __future__ import annotations

from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from .legs import Leg

Labels = frozenset[tuple[str, str]]
Samples = dict[str, dict[Labels, float]]


class Done(NamedTuple):
    """One request that should have been recorded; `labels` are the default labels."""

    method: str
    group: str
    status: int
    seconds: float = 0.0
    failed: bool = False
    labels: tuple[tuple[str, str], ...] = ()


def samples(registry: CollectorRegistry) -> Samples:
    """Return all samples of a registry by name, but buckets, `_created` and `exporter_info`."""
    found: Samples = {}
    for metric in registry.collect():
        for sample in metric.samples:
            if not sample.name.endswith(("_bucket", "_created", "exporter_info")):
                found.setdefault(sample.name, {})[labels(**sample.labels)] = sample.value
    return found


def labels(**values: str) -> Labels:
    return frozenset(values.items())


def expected(
    *requests: Done, by: str = "path", prefix: str = "flask_", in_progress: bool = False
) -> Samples:
    """Return the samples that the default metrics should have after these requests."""
    found: Samples = {}

    def add(name: str, amount: float, *pairs: Any) -> None:
        family = found.setdefault(f"{prefix}http_request{name}", {})
        family[frozenset(pairs)] = family.get(frozenset(pairs), 0.0) + amount

    for request in requests:
        method, status = ("method", request.method), ("status", str(request.status))
        group = (by, request.group)
        add("_duration_seconds_count", 1.0, method, group, status, *request.labels)
        add("_duration_seconds_sum", request.seconds, method, group, status, *request.labels)
        add("_total", 1.0, method, status, *request.labels)
        if request.failed:
            add("_exceptions_total", 1.0, method, status, *request.labels)
        if in_progress:
            add("s_in_progress", 0.0, method)
    return found


def check(leg: Leg, *requests: Done) -> None:
    """Assert that these requests were recorded, nothing else was, and none is in progress."""
    assert samples(leg.registry) == expected(*requests, in_progress=True)


def in_progress(leg: Leg) -> float | None:
    return leg.value("flask_http_requests_in_progress", method="GET")
