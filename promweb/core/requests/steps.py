"""The steps that the code of a request takes in an event loop, each of which nothing interrupts.

While one step runs, every other request of the loop waits.
"""

from __future__ import annotations

from collections import deque
from math import inf
from time import perf_counter
from typing import Any, NamedTuple, Protocol

__all__ = ["Block", "Lane", "Stepping", "Steps"]


class Stepping(Protocol):
    """A request or a websocket connection whose code takes steps."""

    site: Any
    request: Any
    steps: Steps | None

    def record_steps(self) -> None:
        """Record what the code did in the event loop since the last time, and begin again."""


class Block(NamedTuple):
    """Something that blocked the event loop for `seconds`."""

    began: float
    """When, by `perf_counter`; it tells one block from another."""
    seconds: float
    scope: Stepping | None
    """The request or connection whose step it was; None for what belongs to none."""


class Lane:
    """One event loop: which step runs in it now."""

    __slots__ = ("began", "blocks", "ended", "log_from", "scope")  # each step sets two of them

    def __init__(self, log_from: float = inf) -> None:
        self.scope: Stepping | None = None
        """Whose step runs now; None between steps, and outside of requests."""
        self.began = 0.0
        """When the running step began, or the last one did, by `perf_counter`."""
        self.ended = 0.0
        """When the newest block of a step ended."""
        self.log_from = log_from
        """From how many seconds on a step is a block."""
        self.blocks: deque[Block] = deque(maxlen=100)
        """The blocks that are over, until the watchdog logs them."""


class Steps:
    """The steps of one request or connection, as far as they are not recorded yet, in seconds.

    It does not refer to the request: that would be a cycle, which costs more to collect than
    everything else about the steps.
    """

    __slots__ = ("block", "lane", "longest", "total")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.total = self.longest = self.block = 0.0
        """All steps, the longest one that was not a block, and the longest block."""

    def read(self) -> tuple[float, float]:
        """Return the longest step and the sum of all, the step that runs now included."""
        lane, longest = self.lane, self.block or self.longest
        scope = lane.scope
        if scope is None or scope.steps is not self:
            return longest, self.total
        running = perf_counter() - lane.began
        return running if running > longest else longest, self.total + running

    def begin_anew(self) -> None:
        """Forget the steps so far, because they are recorded."""
        self.total = self.longest = self.block = 0.0
