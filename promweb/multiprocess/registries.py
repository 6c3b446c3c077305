"""Registries of several workers: each has its own files, named alike in every worker.

The name consists of the application's name, the path and the prefix of the object that first used
the registry. Metrics of prometheus_client share one file, which does not name their registry. They
belong to the registry of this process that has metrics of their names, or else to the default one.
"""

from __future__ import annotations

import gc
import hashlib
import weakref
from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from .files import file_names

__all__ = ["Registries", "is_of_all_processes"]


class Registries:
    """The registries of this process, and the tokens in their files' names."""

    def __init__(self) -> None:
        self._tokens: weakref.WeakKeyDictionary[CollectorRegistry, str] = (
            weakref.WeakKeyDictionary()
        )

    def token(self, registry: CollectorRegistry, name: str, *, is_alone: bool = True) -> str:
        """Return the token that names a registry's files; `name` is the registry's own.

        With `is_alone`, raises ValueError if another registry of this process has the name.
        """
        if registry is REGISTRY:
            return file_names.DEFAULT
        token = self._tokens.get(registry)
        if token is None:
            token = hashlib.sha256(name.encode()).hexdigest()[: file_names.TOKEN]
            if is_alone and token in self._tokens.values():
                gc.collect()  # the other registry may be garbage that is not collected yet
            if is_alone and token in self._tokens.values():
                raise ValueError(
                    f"two registries are both called {name}, so other workers cannot distinguish "
                    "them: give each metrics object its own path or defaults_prefix, or give both "
                    "the same registry"
                )
            self._tokens[registry] = token
        return token

    def has(self, registry: CollectorRegistry, metric: str) -> bool:
        """Tell whether a metric of prometheus_client belongs to a registry."""
        if metric in _names(registry):
            return True
        others = [reference() for reference in self._tokens.keyrefs()]
        return registry is REGISTRY and not any(metric in _names(other) for other in others)


def is_of_all_processes(registry: CollectorRegistry) -> bool:
    """Tell whether the registry has prometheus_client's collector of the whole directory."""
    collectors = list(getattr(registry, "_collector_to_names", ()))
    return any(isinstance(collector, MultiProcessCollector) for collector in collectors)


def _names(registry: CollectorRegistry | None) -> Iterable[str]:
    """Return the names of a registry's metrics; prometheus_client has no public way."""
    names: Iterable[str] = getattr(registry, "_names_to_collectors", ())
    return names
