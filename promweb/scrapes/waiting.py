"""Reads from a scrape which routes hold the event loop, and how long requests waited for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from prometheus_client.samples import Sample

from ..core.insight import loop, process, queue_time
from .counts import count_of, histograms
from .tally import Tally

__all__ = ["WAITS", "read_loops", "read_waits"]

WAITS = {
    "queue": queue_time.NAME,
    "event loop": process.LAG,
    "thread": process.THREAD_WAIT,
}
"""The things that requests wait for, and the family of each without its prefix."""


def read_loops(
    samples: Mapping[str, list[Sample]], prefix: str, group: str, unmatched: str
) -> dict[str, Tally]:
    """Return how long the requests of each route held the event loop.

    The tally has the longest steps of requests in its buckets, and in `seconds` all steps.
    """
    found: dict[str, Tally] = {}
    for labels, tally in histograms(samples, f"{prefix}{loop.BLOCK}").items():
        route = dict(labels).get(group) or unmatched
        steps = replace(tally, seconds=0.0)
        found[route] = Tally.total((found[route], steps)) if route in found else steps
    for sample in samples.get(f"{prefix}{loop.SECONDS}", []):
        route = sample.labels.get(group) or unmatched
        if route in found:
            found[route] = replace(found[route], seconds=found[route].seconds + count_of(sample))
    return found


def read_waits(samples: Mapping[str, list[Sample]], prefix: str) -> dict[str, Tally]:
    """Return the times of waiting for each thing that somebody waited for."""
    found = {
        what: Tally.total(histograms(samples, f"{prefix}{name}").values())
        for what, name in WAITS.items()
    }
    return {what: tally for what, tally in found.items() if tally.count}
