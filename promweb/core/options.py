"""Constructor arguments: what is accepted, what is deprecated, and what to write instead."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .labels import check_label_name

__all__ = ["read_default_labels", "read_group_by", "read_max_series", "read_patterns"]


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
    warnings.warn(f"{argument} is deprecated; use {instead}", DeprecationWarning, stacklevel=4)


def read_max_series(max_series: int) -> int:
    if not isinstance(max_series, int) or isinstance(max_series, bool) or max_series < 1:
        raise ValueError(f"max_series={max_series!r}: must be a whole number of at least 1")
    return max_series


def read_patterns(excluded_paths: str | Iterable[str] | None) -> list[re.Pattern[str]]:
    patterns = []
    paths = [excluded_paths] if isinstance(excluded_paths, str) else excluded_paths or ()
    for pattern in paths:
        try:
            patterns.append(re.compile(pattern))
        except re.error as error:
            raise ValueError(
                f"excluded_paths: {pattern!r} is not a regular expression: {error}"
            ) from error
    return patterns
