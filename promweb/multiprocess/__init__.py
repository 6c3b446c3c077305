"""Metrics that several worker processes share in files of one directory. Any worker serves them.

    from promweb.multiprocess import enable
    enable()  # before metrics are created; or set PROMETHEUS_MULTIPROC_DIR

The classes of prometheus_flask_exporter.multiprocess are here, too; they need Flask.
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


# name: (module, name) of names that prometheus_flask_exporter.multiprocess has, too
_THEIRS = {
    "CollectorRegistry": ("prometheus_client", "CollectorRegistry"),
    "MultiProcessCollector": ("prometheus_client.multiprocess", "MultiProcessCollector"),
    "PrometheusMetrics": ("promweb", "PrometheusMetrics"),
    "pc_mark_process_dead": ("prometheus_client.multiprocess", "mark_process_dead"),
    "pc_start_http_server": ("prometheus_client", "start_http_server"),
}


def __getattr__(name: str) -> Any:
    if name in _THEIRS:  # not cached, so that `dir()` shows promweb's own names
        module, their_name = _THEIRS[name]
        return getattr(import_module(module), their_name)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .. import PrometheusMetrics  # noqa: F401  # raises with the remedy if Flask is missing

    value = globals()[name] = getattr(import_module("promweb.adapters.multiprocess"), name)
    return value
