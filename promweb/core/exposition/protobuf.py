"""The protobuf format: a layout writes promweb's families, the encoder any other metric.

The first scrape that needs the layout of a family makes it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

from prometheus_client.metrics_core import Metric

from ..families.family import Family, FamilyMetric
from .escaping import SCHEMES, escape
from .protobuf_encoder import encode
from .protobuf_layout import ProtobufLayout, has_layout
from .protobuf_native import NativeLayout

__all__ = ["CONTENT_TYPE", "ProtobufFormat"]

CONTENT_TYPE = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

_Key = tuple[type[ProtobufLayout], tuple[str, ...]]

# A layout must not refer to its family, or neither would ever be freed. Several threads may scrape
# at once, so a dictionary of layouts never changes: a new one replaces it.
_layouts: weakref.WeakKeyDictionary[Family[Any], dict[_Key, ProtobufLayout]] = (
    weakref.WeakKeyDictionary()
)


class ProtobufFormat:
    """Messages of the type `io.prometheus.client.MetricFamily`, each after its length.

    `escaping` is a scheme for names that older Prometheus do not know. "" replaces characters by
    underscores, and the content type does not mention it.
    """

    end = b""

    def __init__(self, escaping: str = "") -> None:
        self.content_type = CONTENT_TYPE + (escaping and f"; escaping={escaping}")
        scheme = escaping or SCHEMES[0]
        self._escape_metric = partial(escape, scheme, "metric")
        self._escape_label = partial(escape, scheme, "label")

    def write(self, metric: Metric) -> Iterator[bytes]:
        """Yield a metric as bytes; the first pieces are empty, because its length comes first."""
        try:
            if isinstance(metric, FamilyMetric) and has_layout(metric):
                yield from self._layout(metric).write(metric)
            else:
                yield encode(metric, self._escape_metric, self._escape_label)
        except Exception as error:
            error.args = (*error.args, metric)  # as prometheus_client names the metric
            raise

    def _layout(self, metric: FamilyMetric) -> ProtobufLayout:
        family = metric.family
        names = (
            self._escape_metric(family.name + ("_total" if family.type == "counter" else "")),
            *map(self._escape_label, family.labelnames),
        )
        # A family of several workers may get native buckets at some scrape.
        make = ProtobufLayout if metric.native is None else NativeLayout
        key = make, names
        known = _layouts.get(family, {})
        layout = known.get(key)
        if layout is None:
            layout = make(family, names[0], names[1:])
            _layouts[family] = {**known, key: layout}
        return layout
