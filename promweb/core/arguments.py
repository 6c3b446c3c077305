"""The types of the constructor's keyword arguments, for methods that pass them on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

from prometheus_client import CollectorRegistry

from .factories import LabelValue
from .options import GroupBy, InProgress, Naming

__all__ = ["Arguments", "OtherArguments"]


class OtherArguments(TypedDict, total=False):
    """All arguments except `app` and `path`; `MetricsBase` describes them."""

    export_defaults: bool
    defaults_prefix: str
    group_by: GroupBy
    buckets: Sequence[float | str] | None
    default_latency_as_histogram: bool
    default_labels: Mapping[str, LabelValue] | None
    response_converter: Callable[..., Any] | None
    excluded_paths: str | Iterable[str] | None
    exclude_user_defaults: bool
    metrics_decorator: Callable[[Any], Any] | None
    registry: CollectorRegistry | None
    max_series: int
    in_progress: InProgress
    request_size: bool
    response_size: bool
    response_start: bool
    websockets: bool
    exemplar: bool | Callable[[], Mapping[str, str] | None] | None
    naming: Naming
    status_classes: bool
    process_metrics: bool
    queue_time: bool | str
    event_loop: bool | float
    threads: bool
    background_tasks: bool
    native_histograms: bool | float | None
    namespace: str | None
    excluded_methods: str | Iterable[str] | None
    excluded_statuses: int | Iterable[int] | None
    excluded_unmatched: bool
    static_labels: Mapping[str, LabelValue] | None
    group_by_endpoint: bool | None


class Arguments(OtherArguments, total=False):
    """All arguments except `app`."""

    path: str | None
