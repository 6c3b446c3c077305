"""Prometheus metrics for Flask and Quart from one framework-neutral core.

    from promweb import PrometheusMetrics  # Flask
    metrics = PrometheusMetrics(app)

    from promweb import AsyncPrometheusMetrics  # Quart
    metrics = AsyncPrometheusMetrics(app)

Importing this package imports neither framework and hardly anything else: each name is loaded when
it is first asked for.

PYTEST_DONT_REWRITE: else pytest, for which this is a plugin, warns programs that import it first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .core.version import __version__

if TYPE_CHECKING:
    from .adapters.connexion import ConnexionPrometheusMetrics
    from .adapters.flask import PrometheusMetrics
    from .adapters.quart import AsyncPrometheusMetrics
    from .adapters.restful import RESTfulPrometheusMetrics
    from .core.metrics import NO_PREFIX

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
    "NO_PREFIX": ("core.metrics", ""),
    "AsyncPrometheusMetrics": ("adapters.quart", "quart"),
    "PrometheusMetrics": ("adapters.flask", "flask"),
    "RESTfulPrometheusMetrics": ("adapters.restful", "flask"),
    "ConnexionPrometheusMetrics": ("adapters.connexion", "flask"),
}

# extra: what it installs and an adapter imports
_EXTRAS = {"flask": ("flask",), "quart": ("quart", "anyio"), "": ()}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, framework = _LAZY[name]
    try:
        value = getattr(import_module(f".{module}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS[framework]:
            raise
        raise ImportError(
            f"promweb.{name} needs {framework.capitalize()}, which is not installed. "
            f"Install it with: pip install 'promweb[{framework}]'"
        ) from error
    globals()[name] = value
    return value
