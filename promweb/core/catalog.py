"""The families that promweb keeps in a registry: made once, reused, never silently doubled."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Gauge

from . import locking
from .families import Family
from .problems import Problems

__all__ = ["Catalog"]

FamilyT = TypeVar("FamilyT", bound=Family[Any])

_catalogs: weakref.WeakKeyDictionary[CollectorRegistry, Catalog] = weakref.WeakKeyDictionary()


class Catalog:
    """What promweb has put into one registry. Ask for it with `Catalog.of(registry)`."""

    def __init__(self) -> None:
        self.problems = Problems()
        self._families: dict[str, Family[Any]] = {}
        self._infos: dict[str, tuple[Gauge, tuple[str, ...]]] = {}

    @staticmethod
    def of(registry: CollectorRegistry) -> Catalog:
        """Return the registry's catalog; every `PrometheusMetrics` on it shares that one."""
        with locking.definitions:
            catalog = _catalogs.get(registry)
            if catalog is None:
                catalog = _catalogs[registry] = Catalog()
            for family in catalog.problems.families:
                catalog.add(registry, family)
            return catalog

    def add(self, registry: CollectorRegistry, family: FamilyT) -> FamilyT:
        """Register a family, or return the registered one that has the same definition.

        Whether a name is taken is the registry's to say: what somebody unregistered is gone.
        """
        with locking.definitions:
            known = self._families.get(family.name)
            try:
                registry.register(family)
            except ValueError as error:
                if known is not None and known.schema == family.schema:
                    return known  # type: ignore[return-value]  # the schema includes the type
                raise _taken(str(family), known, error) from None
            family.on_fold = self.problems.series_folded
            self._families[family.name] = family
            return family

    def info(
        self,
        registry: CollectorRegistry,
        name: str,
        documentation: str,
        labelnames: Sequence[str],
        labelvalues: Iterable[object],
    ) -> Gauge:
        """Set one label set of an information gauge to 1; prometheus_client stores these."""
        labelnames = tuple(labelnames)
        with locking.definitions:
            known = self._infos.get(name)
            try:
                gauge = Gauge(
                    name, documentation, labelnames, registry=registry, multiprocess_mode="max"
                )
            except ValueError as error:
                if known is None or known[1] != labelnames:
                    wanted = f"info {name!r} with labels {labelnames}"
                    raise _taken(wanted, known and f"info with labels {known[1]}", error) from None
                gauge = known[0]
            self._infos[name] = gauge, labelnames
        child = gauge.labels(*labelvalues) if labelnames else gauge
        child.set(1)
        return child


def _taken(wanted: str, known: object, error: ValueError) -> ValueError:
    if known is None and "uplicate" not in str(error):
        return ValueError(f"{wanted}: {error}")
    there = known or "a collector that promweb did not make"
    return ValueError(
        f"cannot define {wanted}: the registry already has {there} ({error}). "
        "Use the same definition, another name, or another registry."
    )
