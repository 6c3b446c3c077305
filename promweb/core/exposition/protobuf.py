"""The protobuf format: each metric becomes a message by a layout, or by the encoder for any metric.

A layout is made for each family the first time that a scrape needs it.
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
# at a time, so no dictionary of layouts changes once it is in here: a new one takes its place.
_layouts: weakref.WeakKeyDictionary[Family[Any], dict[_Key, ProtobufLayout]] = (
    weakref.WeakKeyDictionary()
)


class ProtobufFormat:
    """Messages of the type `io.prometheus.client.MetricFamily`, each after its length.

    `escaping` is a scheme for names that older Prometheus do not know; "" for underscores, and not
    to say so.
    """

    end = b""

    def __init__(self, escaping: str = "") -> None:
        self.content_type = CONTENT_TYPE + (escaping and f"; escaping={escaping}")
        scheme = escaping or SCHEMES[0]
        self._escape_metric = partial(escape, scheme, "metric")
        self._escape_label = partial(escape, scheme, "label")

    def write(self, metric: Metric) -> Iterator[bytes]:
        """Yield a metric as bytes; the first pieces are empty, because its length precedes it."""
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
        # A family of several workers may have native buckets from some scrape on.
        make = ProtobufLayout if metric.native is None else NativeLayout
        key = make, names
        known = _layouts.get(family, {})
        layout = known.get(key)
        if layout is None:
            layout = make(family, names[0], names[1:])
            _layouts[family] = {**known, key: layout}
        return layout
