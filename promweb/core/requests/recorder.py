"""The interface of recorders: an application calls them for its requests and websockets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from ..families.children import NumberChild
from ..families.limits import LabelValues
from ..families.problems import Problems
from ..labels.exemplars import ExemplarReader
from ..labels.plan import LabelPlan
from .excluding import Excludes
from .steps import Steps

__all__ = ["ConnectionRecorder", "Recorder"]


class ConnectionRecorder(Protocol):
    """Turns websocket connections into numbers."""

    excludes: Excludes | None

    unknown: LabelValues
    """The labels of a connection whose labels could not be computed in time."""

    def define(self) -> None:
        """Register the families; doing so again changes nothing."""

    async def labels(self, websocket: Any) -> LabelValues:
        """Return group and default labels of a connection, within its websocket context."""

    def open(self, values: LabelValues) -> NumberChild:
        """Count a connection as in progress; return the child to count down when it ends."""

    def message(self, values: LabelValues, direction: str) -> None:
        """Count a message, `received` or `sent`."""

    def stepped(self, values: LabelValues, steps: Steps) -> None:
        """Record what a connection did in the event loop."""

    def closed(self, values: LabelValues, close_code: str, seconds: float) -> None:
        """Record a connection that has ended."""


class Recorder(Protocol):
    """Turns exchanges into numbers: the default metrics of one metrics object."""

    plan: LabelPlan
    exemplar: ExemplarReader | None
    problems: Problems
    comes_last: bool
    """Whether it records after the others."""

    @property
    def websockets(self) -> ConnectionRecorder | None:
        """The recorder of websocket connections, or None."""

    @property
    def identity(self) -> object:
        """The duration family: two recorders that share it would count every request twice."""

    @property
    def needs_sizes(self) -> bool:
        """Whether the adapter has to count the bytes of bodies."""

    @property
    def counts_in_progress(self) -> bool:
        """Whether `in_progress` returns children."""

    def preparations(self, site: Any) -> Iterable[Callable[[Any], None]]:
        """Return what else is to be done with a scope of `site` that reaches the dispatch."""

    def record(self, exchange: Any, seconds: float) -> None:
        """Record a request that has ended; never raise."""

    def record_steps(self, exchange: Any) -> None:
        """Record what a request did in the event loop; never raise."""

    @property
    def awaits_in_progress(self) -> bool:
        """Whether the labels of these children may have to be awaited."""

    def in_progress(self, request: Any) -> NumberChild | None:
        """Return the child that counts a request as in progress, if there is one."""

    async def in_progress_async(self, request: Any) -> NumberChild | None:
        """Like `in_progress`, but await the labels."""

    def merge(self, other: Any) -> None:
        """Also record for another recorder with the same identity."""
