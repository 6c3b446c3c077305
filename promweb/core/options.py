"""The constructor's arguments: read once, checked, and kept in one frozen object.

Imports no other part of promweb, so that every room may use the options.
"""

from __future__ import annotations

import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

import prometheus_client
from prometheus_client import CollectorRegistry

__all__ = [
    "DEFAULT_FACTOR",
    "GROUP_BY",
    "NO_PREFIX",
    "GroupBy",
    "InProgress",
    "Naming",
    "Options",
    "is_disabled",
    "read_buckets",
    "read_decorator",
    "read_default_labels",
    "read_flag",
    "read_group_by",
    "read_in_progress",
    "read_max_series",
    "read_namespace",
    "read_naming",
    "read_native",
    "read_path",
    "read_patterns",
    "read_registry",
]

DEFAULT_FACTOR = 1.1
"""The default growth of native buckets."""

NO_PREFIX = "#no_prefix"
"""Pass it as `defaults_prefix` to give the default metrics no prefix."""

Naming = Literal["promweb", "otel"]
"""The naming of the default metrics."""

InProgress: TypeAlias = bool | Literal["group"]
"""Whether to count requests in progress, and whether by group."""

GroupBy: TypeAlias = str | Callable[[Any], object]


class _Unsaid(str):
    """A default that differs from an argument with the same text."""

    __slots__ = ()


GROUP_BY: GroupBy = _Unsaid("path")
"""The default of `group_by`."""

_FLAGS = (True, False, None)


@dataclass(frozen=True)
class Options:
    """The arguments of a metrics object; each field is named after its argument."""

    path: str | None = "/metrics"
    export_defaults: bool = True
    defaults_prefix: str = "flask"
    group_by: GroupBy = "path"
    buckets: Sequence[float | str] | None = None
    default_latency_as_histogram: bool = True
    default_labels: Mapping[str, object] = field(default_factory=dict)
    excluded_paths: tuple[re.Pattern[str], ...] = ()
    excluded_methods: frozenset[str] = frozenset()
    excluded_statuses: frozenset[int] = frozenset()
    excluded_unmatched: bool = False
    exclude_user_defaults: bool = True
    metrics_decorator: Callable[[Any], Any] | None = None
    registry: CollectorRegistry = field(default_factory=lambda: read_registry(None))
    max_series: int = 1000
    in_progress: InProgress = False
    request_size: bool = False
    response_size: bool = False
    response_start: bool = False
    websockets: bool = True
    exemplar: bool | Callable[[], Mapping[str, str] | None] | None = None
    naming: Naming = "promweb"
    status_classes: bool = False
    process_metrics: bool = False
    native_histograms: float | None = None
    namespace: str = ""
    queue_time: bool | str = False
    event_loop: bool | float = False
    threads: bool = False
    background_tasks: bool = False

    @property
    def prefix(self) -> str:
        """The beginning of the names of the default metrics."""
        return "" if self.defaults_prefix == NO_PREFIX else self.defaults_prefix + "_"

    @property
    def excludes_some(self) -> bool:
        """Whether any request may be excluded."""
        return bool(
            self.excluded_paths
            or self.excluded_methods
            or self.excluded_statuses
            or self.excluded_unmatched
        )

    @property
    def looks_inside(self) -> list[str]:
        """The arguments that ask for what only an event loop has."""
        names = ("event_loop", "threads", "background_tasks")
        return [name for name in names if getattr(self, name)]


def is_disabled() -> bool:
    """Tell whether the environment switches promweb off."""
    return os.environ.get("PROMWEB_DISABLED", "0") not in ("", "0")


def read_group_by(group_by: GroupBy, group_by_endpoint: bool | None) -> GroupBy:
    if group_by is GROUP_BY:
        group_by = "path"
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
    return {**(static_labels or {}), **(default_labels or {})}


def frames_of_promweb() -> int:
    """Return the `stacklevel`, for the caller, of the line of the program that called promweb."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("promweb."):
        level, frame = level + 1, frame.f_back
    return level


def _deprecated(argument: str, instead: str) -> None:
    """Warn at the user's line, however many of promweb's own calls lie between."""
    warnings.warn(
        f"{argument} is deprecated; use {instead}",
        DeprecationWarning,
        stacklevel=frames_of_promweb(),
    )


def read_max_series(max_series: int) -> int:
    if not isinstance(max_series, int) or isinstance(max_series, bool) or max_series < 1:
        raise ValueError(f"max_series={max_series!r}: must be a whole number of at least 1")
    return max_series


def read_flag(argument: str, value: object) -> bool:
    """Return True or False. Raises TypeError for anything else, such as the text "no"."""
    if value not in _FLAGS:
        raise TypeError(f"{argument}={value!r}: must be True or False")
    return bool(value)


def read_native(native_histograms: bool | float | None, of: str = "") -> float | None:
    """Return the factor by which native buckets grow at most; None for no native buckets.

    Raises ValueError or TypeError for anything but True, False, None or a number above 1.
    """
    if native_histograms is None or native_histograms is False:
        return None
    if native_histograms is True:
        return DEFAULT_FACTOR
    where = f"native_histograms={native_histograms!r}{of}"
    if not isinstance(native_histograms, (int, float)):
        raise TypeError(f"{where}: must be True, False, or a number above 1, as in 1.1")
    if not 1 < native_histograms < math.inf:
        raise ValueError(
            f"{where}: must be above 1: each bucket is that many times as wide as the one before, "
            "as in 1.1"
        )
    return float(native_histograms)


def read_in_progress(value: object) -> InProgress:
    if value == "group":
        return "group"
    if value not in _FLAGS:
        raise TypeError(f"in_progress={value!r}: must be True, False or 'group'")
    return bool(value)


def read_namespace(namespace: str | None) -> str:
    if namespace is not None and not isinstance(namespace, str):
        raise TypeError(f"namespace={namespace!r}: must be text, as in namespace='shop'")
    return namespace or ""


def read_buckets(
    buckets: Iterable[float | str] | None, of: str = "", *, native: bool = False
) -> Sequence[float | str] | None:
    """Return upper bounds; raise ValueError or TypeError if buckets cannot have them.

    A histogram with `native` buckets may have no bounds.
    """
    if buckets is None:
        return None
    example = "as in buckets=(0.1, 0.5, 1)"
    if isinstance(buckets, (str, bytes)) or not isinstance(buckets, Iterable):
        raise TypeError(f"buckets={buckets!r}{of}: must be several numbers, {example}")
    read = buckets if isinstance(buckets, Sequence) else tuple(buckets)
    try:
        bounds = [float(bound) for bound in read]
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"buckets={read!r}{of}: must be numbers, {example}; {error}") from error
    if native and bounds in ([], [math.inf]):
        return ()
    if not bounds or bounds == [math.inf]:
        raise ValueError(
            f"buckets={read!r}{of}: must have at least one number, {example}; only a histogram "
            "with native_histograms may have none"
        )
    if math.isnan(bounds[0]) or any(not low < high for low, high in pairwise(bounds)):
        raise ValueError(
            f"buckets={read!r}{of}: each number must be greater than the one before, {example}"
        )
    return read


def read_patterns(excluded_paths: str | Iterable[str] | None) -> tuple[re.Pattern[str], ...]:
    if excluded_paths is None or isinstance(excluded_paths, (str, bytes, re.Pattern)):
        excluded_paths = [excluded_paths] if excluded_paths else []
    if not isinstance(excluded_paths, Iterable):
        raise TypeError(
            f"excluded_paths={excluded_paths!r}: must be a regular expression or a list of them"
        )
    patterns = []
    for pattern in excluded_paths:
        try:
            compiled = re.compile(pattern)
        except (re.error, TypeError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"excluded_paths: {pattern!r} is not a regular expression: {error}"
            ) from error
        if not isinstance(compiled.pattern, str):
            raise TypeError(
                f"excluded_paths: {pattern!r} is for bytes, and paths are text; leave the b out"
            )
        patterns.append(compiled)
    return tuple(patterns)


def read_decorator(
    metrics_decorator: Callable[[Any], Any] | None,
) -> Callable[[Any], Any] | None:
    if metrics_decorator is not None and not callable(metrics_decorator):
        raise TypeError(
            f"metrics_decorator={metrics_decorator!r}: must be a decorator: a function that takes "
            "the metrics view and returns another one"
        )
    return metrics_decorator


def read_path(path: str | None, where: str = "path") -> str | None:
    if path is not None and not isinstance(path, str):
        raise TypeError(f"{where}={path!r}: must be text, as in '/metrics', or None for nowhere")
    if path and not path.startswith("/"):
        raise ValueError(f"{where}={path!r}: must begin with a slash; write '/{path}'")
    if path and any(character in path for character in "<>?#"):
        raise ValueError(
            f"{where}={path!r}: must be one path, without a variable part or a query, as in "
            "'/metrics'"
        )
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


def read_naming(naming: Naming) -> Naming:
    if naming not in get_args(Naming):
        raise ValueError(
            f"naming={naming!r}: must be 'promweb', for the names of this library, or 'otel', for "
            "those of OpenTelemetry's semantic conventions"
        )
    return naming
