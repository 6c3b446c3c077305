"""The text formats: a layout writes promweb's families, prometheus_client's encoder the others.

The first scrape that needs the layout of a family in a format makes it, and compares it with the
encoder's output for the same samples. If the two differ (a name that needs escaping, a version with
other rules), the encoder writes the family.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from prometheus_client.metrics_core import Metric

from ..families.family import Family, FamilyMetric, created_series_enabled
from .layout import Layout

__all__ = ["TextFormat"]

_MOST_LAYOUTS = 32
"""How many layouts of a family are cached. Usual scrapes need two or three of them."""

_AWKWARD = 'quote " backslash \\ line\nbreak \r\n percent %s \N{SNOWMAN}'

_Layouts = dict[tuple[object, ...], Layout | None]

# A layout must not refer to its family, or neither would ever be freed. Several threads may scrape
# at once, so a dictionary of layouts never changes: a new one replaces it.
_layouts: weakref.WeakKeyDictionary[Family[Any], _Layouts] = weakref.WeakKeyDictionary()


class TextFormat:
    """One of prometheus_client's text formats."""

    def __init__(self, encode: Callable[[Any], bytes], content_type: str) -> None:
        self.content_type = content_type
        self._encode = encode
        self._openmetrics = content_type.startswith("application/openmetrics-text")
        self.end = b"# EOF\n" if self._openmetrics else b""

    @cached_property
    def _created_is_enabled(self) -> bool:
        return created_series_enabled()

    def write(self, metric: Metric) -> Iterator[bytes]:
        """Yield a metric as bytes, some dozen label sets at a time if it has a layout."""
        if isinstance(metric, FamilyMetric):
            layout = self._layout(metric)
            if layout is not None:
                for text in layout.write(metric.label_sets(), metric.texts):
                    yield text.encode("latin-1")  # so it is UTF-8: see `layout`
                return
        yield self._encoded(metric)

    def _encoded(self, metric: Metric) -> bytes:
        return self._encode(_Only(metric)).removesuffix(self.end)

    def _layout(self, metric: FamilyMetric) -> Layout | None:
        """Return a layout that writes a family fast; None if it would not be byte-identical."""
        with_created = metric.has_created and self._created_is_enabled
        key = (self.content_type, with_created, metric.names)
        known = _layouts.get(metric.family, {})
        try:
            return known[key]
        except KeyError:
            layout = self._make_layout(metric, with_created)
        if len(known) >= _MOST_LAYOUTS:  # clients choose formats and names
            known = {}
        _layouts[metric.family] = {**known, key: layout}
        return layout

    def _make_layout(self, metric: FamilyMetric, with_created: bool) -> Layout | None:
        family, names = metric.family, metric.names
        created = Metric(f"{family.name}_created", family.documentation, "gauge")
        layout = Layout(
            family,
            names=names,
            with_created=with_created,
            created_inline=self._openmetrics,
            with_exemplars=self._openmetrics,
            head=self._encoded(_empty(metric)).decode("latin-1"),
            created_head=self._encoded(created).decode("latin-1"),
        )
        return layout if self._agrees(layout, metric, with_created) else None

    def _agrees(self, layout: Layout, metric: FamilyMetric, with_created: bool) -> bool:
        """Tell whether the encoder writes the same for a label set that needs every rule."""
        family = metric.family
        child = family.child_class(family)
        for amount in (0.001, 3.0, 12345678.9):
            child.record(amount)
            child.exemplify({"trace": _AWKWARD, "span": ""}, amount)
        label_sets = [((_AWKWARD,) * len(family.labelnames), child)]
        whole = _empty(metric)
        whole.samples = list(metric.samples_of(label_sets, with_created))
        text = "".join(layout.write(label_sets, family.texts))
        return text.encode("latin-1") == self._encoded(whole)


class _Only:
    """A registry of one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> list[Metric]:
        return [self._metric]


def _empty(metric: Metric) -> Metric:
    """Return a metric without its samples."""
    return Metric(metric.name, metric.documentation, metric.type, metric.unit)
