"""Reads what an application would expose from its registries, without a request."""

from __future__ import annotations

from typing import Any

from ...core.families.family import FamilyMetric
from ...core.families.numbers import text_of
from ...scrapes.parsing import Exposition
from ..diff.sides import Shape, Side
from .settings import metrics_objects

__all__ = ["side_of"]


def side_of(application: Any) -> Side:
    """Return an application as one side of a comparison.

    It has the label names and buckets of promweb's families, even before there is a series.
    """
    registries = {id(one.registry): one.registry for one in metrics_objects(application)}
    metrics = [metric for registry in registries.values() for metric in registry.collect()]
    side = Side([Exposition.of(metrics, is_openmetrics=True)])
    side.expect(
        {
            metric.name: Shape(
                metric.type,
                metric.documentation,
                metric.unit,
                expected=(
                    metric.family.sample_names - {f"{metric.name}_created"},
                    frozenset(metric.family.labelnames),
                    frozenset(map(text_of, metric.family.bounds))
                    if metric.type == "histogram"
                    else frozenset(),
                ),
            )
            for metric in metrics
            if isinstance(metric, FamilyMetric)
        }
    )
    return side
