"""Metrics of several worker processes, kept in files of one directory. Any worker serves them all.

    from promweb.multiprocess import enable
    enable()  # before metrics are created; or set PROMETHEUS_MULTIPROC_DIR

The classes of prometheus_flask_exporter.multiprocess are here as well; they need Flask.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .setup import enable, mark_process_dead

if TYPE_CHECKING:
    from ..adapters.multiprocess import (
        GunicornInternalPrometheusMetrics,
        GunicornPrometheusMetrics,
        MultiprocessInternalPrometheusMetrics,
        MultiprocessPrometheusMetrics,
        UWsgiPrometheusMetrics,
    )

__all__ = [
    "GunicornInternalPrometheusMetrics",
    "GunicornPrometheusMetrics",
    "MultiprocessInternalPrometheusMetrics",
    "MultiprocessPrometheusMetrics",
    "UWsgiPrometheusMetrics",
    "enable",
    "mark_process_dead",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .. import PrometheusMetrics  # noqa: F401  # raises with the remedy if Flask is missing

    value = globals()[name] = getattr(import_module("promweb.adapters.multiprocess"), name)
    return value
