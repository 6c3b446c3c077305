"""The steps that the code of a request takes in an event loop, each of which nothing interrupts.

While one step runs, every other request of the loop waits.
"""

from __future__ import annotations

from collections import deque
from math import inf
from time import perf_counter
from typing import Any, NamedTuple, Protocol

__all__ = ["Block", "Lane", "Stepping", "Steps"]

PERIOD = 10.0
"""Seconds after which the steps of a stream or a websocket are recorded, and again after that."""


class Stepping(Protocol):
    """A request or a websocket connection whose code takes steps."""

    site: Any
    request: Any

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

    __slots__ = ("began", "blocks", "log_from", "steps")  # each step sets two of them

    def __init__(self, log_from: float = inf) -> None:
        self.steps: Steps | None = None
        """Those that the running step belongs to; None between steps, and outside of requests."""
        self.began = 0.0
        """When the running step began, or the last one did, by `perf_counter`."""
        self.log_from = log_from
        """From how many seconds on a step is a block."""
        self.blocks: deque[Block] = deque(maxlen=100)
        """The blocks that are over, until the watchdog logs them."""


class Steps:
    """The steps of one request or connection, as far as they are not recorded yet, in seconds."""

    __slots__ = ("due", "lane", "longest", "scope", "sum", "total")

    sum: float
    """All steps when `read` was called last."""

    def __init__(self, scope: Stepping, lane: Lane) -> None:
        self.scope = scope
        self.lane = lane
        self.longest = 0.0
        self.total = 0.0
        self.due = perf_counter() + PERIOD
        """When the scope records the steps so far, though it goes on."""

    def read(self) -> float:
        """Return the longest step and set `sum`, the step that runs now included."""
        lane = self.lane
        if lane.steps is not self:
            self.sum = self.total
            return self.longest
        running = perf_counter() - lane.began
        self.sum = self.total + running
        return running if running > self.longest else self.longest

    def begin_anew(self) -> None:
        """Forget the steps so far, because they are recorded."""
        self.longest = self.total = 0.0
        self.due = perf_counter() + PERIOD
