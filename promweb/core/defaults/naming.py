"""`naming` and `defaults_prefix`: what the default metrics are called, and who records them so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

from prometheus_client import CollectorRegistry

from ..requests.site import Recorder
from .group_by import Grouping
from .http import DefaultMetrics
from .otel import ConventionMetrics

__all__ = [
    "NO_PREFIX",
    "Naming",
    "check_defaults",
    "make_recorder",
    "prefix_problem",
    "read_naming",
]

NO_PREFIX = "#no_prefix"
"""Pass it as `defaults_prefix` to give the default metrics no prefix."""

Naming = Literal["promweb", "otel"]
"""Whose names the default metrics have."""


def read_naming(naming: Naming) -> Naming:
    if naming not in get_args(Naming):
        raise ValueError(
            f"naming={naming!r}: must be 'promweb', for the names of this library, or 'otel', for "
            "those of OpenTelemetry's semantic conventions"
        )
    return naming


def prefix_problem(prefix: str) -> str:
    """Return what is odd about a prefix, nothing if nothing is; raise if it is no text."""
    if not isinstance(prefix, str):
        raise TypeError(f"defaults_prefix={prefix!r}: must be text, or promweb.NO_PREFIX")
    if not prefix.endswith("_"):
        return ""
    return (
        f"defaults_prefix={prefix!r} ends with an underscore, and another one follows: the names "
        f"begin with {prefix + '_'!r}. Write {prefix.rstrip('_')!r} if that is not wanted."
    )


def check_defaults(
    naming: Naming,
    *,
    prefix: str,
    group_by: str | Callable[[Any], object],
    buckets: Iterable[float | str] | None,
    histogram: bool,
    default_labels: Mapping[str, object],
    response_start: bool,
    status_classes: bool,
) -> None:
    """Raise for arguments that no default metrics can be made of."""
    grouping = Grouping(group_by)
    if naming == "promweb":
        DefaultMetrics.check(_start(prefix), grouping, buckets, default_labels)
        return
    # The default of an argument contradicts nothing.
    for contradicts, argument, why in (
        (
            prefix not in ("flask", NO_PREFIX),
            f"defaults_prefix={prefix!r}",
            "the names of the conventions have no prefix",
        ),
        (
            group_by not in ("path", "url_rule"),
            f"group_by={group_by!r}",
            "the group is the label http_route, which is the rule of the route",
        ),
        (
            not histogram,
            "default_latency_as_histogram=False",
            "the duration is a histogram by the conventions",
        ),
        (
            response_start,
            "response_start=True",
            "the conventions have no name for the time to the first byte",
        ),
        (
            status_classes,
            "status_classes=True",
            "http_response_status_code is the exact status by the conventions",
        ),
    ):
        if contradicts:
            raise ValueError(
                f"{argument} contradicts naming='otel': {why}. Leave the argument out, or measure "
                "with a second object without naming='otel' as well"
            )
    ConventionMetrics.check(buckets, default_labels)


def make_recorder(
    naming: Naming,
    registry: CollectorRegistry,
    *,
    prefix: str,
    group_by: str | Callable[[Any], object],
    histogram: bool,
    response_start: bool,
    status_classes: bool,
    **arguments: Any,
) -> Recorder:
    """Return the recorder of the default metrics; `arguments` are those that all have."""
    if naming == "otel":
        return ConventionMetrics(registry, **arguments)
    return DefaultMetrics(
        registry,
        prefix=_start(prefix),
        grouping=Grouping(group_by),
        histogram=histogram,
        response_start=response_start,
        status_classes=status_classes,
        **arguments,
    )


def _start(prefix: str) -> str:
    """Return what names start with."""
    return "" if prefix == NO_PREFIX else prefix + "_"
