"""The event loops that are watched: each has a lane, which knows its thread and its beat."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from ...core.requests.steps import Block, Lane
from .beats import beat_of, running_loop

__all__ = ["BEAT", "LoopLane"]

BEAT = 0.1
"""Seconds between two beats. One of a second would see one block of 0.3 s in four."""


class LoopLane(Lane):
    """The running event loop of this thread."""

    def __init__(self, log_from: float, interval: float = BEAT) -> None:
        super().__init__(log_from)
        self.thread = threading.get_ident()
        self.loop = running_loop()
        self.lags: tuple[Callable[[float], None], ...] = ()
        """The functions that record a lag, in seconds."""
        self.watches: set[object] = set()
        """The objects that want the loop to be watched."""
        self.beat = beat_of(self.loop, interval, self._late)

    @property
    def is_over(self) -> bool:
        """Whether the event loop runs no more, or nobody watches it."""
        loop = self.loop
        return self.beat.is_over or (
            isinstance(loop, asyncio.AbstractEventLoop) and loop.is_closed()
        )

    def outside_since(self, due: float) -> float:
        """Return since when something else than steps may have kept a beat from coming.

        Many short steps make a beat late, too, and so does a block that has a request.
        """
        return max(due, self.began, self.ended)

    def _late(self, due: float, lag: float) -> None:
        for record in self.lags:
            record(lag)
        began = self.outside_since(due)
        seconds = due + lag - began
        if seconds >= self.log_from:
            self.blocks.append(Block(began, seconds, None))
