"""Reads what an application would expose from its registries, without a request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric

from ...core.families.catalog import Catalog
from ...core.families.family import FamilyMetric
from ...core.families.numbers import text_of
from ...multiprocess.registries import is_of_all_processes
from ...scrapes.parsing import Exposition
from ..diff.sides import Shape, Side
from .settings import inner, metrics_objects, serves_websockets

__all__ = ["side_of"]


def side_of(application: Any) -> Side:
    """Return an application as one side of a comparison.

    It has the label names and buckets of families that have no series yet, and also the families
    that an application shows late: those of websockets, and of promweb's own problems. The labels
    of another library's collector are unknown before there is a series.
    """
    owners = metrics_objects(application)
    registries = {id(one.registry): one.registry for one in owners}
    if any(one._shows_all_registries or is_of_all_processes(one.registry) for one in owners):
        registries[id(REGISTRY)] = REGISTRY  # a scrape shows the files of all registries
    metrics = [metric for registry in registries.values() for metric in registry.collect()]
    side = Side([Exposition.of(metrics, is_openmetrics=True)])
    if serves_websockets(application):
        for recorder in inner(application).extensions["promweb"].recorders:
            if recorder.websockets is not None:
                recorder.websockets.define()
    for registry in registries.values():
        side.expect({**dict(_clients(registry)), **dict(_promwebs(registry))})
    return side


def _promwebs(registry: CollectorRegistry) -> Iterator[tuple[str, Shape]]:
    """Yield promweb's families of a registry, also those that a scrape omits while empty."""
    hidden = map(FamilyMetric, Catalog.of(registry).problems.families)
    for metric in (*registry.collect(), *hidden):
        if isinstance(metric, FamilyMetric):
            family = metric.family
            bounds = map(text_of, family.bounds if metric.type == "histogram" else ())
            samples = family.sample_names - {f"{metric.name}_created"}
            known = samples, frozenset(family.labelnames), frozenset(bounds)
            yield metric.name, _shape(metric, known)


def _clients(registry: CollectorRegistry) -> Iterator[tuple[str, Shape]]:
    """Yield prometheus_client's families that have labels and no series yet.

    Nothing but a series has the names of its samples, so it makes one. Nobody scrapes it.
    """
    for collector in list(getattr(registry, "_collector_to_names", ())):
        labelnames = getattr(collector, "_labelnames", ())
        if not labelnames or any(metric.samples for metric in collector.collect()):
            continue
        collector.labels(*("" for _ in labelnames))
        for metric in collector.collect():
            if metric.type == "info":
                continue  # its labels come with its values
            samples = frozenset(one.name for one in metric.samples) - {f"{metric.name}_created"}
            labels = {label for one in metric.samples for label in one.labels} - {"le"}
            bounds = {one.labels["le"] for one in metric.samples if "le" in one.labels}
            yield metric.name, _shape(metric, (samples, frozenset(labels), frozenset(bounds)))


def _shape(metric: Metric, known: tuple[frozenset[str], frozenset[str], frozenset[str]]) -> Shape:
    definition = metric.type, metric.documentation, metric.unit
    return Shape(*definition, expected=known, is_late=True)
