"""promweb's families in a registry: each is made once and reused."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.metrics_core import Metric

from .. import forking
from .family import Family
from .problems import Problems
from .storage import Storage

__all__ = ["Catalog"]

FamilyT = TypeVar("FamilyT", bound=Family[Any])

# One series shows the information of all living workers. prometheus_client before 0.15 lacks
# `livemax`, and no public name lists the modes.
_INFO_MODE: Any = "livemax" if "livemax" in getattr(Gauge, "_MULTIPROC_MODES", ()) else "max"

_SUFFIXES = ("_total", "_created", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info")
"""The ends of sample names, after the name of the family."""

_catalogs: weakref.WeakKeyDictionary[CollectorRegistry, Catalog] = weakref.WeakKeyDictionary()


class Catalog:
    """promweb's families in one registry; `Catalog.of(registry)` returns it."""

    def __init__(self) -> None:
        self.problems = Problems()
        self.storage: Storage | None = None
        """Keeps and reads the numbers; None if they stay in this process."""
        self._families: dict[str, Family[Any]] = {}
        self._infos: dict[str, tuple[Gauge, tuple[str, ...]]] = {}
        self._functions: dict[str, dict[frozenset[tuple[str, str]], Callable[[], float]]] = {}
        """The functions that information gauges got with `set_function`, by name and labels."""

    @staticmethod
    def of(registry: CollectorRegistry, storage: Storage | None = None) -> Catalog:
        """Return the registry's catalog, which every `PrometheusMetrics` on it shares.

        Families that are added from now on keep their numbers in `storage`, if there is one.
        """
        with forking.definitions:
            catalog = _catalogs.get(registry)
            if catalog is None:
                catalog = _catalogs[registry] = Catalog()
            if catalog.storage is None and storage is not None:
                catalog.keep_in(storage)
            for family in catalog.problems.families:
                catalog.add(registry, family)
            return catalog

    @staticmethod
    def is_shared(registry: CollectorRegistry) -> bool:
        """Tell whether several processes share the numbers of a registry."""
        catalog = _catalogs.get(registry)
        return catalog is not None and catalog.storage is not None

    @staticmethod
    def collect(
        registry: CollectorRegistry, names: Sequence[str] | None, pause: Callable[[], None]
    ) -> Iterable[Metric]:
        """Return the families of a scrape, restricted to samples or families with these names."""
        catalog = _catalogs.get(registry)
        if catalog is not None and catalog.storage is not None:
            return catalog._with_functions(catalog.storage.collect(names, pause))
        return _restricted(registry, names) if names else registry.collect()

    @staticmethod
    def outside(directory: str) -> list[str]:
        """Return the names of families of all registries that keep no numbers in `directory`."""
        with forking.definitions:
            return [
                family.given_name
                for catalog in _catalogs.values()
                for family in catalog._families.values()
                if family not in catalog.problems.families
                and (family.storage is None or family.storage.path != directory)
            ]

    def keep_in(self, storage: Storage) -> None:
        """Keep the numbers of every family that is added from now on in `storage`."""
        late = [name for name in self._families if not name.startswith("promweb_")]
        if late:
            self.problems.warn(
                f"Metrics were defined before multiprocess mode was enabled: {', '.join(late)}. "
                "Scrapes will not show them. Enable it first: set PROMETHEUS_MULTIPROC_DIR before "
                "the program starts, or call promweb.multiprocess.enable() before metrics are made."
            )
        self.storage = storage
        for family in self.problems.families:
            family.keep_in(storage)

    def add(self, registry: CollectorRegistry, family: FamilyT) -> FamilyT:
        """Register a family, or return the registered one that has the same definition.

        The registry decides whether a name is taken; a family that was unregistered is gone.
        """
        with forking.definitions:
            known = self._families.get(family.name)
            try:
                registry.register(family)
            except ValueError as error:
                if known is not None and known.schema == family.schema:
                    return known  # type: ignore[return-value]  # the schema includes the type
                raise _taken(str(family), known, error) from None
            family.on_overflow = self.problems.overflowed
            if self.storage is not None:
                family.keep_in(self.storage)
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
        """Set one label set of an information gauge to 1, and return that."""
        labelnames = tuple(labelnames)
        with forking.definitions:
            known = self._infos.get(name)
            try:
                make = Gauge if self.storage is None else self.storage.make_gauge
                gauge = make(
                    name, documentation, labelnames, registry=registry, multiprocess_mode=_INFO_MODE
                )
            except ValueError as error:
                if known is None or known[1] != labelnames:
                    wanted = f"info {name!r} with labels {labelnames}"
                    raise _taken(wanted, known and f"info with labels {known[1]}", error) from None
                gauge = known[0]
            self._infos[name] = gauge, labelnames
        texts = [str(value) for value in labelvalues]
        child = gauge.labels(*texts) if labelnames else gauge
        child.set(1)
        if self.storage is not None:
            self._keep_function(child, name, frozenset(zip(labelnames, texts, strict=True)))
        return child

    def _keep_function(self, child: Any, name: str, labels: frozenset[tuple[str, str]]) -> None:
        """Make `set_function` work where scrapes read files, which cannot hold functions.

        The process that answers a scrape calls its own function. Other processes may have none,
        such as one that only serves scrapes: they show the function's value when it was set.
        """
        set_function: Callable[[Any], None] = child.set_function

        def keep(function: Callable[[], float]) -> None:
            set_function(function)
            self._functions.setdefault(name, {})[labels] = function
            try:
                child.set(float(function()))
            except Exception:
                self.problems.failed(f"ask the function of {name!r} before the first scrape")

        child.set_function = keep

    def _with_functions(self, metrics: Iterable[Metric]) -> Iterable[Metric]:
        """Yield metrics with the present values of functions in place of stored ones."""
        for metric in metrics:
            functions = self._functions.get(metric.name)
            if functions is None:
                yield metric
                continue
            changed = Metric(metric.name, metric.documentation, metric.type)
            for sample in metric.samples:
                function = functions.get(frozenset(sample.labels.items()))
                value = sample.value if function is None else float(function())
                changed.add_sample(sample.name, sample.labels, value)
            yield changed


def _restricted(registry: CollectorRegistry, names: Sequence[str]) -> Iterable[Metric]:
    """Yield what prometheus_client yields for sample names, then the families with the others.

    prometheus_client finds no family by its own name, unless a sample has it, too. Asking once for
    everything would change the order of what it finds.
    """
    left = set(names)
    found: Any = registry.restricted_registry(names)
    for metric in found.collect():
        left.discard(metric.name)
        yield metric
    samples = [name + suffix for name in left for suffix in _SUFFIXES]
    found = registry.restricted_registry(samples)
    for metric in found.collect():
        if metric.name in left:
            yield metric


def _taken(wanted: str, known: object, error: ValueError) -> ValueError:
    if known is None and "uplicate" not in str(error):
        return ValueError(f"{wanted}: {error}")
    there = known or "a collector that promweb did not make"
    return ValueError(
        f"cannot define {wanted}: the registry already has {there} ({error}). "
        "Use the same definition, another name, or another registry."
    )
