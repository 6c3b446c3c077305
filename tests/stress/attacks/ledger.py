"""Compares the numbers of a service with the expected ones."""

from __future__ import annotations

from collections import Counter

from .strict import Samples
from .targets import LONGEST, OVERFLOW, Books

__all__ = ["compare"]

UNMATCHED = "<unmatched>"

LABELS = {
    "orders_total": {"who", "client", "raw"},
    "flask_http_request_total": {"method", "status"},
    "flask_http_request_exceptions_total": {"method", "status"},
    "flask_http_request_duration_seconds_bucket": {"method", "path", "status", "le"},
    "flask_http_request_duration_seconds_count": {"method", "path", "status"},
    "flask_http_request_duration_seconds_sum": {"method", "path", "status"},
    "flask_http_requests_in_progress": {"method"},
    "flask_exporter_info": {"version"},
    "promweb_series_folded_total": {"metric"},
}


def compare(samples: Samples, books: Books, max_series: int) -> None:
    """Assert that the samples match the requests, all of them and no others.

    A label set that is exposed as itself has each of its recordings; one that overflowed has its
    recordings in a sum.
    """
    sizes: Counter[str] = Counter()
    for name, labels in samples:
        assert {label for label, _ in labels} == LABELS[name], name
        sizes[name] += "le" not in LABELS[name]
        assert all(len(value.encode()) <= LONGEST for _, value in labels)
    assert max(sizes.values()) <= max_series

    assert _by(samples, "flask_http_request_total", "method", "status") == books.requests
    failed = {key: count for key, count in books.requests.items() if key[1] == "500"}
    assert _by(samples, "flask_http_request_exceptions_total", "method", "status") == failed
    assert set(_by(samples, "flask_http_requests_in_progress", "method").values()) == {0.0}

    requests = _by(samples, "flask_http_request_duration_seconds_count", "method", "status")
    assert requests == books.requests
    paths = _by(samples, "flask_http_request_duration_seconds_count", "path")
    for (path,), count in paths.items():
        if path not in (OVERFLOW, UNMATCHED):
            assert 0 < count <= books.paths[path], path

    orders = _by(samples, "orders_total", "who", "client", "raw")
    assert sum(orders.values()) == sum(books.orders.values())
    for values, count in orders.items():
        if values != (OVERFLOW,) * 3:
            assert count == books.orders[values], values


def _by(samples: Samples, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the sums of a name by the values of some labels."""
    sums: Counter[tuple[str, ...]] = Counter()
    for (sample, pairs), value in samples.items():
        if sample == name:
            found = dict(pairs)
            sums[tuple(found[label] for label in labels)] += value  # type: ignore[assignment]
    return sums  # type: ignore[return-value]
