"""Constructor arguments: what is accepted, what is deprecated, and what to write instead."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry

from .labels.plan import check_label_name

__all__ = [
    "name_problem",
    "read_decorator",
    "read_default_labels",
    "read_group_by",
    "read_max_series",
    "read_path",
    "read_patterns",
    "read_registry",
]


def read_group_by(
    group_by: str | Callable[[Any], object], group_by_endpoint: bool | None
) -> str | Callable[[Any], object]:
    if group_by_endpoint is None:
        return group_by or "path"
    _deprecated("group_by_endpoint", "group_by='endpoint'")
    return "endpoint" if group_by_endpoint else group_by or "path"


def read_default_labels(
    default_labels: Mapping[str, object] | None, static_labels: Mapping[str, object] | None
) -> dict[str, object]:
    if static_labels is not None:
        _deprecated("static_labels", "default_labels")
    for labels in (default_labels, static_labels):
        if labels is not None and not isinstance(labels, Mapping):
            raise TypeError(
                "default_labels must be a dictionary of label name to value or callable, "
                f"not {type(labels).__name__}"
            )
    merged = {**(static_labels or {}), **(default_labels or {})}
    for label in merged:
        check_label_name(label, "default_labels")
    return merged


def _deprecated(argument: str, instead: str) -> None:
    """Warn where the caller is, however many of promweb's own calls lie between."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("promweb."):
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{argument} is deprecated; use {instead}", DeprecationWarning, stacklevel=level)


def read_max_series(max_series: int) -> int:
    if not isinstance(max_series, int) or isinstance(max_series, bool) or max_series < 1:
        raise ValueError(f"max_series={max_series!r}: must be a whole number of at least 1")
    return max_series


def read_patterns(excluded_paths: str | Iterable[str] | None) -> list[re.Pattern[str]]:
    if excluded_paths is None or isinstance(excluded_paths, (str, re.Pattern)):
        excluded_paths = [excluded_paths] if excluded_paths else []
    if not isinstance(excluded_paths, Iterable):
        raise TypeError(
            f"excluded_paths={excluded_paths!r}: must be a regular expression or a list of them"
        )
    patterns = []
    for pattern in excluded_paths:
        try:
            patterns.append(re.compile(pattern))
        except (re.error, TypeError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"excluded_paths: {pattern!r} is not a regular expression: {error}"
            ) from error
    return patterns


def name_problem(name: str, kind: str) -> str:
    """Return what is odd about the name of a metric, nothing if nothing is; raise if no text."""
    if not isinstance(name, str):
        raise TypeError(f"{kind} {name!r}: the name of a metric must be text")
    if kind != "counter" or not name.endswith("_total_total"):
        return ""
    return f"counter {name!r} ends with _total twice; write {name.removesuffix('_total')!r}"


def read_decorator(
    metrics_decorator: Callable[[Any], Any] | None,
) -> Callable[[Any], Any] | None:
    if metrics_decorator is not None and not callable(metrics_decorator):
        raise TypeError(
            f"metrics_decorator={metrics_decorator!r}: must be a decorator, a function that takes "
            "the metrics view and returns another one"
        )
    return metrics_decorator


def read_path(path: str | None, where: str = "path") -> str | None:
    if path is not None and not isinstance(path, str):
        raise TypeError(f"{where}={path!r}: must be text, as in '/metrics', or None for nowhere")
    if path and not path.startswith("/"):
        raise ValueError(f"{where}={path!r}: must begin with a slash; write '/{path}'")
    return path


def read_registry(registry: CollectorRegistry | None) -> CollectorRegistry:
    if registry is None:
        return prometheus_client.REGISTRY
    if not isinstance(registry, CollectorRegistry):
        raise TypeError(
            f"registry={registry!r}: must be an object of prometheus_client.CollectorRegistry, as "
            "in registry=CollectorRegistry()"
        )
    return registry
