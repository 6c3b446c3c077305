"""An application that a library measures, and the library's numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import prometheus_client
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics import exposition
from prometheus_client.parser import text_string_to_metric_families

__all__ = [
    "NO_DECORATOR",
    "SHARED",
    "SLOW",
    "Measured",
    "Numbers",
    "Peer",
    "merged",
    "span",
    "yes",
]

NO_DECORATOR = "no such decorator"
SHARED = "PROMETHEUS_MULTIPROC_DIR"
SLOW = 0.1


@dataclass(frozen=True)
class Peer:
    """One library on one framework."""

    name: str
    attach: Callable[[Any], Any]
    """Measures an application; returns the object that has decorators, if there is one."""
    requests: str
    """The samples with a request each, by route and status."""
    seconds: str = ""
    """The sum of durations."""
    in_progress: str = ""
    websockets: str = ""
    """The samples with the duration of a websocket each."""
    scrape: Callable[[Any], str] = lambda metrics: prometheus_client.generate_latest().decode()
    """Returns the exposition, of what `attach` returned."""


class Numbers:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def of(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each sample of a name that is not zero."""
        return [(s.labels, s.value) for s in self._samples if s.name == name and s.value]

    def sum(self, name: str, **labels: str) -> float:
        return sum(value for found, value in self.of(name) if labels.items() <= found.items())

    def of_status(self, peer: Peer, status: str) -> float:
        """Return the number of requests with a status, whatever the label is called."""
        return sum(value for found, value in self.of(peer.requests) if status in found.values())

    def gauge(self, name: str) -> str:
        found = [sample.value for sample in self._samples if sample.name == name]
        return f"{sum(found):g}" if found else "not measured"

    def counts(self) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        """Return what the library counts, without the numbers."""
        return {
            (sample.name, tuple(sorted(sample.labels.items())))
            for sample in self._samples
            if sample.value and sample.name.endswith(("_total", "_count", "_counter"))
            if not sample.name.startswith(("python_", "process_"))
        }


class Measured:
    """An application that a library measures."""

    def __init__(self, peer: Peer, app: Any) -> None:
        self._peer = peer
        self.metrics = peer.attach(app)

    def numbers(self) -> Numbers:
        return Numbers(self._peer.scrape(self.metrics))

    def open_metrics(self) -> str:
        """Return the exposition of prometheus_client's registry that has exemplars."""
        return exposition.generate_latest(prometheus_client.REGISTRY).decode()


def yes(holds: bool) -> str:
    return "yes" if holds else "no"


def merged(metrics: Any = None) -> str:
    """Return the exposition as prometheus_client documents it for several processes."""
    registry = prometheus_client.REGISTRY
    if SHARED in os.environ:
        registry = prometheus_client.CollectorRegistry()
        MultiProcessCollector(registry)
    return prometheus_client.generate_latest(registry).decode()


def span() -> AbstractContextManager[Any]:
    """Return a sampled span, which is current inside of it."""
    from opentelemetry.sdk.trace import TracerProvider

    return TracerProvider().get_tracer("comparison").start_as_current_span("request")
