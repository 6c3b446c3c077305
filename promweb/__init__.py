"""Prometheus metrics for Flask and Quart from one framework-neutral core.

    from promweb import PrometheusMetrics  # Flask
    metrics = PrometheusMetrics(app)

    from promweb import AsyncPrometheusMetrics  # Quart
    metrics = AsyncPrometheusMetrics(app)

Importing this package imports neither framework: each class is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .core.metrics import NO_PREFIX
from .core.version import __version__

if TYPE_CHECKING:
    from .adapters.connexion import ConnexionPrometheusMetrics
    from .adapters.flask import PrometheusMetrics
    from .adapters.quart import AsyncPrometheusMetrics
    from .adapters.restful import RESTfulPrometheusMetrics

__all__ = [
    "NO_PREFIX",
    "AsyncPrometheusMetrics",
    "ConnexionPrometheusMetrics",
    "PrometheusMetrics",
    "RESTfulPrometheusMetrics",
    "__version__",
]

# name: (module, the framework and extra that it needs)
_LAZY = {
    "AsyncPrometheusMetrics": ("quart", "quart"),
    "PrometheusMetrics": ("flask", "flask"),
    "RESTfulPrometheusMetrics": ("restful", "flask"),
    "ConnexionPrometheusMetrics": ("connexion", "flask"),
}

# extra: what it installs and an adapter imports
_EXTRAS = {"flask": ("flask",), "quart": ("quart", "anyio")}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, framework = _LAZY[name]
    try:
        value = getattr(import_module(f".adapters.{module}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS[framework]:
            raise
        raise ImportError(
            f"promweb.{name} needs {framework.capitalize()}, which is not installed. "
            f"Install it with: pip install 'promweb[{framework}]'"
        ) from error
    globals()[name] = value
    return value
