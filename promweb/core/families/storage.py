"""The seam between families and the place of their numbers: this process or shared files.

Without a storage, a family's children keep their numbers in this process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.metrics_core import Metric

from .children import NumberChild, Owner, Shape
from .limits import LabelValues

__all__ = ["DIRECTORY_VARIABLE", "Storage", "StoredFamily", "Total", "shared_directory"]

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that turns multiprocess mode on, as in prometheus_client."""


def shared_directory() -> str | None:
    """Return the directory that the environment names; None if multiprocess mode is off."""
    deprecated = os.environ.get(DIRECTORY_VARIABLE.lower())  # prometheus_client accepts it
    return os.environ.get(DIRECTORY_VARIABLE) or deprecated or None


class Total(Protocol):
    """A counter that is derived from another family."""

    name: str

    def total(self, values: LabelValues) -> NumberChild:
        """Return the child that counts the observations of a label set of the other family."""


class StoredFamily(Owner, Protocol):
    """The part of a family that a storage needs."""

    name: str
    type: str
    documentation: str
    labelnames: tuple[str, ...]
    max_series: int
    shape: Shape
    totals: tuple[Total, ...]

    @property
    def child_class(self) -> Any: ...


class Storage(Protocol):
    """Keeps the numbers of families, and collects them for a scrape."""

    @property
    def path(self) -> str:
        """The directory with the numbers."""

    def accept(self, family: StoredFamily) -> None:
        """Keep a family's numbers from now on."""

    def make_child(self, family: StoredFamily, values: LabelValues) -> Any:
        """Return a child that keeps its numbers here; never raise."""

    def make_gauge(
        self,
        name: str,
        documentation: str,
        labelnames: tuple[str, ...],
        *,
        registry: CollectorRegistry,
        multiprocess_mode: str,
    ) -> Gauge:
        """Return a gauge of prometheus_client that keeps its numbers here.

        Raises ValueError as prometheus_client does.
        """

    def show_processes(self) -> None:
        """Make scrapes show metrics of each process by its pid."""

    def collect(self, names: Sequence[str] | None, pause: Callable[[], None]) -> Iterator[Metric]:
        """Yield everything that a scrape shows, restricted to the samples and families in `names`.

        `pause` is called now and then, to let other threads run.
        """
