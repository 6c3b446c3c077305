"""The seam between families and where their numbers are kept: here or in files that are shared.

Without a storage a family's children keep their numbers in this process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client.metrics_core import Metric

from ..exposition.layout import LabelValues

if TYPE_CHECKING:
    from .family import Family

__all__ = ["DIRECTORY_VARIABLE", "Storage", "shared_directory"]

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that turns multiprocess mode on, as in prometheus_client."""


def shared_directory() -> str | None:
    """Return the directory that the environment names for all processes; None for none."""
    deprecated = os.environ.get(DIRECTORY_VARIABLE.lower())  # by prometheus_client
    return os.environ.get(DIRECTORY_VARIABLE) or deprecated or None


class Storage(Protocol):
    """Keeps the numbers of families, and knows what a scrape is to show."""

    def accept(self, family: Family[Any]) -> None:
        """Keep a family's numbers from now on."""

    def make_child(self, family: Family[Any], values: LabelValues) -> Any:
        """Return a child that keeps its numbers here; never raise."""

    def collect(self, names: Sequence[str] | None, breathe: Callable[[], None]) -> Iterator[Metric]:
        """Yield everything that a scrape shows, restricted to the sample names in `names`.

        `breathe` is called now and then, to let other threads run.
        """
