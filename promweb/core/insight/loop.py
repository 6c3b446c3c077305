"""The families that say who holds the event loop: the steps of requests, by group."""

from __future__ import annotations

from collections.abc import Sequence

from ..families.catalog import Catalog
from ..families.children import NumberChild, ObservedChild
from ..families.kinds import CounterFamily, HistogramFamily
from ..families.limits import OVERFLOW, LabelValues
from ..options import Options
from ..requests.exchange import Exchange
from ..requests.steps import Steps

__all__ = ["BLOCK", "BUCKETS", "SECONDS", "StepMetrics", "all_steps", "longest_step"]

BLOCK = "http_request_loop_block_seconds"
SECONDS = "http_request_loop_seconds_total"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""Upper bounds, in seconds."""


def longest_step(exchange: Exchange, seconds: float) -> float:
    """Return how long a request held the event loop without a break; `all_steps` is next."""
    return 0.0 if exchange.steps is None else exchange.steps.read()


def all_steps(exchange: Exchange, seconds: float) -> float:
    """Return how long a request held the event loop altogether."""
    return 0.0 if exchange.steps is None else exchange.steps.sum


class StepMetrics:
    """The longest step of each request, and all of them added up, for each group."""

    def __init__(self, prefix: str, group: str, options: Options) -> None:
        catalog, labels = Catalog.of(options.registry), (group, *options.default_labels)
        self._defaults = tuple(options.default_labels)
        self._block = catalog.add(
            options.registry,
            HistogramFamily(
                prefix + BLOCK,
                "Longest time that a request held the event loop without a break in seconds",
                labels,
                buckets=BUCKETS,
                max_series=options.max_series,
            ),
        )
        self._seconds = catalog.add(
            options.registry,
            CounterFamily(
                prefix + SECONDS,
                "Time that requests held the event loop in seconds",
                labels,
                max_series=options.max_series,
            ),
        )

    def record(
        self, group: str, defaults: LabelValues, overflow: LabelValues, steps: Steps
    ) -> None:
        """Record the steps of a request; `defaults` are the values of the default labels."""
        block, seconds = self.children(group, defaults, overflow)
        block.record(steps.read())
        seconds.record(steps.sum)

    def children(
        self, group: str, defaults: LabelValues, overflow: LabelValues
    ) -> tuple[ObservedChild, NumberChild]:
        """Return what records the longest step of a request, and all of them."""
        values = (group, *defaults)
        full = (OVERFLOW if group else "", *overflow)
        return self._block.child(values, full), self._seconds.child(values, full)

    def fill(self, names: Sequence[str], values: LabelValues) -> LabelValues:
        """Return values of all default labels from those of some; the others are empty.

        A websocket has no response, so it has no values of labels that take one.
        """
        known = dict(zip(names, values, strict=True))
        return tuple(known.get(name, "") for name in self._defaults)
