"""The seam between families and where their numbers are kept: here or in files that are shared.

Without a storage a family's children keep their numbers in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client.metrics_core import Metric

from .rendering import LabelValues

if TYPE_CHECKING:
    from .families import Family

__all__ = ["Storage"]


class Storage(Protocol):
    """Keeps the numbers of families, and knows what a scrape is to show."""

    def make_child(self, family: Family[Any], values: LabelValues) -> Any:
        """Return a child that keeps its numbers here; never raise."""

    def collect(self, names: Sequence[str] | None, breathe: Callable[[], None]) -> Iterator[Metric]:
        """Yield everything that a scrape shows, restricted to the sample names in `names`.

        `breathe` is called now and then, to let other threads run.
        """
