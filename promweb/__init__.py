"""Prometheus metrics for Flask and Quart from one framework-neutral core.

    from promweb import PrometheusMetrics  # Flask
    metrics = PrometheusMetrics(app)

    from promweb import AsyncPrometheusMetrics  # Quart
    metrics = AsyncPrometheusMetrics(app)

Importing this package imports neither framework and hardly anything else: each name is loaded when
it is first used.

PYTEST_DONT_REWRITE: otherwise pytest, for which this is a plugin, warns programs that import it
first.
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
    from .core.defaults.callbacks import RequestInfo
    from .core.metrics import NO_PREFIX

__all__ = [
    "NO_PREFIX",
    "AsyncPrometheusMetrics",
    "ConnexionPrometheusMetrics",
    "PrometheusMetrics",
    "RESTfulPrometheusMetrics",
    "RequestInfo",
    "__version__",
]

# name: (module, the framework and extra that it needs)
_LAZY = {
    "NO_PREFIX": ("core.metrics", ""),
    "RequestInfo": ("core.defaults.callbacks", ""),
    "AsyncPrometheusMetrics": ("adapters.quart", "quart"),
    "PrometheusMetrics": ("adapters.flask", "flask"),
    "RESTfulPrometheusMetrics": ("adapters.restful", "flask"),
    "ConnexionPrometheusMetrics": ("adapters.connexion", "flask"),
}

_OTHERS = {
    "AsyncPrometheusMetrics": ". For Flask, use PrometheusMetrics",
    "PrometheusMetrics": ". For Quart, use AsyncPrometheusMetrics",
}
"""The classes that a program may have meant."""

# extra: the packages that it installs and an adapter imports
_EXTRAS = {"flask": ("flask",), "quart": ("quart", "anyio"), "": ()}

# name: (module, framework) of names that prometheus_flask_exporter's module has, for programs that
# import them from there
_THEIRS = {
    **dict.fromkeys(
        ("CollectorRegistry", "Counter", "Gauge", "Histogram", "Summary"), ("prometheus_client", "")
    ),
    "choose_encoder": ("prometheus_client.exposition", ""),
    **dict.fromkeys(
        ("Flask", "Response", "current_app", "make_response", "request"), ("flask", "flask")
    ),
    "MethodView": ("flask.views", "flask"),
    "is_running_from_reloader": ("werkzeug.serving", "flask"),
    "HTTPStatus": ("http", ""),
    "default_timer": ("timeit", ""),
    "wraps": ("functools", ""),
}


def __dir__() -> list[str]:
    """Return the public names that can be loaded: `help` loads every name in this list."""
    return [name for name in __all__ if all(map(_is_there, _needs(name)))]


def _needs(name: str) -> tuple[str, ...]:
    """Return the packages that a public name needs."""
    if name == "ConnexionPrometheusMetrics":
        return "flask", "anyio"
    return _EXTRAS[_LAZY[name][1]] if name in _LAZY else ()


def _is_there(package: str) -> bool:

    from importlib.util import find_spec

    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def __getattr__(name: str) -> Any:
    if name in _THEIRS:  # not cached, so that `dir()` shows promweb's own names
        return _load(name, *_THEIRS[name])
    if name == "pc_multiprocess":
        return import_module("prometheus_client.multiprocess")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, framework = _LAZY[name]
    value = globals()[name] = _load(name, f"{__name__}.{module}", framework)
    return value


def _load(name: str, module: str, framework: str) -> Any:
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS[framework]:
            raise
        missing = error.name.capitalize() if error.name == framework else error.name
        other = _OTHERS.get(name, "")
        raise ImportError(
            f"promweb.{name} needs {missing}, which is not installed. "
            f"Install it with: pip install 'promweb[{framework}]'{other}"
        ) from error
