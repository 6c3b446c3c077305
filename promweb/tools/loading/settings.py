"""The settings of an application's metrics objects, as far as names and labels depend on them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from prometheus_client import Histogram

from ...core.defaults.group_by import Grouping
from ...core.defaults.vocabulary import OTEL
from ...core.options import NO_PREFIX
from ..monitoring.service import OPTIONAL
from .targets import LoadError

__all__ = [
    "Settings",
    "inner",
    "metrics_objects",
    "read_settings",
    "serves_websockets",
    "settings_of",
]


@dataclass(frozen=True)
class Settings:
    """The arguments of a metrics object; the commands' options have the same names."""

    naming: str
    prefix: str
    """`defaults_prefix`, or `NO_PREFIX`."""
    group_by: str
    """The name of the group label."""
    buckets: tuple[float, ...]
    summary: bool
    websockets: bool
    native: bool = False
    """Whether `native_histograms` is on."""
    measured: frozenset[str] = field(default=frozenset(OPTIONAL), compare=False)
    """The arguments among `OPTIONAL` that are on; objects of one name complete each other."""
    workers: bool = field(default=False, compare=False)
    """Whether any object of the application has `process_metrics`."""
    in_progress_by_group: bool = field(default=False, compare=False)
    """Whether `in_progress` is `"group"`; the first object of a name that has it decides."""

    def __str__(self) -> str:
        prefix = "--no-prefix" if self.prefix == NO_PREFIX else f"--prefix {self.prefix}"
        return f"--naming {self.naming} {'' if self.naming == 'otel' else prefix}".strip()


def read_settings(metrics: Any, *, is_async: bool, has_websockets: bool) -> Settings:
    """Read a metrics object; only this function knows its attributes."""
    is_otel = metrics.naming == "otel"
    group = OTEL.group if is_otel else Grouping(metrics.group_by).name
    assert group is not None, "with otel the group has a fixed name"
    buckets = metrics.buckets or Histogram.DEFAULT_BUCKETS
    return Settings(
        naming=metrics.naming,
        prefix=NO_PREFIX if is_otel else metrics.defaults_prefix,
        group_by=group,
        buckets=tuple(float(bound) for bound in buckets),
        summary=not metrics.default_latency_as_histogram,
        websockets=is_async and has_websockets and metrics.websockets,
        native=bool(metrics.native_histograms),
        in_progress_by_group=metrics.in_progress == "group",
        measured=frozenset(
            name
            for name, is_for_all in OPTIONAL.items()
            if getattr(metrics, name) and (is_async or is_for_all)
        ),
    )


def inner(application: Any) -> Any:
    """Return the Flask or Quart application inside; Connexion and others wrap it."""
    return application if hasattr(application, "url_map") else getattr(application, "app", None)


def metrics_objects(application: Any) -> list[Any]:
    """Return the metrics objects of an application; raise LoadError if it has none."""
    given, application = application, inner(application)
    if not hasattr(application, "extensions") or not hasattr(application, "url_map"):
        raise LoadError(f"that is not a Flask or Quart application: {type(given).__name__}")
    site = application.extensions.get("promweb")
    owners = list(site.owners) if site is not None else []
    if not owners:
        raise LoadError(
            "promweb does not measure this application: pass it to PrometheusMetrics(app), or call "
            "init_app(app)"
        )
    return owners


def serves_websockets(application: Any) -> bool:
    """Tell whether an application has a route for websockets."""
    return any(rule.websocket for rule in inner(application).url_map.iter_rules())


def settings_of(application: Any) -> list[Settings]:
    """Return the distinct settings of the objects that record the default metrics."""
    objects = metrics_objects(application)
    framework = inner(application)
    is_async = hasattr(framework, "asgi_app")
    has_websockets = serves_websockets(application)
    found = [
        read_settings(metrics, is_async=is_async, has_websockets=has_websockets)
        for metrics in objects
        # The method `export_defaults` has the argument's name.
        if metrics._export_defaults
    ]
    if not found:
        raise LoadError("no metrics object of this application records the default metrics")
    distinct: dict[Settings, Settings] = {}
    for one in found:
        known = distinct.get(one, one)
        measured = known.measured | one.measured
        by_group = (known if "in_progress" in known.measured else one).in_progress_by_group
        distinct[one] = replace(known, measured=measured, in_progress_by_group=by_group)
    workers = any(metrics.process_metrics for metrics in objects)
    return [replace(one, workers=workers) for one in distinct.values()]
