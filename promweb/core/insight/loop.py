"""The families that say who holds the event loop: the steps of requests, by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..families.catalog import Catalog
from ..families.children import NumberChild, ObservedChild
from ..families.kinds import CounterFamily, HistogramFamily
from ..families.limits import OVERFLOW, LabelValues
from ..options import Options
from ..requests.exchange import Exchange

__all__ = ["BLOCK", "BUCKETS", "SECONDS", "StepMetrics", "StepsChild", "steps_of"]

BLOCK = "http_request_loop_block_seconds"
SECONDS = "http_request_loop_seconds_total"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""Upper bounds, in seconds."""


Numbers = tuple[float, float]
"""The longest step of a request in seconds, and all of them added up."""


def steps_of(exchange: Exchange, seconds: float) -> Numbers:
    """Return what a `StepsChild` records of a request; one whose code never ran has no steps."""
    steps = exchange.steps
    return (0.0, 0.0) if steps is None else steps.read()


class StepsChild:
    """Records both numbers of a group."""

    __slots__ = ("_block", "_seconds")

    def __init__(self, block: ObservedChild, seconds: NumberChild) -> None:
        self._block = block
        self._seconds = seconds

    def record(self, numbers: Numbers) -> None:
        self._block.record(numbers[0])
        self._seconds.record(numbers[1])

    def exemplify(self, exemplar: Mapping[str, str], numbers: Numbers) -> None:
        """Keep an exemplar of both."""
        self._block.exemplify(exemplar, numbers[0])
        self._seconds.exemplify(exemplar, numbers[1])


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

    def child(self, group: str, defaults: LabelValues, overflow: LabelValues) -> StepsChild:
        """Return what records the steps of a group; `defaults` are the default labels' values."""
        values = (group, *defaults)
        full = (OVERFLOW if group else "", *overflow)
        return StepsChild(self._block.child(values, full), self._seconds.child(values, full))

    def fill(self, names: Sequence[str], values: LabelValues) -> LabelValues:
        """Return values of all default labels from those of some; the others are empty.

        A websocket has no response, so it has no values of labels that take one.
        """
        known = dict(zip(names, values, strict=True))
        return tuple(known.get(name, "") for name in self._defaults)
