"""Gauges of prometheus_client whose numbers are in promweb's own files, for `info`.

Programs set such a gauge like any other. promweb's file belongs to one registry and has its space
reserved. `_metric_init` and `_value` are private names of prometheus_client.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry, Gauge

from ..core.families.kinds import GaugeFamily
from ..core.families.storage import Storage
from .stored_children import StoredNumber

__all__ = ["stored_gauge"]


class StoredGauge(Gauge):
    """A gauge whose label sets belong to a family in a storage."""

    family: ClassVar[GaugeFamily]
    storage: ClassVar[Storage]

    def _metric_init(self) -> None:
        self._value: Any = _Value(self, self._labelvalues)


class _Value:
    """One number. It gets its place when it is first set: the registry may refuse the gauge."""

    def __init__(self, gauge: StoredGauge, labelvalues: tuple[str, ...]) -> None:
        self._gauge = gauge
        self._labelvalues = labelvalues

    def inc(self, amount: float) -> None:
        self._child().record(amount)

    def set(self, value: float, timestamp: float | None = None) -> None:
        self._child().set(value)

    def get(self) -> float:
        return self._child().value

    def _child(self) -> StoredNumber:
        family = self._gauge.family
        with family.lock:
            if family.storage is None:
                family.keep_in(self._gauge.storage)
            # The program chose all values, and none is too long.
            child: Any = family.child(self._labelvalues, overflow=self._labelvalues)
        return child  # type: ignore[no-any-return]


def stored_gauge(
    storage: Storage,
    name: str,
    documentation: str,
    labelnames: tuple[str, ...],
    *,
    registry: CollectorRegistry,
    multiprocess_mode: Any,
) -> Gauge:
    """Return a registered gauge. Raises ValueError as prometheus_client does."""
    family = GaugeFamily(
        name,
        documentation,
        labelnames,
        multiprocess_mode=multiprocess_mode,
        max_series=sys.maxsize,  # the program makes the label sets, not requests
    )
    kind = type("Gauge", (StoredGauge,), {"family": family, "storage": storage})
    gauge: Gauge = kind(
        name, documentation, labelnames, registry=registry, multiprocess_mode=multiprocess_mode
    )
    return gauge
