"""Reads the private parts of prometheus_client's registries."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry


def collectors(registry: CollectorRegistry) -> list[Any]:
    """Return what is registered, in the order of registration."""
    return list(registry._collector_to_names)


def collector(registry: CollectorRegistry, name: str) -> Any:
    """Return what has a name."""
    return registry._names_to_collectors[name]
