"""Watches one event loop for a while, for tests, and keeps what blocked it."""

from __future__ import annotations

from .lanes import LoopLane
from .watchdog import Report, Watchdog

__all__ = ["LoopGuard"]

_BEATS = 5
"""Beats within the longest time that is allowed, so that little longer ones are seen."""


class LoopGuard:
    """Watches the running event loop. Raises RuntimeError if there is none."""

    def __init__(self, most: float) -> None:
        self.reports: list[Report] = []
        """What blocked the event loop for more than `most` seconds."""
        self._lane = LoopLane(most, most / _BEATS)
        self._watchdog = Watchdog(self.reports.append, tells_unseen=True)
        self._watchdog.watch(self._lane)

    def stop(self) -> None:
        """End to watch."""
        beat = self._lane.beat
        beat.beat()  # what blocked until now let no beat come
        beat.stop()
        self._watchdog.join()
